//! Chromium, driven by the DevTools protocol over our own WebSocket client. It waits for what
//! happens in the page, and never for a time.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use ropewalk::web::websocket::{Options, WebSocketClient, WebSocketStream};
use ropewalk::{Failure, Handle};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tool;

/// A browser of its own, with a profile of its own, and one page.
pub(crate) struct Browser {
    process: Process,
    devtools: WebSocketStream,
    /// The page, to the browser.
    session: Option<String>,
    commands: u64,
    events: VecDeque<Value>,
}

/// Ended when it is dropped.
struct Process {
    child: Child,
    _profile: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts Chromium, if there is one, with an empty page.
    pub(crate) async fn start(reactor: &Handle) -> Result<Option<Self>, Failure> {
        let Some(chromium) = tool("chromium") else {
            return Ok(None);
        };
        let profile = tempfile::tempdir()?;
        let mut child = Command::new(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                "--ignore-certificate-errors",
                "--lang=en-GB",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stderr.take().expect("it was asked for"));
        let process = Process {
            child,
            _profile: profile,
        };
        let url = loop {
            let mut line = String::new();
            if said.read_line(&mut line)? == 0 {
                return Err(Failure::msg("chromium has ended before it listened"));
            }
            if let Some(url) = line.trim().strip_prefix("DevTools listening on ") {
                break url.to_owned();
            }
        };
        // What it says from now on is nobody's, and must not fill the pipe. This ends with chromium.
        std::thread::spawn(move || io::copy(&mut said, &mut io::sink()));

        let mut options = Options::default();
        options.limits.message = 64 * 1024 * 1024;
        options.limits.frame = 64 * 1024 * 1024;
        let client = WebSocketClient::new().options(options);
        let mut browser = Self {
            process,
            devtools: client.connect_stream(reactor, &url).await?,
            session: None,
            commands: 0,
            events: VecDeque::new(),
        };
        let page = json!({ "url": "about:blank" });
        let page = browser.call("Target.createTarget", page).await;
        let page = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", page).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Ok(Some(browser))
    }

    /// A command, and its result.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.commands += 1;
        let id = self.commands;
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = session.clone().into();
        }
        self.devtools.send(command.to_string()).await.unwrap();
        loop {
            let mut message = self.next().await;
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    async fn next(&mut self) -> Value {
        let message = self.devtools.recv().await.expect("chromium goes on");
        serde_json::from_str(message.unwrap().as_text().unwrap()).unwrap()
    }

    /// The next event of this name, which may have come already.
    pub(crate) async fn event(&mut self, method: &str) -> Value {
        let is_it = |event: &Value| event["method"] == method;
        if let Some(at) = self.events.iter().position(is_it) {
            return self.events.remove(at).unwrap_or_default();
        }
        loop {
            let event = self.next().await;
            if is_it(&event) {
                return event;
            }
            self.events.push_back(event);
        }
    }

    pub(crate) async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        self.event("Page.loadEventFired").await;
    }

    pub(crate) async fn reload(&mut self) {
        self.call("Page.reload", json!({})).await;
        self.event("Page.loadEventFired").await;
    }

    /// The value of an expression in the page; of a promise, when it is kept.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params).await;
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    /// Waits until an expression is true in the page: it is looked at whenever the page changes.
    pub(crate) async fn until(&mut self, expression: &str) {
        self.evaluate(&format!(
            "new Promise((kept) => {{
               const observer = new MutationObserver(look);
               function look() {{
                 if (!({expression})) return;
                 observer.disconnect();
                 kept(true);
               }}
               const all = {{ subtree: true, childList: true, characterData: true, attributes: true }};
               observer.observe(document, all);
               look();
             }})"
        ))
        .await;
    }

    /// Waits until there is this text, where `selector` leads first.
    pub(crate) async fn until_text(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!(
            "document.querySelector({selector})?.textContent === {text}"
        ))
        .await;
    }

    /// Types into a field, as a user does, and presses Enter.
    pub(crate) async fn type_into(&mut self, selector: &str, text: &str) {
        let selector = json!(selector);
        self.evaluate(&format!("document.querySelector({selector}).focus()"))
            .await;
        self.call("Input.insertText", json!({ "text": text })).await;
        for kind in ["keyDown", "keyUp"] {
            let key = json!({
                "type": kind, "key": "Enter", "code": "Enter", "text": "\r",
                "windowsVirtualKeyCode": 13,
            });
            self.call("Input.dispatchKeyEvent", key).await;
        }
    }

    /// What came in answer to the request for `url`.
    pub(crate) async fn response(&mut self, url: &str) -> Value {
        loop {
            let mut event = self.event("Network.responseReceived").await;
            let mut response = event["params"]["response"].take();
            if response["url"] == url {
                return response.take();
            }
        }
    }

    /// What went wrong in the page, by its console.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let of_page = ["Log.entryAdded", "Runtime.exceptionThrown"];
        let events = self.events.iter();
        events
            .filter(|event| of_page.iter().any(|name| event["method"] == *name))
            .collect()
    }

    /// Ends it, and waits until it has.
    pub(crate) async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        while self
            .devtools
            .recv()
            .await
            .is_some_and(|message| message.is_ok())
        {}
        self.process.child.wait().unwrap();
    }
}
