//! Where a redirected connection was going, as the kernel remembers it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use palisade_api::sidecar;
use socket2::SockRef;

/// The address that a redirected connection was made to.
///
/// Made from the kernel's connection tracking only, and never one of the proxy's own ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalDst(SocketAddr);

impl OriginalDst {
    /// Asks the kernel where the connection that came from `client` was going.
    ///
    /// # Errors
    ///
    /// Where it was not redirected, or where it was going to the proxy itself.
    pub fn of(socket: &SockRef<'_>, client: SocketAddr) -> Result<Self, OriginalDstError> {
        let dst = match canonical(client).ip() {
            IpAddr::V4(_) => socket.original_dst_v4(),
            IpAddr::V6(_) => socket.original_dst_v6(),
        };
        let dst = dst.map_err(OriginalDstError::Unknown)?.as_socket();
        Self::checked(dst.ok_or(OriginalDstError::NotRedirected)?)
    }

    fn checked(dst: SocketAddr) -> Result<Self, OriginalDstError> {
        let dst = canonical(dst);
        if sidecar::PROXY_PORTS.contains(&dst.port()) {
            return Err(OriginalDstError::OwnPort(dst));
        }
        Ok(Self(dst))
    }

    /// The address and port.
    pub fn addr(self) -> SocketAddr {
        self.0
    }
}

/// Why a connection has no original destination that the proxy serves.
#[derive(Debug, thiserror::Error)]
pub enum OriginalDstError {
    /// The kernel does not know.
    #[error("the kernel does not know where the connection was going")]
    Unknown(#[source] io::Error),
    /// It came straight to the proxy's port.
    #[error("the connection was not redirected")]
    NotRedirected,
    /// It was going to the proxy itself.
    #[error("{0} is a port of the proxy's own")]
    OwnPort(SocketAddr),
}

/// IPv4 addresses in IPv6 form, as a dual-stack listener sees them, as the IPv4 addresses that they are.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether `ip` is one of the pod's own addresses that others can reach.
///
/// # Errors
///
/// Where the kernel does not list the addresses.
pub fn is_own(ip: IpAddr) -> io::Result<bool> {
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return Ok(false);
    }
    let found = nix::ifaddrs::getifaddrs()?.any(|interface| {
        interface.address.is_some_and(|address| {
            address
                .as_sockaddr_in()
                .is_some_and(|v4| IpAddr::from(v4.ip()) == ip)
                || address
                    .as_sockaddr_in6()
                    .is_some_and(|v6| IpAddr::from(v6.ip()) == ip)
        })
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_own_ports_are_refused() {
        for port in sidecar::PROXY_PORTS {
            let dst = SocketAddr::from(([10, 0, 0, 1], port));
            assert!(
                matches!(OriginalDst::checked(dst), Err(OriginalDstError::OwnPort(own)) if own.port() == port)
            );
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_address() {
        let dst: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(
            OriginalDst::checked(dst).unwrap().addr(),
            "10.0.0.1:80".parse().unwrap()
        );
    }

    #[test]
    fn loopback_is_nobodys_own_address() {
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1"] {
            assert!(!is_own(ip.parse().unwrap()).unwrap(), "{ip}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_not_redirected_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = tokio::net::TcpStream::connect(address).await.unwrap();
        let (stream, client) = listener.accept().await.unwrap();
        assert!(OriginalDst::of(&SockRef::from(&stream), client).is_err());
    }
}
