//! Holds `wire.md` to the code: its tables, its numbers and its example.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "steps and errors that are not named do not matter"
)]

use std::collections::BTreeSet;
use std::fmt::Debug;

use palisade_api::sidecar::ALPN;

use super::conversations::{Step, conversations};
use super::vectors::{Hex, name, unhex};
use crate::tls::{EXPORTER_LABEL, provider};
use crate::transport::code::Code;
use crate::transport::credit::MIN_CREDIT;
use crate::transport::end::Violation;
use crate::transport::frame::{
    Frame, FrameError, HEADER_BYTES, MAX_PAYLOAD_BYTES, MAX_RULE_BYTES, SENT_DATA_BYTES,
};
use crate::transport::open::{MAX_NAME_BYTES, Open, OpenFormatError};
use crate::transport::settings::{MIN_STREAMS, Settings};

const DOCUMENT: &str = include_str!("../wire.md");

/// The rows of the table whose header begins with `header`, without backquotes.
pub(super) fn table(header: &str) -> Vec<Vec<String>> {
    let mut lines = DOCUMENT.lines();
    lines.find(|line| line.starts_with(header)).expect(header);
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cell = |cell: &str| cell.trim().replace('`', "");
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(cell).collect()
    })
    .collect()
}

fn number<T: std::str::FromStr<Err: Debug>>(text: &str) -> T {
    text.replace(',', "").parse().expect(text)
}

/// Whether a header of this kind, length and stream may begin a frame.
fn header(kind: u8, length: u16, stream: u32) -> Result<(), FrameError> {
    let mut bytes = vec![kind, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    match Frame::decode(&bytes) {
        // Its payload, or the lack of one, is looked at after the header.
        Ok(_) | Err(FrameError::Code(_) | FrameError::NoCredit) => Ok(()),
        Err(error) => Err(error),
    }
}

#[test]
fn the_table_of_frames_is_that_of_the_code() {
    let rows = table("| kind | name | payload |");
    let mut known = BTreeSet::new();
    for row in &rows {
        let (kind, name) = (number::<u8>(&row[0]), row[1].as_str());
        known.insert(kind);
        let (least, most) = match row[2].split_once(" to ") {
            Some((least, most)) => (number::<u16>(least), number::<u16>(most)),
            None => (number(&row[2]), number(&row[2])),
        };
        let (right, wrong) = match row[3].as_str() {
            "0" => (0, 1),
            "number" => (1, 0),
            other => panic!("{other}"),
        };
        for length in 0..=u16::MAX {
            let allowed = (least..=most).contains(&length);
            if allowed {
                assert_eq!(header(kind, length, right), Ok(()), "{name} of {length}");
            }
            let is_refused = matches!(
                header(kind, length, right),
                Err(FrameError::Length { kind, .. }) if kind == name
            );
            assert_eq!(is_refused, !allowed, "{name} of {length}");
        }
        assert!(matches!(
            header(kind, least, wrong),
            Err(FrameError::Stream { kind, .. }) if kind == name
        ));
    }
    for kind in 0..=u8::MAX {
        let is_known = header(kind, 0, 1) != Err(FrameError::Kind(kind));
        assert_eq!(is_known, known.contains(&kind), "kind {kind}");
    }
}

#[test]
fn the_table_of_codes_is_that_of_the_code() {
    let said: Vec<(u8, String)> = table("| number | name | meaning |")
        .iter()
        .map(|row| (number(&row[0]), row[1].clone()))
        .collect();
    let known: Vec<(u8, String)> = (0..=u8::MAX)
        .filter_map(Code::new)
        .map(|code| (code.number(), code.name().to_owned()))
        .collect();
    assert_eq!(said, known);
}

#[test]
fn the_table_of_violations_is_that_of_the_code() {
    let said: Vec<String> = table("| name | what the peer did |")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    let known = [
        Violation::Frame(FrameError::Kind(0)),
        Violation::Frame(FrameError::Flags(1)),
        Violation::Frame(FrameError::Length {
            kind: "",
            length: 0,
        }),
        Violation::Frame(FrameError::Stream {
            kind: "",
            stream: 0,
        }),
        Violation::Frame(FrameError::Code(0)),
        Violation::Frame(FrameError::Rule),
        Violation::Frame(FrameError::NoCredit),
        Violation::Frame(FrameError::Open(OpenFormatError::Truncated)),
        Violation::Frame(FrameError::Open(OpenFormatError::Twice(0))),
        Violation::Frame(FrameError::Open(OpenFormatError::Value(0))),
        Violation::NoHello,
        Violation::HelloTwice,
        Violation::HelloLimits,
        Violation::WrongSide,
        Violation::StreamOrder,
        Violation::UnknownStream,
        Violation::TooManyStreams,
        Violation::ResetRate,
        Violation::AnsweredTwice,
        Violation::NotAnswered,
        Violation::BeyondCredit,
        Violation::CreditOverflow,
        Violation::AfterEnd,
    ];
    assert_eq!(said, known.map(name));
}

#[test]
fn the_limits_and_the_times_are_those_of_the_code() {
    let least: Vec<u32> = table("| field | meaning | least |")
        .iter()
        .map(|row| number(&row[2]))
        .collect();
    assert_eq!(least, [MIN_STREAMS, MIN_CREDIT]);

    let settings = Settings::default();
    let said: Vec<(String, u64)> = table("| time | seconds |")
        .iter()
        .map(|row| (row[0].clone(), number(&row[1])))
        .collect();
    let times = [
        ("HELLO_TIMEOUT", settings.hello_timeout),
        ("ANSWER_TIMEOUT", settings.answer_timeout),
        ("QUIET_TIMEOUT", settings.quiet_timeout),
        ("PONG_TIMEOUT", settings.pong_timeout),
        ("IDLE_TIMEOUT", settings.idle_timeout),
        ("CLOSE_TIMEOUT", settings.close_timeout),
    ];
    assert_eq!(
        said,
        times.map(|(name, time)| (name.to_owned(), time.as_secs()))
    );

    let words = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    let Settings {
        reset_burst,
        resets_per_second,
        max_window,
        max_streams,
        initial_credit,
        ..
    } = settings;
    for said in [
        format!(
            "more than {} bytes of one frame",
            thousands(HEADER_BYTES + MAX_PAYLOAD_BYTES)
        ),
        format!("DATA of {} bytes", thousands(MAX_PAYLOAD_BYTES)),
        format!("DATA of at most {}", thousands(SENT_DATA_BYTES)),
        format!("the rule's name (0 to {MAX_RULE_BYTES}, UTF-8)"),
        format!(
            "by default {} at once, filled up again by {} a second",
            thousands(reset_burst as usize),
            thousands(resets_per_second as usize)
        ),
        format!("doubles a window up to {max_window} bytes"),
        format!("the highest is {}", u32::MAX - 1),
        format!("max_streams ({max_streams}), an initial_credit of {initial_credit}"),
    ] {
        assert!(words.contains(&said), "not in wire.md: {said}");
    }
}

/// Whether an OPEN has an attribute.
type Has = fn(&Open) -> bool;

fn thousands(number: usize) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}

