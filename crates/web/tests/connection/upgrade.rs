use std::rc::Rc;

use http::{Request, Response, StatusCode};
use ropewalk_core::{Factory, Protocol, Transport};
use ropewalk_web::{Body, Site, Upgrade, handler_fn};

use super::rig::*;

/// Says hello, and shouts back.
struct Shout;

impl Protocol for Shout {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(b"hello;");
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(&data.to_ascii_uppercase());
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        transport.write(b";bye");
        transport.lose_connection();
    }
}

fn shouting() -> Rc<dyn Factory> {
    Rc::new(Site::new(handler_fn(|request: Request<Body>| {
        if request.method() == "CONNECT" {
            return Upgrade::tunnel(Shout);
        }
        match Upgrade::is_asked_for(&request, "shout") {
            true => Upgrade::to("shout", Shout),
            false => Upgrade::required("shout"),
        }
    })))
}

const ASK: &str =
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: shout\r\n";

#[test]
fn what_follows_an_upgrade_is_for_the_new_protocol_however_it_is_cut() {
    let script = format!("{}{ASK}\r\nget / http/1.1\r\n\r\n", get("/"));
    let answered = answers(shouting, &script);
    let (first, second) = answered.split_once("HTTP/1.1 101").unwrap();
    assert!(first.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    assert_eq!(
        second,
        " Switching Protocols\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\n\
         hello;GET / HTTP/1.1\r\n\r\n"
    );
}

#[test]
fn a_tunnel_begins_behind_the_answer_to_connect() {
    let script = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\ninside";
    assert_eq!(
        answers(shouting, script),
        "HTTP/1.1 200 OK\r\n\r\nhello;INSIDE"
    );
}

/// RFC 9110, section 9.3.6: "A server MUST reject a CONNECT request that targets an empty or invalid port
/// number". A path names none; which methods it has, its handler may say.
#[test]
fn a_connect_to_a_path_makes_no_tunnel_and_is_the_last_request() {
    let site = |status: StatusCode| -> Rc<dyn Factory> {
        Rc::new(Site::new(handler_fn(move |request: Request<Body>| {
            assert_eq!(
                (request.method().as_str(), request.uri().path()),
                ("CONNECT", "/x")
            );
            let mut response = match status.is_success() {
                true => Upgrade::tunnel(Shout),
                false => Response::new(Body::from("no")),
            };
            *response.status_mut() = status;
            response
        })))
    };
    let script = format!("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n{}", get("/"));
    for (given, sent) in [(200, "400"), (204, "400"), (405, "405"), (404, "404")] {
        let client = Client::new(site(StatusCode::from_u16(given).unwrap()));
        client.send(&script);
        let seen = client.received();
        assert_eq!(statuses(&seen), [sent]);
        assert!(seen.contains("connection: close\r\n"), "{seen}");
        assert!(client.is_closed());
    }
}

#[test]
fn the_new_protocol_hears_of_the_end() {
    let client = Client::new(shouting());
    client.send(format!("{ASK}\r\n"));
    client.connection.act(Transport::lose_write_connection);
    client.reactor.run();
    assert!(client.received().ends_with("\r\n\r\nhello;;bye"));
    assert!(client.is_closed());
}

#[test]
fn an_upgrade_after_a_while_takes_what_has_come_meanwhile() {
    let signal = Signal::default();
    let awaited = signal.clone();
    let client = Client::new(site_async(move |_| {
        let awaited = awaited.clone();
        async move {
            awaited.wait().await;
            Ok(Upgrade::to("shout", Shout))
        }
    }));
    client.send(format!("{ASK}\r\nearly"));
    client.send(" bird");
    assert_eq!(client.received(), "");
    signal.give();
    client.reactor.run();
    assert!(client.received().ends_with("\r\n\r\nhello;EARLY BIRD"));
    client.send("!");
    assert_eq!(client.received(), "!");
}

#[test]
fn a_request_whose_body_has_not_ended_is_not_upgraded() {
    let client = Client::new(shouting());
    client.send(format!("{ASK}Content-Length: 5\r\n\r\nhel"));
    assert_eq!(statuses(&client.received()), ["500"]);
    let client = Client::new(shouting());
    client.send(format!("{ASK}Content-Length: 0\r\n\r\nhel"));
    assert!(client.received().ends_with("hello;HEL"));
}

/// Switches, whoever asks for what.
fn eager() -> Rc<dyn Factory> {
    Rc::new(Site::new(handler_fn(|_: Request<Body>| {
        Upgrade::to("shout", Shout)
    })))
}

#[test]
fn an_upgrade_that_nobody_can_follow_is_an_error_of_the_handler() {
    let client = Client::new(eager());
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(statuses(&client.received()), ["500"]);
    let bare = || {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
    };
    let client = Client::new(Rc::new(Site::new(handler_fn(move |_: Request<Body>| {
        bare()
    }))));
    client.send(format!("{ASK}\r\n"));
    assert_eq!(statuses(&client.received()), ["500"]);
}

/// RFC 9110, section 7.8: "A server MUST NOT switch to a protocol that was not indicated by the client".
#[test]
fn an_upgrade_that_was_not_asked_for_is_426_and_http_goes_on() {
    for fields in [
        "",
        "Connection: upgrade\r\n",
        "Upgrade: shout\r\n",
        "Connection: upgrade\r\nUpgrade: shouting, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: \r\n",
    ] {
        let client = Client::new(eager());
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let seen = client.received();
        assert!(seen.starts_with("HTTP/1.1 426 "), "{fields:?}: {seen}");
        assert!(seen.contains("upgrade: shout\r\n"), "{seen}");
        assert!(seen.contains("connection: upgrade\r\n"), "{seen}");
        client.send(get("/"));
        assert_eq!(statuses(&client.received()), ["426"]);
    }
    let client = Client::new(eager());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: Shout\r\n\r\n");
    assert_eq!(statuses(&client.received()), ["101"]);
}

#[test]
fn an_upgrade_is_asked_for_by_both_fields_in_http_1_1() {
    let asked = |version, connection: &str, upgrade: &str| {
        let mut request = Request::new(());
        *request.version_mut() = version;
        let fields = request.headers_mut();
        fields.insert("connection", connection.parse().unwrap());
        fields.insert("upgrade", upgrade.parse().unwrap());
        Upgrade::is_asked_for(&request, "shout")
    };
    assert!(asked(http::Version::HTTP_11, "Upgrade", "h2c, SHOUT"));
    assert!(!asked(http::Version::HTTP_11, "close", "shout"));
    assert!(!asked(http::Version::HTTP_11, "upgrade", "shouting"));
    assert!(!asked(http::Version::HTTP_10, "upgrade", "shout"));
    assert!(!asked(http::Version::HTTP_2, "upgrade", "shout"));
}
