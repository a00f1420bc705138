//! Which endpoints of a service a connection may go to, and how near each is. Pure.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use palisade_api::workload::{Place, Prefer, Scope, Service, Workload};

/// A workload, and the address and port to reach it at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) addr: SocketAddr,
    pub(super) workload: Arc<Workload>,
    pub(super) distance: Distance,
}

impl Endpoint {
    /// Whether a sidecar answers there.
    pub(super) fn is_meshed(&self) -> bool {
        self.workload.is_meshed_at(self.addr.port())
    }
}

/// How far an endpoint is, as far as its service cares: a nearer one is tried first, a farther one where none answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Distance {
    #[default]
    Nearest,
    Near,
    Far,
}

/// The endpoints that serve `port` for a client at `own` that asked in the family of `like`, of which it may take any;
/// none where none may serve it.
///
/// An endpoint outside of the mesh is taken only where no other is left: nothing goes in clear that need not. Then one that
/// is going is taken only where no other is left.
pub(super) fn choose(service: &Service, own: &Place, port: u16, like: IpAddr) -> Vec<Endpoint> {
    let in_scope = service
        .endpoints
        .iter()
        .filter(|endpoint| match service.scope {
            Scope::Cluster => true,
            Scope::Node => is_same(&own.node, &endpoint.workload.place.node),
        });
    let mut found: Vec<(Endpoint, bool)> = in_scope
        .filter_map(|endpoint| {
            let port = service.target_port(endpoint, port)?;
            let addr = SocketAddr::new(address(&endpoint.workload, like)?, port);
            let reached = Endpoint {
                addr,
                workload: Arc::clone(&endpoint.workload),
                distance: distance(service.prefer, own, &endpoint.workload.place),
            };
            Some((reached, endpoint.terminating))
        })
        .collect();
    if found.iter().any(|(endpoint, _)| endpoint.is_meshed()) {
        found.retain(|(endpoint, _)| endpoint.is_meshed());
    }
    if found.iter().any(|(_, terminating)| !terminating) {
        found.retain(|(_, terminating)| !terminating);
    }
    found.into_iter().map(|(endpoint, _)| endpoint).collect()
}

/// The workload's address of the caller's family; of the other, where it has none of that.
fn address(workload: &Workload, like: IpAddr) -> Option<IpAddr> {
    let addresses = &workload.addresses;
    let same = addresses.iter().find(|ip| ip.is_ipv4() == like.is_ipv4());
    same.or_else(|| addresses.first()).copied()
}

fn distance(prefer: Prefer, own: &Place, other: &Place) -> Distance {
    let (same_node, same_zone) = (
        is_same(&own.node, &other.node),
        is_same(&own.zone, &other.zone),
    );
    match prefer {
        Prefer::None => Distance::Nearest,
        Prefer::Zone if same_zone => Distance::Nearest,
        Prefer::Node if same_node => Distance::Nearest,
        Prefer::Node if same_zone => Distance::Near,
        Prefer::Zone | Prefer::Node => Distance::Far,
    }
}

