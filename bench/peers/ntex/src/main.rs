//! ntex on its own runtime, neon, with epoll: one thread accepts, and hands connections to workers.

use bench_contract::{
    Arguments, HELLO, JSON_HEADERS, KEEP_ALIVE_SECONDS, Order, READ_BUFFER, announce, fail,
    listener, local_address,
};
use ntex::codec::{BytesCodec, Decoder};
use ntex::http::{HttpServiceConfig, KeepAlive};
use ntex::io::{Io, IoConfig};
use ntex::server::Server;
use ntex::time::Seconds;
use ntex::util::{BytePageSize, Bytes, BytesMut, Either};
use ntex::web::types::Path;
use ntex::web::{App, HttpResponse, HttpServer, get};
use ntex::{SharedCfg, fn_service};
use ntex_files::Files;
use std::io;
use std::net::TcpListener;

#[ntex::main]
async fn main() {
    let arguments = Arguments::parse(&["echo", "lines", "hello", "json", "file"]);
    let listener = listener(arguments.address);
    let address = local_address(&listener);
    let server = match arguments.app.as_str() {
        "echo" | "lines" => stream_server(&arguments, listener),
        _ => web_server(arguments, listener),
    };
    match server {
        Ok(server) => {
            announce(address);
            server
                .await
                .unwrap_or_else(|error| fail("cannot serve", error));
        }
        Err(error) => fail("cannot start", error),
    }
}

fn stream_server(arguments: &Arguments, listener: TcpListener) -> io::Result<Server> {
    let lines_wanted = arguments.app == "lines";
    let buffers = IoConfig::new()
        .set_read_buf(READ_BUFFER, 1024, 128)
        .set_write_buf(READ_BUFFER, 1024, 128)
        .set_write_page_size(BytePageSize::Size64);
    let server = ntex::server::build()
        .workers(arguments.workers)
        .disable_signals()
        .listen("bench", listener, async move |_| {
            fn_service(async move |io: Io| {
                // A connection that fails is over; there is nothing else to do about it.
                let _ = if lines_wanted {
                    lines(io).await
                } else {
                    echo(io).await
                };
                Ok::<_, io::Error>(())
            })
        })?
        .config("bench", SharedCfg::new("bench").add(buffers));
    Ok(server.run())
}

async fn echo(io: Io) -> Result<(), Either<io::Error, io::Error>> {
    while let Some(data) = io.recv(&BytesCodec).await? {
        io.send(data, &BytesCodec).await?;
    }
    Ok(())
}

/// A write per line into ntex's own output pages, which it sends when `recv` has to wait.
async fn lines(io: Io) -> Result<(), Either<io::Error, io::Error>> {
    while let Some(line) = io.recv(&Lines).await? {
        io.encode(line, &BytesCodec).map_err(Either::Right)?;
    }
    Ok(())
}

struct Lines;

impl Decoder for Lines {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&self, input: &mut BytesMut) -> Result<Option<Bytes>, io::Error> {
        let end = input.iter().position(|byte| *byte == b'\n');
        Ok(end.map(|end| input.split_to(end + 1)))
    }
}

fn web_server(arguments: Arguments, listener: TcpListener) -> io::Result<Server> {
    let dir = arguments.dir.unwrap_or_default();
    let keep_alive = KeepAlive::Timeout(Seconds(KEEP_ALIVE_SECONDS));
    let server = HttpServer::new(async move || match arguments.app.as_str() {
        "hello" => App::new().route("/", get().to(hello)),
        "json" => App::new().route("/users/{user}/orders/{order}", get().to(order)),
        _ => App::new().service(Files::new("/", dir.clone())),
    })
    .config(SharedCfg::new("bench").add(HttpServiceConfig::new().set_keepalive(keep_alive)))
    .workers(arguments.workers)
    // SIGTERM is to end it at once.
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(HELLO)
}

async fn order(path: Path<(u64, u64)>) -> HttpResponse {
    let (user, order) = path.into_inner();
    let mut response = HttpResponse::Ok();
    for (name, value) in JSON_HEADERS {
        response.header(name, value);
    }
    response.json(&Order::new(user, order))
}
