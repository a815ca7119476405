//! What a site knows of how a request came: by TLS, or through a proxy that ends it; seen by curl over
//! real sockets.

use std::fs;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use ropewalk::web::cookies::{Cookie, Cookies};
use ropewalk::web::middleware::{SecurityHeadersLayer, TrustedProxiesLayer};
use ropewalk::web::{Body, RequestInfo, Site, handler_fn};
use ropewalk::{Factory, Reactor};
use tower_layer::Layer;

/// Says whether the request is secure, and sets a cookie.
fn handler(request: Request<Body>) -> Response<Body> {
    let secure = RequestInfo::of(&request).is_some_and(|info| info.secure);
    let cookies = Cookies::of(&request);
    let mut response = Response::new(Body::from(format!("secure={secure}\n")));
    cookies.set(&mut response, Cookie::new("a", "b")).unwrap();
    drop(request);
    response
}

/// What curl shows of an answer: its head and its content. `None` where there is no curl.
fn curl(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["-sSik", "--http1.1"]).args(arguments);
    let Ok(output) = command.stdin(Stdio::null()).output() else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "curl is missing"
        );
        eprintln!("curl is missing: what it would test is not tested");
        return None;
    };
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    Some(String::from_utf8_lossy(&output.stdout).to_lowercase())
}

/// Whether the answer is one to a secure request, in all that follows from it.
fn is_secure(answer: &str) -> bool {
    let secure = answer.contains("secure=true");
    assert_ne!(secure, answer.contains("secure=false"), "{answer}");
    assert_eq!(secure, answer.contains("; secure"), "{answer}");
    assert_eq!(
        secure,
        answer.contains("strict-transport-security: "),
        "{answer}"
    );
    secure
}

#[test]
fn a_request_is_secure_over_tls_and_where_a_trusted_proxy_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = folder.path().join("server.pem");
    let text = made.cert.pem() + &made.signing_key.serialize_pem();
    fs::write(&pem, text).unwrap();

    let reactor = Reactor::new().unwrap();
    let service = || {
        let age = Duration::from_secs(3600);
        SecurityHeadersLayer::new()
            .strict_transport_security(age, false)
            .layer(handler_fn(handler))
    };
    let believing = |proxies: &str| {
        let proxies = [proxies.parse().unwrap()];
        TrustedProxiesLayer::x_forwarded(proxies).with_proto()
    };
    let (proxied, distrusting) = (believing("127.0.0.0/8"), believing("192.0.2.0/24"));
    let plain = "tcp:0:interface=127.0.0.1";
    let tls = format!("tls:0:interface=127.0.0.1:certificate={}", pem.display());
    let listen = |endpoint: &str, site: Rc<dyn Factory>| {
        let port = reactor.listen(&endpoint.parse().unwrap(), site).unwrap();
        port.address().socket_addr().unwrap().port()
    };
    let tls = listen(&tls, Rc::new(Site::new(service())));
    let bare = listen(plain, Rc::new(Site::new(service())));
    let behind =
        Site::new(proxied.layer(service())).trusted_gateways(["127.0.0.1/32".parse().unwrap()]);
    let behind = listen(plain, Rc::new(behind));
    let alone = listen(plain, Rc::new(Site::new(distrusting.layer(service()))));

    let remote = reactor.remote();
    let client = std::thread::spawn(move || {
        let ask = || {
            let https = format!("https://127.0.0.1:{tls}/");
            assert!(is_secure(&curl(&[&https])?));
            let whole = ["--request-target", "https://localhost/"];
            assert!(is_secure(&curl(&[whole[0], whole[1], &https])?));

            let http = |port: u16| format!("http://127.0.0.1:{port}/");
            let [h, proto] = ["-H", "X-Forwarded-Proto: https"];
            assert!(!is_secure(&curl(&[&http(bare)])?));
            assert!(!is_secure(&curl(&[h, proto, &http(bare)])?));
            assert!(!is_secure(&curl(&[h, proto, &http(alone)])?));
            assert!(!is_secure(&curl(&[&http(behind)])?));
            assert!(is_secure(&curl(&[h, proto, &http(behind)])?));
            assert!(is_secure(&curl(&[whole[0], whole[1], &http(behind)])?));
            // Who has no TLS, and is no gateway, cannot ask for https.
            let refused = curl(&[whole[0], whole[1], &http(bare)])?;
            assert!(refused.starts_with("http/1.1 421 "), "{refused}");
            Some(())
        };
        let asked = std::panic::catch_unwind(ask);
        remote.call_from_thread(|reactor| reactor.stop());
        asked
    });
    reactor.run().unwrap();
    if let Err(payload) = client.join().unwrap() {
        std::panic::resume_unwind(payload);
    }
}
