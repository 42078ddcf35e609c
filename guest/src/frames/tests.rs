use super::*;

fn feed(decoder: &mut Decoder, mut bytes: &[u8], step: usize) -> Result<Vec<Event>, Malformed> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let space = decoder.space();
        assert!(!space.is_empty());
        let count = space.len().min(bytes.len()).min(step);
        space[..count].copy_from_slice(&bytes[..count]);
        decoder.filled(count);
        bytes = &bytes[count..];
        while let Some(event) = decoder.next()? {
            events.push(event);
        }
    }
    Ok(events)
}

fn encoded(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, header, &[body]);
    out
}

fn synced() -> Decoder {
    let mut decoder = Decoder::new();
    let stream = [SYNC.to_vec(), encoded(b"{\"op\":\"hello\"}", b"")].concat();
    assert!(matches!(
        feed(&mut decoder, &stream, 4096).unwrap()[..],
        [Event::Sync, Event::Frame(_)]
    ));
    decoder
}

fn raw(length: u32, header: u32, rest: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], &header.to_le_bytes()[..], rest].concat()
}

#[test]
fn frames_come_out_whole_however_the_bytes_arrive() {
    let sizes = [
        0usize,
        1,
        100,
        SMALL - 20,
        SMALL,
        SMALL + 1,
        COLLECT,
        300_000,
        BODY_LIMIT,
    ];
    let mut stream = Vec::new();
    for size in sizes {
        stream.extend_from_slice(&encoded(
            format!("{{\"id\":{}}}", size + 1).as_bytes(),
            &vec![size as u8; size],
        ));
    }
    for step in [1, 7, 4096, 65536] {
        let events = feed(&mut synced(), &stream, step).unwrap();
        assert_eq!(events.len(), sizes.len());
        for (event, size) in events.iter().zip(sizes) {
            let Event::Frame(frame) = event else { panic!("no frame") };
            assert_eq!(frame.header(), format!("{{\"id\":{}}}", size + 1).as_bytes());
            assert_eq!(frame.body().len(), size);
            assert!(frame.body().iter().all(|&byte| byte == size as u8));
        }
    }
}

#[test]
fn all_before_a_sync_is_discarded_even_when_it_is_split() {
    let mut stream = b"garbage \0\0HUTCH-SYN \0\0".to_vec();
    stream.extend_from_slice(&vec![0u8; 100_000]);
    stream.extend_from_slice(&SYNC);
    stream.extend_from_slice(&encoded(b"{}", b""));
    for step in [1, 5, 4096] {
        let events = feed(&mut Decoder::new(), &stream, step).unwrap();
        assert!(matches!(events[..], [Event::Sync, Event::Frame(_)]));
    }
}

#[test]
fn a_sync_between_frames_is_seen_and_one_in_a_body_is_not() {
    let stream = [encoded(b"{}", &SYNC), SYNC.to_vec(), encoded(b"{}", b"x")].concat();
    for step in [1, 3, 4096] {
        let events = feed(&mut synced(), &stream, step).unwrap();
        assert!(matches!(events[..], [Event::Frame(_), Event::Sync, Event::Frame(_)]));
    }
}

#[test]
fn a_greeting_that_was_cut_off_does_not_swallow_the_next() {
    let hello = [SYNC.to_vec(), encoded(b"{\"op\":\"hello\"}", b"")].concat();
    for cut in SYNC.len()..hello.len() {
        let mut decoder = Decoder::new();
        assert!(matches!(
            feed(&mut decoder, &hello[..cut], 4096).unwrap()[..],
            [Event::Sync]
        ));
        let events = feed(&mut decoder, &hello, 4096).unwrap();
        assert!(matches!(events[..], [Event::Sync, Event::Frame(_)]), "{cut} {events:?}");
    }
    let large = [SYNC.to_vec(), encoded(b"{}", &vec![0; SMALL])].concat();
    assert!(feed(&mut Decoder::new(), &large, 4096).is_err());
}

