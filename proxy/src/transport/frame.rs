//! Frames and bytes, and the limits of each. Nothing here knows what a frame means.
//!
//! A frame is a header of eight bytes and a payload, all integers big-endian:
//!
//! ```text
//! kind u8 | flags u8, always 0 | payload length u16 | stream u32 | payload
//! ```
//!
//! A length is checked against its kind as soon as the header is there, so that a reader never waits for, or keeps,
//! more than the longest frame of that kind.

use thiserror::Error;

use super::code::Code;
use super::open::{MAX_OPEN_BYTES, Open, OpenFormatError, cut};

/// Length of every frame's header.
pub(super) const HEADER_BYTES: usize = 8;

/// Longest payload that is accepted in a DATA frame, and in any frame.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024;

/// Longest payload that is sent in a DATA frame: with its header it fills one TLS record exactly, so that a frame is
/// whole as soon as its record is.
pub(super) const SENT_DATA_BYTES: usize = MAX_PAYLOAD_BYTES - HEADER_BYTES;

/// A full frame, as it is sent.
pub const FRAME_BYTES: usize = HEADER_BYTES + SENT_DATA_BYTES;

/// Longest name of a rule in a REFUSED frame; a longer one is cut.
pub const MAX_RULE_BYTES: usize = 512;

/// A HELLO may grow by fields that this version does not know, up to this.
const MAX_HELLO_BYTES: usize = 64;

/// What a side allows its peer, said once at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// How many streams the peer may have open at once.
    pub(super) max_streams: u32,
    /// How many bytes the peer may send on a new stream before it gets more credit.
    pub(super) initial_credit: u32,
}

