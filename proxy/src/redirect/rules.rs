//! The ruleset: what `apply` writes, chain by chain.
//!
//! **A flow is decided once, where it begins, and everything else is cut.** The nat chains see the first packet of a flow only. They
//! redirect it, which leaves `ct status dnat` on the flow, or they know it as the proxy's own and leave [`FLOW_MARK`] on it. The filter
//! chains see every packet, and let pass what has the one or the other, or an excluded port. A segment that belongs to no flow
//! has neither, nor has one of a flow that is older than the table: both end here, and nothing passes because NAT did not run.
//!
//! Why the proxy's flows are marked, rather than its packets matched by owner: much of what the kernel sends has no owner. The last
//! ACK (out of TIME_WAIT), whatever is still queued when the socket is closed, resets: for them `meta skuid` does not match, and a
//! filter that asks for it would cut the proxy's own connections at their end. Only a kernel's rule can set a flow's mark.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use palisade_api::sidecar;

use super::rule::{Direction, End, FLOW_MARK, Match, Protocol, Rule, Verdict};
use super::{Bypass, Redirect};

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// Where it stands in a packet's way.
    pub(super) hook: Hook,
    /// Its place among the chains of that hook: lower is earlier.
    pub(super) priority: i32,
    /// What becomes of a packet that no rule decides.
    pub(super) policy: Policy,
    /// In order.
    pub(super) rules: Vec<Rule>,
}

/// A place in a packet's way; the numbers are the kernel's `NF_INET_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// Arrived, not yet routed.
    Prerouting = 0,
    /// Routed to this pod.
    Input = 1,
    /// Routed through this pod to another.
    Forward = 2,
    /// Sent by this pod.
    Output = 3,
}

/// What becomes of a packet that no rule decides; the numbers are the kernel's `NF_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// It is dropped.
    Drop = 0,
    /// It passes.
    Accept = 1,
}

impl Redirect {
    /// All chains of the table, as family `inet` has them.
    pub(super) fn chains(&self) -> Vec<Chain> {
        vec![
            chain("guard", "filter", Hook::Prerouting, RAW, guard()),
            chain("inbound", "nat", Hook::Prerouting, DSTNAT, self.inbound()),
            chain("input", "filter", Hook::Input, FILTER, self.input()),
            Chain {
                policy: Policy::Drop,
                ..chain("forward", "filter", Hook::Forward, FILTER, Vec::new())
            },
            chain("outbound", "nat", Hook::Output, DSTNAT, self.outbound()),
            chain("output", "filter", Hook::Output, FILTER, self.output()),
        ]
    }

    /// Which arriving flows go to the proxy.
    fn inbound(&self) -> Vec<Rule> {
        let mut rules = vec![rule([Match::FromLoopback], Verdict::Return)];
        for port in self.open_ports() {
            rules.push(rule(
                [Match::TcpPort(End::Destination, port)],
                Verdict::Return,
            ));
        }
        rules.push(rule([TCP], Verdict::Redirect(sidecar::INBOUND_PORT)));
        rules
    }

    /// Which leaving flows go to the proxy. A redirect leads to `127.0.0.1` or `::1` here.
    fn outbound(&self) -> Vec<Rule> {
        let to = |address| Match::Address(End::Destination, address);
        let redirect = Verdict::Redirect(sidecar::OUTBOUND_PORT);
        let bypass = match self.bypass {
            Bypass::Uid => Match::Uid(sidecar::PROXY_UID),
            Bypass::Mark => Match::Mark(sidecar::PROXY_MARK),
        };
        let mut rules = vec![
            // The proxy proves the redirect by a connection of its own, so these stand before the rule that lets it pass.
            rule(
                [to(IpNet::from(IpAddr::V4(sidecar::CANARY_V4))), TCP],
                redirect,
            ),
            rule(
                [to(IpNet::from(IpAddr::V6(sidecar::CANARY_V6))), TCP],
                redirect,
            ),
            rule([TCP, bypass], Verdict::MarkFlow(FLOW_MARK)),
            rule([Match::ToLoopback], Verdict::Return),
        ];
        for &port in &self.exclude_outbound_ports {
            rules.push(rule(
                [Match::TcpPort(End::Destination, port)],
                Verdict::Return,
            ));
        }
        for &net in &self.exclude_outbound {
            rules.push(rule([to(net), TCP], Verdict::Return));
        }
        rules.push(rule([TCP], redirect));
        rules
    }

    /// Which arriving packets may reach a socket.
    fn input(&self) -> Vec<Rule> {
        let mut rules = vec![rule([Match::FromLoopback], Verdict::Accept)];
        rules.extend(decided_flows());
        for port in self.open_ports() {
            rules.push(pass(
                Direction::Original,
                Match::TcpPort(End::Destination, port),
            ));
        }
        rules.extend(self.excluded_outbound(Direction::Reply, End::Source));
        rules.push(rule([TCP], Verdict::Drop));
        if self.drop_datagrams {
            rules.extend(self.datagrams());
        }
        rules
    }

