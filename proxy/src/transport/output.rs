//! What a session says, and when: streams in turn, signs of life, the end.

use tokio::time::{Duration, Instant};

use super::code::Code;
use super::credit::Windows;
use super::end::{SessionEnd, Violation};
use super::frame::{FRAME_BYTES, Frame, Hello, SENT_DATA_BYTES};
use super::session::{Role, Session};
use super::stream::{Answer, BULK_SPAN, StreamState};
use super::turns::PIECE_BYTES;

/// The most that is written at once: one piece, in its frames.
pub const WRITE_BYTES: usize = PIECE_BYTES / SENT_DATA_BYTES * FRAME_BYTES;

impl Session {
    /// Fills `out` with what is to be written: the session's own frames, one stream's turn, and others up to `most`
    /// bytes and a little.
    pub(super) fn transmit(&mut self, now: Instant, most: usize, out: &mut Vec<u8>) {
        self.session_frames(out);
        let own = out.len();
        while out.len() == own || out.len() + FRAME_BYTES <= most {
            let Some(id) = self.line.pop_front() else {
                self.full_rounds = 0;
                return;
            };
            self.turn(now, id, out);
        }
        self.full_rounds = match self.line.is_empty() {
            true => 0,
            false => self.full_rounds.saturating_add(1),
        };
    }

    fn session_frames(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.hello_due) {
            Frame::Hello(Hello {
                max_streams: self.settings.max_streams,
                initial_credit: self.settings.initial_credit,
            })
            .encode(out);
        }
        if std::mem::take(&mut self.pong_due) {
            Frame::Pong.encode(out);
        }
        if std::mem::take(&mut self.ping_due) {
            Frame::Ping.encode(out);
        }
        if self.goaway_due && !self.owes_opens() {
            self.goaway_due = false;
            let code = self.goaway_here.unwrap_or(Code::Draining);
            let last = match self.role {
                Role::Server => self.last_taken,
                Role::Client => 0,
            };
            Frame::GoAway { last, code }.encode(out);
        }
    }

    /// Streams that were begun before the session was retired and are not yet written: a GOAWAY ahead of them would let
    /// the server end the connection without them.
    fn owes_opens(&self) -> bool {
        self.role == Role::Client && self.streams.values().any(|stream| stream.open.is_some())
    }

    /// One stream's turn: its flags, then one frame of data, then its end.
    fn turn(&mut self, now: Instant, id: u32, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.in_line = false;
        let windows = Windows {
            largest: self.settings.max_window,
            company: self.company,
        };
        let moved = stream.write(now, id, windows, out);
        if moved > 0 && stream.is_bulk_after(now, moved) {
            self.bulk_until = Some(now + BULK_SPAN);
        }
        if stream.slot.is_empty() && stream.credit > 0 {
            self.woken.extend(stream.writer.take());
        }
        self.stand_in_line(id);
        self.settle(id, now);
    }

    /// Whether a stream has something to write, and is not the only one.
    pub(super) fn has_company(&self) -> bool {
        !self.line.is_empty() && self.streams.len() > 1
    }

    /// Whether all is said, so that the connection can be shut down.
    pub(super) fn is_done(&self) -> bool {
        (self.goaway_here.is_some() || self.goaway_there.is_some())
            && self.line.is_empty()
            && !self.streams.values().any(StreamState::is_live)
    }

    /// Ends a session that is done.
    pub(super) fn conclude_done(&mut self, now: Instant) {
        self.conclude(
            match self.goaway_there {
                None | Some(Code::Draining) => SessionEnd::Clean,
                Some(code) => SessionEnd::PeerClosed(code),
            },
            now,
        );
    }

    /// When `tick` has something to do, if nothing comes before.
    pub(super) fn deadline(&self) -> Instant {
        if let Some(until) = self.closing_until {
            return until;
        }
        let settings = &self.settings;
        let hello = self
            .peer
            .is_none()
            .then(|| self.started + settings.hello_timeout);
        let alive = match (self.pinged, self.is_idle()) {
            (Some(pinged), _) => pinged.max(self.heard) + settings.pong_timeout,
            (None, true) => self.idle_since + self.idle_timeout(),
            (None, false) => self.heard + settings.quiet_timeout,
        };
        [hello, self.look_at]
            .into_iter()
            .flatten()
            .fold(alive, Instant::min)
    }

    /// Does what is due by now.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        let settings = &self.settings;
        if self.peer.is_none() && now >= self.started + settings.hello_timeout {
            return self.violated(Violation::NoHello, now);
        }
        if let Some(pinged) = self.pinged {
            if now >= pinged.max(self.heard) + settings.pong_timeout {
                return self.conclude(SessionEnd::Dead, now);
            }
        } else if self.is_idle() {
            if now >= self.idle_since + self.idle_timeout() {
                self.retire(Code::Draining);
            }
        } else if now >= self.heard + settings.quiet_timeout {
            self.ping(now);
        }
        if self.look_at.is_some_and(|at| now >= at) {
            self.look_for_unanswered(now);
        }
    }

    /// Something was written after the connection had been full: the peer's kernel at least is alive.
    pub(super) fn progressed(&mut self, now: Instant) {
        self.heard = now;
    }

    fn look_for_unanswered(&mut self, now: Instant) {
        let oldest = self
            .streams
            .values()
            .filter_map(|stream| match stream.answer {
                Answer::Awaited(since) if stream.is_live() => Some(since),
                Answer::Awaited(_) | Answer::Opened | Answer::Refused(..) | Answer::Retired => None,
            });
        let oldest = oldest.min();
        let timeout = self.settings.answer_timeout;
        self.look_at = oldest.map(|since| (since + timeout).max(now + timeout));
        if oldest.is_some_and(|since| now >= since + timeout) {
            self.ping(now);
        } else if let Some(since) = oldest {
            self.look_at = Some(since + timeout);
        }
    }

    fn ping(&mut self, now: Instant) {
        if self.pinged.is_none() {
            self.pinged = Some(now);
            self.ping_due = true;
        }
    }

    fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.goaway_here.is_none()
    }

    fn idle_timeout(&self) -> Duration {
        match self.role {
            Role::Client => self.settings.idle_timeout,
            Role::Server => self.settings.idle_timeout * 2,
        }
    }
}
