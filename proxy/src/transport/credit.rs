//! What a peer may send on a stream, and the memory that stands behind it.
//!
//! Credit granted is memory reserved: a stream's window is taken from the [`Budget`] before the peer hears of it. So
//! however many readers stop, what is buffered for them stays below the budget.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::time::{Duration, Instant};

use super::turns::{Company, PIECE_BYTES};

/// The credit that every stream begins with, at least: an opener may count on it before it saw the peer's HELLO.
pub const MIN_CREDIT: u32 = 16 * 1024;

/// A sender that has less credit than this may wait for more, so that credit is not used up in little pieces: half of
/// the smallest window, of which a receiver grants again when half was read.
pub(super) const LEAST_CREDIT: u32 = MIN_CREDIT / 2;

/// Received bytes are kept, and handed out, in pieces of at most this.
const CHUNK_BYTES: usize = PIECE_BYTES;

/// A window may grow by so much of what is left for growing. Of the default budget, 8 streams come to 2 MiB, 16 more to
/// 1 MiB, another 16 to 512 KiB, and so on.
const SHARES: usize = 32;

/// While small messages are about, a peer may have so much more to send: two short pieces, each of which is granted
/// again when it was read. So neither proxy has more than these to do before it looks for the messages.
const SHORT_WINDOW: u32 = 128 * 1024;

/// Where a short window's bytes take longer than this to come, and not because this proxy was busy, the path is long.
/// So a stream gets half a Gbit/s or more beside small messages, on any path on which its whole window lets it.
const LONG_TIME: Duration = Duration::from_millis(1);

/// What a busy proxy moves in a microsecond, at least: a Gbit/s.
const BUSY_BYTES: u64 = 125;

/// However much it moved, it keeps no grant waiting for longer.
const MOST_BUSY: Duration = Duration::from_millis(8);

/// So many times in a row: a proxy may be kept from its work now and then.
const LONG_TIMES: u8 = 8;

/// A piece from which on more is expected to follow at once.
const LARGE_BYTES: usize = 4 * 1024;

/// The memory that all sessions of a proxy may use for received data; clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shares>);

#[derive(Debug)]
struct Shares {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// 64 MiB: 4096 streams at their least.
    pub const DEFAULT_BYTES: usize = 64 * 1024 * 1024;

    /// A budget of so many bytes. Too small refuses streams, too large lets stalled readers hold that much.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(Shares {
            limit: limit_bytes,
            used: AtomicUsize::new(0),
        }))
    }

    /// How many bytes are reserved now.
    pub fn used_bytes(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Reserves what a new stream needs.
    pub(super) fn reserve(&self, bytes: u32) -> Option<Reservation> {
        self.take(bytes, self.0.limit).then(|| Reservation {
            budget: self.clone(),
            bytes,
        })
    }

    fn take(&self, bytes: u32, limit: usize) -> bool {
        let used = &self.0.used;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes as usize)
                .filter(|used| *used <= limit)
        })
        .is_ok()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BYTES)
    }
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    bytes: u32,
}

impl Reservation {
    /// Grows only into three quarters of the budget: the last quarter is kept for new streams. And only by a small part
    /// of what of these is left: the more streams have grown, the less the next one may, but none takes from all others.
    fn grow(&mut self, bytes: u32) -> bool {
        let limit = self.budget.0.limit;
        let to_others = (bytes as usize).saturating_mul(SHARES - 1);
        let most = (limit - limit / 4).saturating_sub(to_others);
        let grown = self.budget.take(bytes, most);
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let used = &self.budget.0.used;
        used.fetch_sub(self.bytes as usize, Ordering::Relaxed);
    }
}

/// How much may be granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    /// The largest window, in bytes.
    pub(super) largest: u32,
    /// What is moved beside the stream.
    pub(super) company: Company,
}

/// A grant whose bytes are waited for.
#[derive(Debug)]
struct Grant {
    at: Instant,
    /// What this proxy had moved by then.
    moved_bytes: u64,
    /// What the peer could still send before.
    ahead: u32,
}

