//! Short names for reasons and errors, to be compared.

use ropewalk_core::{
    Cancelled, ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost, DeadlinePassed,
    Failure, ListenError, Panicked, TimedOut, WriteBufferFull, WriteStalled,
};

/// What a failure is.
pub(crate) fn name_of(failure: &Failure) -> String {
    if let Some(error) = failure.check::<ConnectError>() {
        return connect_error(error).to_owned();
    }
    if let Some(panicked) = failure.check::<Panicked>() {
        return format!("panic in {}", panicked.callback);
    }
    if let Some(passed) = failure.check::<DeadlinePassed>() {
        return format!("deadline {:?}", passed.deadline);
    }
    let names = [
        (failure.check::<ConnectionDone>().is_some(), "done"),
        (failure.check::<ConnectionAborted>().is_some(), "aborted"),
        (failure.check::<ConnectionLost>().is_some(), "broken"),
        (failure.check::<TimedOut>().is_some(), "timed out"),
        (failure.check::<WriteBufferFull>().is_some(), "buffer full"),
        (failure.check::<WriteStalled>().is_some(), "stalled"),
        (failure.check::<Cancelled>().is_some(), "cancelled"),
    ];
    let known = names.into_iter().find_map(|(is, name)| is.then_some(name));
    known.map_or_else(|| failure.to_string(), str::to_owned)
}

fn connect_error(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Refused { .. } => "refused",
        ConnectError::TimedOut { .. } => "no answer",
        ConnectError::NameNotFound { .. } => "name not found",
        ConnectError::AllFailed { .. } => "all failed",
        ConnectError::FactoryRefused => "factory refused",
        ConnectError::ReactorStopped => "reactor stopped",
        _ => "other error",
    }
}

/// What a refusal to listen is.
pub(crate) fn listen_error(error: &ListenError) -> &'static str {
    match error {
        ListenError::AddressInUse { .. } => "in use",
        ListenError::AddressNotAvailable { .. } => "not available",
        ListenError::PermissionDenied { .. } => "denied",
        ListenError::ReactorStopped => "reactor stopped",
        _ => "other error",
    }
}
