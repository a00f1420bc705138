//! Frames and bytes.

use proptest::prelude::*;

use crate::transport::code::Code;
use crate::transport::frame::{Frame, FrameError, Hello};
use crate::transport::open::{Open, OpenFormatError};

fn codes() -> impl Strategy<Value = Code> {
    (1_u8..=12).prop_map(|number| Code::new(number).unwrap())
}

fn opens() -> impl Strategy<Value = Open> {
    let name = || proptest::option::of("[a-z0-9.é-]{0,120}".prop_map(Box::from));
    let source = proptest::option::of(
        any::<std::net::SocketAddr>()
            .prop_map(|addr| std::net::SocketAddr::new(addr.ip(), addr.port())),
    );
    (source, name(), name()).prop_map(|(source, workload, namespace)| Open {
        source,
        workload,
        namespace,
    })
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let stream = 1_u32..;
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(max_streams, initial_credit)| {
            printed(&Frame::Hello(Hello {
                max_streams,
                initial_credit,
            }))
        }),
        (stream.clone(), opens()).prop_map(|(stream, open)| printed(&Frame::Open { stream, open })),
        (stream.clone(), codes(), ".{0,100}").prop_map(|(stream, code, rule)| {
            let rule = Some(rule.as_str()).filter(|rule| !rule.is_empty());
            printed(&Frame::Refused { stream, code, rule })
        }),
        (
            stream.clone(),
            proptest::collection::vec(any::<u8>(), 1..2000)
        )
            .prop_map(|(stream, bytes)| printed(&Frame::Data {
                stream,
                bytes: &bytes
            })),
        (stream.clone(), 1_u32..)
            .prop_map(|(stream, bytes)| printed(&Frame::Credit { stream, bytes })),
        (stream.clone(), codes())
            .prop_map(|(stream, code)| printed(&Frame::Reset { stream, code })),
        (any::<u32>(), codes()).prop_map(|(last, code)| printed(&Frame::GoAway { last, code })),
        stream
            .clone()
            .prop_map(|stream| printed(&Frame::Opened { stream })),
        stream.prop_map(|stream| printed(&Frame::Fin { stream })),
        Just(printed(&Frame::Ping)),
        Just(printed(&Frame::Pong)),
    ]
}

fn printed(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    let parsed = Frame::decode(&out).unwrap().unwrap();
    assert_eq!(parsed, (frame.clone(), out.len()), "parse after print");
    out
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same_and_a_part_of_it_waits(bytes in frames(), cut in 0.0_f64..1.0) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let part = (bytes.len() as f64 * cut) as usize;
        prop_assert_eq!(Frame::decode(&bytes[..part]), Ok(None));
    }

    #[test]
    fn no_bytes_make_it_panic_or_wait_for_more_than_a_frame(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some((_, length))) = Frame::decode(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn a_changed_byte_never_makes_it_panic(mut bytes in frames(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(Some((_, length))) = Frame::decode(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_header_that_no_frame_may_have_is_refused_before_its_payload() {
    let cases: &[([u8; 8], FrameError)] = &[
        ([0, 0, 0, 0, 0, 0, 0, 1], FrameError::Kind(0)),
        ([12, 0, 0, 0, 0, 0, 0, 1], FrameError::Kind(12)),
        ([5, 1, 0, 1, 0, 0, 0, 1], FrameError::Flags(1)),
        (
            [5, 0, 0, 0, 0, 0, 0, 1],
            FrameError::Length {
                kind: "DATA",
                length: 0,
            },
        ),
        (
            [5, 0, 0x40, 1, 0, 0, 0, 1],
            FrameError::Length {
                kind: "DATA",
                length: 16385,
            },
        ),
        (
            [2, 0, 4, 1, 0, 0, 0, 1],
            FrameError::Length {
                kind: "OPEN",
                length: 1025,
            },
        ),
        (
            [1, 0, 0, 65, 0, 0, 0, 0],
            FrameError::Length {
                kind: "HELLO",
                length: 65,
            },
        ),
        (
            [4, 0, 2, 2, 0, 0, 0, 1],
            FrameError::Length {
                kind: "REFUSED",
                length: 514,
            },
        ),
        (
            [7, 0, 0, 1, 0, 0, 0, 1],
            FrameError::Length {
                kind: "FIN",
                length: 1,
            },
        ),
        (
            [5, 0, 0, 1, 0, 0, 0, 0],
            FrameError::Stream {
                kind: "DATA",
                stream: 0,
            },
        ),
        (
            [10, 0, 0, 0, 0, 0, 0, 1],
            FrameError::Stream {
                kind: "PING",
                stream: 1,
            },
        ),
    ];
    for (header, expected) in cases {
        assert_eq!(Frame::decode(header), Err(*expected), "{header:?}");
    }
}

#[test]
fn payloads_that_mean_nothing_are_refused() {
    let cases: &[(&[u8], FrameError)] = &[
        (&[6, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0], FrameError::NoCredit),
        (&[8, 0, 0, 1, 0, 0, 0, 1, 99], FrameError::Code(99)),
        (&[4, 0, 0, 2, 0, 0, 0, 1, 1, 0xff], FrameError::Rule),
        (
            &[2, 0, 0, 1, 0, 0, 0, 1, 1],
            FrameError::Open(OpenFormatError::Truncated),
        ),
        (
            &[2, 0, 0, 2, 0, 0, 0, 1, 9, 1],
            FrameError::Open(OpenFormatError::Truncated),
        ),
        (
            &[2, 0, 0, 2, 0, 0, 0, 1, 1, 0],
            FrameError::Open(OpenFormatError::Value(1)),
        ),
        (
            &[2, 0, 0, 3, 0, 0, 0, 1, 2, 1, 0xff],
            FrameError::Open(OpenFormatError::Value(2)),
        ),
        (
            &[2, 0, 0, 4, 0, 0, 0, 1, 2, 0, 2, 0],
            FrameError::Open(OpenFormatError::Twice(2)),
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(Frame::decode(bytes), Err(*expected), "{bytes:?}");
    }
}

#[test]
fn claims_are_bounded_stripped_and_open_to_new_tags() {
    let open = Open {
        workload: Some("é".repeat(200).into()),
        ..Open::default()
    };
    let cut = Open::decode(&open.encode()).unwrap().workload.unwrap();
    assert_eq!(cut.len(), 252, "no half of a character");

    let bytes = [77, 2, 1, 2, 3, 4, b'a', b'\n', 0x1b, b'b'];
    let open = Open::decode(&bytes).unwrap();
    assert_eq!(open.namespace.as_deref(), Some("ab"));
}