/// What is not known is near to nothing.
fn is_same(one: &str, other: &str) -> bool {
    !one.is_empty() && one == other
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use palisade_api::workload::{Endpoint as Member, ServicePort};

    use super::*;

    fn member(name: &str, node: &str, zone: &str) -> Member {
        let last = name.as_bytes()[0];
        Member::of(Workload {
            namespace: "shop".into(),
            name: name.into(),
            service_account: "orders".into(),
            labels: BTreeMap::new(),
            addresses: vec![
                [10, 0, 0, last].into(),
                [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into(),
            ],
            meshed: true,
            identity: "spiffe://cluster.local/ns/shop/sa/orders".parse().unwrap(),
            place: Place {
                node: node.into(),
                zone: zone.into(),
            },
            excluded_ports: Vec::new(),
        })
    }

    fn terminating(member: Member) -> Member {
        Member {
            terminating: true,
            ..member
        }
    }

    fn unmeshed(mut member: Member) -> Member {
        Arc::make_mut(&mut member.workload).meshed = false;
        member
    }

    /// Its sidecar does not answer for the port of the service below.
    fn excluding(mut member: Member) -> Member {
        Arc::make_mut(&mut member.workload).excluded_ports = vec![8080];
        member
    }

    fn service(scope: Scope, prefer: Prefer, endpoints: Vec<Member>) -> Service {
        let port = |port, target_port| ServicePort { port, target_port };
        Service {
            namespace: "shop".into(),
            name: "orders".into(),
            ports: vec![port(80, 8080), port(443, 8443)],
            endpoints,
            scope,
            prefer,
            affinity: None,
        }
    }

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);

    fn place(node: &str, zone: &str) -> Place {
        Place {
            node: node.into(),
            zone: zone.into(),
        }
    }

    /// Names with the distance behind them: `a0 b2`.
    fn chosen(service: &Service, own: &Place) -> String {
        let endpoints = choose(service, own, 80, V4);
        let names = endpoints
            .iter()
            .map(|it| format!("{}{}", it.workload.name, it.distance as u8));
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn scope_and_preference_say_who_is_taken_and_in_which_order() {
        let all = || {
            vec![
                member("a", "n1", "z1"),
                member("b", "n2", "z1"),
                member("c", "n3", "z2"),
                member("d", "", ""),
            ]
        };
        for (scope, prefer, own, expected) in [
            (
                Scope::Cluster,
                Prefer::None,
                place("n1", "z1"),
                "a0 b0 c0 d0",
            ),
            (
                Scope::Cluster,
                Prefer::Zone,
                place("n1", "z1"),
                "a0 b0 c2 d2",
            ),
            (
                Scope::Cluster,
                Prefer::Node,
                place("n1", "z1"),
                "a0 b1 c2 d2",
            ),
            (
                Scope::Cluster,
                Prefer::Node,
                place("n9", "z1"),
                "a1 b1 c2 d2",
            ),
            (Scope::Cluster, Prefer::Node, place("", ""), "a2 b2 c2 d2"),
            (Scope::Node, Prefer::None, place("n1", "z1"), "a0"),
            (Scope::Node, Prefer::Zone, place("n1", "z1"), "a0"),
            (Scope::Node, Prefer::None, place("n9", "z1"), ""),
            (Scope::Node, Prefer::None, place("", ""), ""),
        ] {
            let service = service(scope, prefer, all());
            assert_eq!(
                chosen(&service, &own),
                expected,
                "{scope:?} {prefer:?} {own:?}"
            );
        }
    }

    #[test]
    fn what_is_going_or_in_clear_is_taken_only_where_nothing_else_is_left() {
        let own = place("n1", "");
        let member = |name| member(name, "n1", "");
        for (scope, endpoints, expected) in [
            (
                Scope::Cluster,
                vec![member("a"), terminating(member("b"))],
                "a0",
            ),
            (
                Scope::Cluster,
                vec![terminating(member("a")), terminating(member("b"))],
                "a0 b0",
            ),
            (
                Scope::Cluster,
                vec![member("a"), unmeshed(member("b"))],
                "a0",
            ),
            (
                Scope::Cluster,
                vec![terminating(member("a")), unmeshed(member("b"))],
                "a0",
            ),
            (
                Scope::Cluster,
                vec![unmeshed(member("a")), unmeshed(terminating(member("b")))],
                "a0",
            ),
            (
                Scope::Node,
                vec![terminating(member("a")), self::member("b", "n2", "")],
                "a0",
            ),
            (
                Scope::Cluster,
                vec![member("a"), excluding(member("b"))],
                "a0",
            ),
            (Scope::Cluster, vec![excluding(member("b"))], "b0"),
            (Scope::Cluster, vec![], ""),
        ] {
            let service = service(scope, Prefer::None, endpoints);
            assert_eq!(chosen(&service, &own), expected);
        }
    }

    #[test]
    fn each_endpoint_is_reached_at_its_own_port_and_in_the_caller_s_family() {
        let mut own_port = member("a", "", "");
        own_port.ports = vec![ServicePort {
            port: 80,
            target_port: 9090,
        }];
        let mut only_v6 = member("b", "", "");
        Arc::make_mut(&mut only_v6.workload).addresses.remove(0);
        let service = service(Scope::Cluster, Prefer::None, vec![own_port, only_v6]);
        let addrs = |port, like| {
            let chosen = choose(&service, &Place::default(), port, like);
            let addrs = chosen.iter().map(|endpoint| endpoint.addr.to_string());
            addrs.collect::<Vec<_>>()
        };
        assert_eq!(addrs(80, V4), ["10.0.0.97:9090", "[fd00::62]:8080"]);
        assert_eq!(addrs(443, V6), ["[fd00::61]:8443", "[fd00::62]:8443"]);
        assert!(addrs(81, V4).is_empty(), "not a port of the service");
    }
}
