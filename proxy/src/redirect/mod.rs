//! The redirect: makes every TCP connection of a pod go through its proxy, and lets nothing around it.
//!
//! It is one nftables table in the current network namespace, written in one transaction, so that there is no moment with half of it.
//! `rules` is the ruleset; `rule` turns a rule into what the kernel evaluates; `table` and `netlink` write it as messages.
//!
//! # What whoever applies it must know
//!
//! - The inbound listener has to listen on all addresses: the kernel hands redirected connections to the first address of the
//!   device they came in by. The outbound listener gets them on `127.0.0.1` and `::1`.
//! - The canary is reached only where a route leads to it (a default route does): without one, `connect` fails before any rule runs.
//! - Connections that come from outside to 15006 on the pod's first address are dropped: redirecting them to where they go changes nothing,
//!   and so does not count as redirected. Those to 15000 and 15001 reach the proxy, which refuses them by their original destination.
//! - Flows that are older than the table are cut when it is applied, on both sides. Applying it again leaves live ones alone.

mod check;
mod cli;
mod error;
mod netlink;
mod rule;
mod rules;
mod table;

use std::path::Path;

use ipnet::IpNet;

pub use self::check::Difference;
pub use self::cli::{Mode, RedirectArgs, run};
pub use self::error::RedirectError;
use self::table::Family;

/// How the proxy's own connections are told from the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bypass {
    /// By the user that the proxy runs as, [`palisade_api::sidecar::PROXY_UID`].
    Uid,
    /// By the mark on its sockets, [`palisade_api::sidecar::PROXY_MARK`]: where a user namespace has one user only.
    Mark,
}

/// What is to be redirected in this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// How the proxy's own connections are told from the application's.
    pub bypass: Bypass,
    /// Ports of the pod that are reached without the mesh, by TCP and by datagrams.
    pub exclude_inbound_ports: Vec<u16>,
    /// Ports anywhere that the pod's applications reach without the mesh.
    pub exclude_outbound_ports: Vec<u16>,
    /// Addresses that the pod's applications reach without the mesh.
    pub exclude_outbound: Vec<IpNet>,
    /// Whether datagrams (UDP, UDP-Lite, SCTP, DCCP) that come from outside and answer nothing are dropped and counted.
    pub drop_datagrams: bool,
}

impl Redirect {
    /// Writes the table, in place of an older one if there is one.
    ///
    /// # Errors
    /// Where the kernel refuses a part of it; then nothing was changed.
    pub fn apply(&self) -> Result<(), RedirectError> {
        in_family(|family| netlink::commit(&table::replace(family, &family.fit(self.chains()))))
    }

    /// Removes the table, if there is one.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub fn remove() -> Result<(), RedirectError> {
        in_family(|family| netlink::commit(&table::remove(family)))
    }

    /// Reads the table back from the kernel and compares it with what [`Redirect::apply`] writes.
    ///
    /// # Errors
    /// [`RedirectError::Differs`] with all that differs; or where the kernel does not list it.
    pub fn check(&self) -> Result<(), RedirectError> {
        in_family(|family| check::compare(family, &family.fit(self.chains())))
    }
}

/// Does it for IPv4 and IPv6 at once; for IPv4 alone where the kernel was built without IPv6, and so without the family of both.
fn in_family(act: impl Fn(Family) -> Result<(), RedirectError>) -> Result<(), RedirectError> {
    match act(Family::Inet) {
        Err(error) if error.is_unsupported() && !Path::new(IPV6_IN_KERNEL).exists() => {
            act(Family::Ipv4)
        }
        outcome => outcome,
    }
}

/// Is there whenever the kernel has IPv6, used or not.
const IPV6_IN_KERNEL: &str = "/proc/net/if_inet6";

#[cfg(test)]
mod tests;
