//! What a part of a form is called.

/// The name of a part, and that of its file.
///
/// ```
/// use ropewalk_web::multipart::Disposition;
///
/// let part = Disposition::parse(b"form-data; name=\"photo\"; filename=\"C:\\\\pictures\\\\me.jpg\"");
/// let part = part.unwrap();
/// assert_eq!((&*part.name, part.file_name.as_deref()), ("photo", Some("me.jpg")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    /// The name of the field.
    pub name: String,
    /// The name of the file on the client's side, without folders; `Some` for files alone. It may be
    /// empty: a browser sends that where none was chosen.
    pub file_name: Option<String>,
}

impl Disposition {
    /// Reads the value of a `Content-Disposition`; `None` if it names no part of a form.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (kind, parameters) = parameters(value);
        if !kind.eq_ignore_ascii_case(b"form-data") {
            return None;
        }
        let find = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| unescaped(value))
        };
        let last = |path: String| {
            let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
            name.to_owned()
        };
        Some(Self {
            name: find("name")?,
            file_name: find("filename").map(last),
        })
    }
}

/// A name, with what browsers escape in it undone (HTML, section 4.10.21.8).
fn unescaped(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let text = text.replace("%22", "\"");
    text.replace("%0D", "\r").replace("%0A", "\n")
}

/// The first word of a field's value, and its parameters with their names in lower case. What is
/// malformed is left out. In quotes, a backslash escapes a quote or a backslash, and is otherwise
/// itself: some clients do not escape it.
pub(super) fn parameters(value: &[u8]) -> (&[u8], Vec<(String, Vec<u8>)>) {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let (word, mut rest) = (value[..end].trim_ascii(), &value[end..]);
    let mut parameters = Vec::new();
    while let [b';', after @ ..] = rest {
        let name_end = memchr::memchr2(b'=', b';', after).unwrap_or(after.len());
        let name = String::from_utf8_lossy(after[..name_end].trim_ascii()).to_ascii_lowercase();
        let [b'=', value @ ..] = &after[name_end..] else {
            rest = &after[name_end..];
            continue;
        };
        let (value, after) = match value.trim_ascii_start() {
            [b'"', quoted @ ..] => quoted_value(quoted),
            plain => {
                let end = memchr::memchr(b';', plain).unwrap_or(plain.len());
                (plain[..end].trim_ascii_end().to_vec(), &plain[end..])
            }
        };
        let next = memchr::memchr(b';', after).unwrap_or(after.len());
        rest = &after[next..];
        parameters.push((name, value));
    }
    (word, parameters)
}

/// What stands before the closing quote, and what stands behind it.
fn quoted_value(quoted: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = quoted;
    loop {
        match rest {
            [b'\\', escaped @ (b'"' | b'\\'), after @ ..] => {
                value.push(*escaped);
                rest = after;
            }
            [b'"', after @ ..] => return (value, after),
            [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return (value, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> Option<(String, Option<String>)> {
        let disposition = Disposition::parse(value.as_bytes())?;
        Some((disposition.name, disposition.file_name))
    }

    #[test]
    fn names_are_read_as_clients_write_them() {
        let file = |name: &str, file: &str| Some((name.to_owned(), Some(file.to_owned())));
        for (value, expected) in [
            ("form-data; name=a", Some(("a".to_owned(), None))),
            ("Form-Data;NAME = \"a b\" ", Some(("a b".to_owned(), None))),
            ("form-data; name=\"é\"", Some(("é".to_owned(), None))),
            (
                "form-data; name=\"a;b=c\"; filename=x.txt",
                file("a;b=c", "x.txt"),
            ),
            (
                "form-data; name=\"a%22b%0D%0A%41\"",
                Some(("a\"b\r\n%41".to_owned(), None)),
            ),
            (
                r#"form-data; name="a\"b"; filename="x\\y\"z""#,
                file("a\"b", "y\"z"),
            ),
            (
                r#"form-data; name="a"; filename="C:\dir\x.txt""#,
                file("a", "x.txt"),
            ),
            (
                r#"form-data; name="a"; filename="../../etc/passwd""#,
                file("a", "passwd"),
            ),
            (r#"form-data; name="a"; filename="..""#, file("a", "..")),
            (r#"form-data; name="a"; filename="""#, file("a", "")),
            (
                r#"form-data; name="a"; filename*=UTF-8''b.txt"#,
                Some(("a".to_owned(), None)),
            ),
            ("form-data; junk; name=a", Some(("a".to_owned(), None))),
            ("form-data; name=\"a", Some(("a".to_owned(), None))),
            ("form-data", None),
            ("form-data; filename=x", None),
            ("attachment; name=a", None),
            ("", None),
        ] {
            assert_eq!(parsed(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_name_of_a_file_has_no_folder(value in any::<Vec<u8>>()) {
            let value = [b"form-data; name=a; filename=\"".as_slice(), &value].concat();
            let file = Disposition::parse(&value).unwrap().file_name.unwrap();
            prop_assert!(!file.contains(['/', '\\']));
        }
    }
}