#[test]
fn a_frame_that_was_cut_off_is_not_completed_by_what_follows() {
    let sealed = |body: &[u8]| encoded(b"{}", &[body, b"seal"].concat());
    let hello = [SYNC.to_vec(), encoded(b"{\"op\":\"hello\"}", b"")].concat();
    for size in [10, 100, SMALL - 30, SMALL, 300_000] {
        for missing in [1, 5, hello.len() - 1, hello.len()] {
            let mut decoder = synced();
            decoder.expect_seal(u32::from_le_bytes(*b"seal"));
            let whole = sealed(&vec![1; size]);
            let events = feed(&mut decoder, &whole, 4096).unwrap();
            assert!(matches!(&events[..], [Event::Frame(frame)] if frame.body().len() == size));
            let cut = whole.len().saturating_sub(missing).max(5);
            assert!(feed(&mut decoder, &whole[..cut], 4096).unwrap().is_empty());
            let mut events = Vec::new();
            let mut rest = &[&hello[..], &sealed(b"x")].concat()[..];
            while !rest.is_empty() {
                let count = rest.len().min(decoder.space().len());
                decoder.space()[..count].copy_from_slice(&rest[..count]);
                decoder.filled(count);
                rest = &rest[count..];
                loop {
                    match decoder.next() {
                        Ok(None) => break,
                        Ok(Some(event)) => events.push(event),
                        Err(_) => decoder.rescan(),
                    }
                }
            }
            assert!(
                matches!(events[..], [Event::Sync, Event::Frame(_), Event::Frame(_)]),
                "{size} {missing} {events:?}"
            );
        }
    }
}

#[test]
fn a_frame_too_short_for_its_seal_is_malformed() {
    let mut decoder = synced();
    decoder.expect_seal(0);
    assert!(feed(&mut decoder, &raw(4, 0, b""), 4096).is_err());
    let mut decoder = synced();
    decoder.expect_seal(0);
    assert!(feed(&mut decoder, &raw(8, 4, &[0; 4]), 4096).is_err());
}

#[test]
fn lengths_out_of_bounds_are_malformed() {
    let limit = FRAME_LIMIT as u32;
    for bytes in [
        raw(3, 0, b""),
        raw(0, 0, b""),
        raw(limit + 1, 0, b""),
        raw(u32::MAX, 0, b""),
        raw(4, 1, b""),
        raw(8, u32::MAX, b"abcd"),
        raw(limit, (1 << 20) + 1, &vec![0; limit as usize - 4]),
        raw(limit, 0, &vec![0; limit as usize - 4]),
        b"\0\0HUTCH-SYNC-2\r\n".to_vec(),
    ] {
        assert!(feed(&mut synced(), &bytes, 4096).is_err(), "{:?}", &bytes[..8]);
    }
}

#[test]
fn after_a_rescan_only_a_sync_counts() {
    let mut decoder = synced();
    assert!(feed(&mut decoder, &raw(u32::MAX, 0, b"rest"), 4096).is_err());
    decoder.rescan();
    let stream = [encoded(b"{}", b"lost"), SYNC.to_vec(), encoded(b"{}", b"kept")].concat();
    let events = feed(&mut decoder, &stream, 4096).unwrap();
    let [Event::Sync, Event::Frame(frame)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(frame.body(), b"kept");
}

#[test]
fn a_reset_in_the_middle_of_a_large_frame_forgets_it() {
    let mut decoder = synced();
    feed(&mut decoder, &encoded(b"{}", &vec![1; 500_000])[..200_000], 4096).unwrap();
    decoder.reset();
    let stream = [SYNC.to_vec(), encoded(b"{}", b"new")].concat();
    assert_eq!(feed(&mut decoder, &stream, 4096).unwrap().len(), 2);
}

#[test]
fn a_recycled_buffer_shows_nothing_of_the_frame_before() {
    let mut decoder = synced();
    let events = feed(&mut decoder, &encoded(b"{\"a\":1}", &vec![7; 400_000]), 4096).unwrap();
    let Some(Event::Frame(frame)) = events.into_iter().next() else {
        panic!("no frame")
    };
    decoder.recycle(frame.into_buffer());
    let events = feed(&mut decoder, &encoded(b"{}", &vec![9; 300_000]), 4096).unwrap();
    let [Event::Frame(frame)] = &events[..] else {
        panic!("no frame")
    };
    assert_eq!(frame.header(), b"{}");
    assert_eq!(frame.body(), &vec![9; 300_000][..]);
}

/// Any bytes at all: the decoder gives frames or an error, keeps its bounds, and goes on after the next sync.
#[test]
fn garbage_never_breaks_the_decoder() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..400 {
        let mut decoder = synced();
        let mut bytes: Vec<u8> = (0..random() % 5000).map(|_| random() as u8).collect();
        if round % 2 == 0 {
            // Plausible lengths reach further than random ones.
            let length = (random() % (FRAME_LIMIT as u64 + 10)) as u32;
            bytes.splice(0..0, raw(length, (random() % 3000) as u32, b""));
        }
        if feed(&mut decoder, &bytes, 1 + (random() % 5000) as usize).is_err() {
            decoder.rescan();
        } else {
            decoder.reset();
        }
        let stream = [SYNC.to_vec(), encoded(b"{}", b"alive")].concat();
        assert!(matches!(
            feed(&mut decoder, &stream, 4096).unwrap()[..],
            [.., Event::Sync, Event::Frame(_)]
        ));
    }
}
