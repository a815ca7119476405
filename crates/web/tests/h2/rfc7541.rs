//! RFC 7541: blocks of fields, as a connection takes them.

use super::rig::*;

/// An indexed field (section 6.1) of the static table, as `GET / http` needs.
const GET_ROOT: &[u8] = &[0x82, 0x86, 0x84];

#[track_caller]
fn is_compression_error(block: &[u8]) {
    let client = Client::new(mirror());
    let mut whole = GET_ROOT.to_vec();
    whole.extend(block);
    client.send(headers(1, END_STREAM, whole));
    let frames = client.received();
    let goaway = frames
        .iter()
        .find(|frame| frame.kind == GOAWAY)
        .expect("a GOAWAY");
    assert!(
        [COMPRESSION_ERROR, PROTOCOL_ERROR].contains(&goaway.code()),
        "{frames:?}"
    );
    assert!(client.is_closed());
}

#[test]
fn an_index_that_nothing_has_is_an_error() {
    is_compression_error(&[0xff, 0x00]); // 127, section 2.3.3
    is_compression_error(&[0xbe]); // 62, the first of an empty dynamic table
    is_compression_error(&[0x80]); // 0, section 6.1
    is_compression_error(&[0x7e, 0x01, b'x']); // a name by index 62
}

#[test]
fn a_table_is_not_to_be_larger_than_was_allowed() {
    // 4,097 (section 6.3).
    let client = Client::new(mirror());
    let mut block = vec![0x3f, 0xe2, 0x1f];
    block.extend(GET_ROOT);
    client.send(headers(1, END_STREAM, block));
    assert!(client.received().iter().any(|frame| frame.kind == GOAWAY));
    assert!(client.is_closed());
}

#[test]
fn a_table_changes_its_size_only_at_the_beginning() {
    is_compression_error(&[0x20]); // section 4.2
}

#[test]
fn a_table_of_no_size_is_taken() {
    let client = Client::new(mirror());
    let mut block = vec![0x20];
    block.extend(request("GET", "/", &[]));
    client.send(headers(1, END_STREAM, block));
    assert_eq!(client.answer(1).0, 200);
}

#[test]
fn numbers_that_never_end_are_an_error() {
    let mut block = vec![0xff];
    block.extend([0x80; 16]);
    block.push(0);
    is_compression_error(&block); // section 5.1
}

#[test]
fn padding_of_huffman_is_shorter_than_a_byte_and_of_ones() {
    // `accept-encoding` with values that end in padding, section 5.2.
    is_compression_error(&[0x50, 0x82, 0x1c, 0xff, 0xff, 0xff][..5]); // eight ones and more
    is_compression_error(&[0x50, 0x81, 0x18]); // zeros
    is_compression_error(&[0x50, 0x84, 0xff, 0xff, 0xff, 0xff]); // the end of strings
}

/// Appendix C.3 and C.4: three requests on one connection, whose fields refer to earlier ones.
#[test]
fn the_requests_of_the_appendix_are_understood() {
    let plain: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x0fwww.example.com",
        b"\x82\x86\x84\xbe\x58\x08no-cache",
        b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
    ];
    let huffman: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    let expected = [
        "/ www.example.com - -",
        "/ www.example.com no-cache -",
        "/index.html www.example.com - custom-value",
    ];
    for blocks in [plain, huffman] {
        let site = ropewalk_web::Site::new(ropewalk_web::handler_fn(
            |request: http::Request<ropewalk_web::Body>| {
                let field = |name| {
                    let value = request.headers().get(name);
                    value.map_or("-".to_owned(), |value| value.to_str().unwrap().to_owned())
                };
                let (host, cache) = (field("host"), field("cache-control"));
                let text = format!(
                    "{} {host} {cache} {}",
                    request.uri().path(),
                    field("custom-key")
                );
                http::Response::new(ropewalk_web::Body::from(text))
            },
        ));
        // The third asks for an https URL.
        let everybody = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
        let client = Client::new(std::rc::Rc::new(site.trusted_gateways(everybody)));
        for (at, block) in blocks.iter().enumerate() {
            let stream = 2 * at as u32 + 1;
            client.send(headers(stream, END_STREAM, block));
            assert_eq!(content(&client.of_stream(stream)), expected[at]);
        }
    }
}
