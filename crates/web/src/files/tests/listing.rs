//! The page that shows a folder.

use super::*;

#[test]
fn a_listing_shows_what_can_be_fetched() {
    let mut site = Site::new();
    site.files = site.files.clone().listing(true);
    let name = |bytes: &[u8]| {
        site.path("docs/empty")
            .join(std::ffi::OsStr::from_bytes(bytes))
    };
    for file in [
        &b"b.txt"[..],
        b"Z.txt",
        b"\xff\xfe",
        b"a:b",
        b"q?#%",
        b".hidden",
        b"back\\slash",
    ] {
        fs::write(name(file), "12345").unwrap();
    }
    fs::write(name(b"<b onclick=\"x\">&"), vec![0; 1536]).unwrap();
    fs::create_dir(name(b"zoo")).unwrap();
    symlink("../../../secret", name(b"way out")).unwrap();
    symlink("b.txt", name(b"link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(name(b"socket")).unwrap();

    let page = site.get("/docs/empty/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(page.text().contains("<title>Index of /docs/empty/</title>"));
    assert!(
        page.text()
            .contains("&lt;b onclick=&quot;x&quot;&gt;&amp;</bdi>")
    );
    assert!(!page.text().contains("<b onclick"));
    assert!(page.text().contains("<td>1.5 KiB</td>"));
    let links: Vec<_> = page
        .text()
        .split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(
        links,
        [
            "../",
            "./zoo/",
            "./%3Cb%20onclick%3D%22x%22%3E%26",
            "./a%3Ab",
            "./b.txt",
            "./link",
            "./q%3F%23%25",
            "./Z.txt",
            "./%FF%FE",
        ]
    );
    for link in &links[1..] {
        let target = format!("/docs/empty/{}", link.trim_start_matches("./"));
        assert_eq!(site.get(&target).status, 200, "{target}");
    }
    // The root has nothing above it, and an index goes before a listing.
    fs::remove_file(site.path("index.html")).unwrap();
    assert!(!site.get("/").text().contains("../"));
    assert_eq!(site.get("/docs/").text(), "docs");
    assert_eq!(site.get("/nowhere/").status, 404);
    assert_eq!(site.get("/digits.txt/").status, 404);
}

#[test]
fn a_listing_of_ten_thousand_files_is_whole() {
    let mut site = Site::new();
    site.files = site.files.clone().listing(true);
    for n in 0..10_000 {
        File::create(site.path(&format!("docs/empty/{n:05}"))).unwrap();
    }
    let page = site.get("/docs/empty/");
    assert_eq!(page.text().matches("<tr><td>").count(), 10_001);
    assert!(page.text().contains("href=\"./00000\"") && page.text().contains("href=\"./09999\""));
}
