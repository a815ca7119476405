//! Codings of content, and which of them a client takes: `Accept-Encoding` (RFC 9110, section
//! 12.5.3).

use std::fmt;

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

/// A coding of content that is made and read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ContentCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with a window of at most 8 MiB (RFC 9659).
    Zstd,
}

impl ContentCoding {
    /// As it stands in `Content-Encoding`: `gzip`, `br`, `zstd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of this name, in any case; `x-gzip` is `gzip` (RFC 9110, section 8.4.1.3).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        match &name[..] {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

impl fmt::Display for ContentCoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a client takes, and how much it likes it, in thousandths.
///
/// Without the field it takes what is not coded, and no more is presumed; the same holds for an
/// empty field. What is not listed is not taken, but for `identity`, which is refused only by
/// `identity;q=0`, or by `*;q=0`. A member that is malformed is no member.
///
/// ```
/// use http::HeaderMap;
/// use ropewalk_web::{AcceptEncoding, Chosen, ContentCoding};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("accept-encoding", "gzip, br;q=0.9, *;q=0".parse()?);
/// let accepted = AcceptEncoding::of(&headers);
/// assert_eq!(accepted.weight(ContentCoding::Brotli), 900);
/// let chosen = accepted.choose(&[ContentCoding::Brotli, ContentCoding::Gzip]);
/// assert_eq!(chosen, Chosen::Coded(ContentCoding::Gzip));
/// assert_eq!(accepted.choose(&[ContentCoding::Zstd]), Chosen::Nothing);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptEncoding {
    gzip: Option<u16>,
    brotli: Option<u16>,
    zstd: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

/// What [`AcceptEncoding::choose`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// This coding.
    Coded(ContentCoding),
    /// The content as it is.
    Identity,
    /// The client takes none of them, and not the content as it is either.
    Nothing,
}

impl AcceptEncoding {
    /// What these headers of a request say.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        for line in headers.get_all(ACCEPT_ENCODING) {
            for member in line.as_bytes().split(|byte| *byte == b',') {
                accepted.add(member);
            }
        }
        accepted
    }

    fn add(&mut self, member: &[u8]) -> Option<()> {
        let member = str::from_utf8(member).ok()?;
        let (name, weight) = match member.split_once(';') {
            Some((name, weight)) => (name, parse_weight(weight)?),
            None => (member, 1000),
        };
        let name = name.trim_matches([' ', '\t']);
        let place = match ContentCoding::from_name(name) {
            Some(coding) => self.place(coding),
            None if name.eq_ignore_ascii_case("identity") => &mut self.identity,
            None if name == "*" => &mut self.any,
            None => return None,
        };
        *place = Some(place.map_or(weight, |before| before.max(weight)));
        Some(())
    }

    fn place(&mut self, coding: ContentCoding) -> &mut Option<u16> {
        match coding {
            ContentCoding::Gzip => &mut self.gzip,
            ContentCoding::Brotli => &mut self.brotli,
            ContentCoding::Zstd => &mut self.zstd,
        }
    }

    /// How much the client likes `coding`: 0 for not at all, 1000 at most. Those who take any
    /// (`*`) are given gzip alone, since many say so who do not know the others.
    #[must_use]
    pub fn weight(&self, coding: ContentCoding) -> u16 {
        match coding {
            ContentCoding::Gzip => self.gzip.or(self.any),
            ContentCoding::Brotli => self.brotli,
            ContentCoding::Zstd => self.zstd,
        }
        .unwrap_or(0)
    }

    /// Whether the client takes content as it is.
    #[must_use]
    pub fn takes_identity(&self) -> bool {
        self.identity.or(self.any) != Some(0)
    }

    /// The coding of `ours`, which are in the order in which we like them, that the client likes
    /// best; what it likes no less uncoded is coded.
    #[must_use]
    pub fn choose(&self, ours: &[ContentCoding]) -> Chosen {
        let mut best = None;
        for coding in ours {
            let weight = self.weight(*coding);
            if weight > best.map_or(0, |(_, best)| best) {
                best = Some((*coding, weight));
            }
        }
        match best {
            Some((_, weight)) if self.identity.is_some_and(|identity| identity > weight) => {
                Chosen::Identity
            }
            Some((coding, _)) => Chosen::Coded(coding),
            None if self.takes_identity() => Chosen::Identity,
            None => Chosen::Nothing,
        }
    }
}

