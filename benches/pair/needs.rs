//! What the bench needs of the machine.

use std::fmt::Write;

use anyhow::{Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::peers::in_path;
use crate::work::Work;

/// Prepares this process, and says everything that is missing at once.
pub(crate) fn check(work: &[Work]) -> Result<()> {
    if !geteuid().is_root() {
        bail!("it makes network namespaces and captures what passes between them: run it as root");
    }
    let is_traced = work.iter().any(|work| work.is_traced());
    let needed = PROGRAMS
        .iter()
        .filter(|(program, _)| *program != STRACE || is_traced);
    let missing = needed.filter(|(program, _)| in_path(program).is_none());
    let (mut programs, mut packages) = (String::new(), String::new());
    for (program, package) in missing {
        write!(programs, " {program}")?;
        write!(packages, " {package}")?;
    }
    if !programs.is_empty() {
        bail!("not in PATH:{programs}. On Debian: apt-get install{packages}");
    }
    // The proxies and applications run as other users, and read what is made for them.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    // All inherit it: a thousand connections are two thousand sockets in a proxy.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(FILES), most)?;
    Ok(())
}

/// Programs, and the packages that they are in.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("setpriv", "util-linux"),
    (STRACE, "strace"),
    ("wrk", "wrk"),
];
const STRACE: &str = "strace";
const FILES: u64 = 65_536;
