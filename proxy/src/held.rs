//! The pieces that were read from applications and wait to be sent.
//!
//! A peer that grants credit and then reads nothing lets every one of its streams hold a piece in line and another behind
//! it. What they hold together is counted, and the more it is, the smaller the next pieces are: with all of the streams
//! that the budget for received data lets a proxy have, it stays near [`MOST_HELD_BYTES`] and two small pieces each.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::transport::PIECE_BYTES;

/// Beyond this only small pieces are read.
const MOST_HELD_BYTES: usize = 16 * 1024 * 1024;
/// A piece may take so much of what is left.
const SHARES: usize = 16;
/// A piece that is always read, and need not be counted.
const SMALL_BYTES: usize = 8 * 1024;

static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The most that should be read into a piece now, in bytes: 8 KiB to [`PIECE_BYTES`].
pub(crate) fn piece_bytes() -> usize {
    let left = MOST_HELD_BYTES.saturating_sub(HELD_BYTES.load(Ordering::Relaxed));
    (left / SHARES).clamp(SMALL_BYTES, PIECE_BYTES)
}

/// A piece in the buffer that it was read into.
pub(crate) fn whole(buffer: Vec<u8>) -> Bytes {
    HELD_BYTES.fetch_add(buffer.capacity(), Ordering::Relaxed);
    Bytes::from_owner(Held(buffer))
}

/// A piece in no more memory than it fills.
pub(crate) fn copied(piece: &[u8]) -> Bytes {
    match piece.len() {
        ..=SMALL_BYTES => Bytes::copy_from_slice(piece),
        _ => whole(piece.to_vec()),
    }
}

/// Counted until nobody holds a part of it.
struct Held(Vec<u8>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD_BYTES.fetch_sub(self.0.capacity(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_held_the_smaller_pieces_are_and_all_is_given_back() {
        let read = || whole(vec![1; piece_bytes()]);
        let mut pieces: Vec<_> = std::iter::repeat_with(read).take(2000).collect();
        let held: usize = pieces.iter().map(Bytes::len).sum();
        assert_eq!(pieces[0].len(), PIECE_BYTES);
        assert_eq!(piece_bytes(), SMALL_BYTES);
        assert!(held <= MOST_HELD_BYTES + 2000 * SMALL_BYTES, "{held}");

        // A part of each is as dear as all of it.
        for piece in &mut pieces {
            drop(piece.split_to(piece.len() - 1));
        }
        assert_eq!(piece_bytes(), SMALL_BYTES);
        drop(pieces);
        assert_eq!(piece_bytes(), PIECE_BYTES);
        assert_eq!(copied(b"short"), "short");
    }
}
