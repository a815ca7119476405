//! A Unix socket, by async code at both ends: `StreamFactory` and `ConnectionStream`.
//!
//! Holds: what holds of lines; a stream that ends is told as an end or an error, and no task stays.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{ConnectionStream, StreamFactory};

use crate::program::Program;
use crate::questions::{Questions, answer, question};
use crate::watched::CountedFactory;

const NAME: &str = "unix";
const PATH: &str = "unix:/run/chaos.sock";

/// The longest question, and the longest answer.
const LONGEST: usize = 40_000;

pub(crate) fn serve(program: &Program) {
    let checker = Rc::clone(program.checker());
    let factory = StreamFactory::new(move |mut stream: ConnectionStream| {
        let live = checker.live("stream server");
        async move {
            while let Some(asked) = read_line(&mut stream).await? {
                let asked = question(&asked).ok_or(io::ErrorKind::InvalidData)?;
                stream.write_all(&answer(asked)).await?;
                stream.write_all(b"\n").await?;
            }
            drop(live);
            Ok::<_, io::Error>(())
        }
    });
    let factory = CountedFactory::new(factory, program.checker(), "connection of a stream");
    program.listen(PATH, Rc::new(factory));
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let request = program.checker().ask(NAME);
        let live = program.checker().live("stream client");
        let program = program.clone();
        let endpoint = PATH.parse().expect("the endpoint is right");
        let reactor = program.reactor.clone();
        drop(reactor.clone().spawn(async move {
            let connecting = ConnectionStream::connect(&reactor, &endpoint);
            let stream = match connecting.await {
                Ok(stream) => stream,
                Err(failure) => return request.failed(&failure),
            };
            request.answered();
            // What is left without an answer is noted by the questions.
            let _ = ask(Questions::new(&program, NAME, 30_000), stream).await;
            drop(live);
        }));
    };
    program.every(Duration::from_secs(40), begin, || ());
}

async fn ask(mut questions: Questions, mut stream: ConnectionStream) -> io::Result<()> {
    loop {
        let batch = questions.next_batch();
        for question in &batch {
            stream.write_all(question.as_bytes()).await?;
            stream.write_all(b"\n").await?;
        }
        while questions.is_waiting() {
            match read_line(&mut stream).await? {
                Some(line) => drop(questions.answered(&line)),
                None => return Ok(()),
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
    }
}

/// The next line, without its end; `None` at the end of the stream.
async fn read_line(stream: &mut ConnectionStream) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let data = stream.fill_buf().await?;
        if data.is_empty() {
            return Ok(None);
        }
        let end = data.iter().position(|byte| *byte == b'\n');
        let len = end.unwrap_or(data.len());
        line.extend_from_slice(&data[..len]);
        if line.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream.consume(len + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}
