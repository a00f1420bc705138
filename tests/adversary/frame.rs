//! Frames of `palisade/1`, written and read by hand: `kind | flags | length u16 | stream u32 | payload`.

use std::io::{self, Read};

pub(crate) const HELLO: u8 = 1;
pub(crate) const OPEN: u8 = 2;
pub(crate) const OPENED: u8 = 3;
pub(crate) const REFUSED: u8 = 4;
pub(crate) const DATA: u8 = 5;
pub(crate) const CREDIT: u8 = 6;
pub(crate) const FIN: u8 = 7;
pub(crate) const RESET: u8 = 8;
pub(crate) const GOAWAY: u8 = 9;
pub(crate) const PING: u8 = 10;
pub(crate) const PONG: u8 = 11;
/// Kept for REAUTH.
pub(crate) const RESERVED: u8 = 12;

pub(crate) const DENIED: u8 = 1;
pub(crate) const POLICY_CHANGED: u8 = 8;
pub(crate) const CANCELLED: u8 = 9;
pub(crate) const PROTOCOL_ERROR: u8 = 11;

/// A frame, whatever it is.
pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    header(kind, 0, length, stream, payload)
}

/// A frame that may lie about its length, and have flags.
pub(crate) fn header(kind: u8, flags: u8, length: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![kind, flags, high, low];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A HELLO that allows so many streams and so much credit.
pub(crate) fn hello(streams: u32, credit: u32) -> Vec<u8> {
    let limits = [streams.to_be_bytes(), credit.to_be_bytes()].concat();
    frame(HELLO, 0, &limits)
}

/// A HELLO that is fine.
pub(crate) fn good_hello() -> Vec<u8> {
    hello(1024, 16 * 1024)
}

/// HELLO, a stream, and its first data.
pub(crate) fn opening(data: &[u8]) -> Vec<u8> {
    [good_hello(), frame(OPEN, 1, &[]), frame(DATA, 1, data)].concat()
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Reads one frame.
pub(crate) fn hear(mut from: impl Read) -> io::Result<Heard> {
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
pub(crate) fn hear_until(mut from: impl Read, kind: u8) -> Heard {
    loop {
        let heard = hear(&mut from).expect("the frame comes");
        if heard.kind == kind {
            return heard;
        }
    }
}
