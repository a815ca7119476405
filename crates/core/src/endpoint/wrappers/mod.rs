//! The kinds that are built in and stand on others.

mod limit;
mod proxy;
mod throttle;
mod via;

pub use limit::LimitListen;
pub use proxy::ProxyListen;
pub use throttle::ThrottleListen;
pub use via::{HttpConnectVia, Socks5Via};

use super::description::Description;
use super::error::EndpointError;
use super::form::Form;

/// The wrapper's own fields, checked against `form`, and the endpoint within.
fn split(
    description: &Description,
    form: &Form,
) -> Result<(Description, Description), EndpointError> {
    let (own, within) = description.split(form.arguments.len());
    own.check(form)?;
    match within {
        Some(within) if !within.kind().text().is_empty() => Ok((own, within)),
        within => {
            let end = description.text().chars().count() + 1;
            let column = within.map_or(end, |within| within.kind().column());
            let message = format!(
                "the endpoint that it stands on is missing; write `{}`",
                form.usage
            );
            Err(description.error(column, message))
        }
    }
}
