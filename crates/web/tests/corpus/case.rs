//! A case, and how it is written down: see `README.md`.

use super::server::Seen;

/// Bytes, and what must come of them.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The document, the section, and what it says in short.
    pub(crate) rule: String,
    pub(crate) bytes: Vec<u8>,
    /// What the handler must see.
    pub(crate) requests: Vec<Expected>,
    /// Whether `100 Continue` is sent to a peer that waits for it.
    pub(crate) continues: bool,
    pub(crate) end: End,
}

/// How a connection stands when all of the bytes have come.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// It takes another request.
    Open,
    /// The last answer was the last.
    Closed,
    /// With this status, and closed.
    Refused(u16),
    /// A request is incomplete; if nothing more comes, this is its status.
    Waits(u16),
}

/// A request that the handler must see.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    method: String,
    target: String,
    body: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
    trailers: Vec<(String, Vec<u8>)>,
}

impl Expected {
    pub(crate) fn is(&self, seen: &Seen) -> bool {
        let has = |found: &http::HeaderMap, wanted: &[(String, Vec<u8>)]| {
            wanted.iter().all(|(name, value)| {
                let mut values = found.get_all(name).iter();
                values.any(|found| found.as_bytes() == value)
            })
        };
        self.method == seen.method
            && self.target == seen.target
            && self.body == seen.body
            && has(&seen.fields, &self.fields)
            && has(&seen.trailers, &self.trailers)
            && self.trailers.len() == seen.trailers.len()
    }
}

impl Case {
    /// All cases of a file.
    pub(crate) fn read_all(text: &str) -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("case ") {
                cases.push(Self {
                    name: name.to_owned(),
                    rule: String::new(),
                    bytes: Vec::new(),
                    requests: Vec::new(),
                    continues: false,
                    end: End::Open,
                });
            } else if !line.is_empty() && !line.starts_with('#') {
                cases.last_mut().expect("no case").add(line);
            }
        }
        for case in &cases {
            let rule = &case.rule;
            assert!(rule.starts_with("RFC "), "{}: rests on nothing", case.name);
        }
        cases
    }

    fn add(&mut self, line: &str) {
        let (kind, rest) = line.split_once(' ').expect(line);
        match kind {
            "rule" => rest.clone_into(&mut self.rule),
            ">" => self.bytes.extend(unescape(rest)),
            "=" => self.add_outcome(rest),
            _ => panic!("{}: {line}", self.name),
        }
    }

    fn add_outcome(&mut self, outcome: &str) {
        let mut words = outcome.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        match (word(), word(), word()) {
            ("open", "", "") => self.end = End::Open,
            ("closed", "", "") => self.end = End::Closed,
            ("waits", status, "") => self.end = End::Waits(status.parse().expect(outcome)),
            ("100", "", "") => self.continues = true,
            ("field", name, value) => {
                let request = self.requests.last_mut().expect("no request");
                request.fields.push((name.to_owned(), unescape(value)));
            }
            ("trailer", name, value) => {
                let request = self.requests.last_mut().expect("no request");
                request.trailers.push((name.to_owned(), unescape(value)));
            }
            (status, "", "") => self.end = End::Refused(status.parse().expect(outcome)),
            (method, target, body) => self.requests.push(Expected {
                method: method.to_owned(),
                target: String::from_utf8(unescape(target)).expect(outcome),
                body: unescape(body),
                ..Expected::default()
            }),
        }
    }
}

/// Takes away `\r`, `\n`, `\t`, `\0`, `\\`, `\xHH`, and `\{TEXT*COUNT}`, which is TEXT so many times.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let taken = match escape.as_bytes() {
            [b'r', ..] => push(&mut bytes, b"\r", 1),
            [b'n', ..] => push(&mut bytes, b"\n", 1),
            [b't', ..] => push(&mut bytes, b"\t", 1),
            [b'0', ..] => push(&mut bytes, b"\0", 1),
            [b'\\', ..] => push(&mut bytes, b"\\", 1),
            [b'x', ..] => {
                let byte = u8::from_str_radix(&escape[1..3], 16).expect(text);
                push(&mut bytes, &[byte], 3)
            }
            [b'{', ..] => {
                let end = escape.find('}').expect(text);
                let (repeated, count) = escape[1..end].rsplit_once('*').expect(text);
                let count = count.parse().expect(text);
                push(&mut bytes, &unescape(repeated).repeat(count), end + 1)
            }
            _ => panic!("no escape: {text}"),
        };
        rest = &escape[taken..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Returns `taken`, the length of the escape that stands for `meant`.
fn push(bytes: &mut Vec<u8>, meant: &[u8], taken: usize) -> usize {
    bytes.extend_from_slice(meant);
    taken
}

#[test]
fn escapes_stand_for_bytes() {
    assert_eq!(unescape(r"a\r\n\t\0\\\xffb"), b"a\r\n\t\0\\\xffb");
    assert_eq!(unescape(r"\{ab*3}\{\r\n*2}c"), b"ababab\r\n\r\nc");
}
