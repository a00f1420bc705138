//! The protocol of one connection, without I/O and without a clock: bytes in, bytes out, time an argument.
//!
//! Only the client opens streams, numbered 1, 2, 3 and so on. Each side says HELLO first, and need not wait for the
//! other's: until it came, the limits that every peer must allow hold. A direction of a stream ends with the sender's
//! FIN or RESET (or, unanswered, REFUSED). Whoever gets a RESET or REFUSED ends its own direction too, so each side
//! knows exactly when nothing can come any more, and can hold the peer to its credit until then.
//!
//! [`Waker`]s are kept and handed back (`woken`) as mere values: who holds the session's lock calls them after letting go.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::time::Instant;

use super::code::Code;
use super::credit::{Budget, MIN_CREDIT};
use super::end::{SessionEnd, Violation};
use super::frame::Hello;
use super::open::Open;
use super::settings::{MIN_STREAMS, Settings};
use super::stream::{Answer, StreamState};
use super::turns::Company;

/// More full writes than this with streams still waiting for their turn is a backlog.
const BACKLOG_ROUNDS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// How busy a session is: what the pool chooses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Streams open now.
    pub streams: usize,
    /// No further stream may be opened.
    pub full: bool,
    /// Streams have been waiting for their turn for more than one full write.
    pub backlogged: bool,
    /// A stream moved more than 1 MiB within a second, less than a second ago.
    pub bulk: bool,
    /// It takes no new streams.
    pub retired: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) role: Role,
    pub(super) settings: Settings,
    pub(super) budget: Budget,
    pub(super) streams: HashMap<u32, StreamState, BuildHasherDefault<InOrder>>,
    /// Streams with something to write, each once, in the order of their turns.
    pub(super) line: VecDeque<u32>,
    /// Streams that the peer opened and nobody has looked at.
    pub(super) offered: VecDeque<(u32, Open)>,
    /// The number that the next stream has.
    pub(super) next: u32,
    /// Streams that are not yet ended in both directions on the wire.
    pub(super) on_wire: usize,
    pub(super) end: Option<SessionEnd>,
    pub(super) closing_until: Option<Instant>,
    pub(super) woken: Vec<Waker>,
    /// Wakes the driver.
    pub(super) driver: Option<Waker>,
    /// Wakes whoever waits for an offered stream.
    pub(super) acceptor: Option<Waker>,
    pub(super) goaway_here: Option<Code>,
    /// The next look at unanswered OPENs.
    pub(super) look_at: Option<Instant>,
    /// The last stream that this side took.
    pub(super) last_taken: u32,
    pub(super) goaway_there: Option<Code>,
    pub(super) peer: Option<Hello>,
    pub(super) hello_due: bool,
    pub(super) goaway_due: bool,
    pub(super) ping_due: bool,
    pub(super) pong_due: bool,
    /// A PING that was not answered yet.
    pub(super) pinged: Option<Instant>,
    pub(super) started: Instant,
    /// The last sign that the peer lives.
    pub(super) heard: Instant,
    pub(super) idle_since: Instant,
    pub(super) bulk_until: Option<Instant>,
    pub(super) full_rounds: u32,
    /// What is moved beside what this session carries.
    pub(super) company: Company,
    pub(super) resets: Allowance,
}

impl Session {
    pub(super) fn new(role: Role, settings: Settings, budget: Budget, now: Instant) -> Self {
        let settings = Settings {
            // What every peer counts on before it saw our HELLO.
            max_streams: settings.max_streams.max(MIN_STREAMS),
            initial_credit: settings.initial_credit.max(MIN_CREDIT),
            ..settings
        };
        Self {
            role,
            resets: Allowance::new(settings.reset_burst, now),
            settings,
            budget,
            streams: HashMap::default(),
            line: VecDeque::new(),
            offered: VecDeque::new(),
            next: 1,
            on_wire: 0,
            end: None,
            closing_until: None,
            woken: Vec::new(),
            driver: None,
            acceptor: None,
            goaway_here: None,
            look_at: None,
            last_taken: 0,
            goaway_there: None,
            peer: None,
            hello_due: true,
            goaway_due: false,
            ping_due: false,
            pong_due: false,
            pinged: None,
            started: now,
            heard: now,
            idle_since: now,
            bulk_until: None,
            full_rounds: 0,
            company: Company::default(),
        }
    }

