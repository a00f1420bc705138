//! Where control is: addresses and names, of which a name is looked up anew at every attempt.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::time::timeout;

/// `HOST:PORT`: an IPv4 address, an IPv6 address in brackets, or a DNS name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlace {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl ControlPlace {
    /// The addresses that it has now; a name never has more than a few that are tried.
    pub(super) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let name = match &self.host {
            Host::Address(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => name.as_str(),
        };
        let found = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, self.port))).await;
        let found: Vec<_> = found
            .or(Err(io::ErrorKind::TimedOut))??
            .take(MOST_ADDRESSES)
            .collect();
        if found.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        Ok(found)
    }
}

impl From<SocketAddr> for ControlPlace {
    fn from(addr: SocketAddr) -> Self {
        Self {
            host: Host::Address(addr.ip()),
            port: addr.port(),
        }
    }
}

impl FromStr for ControlPlace {
    type Err = ControlPlaceError;

    fn from_str(text: &str) -> Result<Self, ControlPlaceError> {
        let place = match text.parse::<SocketAddr>() {
            Ok(addr) => Self::from(addr),
            Err(_) => {
                let (name, port) = text.rsplit_once(':').ok_or(ControlPlaceError::NoPort)?;
                Self {
                    host: Host::Name(checked_name(name)?),
                    port: port.parse().or(Err(ControlPlaceError::Port))?,
                }
            }
        };
        if place.port == 0 {
            return Err(ControlPlaceError::Port);
        }
        Ok(place)
    }
}

fn checked_name(name: &str) -> Result<String, ControlPlaceError> {
    if name.contains(':') {
        return Err(ControlPlaceError::Brackets);
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_name) {
        return Err(ControlPlaceError::Name);
    }
    Ok(name.to_owned())
}

impl fmt::Display for ControlPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Why a text is no place of control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlPlaceError {
    /// Nothing after a host.
    #[error("not HOST:PORT; control's port is usually 15012")]
    NoPort,
    /// What stands there is no port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets, such as [fd00::1]:15012")]
    Brackets,
    /// Neither an address nor a name.
    #[error("the host is neither an address nor a DNS name")]
    Name,
}

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
const MOST_ADDRESSES: usize = 8;
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_places_and_print_as_written() {
        for text in [
            "10.96.0.9:15012",
            "[fd96::9]:15012",
            "palisade-control.palisade-system.svc:15012",
            "localhost:1",
        ] {
            let place: ControlPlace = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_a_reason() {
        for (text, error) in [
            ("", ControlPlaceError::NoPort),
            ("control", ControlPlaceError::NoPort),
            ("control:", ControlPlaceError::Port),
            ("control:http", ControlPlaceError::Port),
            ("control:0", ControlPlaceError::Port),
            ("10.0.0.1:0", ControlPlaceError::Port),
            ("10.0.0.1:65536", ControlPlaceError::Port),
            ("fd96::9:15012", ControlPlaceError::Brackets),
            (":15012", ControlPlaceError::Name),
            ("https//control:1", ControlPlaceError::Name),
            ("a b:1", ControlPlaceError::Name),
        ] {
            assert_eq!(text.parse::<ControlPlace>(), Err(error), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_an_address_is_not() {
        let place: ControlPlace = "localhost:7".parse().unwrap();
        let found = place.resolve().await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
        let place: ControlPlace = "[fd96::9]:15012".parse().unwrap();
        assert_eq!(
            place.resolve().await.unwrap(),
            ["[fd96::9]:15012".parse().unwrap()]
        );
    }
}
