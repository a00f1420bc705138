//! The test vectors of the wire format, `../vectors/`: what a second implementation is held to, this one is too.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::tls::conn_id;
use crate::transport::code::Code;
use crate::transport::end::Violation;
use crate::transport::frame::{Frame, FrameError, Hello};
use crate::transport::open::{Open, OpenFormatError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frames {
    valid: Vec<Valid>,
    invalid: Vec<Invalid>,
    incomplete: Vec<Incomplete>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Valid {
    name: String,
    hex: Hex,
    frame: Fields,
    #[serde(default)]
    decode_only: bool,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    name: String,
    hex: Hex,
    error: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incomplete {
    name: String,
    hex: Hex,
}

/// Bytes: hex digits, some repeated, or several of these in a row.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Hex {
    Digits(String),
    Repeated { hex: String, times: usize },
    Joined(Vec<Self>),
}

impl Hex {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Digits(hex) => unhex(hex),
            Self::Repeated { hex, times } => unhex(hex).repeat(*times),
            Self::Joined(parts) => parts.iter().flat_map(Self::bytes).collect(),
        }
    }
}

/// The bytes of hex digits; blanks between them do not count.
pub(super) fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits
        .chars()
        .filter(|char| *char != ' ')
        .map(|char| char.to_digit(16).expect("a hex digit"))
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte");
    let bytes = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]);
    bytes.map(|byte| u8::try_from(byte).unwrap()).collect()
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "UPPERCASE", deny_unknown_fields)]
enum Fields {
    Hello {
        stream: u32,
        max_streams: u32,
        initial_credit: u32,
    },
    Open {
        stream: u32,
        source: Option<SocketAddr>,
        workload: Option<Box<str>>,
        namespace: Option<Box<str>>,
    },
    Opened {
        stream: u32,
    },
    Refused {
        stream: u32,
        code: String,
        rule: Option<String>,
    },
    Data {
        stream: u32,
        bytes: Hex,
    },
    Credit {
        stream: u32,
        bytes: u32,
    },
    Fin {
        stream: u32,
    },
    Reset {
        stream: u32,
        code: String,
    },
    GoAway {
        stream: u32,
        last: u32,
        code: String,
    },
    Ping {
        stream: u32,
    },
    Pong {
        stream: u32,
    },
}

/// A frame that borrows its bytes from `data`, which is filled for it.
#[expect(clippy::too_many_lines, reason = "a table")]
fn frame<'a>(fields: &'a Fields, data: &'a mut Vec<u8>) -> Frame<'a> {
    match *fields {
        Fields::Hello {
            stream: 0,
            max_streams,
            initial_credit,
        } => Frame::Hello(Hello {
            max_streams,
            initial_credit,
        }),
        Fields::Open {
            stream,
            source,
            ref workload,
            ref namespace,
        } => Frame::Open {
            stream,
            open: Open {
                source,
                workload: workload.clone(),
                namespace: namespace.clone(),
            },
        },
        Fields::Opened { stream } => Frame::Opened { stream },
        Fields::Refused {
            stream,
            ref code,
            ref rule,
        } => Frame::Refused {
            stream,
            code: code_named(code),
            rule: rule.as_deref(),
        },
        Fields::Data { stream, ref bytes } => {
            *data = bytes.bytes();
            Frame::Data {
                stream,
                bytes: data,
            }
        }
        Fields::Credit { stream, bytes } => Frame::Credit { stream, bytes },
        Fields::Fin { stream } => Frame::Fin { stream },
        Fields::Reset { stream, ref code } => Frame::Reset {
            stream,
            code: code_named(code),
        },
        Fields::GoAway {
            stream: 0,
            last,
            ref code,
        } => Frame::GoAway {
            last,
            code: code_named(code),
        },
        Fields::Ping { stream: 0 } => Frame::Ping,
        Fields::Pong { stream: 0 } => Frame::Pong,
        Fields::Hello { .. }
        | Fields::GoAway { .. }
        | Fields::Ping { .. }
        | Fields::Pong { .. } => {
            panic!("a frame of the connection with a stream")
        }
    }
}

