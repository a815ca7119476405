//! A message that goes to many: encoded once, and shared by all who are sent it.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::Message;
use super::deflate::deflate_once;
use super::encoder::{Encoder, header};

/// A message whose frame is made once, however many it is sent to, and compressed once for each
/// window that their connections have agreed on. A long one is not copied for any of them.
///
/// Compressed on its own, it refers to nothing that was said before; so it can go to
/// connections with context takeover too, which then refer to nothing before it either.
///
/// ```
/// use ropewalk_web::websocket::PreparedMessage;
///
/// let news = PreparedMessage::new("it is raining");
/// let same = news.clone(); // costs nothing
/// assert_eq!(same.message().as_text(), Some("it is raining"));
/// ```
#[derive(Clone, Debug)]
pub struct PreparedMessage {
    inner: Rc<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    message: Message,
    plain: OnceCell<Bytes>,
    deflated: RefCell<Vec<Deflated>>,
}

/// The frame for a window and a level, if compressing makes it shorter.
#[derive(Debug)]
struct Deflated {
    window_bits: u8,
    level: u32,
    frame: Option<Bytes>,
}

impl PreparedMessage {
    /// From a text or bytes.
    #[must_use]
    pub fn new(message: impl Into<Message>) -> Self {
        Self {
            inner: Rc::new(Prepared {
                message: message.into(),
                plain: OnceCell::new(),
                deflated: RefCell::default(),
            }),
        }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.inner.message
    }

    /// The whole frame, as a server sends it over a connection with this encoder.
    pub(crate) fn encoded(&self, encoder: &mut Encoder) -> Bytes {
        let threshold = encoder.threshold();
        if let Some(deflater) = encoder.deflater()
            && self.message().len() >= threshold.max(1)
            && let Some(frame) = self.deflated(deflater.window_bits(), deflater.level())
        {
            deflater.forget();
            return frame;
        }
        let plain = || self.frame(false, self.message().as_bytes());
        self.inner.plain.get_or_init(plain).clone()
    }

    fn deflated(&self, window_bits: u8, level: u32) -> Option<Bytes> {
        let mut all = self.inner.deflated.borrow_mut();
        let is_it = |one: &&Deflated| (one.window_bits, one.level) == (window_bits, level);
        if let Some(found) = all.iter().find(is_it) {
            return found.frame.clone();
        }
        let message = self.message().as_bytes();
        let frame = deflate_once(message, window_bits, level)
            .filter(|payload| payload.len() < message.len())
            .map(|payload| self.frame(true, &payload));
        all.push(Deflated {
            window_bits,
            level,
            frame: frame.clone(),
        });
        frame
    }

    fn frame(&self, rsv1: bool, payload: &[u8]) -> Bytes {
        let header = header(self.message().opcode(), rsv1, payload.len(), None);
        [header.as_bytes(), payload].concat().into()
    }
}
