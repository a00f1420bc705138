//! HTTP requests of the bench's own: few, and not what is measured.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) is_ok: bool,
    pub(crate) body: Vec<u8>,
}

/// Opens a connection that gives up after some seconds.
pub(crate) fn connect(address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One request on a connection that can be used again.
pub(crate) fn get(stream: &mut TcpStream, path: &str) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: pair\r\nX-Canary: {CANARY}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(answer) = whole(&bytes) {
            return Ok(answer);
        }
    }
}

/// The answer, once it is all there.
fn whole(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(end + 4)?;
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = |line: &str| {
        line.strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    };
    let length = head.lines().find_map(length).unwrap_or(0);
    (body.len() >= length).then(|| Answer {
        is_ok: head.starts_with("http/1.1 200"),
        body: body.to_vec(),
    })
}

/// What must never be seen between pods of a mesh.
pub(crate) const CANARY: &str = "PLAINTEXT-CANARY";

const PATIENCE: Duration = Duration::from_secs(8);
