//! What a client says about a stream that it opens: claims for the record, never a ground for a decision.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use thiserror::Error;

/// Longest payload of an OPEN frame.
pub const MAX_OPEN_BYTES: usize = 1024;

/// Longest claimed name; a longer one is cut by the sender and refused by the receiver.
pub const MAX_NAME_BYTES: usize = 253;

/// The attributes of an OPEN frame. Each is a claim of the peer: fit for a record, and for nothing else.
///
/// On the wire: a tag, a length of one byte, a value, repeated. A tag that is not known is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// The address that the application's connection came from.
    pub source: Option<SocketAddr>,
    /// The name of the workload that the application belongs to.
    pub workload: Option<Box<str>>,
    /// The namespace of that workload.
    pub namespace: Option<Box<str>>,
}

/// Why bytes are not the attributes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenFormatError {
    /// An attribute is longer than what is left.
    #[error("an attribute that is cut short")]
    Truncated,
    /// One tag twice.
    #[error("attribute {0} twice")]
    Twice(u8),
    /// A value that its tag does not allow.
    #[error("a value that attribute {0} does not allow")]
    Value(u8),
}

const SOURCE: u8 = 1;
const WORKLOAD: u8 = 2;
const NAMESPACE: u8 = 3;

impl Open {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(source) = self.source {
            let mut value = match source.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            value.extend_from_slice(&source.port().to_be_bytes());
            put(&mut out, SOURCE, &value);
        }
        for (tag, name) in [(WORKLOAD, &self.workload), (NAMESPACE, &self.namespace)] {
            if let Some(name) = name {
                put(&mut out, tag, cut(name, MAX_NAME_BYTES).as_bytes());
            }
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, OpenFormatError> {
        let mut open = Self::default();
        while let Some((&tag, rest)) = bytes.split_first() {
            let (&length, rest) = rest.split_first().ok_or(OpenFormatError::Truncated)?;
            let (value, rest) = rest
                .split_at_checked(usize::from(length))
                .ok_or(OpenFormatError::Truncated)?;
            bytes = rest;
            let known = match tag {
                SOURCE => open.source.replace(address(value)?).is_some(),
                WORKLOAD => open.workload.replace(name(tag, value)?).is_some(),
                NAMESPACE => open.namespace.replace(name(tag, value)?).is_some(),
                _ => false,
            };
            if known {
                return Err(OpenFormatError::Twice(tag));
            }
        }
        Ok(open)
    }
}

fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.extend_from_slice(&[tag, u8::try_from(value.len()).unwrap_or_default()]);
    out.extend_from_slice(value);
}

fn address(value: &[u8]) -> Result<SocketAddr, OpenFormatError> {
    let (ip, port) = value
        .split_last_chunk::<2>()
        .ok_or(OpenFormatError::Value(SOURCE))?;
    let ip = if let Ok(octets) = <[u8; 4]>::try_from(ip) {
        IpAddr::V4(Ipv4Addr::from(octets))
    } else if let Ok(octets) = <[u8; 16]>::try_from(ip) {
        IpAddr::V6(Ipv6Addr::from(octets))
    } else {
        return Err(OpenFormatError::Value(SOURCE));
    };
    Ok(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Control characters are dropped here, where the name comes in, so that no later writer has to think of them.
fn name(tag: u8, value: &[u8]) -> Result<Box<str>, OpenFormatError> {
    match std::str::from_utf8(value) {
        Ok(name) if name.len() <= MAX_NAME_BYTES => {
            Ok(name.chars().filter(|char| !char.is_control()).collect())
        }
        _ => Err(OpenFormatError::Value(tag)),
    }
}

/// The longest beginning of `text` within `most` bytes that ends between two characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// A stream as its client begins it: OPEN and first data travel together.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// What is claimed about the stream.
    pub open: Open,
    /// The first bytes of the application. What is beyond the initial credit waits for the peer to take the stream.
    pub first: Bytes,
    /// The application has already ended: `first` is all that it sends.
    pub first_is_all: bool,
}
