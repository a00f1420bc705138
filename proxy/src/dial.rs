//! Connections that the proxy makes itself, which the redirect lets pass.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};
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
        let socket = TcpSocket::from_std_stream(socket.into());
        match timeout(self.timeout, socket.connect(address)).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
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

/// How long sent data may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
