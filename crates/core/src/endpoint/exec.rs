//! A program as the other end of a connection, and the standard streams as one.

use std::fmt;

use super::description::{Description, Escaped};
use super::error::EndpointError;
use super::form::Form;
use super::value::Value;

const EXEC: Form = Form {
    usage: "exec:PROGRAM[:ARGUMENT…]",
    arguments: &["program"],
    options: &["stderr"],
};

const STDIO: Form = Form {
    usage: "stdio",
    arguments: &[],
    options: &[],
};

const STDERR: Value<ExecStderr> = Value {
    expected: "`inherit`, `null` or `log`",
    parse: |text| match text {
        "inherit" => Some(ExecStderr::Inherit),
        "null" => Some(ExecStderr::Null),
        "log" => Some(ExecStderr::Log),
        _ => None,
    },
};

/// A program that is started for each connection, with the connection as its standard input and
/// output: what `inetd` does.
///
/// Those are one socket, so that either side can close its half. A program that leaves unread what
/// it was sent ends the connection with a reset. When the connection is closed, the program has five
/// seconds to end; then it is sent SIGTERM, and SIGKILL after five more. How it has ended is logged;
/// one that a signal has ended with a warning.
///
/// ```
/// use ropewalk_core::endpoint::{ClientEndpoint, ExecConnect, ExecStderr};
///
/// let parsed: ClientEndpoint = r"exec:grep:-i:a\:b:stderr=log".parse()?;
/// let built = ExecConnect::new("grep").arg("-i").arg("a:b").stderr(ExecStderr::Log);
/// assert_eq!(parsed, built.into());
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecConnect {
    /// A path, if it has a slash; otherwise a name, which is looked for in `PATH`.
    pub program: String,
    /// Without its own name. No shell reads them.
    pub arguments: Vec<String>,
    /// Where its standard error goes.
    pub stderr: ExecStderr,
}

/// Where the standard error of a program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExecStderr {
    /// To that of this process.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// Into the log, as events of target `ropewalk::exec`, a line each.
    Log,
}

impl ExecConnect {
    /// Starts `program`, with no arguments.
    #[must_use]
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            stderr: ExecStderr::default(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets [`stderr`](Self#structfield.stderr).
    #[must_use]
    pub fn stderr(mut self, stderr: ExecStderr) -> Self {
        self.stderr = stderr;
        self
    }

    pub(super) fn read(description: &Description) -> Result<Self, EndpointError> {
        description.check_with_rest(&EXEC)?;
        let fields = description.fields().iter();
        let mut words = fields.filter(|field| field.key().is_none());
        let mut next = || words.next().map(|field| field.value().text().to_owned());
        let mut connect = Self::new(next().unwrap_or_default());
        while let Some(argument) = next() {
            connect.arguments.push(argument);
        }
        if let Some(stderr) = description.read_option("stderr", &STDERR)? {
            connect.stderr = stderr;
        }
        Ok(connect)
    }
}

pub(super) fn read_stdio(description: &Description) -> Result<(), EndpointError> {
    description.check(&STDIO)
}

impl fmt::Display for ExecConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec:{}", Escaped(&self.program))?;
        for argument in &self.arguments {
            write!(f, ":{}", Escaped(argument))?;
        }
        match self.stderr {
            ExecStderr::Inherit => Ok(()),
            ExecStderr::Null => f.write_str(":stderr=null"),
            ExecStderr::Log => f.write_str(":stderr=log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClientEndpoint;
    use super::super::ServerEndpoint;
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        let error = text.parse::<ClientEndpoint>().unwrap_err();
        format!("{}: {}", error.column(), error.message())
    }

    #[test]
    fn what_is_wrong_is_said_at_its_column() {
        assert_eq!(
            error("exec"),
            "5: the program is missing; write `exec:PROGRAM[:ARGUMENT…]`"
        );
        assert!(error("exec::a").starts_with("6: the program is empty"));
        assert_eq!(
            error("exec:cat:stderr=file"),
            "17: `stderr` is `inherit`, `null` or `log`, not `file`"
        );
        assert!(error("stdio:1").starts_with("7: `1` is one field too many for `stdio`"));
        assert_eq!("stdio".parse(), Ok(ServerEndpoint::Stdio));
        assert_eq!(ServerEndpoint::Stdio.to_string(), "stdio");
        let none = "exec:cat".parse::<ServerEndpoint>().unwrap_err();
        assert!(none.message().contains("not a kind of server endpoint"));
    }

    #[test]
    fn arguments_may_be_empty() {
        let parsed: ClientEndpoint = "exec:printf::a".parse().unwrap();
        assert_eq!(parsed, ExecConnect::new("printf").arg("").arg("a").into());
    }

    proptest! {
        #[test]
        fn any_command_is_read_back(program in ".+", arguments in any::<Vec<String>>()) {
            let mut connect = ExecConnect::new(program).stderr(ExecStderr::Null);
            connect.arguments = arguments;
            let endpoint = ClientEndpoint::from(connect);
            prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }
}
