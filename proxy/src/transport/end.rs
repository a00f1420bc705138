//! How a stream, a session and the attempt to open a stream end.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::code::Code;
use super::frame::FrameError;

/// How a session ended; cheap to clone, because each of its streams is told.
#[derive(Debug, Clone, Error)]
pub enum SessionEnd {
    /// One side retired the session, and its last stream ended.
    #[error("the connection was retired")]
    Clean,
    /// The connection ended without a GOAWAY, or while streams were open. A TLS alert is found in the error within.
    #[error("the connection was cut")]
    Cut(#[source] Arc<io::Error>),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol")]
    Protocol(#[source] Violation),
    /// The peer answered no PING.
    #[error("the peer is silent")]
    Dead,
    /// This side closed it.
    #[error("the connection was closed: {0}")]
    Closed(Code),
    /// The peer closed it.
    #[error("the peer closed the connection: {0}")]
    PeerClosed(Code),
}

/// What a peer did that the protocol forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// Bytes that are no frame.
    #[error("bytes that are no frame")]
    Frame(#[source] FrameError),
    /// The first frame was not HELLO, or did not come in time.
    #[error("no HELLO")]
    NoHello,
    /// HELLO came twice.
    #[error("HELLO twice")]
    HelloTwice,
    /// HELLO allows less than every peer must.
    #[error("HELLO with limits below the least")]
    HelloLimits,
    /// A frame that only the other side may send.
    #[error("a frame of the wrong side")]
    WrongSide,
    /// The number of a new stream does not follow the one before.
    #[error("a new stream out of order")]
    StreamOrder,
    /// A frame for a stream that was never opened.
    #[error("a frame for a stream that was never opened")]
    UnknownStream,
    /// More streams than HELLO allows.
    #[error("more streams than allowed")]
    TooManyStreams,
    /// Streams are opened and reset too fast.
    #[error("streams reset too fast")]
    ResetRate,
    /// OPENED or REFUSED for a stream that was answered.
    #[error("a stream answered twice")]
    AnsweredTwice,
    /// A frame for a stream that the sender did not take yet.
    #[error("a frame before the stream was taken")]
    NotAnswered,
    /// More DATA than credit was given for.
    #[error("data beyond the credit")]
    BeyondCredit,
    /// More credit than can be counted.
    #[error("more credit than can be counted")]
    CreditOverflow,
    /// DATA or FIN after the sender's FIN, RESET or REFUSED.
    #[error("data after the end")]
    AfterEnd,
}

/// How a stream ended, other than by FIN.
#[derive(Debug, Clone, Error)]
pub enum StreamError {
    /// The peer gave the stream up.
    #[error("the peer reset the stream: {0}")]
    Reset(Code),
    /// The connection beneath ended.
    #[error("the connection beneath ended")]
    SessionEnded(#[source] SessionEnd),
    /// The caller wrote after `finish`, or used a stream after `reset`.
    #[error("the stream was finished or reset by its owner")]
    Finished,
}

/// Why a stream was not opened.
#[derive(Debug, Clone, Error)]
pub enum OpenError {
    /// The peer refused the stream.
    #[error("the peer refused the stream: {code}")]
    Refused {
        /// The number that the stream had.
        stream: u32,
        /// Why.
        code: Code,
        /// The rule that decided, where the peer says it.
        rule: Option<Box<str>>,
    },
    /// The session takes no streams any more; the peer took none of this one.
    #[error("the connection takes no streams any more")]
    Retired,
    /// The peer's limit of streams is reached.
    #[error("the connection has no stream left")]
    Full,
    /// This proxy's memory budget is used up.
    #[error("the memory budget is used up")]
    Exhausted,
    /// The session ended before the peer's HELLO. Where its end is a TLS alert, the peer refused the connection and
    /// delivered nothing; a bare cut may have taken the HELLO, and more, from us.
    #[error("the connection ended before it began")]
    Unheard(#[source] SessionEnd),
    /// The session ended after the stream was sent and before an answer: it may have been delivered.
    #[error("the connection ended before an answer")]
    SessionEnded(#[source] SessionEnd),
}

impl OpenError {
    /// Whether it is certain that nothing of the stream was delivered, so that another endpoint may be tried.
    pub fn nothing_was_delivered(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Retired | Self::Full | Self::Exhausted => true,
            Self::Unheard(_) | Self::SessionEnded(_) => false,
        }
    }
}
