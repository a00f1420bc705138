//! Binding, accepting, and how many connections there may be at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::original_dst::canonical;

/// A connection that was accepted, and its place among those that may be open at once.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// Its other end.
    pub client: SocketAddr,
    /// Given back when the connection's task ends; none where there are too many, and it must be refused.
    pub place: Option<OwnedSemaphorePermit>,
}

/// Accepts without end.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener {
    /// Listens on `port` of every address, of both families where the pod has IPv6.
    ///
    /// # Errors
    ///
    /// Where the port is taken or the kernel refuses.
    pub fn bind(port: u16, max_connections: usize) -> io::Result<Self> {
        let listener = on(Ipv6Addr::UNSPECIFIED.into(), port)?;
        Ok(Self {
            listener,
            places: Arc::new(Semaphore::new(max_connections)),
        })
    }

    /// The next connection.
    ///
    /// An error of the kernel, such as no free file descriptor, is waited out: accepted connections live on
    /// and no new one is taken meanwhile. Cancel safe.
    pub async fn accept(&self) -> Accepted {
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    let place = Arc::clone(&self.places).try_acquire_owned().ok();
                    return Accepted {
                        stream,
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
    let lingered = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    if let Err(error) = lingered {
        tracing::debug!(%error, "linger could not be set");
    }
    drop(stream);
}

/// Listens on an address; `::` means every address of both families, or of the one that the pod has.
///
/// # Errors
///
/// Where the port is taken or the kernel refuses.
pub fn on(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let socket =
        listening(SocketAddr::new(ip, port)).or_else(|error| match error.raw_os_error() {
            Some(EAFNOSUPPORT | EADDRNOTAVAIL) if ip == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
                listening(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            }
            Some(_) | None => Err(error),
        })?;
    TcpListener::from_std(socket.into())
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
