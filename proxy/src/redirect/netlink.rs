//! Netlink messages for nf_tables: bytes out, bytes in, and nothing about what the rules mean.
//!
//! Numbers are named as in the kernel's `linux/netlink.h`, `linux/netfilter/nfnetlink.h` and `nf_tables.h`. Attributes are in network
//! byte order, headers in the host's.

use std::io::{self, Read as _};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::RedirectError;

/// A sequence of netlink attributes, being written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// Appends an attribute with these bytes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a rule holds a fixed number of matches, each of fixed size: hundreds of bytes"
    )]
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    /// Appends a number.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends text, with the zero that the kernel wants at its end.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Appends attributes inside one attribute. The "nested" flag is left out, as the kernel leaves it out when it lists rules.
    pub(super) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind, &inner.0)
    }

    /// The attributes, read back.
    pub(super) fn iter(&self) -> AttributeIter<'_> {
        read_attributes(&self.0)
    }
}

/// Reads attributes; the flags in their kinds are taken off, and what is cut short ends the sequence.
pub(super) fn read_attributes(bytes: &[u8]) -> AttributeIter<'_> {
    AttributeIter { rest: bytes }
}

/// The value of the first attribute of a kind.
pub(super) fn find_attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read_attributes(bytes)
        .find(|attribute| attribute.0 == kind)
        .map(|attribute| attribute.1)
}

/// Attributes as they are read: kind and value.
#[derive(Debug, Clone)]
pub(super) struct AttributeIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for AttributeIter<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(read_u16(self.rest, 0)?);
        let kind = read_u16(self.rest, 2)? & KIND_MASK;
        let value = self.rest.get(ATTRIBUTE_HEADER..length)?;
        let next = length.next_multiple_of(ALIGNMENT);
        self.rest = self.rest.get(next..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A request to nf_tables.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// What it asks for, in words that complete "the kernel refuses to …".
    pub(super) purpose: String,
    /// `NFT_MSG_…`
    pub(super) kind: u16,
    /// `NLM_F_…` besides `NLM_F_REQUEST`.
    pub(super) flags: u16,
    /// `NFPROTO_…`
    pub(super) family: u8,
    /// The body.
    pub(super) attributes: Attributes,
}

impl Message {
    fn encode(&self, sequence: u32, extra_flags: u16) -> Vec<u8> {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | self.kind;
        let header = Header {
            kind,
            flags: self.flags | extra_flags,
            sequence,
            family: self.family,
            resource: 0,
        };
        header.encode(&self.attributes.0)
    }
}

/// Has the kernel carry out all the messages in one transaction, or none.
///
/// Errors come for every message that failed. An acknowledgement is asked for the last one only: the kernel queues all answers at
/// once, and one for each of many rules could overflow the socket's buffer, which would then hide an error.
pub(super) fn commit(messages: &[Message]) -> Result<(), RedirectError> {
    let (batch, last) = encode_batch(messages);
    let mut socket = open()?;
    socket.send(&batch).map_err(RedirectError::Send)?;
    loop {
        for answer in receive(&mut socket)? {
            let Some(errno) = answer.errno() else {
                continue;
            };
            if errno != 0 {
                let place = usize::try_from(answer.sequence).ok();
                let failed = place.and_then(|place| place.checked_sub(FIRST_MESSAGE as usize));
                let purpose = failed.and_then(|place| messages.get(place));
                let purpose = purpose.map_or("change its rules", |message| &message.purpose);
                return Err(RedirectError::refused(purpose, errno));
            }
            if answer.sequence == last {
                return Ok(());
            }
        }
    }
}

/// The bytes of a transaction, and the sequence number of its last message.
fn encode_batch(messages: &[Message]) -> (Vec<u8>, u32) {
    let mut batch = batch_mark(NFNL_MSG_BATCH_BEGIN, FIRST_MESSAGE - 1);
    let mut sequence = FIRST_MESSAGE - 1;
    for (place, message) in messages.iter().enumerate() {
        sequence += 1;
        let is_last = place + 1 == messages.len();
        let acknowledge = if is_last { NLM_F_ACK } else { 0 };
        batch.extend_from_slice(&message.encode(sequence, acknowledge));
    }
    batch.extend_from_slice(&batch_mark(NFNL_MSG_BATCH_END, sequence + 1));
    (batch, sequence)
}

fn batch_mark(kind: u16, sequence: u32) -> Vec<u8> {
    let header = Header {
        kind,
        flags: 0,
        sequence,
        family: 0,
        resource: NFNL_SUBSYS_NFTABLES,
    };
    header.encode(&[])
}

/// The attributes of a table, a chain or a rule, as the kernel lists it.
pub(super) type Object = Vec<u8>;

/// Lists objects of the kernel.
pub(super) fn dump(message: &Message) -> Result<Vec<Object>, RedirectError> {
    let mut socket = open()?;
    let request = message.encode(FIRST_MESSAGE, NLM_F_DUMP);
    socket.send(&request).map_err(RedirectError::Send)?;
    let mut objects = Vec::new();
    loop {
        for answer in receive(&mut socket)? {
            match answer.errno() {
                Some(errno) if errno != 0 => {
                    return Err(RedirectError::refused(&message.purpose, errno));
                }
                _ if answer.flags & NLM_F_DUMP_INTR != 0 => return Err(RedirectError::Changing),
                _ if answer.kind == NLMSG_DONE => return Ok(objects),
                _ => objects.push(answer.body.get(NFGENMSG..).unwrap_or_default().to_vec()),
            }
        }
    }
}

