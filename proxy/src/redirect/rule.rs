//! One rule: what it matches, what it does, as nf_tables expressions and as text.
//!
//! The text is what `nft list` prints for the same rule, so that what we say and what an operator sees are one.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_api::sidecar;

use super::netlink::Attributes;

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// All of them must hold.
    pub(super) matches: Vec<Match>,
    /// What happens then. Packets that are dropped or reset are counted, those that pass are not.
    pub(super) verdict: Verdict,
}

/// A condition on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It came in through `lo`.
    FromLoopback,
    /// It goes out through `lo`.
    ToLoopback,
    /// Its transport protocol, by IANA's number.
    Protocol(Protocol),
    /// Its socket's owner.
    Uid(u32),
    /// Its socket's mark.
    Mark(u32),
    /// The mark that we left on its flow.
    FlowMark(u32),
    /// Its direction in its flow.
    Direction(Direction),
    /// Its flow's destination was changed: by our redirect, for nothing else does in a pod.
    Redirected,
    /// Its source or destination address.
    Address(End, IpNet),
    /// It is TCP with this source or destination port.
    TcpPort(End, u16),
    /// Bytes 2 and 3 of its transport header: the destination port of UDP, SCTP and their kin.
    TransportPort(u16),
    /// Its destination is no address of this pod.
    NotForUs,
}

/// What a rule does with a packet that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes this chain.
    Accept,
    /// It is left as it is, which in a nat chain is to say: not redirected.
    Return,
    /// Its flow is marked, and left as it is.
    MarkFlow(u32),
    /// Its flow goes to a port of ours.
    Redirect(u16),
    /// It is counted and dropped.
    Drop,
    /// It is counted and dropped, and its sender told with a TCP reset.
    Reset,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Dccp,
    Sctp,
    UdpLite,
}

/// A direction in a flow, as connection tracking sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// That of the flow's first packet.
    Original,
    /// The other.
    Reply,
}

/// An end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// An expression of nf_tables: a step of the kernel's small machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    /// Which.
    pub(super) name: &'static str,
    /// With what.
    pub(super) attributes: Attributes,
}

impl Rule {
    /// Whether it concerns IPv6 only.
    pub(super) fn is_ipv6_only(&self) -> bool {
        let is_ipv6 = |m: &Match| matches!(m, Match::Address(_, IpNet::V6(_)));
        self.matches.iter().any(is_ipv6)
    }

    /// The expressions that the kernel is to evaluate, in order.
    pub(super) fn expressions(&self) -> Vec<Expression> {
        let mut all: Vec<_> = self.matches.iter().flat_map(Match::expressions).collect();
        all.extend(self.verdict.expressions());
        all
    }
}

impl Match {
    fn expressions(&self) -> Vec<Expression> {
        match *self {
            Self::FromLoopback => meta_is(META_IIF, &LOOPBACK_INDEX.to_ne_bytes()),
            Self::ToLoopback => meta_is(META_OIF, &LOOPBACK_INDEX.to_ne_bytes()),
            Self::Protocol(protocol) => meta_is(META_L4PROTO, &[protocol.number()]),
            Self::Uid(uid) => meta_is(META_SKUID, &uid.to_ne_bytes()),
            Self::Mark(mark) => meta_is(META_MARK, &mark.to_ne_bytes()),
            Self::FlowMark(mark) => vec![flow(CT_MARK), is(&mark.to_ne_bytes())],
            Self::Direction(direction) => vec![flow(CT_DIRECTION), is(&[direction as u8])],
            Self::Redirected => vec![
                flow(CT_STATUS),
                mask(&IPS_DST_NAT.to_ne_bytes()),
                compare(CMP_NEQ, &[0; 4]),
            ],
            Self::Address(end, net) => address_is(end, net),
            Self::TcpPort(end, port) => {
                let mut all = meta_is(META_L4PROTO, &[Protocol::Tcp.number()]);
                all.extend([
                    payload(TRANSPORT, end.pick(0, 2), 2),
                    is(&port.to_be_bytes()),
                ]);
                all
            }
            Self::TransportPort(port) => vec![payload(TRANSPORT, 2, 2), is(&port.to_be_bytes())],
            Self::NotForUs => vec![
                expression("fib", &[(1, REGISTER), (2, FIB_ADDRTYPE), (3, FIB_DADDR)]),
                compare(CMP_NEQ, &RTN_LOCAL.to_ne_bytes()),
            ],
        }
    }
}

impl Verdict {
    fn expressions(self) -> Vec<Expression> {
        match self {
            Self::Accept => vec![decide(NF_ACCEPT)],
            Self::Return => vec![decide(NFT_RETURN)],
            Self::MarkFlow(mark) => vec![
                load(&mark.to_ne_bytes()),
                expression("ct", &[(2, CT_MARK), (4, REGISTER)]),
                decide(NFT_RETURN),
            ],
            Self::Redirect(port) => vec![
                load(&port.to_be_bytes()),
                expression(
                    "redir",
                    &[(1, REGISTER), (2, REGISTER), (3, NAT_PORT_GIVEN)],
                ),
            ],
            Self::Drop => vec![counter(), decide(NF_DROP)],
            Self::Reset => vec![counter(), expression("reject", &[(1, REJECT_TCP_RST)])],
        }
    }
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Dccp => 33,
            Self::Sctp => 132,
            Self::UdpLite => 136,
        }
    }
}

