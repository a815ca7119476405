//! What is never served.

use super::*;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn no_path_leads_out_of_the_root_or_to_what_is_hidden() {
    let mut site = Site::new();
    site.files = site.files.clone().listing(true);
    fs::create_dir(site.path(".git")).unwrap();
    fs::write(site.path(".git/config"), "secret").unwrap();
    fs::write(site.path("docs/.htpasswd"), "secret").unwrap();
    fs::create_dir(site.path(".well-known")).unwrap();
    fs::write(site.path(".well-known/security.txt"), "contact").unwrap();
    fs::write(site.path(".well-known/.token"), "secret").unwrap();
    fs::write(site.path("back\\slash"), "secret").unwrap();
    symlink("../secret", site.path("link")).unwrap();
    symlink("..", site.path("up")).unwrap();
    symlink("/", site.path("slash")).unwrap();
    for target in [
        "/../secret",
        "/../../../../etc/passwd",
        "/..",
        "/../",
        "/./",
        "/docs/..",
        "/docs/../../secret",
        "/docs/../index.html",
        "/%2e%2e/secret",
        "/%2E%2e/secret",
        "/.%2e/secret",
        "/%2e./secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..%2Fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/%5c..%5csecret",
        "/docs%2findex.html",
        "/%2fetc/passwd",
        "/%2Fetc%2Fpasswd",
        "/%252e%252e/secret",
        "/%252e%252e%252fsecret",
        "/..%252fsecret",
        "/%c0%ae%c0%ae/secret",
        "/%c0%af..%c0%afsecret",
        "/%ef%bc%8e%ef%bc%8e/secret",
        "/..;/secret",
        "/..%00/secret",
        "/index.html%00",
        "/index.html%00.png",
        "/....//secret",
        "/...//secret",
        "//../secret",
        "//etc/passwd",
        "/etc/passwd",
        "/%",
        "/%2",
        "/%gg",
        "/link",
        "/up",
        "/up/",
        "/up/secret",
        "/up/site/index.html/../../../secret",
        "/slash/etc/passwd",
        "/back\\slash",
        "/back%5Cslash",
        "/.git/config",
        "/%2egit/config",
        "/.git/",
        "/.git",
        "/docs/.htpasswd",
        "/.well-known/.token",
    ] {
        let answer = site.get(&format!("http://example.com{target}"));
        assert!(matches!(answer.status, 400 | 404), "{target}: {answer:?}");
        assert!(!answer.text().contains("secret"), "{target}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    }
    assert_eq!(site.get("/.well-known/security.txt").text(), "contact");
    let mut request = Request::new(());
    *request.uri_mut() = "*".parse().unwrap();
    assert_eq!(site.files.respond(&request, site.now).status(), 400);
}

#[test]
fn links_inside_the_root_are_followed() {
    let site = Site::new();
    symlink("index.html", site.path("relative")).unwrap();
    symlink(site.path("docs"), site.path("absolute")).unwrap();
    assert_eq!(site.get("/relative").text(), PAGE);
    assert_eq!(site.get("/absolute/").text(), "docs");
    assert_eq!(site.get("/absolute").header("location"), "/absolute/");
}

#[test]
fn only_regular_files_are_served_and_a_fifo_does_not_hold_the_loop() {
    let site = Site::new();
    let made = std::process::Command::new("mkfifo")
        .arg(site.path("fifo"))
        .status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
    assert_eq!(site.get("/fifo").status, 404);
    assert_eq!(site.get("/socket").status, 404);
}

#[test]
fn what_may_not_be_read_is_forbidden() {
    if is_root() {
        println!("skipped: root may read everything; run the tests as another user");
        return;
    }
    let site = Site::new();
    let forbid = |name, mode| {
        fs::set_permissions(site.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    forbid("digits.txt", 0o000);
    assert_eq!(site.get("/digits.txt").status, 403);
    // It may be passed through, not read.
    forbid("docs", 0o111);
    assert_eq!(site.get("/docs").status, 301);
    assert_eq!(site.get("/docs/").text(), "docs");
    forbid("docs", 0o000);
    assert_eq!(site.get("/docs/index.html").status, 403);
    forbid("docs", 0o755);
}
