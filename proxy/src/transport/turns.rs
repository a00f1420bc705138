//! How bulk makes room for small messages.
//!
//! A proxy moves bytes on one thread. Large pieces and large windows are the cheapest way to move many, but a small
//! message that comes meanwhile waits for them, four times between a request and its answer. So they are large only
//! while no small messages are about.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{Duration, Instant};

use super::frame::SENT_DATA_BYTES;

/// The most that is moved at once: sixteen full frames. To read as much from an application at once saves calls.
pub const PIECE_BYTES: usize = 16 * SENT_DATA_BYTES;

/// The same while small messages are about.
pub const SHORT_PIECE_BYTES: usize = 4 * SENT_DATA_BYTES;

/// From so many bytes on, others have their turn before more is moved.
const LARGE_BYTES: usize = 32 * 1024;
/// A stream whose pieces are shorter than this on average carries messages.
const SMALL_BYTES: u32 = 16 * 1024;
/// For so long after a small message more of them are expected.
const SMALL_SPAN: Duration = Duration::from_millis(100);
/// Large pieces that are moved in a row while no small messages are about: so long the first of them may wait.
const MOST_IN_A_ROW: u8 = 8;

thread_local! {
    static SMALL_AT: Cell<Option<Instant>> = const { Cell::new(None) };
    static MOVED_BYTES: Cell<u64> = const { Cell::new(0) };
}

/// What this thread moves beside one stream.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Company {
    /// Small messages, just before.
    pub(super) has_small: bool,
    /// On all streams, in all.
    pub(super) moved_bytes: u64,
}

impl Company {
    /// As it is now.
    pub(super) fn at(now: Instant) -> Self {
        Self {
            has_small: small_are_about(now),
            moved_bytes: MOVED_BYTES.get(),
        }
    }
}

/// Whether this thread moved small messages just before `now`.
fn small_are_about(now: Instant) -> bool {
    let since = |at: Instant| now.saturating_duration_since(at);
    SMALL_AT.get().is_some_and(|at| since(at) < SMALL_SPAN)
}

/// The most that should be moved at once.
pub fn piece_bytes(now: Instant) -> usize {
    match small_are_about(now) {
        true => SHORT_PIECE_BYTES,
        false => PIECE_BYTES,
    }
}

/// What a stream carries, by the pieces that it comes in.
#[derive(Debug, Default)]
pub struct Kind {
    /// An average in which the last eight or so count.
    typical_bytes: AtomicU32,
}

impl Kind {
    /// Counts a piece of either direction. The small ones of a stream that carries bulk are not messages.
    pub fn moved(&self, now: Instant, bytes: usize) {
        MOVED_BYTES.set(MOVED_BYTES.get().wrapping_add(bytes as u64));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let before = self.typical_bytes.load(Ordering::Relaxed);
        let typical = before - before / 8 + bytes / 8;
        self.typical_bytes.store(typical, Ordering::Relaxed);
        if bytes < SMALL_BYTES && typical < SMALL_BYTES {
            SMALL_AT.set(Some(now));
        }
    }
}

/// The turn of one task that moves bytes.
#[derive(Debug, Default)]
pub struct Turn {
    in_a_row: u8,
}

impl Turn {
    /// Counts what was moved at once, and says whether the others come first now: the caller then gives way so that
    /// the runtime asks for events, too.
    pub fn is_over(&mut self, now: Instant, bytes: usize) -> bool {
        if bytes < LARGE_BYTES {
            return false;
        }
        self.in_a_row += 1;
        let is_over = self.in_a_row >= MOST_IN_A_ROW || small_are_about(now);
        if is_over {
            self.in_a_row = 0;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_is_moved_in_short_pieces_while_small_messages_are_about_and_only_then() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let (bulk, requests) = (Kind::default(), Kind::default());
        for _ in 0..16 {
            bulk.moved(at(0), PIECE_BYTES);
        }
        assert_eq!(piece_bytes(at(0)), PIECE_BYTES);
        bulk.moved(at(1), 700);
        assert_eq!(piece_bytes(at(1)), PIECE_BYTES, "the rest of a piece");

        requests.moved(at(10), 1278);
        assert_eq!(piece_bytes(at(10)), SHORT_PIECE_BYTES);
        assert_eq!(piece_bytes(at(109)), SHORT_PIECE_BYTES);
        assert_eq!(piece_bytes(at(110)), PIECE_BYTES);
    }

    #[test]
    fn a_turn_ends_after_each_large_piece_beside_small_messages_and_in_time_without() {
        let start = Instant::now();
        let alone = start + SMALL_SPAN;
        let mut turn = Turn::default();
        let pieces = usize::from(MOST_IN_A_ROW);
        let over = (1..=2 * pieces).filter(|_| turn.is_over(alone, PIECE_BYTES));
        assert_eq!(over.collect::<Vec<_>>(), [pieces, 2 * pieces]);

        Kind::default().moved(start, 42);
        assert!(turn.is_over(start, SHORT_PIECE_BYTES));
        assert!(turn.is_over(start, SHORT_PIECE_BYTES));
        assert!(!turn.is_over(start, 42), "small ones make nobody wait");
    }
}
