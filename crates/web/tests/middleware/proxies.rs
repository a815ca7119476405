//! Who is believed about the way of a request.

use http::{Request, Response};
use ropewalk_web::middleware::{ThroughProxy, TrustedProxiesLayer};
use ropewalk_web::{Body, RequestInfo, handler_fn};
use tower_layer::Layer;

use crate::rig::World;

/// A site that answers with what it knows of the client, behind proxies in the documentation
/// networks 192.0.2.0/24 (where the peer is) and 2001:db8:1::/48.
fn world(forwarded: bool) -> World {
    world_trusting(forwarded, ["192.0.2.0/24", "2001:db8:1::/48"])
}

fn world_trusting(forwarded: bool, proxies: [&str; 2]) -> World {
    let proxies = proxies.map(|network| network.parse().unwrap());
    let layer = match forwarded {
        true => TrustedProxiesLayer::forwarded(proxies),
        false => TrustedProxiesLayer::x_forwarded(proxies)
            .with_proto()
            .with_host(),
    };
    world_behind(&layer)
}

fn world_behind(layer: &TrustedProxiesLayer) -> World {
    World::new(|_| {
        layer.layer(handler_fn(|request: Request<Body>| {
            let info = RequestInfo::of(&request).unwrap();
            let peer = info.peer.to_string();
            let through = request.extensions().get::<ThroughProxy>().is_some();
            let through = if through { "proxy " } else { "" };
            // The port of the connection itself is any.
            let peer = match peer.strip_prefix("192.0.2.2:") {
                Some(_) => "peer",
                None => &peer,
            };
            let host = request.headers()["host"].to_str().unwrap();
            let scheme = if info.secure { "https" } else { "http" };
            let fields = request
                .headers()
                .keys()
                .filter(|name| name.as_str().contains("forwarded"));
            Response::new(Body::from(format!(
                "{through}{peer} {scheme} {host} {}",
                fields.count()
            )))
        }))
    })
}

#[test]
fn forwarded_is_read_from_the_right_as_far_as_proxies_are_trusted() {
    let world = world(true);
    for (value, expected) in [
        ("for=203.0.113.7", "proxy 203.0.113.7:0 http example.com"),
        (
            "for=\"203.0.113.7:4711\";proto=https;host=a.example",
            "proxy 203.0.113.7:4711 https a.example",
        ),
        // What the client says is not believed.
        (
            "for=198.51.100.1;proto=https;host=evil.example, for=203.0.113.7",
            "proxy 203.0.113.7:0 http example.com",
        ),
        // The nearer one of two trusted proxies was asked by the farther one.
        (
            "for=198.51.100.1, for=203.0.113.7;proto=https;host=a.example, for=192.0.2.9;proto=http;host=inner",
            "proxy 203.0.113.7:0 https a.example",
        ),
        (
            "for=203.0.113.7, for=\"[2001:db8:1::5]\", for=\"[::ffff:192.0.2.9]\"",
            "proxy 203.0.113.7:0 http example.com",
        ),
        // A hop that hides itself ends the way.
        (
            "for=203.0.113.7, for=unknown",
            "proxy peer http example.com",
        ),
        (
            "for=203.0.113.7, for=_secret, for=192.0.2.9",
            "proxy 192.0.2.9:0 http example.com",
        ),
        // All of them trusted: the client is one of them.
        ("for=192.0.2.9", "proxy 192.0.2.9:0 http example.com"),
        // No scheme, and no host, that there is.
        ("proto=gopher;host=\"a b\"", "proxy peer http example.com"),
        ("host=\"user@a.example\"", "proxy peer http example.com"),
    ] {
        let line = format!("Forwarded: {value}");
        let answer = world.get("/", &[&line, "X-Forwarded-For: 198.51.100.9"]);
        assert_eq!(answer.text(), format!("{expected} 1"), "{value}");
    }
    let lines = ["Forwarded: for=203.0.113.7", "Forwarded: for=192.0.2.9"];
    assert_eq!(
        world.get("/", &lines).text(),
        "proxy 203.0.113.7:0 http example.com 1"
    );
    assert_eq!(world.get("/", &[]).text(), "proxy peer http example.com 0");
}

