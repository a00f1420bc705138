//! Frames of `palisade/1`, written and read by hand: `kind | flags | length u16 | stream u32 | payload`.

use std::io::{self, Read};

pub(super) const HELLO: u8 = 1;
pub(super) const OPEN: u8 = 2;
pub(super) const OPENED: u8 = 3;
pub(super) const REFUSED: u8 = 4;
pub(super) const DATA: u8 = 5;
pub(super) const CREDIT: u8 = 6;
pub(super) const FIN: u8 = 7;
pub(super) const RESET: u8 = 8;
pub(super) const GOAWAY: u8 = 9;
pub(super) const PING: u8 = 10;
/// Kept for REAUTH.
pub(super) const RESERVED: u8 = 12;

pub(super) const DENIED: u8 = 1;
pub(super) const POLICY_CHANGED: u8 = 8;
pub(super) const CANCELLED: u8 = 9;
pub(super) const PROTOCOL_ERROR: u8 = 11;

/// A frame, whatever it is.
pub(super) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    header(kind, 0, length, stream, payload)
}

/// A frame that may lie about its length, and have flags.
pub(super) fn header(kind: u8, flags: u8, length: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![kind, flags, high, low];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A HELLO that allows so many streams and so much credit.
pub(super) fn hello(streams: u32, credit: u32) -> Vec<u8> {
    let limits = [streams.to_be_bytes(), credit.to_be_bytes()].concat();
    frame(HELLO, 0, &limits)
}

/// A HELLO that is fine.
pub(super) fn good_hello() -> Vec<u8> {
    hello(1024, 16 * 1024)
}

/// HELLO, a stream, and its first data.
pub(super) fn opening(data: &[u8]) -> Vec<u8> {
    [good_hello(), frame(OPEN, 1, &[]), frame(DATA, 1, data)].concat()
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// Reads one frame.
pub(super) fn hear(mut from: impl Read) -> io::Result<Heard> {
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let [kind, _, high, low, a, b, c, d] = head;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    from.read_exact(&mut payload)?;
    let stream = u32::from_be_bytes([a, b, c, d]);
    Ok(Heard {
        kind,
        stream,
        payload,
    })
}

/// Reads up to a frame of this kind.
pub(super) fn hear_until(mut from: impl Read, kind: u8) -> Heard {
    loop {
        let heard = hear(&mut from).expect("the frame comes");
        if heard.kind == kind {
            return heard;
        }
    }
}