/// ` q=0.5`, in thousandths (RFC 9110, section 12.4.2).
fn parse_weight(text: &str) -> Option<u16> {
    let text = text.trim_matches([' ', '\t']);
    let (name, value) = text.split_once('=')?;
    if !name.eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, thousandths) = match value.split_once('.') {
        Some((whole, digits)) => (whole, digits),
        None => (value, ""),
    };
    if thousandths.len() > 3 || !thousandths.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{thousandths:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: [ContentCoding; 3] = [
        ContentCoding::Zstd,
        ContentCoding::Brotli,
        ContentCoding::Gzip,
    ];

    fn chosen(lines: &[&str]) -> Chosen {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, line.parse().unwrap());
        }
        AcceptEncoding::of(&headers).choose(&OURS)
    }

    #[test]
    fn the_coding_is_the_one_that_the_client_likes_best_and_then_the_server() {
        use Chosen::{Coded, Identity, Nothing};
        use ContentCoding::{Brotli, Gzip, Zstd};
        for (lines, expected) in [
            (&[][..], Identity),
            (&[""], Identity),
            (&["gzip"], Coded(Gzip)),
            (&["x-gzip"], Coded(Gzip)),
            (&["GZIP"], Coded(Gzip)),
            (&["gzip, deflate, br, zstd"], Coded(Zstd)),
            (&["gzip", "br"], Coded(Brotli)),
            (&["gzip;q=0.9, br;q=0.8"], Coded(Gzip)),
            (&["gzip ; q=1.0 ,br\t;\tQ=1"], Coded(Brotli)),
            (&["gzip;q=0.001, br;q=0.0"], Coded(Gzip)),
            (&["gzip;q=0"], Identity),
            (&["gzip;q=0, identity;q=0"], Nothing),
            (&["*"], Coded(Gzip)),
            (&["*;q=0"], Nothing),
            (&["*;q=0, identity"], Identity),
            (&["*;q=0, br"], Coded(Brotli)),
            (&["identity;q=0, *"], Coded(Gzip)),
            (&["gzip;q=0, *"], Identity),
            (&["identity, gzip"], Coded(Gzip)),
            (&["identity;q=1, gzip;q=0.5"], Identity),
            (&["identity;q=0.5, gzip;q=0.5"], Coded(Gzip)),
            (&["deflate, compress"], Identity),
            (&["deflate, identity;q=0"], Nothing),
            // Malformed.
            (&["gzip;q=2, br;q=0.5"], Coded(Brotli)),
            (&["gzip;q=1.001"], Identity),
            (&["gzip;q=0.1234"], Identity),
            (&["gzip;q=-1"], Identity),
            (&["gzip;q="], Identity),
            (&["gzip;level=9"], Identity),
            (&["gzip;q=1;x=2"], Identity),
            (&["gz ip"], Identity),
            (&[", ,,gzip,"], Coded(Gzip)),
        ] {
            assert_eq!(chosen(lines), expected, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value)]);
                let _ = AcceptEncoding::of(&headers).choose(&OURS);
            }
        }

        #[test]
        fn what_is_refused_is_never_chosen(
            members in proptest::collection::vec(
                ("(gzip|br|zstd|identity|\\*|x)", 0..=1000_u16),
                0..6,
            ),
        ) {
            let text: Vec<_> = members
                .iter()
                .map(|(name, weight)| match weight {
                    1000 => format!("{name};q=1"),
                    weight => format!("{name};q=0.{weight:03}"),
                })
                .collect();
            let most = |name: &str| {
                let weights = members.iter().filter(|member| member.0 == name);
                weights.map(|member| member.1).max()
            };
            match chosen(&[&text.join(", ")]) {
                Chosen::Coded(coding) => {
                    let weight = most(coding.name()).or(most("*")).unwrap_or(0);
                    prop_assert!(weight > 0);
                    prop_assert!(most("identity").unwrap_or(0) <= weight);
                }
                Chosen::Identity => prop_assert!(most("identity").or(most("*")) != Some(0)),
                Chosen::Nothing => prop_assert!(most("identity").or(most("*")) == Some(0)),
            }
        }
    }
}
