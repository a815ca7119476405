//! Both ends of this crate, talking to each other under any cut and any options.

use proptest::prelude::*;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::websocket::{CloseCode, Deflate, Message, Options, Role, Session};

use crate::rig::Recorder;

#[derive(Clone, Debug)]
enum Said {
    Message(Message),
    Ping(Vec<u8>),
}

fn said() -> impl Strategy<Value = Said> {
    let length = prop_oneof![
        0..20_usize,
        120..130_usize,
        4090..4100_usize,
        65_500..65_600_usize
    ];
    let text = (length.clone(), any::<char>()).prop_map(|(length, c)| {
        let text: String = std::iter::repeat_n(c, length / c.len_utf8()).collect();
        Said::Message(text.into())
    });
    let noise = (length, any::<u64>()).prop_map(|(length, seed)| {
        let mut state = seed | 1;
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let bytes: Vec<u8> = (0..length).map(|_| byte()).collect();
        Said::Message(bytes.into())
    });
    let ping = prop::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Ping);
    prop_oneof![3 => text, 3 => noise, 1 => ping]
}

fn options() -> impl Strategy<Value = Options> {
    let deflate = (8..=15_u8, 8..=15_u8, any::<(bool, bool)>(), 0..=9_u32).prop_map(
        |(window_bits, peer_window_bits, (ours, theirs), level)| {
            let mut deflate = Deflate::default();
            deflate.window_bits = window_bits;
            deflate.peer_window_bits = peer_window_bits;
            deflate.no_context_takeover = ours;
            deflate.peer_no_context_takeover = theirs;
            deflate.level = level;
            deflate.threshold = 0;
            deflate
        },
    );
    prop::option::of(deflate).prop_map(|deflate| {
        let mut options = Options::default();
        options.deflate = deflate;
        options
    })
}

fn line(said: &Said) -> String {
    match said {
        Said::Message(Message::Text(text)) if text.len() <= 40 => format!("text {text}"),
        Said::Message(Message::Binary(data)) if data.len() <= 40 => format!("binary {data:?}"),
        Said::Message(Message::Text(text)) => format!("text of {}", text.len()),
        Said::Message(Message::Binary(data)) => format!("binary of {}", data.len()),
        Said::Ping(payload) => format!("ping {:?}", bytes::Bytes::from(payload.clone())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_one_end_says_the_other_hears_in_order(
        options in options(),
        to_server in prop::collection::vec(said(), 0..8),
        to_client in prop::collection::vec(said(), 0..8),
        split in prop_oneof![1..40_usize, 1000..70_000_usize],
        window in prop_oneof![10..100_usize, 100_000..300_000_usize],
    ) {
        let reactor = MemoryReactor::new();
        reactor.set_split(split);
        reactor.set_window(window);
        let (client, server) = (Recorder::default(), Recorder::default());
        reactor.join(
            Box::new(Session::compressed(Role::Client, &options, client.clone())),
            Box::new(Session::compressed(Role::Server, &options, server.clone())),
        );
        for (from, all) in [(&client, &to_server), (&server, &to_client)] {
            for said in all {
                let sent = match said {
                    Said::Message(message) => from.socket().send(message.clone()),
                    Said::Ping(payload) => from.socket().ping(payload),
                };
                prop_assert!(sent);
            }
        }
        reactor.run();
        client.socket().lose_connection(CloseCode(4000), "done");
        reactor.run();
        for (heard, said) in [(&server, &to_server), (&client, &to_client)] {
            let lines = heard.log.lines();
            let told: Vec<_> = lines
                .iter()
                .filter(|line| !["pong", "write"].iter().any(|word| line.starts_with(word)))
                .cloned()
                .collect();
            let mut expected = vec!["open".to_owned()];
            expected.extend(said.iter().map(line));
            expected.push("lost 4000 clean".into());
            prop_assert_eq!(told, expected);
        }
        prop_assert_eq!(reactor.connections(), 0);
    }
}
