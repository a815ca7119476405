//! What two sides agree on about compression: RFC 7692, sections 5 and 7.1.

use super::deflate::{Deflater, Inflater, Spare};
use super::extension::{Extension, parse_extensions};
use super::{Deflate, Role};

const NAME: &str = "permessage-deflate";
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// The widest window, which holds where nothing is said.
const WIDEST: u8 = 15;

/// What holds for the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    server: Direction,
    client: Direction,
}

/// What the compressor of one side keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Direction {
    takeover: bool,
    bits: u8,
}

/// The parameters of one offer or answer, each there at most once, each valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// There, and with a value or not.
    client_bits: Option<Option<u8>>,
}

impl Agreed {
    /// What a server answers to the first of these offers that it can hold itself to, and what
    /// is agreed by that (section 5.1). `None` if it takes none.
    pub(crate) fn accept(config: &Deflate, offers: &[Extension<'_>]) -> Option<(Self, String)> {
        offers
            .iter()
            .filter(|offer| offer.name.eq_ignore_ascii_case(NAME))
            .filter_map(Parameters::of)
            .find_map(|offer| offer.accept(config))
    }

    /// What a client offers.
    pub(crate) fn offer(config: &Deflate) -> String {
        let mut offer = NAME.to_owned();
        if config.peer_no_context_takeover {
            offer += &format!("; {SERVER_NO_TAKEOVER}");
        }
        if config.no_context_takeover {
            offer += &format!("; {CLIENT_NO_TAKEOVER}");
        }
        if config.peer_window_bits() < WIDEST {
            offer += &format!("; {SERVER_BITS}={}", config.peer_window_bits());
        }
        offer += &format!("; {CLIENT_BITS}");
        if config.window_bits() < WIDEST {
            offer += &format!("={}", config.window_bits());
        }
        offer
    }

    /// What a client takes a server's answer for: no compression if it is not there, and `None`
    /// if it is none to what was [offered](Self::offer).
    pub(crate) fn conclude(
        config: Option<&Deflate>,
        answer: &[Extension<'_>],
    ) -> Option<Option<Self>> {
        let (config, answer) = match (answer, config) {
            ([], _) => return Some(None),
            ([answer], Some(config)) if answer.name.eq_ignore_ascii_case(NAME) => (config, answer),
            _ => return None,
        };
        let answer = Parameters::of(answer)?;
        let server_bits = answer.server_bits.unwrap_or(WIDEST);
        let client_bits = match answer.client_bits {
            None => WIDEST,
            Some(bits) => bits?,
        };
        let holds = server_bits <= config.peer_window_bits()
            && client_bits >= 8
            && (answer.server_no_takeover || !config.peer_no_context_takeover);
        holds.then_some(Some(Self {
            server: Direction {
                takeover: !answer.server_no_takeover,
                bits: server_bits,
            },
            client: Direction {
                takeover: !answer.client_no_takeover && !config.no_context_takeover,
                bits: client_bits.min(config.window_bits()),
            },
        }))
    }

    /// What two sides of the same mind agree on.
    pub(crate) fn with_itself(config: &Deflate) -> Option<Self> {
        let offer = Self::offer(config);
        let mut offers = Vec::new();
        parse_extensions(&offer, &mut offers).ok()?;
        Self::accept(config, &offers).map(|(agreed, _)| agreed)
    }

    /// The compressor of the side that has this role, if it can compress for such a window.
    pub(crate) fn deflater(&self, role: Role, level: u32, spare: Spare) -> Option<Deflater> {
        let ours = self.of(role);
        Deflater::new(ours.bits, ours.takeover, level, spare)
    }

    /// What that side reads the other one's messages with.
    pub(crate) fn inflater(&self, role: Role) -> Inflater {
        let theirs = self.of(role.other());
        Inflater::new(theirs.bits, theirs.takeover)
    }

    fn of(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }
}

impl Parameters {
    /// `None` if one is unknown, there twice or has no such value: then the offer is declined
    /// (section 7.1).
    fn of(extension: &Extension<'_>) -> Option<Self> {
        let mut all = Self::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            let is_new = match (*name, value) {
                (SERVER_NO_TAKEOVER, None) => !std::mem::replace(&mut all.server_no_takeover, true),
                (CLIENT_NO_TAKEOVER, None) => !std::mem::replace(&mut all.client_no_takeover, true),
                (SERVER_BITS, Some(bits)) => all.server_bits.replace(window_bits(bits)?).is_none(),
                (CLIENT_BITS, None) => all.client_bits.replace(None).is_none(),
                (CLIENT_BITS, Some(bits)) => {
                    let bits = window_bits(bits)?;
                    all.client_bits.replace(Some(bits)).is_none()
                }
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(all)
    }

    /// A server's answer to this offer.
    fn accept(self, config: &Deflate) -> Option<(Agreed, String)> {
        let server = Direction {
            takeover: !(self.server_no_takeover || config.no_context_takeover),
            bits: self.server_bits.unwrap_or(WIDEST).min(config.window_bits()),
        };
        let offered = self.client_bits.map(|bits| bits.unwrap_or(WIDEST));
        let client = Direction {
            takeover: !(self.client_no_takeover || config.peer_no_context_takeover),
            bits: offered.unwrap_or(WIDEST).min(config.peer_window_bits()),
        };
        if client.bits < WIDEST && offered.is_none() {
            // It must not be told of a parameter that it does not know (section 7.1.2.2).
            return None;
        }
        let mut answer = NAME.to_owned();
        if !server.takeover {
            answer += &format!("; {SERVER_NO_TAKEOVER}");
        }
        if !client.takeover {
            answer += &format!("; {CLIENT_NO_TAKEOVER}");
        }
        if self.server_bits.is_some() || server.bits < WIDEST {
            answer += &format!("; {SERVER_BITS}={}", server.bits);
        }
        if client.bits < WIDEST {
            answer += &format!("; {CLIENT_BITS}={}", client.bits);
        }
        Some((Agreed { server, client }, answer))
    }
}

/// A number from 8 to 15, without leading zeros (section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        _ if value.len() == 2 => value.parse().ok().filter(|bits| (10..=15).contains(bits)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(config: &Deflate, offers: &str) -> Option<(Agreed, String)> {
        let mut all = Vec::new();
        parse_extensions(offers, &mut all).unwrap();
        Agreed::accept(config, &all)
    }

    fn answer(config: &Deflate, offers: &str) -> Option<String> {
        accept(config, offers).map(|(_, answer)| answer)
    }

    fn conclude(config: &Deflate, answer: &str) -> Option<Option<Agreed>> {
        let mut all = Vec::new();
        parse_extensions(answer, &mut all).unwrap();
        Agreed::conclude(Some(config), &all)
    }

    #[test]
    fn a_server_answers_each_parameter_as_the_standard_asks() {
        let any = Deflate::default();
        for (offer, expected) in [
            ("permessage-deflate", ""),
            ("Permessage-Deflate", ""),
            ("permessage-deflate; client_max_window_bits", ""),
            (
                "permessage-deflate; client_max_window_bits=10",
                "; client_max_window_bits=10",
            ),
            ("permessage-deflate; client_max_window_bits=15", ""),
            (
                "permessage-deflate; server_max_window_bits=10",
                "; server_max_window_bits=10",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"8\"",
                "; server_max_window_bits=8",
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                "; server_max_window_bits=15",
            ),
            (
                "permessage-deflate; server_no_context_takeover",
                "; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                "; client_no_context_takeover",
            ),
            (
                "x-other, permessage-deflate; nonsense, permessage-deflate",
                "",
            ),
        ] {
            let expected = format!("permessage-deflate{expected}");
            assert_eq!(answer(&any, offer), Some(expected), "{offer}");
        }
    }

    #[test]
    fn offers_with_invalid_parameters_are_declined() {
        for parameters in [
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=+9",
            "client_max_window_bits=0",
            "client_max_window_bits=150",
            "client_max_window_bits; client_max_window_bits",
            "server_no_context_takeover; server_no_context_takeover",
            "server_max_window_bits=10; server_max_window_bits=10",
            "unknown",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            assert_eq!(answer(&Deflate::default(), &offer), None, "{parameters}");
        }
    }

    #[test]
    fn a_server_holds_both_sides_to_the_memory_that_it_has() {
        let small = Deflate {
            window_bits: 10,
            peer_window_bits: 11,
            no_context_takeover: true,
            peer_no_context_takeover: true,
            ..Deflate::default()
        };
        let expected = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                        server_max_window_bits=10; client_max_window_bits=11";
        let offer = "permessage-deflate; client_max_window_bits";
        assert_eq!(answer(&small, offer).as_deref(), Some(expected));
        // This client cannot be told of a window.
        assert_eq!(answer(&small, "permessage-deflate"), None);
        let both = "permessage-deflate, permessage-deflate; client_max_window_bits=9";
        let answered = answer(&small, both).unwrap();
        assert!(answered.ends_with("client_max_window_bits=9"), "{answered}");
    }

    #[test]
    fn a_client_takes_no_answer_that_it_did_not_ask_for() {
        let any = Deflate::default();
        let small = Deflate {
            window_bits: 10,
            peer_window_bits: 10,
            peer_no_context_takeover: true,
            ..any.clone()
        };
        assert_eq!(conclude(&any, ""), Some(None));
        assert!(matches!(
            conclude(&any, "permessage-deflate"),
            Some(Some(_))
        ));
        assert_eq!(Agreed::conclude(None, &[]), Some(None));
        for refused in [
            "x-other",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; nonsense",
        ] {
            assert_eq!(conclude(&any, refused), None, "{refused}");
        }
        for refused in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
        ] {
            assert_eq!(conclude(&small, refused), None, "{refused}");
        }
        let answer = "permessage-deflate; server_no_context_takeover; server_max_window_bits=9; \
                      client_max_window_bits=8";
        assert!(matches!(conclude(&small, answer), Some(Some(_))));
    }

