//! Where the pod's applications are reached.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// The pod's first address of each family that others can reach, IPv4 first. They are asked for at each probe: a pod may
/// get them after its first container started.
pub(super) fn own() -> Vec<IpAddr> {
    let found = match getifaddrs() {
        Ok(found) => found.filter_map(|interface| interface.address),
        Err(error) => {
            tracing::debug!(%error, "the pod's addresses are not listed");
            return Vec::new();
        }
    };
    first_of_each(found.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    }))
}

fn first_of_each(all: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6) = (None, None);
    for ip in all {
        match ip {
            IpAddr::V4(four) if !four.is_loopback() && !four.is_link_local() => {
                v4 = v4.or(Some(ip));
            }
            IpAddr::V6(six) if !six.is_loopback() && !six.is_unicast_link_local() => {
                v6 = v6.or(Some(ip));
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    v4.into_iter().chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reachable_address_of_each_family_is_taken() {
        for (all, found) in [
            (&["127.0.0.1", "::1"][..], &[][..]),
            (&["127.0.0.1", "10.0.0.2", "10.9.0.2"], &["10.0.0.2"]),
            (
                &["::1", "fe80::1", "fd00::2", "10.0.0.2"],
                &["10.0.0.2", "fd00::2"],
            ),
            (&["169.254.3.4", "fe80::1", "fd00::2"], &["fd00::2"]),
        ] {
            let ips = |texts: &[&str]| -> Vec<IpAddr> {
                texts.iter().map(|text| text.parse().unwrap()).collect()
            };
            assert_eq!(first_of_each(ips(all).into_iter()), ips(found));
        }
    }
}
