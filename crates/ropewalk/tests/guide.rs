//! What the guide says is there.

use std::fs;
use std::path::Path;

/// Each row of a table ends with the test that shows it: `file`: `function`.
#[test]
fn each_test_that_the_guide_names_exists() {
    let guide = include_str!("../src/guide/from_twisted.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rows = guide
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Twisted |"));
    let mut count = 0;
    for row in rows {
        let cell = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let quoted: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        let [file, function] = quoted[..] else {
            panic!("no test in {row}");
        };
        let path = match file.strip_prefix("examples/") {
            Some(_) => root.join(file),
            None => root.join("crates").join(file),
        };
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let is_test = format!("#[test]\nfn {function}(");
        let is_nested_test = format!("#[test]\n    fn {function}(");
        assert!(
            text.contains(&is_test) || text.contains(&is_nested_test),
            "{file} has no test {function}"
        );
        count += 1;
    }
    assert!(count >= 35, "{count}");
}

/// Later blocks of that page include the file, to be examples that run.
#[test]
fn the_protocol_that_the_guide_tests_is_the_one_that_it_shows() {
    let guide = include_str!("../src/guide/testing.md");
    assert!(guide.contains(include_str!("../src/guide/key_value.rs")));
}

#[test]
fn the_question_that_the_guide_asks_the_web_server_is_the_one_that_it_shows() {
    let guide = include_str!("../src/guide/web_server.md");
    assert!(guide.contains(include_str!("../src/guide/asking.rs")));
}
