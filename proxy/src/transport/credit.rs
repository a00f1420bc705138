//! What a peer may send on a stream, and the memory that stands behind it.
//!
//! Credit granted is memory reserved: a stream's window is taken from the [`Budget`] before the peer hears of it. So
//! however many readers stop, what is buffered for them stays below the budget.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// The credit that every stream begins with, at least: an opener may count on it before it saw the peer's HELLO.
pub const MIN_CREDIT: u32 = 16 * 1024;

/// A sender that has less credit than this may wait for more, so that credit is not used up in little pieces: half of
/// the smallest window, of which a receiver grants again when half was read.
pub(super) const LEAST_CREDIT: u32 = MIN_CREDIT / 2;

/// Received bytes are kept, and handed out, in pieces of at most this.
const CHUNK_BYTES: usize = 128 * 1024;

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
    /// Grows only into three quarters of the budget: the last quarter is kept for new streams.
    fn grow(&mut self, bytes: u32) -> bool {
        let limit = self.budget.0.limit;
        let grown = self.budget.take(bytes, limit - limit / 4);
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
        }
    }

    /// Takes in what the peer sent; false where that is more than it may. Data nobody waits for is only counted.
    pub(super) fn arrive(&mut self, bytes: &[u8]) -> bool {
        let Some(left) = u32::try_from(bytes.len())
            .ok()
            .and_then(|length| self.left.checked_sub(length))
        else {
            return false;
        };
        self.left = left;
        if let Some(reservation) = &self.reservation {
            let window = reservation.bytes;
            self.ran_low |= left < window / 4;
            self.keep(bytes, window);
        }
        true
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

    /// Whether so much is owed that the peer should hear of it. Half a window: fewer CREDIT frames, and no stall.
    pub(super) fn is_grant_due(&self) -> bool {
        match &self.reservation {
            Some(reservation) => self.owed >= reservation.bytes / 2,
            None => false,
        }
    }

    /// Grants what is owed, and a larger window where the credit held the peer back and memory is left.
    pub(super) fn grant(&mut self, max_window: u32) -> u32 {
        let Some(reservation) = &mut self.reservation else {
            return 0;
        };
        let mut granted = std::mem::take(&mut self.owed);
        let window = reservation.bytes;
        if self.starved && window <= max_window / 2 && reservation.grow(window) {
            granted += window;
        }
        (self.ran_low, self.starved) = (false, false);
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
        let mut first = budget.reserve(40).unwrap();
        assert!(first.grow(35));
        assert!(!first.grow(1), "the last quarter is for new streams");
        let second = budget.reserve(25).unwrap();
        assert!(budget.reserve(1).is_none());
        assert_eq!(budget.used_bytes(), 100);
        drop((first, second));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_window_doubles_only_for_a_reader_who_waits_for_a_sender_without_credit() {
        let budget = Budget::new(1000);
        let mut receive = Receive::new(budget.reserve(64).unwrap());
        assert!(receive.arrive(&[1; 64]));
        assert!(!receive.arrive(&[1]));
        assert_eq!(receive.take().unwrap().len(), 64);
        assert!(!receive.is_grant_due(), "the application still holds it");
        assert!(receive.take().is_none());
        assert!(receive.is_grant_due());
        assert_eq!(receive.grant(512), 128);
        assert_eq!(budget.used_bytes(), 128);

        assert!(receive.arrive(&[1; 32]));
        assert!(receive.take().is_some());
        assert!(receive.take().is_none());
        assert!(!receive.is_grant_due(), "less than half of the window");
        assert!(receive.arrive(&[1; 32]));
        assert!(receive.take().is_some());
        assert!(receive.take().is_none());
        assert_eq!(receive.grant(512), 64, "the sender had credit left");
        receive.close();
        assert_eq!(budget.used_bytes(), 0);
        assert!(receive.arrive(&[1; 128]), "counted, not kept");
        assert!(!receive.arrive(&[1]));
        assert!(receive.take().is_none());
    }
}
