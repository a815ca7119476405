//! Our client, over TLS, against servers of others and our own: it trusts whom it was told to, and nobody
//! else.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use ropewalk::endpoint::{ClientEndpoint, TlsConnect};
use ropewalk::web::websocket::{CloseCode, Deflate, Message, Options, WebSocketClient};
use ropewalk::{Deferred, Failure, Reactor};

use crate::authority::Authority;
use crate::{installed, secured_echo};

/// Sends messages to the echo at this port, and looks at what comes back.
fn talk(port: u16, name: &str, roots: Option<&Path>) -> Result<(), Failure> {
    let mut options = Options {
        deflate: Some(Deflate::default()),
        ..Options::default()
    };
    options.limits.message = 16 * 1024 * 1024;
    let mut tls = TlsConnect::new("127.0.0.1".to_owned(), port);
    tls.roots = roots.map(Path::to_owned);
    tls.name = Some(name.to_owned());
    let endpoint = ClientEndpoint::from(tls);
    let reactor = Reactor::new()?;
    let handle = reactor.handle();
    let uri = format!("wss://{name}:{port}/").parse()?;
    let client = WebSocketClient::new().options(options);
    let connecting = client.connect_stream_at(&handle, &endpoint, &uri);
    let talking = Deferred::from_future(&handle, async move {
        let mut socket = connecting.await?;
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let text = Message::from("x".repeat(length));
            let bytes = Message::from(vec![length as u8; length]);
            for message in [text, bytes] {
                socket.send(message.clone()).await?;
                assert_eq!(socket.recv().await.unwrap()?, message);
            }
        }
        let closed = socket.close(CloseCode(4000), "enough").await.unwrap();
        assert!(closed.was_clean && closed.code == CloseCode(4000));
        Ok::<(), Failure>(())
    });
    let result: Rc<Cell<Option<Result<(), Failure>>>> = Rc::default();
    let kept = Rc::clone(&result);
    drop(talking.add_both(move |said: Result<(), Failure>| {
        kept.set(Some(said));
        handle.stop();
    }));
    reactor.run()?;
    result.take().expect("it has come to an end")
}

#[test]
fn a_server_is_talked_to_that_has_a_certificate_of_who_is_trusted_and_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let echo = secured_echo(&authority);
    let (_, port) = echo.address.rsplit_once(':').unwrap();
    let port = port.parse().unwrap();
    talk(port, "localhost", Some(&authority.roots())).unwrap();
    for (name, roots) in [
        ("localhost", Some(stranger.roots())),
        ("localhost", None),
        ("example.com", Some(authority.roots())),
    ] {
        let refused = talk(port, name, roots.as_deref()).unwrap_err();
        assert!(
            format!("{refused:?}").contains("certificate"),
            "{refused:?}"
        );
    }
}

/// A server of others that runs until this is dropped; it prints its port.
struct Foreign(Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn talk_to(mut server: Command) {
    let authority = Authority::new();
    server
        .args([authority.chain(), authority.key()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut server = Foreign(server.spawn().unwrap());
    let mut line = String::new();
    let output = server.0.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    let port = line.trim().parse().unwrap();
    talk(port, "localhost", Some(&authority.roots())).unwrap();
}

#[test]
fn websockets_of_python_sends_back_what_our_client_sends_over_tls() {
    let Some(python) = installed("websockets/bin/python") else {
        return;
    };
    let mut server = Command::new(python);
    server.args(["-c", PYTHON]);
    talk_to(server);
}

const PYTHON: &str = r#"
import asyncio, ssl, sys, websockets

async def echo(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    async with websockets.serve(echo, "127.0.0.1", 0, ssl=context, max_size=2**25) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

asyncio.run(main())
"#;

#[test]
fn ws_of_node_sends_back_what_our_client_sends_over_tls() {
    let Some(module) = installed("npm/node_modules/ws/index.js") else {
        return;
    };
    let mut server = Command::new("node");
    server
        .args(["-e", NODE])
        .arg(module.canonicalize().unwrap());
    talk_to(server);
}

const NODE: &str = r#"
const [module, cert, key] = process.argv.slice(1);
const { WebSocketServer } = require(module);
const fs = require('fs');
const https = require('https');

const server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
const sockets = new WebSocketServer({ server, perMessageDeflate: true, maxPayload: 2 ** 25 });
sockets.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"#;
