//! Bytes in, messages out: frames are read, checked, unmasked, joined and inflated.
//!
//! It keeps what there is of the message and of the head that are under way, and nothing else; what
//! it keeps is bounded by the limits, and is there when bytes for it have come, not when their number
//! was announced.

use bytes::Bytes;

use super::close::CloseFrame;
use super::deflate::Inflater;
use super::frame_header::{FrameHeader, LONGEST_HEADER, Opcode};
use super::masking::apply_mask;
use super::utf8::Utf8Check;
use super::{Limits, Role, WebSocketError};

/// Room for a message is made for no more than this before its bytes have come.
const ROOM: usize = 64 * 1024;

/// Compressed bytes are unmasked so many at a time.
const PIECE: usize = 4096;

/// What a peer has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong(Bytes),
    Close(Option<CloseFrame>),
}

pub(crate) struct Decoder {
    role: Role,
    message_limit: usize,
    frame_limit: u64,
    inflater: Option<Inflater>,
    /// The beginning of a head.
    head: [u8; LONGEST_HEADER],
    head_length: usize,
    frame: Option<Frame>,
    message: Option<Message>,
    control: Vec<u8>,
}

/// The frame whose payload comes.
struct Frame {
    header: FrameHeader,
    /// Bytes of its payload that have come.
    come: u64,
}

/// The message whose frames come.
struct Message {
    is_text: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
    utf8: Utf8Check,
}

impl Decoder {
    pub(crate) fn new(role: Role, limits: &Limits, inflater: Option<Inflater>) -> Self {
        Self {
            role,
            message_limit: limits.message,
            frame_limit: limits.frame,
            inflater,
            head: [0; LONGEST_HEADER],
            head_length: 0,
            frame: None,
            message: None,
            control: Vec::new(),
        }
    }

    /// Takes bytes off the front of `input`, up to the end of the next thing that was said. `None`
    /// when all of them are taken. After an error there is nothing more to be had.
    pub(crate) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, WebSocketError> {
        loop {
            if self.frame.is_none() {
                let Some(header) = self.next_header(input)? else {
                    return Ok(None);
                };
                self.begin(header)?;
            }
            if !self.take_payload(input)? {
                return Ok(None);
            }
            if let Some(incoming) = self.end_frame()? {
                return Ok(Some(incoming));
            }
        }
    }