/// The receiving half of a stream: what came, what may still come, and what the application took.
///
/// While the stream is read, `left` + buffered + `taken` + `owed` is the window, which is what is reserved.
#[derive(Debug)]
pub(super) struct Receive {
    reservation: Option<Reservation>,
    chunks: VecDeque<BytesMut>,
    /// What the peer may still send.
    left: u32,
    /// In the application's hands, until it asks for more.
    taken: u32,
    /// Done with by the application, not yet granted again.
    owed: u32,
    /// The peer came near the end of its credit since the last grant.
    ran_low: bool,
    /// Credit was what held the peer back: its reader waits for more.
    starved: bool,
    /// What the peer may have to send while small messages are about.
    short_window: u32,
    /// The grant by which the path is measured.
    measured: Option<Grant>,
    /// How many grants in a row took a long time.
    long_times: u8,
}

impl Receive {
    /// Begins with the whole reservation as credit.
    pub(super) fn new(reservation: Reservation) -> Self {
        let credit = reservation.bytes;
        Self {
            reservation: Some(reservation),
            ..Self::unkept(credit)
        }
    }

    /// For a stream that is not taken: what comes is counted, and nothing is kept.
    pub(super) fn unkept(credit: u32) -> Self {
        Self {
            reservation: None,
            chunks: VecDeque::new(),
            left: credit,
            taken: 0,
            owed: 0,
            ran_low: false,
            starved: false,
            short_window: SHORT_WINDOW,
            measured: None,
            long_times: 0,
        }
    }

    /// Takes in what the peer sent; false where that is more than it may. Data nobody waits for is only counted.
    pub(super) fn arrive(&mut self, now: Instant, company: Company, bytes: &[u8]) -> bool {
        let Some(left) = u32::try_from(bytes.len())
            .ok()
            .and_then(|length| self.left.checked_sub(length))
        else {
            return false;
        };
        let length = self.left - left;
        self.left = left;
        self.measure(now, company, length);
        if let Some(reservation) = &self.reservation {
            let window = reservation.bytes;
            self.ran_low |= left < window / 4;
            self.keep(bytes, window);
        }
        true
    }

    /// Looks how long a grant took to come back as data. A long path needs a larger window, whoever else is about; what
    /// this thread moved meanwhile may be why it took long, and is taken off.
    fn measure(&mut self, now: Instant, company: Company, length: u32) {
        let Some(grant) = &mut self.measured else {
            return;
        };
        if let Some(ahead) = grant.ahead.checked_sub(length) {
            grant.ahead = ahead;
            return;
        }
        let took = now.saturating_duration_since(grant.at);
        let moved_bytes = company.moved_bytes.wrapping_sub(grant.moved_bytes);
        self.measured = None;
        let long = LONG_TIME * (self.short_window / SHORT_WINDOW);
        if took < long / 2 {
            self.short_window = SHORT_WINDOW;
        }
        let busy = Duration::from_micros(moved_bytes / BUSY_BYTES).min(MOST_BUSY);
        if took.saturating_sub(busy) < long {
            self.long_times = 0;
            return;
        }
        self.long_times += 1;
        if self.long_times >= LONG_TIMES {
            (self.short_window, self.long_times) = (self.short_window.saturating_mul(2), 0);
        }
    }

    /// Copies, so that a small piece never holds on to the large buffer that it was read into.
    fn keep(&mut self, mut bytes: &[u8], window: u32) {
        if let Some(last) = self.chunks.back_mut() {
            let room = CHUNK_BYTES.saturating_sub(last.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            last.extend_from_slice(now);
            bytes = later;
        }
        if !bytes.is_empty() {
            // Large pieces come in rows, as far as the window goes: they are put together without being moved.
            let row = match bytes.len() {
                LARGE_BYTES.. => CHUNK_BYTES.min(window as usize / 2),
                _ => 0,
            };
            let mut chunk = BytesMut::with_capacity(row.max(bytes.len()));
            chunk.extend_from_slice(bytes);
            self.chunks.push_back(chunk);
        }
    }

    /// The next bytes for the application. What it took before counts as done with.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.owed += std::mem::take(&mut self.taken);
        let Some(chunk) = self.chunks.pop_front() else {
            self.starved |= self.ran_low;
            return None;
        };
        self.taken = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        Some(chunk.freeze())
    }