    /// Which packets may leave. What the nat chain redirected still counts as leaving through its first device here.
    fn output(&self) -> Vec<Rule> {
        let mut rules = vec![rule([Match::ToLoopback], Verdict::Accept)];
        rules.extend(decided_flows());
        for port in self.open_ports() {
            rules.push(pass(Direction::Reply, Match::TcpPort(End::Source, port)));
        }
        rules.extend(self.excluded_outbound(Direction::Original, End::Destination));
        rules.push(rule([TCP], Verdict::Reset));
        rules
    }

    /// Packets of the pod's own flows to excluded destinations, which are at that end.
    fn excluded_outbound(&self, direction: Direction, end: End) -> Vec<Rule> {
        let ports = self.exclude_outbound_ports.iter();
        let nets = self.exclude_outbound.iter();
        let by_port = ports.map(|&port| pass(direction, Match::TcpPort(end, port)));
        let by_net = nets.map(|&net| pass(direction, Match::Address(end, net)));
        by_port.chain(by_net).collect()
    }

    /// Datagrams pass as answers, or to an excluded port. What connection tracking cannot place has no direction, and is no answer.
    fn datagrams(&self) -> Vec<Rule> {
        let mut rules = vec![rule([Match::Direction(Direction::Reply)], Verdict::Accept)];
        for &port in &self.exclude_inbound_ports {
            // Other protocols have no port at this place, but they pass anyhow.
            rules.push(rule([Match::TransportPort(port)], Verdict::Accept));
        }
        for protocol in [
            Protocol::Udp,
            Protocol::UdpLite,
            Protocol::Sctp,
            Protocol::Dccp,
        ] {
            rules.push(rule([Match::Protocol(protocol)], Verdict::Drop));
        }
        rules
    }

    /// Ports that are reached from outside without a redirect.
    fn open_ports(&self) -> impl Iterator<Item = u16> + '_ {
        let own = [sidecar::TELEMETRY_PORT, sidecar::READINESS_PORT];
        own.into_iter()
            .chain(self.exclude_inbound_ports.iter().copied())
    }
}

/// What may come in at all. It stands before connection tracking, so that a forged frame leaves no flow behind.
///
/// A neighbour can put any address into a frame for this pod. Redirected, such a frame would reach the proxy with an original
/// destination that is another pod's; with the `route_localnet` setting, loopback itself could be reached. Of what is not ours only
/// TCP is dropped here, for neighbour discovery and DHCP use multicast and broadcast; `forward` stops the rest.
fn guard() -> Vec<Rule> {
    let [loopback_v4, loopback_v6] = [
        IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
        IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    vec![
        rule([Match::FromLoopback], Verdict::Accept),
        rule(
            [Match::Address(End::Destination, loopback_v4)],
            Verdict::Drop,
        ),
        rule(
            [Match::Address(End::Destination, loopback_v6)],
            Verdict::Drop,
        ),
        rule([TCP, Match::NotForUs], Verdict::Drop),
    ]
}

/// Packets of flows that were redirected, and of those that the proxy opened.
fn decided_flows() -> [Rule; 2] {
    [
        rule([TCP, Match::Redirected], Verdict::Accept),
        rule([TCP, Match::FlowMark(FLOW_MARK)], Verdict::Accept),
    ]
}

fn pass(direction: Direction, condition: Match) -> Rule {
    let mut matches = vec![Match::Direction(direction), condition];
    // A port match says that it is TCP, an address match does not.
    if matches!(condition, Match::Address(..)) {
        matches.push(TCP);
    }
    Rule {
        matches,
        verdict: Verdict::Accept,
    }
}

fn rule<const N: usize>(matches: [Match; N], verdict: Verdict) -> Rule {
    Rule {
        matches: matches.to_vec(),
        verdict,
    }
}

fn chain(
    name: &'static str,
    kind: &'static str,
    hook: Hook,
    priority: i32,
    rules: Vec<Rule>,
) -> Chain {
    Chain {
        name,
        kind,
        hook,
        priority,
        policy: Policy::Accept,
        rules,
    }
}

/// As `nft list` prints it.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
        };
        let priority = match (self.priority, self.hook) {
            (RAW, _) => "raw",
            (DSTNAT, Hook::Prerouting) => "dstnat",
            (FILTER, _) => "filter",
            _ => "-100",
        };
        let policy = match self.policy {
            Policy::Drop => "drop",
            Policy::Accept => "accept",
        };
        writeln!(f, "\tchain {} {{", self.name)?;
        writeln!(
            f,
            "\t\ttype {} hook {hook} priority {priority}; policy {policy};",
            self.kind
        )?;
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

const TCP: Match = Match::Protocol(Protocol::Tcp);
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
