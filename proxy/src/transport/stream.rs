//! One stream of a session, as its state machine sees it.
//!
//! What is to be written is kept as flags and values, never as a queue, so that a peer cannot make it grow.

use std::task::Waker;

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::code::Code;
use super::credit::{Receive, Windows};
use super::end::StreamError;
use super::frame::{Frame, SENT_DATA_BYTES};
use super::open::Open;
use super::session::Role;
use super::turns::Company;

/// A stream that moves more than this within [`BULK_SPAN`] carries bulk.
const BULK_BYTES: u64 = 1024 * 1024;
/// The time over which bulk is measured, and for which it is remembered.
pub(super) const BULK_SPAN: Duration = Duration::from_secs(1);

/// How far the question whether the server takes the stream has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The client waits, since then; the server has not decided.
    Awaited(Instant),
    /// The server took it.
    Opened,
    /// The server refused it.
    Refused(Code, Option<Box<str>>),
    /// The session takes no streams any more, and the peer did not take this one.
    Retired,
}

/// Why the server refuses, and by which rule, where the peer may know it.
pub(super) type Refusal = (Code, Option<Box<str>>);

/// The end of what this side sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    No,
    Wanted,
    Sent,
}

/// A stream from OPEN until both directions ended and its owner let go.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) answer: Answer,
    pub(super) receive: Receive,
    /// What the peer lets this side send.
    pub(super) credit: u32,
    /// The one piece that the application wrote and that is not yet sent.
    pub(super) slot: Bytes,
    pub(super) fin: Fin,

    /// An OPEN not yet written.
    pub(super) open: Option<Box<Open>>,
    /// An OPENED not yet written.
    pub(super) opened: bool,
    /// A REFUSED not yet written.
    pub(super) refused: Option<Refusal>,
    /// A RESET not yet written.
    pub(super) reset: Option<Code>,
    /// In line for its turn.
    pub(super) in_line: bool,

    /// This side's FIN, RESET or REFUSED was written.
    pub(super) ended_here: bool,
    /// The peer's FIN, RESET or REFUSED came.
    pub(super) ended_there: bool,
    /// The peer's FIN came.
    pub(super) complete: bool,
    /// The application was told that the data is complete.
    pub(super) read_to_end: bool,
    /// Given up by a side: nothing that still comes is of interest.
    pub(super) given_up: Option<StreamError>,
    /// The application's handle, or the line of offered streams, still has it.
    pub(super) held: bool,
    /// No longer counted among the streams open on the wire.
    pub(super) off_wire: bool,

    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Whoever waits for a failure alone.
    pub(super) watcher: Option<Waker>,
    moved_since: Instant,
    moved_bytes: u64,
}

impl StreamState {
    pub(super) fn new(now: Instant, receive: Receive, credit: u32) -> Self {
        Self {
            answer: Answer::Awaited(now),
            receive,
            credit,
            slot: Bytes::new(),
            fin: Fin::No,
            open: None,
            opened: false,
            refused: None,
            reset: None,
            in_line: false,
            ended_here: false,
            ended_there: false,
            complete: false,
            read_to_end: false,
            given_up: None,
            held: true,
            off_wire: false,
            reader: None,
            writer: None,
            watcher: None,
            moved_since: now,
            moved_bytes: 0,
        }
    }

    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.answer, Answer::Awaited(_))
    }

    /// Whether either side still has something to say that matters to the other.
    pub(super) fn is_live(&self) -> bool {
        self.given_up.is_none() && !(self.ended_here && self.ended_there)
    }

    /// Whether this side's direction is over, or will be without another byte of the application.
    pub(super) fn sends_no_more(&self) -> bool {
        self.ended_here || self.given_up.is_some()
    }

    /// Whether a turn would write something.
    pub(super) fn has_output(&self, company: Company) -> bool {
        self.open.is_some()
            || self.opened
            || self.refused.is_some()
            || self.reset.is_some()
            || (!self.ended_here && !self.slot.is_empty() && self.credit > 0)
            || (!self.ended_here && self.slot.is_empty() && self.fin == Fin::Wanted)
            || (!self.ended_there && self.receive.is_grant_due(company))
    }

    /// Writes what one turn may, and returns how many bytes of data that was.
    pub(super) fn write(
        &mut self,
        now: Instant,
        stream: u32,
        windows: Windows,
        out: &mut Vec<u8>,
    ) -> usize {
        if let Some(open) = self.open.take() {
            Frame::Open {
                stream,
                open: *open,
            }
            .encode(out);
        }
        if std::mem::take(&mut self.opened) {
            Frame::Opened { stream }.encode(out);
        }
        if let Some((code, rule)) = self.refused.take() {
            let rule = rule.as_deref();
            Frame::Refused { stream, code, rule }.encode(out);
            self.ended_here = true;
        }
        if let Some(code) = self.reset.take() {
            Frame::Reset { stream, code }.encode(out);
            self.ended_here = true;
        }
        if !self.ended_there && self.receive.is_grant_due(windows.company) {
            let bytes = self.receive.grant(now, windows);
            Frame::Credit { stream, bytes }.encode(out);
        }
        if self.ended_here {
            return 0;
        }
        let most = SENT_DATA_BYTES.min(self.credit as usize);
        let bytes = self.slot.split_to(self.slot.len().min(most));
        if !bytes.is_empty() {
            Frame::Data {
                stream,
                bytes: &bytes,
            }
            .encode(out);
            self.credit -= u32::try_from(bytes.len()).unwrap_or(self.credit);
        }
        if self.slot.is_empty() && self.fin == Fin::Wanted {
            Frame::Fin { stream }.encode(out);
            self.fin = Fin::Sent;
            self.ended_here = true;
        }
        bytes.len()
    }

    /// This side's direction will end without FIN; how that is said depends on whether the server answered.
    pub(super) fn say_end(&mut self, role: Role, code: Code) {
        if role == Role::Server && self.is_awaited() {
            self.answer = Answer::Refused(code, None);
            self.refused = Some((code, None));
        } else {
            self.reset.get_or_insert(code);
        }
    }

    /// Gives the stream up: drops what is buffered both ways and gives its memory back.
    pub(super) fn give_up(&mut self, why: StreamError) {
        self.receive.close();
        self.slot = Bytes::new();
        self.given_up.get_or_insert(why);
    }

    /// Counts what moved, and says whether that is bulk.
    pub(super) fn is_bulk_after(&mut self, now: Instant, bytes: usize) -> bool {
        if now.saturating_duration_since(self.moved_since) > BULK_SPAN {
            self.moved_since = now;
            self.moved_bytes = 0;
        }
        self.moved_bytes += bytes as u64;
        self.moved_bytes > BULK_BYTES
    }

    /// Whether the end of its session takes something with it: data still to come, or still to be sent once all that
    /// came is read. What came whole is read first.
    pub(super) fn is_cut_short(&self) -> bool {
        !self.complete || (self.read_to_end && !self.ended_here)
    }

    /// Everyone who waits for this stream.
    pub(super) fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        let [reader, writer, watcher] = [&mut self.reader, &mut self.writer, &mut self.watcher];
        [reader.take(), writer.take(), watcher.take()]
            .into_iter()
            .flatten()
    }
}