    /// Whether so much is owed that the peer should hear of it: a quarter of a window (few CREDIT frames, and no stall),
    /// and never little pieces.
    pub(super) fn is_grant_due(&self, company: Company) -> bool {
        let Some(reservation) = &self.reservation else {
            return false;
        };
        let window = reservation.bytes;
        if company.has_small && window > self.short_window {
            let step = self.short_window / 2;
            return self.owed >= step && self.left <= step;
        }
        self.owed >= (window / 4).max(LEAST_CREDIT)
    }

    /// Grants what is owed, and a larger window where the credit held the peer back and memory is left. While small
    /// messages are about, no more than lets the peer send a short window: the rest stays owed.
    pub(super) fn grant(&mut self, now: Instant, windows: Windows) -> u32 {
        let Some(reservation) = &mut self.reservation else {
            return 0;
        };
        let window = reservation.bytes;
        let company = windows.company;
        let is_short = company.has_small && window > self.short_window;
        let (most, largest) = match is_short {
            true => (self.short_window.saturating_sub(self.left), window),
            false => (u32::MAX, windows.largest),
        };
        let mut granted = self.owed.min(most);
        self.owed -= granted;
        if self.starved && window <= largest / 2 && reservation.grow(window) {
            granted += window;
        }
        (self.ran_low, self.starved) = (false, false);
        if is_short {
            self.measured.get_or_insert(Grant {
                at: now,
                moved_bytes: company.moved_bytes,
                ahead: self.left,
            });
        }
        self.left += granted;
        granted
    }

