//! The chat's WebSocket, by our own client.

use ropewalk::web::websocket::{
    CloseCode, Closed, Message, Options, WebSocketClient, WebSocketStream,
};
use ropewalk::{Failure, Handle};
use serde_json::Value;

use crate::Chat;
use crate::api::{ask, rename};

/// Somebody who is in the chat, by no browser.
pub(crate) struct Somebody {
    stream: WebSocketStream,
}

impl Somebody {
    pub(crate) async fn joins(reactor: &Handle, chat: &Chat, name: &str) -> Result<Self, Failure> {
        let cookie = rename(chat, name).cookie();
        let mut options = Options::default();
        options.headers.insert("cookie", cookie.parse()?);
        let client = WebSocketClient::new().options(options);
        let url = format!("ws://{}/api/chat", chat.address());
        let stream = client.connect_stream(reactor, &url).await?;
        let mut somebody = Self { stream };
        somebody.hears(&format!("{name} is here")).await;
        Ok(somebody)
    }

    pub(crate) async fn says(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.stream.send(text).await?)
    }

    /// The next message.
    async fn next(&mut self) -> Result<Value, Closed> {
        let message = self.stream.recv().await.expect("the server goes on");
        Ok(serde_json::from_str(message?.as_text().unwrap()).unwrap())
    }

    /// Waits for a message of this text.
    pub(crate) async fn hears(&mut self, text: &str) -> Value {
        loop {
            let message = self.next().await.unwrap();
            if message["text"] == text {
                return message;
            }
        }
    }

    /// Why it was ended.
    async fn until_ended(mut self) -> CloseCode {
        while let Some(Ok(_)) = self.stream.recv().await {}
        self.stream.closed().expect("it has ended").code
    }
}

#[ropewalk::test(driver = "poll", timeout = "1h")]
async fn what_is_said_comes_to_all_once_and_in_order(reactor: Handle) -> Result<(), Failure> {
    let chat = Chat::start();
    let mut ada = Somebody::joins(&reactor, &chat, "Ada").await?;
    let mut grace = Somebody::joins(&reactor, &chat, "Grace").await?;
    for number in 0..10 {
        ada.says(&number.to_string()).await?;
    }
    let mut last = 0;
    for number in 0..10 {
        let message = grace.next().await.unwrap();
        assert_eq!(message["text"], number.to_string());
        assert_eq!(message["from"], "Ada");
        assert!(message["at"].as_u64().unwrap() > last);
        last = message["at"].as_u64().unwrap();
    }
    // It is kept, for those who ask what they have missed.
    let kept = ask(&chat, &format!("GET /api/messages?after={}", last - 1), "");
    assert_eq!(kept.json()[0]["text"], "9");
    let all = ask(&chat, "GET /api/messages", "").json();
    assert_eq!(all.as_array().unwrap().len(), 12);
    drop(ada);
    grace.hears("Ada has left").await;
    Ok(())
}

#[ropewalk::test(driver = "poll", timeout = "1h")]
async fn a_name_is_taken_while_somebody_is_here_by_it(reactor: Handle) -> Result<(), Failure> {
    let chat = Chat::start();
    let ada = Somebody::joins(&reactor, &chat, "Ada").await?;
    let refused = rename(&chat, "Ada");
    assert_eq!(refused.status, 409);
    assert!(
        refused.text().contains("take another"),
        "{}",
        refused.text()
    );
    let mut grace = Somebody::joins(&reactor, &chat, "Grace").await?;
    drop(ada);
    grace.hears("Ada has left").await;
    assert_eq!(rename(&chat, "Ada").status, 200);
    Ok(())
}

#[ropewalk::test(driver = "poll", timeout = "1h")]
async fn what_is_too_long_or_no_text_ends_its_websocket_and_no_other(
    reactor: Handle,
) -> Result<(), Failure> {
    let chat = Chat::start();
    let mut witness = Somebody::joins(&reactor, &chat, "Barbara").await?;
    let mut ada = Somebody::joins(&reactor, &chat, "Ada").await?;
    ada.says(&"x".repeat(2001)).await?;
    assert_eq!(ada.until_ended().await, CloseCode::MESSAGE_TOO_BIG);
    let mut grace = Somebody::joins(&reactor, &chat, "Grace").await?;
    grace.stream.send(Message::Binary(vec![0].into())).await?;
    assert_eq!(grace.until_ended().await, CloseCode::UNSUPPORTED_DATA);
    witness.hears("Grace has left").await;
    // So much it may be.
    let long = "ü".repeat(1000);
    witness.says(&long).await?;
    witness.hears(&long).await;
    Ok(())
}
