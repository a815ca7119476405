//! Sockets from the service manager: what `sd_listen_fds(3)` says of its three variables.

use std::env;
use std::fmt;
use std::io;
use std::process;
use std::rc::Rc;

use ropewalk_core::endpoint::{Descriptor, ServerEndpoint, ServerKind, SystemdListen};
use ropewalk_core::{Factory, ReactorCore};

/// The number of the first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The most sockets that are looked for.
const MOST: u16 = 4096;

/// A socket of this process's service.
#[derive(Debug)]
pub(crate) struct Systemd(pub(crate) SystemdListen);

impl ServerKind for Systemd {
    fn base(&self) -> io::Result<ServerEndpoint> {
        let variable = |name: &str| env::var(name).ok();
        let passed = Passed::read(variable, process::id()).map_err(invalid)?;
        let number = passed.number(&self.0).map_err(invalid)?;
        Ok(ServerEndpoint::Fd(Descriptor::Inherited(number)))
    }

    fn factory(
        &self,
        _: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        Ok(factory)
    }
}

impl fmt::Display for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The sockets that were passed on: a name for each, empty where there is none.
struct Passed(Vec<String>);

impl Passed {
    fn read(variable: impl Fn(&str) -> Option<String>, own: u32) -> Result<Self, String> {
        let (Some(pid), Some(count)) = (variable("LISTEN_PID"), variable("LISTEN_FDS")) else {
            return Err(
                "systemd has passed no sockets: LISTEN_PID and LISTEN_FDS are not set; start this \
                 program by a service with a .socket unit, or try it with systemd-socket-activate"
                    .to_owned(),
            );
        };
        if pid.parse() != Ok(own) {
            return Err(format!(
                "the sockets are for another process: LISTEN_PID is {pid:?}, and this is {own}; \
                 let systemd start this program itself, with no shell or wrapper that stays between"
            ));
        }
        let count = match count.parse::<u16>() {
            Ok(count) if count <= MOST => usize::from(count),
            _ => {
                return Err(format!(
                    "LISTEN_FDS is {count:?}, which is not a number of sockets up to {MOST}"
                ));
            }
        };
        let mut names = match variable("LISTEN_FDNAMES") {
            Some(names) => names.split(':').map(str::to_owned).collect(),
            None => Vec::new(),
        };
        names.resize(count, String::new());
        Ok(Self(names))
    }

    /// The number of the descriptor that is asked for.
    fn number(&self, listen: &SystemdListen) -> Result<i32, String> {
        let at = match listen {
            SystemdListen::Index(index) => usize::from(*index),
            SystemdListen::Name(name) => self.find(name)?,
        };
        let number = i32::try_from(at).ok().filter(|_| at < self.0.len());
        number.map(|number| FIRST + number).ok_or_else(|| {
            let count = self.0.len();
            format!("systemd has passed {count} sockets, and the index of the first is 0")
        })
    }

    fn find(&self, wanted: &str) -> Result<usize, String> {
        let places = self.0.iter().enumerate();
        let mut found = places.filter(|(_, name)| *name == wanted).map(|(at, _)| at);
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (Some(first), Some(second)) => Err(format!(
                "systemd has passed more than one socket called {wanted:?}; take one by its index, \
                 such as `systemd:index={first}` or `systemd:index={second}`"
            )),
            (None, _) => {
                let names: Vec<_> = self.0.iter().map(|name| format!("{name:?}")).collect();
                Err(format!(
                    "systemd has passed no socket called {wanted:?}; it has passed {}, and the \
                     name is the unit's FileDescriptorName=",
                    names.join(", "),
                ))
            }
        }
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pid: &str, count: &str, names: Option<&str>) -> Result<Passed, String> {
        let variable = |name: &str| match name {
            "LISTEN_PID" => Some(pid.to_owned()),
            "LISTEN_FDS" => Some(count.to_owned()),
            _ => names.map(str::to_owned),
        };
        Passed::read(variable, 7)
    }

    fn name(name: &str) -> SystemdListen {
        SystemdListen::Name(name.to_owned())
    }

    #[test]
    fn sockets_are_numbered_from_3_and_found_by_index_or_name() {
        let passed = passed("7", "2", Some("web:admin")).unwrap();
        assert_eq!(passed.number(&SystemdListen::Index(0)), Ok(3));
        assert_eq!(passed.number(&SystemdListen::Index(1)), Ok(4));
        assert_eq!(passed.number(&name("admin")), Ok(4));
        let error = passed.number(&SystemdListen::Index(2)).unwrap_err();
        assert!(error.contains("has passed 2 sockets"), "{error}");
        let error = passed.number(&name("mail")).unwrap_err();
        assert!(error.contains(r#"it has passed "web", "admin""#), "{error}");
    }

    #[test]
    fn a_name_that_several_have_is_an_error_that_tells_their_indices() {
        let passed = passed("7", "3", Some("a:web:web")).unwrap();
        let error = passed.number(&name("web")).unwrap_err();
        assert!(
            error.ends_with("`systemd:index=1` or `systemd:index=2`"),
            "{error}"
        );
    }

    #[test]
    fn variables_for_another_process_or_with_no_number_are_errors() {
        assert!(
            Passed::read(|_| None, 7)
                .err()
                .unwrap()
                .contains("are not set")
        );
        for (pid, count, message) in [
            ("8", "1", "LISTEN_PID is \"8\", and this is 7"),
            ("", "1", "LISTEN_PID is \"\""),
            ("7", "-1", "LISTEN_FDS is \"-1\""),
            ("7", "65535", "LISTEN_FDS is \"65535\""),
        ] {
            let error = passed(pid, count, None).err().unwrap();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn sockets_have_no_names_where_none_are_given() {
        let passed = passed("7", "1", None).unwrap();
        assert_eq!(passed.number(&SystemdListen::Index(0)), Ok(3));
        assert!(passed.number(&name("web")).is_err());
    }
}