    /// The connection's end came, or an error. Never a clean end while anything was open.
    pub(super) fn cut(&mut self, now: Instant, error: io::Error) {
        let is_live = self.streams.values().any(StreamState::is_live);
        self.conclude(
            match (is_live, self.goaway_there, self.goaway_here) {
                (false, Some(Code::Draining), _) | (false, None, Some(_)) => SessionEnd::Clean,
                (false, Some(code), _) => SessionEnd::PeerClosed(code),
                (true, ..) | (false, None, None) => SessionEnd::Cut(Arc::new(error)),
            },
            now,
        );
    }

    /// Ends the session: every stream hears of it, and what is not complete is dropped.
    pub(super) fn conclude(&mut self, end: SessionEnd, now: Instant) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        self.closing_until = Some(now + self.settings.close_timeout);
        for stream in self.streams.values_mut() {
            if !stream.complete {
                stream.receive.close();
            }
            stream.slot = Bytes::new();
            // What the peer never heard of, it need not hear now.
            if stream.open.take().is_some() {
                stream.answer = Answer::Retired;
                stream.reset = None;
                stream.ended_here = true;
            }
            self.woken.extend(stream.wakers());
        }
        self.woken.extend(self.acceptor.take());
        self.woken.extend(self.driver.take());
    }

    /// Ends the session because of what the peer did.
    pub(super) fn violated(&mut self, violation: Violation, now: Instant) {
        self.line.clear();
        self.goaway_here = Some(Code::ProtocolError);
        self.goaway_due = true;
        self.conclude(SessionEnd::Protocol(violation), now);
    }

    pub(super) fn initial_credit(&self) -> u32 {
        self.peer.map_or(MIN_CREDIT, |peer| peer.initial_credit)
    }

    pub(super) fn load(&self, now: Instant) -> Load {
        let max_streams = self.peer.map_or(MIN_STREAMS, |peer| peer.max_streams);
        Load {
            streams: self.streams.len(),
            full: self.on_wire >= max_streams as usize,
            backlogged: self.full_rounds > BACKLOG_ROUNDS,
            bulk: self.bulk_until.is_some_and(|until| now < until),
            retired: self.end.is_some()
                || self.goaway_here.is_some()
                || self.goaway_there.is_some(),
        }
    }

    /// Puts a stream at the end of the line, if it has something to write.
    pub(super) fn stand_in_line(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.in_line
            && stream.has_output(self.company)
        {
            stream.in_line = true;
            self.line.push_back(id);
            self.woken.extend(self.driver.take());
        }
    }

    /// Forgets what of a stream is over.
    pub(super) fn settle(&mut self, id: u32, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !(stream.ended_here && stream.ended_there) {
            return;
        }
        if !stream.off_wire {
            stream.off_wire = true;
            self.on_wire -= 1;
        }
        if !stream.held && !stream.has_output(self.company) {
            self.streams.remove(&id);
        }
        if self.streams.is_empty() {
            self.idle_since = now;
            self.woken.extend(self.driver.take());
        }
    }
}

/// How many resets are allowed: a bucket that fills with time.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    at: Instant,
}

impl Allowance {
    fn new(burst: u32, now: Instant) -> Self {
        Self {
            left: burst,
            at: now,
        }
    }

    pub(super) fn spend(&mut self, now: Instant, settings: &Settings) -> bool {
        let passed = now.saturating_duration_since(self.at).as_micros();
        let gained = passed * u128::from(settings.resets_per_second) / 1_000_000;
        // Time too short for a whole one is kept until it makes one.
        if gained > 0 {
            self.at = now;
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(gained).min(settings.reset_burst);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Spreads streams' numbers. Nobody chooses where they fall: a client counts up, and a server insists on it.
#[derive(Debug, Default)]
pub(super) struct InOrder(u64);

impl Hasher for InOrder {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(GOLDEN_RATIO);
    }
}

/// 2^64 divided by the golden ratio: neighbours fall far apart.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