impl End {
    fn pick<T>(self, source: T, destination: T) -> T {
        match self {
            Self::Source => source,
            Self::Destination => destination,
        }
    }
}

fn address_is(end: End, net: IpNet) -> Vec<Expression> {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (family, offset) = match net {
        IpNet::V4(_) => (NFPROTO_IPV4, end.pick(12, 16)),
        IpNet::V6(_) => (NFPROTO_IPV6, end.pick(8, 24)),
    };
    let mut all = meta_is(META_NFPROTO, &[family]);
    let address = bytes(net.network());
    all.push(payload(
        NETWORK,
        offset,
        if net.addr().is_ipv4() { 4 } else { 16 },
    ));
    if net.prefix_len() < net.max_prefix_len() {
        all.push(mask(&bytes(net.netmask())));
    }
    all.push(is(&address));
    all
}

fn meta_is(key: u32, value: &[u8]) -> Vec<Expression> {
    vec![expression("meta", &[(1, REGISTER), (2, key)]), is(value)]
}

fn flow(key: u32) -> Expression {
    expression("ct", &[(1, REGISTER), (2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> Expression {
    expression(
        "payload",
        &[(1, REGISTER), (2, base), (3, offset), (4, length)],
    )
}

fn is(value: &[u8]) -> Expression {
    compare(CMP_EQ, value)
}

fn compare(operation: u32, value: &[u8]) -> Expression {
    let mut compare = expression("cmp", &[(1, REGISTER), (2, operation)]);
    compare.attributes = compare.attributes.nested(3, &data(value));
    compare
}

fn mask(bits: &[u8]) -> Expression {
    let length = u32::try_from(bits.len()).unwrap_or(u32::MAX);
    let mut bitwise = expression("bitwise", &[(1, REGISTER), (2, REGISTER), (3, length)]);
    let zeroes = vec![0; bits.len()];
    bitwise.attributes = bitwise
        .attributes
        .nested(4, &data(bits))
        .nested(5, &data(&zeroes));
    bitwise
}

fn load(value: &[u8]) -> Expression {
    let mut immediate = expression("immediate", &[(1, REGISTER)]);
    immediate.attributes = immediate.attributes.nested(2, &data(value));
    immediate
}

fn decide(code: i32) -> Expression {
    let verdict = Attributes::default().number(1, code.cast_unsigned());
    let mut immediate = expression("immediate", &[(1, VERDICT_REGISTER)]);
    immediate.attributes = immediate
        .attributes
        .nested(2, &Attributes::default().nested(2, &verdict));
    immediate
}

fn counter() -> Expression {
    expression("counter", &[])
}

fn data(value: &[u8]) -> Attributes {
    Attributes::default().bytes(1, value)
}

fn expression(name: &'static str, numbers: &[(u16, u32)]) -> Expression {
    let mut attributes = Attributes::default();
    for &(kind, value) in numbers {
        attributes = attributes.number(kind, value);
    }
    Expression { name, attributes }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        write!(f, "{}", self.verdict)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromLoopback => f.write_str("iif \"lo\""),
            Self::ToLoopback => f.write_str("oif \"lo\""),
            Self::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::Uid(uid) => write!(f, "meta skuid {uid}"),
            Self::Mark(mark) => write!(f, "meta mark {mark:#010x}"),
            Self::FlowMark(mark) => write!(f, "ct mark {mark:#010x}"),
            Self::Direction(Direction::Original) => f.write_str("ct direction original"),
            Self::Direction(Direction::Reply) => f.write_str("ct direction reply"),
            Self::Redirected => f.write_str("ct status dnat"),
            Self::Address(end, net) => {
                let family = if net.addr().is_ipv4() { "ip" } else { "ip6" };
                let end = end.pick("saddr", "daddr");
                if net.prefix_len() == net.max_prefix_len() {
                    return write!(f, "{family} {end} {}", net.addr());
                }
                write!(f, "{family} {end} {}/{}", net.network(), net.prefix_len())
            }
            Self::TcpPort(end, port) => write!(f, "tcp {} {port}", end.pick("sport", "dport")),
            Self::TransportPort(port) => write!(f, "th dport {port}"),
            Self::NotForUs => f.write_str("fib daddr type != local"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Return => f.write_str("return"),
            Self::MarkFlow(mark) => write!(f, "ct mark set {mark:#010x} return"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
            Self::Drop => f.write_str("counter drop"),
            Self::Reset => f.write_str("counter reject with tcp reset"),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Dccp => "dccp",
            Self::Sctp => "sctp",
            Self::UdpLite => "udplite",
        })
    }
}

/// Flows that the proxy opened carry this mark of ours. The same number as that of its sockets, though the two live in different places.
pub(super) const FLOW_MARK: u32 = sidecar::PROXY_MARK;

/// `lo` is the first device of every network namespace; a name could be given to another device.
const LOOPBACK_INDEX: u32 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const META_MARK: u32 = 3;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_SKUID: u32 = 10;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_DIRECTION: u32 = 1;
const CT_STATUS: u32 = 2;
const CT_MARK: u32 = 3;
const IPS_DST_NAT: u32 = 1 << 5;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const RTN_LOCAL: u32 = 2;
const NAT_PORT_GIVEN: u32 = 2;
const REJECT_TCP_RST: u32 = 1;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_RETURN: i32 = -5;
