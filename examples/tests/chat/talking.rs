//! The chat in two browsers.

use std::net::TcpListener;

use ropewalk::{Failure, Handle};
use serde_json::json;

use crate::Chat;
use crate::browser::Browser;

impl Browser {
    /// Opens the chat, and joins it.
    pub(crate) async fn join(&mut self, url: &str, name: &str) {
        self.open(url).await;
        self.until("!document.getElementById('name-form').hidden")
            .await;
        self.type_into("#name", name).await;
        self.is_in(name).await;
    }

    pub(crate) async fn is_in(&mut self, name: &str) {
        self.until_text("#state", &format!("connected as {name}"))
            .await;
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.type_into("#text", text).await;
    }

    /// Waits until this was the last thing that somebody said.
    pub(crate) async fn hears(&mut self, from: &str, text: &str) {
        let (from, text) = (json!(from), json!(text));
        self.until(&format!(
            "(() => {{
               const last = document.querySelector('#messages li:last-child');
               return last?.querySelector('b')?.textContent === {from}
                 && last.querySelector('span').textContent === {text};
             }})()"
        ))
        .await;
    }

    async fn count(&mut self, selector: &str) -> u64 {
        let selector = json!(selector);
        let count = format!("document.querySelectorAll({selector}).length");
        self.evaluate(&count).await.as_u64().unwrap()
    }
}

#[ropewalk::test(driver = "poll", timeout = "1h")]
async fn two_browsers_talk_to_each_other(reactor: Handle) -> Result<(), Failure> {
    let Some(mut ada) = Browser::start(&reactor).await? else {
        return Ok(());
    };
    let Some(mut grace) = Browser::start(&reactor).await? else {
        return Ok(());
    };
    let chat = Chat::start();
    let url = format!("http://{}/", chat.address());
    ada.join(&url, "Ada").await;
    grace.join(&url, "Grace").await;

    ada.say("Is anybody there?").await;
    grace.hears("Ada", "Is anybody there?").await;
    grace.say("I am. Grüße! 👋").await;
    ada.hears("Grace", "I am. Grüße! 👋").await;

    // The figures come by themselves.
    for browser in [&mut ada, &mut grace] {
        browser.until_text("#people", "2").await;
        browser.until_text("#count", "2").await;
    }
    ada.until("document.querySelector('#plot polyline').getAttribute('points').includes(' ')")
        .await;

    // A text is a text.
    let evil = "<script>window.taken = 1</script><img src=x onerror='window.taken = 2'>";
    grace.say(evil).await;
    ada.until("document.querySelectorAll('#messages b').length === 3")
        .await;
    let shown = ada
        .evaluate("document.querySelector('#messages li:last-child span').textContent")
        .await;
    assert_eq!(shown, evil);
    assert_eq!(ada.count("#messages script, #messages img").await, 0);
    assert_eq!(ada.evaluate("typeof window.taken").await, "undefined");

    // The session knows who it is, in one browser and not in the other.
    ada.reload().await;
    ada.is_in("Ada").await;
    ada.until("document.querySelectorAll('#messages .own').length === 1")
        .await;
    ada.say("Back again").await;
    grace.hears("Ada", "Back again").await;

    let style = grace.response(&format!("{url}chat.css")).await;
    let coding = style["headers"]["content-encoding"].as_str();
    assert!(matches!(coding, Some("zstd" | "br" | "gzip")), "{style}");
    for browser in [&ada, &grace] {
        assert!(
            browser.complaints().is_empty(),
            "{:?}",
            browser.complaints()
        );
    }
    ada.close().await;
    grace.close().await;
    let (status, _) = chat.stop();
    assert!(status.success(), "{status}");
    Ok(())
}

#[ropewalk::test(driver = "poll", timeout = "1h")]
async fn a_page_comes_back_by_itself_when_its_server_does(reactor: Handle) -> Result<(), Failure> {
    let Some(mut ada) = Browser::start(&reactor).await? else {
        return Ok(());
    };
    // The port stays, so that nobody else gets it meanwhile.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    let chat = Chat::start_on(&listener);
    ada.join(&url, "Ada").await;
    ada.say("Don't go").await;
    ada.hears("Ada", "Don't go").await;

    // It ends well, though the page has a WebSocket and an event stream open.
    let (status, _) = chat.stop();
    assert!(status.success(), "{status}");
    ada.until_text("#state", "connection lost, trying again")
        .await;

    // The new one knows nobody: the page says again who it is.
    let chat = Chat::start_on(&listener);
    ada.is_in("Ada").await;
    ada.say("You are back").await;
    ada.hears("Ada", "You are back").await;
    ada.until_text("#count", "1").await;
    assert_eq!(ada.count("#messages .own").await, 2);
    ada.close().await;
    drop(chat);
    Ok(())
}

#[ropewalk::test(driver = "poll", timeout = "1h")]
async fn over_tls_the_page_and_its_websocket_share_one_http2_connection(
    reactor: Handle,
) -> Result<(), Failure> {
    let Some(mut ada) = Browser::start(&reactor).await? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (
        folder.path().join("site.pem"),
        folder.path().join("site.key"),
    );
    std::fs::write(&certificate, own.cert.pem())?;
    std::fs::write(&key, own.signing_key.serialize_pem())?;
    let chat = Chat::start_at(&format!(
        "tls:0:certificate={}:key={}:interface=127.0.0.1",
        certificate.display(),
        key.display()
    ));
    ada.join(&format!("https://{}/", chat.address()), "Ada")
        .await;
    ada.say("Is this HTTP/2?").await;
    ada.hears("Ada", "Is this HTTP/2?").await;
    ada.until_text("#count", "1").await;
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(ada.evaluate(protocol).await, "h2");
    ada.close().await;
    let (status, log) = chat.stop();
    assert!(status.success(), "{status}");
    assert!(
        log.contains("\"CONNECT /api/chat?after=0 HTTP/2.0\" 200"),
        "{log}"
    );
    Ok(())
}
