//! A form, whole and in pieces, comes to the same parts; and its names to the same names.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ropewalk_web::multipart::{
    Disposition, Event, Limits, MultipartError, MultipartParser, boundary_of,
};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, form) = input;
    let whole = parts(form, form.len().max(1));
    assert_eq!(parts(form, usize::from(step).max(1)), whole);
    let _ = boundary_of(form);
    if let Some(Disposition {
        file_name: Some(file_name),
        ..
    }) = Disposition::parse(form)
    {
        assert!(!file_name.contains(['/', '\\']));
    }
});

type Parts = Vec<(Disposition, Vec<u8>, bool)>;

fn parts(form: &[u8], step: usize) -> (Parts, Option<MultipartError>) {
    let mut limits = Limits::default();
    limits.fields = 8;
    limits.head = 256;
    let mut parser = MultipartParser::new(b"XX", limits);
    let mut parts: Parts = Vec::new();
    let mut rest = form.chunks(step);
    loop {
        match parser.next_event() {
            Ok(Event::Field { disposition, .. }) => parts.push((disposition, Vec::new(), false)),
            Ok(Event::Data(data)) => {
                let (_, content, ended) = parts.last_mut().expect("content belongs to a part");
                assert!(!*ended && !data.is_empty());
                content.extend_from_slice(&data);
            }
            Ok(Event::FieldEnd) => parts.last_mut().expect("a part has begun").2 = true,
            Ok(Event::End) => return (parts, None),
            Ok(Event::NeedMore) => match rest.next() {
                Some(piece) => parser.push(Bytes::copy_from_slice(piece)),
                None => return (parts, parser.finish().err()),
            },
            Err(error) => return (parts, Some(error)),
        }
    }
}
