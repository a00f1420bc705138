//! What is sent arrives as it was; what makes no sense is refused.

use std::collections::BTreeMap;

use super::*;

fn policy() -> AuthorizationPolicy {
    AuthorizationPolicy {
        namespace: Some("shop".into()),
        name: "orders".into(),
        target: Target {
            namespaces: Vec::new(),
            service_account: Some("orders".into()),
            labels: BTreeMap::from([("app".into(), "orders".into())]),
        },
        rules: vec![Rule {
            name: "web".into(),
            effect: Effect::Allow,
            from: vec![
                From::ServiceAccount {
                    namespace: "shop".into(),
                    name: "web".into(),
                },
                From::Identity("spiffe://a/ns/b/sa/c".parse().unwrap()),
                From::Namespace("monitoring".into()),
                From::TrustDomain("partner.example".parse().unwrap()),
                From::Unauthenticated("10.2.0.0/16".parse().unwrap()),
                From::Unauthenticated("fd00::/8".parse().unwrap()),
            ],
            ports: vec![
                PortRange {
                    first: 80,
                    last: 80,
                },
                PortRange {
                    first: 9000,
                    last: 9010,
                },
            ],
            mode: Mode::Shadow,
            expires: Some(OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap()),
            reason: "INC-1".into(),
        }],
    }
}

fn workload() -> Workload {
    Workload {
        namespace: "shop".into(),
        name: "orders-0".into(),
        service_account: "orders".into(),
        labels: BTreeMap::new(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        meshed: true,
        identity: "spiffe://cluster.local/ns/shop/sa/orders".parse().unwrap(),
        place: Place {
            node: "n1".into(),
            zone: "a".into(),
        },
        excluded_ports: vec![9090],
    }
}

#[test]
fn a_policy_arrives_as_it_was_sent() {
    assert_eq!(policy_from_wire(policy_to_wire(&policy())), Ok(policy()));
}

#[test]
fn addresses_arrive_as_they_were_sent() {
    let service = Service {
        namespace: "shop".into(),
        name: "orders".into(),
        ports: vec![ServicePort {
            port: 80,
            target_port: 8080,
        }],
        endpoints: vec![
            Endpoint::of(workload()),
            Endpoint {
                workload: workload().into(),
                ports: vec![ServicePort {
                    port: 80,
                    target_port: 8081,
                }],
                terminating: true,
            },
        ],
        scope: Scope::Node,
        prefer: Prefer::Zone,
        affinity: Some(Duration::from_secs(10_800)),
    };
    let ip: IpAddr = "fd00::7".parse().unwrap();
    for at in [
        AtAddress::Workload(workload().into()),
        AtAddress::Service(service.into()),
        AtAddress::Outside,
        AtAddress::Unknown,
    ] {
        assert_eq!(address_from_wire(address_to_wire(ip, &at)), Ok((ip, at)));
    }
}

#[test]
fn the_own_workload_arrives_as_it_was_sent() {
    for mtls in [Mtls::Strict, Mtls::Permissive] {
        for closing in [Closing::Enforce, Closing::Shadow] {
            let settings = NamespaceSettings { mtls, closing };
            let sent = self_to_wire(&workload(), settings);
            assert_eq!(self_from_wire(sent), Ok((workload(), settings)));
        }
    }
}

#[test]
fn a_policy_with_a_part_that_makes_no_sense_is_refused_whole() {
    type Spoil = fn(&mut wire::Policy);
    let broken: [(Spoil, ConvertError); 10] = [
        (|p| p.rules.clear(), ConvertError::Empty("rules")),
        (|p| p.rules[0].from.clear(), ConvertError::Empty("from")),
        (|p| p.rules[0].effect = 0, ConvertError::Unknown("effect")),
        (|p| p.rules[0].effect = 99, ConvertError::Unknown("effect")),
        (|p| p.rules[0].mode = 99, ConvertError::Unknown("mode")),
        (
            |p| p.rules[0].from[0].source = None,
            ConvertError::Unknown("from"),
        ),
        (
            |p| p.rules[0].from[0].source = Some(wire::from::Source::ServiceAccount("web".into())),
            ConvertError::ServiceAccount("web".into()),
        ),
        (
            |p| p.rules[0].from[0].source = Some(wire::from::Source::Unauthenticated("x".into())),
            ConvertError::Cidr("x".into()),
        ),
        (
            |p| p.rules[0].ports[1].last = 1,
            ConvertError::Ports(9000, 1),
        ),
        (
            |p| p.rules[0].ports[0].first = 70_000,
            ConvertError::Ports(70_000, 70_000),
        ),
    ];
    for (spoil, error) in broken {
        let mut sent = policy_to_wire(&policy());
        spoil(&mut sent);
        assert_eq!(policy_from_wire(sent), Err(error));
    }
}

#[test]
fn an_address_of_another_length_is_refused() {
    assert_eq!(
        ip_from_wire(&[1, 2, 3]),
        Err(ConvertError::AddressLength(3))
    );
    assert_eq!(ip_from_wire(&[0; 17]), Err(ConvertError::AddressLength(17)));
}

#[test]
fn an_ipv4_address_in_ipv6_form_is_the_ipv4_address() {
    let mapped: Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(
        ip_from_wire(&mapped.octets()),
        Ok("10.0.0.1".parse().unwrap())
    );
}