#[test]
fn what_a_trusted_proxy_sends_and_nobody_can_read_is_refused() {
    let world = world(true);
    for value in [
        "for=203.0.113.7; for",
        // The client has left a quote open, in which all that the proxy says would be.
        "for=\", for=203.0.113.7",
        "for, for=203.0.113.7",
        "for=\"203.0.113.7\"x, for=203.0.113.7",
    ] {
        let answer = world.get("/", &[&format!("Forwarded: {value}")]);
        assert_eq!(answer.status, 400, "{value}: {}", answer.text());
    }
    // From others it is not read at all.
    let world = world_trusting(true, ["198.51.100.0/24", "2001:db8::/32"]);
    let answer = world.get("/", &["Forwarded: for=\""]);
    assert_eq!(answer.text(), "peer http example.com 0");
}

#[test]
fn scheme_and_host_of_x_forwarded_are_believed_where_it_is_said_that_the_proxy_sets_them() {
    let lines = [
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
    ];
    let proxies = || ["192.0.2.0/24".parse().unwrap()];
    let alone = || TrustedProxiesLayer::x_forwarded(proxies());
    for (layer, expected) in [
        (alone(), "proxy 203.0.113.7:0 http example.com 1"),
        (
            alone().with_proto(),
            "proxy 203.0.113.7:0 https example.com 2",
        ),
        (
            alone().with_host(),
            "proxy 203.0.113.7:0 http evil.example 2",
        ),
    ] {
        assert_eq!(world_behind(&layer).get("/", &lines).text(), expected);
    }
    let unsaid = world_behind(&alone()).get("/", &lines[1..]);
    assert_eq!(unsaid.text(), "proxy peer http example.com 0");
}

#[test]
fn x_forwarded_fields_are_read_from_the_right_as_far_as_proxies_are_trusted() {
    let world = world(false);
    for (lines, expected) in [
        (
            &["X-Forwarded-For: 203.0.113.7"][..],
            "proxy 203.0.113.7:0 http example.com 1",
        ),
        (
            &[
                "X-Forwarded-For: 203.0.113.7:99",
                "X-Forwarded-Proto: HTTPS",
                "X-Forwarded-Host: a.example:81",
            ],
            "proxy 203.0.113.7:99 https a.example:81 3",
        ),
        (
            &["X-Forwarded-For: 198.51.100.1, 203.0.113.7"],
            "proxy 203.0.113.7:0 http example.com 1",
        ),
        (
            &[
                "X-Forwarded-For: 198.51.100.1, 203.0.113.7, 192.0.2.9",
                "X-Forwarded-Proto: gopher, https, http",
            ],
            "proxy 203.0.113.7:0 https example.com 2",
        ),
        // Only the first proxy said it.
        (
            &[
                "X-Forwarded-For: 203.0.113.7, 192.0.2.9",
                "X-Forwarded-Proto: https",
            ],
            "proxy 203.0.113.7:0 https example.com 2",
        ),
        (
            &[
                "X-Forwarded-For: 198.51.100.1",
                "X-Forwarded-For: 2001:db8::7, 2001:db8:1::1",
            ],
            "proxy [2001:db8::7]:0 http example.com 1",
        ),
        (
            &["X-Forwarded-For: 203.0.113.7, unknown"],
            "proxy peer http example.com 1",
        ),
        (
            &["X-Forwarded-Proto: https"],
            "proxy peer https example.com 1",
        ),
    ] {
        assert_eq!(world.get("/", lines).text(), expected, "{lines:?}");
    }
}

#[test]
fn who_is_not_listed_is_not_believed_and_its_fields_are_taken_out() {
    let lines = [
        "Forwarded: for=203.0.113.7;proto=https",
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Host: a.example",
    ];
    for forwarded in [true, false] {
        let world = world_trusting(forwarded, ["198.51.100.0/24", "2001:db8::/32"]);
        assert_eq!(world.get("/", &lines).text(), "peer http example.com 0");
    }
}
