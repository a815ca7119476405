//! What is held in memory, and for how long.

use super::*;

fn held(site: &Site) -> usize {
    site.files.cache.borrow().held()
}

#[test]
fn a_hot_file_is_not_looked_at_for_a_second_and_then_it_is() {
    let mut site = Site::new();
    for (target, name) in [("/", "index.html"), ("/digits.txt", "digits.txt")] {
        let before = site.get(target);
        fs::write(site.path(name), "changed").unwrap();
        site.pass(999);
        let trusted = site.get(target);
        assert_eq!(trusted.body, before.body);
        assert_eq!(trusted.header("etag"), before.header("etag"));
        site.pass(1);
        let changed = site.get(target);
        assert_eq!(changed.text(), "changed");
        assert_ne!(changed.header("etag"), before.header("etag"));

        // Even that it is gone is not seen before: no system call was made.
        fs::remove_file(site.path(name)).unwrap();
        site.pass(999);
        assert_eq!(site.get(target).text(), "changed");
        site.pass(1);
        assert_eq!(site.get(target).status, 404);
        fs::write(site.path(name), "back").unwrap();
        assert_eq!(site.get(target).text(), "back");
    }
}

#[test]
fn a_change_that_keeps_size_and_date_is_noticed() {
    let mut site = Site::new();
    let date = fs::metadata(site.path("nothing"))
        .unwrap()
        .modified()
        .unwrap();
    fs::write(site.path("page"), "one").unwrap();
    let page = site.path("page");
    let put_date_back = || {
        let file = File::options().write(true).open(&page);
        file.unwrap().set_modified(date).unwrap();
    };
    put_date_back();
    // By this clock no file has come to rest: it is read again each second.
    site.files.wall_clock = || SystemTime::UNIX_EPOCH;
    assert_eq!(site.get("/page").text(), "one");
    fs::write(site.path("page"), "two").unwrap();
    put_date_back();
    site.pass(1000);
    assert_eq!(site.get("/page").text(), "two");
}

#[test]
fn an_unchanged_file_stays_in_memory() {
    let mut site = Site::new();
    let address = |site: &Site| {
        let request = Request::get("/digits.txt").body(()).unwrap();
        let mut body = site.files.respond(&request, site.now).into_body();
        match body.take_segments().unwrap().pop_front() {
            Some(Segment::Bytes(bytes)) => bytes.as_ptr() as usize,
            other => panic!("{other:?}"),
        }
    };
    let first = address(&site);
    for _ in 0..3 {
        site.pass(1000);
        assert_eq!(address(&site), first);
    }
}

#[test]
fn without_a_time_each_answer_looks_at_the_file() {
    let mut site = Site::new();
    let mut ask = |received: Option<Instant>| {
        let mut request = Request::get("/digits.txt").body(()).unwrap();
        if let Some(now) = received {
            let nobody = Address::Unix(None);
            let info = RequestInfo::new(nobody.clone(), nobody, now);
            request.extensions_mut().insert(info);
        }
        let Ok(response) = site.files.call(request).into_inner();
        Answer::from(response).body.len()
    };
    let path = site.dir.path().join("site/digits.txt");
    assert_eq!(ask(None), 1000);
    fs::write(&path, "12").unwrap();
    assert_eq!(ask(None), 2);
    assert_eq!(ask(Some(site.now)), 2);
    fs::write(&path, "123").unwrap();
    assert_eq!(ask(Some(site.now)), 2);
    assert_eq!(ask(None), 3);
}

#[test]
fn the_cache_keeps_its_bound_and_what_is_used() {
    const LIMIT: usize = 64 * 1024;
    let mut site = Site::new();
    site.files = site.files.clone().cache(LIMIT);
    for n in 0..100 {
        fs::write(site.path(&format!("file{n}")), vec![b'x'; 1000]).unwrap();
    }
    assert_eq!(site.get("/").text(), PAGE);
    // Once it is let go, it cannot come back.
    fs::remove_file(site.path("index.html")).unwrap();
    for n in 0..100 {
        assert_eq!(site.get(&format!("/file{n}")).body.len(), 1000);
        assert_eq!(site.get("/").text(), PAGE, "what is used is kept");
        assert!(held(&site) <= LIMIT);
    }
    assert!(held(&site) > LIMIT - 4096, "it uses what it may");
    fs::remove_file(site.path("file0")).unwrap();
    assert_eq!(
        site.get("/file0").status,
        404,
        "what is old and not used is let go"
    );

    site.files = site.files.clone().cache(0);
    assert_eq!(site.get("/digits.txt").body.len(), 1000);
    assert_eq!(held(&site), 0);
}

#[test]
fn empty_files_count_too() {
    let mut site = Site::new();
    site.files = site.files.clone().cache(64 * 1024);
    let names: Vec<_> = (0..100).map(|n| format!("empty{n}")).collect();
    for name in &names {
        fs::write(site.path(name), "").unwrap();
        site.get(&format!("/{name}"));
    }
    let mut still_there = 0;
    for name in &names {
        fs::remove_file(site.path(name)).unwrap();
        still_there += usize::from(site.get(&format!("/{name}")).status == 200);
    }
    assert!((1..=32).contains(&still_there), "{still_there}");
}

#[test]
fn a_file_that_changes_or_goes_gives_its_room_back() {
    let mut site = Site::new();
    let page = site.path("page");
    fs::write(&page, "0123456789").unwrap();
    site.get("/page");
    let first = held(&site);
    for len in [5000, 0, 10] {
        fs::write(&page, vec![b'x'; len]).unwrap();
        site.pass(1000);
        assert_eq!(site.get("/page").body.len(), len);
        assert_eq!(held(&site), first + len - 10);
    }
    fs::write(&page, vec![b'x'; SMALL as usize + 1]).unwrap();
    site.pass(1000);
    assert_eq!(site.get("/page").regions, 1);
    assert_eq!(held(&site), 0);
    site.get("/digits.txt");
    fs::remove_file(site.path("digits.txt")).unwrap();
    site.pass(1000);
    site.get("/digits.txt");
    assert_eq!(held(&site), 0);
}

#[test]
fn one_file_by_many_spellings_is_held_once() {
    let site = Site::new();
    site.get("/digits.txt");
    let once = held(&site);
    for spelling in [
        "//digits.txt",
        "/%64igits.txt",
        "/digits%2Etxt",
        "/digits.txt?x",
    ] {
        let answer = site.get(&format!("http://example.com{spelling}"));
        assert_eq!(answer.body.len(), 1000);
    }
    assert_eq!(held(&site), once);
}
