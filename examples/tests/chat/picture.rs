//! Two browsers side by side, a screen in light and a phone in the dark: the README's picture.
//! `CHAT_PICTURE=chat.png cargo test -p ropewalk-examples --test chat picture` makes `examples/chat.png` anew,
//! in half a minute, since the figures have to move; otherwise nobody waits for them, and nothing is kept.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use ropewalk::{Failure, Handle, defer_later};
use serde_json::json;

use crate::Chat;
use crate::browser::Browser;
use crate::sockets::Somebody;

/// Who says what, and how many tenths of a second after the one before.
const TALK: &[(&str, &str, u64)] = &[
    ("Barbara", "Morning, all. Is the new server up?", 20),
    ("Radia", "It is.", 12),
    ("Barbara", "One process?", 4),
    ("Radia", "One process, one thread, one loop.", 6),
    ("Barbara", "And the figures on the right?", 5),
    ("Radia", "Server-sent events, one a second.", 5),
    ("Barbara", "I like the little curve.", 4),
    ("Radia", "It likes you back.", 4),
    ("Barbara", "Off to a meeting. Back at ten.", 30),
    ("Radia", "Same here.", 12),
    ("Grace", "Ada! How is the new engine?", 40),
    (
        "Ada",
        "One loop, and every protocol tells it what it wants.",
        18,
    ),
    ("Grace", "And who does the waiting?", 12),
    ("Ada", "Nobody. That is the idea. 🙂", 12),
    ("Grace", "What if I type <script>alert(1)</script>?", 24),
    ("Ada", "Then I read <script>alert(1)</script>.", 16),
    ("Grace", "On a phone, in the dark, it looks good too.", 16),
    (
        "Ada",
        "And when a connection breaks, the page comes back by itself.",
        20,
    ),
    ("Grace", "How much of a program is that?", 14),
    ("Ada", "One file of Rust. 😄", 12),
];

/// Wide enough for both, with the space that there is around them.
const SHEET: (u32, u32) = (1296, 680);
const SCREEN: (u32, u32) = (840, 600);
const PHONE: (u32, u32) = (360, 600);

#[ropewalk::test(driver = "poll", timeout = "1h")]
async fn both_are_in_the_picture(reactor: Handle) -> Result<(), Failure> {
    let Some(mut ada) = Browser::start(&reactor).await? else {
        return Ok(());
    };
    let Some(mut grace) = Browser::start(&reactor).await? else {
        return Ok(());
    };
    let chat = Chat::start();
    let url = format!("http://{}/", chat.address());
    ada.looks_like(SCREEN, "light").await;
    grace.looks_like(PHONE, "dark").await;
    let mut barbara = Somebody::joins(&reactor, &chat, "Barbara").await?;
    let mut radia = Somebody::joins(&reactor, &chat, "Radia").await?;
    ada.join(&url, "Ada").await;
    grace.join(&url, "Grace").await;
    let kept = std::env::var_os("CHAT_PICTURE");
    for (who, what, tenths) in TALK {
        if kept.is_some() {
            let pause = Duration::from_millis(tenths * 100);
            defer_later::<(), _>(&reactor, pause, || ()).await?;
        }
        match *who {
            "Ada" => ada.say(what).await,
            "Grace" => grace.say(what).await,
            "Barbara" => barbara.says(what).await?,
            _ => radia.says(what).await?,
        }
        ada.hears(who, what).await;
        grace.hears(who, what).await;
    }
    let said = TALK.len().to_string();
    ada.until_text("#count", &said).await;
    grace.until_text("#count", &said).await;

    let shots = [(ada.shot().await, SCREEN), (grace.shot().await, PHONE)];
    let frames = shots.map(|(shot, (width, height))| {
        format!(
            "<div><p><i></i><i></i><i></i></p>\
             <img width={width} height={height} src='data:image/png;base64,{shot}'></div>"
        )
    });
    let sheet = format!(
        "<!DOCTYPE html><style>{FRAMES}</style><body>{}",
        frames.concat()
    );
    ada.looks_like(SHEET, "light").await;
    ada.open("about:blank").await;
    let write = format!("document.write({}); document.close()", json!(sheet));
    ada.evaluate(&write).await;
    ada.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
        .await;
    let picture = BASE64_STANDARD.decode(ada.shot().await)?;
    assert_eq!(size_of(&picture), SHEET);
    if let Some(file) = kept {
        std::fs::write(&file, picture).map_err(|error| {
            Failure::new(error).context(format!("writing the picture to {}", file.display()))
        })?;
    }
    ada.close().await;
    grace.close().await;
    Ok(())
}

/// The width and height that a PNG says it has.
fn size_of(picture: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"));
    (number(16), number(20))
}

const FRAMES: &str = "
    body { margin: 0; height: 100vh; display: flex; align-items: center; justify-content: space-evenly;
           background: #b4afa6; }
    div { border-radius: 10px; overflow: hidden; background: #3a3e42; box-shadow: 0 6px 24px #0006; }
    p { margin: 0; padding: 7px 10px; display: flex; gap: 6px; }
    i { width: 10px; height: 10px; border-radius: 5px; background: #7d838a; }
    img { display: block; }";

impl Browser {
    async fn looks_like(&mut self, (width, height): (u32, u32), scheme: &str) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!({ "name": "prefers-color-scheme", "value": scheme });
        let media = json!({ "features": [scheme] });
        self.call("Emulation.setEmulatedMedia", media).await;
        let locale = json!({ "locale": "en-GB" });
        self.call("Emulation.setLocaleOverride", locale).await;
    }

    /// The page as a PNG, in base64.
    async fn shot(&mut self) -> String {
        let shot = self
            .call("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        shot["data"].as_str().unwrap().to_owned()
    }
}
