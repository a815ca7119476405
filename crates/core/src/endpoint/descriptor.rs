//! A socket that this process has already: inherited from another one, or made by a kind of
//! endpoint.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::description::Description;
use super::error::EndpointError;
use super::form::Form;
use super::value::Value;

const FD: Form = Form {
    usage: "fd:NUMBER",
    arguments: &["number"],
    options: &[],
};

const NUMBER: Value<i32> = Value {
    expected: "the number of a descriptor, such as 3",
    parse: |text| {
        let all = text.bytes().all(|digit| digit.is_ascii_digit());
        all.then(|| text.parse().ok()).flatten()
    },
};

/// A descriptor to listen with, or one that is connected.
///
/// As text it is `fd:NUMBER`, a descriptor that this process has inherited. Whoever opens the endpoint
/// takes it: it is closed with the port or the connection, is not inherited any further
/// (`FD_CLOEXEC` is set), and can be taken once. It must have come through `exec`: one that this
/// process has opened itself, which is marked as not to be inherited, is refused, so that a wrong
/// number cannot take a socket away from someone else in this process.
///
/// What a kind of endpoint has opened itself it gives as [`Given`](Self::Given); each that opens it
/// gets a duplicate.
///
/// ```
/// use ropewalk_core::endpoint::{Descriptor, ServerEndpoint};
/// use std::sync::Arc;
///
/// let inherited: ServerEndpoint = "fd:3".parse()?;
/// assert_eq!(inherited, ServerEndpoint::Fd(Descriptor::Inherited(3)));
///
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let given = ServerEndpoint::Fd(Descriptor::Given(Arc::new(socket.into())));
/// assert!(given.to_string().starts_with("fd:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub enum Descriptor {
    /// The descriptor of this number, which was open when the process began.
    Inherited(i32),
    /// One that this process has opened. Its text has its number, and does not bring it back.
    Given(Arc<OwnedFd>),
}

impl Descriptor {
    pub(super) fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check(&FD)?;
        description.read_argument(0, &NUMBER).map(Self::Inherited)
    }
}

impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inherited(one), Self::Inherited(other)) => one == other,
            (Self::Given(one), Self::Given(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Descriptor {}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inherited(number) => write!(f, "fd:{number}"),
            Self::Given(descriptor) => write!(f, "fd:{}", descriptor.as_raw_fd()),
        }
    }
}
