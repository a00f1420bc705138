//! Whether a connection begins as the mesh protocol does.

use palisade_api::sidecar::ALPN;
use rustls::server::Acceptor;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// A ClientHello that offers the mesh protocol. It proves nothing yet.
    Mesh,
    /// Another ClientHello: the application's own TLS.
    Foreign,
    /// No TLS.
    NotTls,
    /// Too few bytes to tell; ask again with more.
    Incomplete,
}

/// Tells what a connection's first bytes are: all that were read since it began, not the newest only.
///
/// A ClientHello may come in many segments and in many records (a post-quantum one is larger than a segment).
/// One that is not complete after 64 KiB is [`Hello::Foreign`].
pub fn is_mesh_client_hello(bytes: &[u8]) -> Hello {
    let hello = match walk(bytes) {
        Walked::Complete => parse(bytes),
        Walked::Partial => Hello::Incomplete,
        Walked::TooLong => Hello::Foreign,
        Walked::NotTls => Hello::NotTls,
    };
    if hello == Hello::Incomplete && bytes.len() >= MAX_HELLO_BYTES {
        return Hello::Foreign;
    }
    hello
}

enum Walked {
    /// The first handshake message is there to its end.
    Complete,
    Partial,
    TooLong,
    NotTls,
}

/// Walks over record headers until the first handshake message is complete, so that the parser runs once
/// however the bytes trickle in.
fn walk(bytes: &[u8]) -> Walked {
    let mut message_header = Vec::with_capacity(4);
    let mut held = 0;
    let mut rest = bytes;
    loop {
        if !rest
            .iter()
            .zip(RECORD_START)
            .all(|(byte, start)| *byte == start)
        {
            return Walked::NotTls;
        }
        let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk() else {
            return Walked::Partial;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > MAX_RECORD_BYTES {
            return Walked::NotTls;
        }
        let (fragment, after) = body.split_at_checked(length).unwrap_or((body, &[]));
        let missing = 4 - message_header.len();
        message_header.extend(fragment.iter().copied().take(missing));
        held += fragment.len();
        match *message_header {
            [CLIENT_HELLO, high, middle, low] => {
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                if length > MAX_HELLO_BYTES {
                    return Walked::TooLong;
                }
                if held >= 4 + length {
                    return Walked::Complete;
                }
            }
            [] | [CLIENT_HELLO, ..] => {}
            _ => return Walked::NotTls,
        }
        if fragment.len() < length {
            return Walked::Partial;
        }
        rest = after;
    }
}

fn parse(mut bytes: &[u8]) -> Hello {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes).is_err() {
            return Hello::Foreign;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let offered = hello
                    .alpn()
                    .is_some_and(|mut names| names.any(|name| name == ALPN));
                return if offered { Hello::Mesh } else { Hello::Foreign };
            }
            // It looked like TLS, and is none that we speak.
            Err(_) => return Hello::Foreign,
        }
    }
    Hello::Incomplete
}

/// Content type handshake, and the major version of every TLS.
const RECORD_START: [u8; 2] = [22, 3];
const CLIENT_HELLO: u8 = 1;
const MAX_RECORD_BYTES: usize = 1 << 14;
const MAX_HELLO_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::{Authority, client_hello};
    use proptest::prelude::*;

    fn mesh() -> Vec<u8> {
        client_hello(&Authority::new(), ALPN)
    }

    /// The same message in records of `size` bytes.
    fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
        hello[5..]
            .chunks(size)
            .flat_map(|part| {
                let length = u16::try_from(part.len()).unwrap().to_be_bytes();
                [&[22, 3, 1], &length[..], part].concat()
            })
            .collect()
    }

    #[test]
    fn first_bytes_are_told_apart() {
        let foreign = client_hello(&Authority::new(), b"h2");
        let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
        endless.resize(5 + (1 << 14), 0);
        for (bytes, hello) in [
            (mesh(), Hello::Mesh),
            ([mesh(), b"more".to_vec()].concat(), Hello::Mesh),
            (foreign, Hello::Foreign),
            (vec![], Hello::Incomplete),
            (vec![22], Hello::Incomplete),
            (b"GET / HTTP/1.1\r\n".to_vec(), Hello::NotTls),
            (b"P".to_vec(), Hello::NotTls),
            (vec![22, 3, 1, 0, 0], Hello::NotTls),
            (vec![22, 3, 1, 0xff, 0xff], Hello::NotTls),
            (vec![22, 3, 1, 0, 4, 2, 0, 0, 0], Hello::NotTls),
            (vec![22, 3, 1, 0, 4, 1, 1, 0, 1], Hello::Foreign),
            (vec![22, 3, 1, 0, 4, 1, 0, 0, 0], Hello::Foreign),
            (endless, Hello::Incomplete),
        ] {
            let start = &bytes[..bytes.len().min(16)];
            assert_eq!(is_mesh_client_hello(&bytes), hello, "{start:?}");
        }
    }

    #[test]
    fn a_hello_that_never_ends_is_foreign_after_64_kib() {
        let record = [&[22, 3, 1, 0x10, 0][..], &[0; 0x1000]].concat();
        let mut bytes = [&[22, 3, 1, 0, 4, 1, 0, 0xff, 0xff][..], &record.repeat(15)].concat();
        assert_eq!(is_mesh_client_hello(&bytes), Hello::Incomplete);
        bytes.extend(record);
        bytes.truncate(MAX_HELLO_BYTES - 1);
        assert_eq!(is_mesh_client_hello(&bytes), Hello::Incomplete);
        bytes.push(0);
        assert_eq!(is_mesh_client_hello(&bytes), Hello::Foreign);
    }

    #[test]
    fn a_hello_is_found_however_it_is_cut() {
        let hello = mesh();
        for size in [1, 3, 100, 1000] {
            let bytes = fragmented(&hello, size);
            let (last, all_but_one) = bytes.split_last().unwrap();
            for end in 0..all_but_one.len() {
                assert_eq!(
                    is_mesh_client_hello(&bytes[..end]),
                    Hello::Incomplete,
                    "{end} of {last}"
                );
            }
            assert_eq!(is_mesh_client_hello(&bytes), Hello::Mesh, "{size}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(start in 0..6_usize, tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bytes = [&[22, 3, 1, 0, 200, 1][..start], &tail].concat();
            // Whatever it says, it is not the mesh: random bytes offer no protocol.
            prop_assert_ne!(is_mesh_client_hello(&bytes), Hello::Mesh);
        }
    }
}
