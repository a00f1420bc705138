//! What waits to be sent, wherever it is: pieces read from applications, and what mesh connections did not take yet.
//!
//! A peer that grants credit and then reads nothing lets every stream hold a piece in line and another behind it, and
//! every connection a write in rustls and the next one in frames. What they hold together is counted, and the more it
//! is, the less is read and written at once: it stays near [`MOST_HELD_BYTES`], two small pieces for each stream and two
//! frames for each connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::transport::{FRAME_BYTES, PIECE_BYTES, WRITE_BYTES};

/// Beyond this only small pieces are read, and single frames written.
const MOST_HELD_BYTES: usize = 16 * 1024 * 1024;
/// A piece or a write may take so much of what is left.
const SHARES: usize = 16;
/// A piece that is always read, and need not be counted.
const SMALL_BYTES: usize = 8 * 1024;

static HELD: Held = Held::new();

/// The most that should be read into a piece now, in bytes: 8 KiB to [`PIECE_BYTES`].
pub(crate) fn piece_bytes() -> usize {
    HELD.share().clamp(SMALL_BYTES, PIECE_BYTES)
}

/// The most that should be written to a mesh connection now, in bytes: [`FRAME_BYTES`] to [`WRITE_BYTES`].
pub(crate) fn write_bytes() -> usize {
    HELD.share().clamp(FRAME_BYTES, WRITE_BYTES)
}

/// A piece in the buffer that it was read into.
pub(crate) fn whole(buffer: Vec<u8>) -> Bytes {
    Bytes::from_owner(Piece::new(&HELD, buffer))
}

/// A piece in no more memory than it fills.
pub(crate) fn copied(piece: &[u8]) -> Bytes {
    match piece.len() {
        ..=SMALL_BYTES => Bytes::copy_from_slice(piece),
        _ => whole(piece.to_vec()),
    }
}

/// Counted until nobody holds a part of it.
struct Piece {
    buffer: Vec<u8>,
    _part: Part,
}

impl Piece {
    fn new(held: &'static Held, buffer: Vec<u8>) -> Self {
        let part = Part::of(held, buffer.capacity());
        Self {
            buffer,
            _part: part,
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// What is held in all.
struct Held {
    bytes: AtomicUsize,
}

impl Held {
    const fn new() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
        }
    }

    /// What one more may take.
    fn share(&self) -> usize {
        let held = self.bytes.load(Ordering::Relaxed);
        MOST_HELD_BYTES.saturating_sub(held) / SHARES
    }
}

/// What one holder has of it. Dropping it gives all back.
pub(crate) struct Part {
    of: &'static Held,
    bytes: usize,
}

impl Part {
    /// Nothing yet.
    pub(crate) fn none() -> Self {
        Self::of(&HELD, 0)
    }

    fn of(of: &'static Held, bytes: usize) -> Self {
        let mut part = Self { of, bytes: 0 };
        part.set(bytes);
        part
    }

    /// It is so many bytes now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        match bytes.checked_sub(before) {
            Some(0) => {}
            Some(more) => drop(self.of.bytes.fetch_add(more, Ordering::Relaxed)),
            None => drop(self.of.bytes.fetch_sub(before - bytes, Ordering::Relaxed)),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_held_the_less_is_taken_and_all_is_given_back() {
        static HELD: Held = Held::new();
        let piece_bytes = || HELD.share().clamp(SMALL_BYTES, PIECE_BYTES);
        let read = || Bytes::from_owner(Piece::new(&HELD, vec![1; piece_bytes()]));
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

        let mut part = Part::of(&HELD, MOST_HELD_BYTES);
        assert_eq!(piece_bytes(), SMALL_BYTES);
        part.set(SMALL_BYTES);
        assert_eq!(piece_bytes(), PIECE_BYTES);
        drop(part);
        assert_eq!(HELD.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(copied(b"short"), "short");
    }
}
