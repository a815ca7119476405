//! The media type of a file, by its name.

use std::path::Path;

use http::HeaderValue;

/// The `Content-Type` for a file of this name. Text is said to be UTF-8; what has no extension,
/// or one that nobody registered, is `application/octet-stream`.
pub(crate) fn content_type(name: &Path) -> HeaderValue {
    let Some(essence) = mime_guess::from_path(name).first_raw() else {
        return const { HeaderValue::from_static("application/octet-stream") };
    };
    if !is_text(essence) {
        return HeaderValue::from_static(essence);
    }
    HeaderValue::try_from(format!("{essence}; charset=utf-8"))
        .unwrap_or_else(|_| HeaderValue::from_static(essence))
}

fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/javascript" | "application/json" | "application/xml"
        )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_type_follows_from_the_extension() {
        for (name, value) in [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTML", "text/html; charset=utf-8"),
            ("site.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "application/javascript; charset=utf-8"),
            ("data.json", "application/json; charset=utf-8"),
            (
                "site.webmanifest",
                "application/manifest+json; charset=utf-8",
            ),
            ("feed.xml", "text/xml; charset=utf-8"),
            ("logo.svg", "image/svg+xml; charset=utf-8"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("photo.jpg", "image/jpeg"),
            ("font.woff2", "font/woff2"),
            ("code.wasm", "application/wasm"),
            ("film.mp4", "video/mp4"),
            ("archive.tar.gz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("what.isthis", "application/octet-stream"),
            ("html", "application/octet-stream"),
            ("folder.html/plain", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(name)), value, "{name}");
        }
        let odd = Path::new(OsStr::from_bytes(b"\xff.\xff"));
        assert_eq!(content_type(odd), "application/octet-stream");
        let odd = Path::new(OsStr::from_bytes(b"\xff.png"));
        assert_eq!(content_type(odd), "image/png");
    }
}