fn open() -> Result<Socket, RedirectError> {
    let socket = Socket::new(
        Domain::from(AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(NETLINK_NETFILTER)),
    )
    .map_err(RedirectError::Socket)?;
    socket
        .set_send_buffer_size(SEND_BUFFER_BYTES)
        .map_err(RedirectError::Socket)?;
    socket
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .map_err(RedirectError::Socket)?;
    Ok(socket)
}

/// Receives one datagram, which holds one or more answers.
fn receive(socket: &mut Socket) -> Result<Vec<Answer>, RedirectError> {
    let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
    let length = socket.read(&mut buffer).map_err(RedirectError::Receive)?;
    let mut rest = buffer.get(..length).unwrap_or_default();
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (answer, length) = read_answer(rest)
            .ok_or_else(|| RedirectError::Receive(io::Error::from(io::ErrorKind::UnexpectedEof)))?;
        answers.push(answer);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(answers)
}

fn read_answer(bytes: &[u8]) -> Option<(Answer, usize)> {
    let length = usize::try_from(read_u32(bytes, 0)?).ok()?;
    let answer = Answer {
        kind: read_u16(bytes, 4)?,
        flags: read_u16(bytes, 6)?,
        sequence: read_u32(bytes, 8)?,
        body: bytes.get(NETLINK_HEADER..length)?.to_vec(),
    };
    Some((answer, length.next_multiple_of(ALIGNMENT)))
}

/// One message from the kernel.
#[derive(Debug)]
struct Answer {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Answer {
    /// The error number that it carries, zero for an acknowledgement; none where it is no such message.
    fn errno(&self) -> Option<i32> {
        let carries = matches!(self.kind, NLMSG_ERROR | NLMSG_DONE) && self.body.len() >= 4;
        let number = read_u32(&self.body, 0).filter(|_| carries)?;
        Some(number.cast_signed().wrapping_neg())
    }
}

/// A netlink header with the header of nfnetlink behind it.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
}

impl Header {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "one message is one table, chain or rule: hundreds of bytes"
    )]
    fn encode(self, body: &[u8]) -> Vec<u8> {
        let length = (NETLINK_HEADER + NFGENMSG + body.len()) as u32;
        let mut bytes = Vec::with_capacity(NETLINK_HEADER + NFGENMSG + body.len());
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&(self.flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[self.family, NFNETLINK_V0]);
        bytes.extend_from_slice(&self.resource.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    field.try_into().ok().map(u16::from_ne_bytes)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    field.try_into().ok().map(u32::from_ne_bytes)
}

/// Create what is not there.
pub(super) const NLM_F_CREATE: u16 = 0x400;
/// Put a rule behind the others.
pub(super) const NLM_F_APPEND: u16 = 0x800;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNETLINK_V0: u8 = 0;
const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;

const ALIGNMENT: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
const NETLINK_HEADER: usize = 16;
const NFGENMSG: usize = 4;
/// Takes off `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const KIND_MASK: u16 = 0x3fff;
/// The sequence number of a transaction's first message; its opening mark has the one before.
const FIRST_MESSAGE: u32 = 2;
/// A transaction is one datagram; the kernel lowers this to its `wmem_max`.
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// The kernel lists into at most 32 KiB at a time.
const RECEIVE_BUFFER_BYTES: usize = 64 << 10;
/// The kernel answers before `send` returns; this only keeps a lost answer from becoming a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_transaction_is_byte_exact() {
        let message = Message {
            purpose: String::new(),
            kind: 0,
            flags: NLM_F_CREATE,
            family: 1,
            attributes: Attributes::default().text(1, "pal").number(2, 1),
        };
        let (batch, last) = encode_batch(&[message]);
        assert_eq!(last, 2);
        if cfg!(target_endian = "big") {
            return;
        }
        #[rustfmt::skip]
        let expected = [
            20, 0, 0, 0,  0x10, 0, 1, 0,  1, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 10,
            36, 0, 0, 0,  0, 10, 0x05, 4, 2, 0, 0, 0,  0, 0, 0, 0,  1, 0, 0, 0,
            8, 0, 1, 0,  b'p', b'a', b'l', 0,
            8, 0, 2, 0,  0, 0, 0, 1,
            20, 0, 0, 0,  0x11, 0, 1, 0,  3, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 10,
        ];
        assert_eq!(batch, expected);
    }

    #[test]
    fn attributes_read_back_as_written_and_end_where_they_are_cut() {
        let inner = Attributes::default().bytes(7, &[1, 2, 3]);
        let written = Attributes::default().text(1, "a").nested(2, &inner);
        let read: Vec<_> = written.iter().collect();
        assert_eq!(read, [(1, &b"a\0"[..]), (2, &[7, 0, 7, 0, 1, 2, 3, 0])]);
        assert_eq!(find_attribute(&inner.0, 7), Some(&[1, 2, 3][..]));
        for end in 0..written.0.len() {
            assert!(read_attributes(&written.0[..end]).count() < 2);
        }
    }
}