    /// Gives back the memory: nobody will read, or everything was read.
    pub(super) fn close(&mut self) {
        self.chunks = VecDeque::new();
        self.reservation = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_given_back_and_growth_leaves_a_quarter() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(43).unwrap();
        assert!(first.grow(1));
        assert!(!first.grow(1), "it would be more than its share");
        let second = budget.reserve(56).unwrap();
        assert!(budget.reserve(1).is_none());
        assert_eq!(budget.used_bytes(), 100);
        drop((first, second));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn windows_that_grew_leave_others_room_to_grow() {
        let budget = Budget::default();
        let grown = || {
            let mut reservation = budget.reserve(MIN_CREDIT).unwrap();
            while reservation.bytes < 2 * 1024 * 1024 && reservation.grow(reservation.bytes) {}
            reservation
        };
        let streams: Vec<_> = std::iter::repeat_with(grown).take(150).collect();
        let with = |window| streams.iter().filter(|one| one.bytes == window).count();
        assert_eq!(
            [2048, 1024, 512, 256, 128, 64].map(|kib| with(kib * 1024)),
            [8, 16, 16, 16, 16, 16]
        );
    }

    const KIB: usize = 1024;

    fn reading(window: usize, budget: &Budget) -> Receive {
        Receive::new(budget.reserve(u32::try_from(window).unwrap()).unwrap())
    }

    /// The peer sends so much, and the application reads it all and waits for more.
    fn pass(receive: &mut Receive, now: Instant, bytes: usize) {
        assert!(receive.arrive(now, ALONE, &vec![1; bytes]));
        while receive.take().is_some() {}
    }

    const ALONE: Company = Company {
        has_small: false,
        moved_bytes: 0,
    };
    const BESIDE_SMALL: Company = Company {
        has_small: true,
        ..ALONE
    };

    fn windows(company: Company) -> Windows {
        Windows {
            largest: 512 * 1024,
            company,
        }
    }

    #[test]
    fn a_window_doubles_only_for_a_reader_who_waits_for_a_sender_without_credit() {
        let (now, alone) = (Instant::now(), windows(ALONE));
        let budget = Budget::default();
        let mut receive = reading(64 * KIB, &budget);
        assert!(receive.arrive(now, ALONE, &[1; 64 * KIB]));
        assert!(!receive.arrive(now, ALONE, &[1]));
        assert_eq!(receive.take().unwrap().len(), 64 * KIB);
        assert!(
            !receive.is_grant_due(ALONE),
            "the application still holds it"
        );
        assert!(receive.take().is_none());
        assert!(receive.is_grant_due(ALONE));
        assert_eq!(receive.grant(now, alone), 128 * 1024);
        assert_eq!(budget.used_bytes(), 128 * KIB);

        pass(&mut receive, now, 31 * KIB);
        assert!(!receive.is_grant_due(ALONE), "less than a quarter of it");
        pass(&mut receive, now, KIB);
        assert!(receive.is_grant_due(ALONE));
        assert_eq!(
            receive.grant(now, alone),
            32 * 1024,
            "the sender had credit left"
        );
        receive.close();
        assert_eq!(budget.used_bytes(), 0);
        assert!(
            receive.arrive(now, ALONE, &[1; 128 * KIB]),
            "counted, not kept"
        );
        assert!(!receive.arrive(now, ALONE, &[1]));
        assert!(receive.take().is_none());
    }

    #[test]
    fn beside_small_messages_a_peer_may_send_a_short_window_and_gets_the_rest_later() {
        let (now, budget) = (Instant::now(), Budget::default());
        let mut receive = reading(512 * KIB, &budget);
        pass(&mut receive, now, 384 * KIB);
        assert!(
            !receive.is_grant_due(BESIDE_SMALL),
            "it may still send a short window"
        );
        pass(&mut receive, now, 64 * KIB);
        assert!(receive.is_grant_due(BESIDE_SMALL));
        assert_eq!(receive.grant(now, windows(BESIDE_SMALL)), 64 * 1024);
        assert!(!receive.is_grant_due(BESIDE_SMALL));
        assert!(receive.is_grant_due(ALONE));
        assert_eq!(receive.grant(now, windows(ALONE)), 384 * 1024);
        assert!(!receive.arrive(now, ALONE, &[1; 512 * KIB + 1]));
        assert!(receive.arrive(now, ALONE, &[1; 512 * KIB]));
        assert_eq!(budget.used_bytes(), 512 * KIB);
    }

    #[test]
    fn a_short_window_grows_where_the_path_is_long_and_not_where_a_proxy_is_busy() {
        #[derive(Clone, Copy)]
        enum After {
            Near,
            Far,
            /// Much was moved meanwhile.
            Busy,
            /// As long as none is kept waiting, though as much was moved.
            FarAndBusy,
        }
        use After::{Busy, Far, FarAndBusy, Near};
        let budget = Budget::default();
        let granted_after = |grants: &[After]| {
            let (mut now, mut company) = (Instant::now(), BESIDE_SMALL);
            let mut receive = reading(512 * KIB, &budget);
            pass(&mut receive, now, 512 * KIB);
            let mut granted = receive.grant(now, windows(company));
            for after in grants {
                let (milliseconds, moved) = match after {
                    Near => (0, 0),
                    Far => (20, 0),
                    Busy => (8, 8000 * BUSY_BYTES),
                    FarAndBusy => (20, 20_000 * BUSY_BYTES),
                };
                now += Duration::from_millis(milliseconds);
                company.moved_bytes = company.moved_bytes.wrapping_add(moved);
                assert!(receive.arrive(now, company, &vec![1; granted as usize]));
                while receive.take().is_some() {}
                assert!(receive.is_grant_due(company));
                granted = receive.grant(now, windows(company));
            }
            granted
        };
        let seven = |but: After| [[Far; 7].as_slice(), &[but]].concat().repeat(4);
        let then_near = [[Far; 8].as_slice(), &[Near]].concat();
        let then_busy = [[Far; 8].as_slice(), &[Busy; 40]].concat();
        assert_eq!(granted_after(&[Near; 40]), SHORT_WINDOW);
        assert_eq!(granted_after(&[Busy; 40]), SHORT_WINDOW);
        assert_eq!(granted_after(&seven(Near)), SHORT_WINDOW);
        assert_eq!(granted_after(&seven(Busy)), SHORT_WINDOW);
        assert_eq!(granted_after(&[Far; 8]), 2 * SHORT_WINDOW);
        assert_eq!(granted_after(&[Far; 40]), 512 * 1024, "the whole window");
        assert_eq!(granted_after(&then_near), SHORT_WINDOW);
        assert_eq!(granted_after(&then_busy), 2 * SHORT_WINDOW);
        assert_eq!(granted_after(&[FarAndBusy; 40]), 512 * 1024);
    }
}
