//! The page that shows what is in a folder.
//!
//! It shows what could be fetched, and nothing else: hidden files, sockets and the like, and links
//! that lead out of the root are left out. Folders come first, and each kind is sorted by name.
//! Names need not be UTF-8: their links hold each byte, percent-encoded.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rustix::fs::{AtFlags, Dir, FileType, statat};
use time::OffsetDateTime;
use time::macros::format_description;

use super::page::page;
use super::root::Root;
use crate::Body;
use crate::answer::Escaped;

/// How many entries one page shows, to bound what a request can cost.
const MOST_ENTRIES: usize = 20_000;

/// All but what RFC 3986, section 2.3 calls unreserved: safe in any part of a URL and of HTML.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

struct Entry {
    name: Vec<u8>,
    sort_key: String,
    is_folder: bool,
    size: u64,
    modified: i64,
}

/// Lists `folder`, which is what `path` (empty, or with a `/` at its end) names.
pub(super) fn listing(root: &Root, folder: &File, path: &[u8]) -> io::Result<Response<Body>> {
    let mut entries = read(root, folder, path)?;
    entries.sort_unstable_by(|a, b| {
        (b.is_folder, &a.sort_key, &a.name).cmp(&(a.is_folder, &b.sort_key, &b.name))
    });
    let shown = &entries[..entries.len().min(MOST_ENTRIES)];

    let mut html = String::with_capacity(256 + 192 * shown.len());
    html.push_str("<table>\n<tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr>\n");
    if !path.is_empty() {
        html.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in shown {
        row(&mut html, entry);
    }
    html.push_str("</table>\n");
    if shown.len() < entries.len() {
        html.push_str("<p>There is more in this folder than one page can show.</p>\n");
    }
    let title = format!("Index of /{}", String::from_utf8_lossy(path));
    Ok(page(StatusCode::OK, &title, &html))
}

/// One entry more than a page shows, at most.
fn read(root: &Root, folder: &File, path: &[u8]) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in Dir::read_from(folder)? {
        let found = found?;
        let name = found.file_name().to_bytes();
        // A backslash is refused in paths.
        if name.starts_with(b".") || name.contains(&b'\\') {
            continue;
        }
        if entries.len() > MOST_ENTRIES {
            break;
        }
        // What vanished since, or must not be followed, is not shown.
        let Ok(stat) = statat(folder, found.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let (kind, size, modified) = match FileType::from_raw_mode(stat.st_mode as _) {
            FileType::Symlink => {
                let target = [path, name].concat();
                let Ok(metadata) = root.open(&target).and_then(|file| file.metadata()) else {
                    continue;
                };
                let kind = FileType::from_raw_mode(metadata.mode() as _);
                (kind, metadata.size(), metadata.mtime())
            }
            kind => (kind, stat.st_size as u64, stat.st_mtime),
        };
        if !matches!(kind, FileType::Directory | FileType::RegularFile) {
            continue;
        }
        entries.push(Entry {
            sort_key: String::from_utf8_lossy(name).to_lowercase(),
            name: name.to_vec(),
            is_folder: kind == FileType::Directory,
            size,
            modified,
        });
    }
    Ok(entries)
}

fn row(html: &mut String, entry: &Entry) {
    let slash = if entry.is_folder { "/" } else { "" };
    // A name with a colon would be taken for a scheme without the `./`.
    let link = percent_encode(&entry.name, RESERVED);
    let name = String::from_utf8_lossy(&entry.name);
    let name = Escaped(&name);
    let size = if entry.is_folder {
        String::new()
    } else {
        readable(entry.size)
    };
    let date = OffsetDateTime::from_unix_timestamp(entry.modified)
        .ok()
        .and_then(|date| {
            date.format(format_description!("[year]-[month]-[day] [hour]:[minute]"))
                .ok()
        })
        .unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(
        html,
        "<tr><td><a href=\"./{link}{slash}\"><bdi>{name}{slash}</bdi></a></td>\
         <td>{size}</td><td>{date}</td></tr>"
    );
}

/// A size for people: three digits or so, in powers of 1,024.
fn readable(size: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut amount = size as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(amount < 9.95);
    format!("{amount:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_readable() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 * 1024, "10 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(readable(size), text);
        }
    }
}
