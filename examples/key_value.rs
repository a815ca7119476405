//! A protocol of one's own: takes lines "key:value", confirms each, and says when one is in no
//! such form. `cargo run -p ropewalk-examples --example key_value -- tcp:8000`
use std::rc::Rc;

use ropewalk::framing::{LineCodec, LineProtocol, LineReceiver, LineTransport};
use ropewalk::{Address, Failure, Reactor};

struct KeyValue;

impl LineProtocol for KeyValue {
    fn connection_made(&mut self, _: &mut LineTransport<'_>) {
        println!("客户端已连接");
    }

    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        let text = str::from_utf8(line).ok();
        match text.and_then(|text| text.split_once(':')) {
            Some((key, value)) if !value.contains(':') => {
                println!("接收到键值对:{key} = {value}");
                transport.send_line(format!("确认:{key} = {value}").as_bytes());
            }
            _ => {
                println!("接收到的数据格式不正确");
                transport.send_line("格式不正确,应为 key:value".as_bytes());
            }
        }
    }

    fn connection_lost(&mut self, _: Failure) {
        println!("客户端已断开连接");
    }
}

fn main() -> Result<(), Failure> {
    let endpoint = std::env::args().nth(1).unwrap_or("tcp:8000".to_owned());
    let lines = LineCodec::default().accept_bare_newline();
    let factory = move |_: &Address| LineReceiver::with_codec(lines.clone(), KeyValue);
    let reactor = Reactor::new()?;
    let port = reactor.listen(&endpoint.parse()?, Rc::new(factory))?;
    println!("listening on {}", port.address());
    Ok(reactor.run()?)
}
