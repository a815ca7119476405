//! Files, folders, methods and errors.

use super::*;

#[test]
fn a_file_is_answered_with_its_headers() {
    let site = Site::new();
    let page = site.get("/index.html");
    assert_eq!(page.status, 200);
    assert_eq!(page.text(), PAGE);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("content-length"), PAGE.len().to_string());
    assert_eq!(page.header("accept-ranges"), "bytes");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(page.header("etag").starts_with('"'));
    let modified = fs::metadata(site.path("index.html"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(
        page.header("last-modified"),
        httpdate::fmt_http_date(modified)
    );
    assert_eq!(site.get("/nothing").header("content-length"), "0");
}

#[test]
fn a_large_file_is_a_region_and_a_small_one_is_not() {
    let site = Site::new();
    let large = site.get("/large.bin");
    assert_eq!((large.status, large.regions), (200, 1));
    assert_eq!(large.header("content-length"), (SMALL + 1).to_string());
    assert_eq!(large.body, fs::read(site.path("large.bin")).unwrap());
    assert_eq!(site.get("/digits.txt").regions, 0);
}

#[test]
fn a_folder_is_answered_by_its_index() {
    let site = Site::new();
    assert_eq!(site.get("/").text(), PAGE);
    assert_eq!(site.get("/?query").text(), PAGE);
    assert_eq!(site.get("/docs/").text(), "docs");
    assert_eq!(site.get("//docs//").text(), "docs");
    assert_eq!(
        site.get("/docs/").header("content-type"),
        "text/html; charset=utf-8"
    );
    assert_eq!(site.get("/docs/empty/").status, 404);
    assert_eq!(site.get("/index.html/").status, 404);
}

#[test]
fn another_index_can_be_named_or_none() {
    let mut site = Site::new();
    assert_eq!(site.get("/").text(), PAGE);
    site.files = site.files.clone().index("digits.txt");
    assert_eq!(site.get("/").body.len(), 1000);
    assert_eq!(site.get("/docs/").status, 404);
    site.files = site.files.clone().index("");
    assert_eq!(site.get("/").status, 404);
    // An index that is a folder is none.
    site.files = site.files.clone().index("docs");
    assert_eq!(site.get("/").status, 404);
}

#[test]
fn a_folder_without_its_slash_is_redirected_within_the_site() {
    let site = Site::new();
    fs::create_dir(site.path("evil.example.com")).unwrap();
    fs::create_dir(site.path("a b")).unwrap();
    fs::create_dir(site.path("é")).unwrap();
    for (target, location) in [
        ("/docs", "/docs/"),
        ("/docs?a=/b&c=%20", "/docs/?a=/b&c=%20"),
        ("/docs/empty", "/docs/empty/"),
        ("//evil.example.com", "/evil.example.com/"),
        ("///evil.example.com", "/evil.example.com/"),
        ("//docs//empty", "/docs/empty/"),
        ("/a%20b", "/a%20b/"),
        ("/%C3%A9", "/%C3%A9/"),
    ] {
        // A target with two slashes in front is no reference that `Uri` takes by itself.
        let target = format!("http://example.com{target}");
        let answer = site.get(&target);
        assert_eq!(
            (answer.status, answer.header("location")),
            (301, location),
            "{target}"
        );
    }
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let mut site = Site::new();
    site.files = site.files.clone().listing(true);
    for target in [
        "/",
        "/large.bin",
        "/docs",
        "/docs/empty/",
        "/nowhere",
        "/%zz",
    ] {
        let get = site.get(target);
        let head = site.ask(Method::HEAD, target, &[]);
        assert_eq!((head.status, &head.headers), (get.status, &get.headers));
        assert!(head.body.is_empty() && !get.body.is_empty(), "{target}");
        assert_eq!(head.header("content-length"), get.body.len().to_string());
    }
    // GET alone has ranges, and HEAD says no length that GET would not have.
    for range in ["bytes=0-0", "bytes=0-0,5-5", "bytes=1000-"] {
        let head = site.ask(Method::HEAD, "/digits.txt", &[("range", range)]);
        assert_eq!((head.status, head.header("content-length")), (200, ""));
    }
    for range in ["bytes=2-1", "lines=1-2"] {
        let head = site.ask(Method::HEAD, "/digits.txt", &[("range", range)]);
        assert_eq!((head.status, head.header("content-length")), (200, "1000"));
    }
}

#[test]
fn methods_that_write_are_not_allowed_and_options_says_which_are() {
    let site = Site::new();
    let allowed = "GET, HEAD, OPTIONS";
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"] {
        let answer = site.ask(method.parse().unwrap(), "/", &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, allowed));
    }
    for target in ["/", "/nowhere", "*"] {
        let answer = site.ask(Method::OPTIONS, target, &[]);
        assert_eq!((answer.status, answer.header("allow")), (204, allowed));
    }
}

#[test]
fn unknown_methods_are_not_implemented() {
    let site = Site::new();
    for method in ["get", "BREW", "PROPFIND"] {
        assert_eq!(site.ask(method.parse().unwrap(), "/", &[]).status, 501);
    }
}

#[test]
fn an_error_is_told_on_a_page() {
    let site = Site::new();
    let answer = site.get("/nowhere");
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.header("content-length"),
        answer.body.len().to_string()
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.text().contains("<h1>404 Not Found</h1>"));
}
