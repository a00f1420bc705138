//! Connections that the proxy makes itself, which the redirect lets pass.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How the proxy's own connections are made.
#[derive(Debug, Clone, Copy)]
pub struct Dial {
    /// The mark that the redirect knows them by, where the uid does not tell.
    pub mark: Option<u32>,
    /// Longest wait for a connection.
    pub timeout: Duration,
}

impl Dial {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// The kernel's, or `TimedOut`. Cancel safe: a dropped attempt leaves nothing.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket(address, self.mark)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let stream = TcpStream::from_std(socket.into())?;
        // Within a pod both sides have said all when the call returns: to wait for news of it takes longer than to ask.
        if stream.peer_addr().is_ok() {
            return Ok(stream);
        }
        match timeout(self.timeout, stream.writable()).await {
            Ok(writable) => writable?,
            Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
        }
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    /// Connects to another proxy: a peer that vanished without a word is noticed within a minute.
    ///
    /// # Errors
    ///
    /// As [`Dial::connect`].
    pub async fn connect_peer(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.connect(address).await?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(USER_TIMEOUT))?;
        Ok(stream)
    }
}

/// A socket that the redirect lets pass, not connected yet.
pub(crate) fn socket(address: SocketAddr, mark: Option<u32>) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    Ok(socket)
}

const EINPROGRESS: i32 = nix::errno::Errno::EINPROGRESS as i32;

/// How long sent data may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const DIAL: Dial = Dial {
        mark: None,
        timeout: Duration::from_secs(10),
    };

    #[tokio::test]
    async fn a_connection_is_there_when_it_is_given() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = DIAL.connect(listener.local_addr().unwrap()).await.unwrap();
        let (_accepted, client) = listener.accept().await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), client);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_refusal_is_told_as_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = DIAL.connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
