//! `Cookie` fields: read within their bounds, and what is read can be set again or is refused.
#![no_main]

use http::{HeaderMap, HeaderValue, Response};
use libfuzzer_sys::fuzz_target;
use ropewalk_web::cookies::{Cookie, CookieKeys, Cookies};

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for field in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(field) {
            headers.append("cookie", value);
        }
    }
    let cookies = Cookies::parse(&headers, true);
    let read: usize = cookies.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(cookies.iter().count() <= 128 && read <= 16 * 1024);

    let keys = CookieKeys::new(&(0..64).collect::<Vec<u8>>()).unwrap();
    for (name, value) in cookies.iter() {
        assert!(cookies.get(name).is_some());
        let _ = cookies.signed(&keys).get(name);
        let _ = cookies.private(&keys).get(name);
        let mut response = Response::new(());
        let cookie = Cookie::new(name.to_owned(), value.to_owned());
        if cookies.set(&mut response, cookie).is_ok() {
            let set = response.headers()["set-cookie"].to_str().unwrap();
            let start = format!("{name}={value}; ");
            assert!(set.starts_with(&start), "{set}");
            assert_eq!(set.matches(';').count(), 4, "{set}");
        }
    }
});
