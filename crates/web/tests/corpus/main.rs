//! Streams of bytes that a server must take in one way only, each with the line of the RFC that it
//! rests on: see `README.md`.

mod answers;
mod case;
mod server;

use case::{Case, End};
use server::{Outcome, PROBE, Server};

/// One test for each file of cases.
macro_rules! topics {
    ($($topic:ident,)*) => {
        $(
            #[test]
            fn $topic() {
                check_all(stringify!($topic), include_str!(concat!(stringify!($topic), ".txt")));
            }
        )*

        const TOPICS: &[(&str, &str)] = &[
            $((stringify!($topic), include_str!(concat!(stringify!($topic), ".txt"))),)*
        ];
    };
}

topics! {
    bodies,
    chunks,
    connection_options,
    content_length,
    content_length_and_transfer_encoding,
    expect_and_upgrade,
    field_lines,
    host,
    limits,
    line_ends_and_control_bytes,
    methods,
    pipelining,
    request_line,
    targets,
    trailers,
    transfer_encoding,
    versions,
}

#[test]
fn every_file_of_cases_is_run_and_no_name_stands_twice() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let files = std::fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let mut found: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let run: Vec<_> = TOPICS.iter().map(|(topic, _)| *topic).collect();
    assert_eq!(found, run);

    let cases = TOPICS.iter().flat_map(|(_, text)| Case::read_all(text));
    let mut names: Vec<_> = cases.map(|case| case.name).collect();
    names.sort();
    let count = names.len();
    assert!(count >= 300, "{count}");
    names.dedup();
    assert_eq!(names.len(), count);
}

fn check_all(topic: &str, text: &str) {
    let failed: Vec<String> = Case::read_all(text)
        .iter()
        .filter_map(|case| {
            let wrong = check(case).err()?;
            Some(format!("{}: {wrong}\n  {}", case.name, case.rule))
        })
        .collect();
    assert!(failed.is_empty(), "{topic}:\n{}", failed.join("\n"));
}

/// What is sent whole, in two pieces cut at each place, byte by byte, and with a request behind it
/// must come out as the case says.
fn check(case: &Case) -> Result<(), String> {
    let whole = Server::new().send(&[&case.bytes]).outcome();
    expect(case, &whole, false).map_err(|wrong| format!("whole: {wrong}"))?;

    let bytewise = Server::dripping(case).send(&[&case.bytes]).outcome();
    expect(case, &bytewise, false).map_err(|wrong| format!("byte by byte: {wrong}"))?;
    if bytewise.interim != usize::from(case.continues) {
        return Err(format!("{} interim answers", bytewise.interim));
    }

    // Long cases are cut at a sample of places.
    for cut in (1..case.bytes.len()).step_by(case.bytes.len() / 200 + 1) {
        let (first, second) = case.bytes.split_at(cut);
        let outcome = Server::new().send(&[first, second]).outcome();
        if outcome.answers != whole.answers || outcome.requests != whole.requests {
            return Err(format!("cut at {cut}: {outcome:?}, but whole: {whole:?}"));
        }
    }

    let followed = [&case.bytes[..], PROBE].concat();
    for outcome in [
        Server::new().send(&[&followed]).outcome(),
        Server::new().send(&[&case.bytes, PROBE]).outcome(),
        Server::dripping(case).send(&[&followed]).outcome(),
    ] {
        expect(case, &outcome, true).map_err(|wrong| format!("with a probe: {wrong}"))?;
    }
    if let End::Waits(status) = case.end {
        let outcome = Server::new().send(&[&case.bytes]).wait().outcome();
        if outcome.statuses().last() != Some(&status) || !outcome.closed {
            return Err(format!("after a minute: {outcome:?}"));
        }
    }
    Ok(())
}

/// Whether `outcome` is what `case` says, with or without a probe behind it.
fn expect(case: &Case, outcome: &Outcome, probed: bool) -> Result<(), String> {
    let mut requests = case.requests.iter();
    let mut seen = outcome.requests.iter();
    let mut statuses = vec![200; case.requests.len()];
    for (expected, seen) in requests.by_ref().zip(seen.by_ref()) {
        if !expected.is(seen) {
            return Err(format!("{seen:?}"));
        }
    }
    if let Some(missing) = requests.next() {
        return Err(format!("missing: {missing:?}; got {outcome:?}"));
    }
    match (&case.end, seen.next()) {
        (End::Open, Some(probe)) if probed && probe.is_probe() => statuses.push(200),
        (End::Open, None) if probed => return Err("the probe was not seen".to_owned()),
        // What is sent behind it belongs to what it waits for, and may spoil that.
        (End::Waits(_), seen) if probed => {
            return match seen {
                Some(seen) if seen.is_probe() => Err("the probe was seen".to_owned()),
                _ => Ok(()),
            };
        }
        (_, Some(more)) => return Err(format!("no request: {more:?}")),
        (End::Refused(status), None) => statuses.push(*status),
        _ => {}
    }
    if outcome.statuses() != statuses {
        return Err(format!("{outcome:?}"));
    }
    let ends = matches!(case.end, End::Refused(_) | End::Closed);
    if outcome.closed != ends {
        return Err(format!("closed: {}", outcome.closed));
    }
    let says_close = |answer: &server::Answer| answer.head.contains("\r\nconnection: close\r\n");
    match outcome.answers.split_last() {
        Some((last, _)) if ends != says_close(last) => Err(last.head.clone()),
        Some((_, others)) if others.iter().any(says_close) => Err("close said early".to_owned()),
        None if ends => Err("closed without an answer".to_owned()),
        _ => Ok(()),
    }
}