    #[test]
    fn both_sides_agree_on_the_same_whatever_they_are_set_to() {
        let bits = [8, 9, 12, 15];
        let mut agreements = 0;
        for n in 0..(4_u32.pow(4) * 16) {
            let bit = |at: u32| (n >> at) & 1 == 1;
            let width = |at: u32| bits[(n >> at) as usize & 3];
            let client = Deflate {
                window_bits: width(4),
                peer_window_bits: width(6),
                no_context_takeover: bit(0),
                peer_no_context_takeover: bit(1),
                ..Deflate::default()
            };
            let server = Deflate {
                window_bits: width(8),
                peer_window_bits: width(10),
                no_context_takeover: bit(2),
                peer_no_context_takeover: bit(3),
                ..Deflate::default()
            };
            let (agreed, answer) = accept(&server, &Agreed::offer(&client)).unwrap();
            let concluded = conclude(&client, &answer).unwrap().unwrap();
            assert_eq!(concluded.server, agreed.server, "{answer}");
            // A client may keep to less than it was told.
            assert!(concluded.client.bits <= agreed.client.bits, "{answer}");
            assert!(
                agreed.client.takeover || !concluded.client.takeover,
                "{answer}"
            );
            agreements += 1;
        }
        assert_eq!(agreements, 4096);
    }
}
