//! Values of flags, each with what is wrong with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use palisade_api::cluster::{ASK_PORT, CONTROL};

/// Beyond loopback, anybody in the cluster could ask the API server through it.
pub(super) fn ask(given: Option<&str>, mistakes: &mut Vec<String>) -> Option<SocketAddr> {
    let Some(text) = given else {
        return Some((Ipv4Addr::LOCALHOST, ASK_PORT).into());
    };
    let addr = address("--ask", text, mistakes)?;
    if addr.ip().is_loopback() {
        return Some(addr);
    }
    mistakes.push(format!(
        "--ask: {addr} is not on loopback; write it like 127.0.0.1:{ASK_PORT}"
    ));
    None
}

/// The host's name, for people; in a pod it is the pod's.
pub(super) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_error| CONTROL.to_owned(), |name| name.trim().to_owned())
}

pub(super) fn address(flag: &str, text: &str, mistakes: &mut Vec<String>) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        mistakes.push(format!(
            "{flag}: {text:?} is not IP:PORT; write it like 127.0.0.1:15012"
        ));
    }
    parsed
}

pub(super) fn ttl(text: &str, mistakes: &mut Vec<String>) -> Option<Duration> {
    let parsed = humantime::parse_duration(text)
        .ok()
        .filter(|ttl| (MIN_TTL..=MAX_TTL).contains(ttl));
    if parsed.is_none() {
        mistakes.push(format!(
            "--svid-ttl: {text:?} is not a duration from 1s to 24h"
        ));
    }
    parsed
}

pub(super) fn cidrs(flag: &str, texts: &[String], mistakes: &mut Vec<String>) -> Vec<IpNet> {
    let parse = |text: &String| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            mistakes.push(format!(
                "{flag}: {text:?} is not a CIDR; write it like 10.0.0.0/8"
            ));
        }
        parsed
    };
    texts.iter().filter_map(parse).collect()
}

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
