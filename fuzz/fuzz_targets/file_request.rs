//! A request for a file: no path, range or condition leads out of the folder, to a panic, or to an
//! error of the server's own.

#![no_main]

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

use http::Request;
use libfuzzer_sys::fuzz_target;
use ropewalk_web::FileService;
use ropewalk_web::h1::{HeadScan, HeadStorage, Limits, parse_request_head};

fuzz_target!(|input: &[u8]| {
    let mut head = b"GET /".to_vec();
    head.extend_from_slice(input);
    head.extend_from_slice(b"\r\nHost: example.com\r\n\r\n");
    let parsed = parse_request_head(
        &head,
        &Limits::default(),
        &mut HeadScan::default(),
        &mut HeadStorage::default(),
    );
    let Ok(Some((head, _))) = parsed else { return };
    let files = FileService::new(folder().join("site")).expect("the folder is there");
    let files = files.listing(true);
    let request = Request::from_parts(head.parts, ());
    let response = files.respond(&request, Instant::now());
    assert!(!response.status().is_server_error(), "{response:?}");
    // The one file outside has a length of its own.
    assert_ne!(response.body().len(), Some(4321), "{response:?}");
});

/// A folder with a site in it, and a secret beside it.
fn folder() -> &'static std::path::Path {
    static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("ropewalk-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("site/a")).expect("a folder can be made");
        for (path, length) in [
            ("secret", 4321),
            ("site/index.html", 100),
            ("site/a/b", 70_000),
        ] {
            let mut file = std::fs::File::create(folder.join(path)).expect("a file can be made");
            file.write_all(&vec![b'x'; length])
                .expect("it can be written");
        }
        folder
    })
}