pub(super) fn code_named(name: &str) -> Code {
    let mut codes = (0..=255).filter_map(Code::new);
    codes.find(|code| code.name() == name).expect(name)
}

/// The violation as the document and the vectors name it.
pub(super) fn name(violation: Violation) -> &'static str {
    match violation {
        Violation::Frame(error) => match error {
            FrameError::Kind(_) => "UNKNOWN_KIND",
            FrameError::Flags(_) => "FLAGS",
            FrameError::Length { .. } => "LENGTH",
            FrameError::Stream { .. } => "STREAM_NUMBER",
            FrameError::Code(_) => "UNKNOWN_CODE",
            FrameError::Open(OpenFormatError::Truncated) => "OPEN_TRUNCATED",
            FrameError::Open(OpenFormatError::Twice(_)) => "OPEN_TWICE",
            FrameError::Open(OpenFormatError::Value(_)) => "OPEN_VALUE",
            FrameError::Rule => "RULE_NOT_TEXT",
            FrameError::NoCredit => "NO_CREDIT",
        },
        Violation::NoHello => "NO_HELLO",
        Violation::HelloTwice => "HELLO_TWICE",
        Violation::HelloLimits => "HELLO_LIMITS",
        Violation::WrongSide => "WRONG_SIDE",
        Violation::StreamOrder => "STREAM_ORDER",
        Violation::UnknownStream => "UNKNOWN_STREAM",
        Violation::TooManyStreams => "TOO_MANY_STREAMS",
        Violation::ResetRate => "RESET_RATE",
        Violation::AnsweredTwice => "ANSWERED_TWICE",
        Violation::NotAnswered => "NOT_ANSWERED",
        Violation::BeyondCredit => "BEYOND_CREDIT",
        Violation::CreditOverflow => "CREDIT_OVERFLOW",
        Violation::AfterEnd => "AFTER_END",
    }
}

fn vectors() -> Frames {
    serde_json::from_str(include_str!("../vectors/frames.json")).unwrap()
}

#[test]
fn valid_frames_are_decoded_and_encoded_as_the_vectors_say() {
    for vector in vectors().valid {
        let (bytes, mut data) = (vector.hex.bytes(), Vec::new());
        let expected = frame(&vector.frame, &mut data);
        let decoded = Frame::decode(&bytes).unwrap().unwrap();
        assert_eq!(decoded, (expected.clone(), bytes.len()), "{}", vector.name);
        for end in 0..bytes.len() {
            let part = Frame::decode(&bytes[..end]);
            assert_eq!(part, Ok(None), "{end} bytes of {}", vector.name);
        }
        let mut encoded = Vec::new();
        expected.encode(&mut encoded);
        assert_eq!(encoded == bytes, !vector.decode_only, "{}", vector.name);
    }
}

#[test]
fn invalid_frames_are_refused_with_the_name_that_the_vectors_say() {
    let vectors = vectors();
    for vector in vectors.invalid {
        let error = Frame::decode(&vector.hex.bytes()).expect_err(&vector.name);
        assert_eq!(
            name(Violation::Frame(error)),
            vector.error,
            "{}",
            vector.name
        );
    }
    for vector in vectors.incomplete {
        assert_eq!(
            Frame::decode(&vector.hex.bytes()),
            Ok(None),
            "{}",
            vector.name
        );
    }
}

#[derive(Deserialize)]
struct ConnIds {
    conn_ids: Vec<NamedStream>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedStream {
    exporter: String,
    stream: u32,
    conn_id: String,
}

#[test]
fn streams_have_the_names_that_the_vectors_say() {
    let ids: ConnIds = serde_json::from_str(include_str!("../vectors/conn_ids.json")).unwrap();
    for vector in ids.conn_ids {
        let exporter = unhex(&vector.exporter).try_into().unwrap();
        let id = conn_id(&exporter, vector.stream);
        assert_eq!(id.as_slice(), unhex(&vector.conn_id), "{}", vector.stream);
    }
}
