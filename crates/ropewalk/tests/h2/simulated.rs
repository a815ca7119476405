//! Our client and our server in a simulated world, under faults: whatever goes wrong, an answer is the
//! right one or none, nobody waits for ever, and the two find each other again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use ropewalk::sim::{Passed, Schedule, World, explore};
use ropewalk::web::h2::{ClientConnection, Limits};
use ropewalk::web::{Body, BoxError, Site, handler_fn};
use ropewalk::{Deferred, Failure, Handle, defer_later};

const TIME: Duration = Duration::from_secs(20 * 60);
const QUIET: Duration = Duration::from_secs(10 * 60);

/// What was answered, and what was wrong.
#[derive(Default)]
struct Seen {
    answered: Cell<u32>,
    failed: Cell<u32>,
    wrong: RefCell<Option<String>>,
}

fn serve(handle: &Handle) {
    let site = Site::new(handler_fn(|request: Request<Body>| {
        Response::new(request.into_body())
    }));
    handle
        .listen(&"tcp:80".parse().unwrap(), Rc::new(site))
        .unwrap();
}

/// Asks for echoes, five at a time, on one connection after the other.
async fn ask(handle: Handle, seen: Rc<Seen>) {
    let endpoint = "tcp:server:80".parse().unwrap();
    let mut number = 0;
    loop {
        let second = Duration::from_secs(1);
        let _ = defer_later::<(), ()>(&handle, second, || ()).await;
        let connecting = ClientConnection::connect(&handle, &endpoint, Limits::default());
        let Ok(connection) = connecting.add_timeout(30 * second, &handle).await else {
            seen.failed.set(seen.failed.get() + 1);
            continue;
        };
        while connection.is_open() {
            let echoes: Vec<_> = (0..5)
                .map(|_| {
                    number += 1;
                    let echo = echo(connection.clone(), number);
                    Deferred::from_future(&handle, echo).add_timeout(30 * second, &handle)
                })
                .collect();
            let mut all_well = true;
            for echo in echoes {
                match echo.await {
                    Ok(None) => seen.answered.set(seen.answered.get() + 1),
                    Ok(wrong) => drop(seen.wrong.replace(wrong)),
                    Err(_) => all_well = false,
                }
            }
            let _ = defer_later::<(), ()>(&handle, second, || ()).await;
            if !all_well {
                seen.failed.set(seen.failed.get() + 1);
                break;
            }
        }
    }
}

/// Sends a body that is known by its number. What is wrong with the answer, if anything is.
async fn echo(connection: ClientConnection, number: u32) -> Result<Option<String>, Failure> {
    let length = 1 + (number as usize * 7919) % 200_000;
    let content: Vec<u8> = (0..length).map(|at| (at as u32 ^ number) as u8).collect();
    let (mut writer, body) = Body::channel();
    let sent = content.clone();
    let sending = async move {
        for piece in sent.chunks(30_000) {
            if writer.send(piece.to_vec()).await.is_err() {
                return;
            }
        }
        writer.finish(HeaderMap::new());
    };
    let request = Request::post("http://server/").body(body);
    let request = request.map_err(Failure::new)?;
    let answer = async {
        let response = connection.send(request).await?;
        let status = response.status();
        Ok::<_, BoxError>((status, response.into_body().collect().await?))
    };
    let (mut sending, mut answer) = (Box::pin(sending), Box::pin(answer));
    let mut sent = false;
    let result = std::future::poll_fn(|cx| {
        sent = sent || sending.as_mut().poll(cx).is_ready();
        answer.as_mut().poll(cx)
    });
    let (status, body) = result.await.map_err(Failure::new)?;
    Ok((status != 200 || body != content)
        .then(|| format!("{number}: {status} and {} bytes for {length}", body.len())))
}

fn scenario(world: &World, faults: &Schedule) -> Result<(), Failure> {
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(serve);
    let seen: Rc<Seen> = Rc::default();
    let asked = Rc::clone(&seen);
    client.start(move |handle| {
        let task = ask(handle.clone(), Rc::clone(&asked));
        ropewalk::ReactorTasks::spawn(handle, Box::pin(task));
    });
    world.plan(faults);
    world.run_for(TIME + QUIET);
    let before = seen.answered.get();
    world.run_for(Duration::from_secs(60));
    if let Some(wrong) = seen.wrong.take() {
        return Err(Failure::msg(wrong));
    }
    match seen.answered.get() - before {
        100.. => Ok(()),
        answered => Err(Failure::msg(format!(
            "{answered} answers in the last minute, {before} before and {} failures",
            seen.failed.get()
        ))),
    }
}

fn run(seed: u64) -> Passed {
    let hosts = ["server", "client"];
    let faults = |random: &mut _| Schedule::random(random, &hosts, TIME, TIME / 20);
    match explore(seed, faults, scenario) {
        Ok(passed) => passed,
        Err(found) => panic!(
            "seed {seed}: {}\n{:?}\n{}",
            found.what, found.faults, found.trace
        ),
    }
}

#[test]
fn answers_are_right_or_none_under_faults() {
    for seed in 0..12 {
        assert!(run(seed).faults > 5);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(3), run(3));
}