#[test]
fn the_attributes_of_open_are_those_of_the_code() {
    let most = format!("0 to {MAX_NAME_BYTES} bytes");
    let open = Open {
        source: Some(([10, 0, 0, 1], 80).into()),
        workload: Some("a".into()),
        namespace: Some("b".into()),
    };
    let mut said = Vec::new();
    for row in table("| tag | name | value |") {
        let source = |open: &Open| open.source.is_some();
        let (has, value): (Has, _) = match row[1].as_str() {
            "source" => (source, vec![0; 6]),
            "workload" => (|open| open.workload.is_some(), b"a".to_vec()),
            "namespace" => (|open| open.namespace.is_some(), b"a".to_vec()),
            other => panic!("{other}"),
        };
        assert!(row[1] == "source" || row[2].contains(&most), "{row:?}");
        let tag = number(&row[0]);
        let length = u8::try_from(value.len()).unwrap();
        let bytes = [&[tag, length], value.as_slice()].concat();
        assert!(has(&Open::decode(&bytes).unwrap()), "{row:?}");
        said.push(tag);
    }
    let mut encoded = Vec::new();
    let bytes = open.encode();
    let mut rest = bytes.as_slice();
    while let [tag, length, after @ ..] = rest {
        encoded.push(*tag);
        rest = &after[usize::from(*length)..];
    }
    assert_eq!(said, encoded);
}

#[test]
fn the_handshake_is_that_of_the_code() {
    let provider = provider();
    let mut known = Vec::new();
    for group in &provider.kx_groups {
        let (name, number) = (group.name(), u16::from(group.name()));
        known.push((name.as_str().unwrap().to_owned(), number));
    }
    for suite in &provider.cipher_suites {
        let (suite, number) = (suite.suite(), u16::from(suite.suite()));
        let name = suite.as_str().unwrap().replace("TLS13_", "TLS_");
        known.push((name, number));
    }
    let said: Vec<(String, u16)> = table("| | IANA name | number |")
        .into_iter()
        .map(|row| (row[1].clone(), u16::from_str_radix(&row[2], 16).unwrap()))
        .collect();
    assert_eq!(said, known);
    for word in [ALPN, EXPORTER_LABEL] {
        let word = format!("`{}`", std::str::from_utf8(word).unwrap());
        assert!(DOCUMENT.contains(&word), "not in wire.md: {word}");
    }
}

#[test]
fn the_example_is_the_conversation_of_the_vectors() {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    let (_, example) = DOCUMENT.split_once("```wire\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    for line in example.lines() {
        let bytes = line.split(';').next().unwrap();
        match bytes.split_at(2) {
            ("C ", hex) => client.extend(unhex(hex)),
            ("S ", hex) => server.extend(unhex(hex)),
            _ => panic!("{line}"),
        }
    }
    for (side, sent, received) in [
        ("example, client", &client, &server),
        ("example, server", &server, &client),
    ] {
        let conversation = conversations().into_iter().find(|one| one.name == side);
        let (mut out, mut heard) = (Vec::new(), Vec::new());
        for step in conversation.unwrap().steps {
            match step {
                Step::Send { frames, .. } => out.extend(frames.iter().flat_map(Hex::bytes)),
                Step::Receive { hex } => heard.extend(hex.bytes()),
                _ => {}
            }
        }
        assert_eq!((&out, &heard), (sent, received), "{side}");
    }
}
