//! Reads answers of HTTP/1.1, as little of them as a checking client needs: what our own server does
//! not send is an error.

/// A piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Its status, and the number that it says it is about.
    Head {
        status: u16,
        number: u64,
    },
    Data(&'a [u8]),
    End,
}

/// The answers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    state: State,
    /// A line or head that is not complete.
    kept: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body of known length.
    Body(usize),
    ChunkSize,
    Chunk(usize),
    /// The line end behind a chunk.
    ChunkEnd,
    /// The empty line behind the last.
    LastEnd,
    End,
}

/// The longest head.
const MOST: usize = 16 * 1024;

impl Responses {
    /// The next piece of what has come; `None` when more is needed.
    pub(crate) fn next<'a>(&mut self, data: &mut &'a [u8]) -> Option<Result<Piece<'a>, String>> {
        loop {
            match self.state {
                State::Head => {
                    let head = match self.take_to(b"\r\n\r\n", data)? {
                        Ok(head) => head,
                        Err(wrong) => return Some(Err(wrong)),
                    };
                    return Some(self.head(&head));
                }
                State::Body(0) => self.state = State::End,
                State::Body(left) => return Some(Ok(self.data(left, data, State::Body)?)),
                State::Chunk(0) => self.state = State::ChunkEnd,
                State::Chunk(left) => return Some(Ok(self.data(left, data, State::Chunk)?)),
                State::End => {
                    self.state = State::Head;
                    return Some(Ok(Piece::End));
                }
                State::ChunkSize | State::ChunkEnd | State::LastEnd => {
                    let line = match self.take_to(b"\r\n", data)? {
                        Ok(line) => line,
                        Err(wrong) => return Some(Err(wrong)),
                    };
                    if let Err(wrong) = self.line(&line) {
                        return Some(Err(wrong));
                    }
                }
            }
        }
    }

    fn data<'a>(
        &mut self,
        left: usize,
        data: &mut &'a [u8],
        state: fn(usize) -> State,
    ) -> Option<Piece<'a>> {
        if data.is_empty() {
            return None;
        }
        let (taken, rest) = data.split_at(left.min(data.len()));
        *data = rest;
        self.state = state(left - taken.len());
        Some(Piece::Data(taken))
    }

    /// All up to and with `end`, with what was kept.
    fn take_to(&mut self, end: &[u8], data: &mut &[u8]) -> Option<Result<String, String>> {
        while let Some((byte, rest)) = data.split_first() {
            self.kept.push(*byte);
            *data = rest;
            if self.kept.ends_with(end) {
                let kept = String::from_utf8(std::mem::take(&mut self.kept));
                return Some(kept.map_err(|_| "a head that is no text".to_owned()));
            }
            if self.kept.len() > MOST {
                return Some(Err("a head without an end".to_owned()));
            }
        }
        None
    }

    fn head(&mut self, head: &str) -> Result<Piece<'static>, String> {
        let wrong = || format!("the head {head:?}");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status: u16 = status
            .and_then(|text| text.parse().ok())
            .ok_or_else(wrong)?;
        let field = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value)
        };
        self.state = match (field("content-length"), field("transfer-encoding")) {
            (Some(len), None) => State::Body(len.parse().map_err(|_| wrong())?),
            (None, Some("chunked")) => State::ChunkSize,
            _ => return Err(wrong()),
        };
        let number = field("x-number").and_then(|text| text.parse().ok());
        let number = number.unwrap_or(0);
        Ok(Piece::Head { status, number })
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim_end_matches("\r\n");
        self.state = match self.state {
            State::ChunkSize => match usize::from_str_radix(line, 16) {
                Ok(0) => State::LastEnd,
                Ok(len) => State::Chunk(len),
                Err(_) => return Err(format!("the length of a chunk {line:?}")),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::LastEnd if line.is_empty() => State::End,
            state => return Err(format!("the line {line:?} in {state:?}")),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Vec<String> {
        let mut responses = Responses::default();
        let mut seen: Vec<String> = Vec::new();
        for mut piece in bytes.chunks(step) {
            while let Some(next) = responses.next(&mut piece) {
                match next {
                    Ok(Piece::Data(data)) => {
                        let data = String::from_utf8_lossy(data);
                        match seen.last_mut() {
                            Some(last) if last.starts_with("data ") => last.push_str(&data),
                            _ => seen.push(format!("data {data}")),
                        }
                    }
                    Ok(other) => seen.push(format!("{other:?}")),
                    Err(wrong) => {
                        seen.push(wrong);
                        return seen;
                    }
                }
            }
        }
        seen
    }

    #[test]
    fn answers_are_read_however_they_are_split() {
        let answers = b"HTTP/1.1 200 OK\r\nX-Number: 7\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 200 OK\r\nx-number: 8\r\ntransfer-encoding: chunked\r\n\r\n\
            3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        for step in [1, 2, 7, 1000] {
            let seen = read(answers, step);
            let number = |n| format!("Head {{ status: 200, number: {n} }}");
            let expected = [
                &*number(7),
                "data hello",
                "End",
                &*number(8),
                "data abcde",
                "End",
            ];
            assert_eq!(seen, expected);
        }
        let broken = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n";
        assert!(read(broken, 100).last().unwrap().contains("ChunkEnd"));
    }
}
