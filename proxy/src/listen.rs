//! Binding, accepting, and how many connections there may be at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::original_dst::canonical;

/// A connection that was accepted, and its place among those that may be open at once.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Arrival,
    /// Its other end.
    pub client: SocketAddr,
    /// Given back when the connection's task ends; none where there are too many, and it must be refused.
    pub place: Option<OwnedSemaphorePermit>,
}

/// A connection as it came, which the runtime hears of only when it is to be waited for: what was read before is then
/// not announced, and not read for again in vain.
#[derive(Debug)]
pub struct Arrival {
    unwatched: Option<std::net::TcpStream>,
    watched: Option<TcpStream>,
}

impl Arrival {
    fn new(stream: std::net::TcpStream) -> Self {
        Self {
            unwatched: Some(stream),
            watched: None,
        }
    }

    /// The connection, of which the runtime hears now at the latest.
    ///
    /// # Errors
    ///
    /// The kernel's, where it cannot watch one more; the connection is closed then.
    pub fn watch(&mut self) -> io::Result<&TcpStream> {
        if let Some(stream) = self.unwatched.take() {
            self.watched = Some(TcpStream::from_std(stream)?);
        }
        self.watched
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// As [`Arrival::watch`], for whoever keeps it.
    ///
    /// # Errors
    ///
    /// As [`Arrival::watch`].
    pub fn into_watched(mut self) -> io::Result<TcpStream> {
        self.watch()?;
        self.watched
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The connection as the kernel knows it, without the runtime.
    ///
    /// # Errors
    ///
    /// Where it is closed.
    pub fn socket(&self) -> io::Result<SockRef<'_>> {
        match (&self.unwatched, &self.watched) {
            (Some(stream), _) => Ok(SockRef::from(stream)),
            (None, Some(stream)) => Ok(SockRef::from(stream)),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ends it with a reset: never to be taken for an end of data.
    pub fn reset(self) {
        if let Ok(socket) = self.socket() {
            linger_not(&socket);
        }
    }
}

/// Accepts without end.
#[derive(Debug)]
pub struct Listener {
    listener: AsyncFd<mio::net::TcpListener>,
    places: Arc<Semaphore>,
}

impl Listener {
    /// Listens on `port` of every address, of both families where the pod has IPv6.
    ///
    /// # Errors
    ///
    /// Where the port is taken or the kernel refuses.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for types that change their descriptor; a listener has one for life"
    )]
    pub fn bind(port: u16, max_connections: usize) -> io::Result<Self> {
        let listener = bound(Ipv6Addr::UNSPECIFIED.into(), port)?;
        let listener = mio::net::TcpListener::from_std(listener);
        Ok(Self {
            listener: AsyncFd::with_interest(listener, Interest::READABLE)?,
            places: Arc::new(Semaphore::new(max_connections)),
        })
    }

    /// The next connection.
    ///
    /// An error of the kernel, such as no free file descriptor, is waited out: accepted connections live on
    /// and no new one is taken meanwhile. Cancel safe.
    pub async fn accept(&self) -> Accepted {
        loop {
            let accepted = self
                .listener
                .async_io(Interest::READABLE, mio::net::TcpListener::accept);
            match accepted.await {
                Ok((stream, client)) => {
                    let place = Arc::clone(&self.places).try_acquire_owned().ok();
                    return Accepted {
                        stream: Arrival::new(stream.into()),
                        client: canonical(client),
                        place,
                    };
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Ends a connection with a reset: never to be taken for an end of data.
pub fn reset(stream: TcpStream) {
    linger_not(&SockRef::from(&stream));
    drop(stream);
}

fn linger_not(socket: &SockRef<'_>) {
    if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "linger could not be set");
    }
}

/// Listens on an address; `::` means every address of both families, or of the one that the pod has.
///
/// # Errors
///
/// Where the port is taken or the kernel refuses.
pub fn on(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    TcpListener::from_std(bound(ip, port)?)
}

fn bound(ip: IpAddr, port: u16) -> io::Result<std::net::TcpListener> {
    let socket =
        listening(SocketAddr::new(ip, port)).or_else(|error| match error.raw_os_error() {
            Some(EAFNOSUPPORT | EADDRNOTAVAIL) if ip == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
                listening(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            }
            Some(_) | None => Err(error),
        })?;
    Ok(socket.into())
}

fn listening(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Inherited by accepted connections: no call for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

const BACKLOG: i32 = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const EAFNOSUPPORT: i32 = nix::errno::Errno::EAFNOSUPPORT as i32;
const EADDRNOTAVAIL: i32 = nix::errno::Errno::EADDRNOTAVAIL as i32;