/// One frame; what has no `stream` concerns the whole connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// The limits of the sender, its first frame.
    Hello(Hello),
    /// A new stream, by the client.
    Open {
        /// The stream's number.
        stream: u32,
        /// What the client claims about it.
        open: Open,
    },
    /// The server took the stream.
    Opened {
        /// The stream's number.
        stream: u32,
    },
    /// The server did not take the stream; nothing was delivered.
    Refused {
        /// The stream's number.
        stream: u32,
        /// Why.
        code: Code,
        /// The rule that decided, where the server wants to say it.
        rule: Option<&'a str>,
    },
    /// Bytes of the application; never empty.
    Data {
        /// The stream's number.
        stream: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The peer may send so many bytes more.
    Credit {
        /// The stream's number.
        stream: u32,
        /// How many; never 0.
        bytes: u32,
    },
    /// The sender's data is complete.
    Fin {
        /// The stream's number.
        stream: u32,
    },
    /// The sender gave the stream up, in both directions.
    Reset {
        /// The stream's number.
        stream: u32,
        /// Why.
        code: Code,
    },
    /// The sender takes no streams any more.
    GoAway {
        /// The last stream that it took.
        last: u32,
        /// Why.
        code: Code,
    },
    /// The peer shall answer with a PONG.
    Ping,
    /// Answers every PING before it.
    Pong,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A kind that this version does not know, or a reserved one.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// Flags are reserved.
    #[error("a frame with flags {0:#04x}")]
    Flags(u8),
    /// A length that the kind does not allow.
    #[error("a {kind} frame of {length} bytes")]
    Length {
        /// The kind's name.
        kind: &'static str,
        /// The length in the header.
        length: u16,
    },
    /// A stream's number where none belongs, or none where one does.
    #[error("a {kind} frame with stream number {stream}")]
    Stream {
        /// The kind's name.
        kind: &'static str,
        /// The number in the header.
        stream: u32,
    },
    /// A code that this version does not know.
    #[error("an unknown code {0}")]
    Code(u8),
    /// The attributes of an OPEN frame.
    #[error("the attributes of an OPEN frame")]
    Open(#[source] OpenFormatError),
    /// The rule's name in a REFUSED frame is not UTF-8.
    #[error("the rule's name in a REFUSED frame is not text")]
    Rule,
    /// A CREDIT frame that gives nothing.
    #[error("a CREDIT frame of 0 bytes")]
    NoCredit,
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` begins with, and its length; `None` while it is not whole.
    ///
    /// # Errors
    /// As soon as the header shows that no frame can follow, even before the payload is there.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((&[kind, flags, high, low, s0, s1, s2, s3], rest)) =
            bytes.split_first_chunk::<HEADER_BYTES>()
        else {
            return Ok(None);
        };
        let kind = Kind::new(kind)?;
        if flags != 0 {
            return Err(FrameError::Flags(flags));
        }
        let length = u16::from_be_bytes([high, low]);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        kind.check(length, stream)?;
        let Some(payload) = rest.get(..usize::from(length)) else {
            return Ok(None);
        };
        let frame = Self::parse(kind, stream, payload)?;
        Ok(Some((frame, HEADER_BYTES + payload.len())))
    }

    /// How many bytes `beginning` lacks to be a whole header, or else a whole frame.
    pub(super) fn missing(beginning: &[u8]) -> usize {
        let whole = match beginning {
            &[_, _, high, low, _, _, _, _, ..] => {
                HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]))
            }
            _ => HEADER_BYTES,
        };
        whole.saturating_sub(beginning.len())
    }

    /// Appends the frame to `out`. A payload beyond the limit of its kind is cut; a session never makes one.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Hello(hello) => {
                let mut payload = [0; 8];
                let (streams, credit) = payload.split_at_mut(4);
                streams.copy_from_slice(&hello.max_streams.to_be_bytes());
                credit.copy_from_slice(&hello.initial_credit.to_be_bytes());
                put(out, Kind::Hello, 0, &payload);
            }
            Self::Open { stream, ref open } => put(out, Kind::Open, stream, &open.encode()),
            Self::Opened { stream } => put(out, Kind::Opened, stream, &[]),
            Self::Refused { stream, code, rule } => {
                let mut payload = vec![code.number()];
                payload.extend_from_slice(cut(rule.unwrap_or_default(), MAX_RULE_BYTES).as_bytes());
                put(out, Kind::Refused, stream, &payload);
            }
            Self::Data { stream, bytes } => put(out, Kind::Data, stream, bytes),
            Self::Credit { stream, bytes } => {
                put(out, Kind::Credit, stream, &bytes.to_be_bytes());
            }
            Self::Fin { stream } => put(out, Kind::Fin, stream, &[]),
            Self::Reset { stream, code } => put(out, Kind::Reset, stream, &[code.number()]),
            Self::GoAway { last, code } => {
                let [a, b, c, d] = last.to_be_bytes();
                put(out, Kind::GoAway, 0, &[a, b, c, d, code.number()]);
            }
            Self::Ping => put(out, Kind::Ping, 0, &[]),
            Self::Pong => put(out, Kind::Pong, 0, &[]),
        }
    }

    fn parse(kind: Kind, stream: u32, payload: &'a [u8]) -> Result<Self, FrameError> {
        Ok(match (kind, payload) {
            (Kind::Hello, &[a, b, c, d, e, f, g, h, ..]) => Self::Hello(Hello {
                max_streams: u32::from_be_bytes([a, b, c, d]),
                initial_credit: u32::from_be_bytes([e, f, g, h]),
            }),
            (Kind::Open, attributes) => Self::Open {
                stream,
                open: Open::decode(attributes).map_err(FrameError::Open)?,
            },
            (Kind::Opened, _) => Self::Opened { stream },
            (Kind::Refused, &[code, ref rule @ ..]) => Self::Refused {
                stream,
                code: Code::new(code).ok_or(FrameError::Code(code))?,
                rule: match std::str::from_utf8(rule) {
                    Ok("") => None,
                    Ok(rule) => Some(rule),
                    Err(_) => return Err(FrameError::Rule),
                },
            },
            (Kind::Data, bytes) => Self::Data { stream, bytes },
            (Kind::Credit, &[a, b, c, d]) => match u32::from_be_bytes([a, b, c, d]) {
                0 => return Err(FrameError::NoCredit),
                bytes => Self::Credit { stream, bytes },
            },
            (Kind::Fin, _) => Self::Fin { stream },
            (Kind::Reset, &[code]) => Self::Reset {
                stream,
                code: Code::new(code).ok_or(FrameError::Code(code))?,
            },
            (Kind::GoAway, &[a, b, c, d, code]) => Self::GoAway {
                last: u32::from_be_bytes([a, b, c, d]),
                code: Code::new(code).ok_or(FrameError::Code(code))?,
            },
            (Kind::Ping, _) => Self::Ping,
            (Kind::Pong, _) => Self::Pong,
            // `check` has seen the length, so this is not reached; it answers as `check` would.
            (Kind::Hello | Kind::Refused | Kind::Credit | Kind::Reset | Kind::GoAway, _) => {
                return Err(FrameError::Length {
                    kind: kind.name(),
                    length: u16::try_from(payload.len()).unwrap_or(u16::MAX),
                });
            }
        })
    }
}

fn put(out: &mut Vec<u8>, kind: Kind, stream: u32, payload: &[u8]) {
    let payload = payload.get(..MAX_PAYLOAD_BYTES).unwrap_or(payload);
    let length = u16::try_from(payload.len()).unwrap_or_default();
    out.extend_from_slice(&[kind as u8, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Number 12 is kept for REAUTH and is refused until it means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hello = 1,
    Open = 2,
    Opened = 3,
    Refused = 4,
    Data = 5,
    Credit = 6,
    Fin = 7,
    Reset = 8,
    GoAway = 9,
    Ping = 10,
    Pong = 11,
}

impl Kind {
    fn new(number: u8) -> Result<Self, FrameError> {
        Ok(match number {
            1 => Self::Hello,
            2 => Self::Open,
            3 => Self::Opened,
            4 => Self::Refused,
            5 => Self::Data,
            6 => Self::Credit,
            7 => Self::Fin,
            8 => Self::Reset,
            9 => Self::GoAway,
            10 => Self::Ping,
            11 => Self::Pong,
            unknown => return Err(FrameError::Kind(unknown)),
        })
    }

    fn check(self, length: u16, stream: u32) -> Result<(), FrameError> {
        let (shortest, longest) = match self {
            Self::Hello => (8, MAX_HELLO_BYTES),
            Self::Open => (0, MAX_OPEN_BYTES),
            Self::Refused => (1, 1 + MAX_RULE_BYTES),
            Self::Data => (1, MAX_PAYLOAD_BYTES),
            Self::Credit => (4, 4),
            Self::Reset => (1, 1),
            Self::GoAway => (5, 5),
            Self::Opened | Self::Fin | Self::Ping | Self::Pong => (0, 0),
        };
        let kind = self.name();
        if !(shortest..=longest).contains(&usize::from(length)) {
            return Err(FrameError::Length { kind, length });
        }
        let of_connection = matches!(self, Self::Hello | Self::GoAway | Self::Ping | Self::Pong);
        if of_connection != (stream == 0) {
            return Err(FrameError::Stream { kind, stream });
        }
        Ok(())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hello => "HELLO",
            Self::Open => "OPEN",
            Self::Opened => "OPENED",
            Self::Refused => "REFUSED",
            Self::Data => "DATA",
            Self::Credit => "CREDIT",
            Self::Fin => "FIN",
            Self::Reset => "RESET",
            Self::GoAway => "GOAWAY",
            Self::Ping => "PING",
            Self::Pong => "PONG",
        }
    }
}
