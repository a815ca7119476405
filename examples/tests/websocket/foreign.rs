//! Clients of others, against our server.

use std::process::{Command, Stdio};

use crate::authority::Authority;
use crate::{echo, installed, secured_echo};

/// Runs a client with the address of an echo, and of one over TLS with the file of whom to trust.
fn passes(client: impl Fn() -> Command) {
    let echo = echo();
    ends_well(client().arg(format!("ws://{}/", echo.address)));
    let authority = Authority::new();
    let echo = secured_echo(&authority);
    let mut secured = client();
    secured.arg(format!("wss://{}/", echo.address));
    ends_well(secured.arg(authority.roots()));
}

fn ends_well(client: &mut Command) {
    let output = client.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "all came back"
    );
}

#[test]
fn websockets_of_python_gets_back_what_it_sends() {
    let Some(python) = installed("websockets/bin/python") else {
        return;
    };
    passes(|| {
        let mut client = Command::new(&python);
        client.args(["-c", PYTHON]);
        client
    });
}

const PYTHON: &str = r#"
import asyncio, os, ssl, sys, websockets

async def main():
    tls = {"ssl": ssl.create_default_context(cafile=sys.argv[2])} if len(sys.argv) > 2 else {}
    for compression in ["deflate", None]:
        async with websockets.connect(sys.argv[1], compression=compression, max_size=2**25, **tls) as socket:
            texts = ["", "short", "Grüße " * 1000, "x" * 2**20]
            for message in texts + [os.urandom(n) for n in [0, 1, 125, 126, 65535, 65536, 2**20, 2**24]]:
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["in ", "three ", "frames"])
            assert await socket.recv() == "in three frames"
            await (await socket.ping(b"there?"))
            await socket.close(4000, "enough")
        assert socket.close_code == 4000, socket.close_code

asyncio.run(main())
print("all came back")
"#;

#[test]
fn ws_of_node_gets_back_what_it_sends() {
    let Some(module) = installed("npm/node_modules/ws/index.js") else {
        return;
    };
    let module = module.canonicalize().unwrap();
    passes(|| {
        let mut client = Command::new("node");
        client.args(["-e", NODE]).arg(&module);
        client
    });
}

const NODE: &str = r#"
const [module, url, roots] = process.argv.slice(1);
const WebSocket = require(module);
const crypto = require('crypto');
const ca = roots && require('fs').readFileSync(roots);

function talk(perMessageDeflate) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { ca, perMessageDeflate, maxPayload: 2 ** 25 });
    const lengths = [0, 1, 125, 126, 65535, 65536, 2 ** 20, 2 ** 24];
    const messages = ['', 'short', 'Grüße '.repeat(1000), ...lengths.map((n) => crypto.randomBytes(n))];
    let next = 0;
    socket.on('error', reject);
    socket.on('open', () => messages.forEach((message) => socket.send(message)));
    socket.on('message', (data, isBinary) => {
      const expected = messages[next++];
      const same = isBinary ? data.equals(expected) : data.toString() === expected;
      if (!same) reject(new Error(`message ${next} is another`));
      if (next === messages.length) socket.ping('there?');
    });
    socket.on('pong', () => socket.close(4000, 'enough'));
    socket.on('close', (code) => (code === 4000 ? resolve() : reject(new Error(`closed: ${code}`))));
  });
}

talk(false)
  .then(() => talk(true))
  .then(() => talk({ serverNoContextTakeover: true, clientMaxWindowBits: 10 }))
  .then(() => console.log('all came back'), (error) => { console.error(error); process.exit(1); });
"#;
