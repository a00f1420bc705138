//! What streams carry: bytes that are known from the stream's number and the offset, so that one that is lost, doubled or
//! another stream's is seen where it arrives.

use std::io;
use std::sync::LazyLock;

use tokio::net::TcpStream;

/// It repeats after a prime number of bytes, so that no frame or window falls in step with it.
const PERIOD: usize = 65_521;
/// How far apart the beginnings of two streams' contents are.
const APART: usize = 7_919;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u32;
    let period: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(PERIOD)
    .collect();
    period.repeat(2)
});

/// At least 64,000 bytes of a stream's content, from an offset.
pub(super) fn content(stream: u32, at: u64) -> &'static [u8] {
    let period = u64::try_from(PERIOD).expect("it is small");
    let offset = usize::try_from(at % period).expect("it is small");
    let start = (stream as usize * APART + offset) % PERIOD;
    &PATTERN[start..start + PERIOD]
}

/// Compares what came at an offset with what was sent there.
pub(super) fn check(stream: u32, at: u64, came: &[u8]) -> io::Result<()> {
    let mut at = at;
    for piece in came.chunks(PERIOD) {
        if content(stream, at)[..piece.len()] != *piece {
            let what = format!("the bytes from {at} on are not those that were sent");
            return Err(io::Error::other(what));
        }
        at += piece.len() as u64;
    }
    Ok(())
}

/// One direction of a talk, up to where it is said.
pub(super) struct Content {
    stream: u32,
    pub(super) at: u64,
}

impl Content {
    pub(super) fn of(stream: u32) -> Self {
        Self { stream, at: 0 }
    }

    /// Answers have another content than questions.
    pub(super) fn of_answers(stream: u32) -> Self {
        Self::of(stream + ANSWERS)
    }

    /// Writes so much.
    pub(super) async fn write(&mut self, stream: &TcpStream, length: u32) -> io::Result<()> {
        let end = self.at + u64::from(length);
        while self.at < end {
            stream.writable().await?;
            let piece = content(self.stream, self.at);
            let most = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            match stream.try_write(&piece[..piece.len().min(most)]) {
                Ok(written) => self.at += written as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads some of what is there, `most` at most, and checks it.
    pub(super) async fn read_some(&mut self, stream: &TcpStream, most: u64) -> io::Result<u64> {
        loop {
            stream.readable().await?;
            // Not kept while it waits: there are thousands of these.
            let mut buffer = [0; PIECE];
            let most = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
            match stream.try_read(&mut buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    check(self.stream, self.at, &buffer[..read])?;
                    self.at += read as u64;
                    return Ok(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

const ANSWERS: u32 = 1_000_003;
const PIECE: usize = 16 * 1024;

#[test]
fn a_byte_that_is_lost_doubled_or_anothers_is_seen() {
    let sent = content(3, 70_000).to_vec();
    assert!(check(3, 70_000, &sent).is_ok());
    let (lost, mut doubled) = (&sent[1..], sent.clone());
    doubled.insert(5, doubled[5]);
    assert!(check(3, 70_000, lost).is_err());
    assert!(check(3, 70_000, &doubled).is_err());
    assert!(check(4, 70_000, &sent).is_err());
}
