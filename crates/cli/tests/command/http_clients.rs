//! Other people's judges of HTTP/1.1 against files: ab, slowhttptest and REDbot.
//!
//! REDbot is looked for in `target/http-clients`, where `.ci/run` puts it. A test whose judge is missing
//! says so in one line; with `CI=true` it fails.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::foreign::{tool, tool_in};
use super::running::{Running, inside, site};

/// What `program` prints; it must succeed.
fn printed(program: &std::path::Path, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}{complaint}");
    text
}

#[test]
fn ab_keeps_its_http_1_0_connections_and_sees_no_failure() {
    let Some(ab) = tool("ab") else { return };
    let site = site();
    let running = Running::serve(&site, &[]);
    let url = format!("http://{}/page.txt", running.address());
    for (more, kept) in [(&[][..], None), (&["-k"], Some("2000")), (&["-i"], None)] {
        let args = [&["-q", "-n", "2000", "-c", "20"], more, &[&url]].concat();
        let report = printed(&ab, &args);
        let count = |name: &str| {
            let line = report.lines().find(|line| line.starts_with(name));
            line.map(|line| line[name.len()..].trim().to_owned())
        };
        assert_eq!(count("Complete requests:").as_deref(), Some("2000"));
        assert_eq!(count("Failed requests:").as_deref(), Some("0"), "{report}");
        assert_eq!(count("Non-2xx responses:"), None, "{report}");
        assert_eq!(count("Keep-Alive requests:").as_deref(), kept, "{report}");
    }
    running.stop();
}

/// Slow heads, slow bodies, many overlapping ranges, and slow reading.
#[test]
fn slowhttptest_finds_the_server_available_whatever_it_does() {
    let Some(slowhttptest) = tool("slowhttptest") else {
        return;
    };
    let site = site();
    fs::write(site.path().join("long.txt"), "0123456789".repeat(10_000)).unwrap();
    let running = Running::serve(&site, &[]);
    let url = format!("http://{}/long.txt", running.address());
    let results = tempfile::tempdir().unwrap();
    for attack in [
        &["-H", "-i", "1"][..],
        &["-B", "-i", "1", "-s", "8192"],
        &["-R", "-a", "10", "-b", "3000"],
        &[
            "-X", "-w", "10", "-y", "20", "-z", "1", "-n", "1", "-k", "3",
        ],
    ] {
        let name = inside(&results, attack[0].trim_start_matches('-'));
        let much = [
            "-c", "300", "-r", "300", "-l", "3", "-p", "3", "-g", "-o", &name,
        ];
        printed(&slowhttptest, &[&much, attack, &["-u", &url]].concat());
        let report = fs::read_to_string(format!("{name}.csv")).unwrap();
        let mut lines = report.lines();
        let columns: Vec<_> = lines.next().unwrap().split(',').collect();
        let available = columns.iter().position(|name| *name == "Service Available");
        let available = available.expect("a column for it");
        for line in lines {
            let value = line.split(',').nth(available);
            assert_ne!(value, Some("0"), "{attack:?}: {report}");
        }
        assert_eq!(running.get("/page.txt", &[]).body, b"0123456789");
    }
    running.stop();
}

#[test]
fn redbot_finds_nothing_wrong_with_the_answers_for_files() {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/http-clients/bin");
    let Some(redbot) = tool_in(installed, "redbot") else {
        return;
    };
    let site = site();
    let mut style = fs::File::create(site.path().join("style.css")).unwrap();
    style
        .write_all(&b"p { color: teal }\n".repeat(200))
        .unwrap();
    let running = Running::serve(&site, &[]);
    for path in ["/", "/page.txt", "/style.css", "/nowhere"] {
        let url = format!("http://{}{path}", running.address());
        let report = printed(&redbot, &["-o", "har", &url]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let notes = report["log"]["entries"][0]["_red_messages"].as_array();
        let notes = notes.expect("notes");
        assert!(notes.len() > 3, "{notes:?}");
        for note in notes {
            assert_ne!(note["level"], "BAD", "{path}: {note}");
        }
    }
    running.stop();
}
