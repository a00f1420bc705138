//! The two pods: network namespaces joined by a veth pair.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::figures::proc;

/// Which pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

pub(crate) const ROLES: [Role; 2] = [Role::Client, Role::Server];

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    pub(crate) const fn address(self) -> Ipv4Addr {
        match self {
            Self::Client => Ipv4Addr::new(10, 99, 0, 1),
            Self::Server => SERVER,
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The namespaces. Dropped, they are gone; whatever ran in them must have ended before.
#[derive(Debug)]
pub(crate) struct Pods;

impl Pods {
    /// Makes them, with the settings that thousands of connections in a few seconds need.
    pub(crate) fn new() -> Result<Self> {
        let pods = Self;
        for role in ROLES {
            ip(&format!("netns add {}", namespace(role)))?;
        }
        let [client, server] = ROLES.map(namespace);
        ip(&format!(
            "link add eth0 netns {client} type veth peer name eth0 netns {server}"
        ))?;
        for role in ROLES {
            let (name, address) = (namespace(role), role.address());
            ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            let other = role.other().address();
            ip(&format!("-n {name} route add default via {other}"))?;
            pods.enter(role, || {
                for (setting, value) in SETTINGS {
                    fs::write(format!("/proc/sys/net/{setting}"), value).context(*setting)?;
                }
                // Only there where the kernel has connection tracking loaded already.
                drop(fs::write(TIME_WAIT, "1"));
                Ok(())
            })?;
        }
        Ok(pods)
    }

    /// A program in a pod, as this user. It ends with this process, however this ends.
    pub(crate) fn command(&self, role: Role, user: u32, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace(role), "setpriv"]);
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
        command.args(["--clear-groups", "--pdeathsig=KILL", "--"]);
        command.arg(program);
        command
    }

    /// Does something in a pod's network, on a thread of its own. Sockets that it makes stay there.
    pub(crate) fn enter<T: Send>(
        &self,
        role: Role,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let namespace = File::open(format!("/run/netns/{}", namespace(role)))?;
        let thread = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).context("cannot enter a pod")?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(thread).join())
            .map_err(|_panic| anyhow!("a thread in the {} pod panicked", role.name()))?
    }

    /// Whether somebody in a pod listens at this port.
    pub(crate) fn listens(&self, role: Role, port: u16) -> Result<bool> {
        let sockets = self.enter(role, || {
            let read = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            Ok(read("tcp")? + &read("tcp6").unwrap_or_default())
        })?;
        Ok(proc::listens(&sockets, port))
    }

    /// Redirects as a sidecar's init container does: all that a pod opens, or all that comes to it but for `passed`.
    pub(crate) fn redirect(&self, passed: Option<u16>) -> Result<()> {
        let client = format!(
            "table ip pair {{ chain output {{ type nat hook output priority -100; \
             meta skuid {PROXY_USER} return; oifname lo return; \
             meta l4proto tcp redirect to :{OUTBOUND}; }}; }}"
        );
        let passed = passed.map_or_else(String::new, |port| format!("tcp dport {port} return; "));
        let server = format!(
            "table ip pair {{ chain prerouting {{ type nat hook prerouting priority -100; {passed}\
             meta l4proto tcp redirect to :{INBOUND}; }}; }}"
        );
        for (role, rules) in ROLES.into_iter().zip([client, server]) {
            let mut nft = Command::new("ip");
            nft.args(["netns", "exec", &namespace(role), "nft", &rules]);
            succeed(nft)?;
        }
        Ok(())
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for role in ROLES {
            // One that was not made cannot be deleted.
            if fs::exists(format!("/run/netns/{}", namespace(role))).unwrap_or(true)
                && let Err(error) = ip(&format!("netns del {}", namespace(role)))
            {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Two runs at once do not meet.
fn namespace(role: Role) -> String {
    format!("palisade-pair-{}-{}", std::process::id(), role.name())
}

fn ip(arguments: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(arguments.split_whitespace());
    succeed(ip).map(drop)
}

/// Runs a program to its end, and gives what it printed.
pub(crate) fn succeed(mut command: Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} cannot be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Under `/proc/sys/net`. Congestion is controlled as Linux does by default: another way, if the machine has one, is another
/// price for every byte. The ports of the proxies and applications are kept from outgoing connections.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_local_port_range", "1024 65535"),
    ("ipv4/ip_local_reserved_ports", "5201,5202,8080,15000-15099"),
    ("ipv4/tcp_congestion_control", "cubic"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("ipv4/tcp_max_syn_backlog", "8192"),
    ("core/somaxconn", "8192"),
];

const TIME_WAIT: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait";

/// The server pod.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The proxies' user, whose connections are not redirected: what `palisade proxy redirect` takes it to be.
pub(crate) const PROXY_USER: u32 = 1337;
/// The applications' user.
pub(crate) const APP_USER: u32 = 1338;
/// Where a client's proxy takes redirected connections.
pub(crate) const OUTBOUND: u16 = 15001;
/// Where a server's proxy does.
pub(crate) const INBOUND: u16 = 15006;