    fn next_header(&mut self, input: &mut &[u8]) -> Result<Option<FrameHeader>, WebSocketError> {
        if self.head_length == 0
            && let Some((header, length)) = FrameHeader::parse(input)?
        {
            *input = &input[length..];
            return Ok(Some(header));
        }
        while let Some((first, rest)) = input.split_first() {
            self.head[self.head_length] = *first;
            self.head_length += 1;
            *input = rest;
            if let Some((header, _)) = FrameHeader::parse(&self.head[..self.head_length])? {
                self.head_length = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// A head has come: whether it may.
    fn begin(&mut self, header: FrameHeader) -> Result<(), WebSocketError> {
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(WebSocketError::Unmasked),
            (Role::Client, Some(_)) => return Err(WebSocketError::Masked),
            _ => {}
        }
        let starts = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if header.rsv1 && !(starts && self.inflater.is_some()) {
            return Err(WebSocketError::ReservedBit);
        }
        if !header.opcode.is_control() {
            match (starts, &self.message) {
                (true, Some(_)) => return Err(WebSocketError::ExpectedContinuation),
                (false, None) => return Err(WebSocketError::UnexpectedContinuation),
                _ => {}
            }
            if header.length > self.frame_limit {
                let limit = self.frame_limit;
                return Err(WebSocketError::FrameTooBig { limit });
            }
            let message = self.message.get_or_insert_with(|| Message {
                is_text: header.opcode == Opcode::Text,
                is_compressed: header.rsv1,
                bytes: Vec::new(),
                utf8: Utf8Check::default(),
            });
            if !message.is_compressed {
                let limit = self.message_limit;
                let room = (limit - message.bytes.len().min(limit)) as u64;
                if header.length > room {
                    return Err(WebSocketError::MessageTooBig { limit });
                }
            }
        }
        self.frame = Some(Frame { header, come: 0 });
        Ok(())
    }

    /// Takes what has come of the frame's payload. `false` if more is to come.
    fn take_payload(&mut self, input: &mut &[u8]) -> Result<bool, WebSocketError> {
        let Some(frame) = &mut self.frame else {
            return Ok(false);
        };
        let header = &frame.header;
        let left = header.length - frame.come;
        let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (mut piece, rest) = input.split_at(count);
        *input = rest;
        let key = header.mask.unwrap_or_default();
        match &mut self.message {
            Some(message) if !header.opcode.is_control() && message.is_compressed => {
                if let Some(inflater) = &mut self.inflater {
                    let mut unmasked = [0; PIECE];
                    let mut offset = frame.come;
                    while !piece.is_empty() {
                        let (next, rest) = piece.split_at(piece.len().min(PIECE));
                        let unmasked = &mut unmasked[..next.len()];
                        unmasked.copy_from_slice(next);
                        apply_mask(unmasked, key, offset);
                        // Of what is wrong, the first counts, however the bytes were cut.
                        let inflated =
                            inflater.inflate(unmasked, &mut message.bytes, self.message_limit);
                        message.check()?;
                        inflated?;
                        offset += next.len() as u64;
                        piece = rest;
                    }
                }
            }
            Some(message) if !header.opcode.is_control() => {
                let is_whole = header.fin && left == count as u64 && message.bytes.is_empty();
                message.append(piece, left, key, frame.come);
                // One that has come in one piece is checked when it becomes a `String`.
                if !is_whole {
                    message.check()?;
                }
            }
            _ => {
                let at = self.control.len();
                self.control.extend_from_slice(piece);
                apply_mask(&mut self.control[at..], key, frame.come);
            }
        }
        frame.come += count as u64;
        Ok(left == count as u64)
    }

    /// All of the frame's payload has come: what that says, unless it is part of a message.
    fn end_frame(&mut self) -> Result<Option<Incoming>, WebSocketError> {
        let Some(Frame { header, .. }) = self.frame.take() else {
            return Ok(None);
        };
        Ok(Some(match header.opcode {
            Opcode::Ping => Incoming::Ping(std::mem::take(&mut self.control).into()),
            Opcode::Pong => Incoming::Pong(std::mem::take(&mut self.control).into()),
            Opcode::Close => {
                let payload = std::mem::take(&mut self.control);
                Incoming::Close(CloseFrame::parse(&payload)?)
            }
            _ if !header.fin => return Ok(None),
            _ => match self.message.take() {
                Some(message) => self.end_message(message)?,
                None => return Ok(None),
            },
        }))
    }

    fn end_message(&mut self, mut message: Message) -> Result<Incoming, WebSocketError> {
        if message.is_compressed
            && let Some(inflater) = &mut self.inflater
        {
            inflater.finish(&mut message.bytes, self.message_limit)?;
        }
        Ok(match message.is_text {
            true => {
                let text = String::from_utf8(message.bytes);
                Incoming::Text(text.map_err(|_| WebSocketError::InvalidUtf8)?)
            }
            false => Incoming::Binary(message.bytes.into()),
        })
    }
}

impl Message {
    /// Appends a masked piece of a frame of which `left` bytes are to come, with this one.
    fn append(&mut self, piece: &[u8], left: u64, key: [u8; 4], offset: u64) {
        let at = self.bytes.len();
        if self.bytes.capacity() - at < piece.len() {
            // As much again as there is, but no more than will come.
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let ahead = left.min(at.max(ROOM));
            self.bytes.reserve_exact(ahead.max(piece.len()));
        }
        self.bytes.extend_from_slice(piece);
        apply_mask(&mut self.bytes[at..], key, offset);
    }

    fn check(&mut self) -> Result<(), WebSocketError> {
        match self.is_text {
            true => self.utf8.advance(&self.bytes),
            false => Ok(()),
        }
    }
}
