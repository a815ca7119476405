//! A socket that the service manager has opened for this process.

use std::fmt;

use super::description::{Description, Escaped};
use super::error::EndpointError;
use super::form::Form;
use super::value::Value;

const SYSTEMD: Form = Form {
    usage: "systemd:index=0",
    arguments: &[],
    options: &["index", "name"],
};

const INDEX: Value<u16> = Value {
    expected: "a number from 0 to 65535",
    parse: |text| {
        let all = text.bytes().all(|digit| digit.is_ascii_digit());
        all.then(|| text.parse().ok()).flatten()
    },
};

const NAME: Value<String> = Value {
    // systemd.socket(5), `FileDescriptorName=`.
    expected: "a name of up to 255 characters, with no colon",
    parse: |text| {
        let odd = |c: char| c == ':' || c.is_control();
        (!text.contains(odd) && text.len() <= 255).then(|| text.to_owned())
    },
};

/// A listening socket that was handed over by systemd, or by whoever speaks its protocol
/// (`sd_listen_fds(3)`): it was bound before this process began, and stays bound while it is
/// restarted, so that no connection is refused.
///
/// ```
/// use ropewalk_core::endpoint::{ServerEndpoint, SystemdListen};
///
/// let parsed: ServerEndpoint = "systemd:name=web".parse()?;
/// assert_eq!(parsed, SystemdListen::Name("web".into()).into());
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemdListen {
    /// The socket at this place, from 0, in the order of the `.socket` units.
    Index(u16),
    /// The one socket of this name (`FileDescriptorName=`). Where several have it, take `index`.
    Name(String),
}

impl SystemdListen {
    pub(super) fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&SYSTEMD)?;
        let index = description.read_option("index", &INDEX)?;
        let name = description.read_option("name", &NAME)?;
        match (index, name) {
            (Some(index), None) => Ok(Self::Index(index)),
            (None, Some(name)) => Ok(Self::Name(name)),
            (None, None) => {
                let message = "which socket is missing; write `systemd:index=0` or \
                               `systemd:name=NAME`";
                Err(description.error(description.text().chars().count() + 1, message))
            }
            (Some(_), Some(_)) => {
                let message = "a socket has an index or a name here; keep one of `index` and \
                               `name`";
                Err(description.error(description.kind().column(), message))
            }
        }
    }
}

impl fmt::Display for SystemdListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "systemd:index={index}"),
            Self::Name(name) => write!(f, "systemd:name={}", Escaped(name)),
        }
    }
}
