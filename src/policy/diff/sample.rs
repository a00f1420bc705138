//! Rules, revocations and questions of every kind.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_api::manifest::RevocationsSpec;
use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::{Closing, NamespaceSettings};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use time::macros::datetime;

use super::{Rules, rules};
use crate::policy::rules::Workload;
use crate::policy::subject::Caller;

fn one_of(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(names).prop_map(str::to_owned)
}

fn any_from() -> impl Strategy<Value = From> {
    let account = (one_of(&["a", "b"]), one_of(&["x", "y"]));
    const IDENTITIES: [&str; 3] = [
        "spiffe://cluster.local/ns/a/sa/x",
        "spiffe://t.test/ns/a/sa/x",
        "spiffe://t.test/w",
    ];
    const NETWORKS: [&str; 7] = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.0.0/17",
        "10.1.128.0/17",
        "10.1.1.1/32",
        "0.0.0.0/0",
        "fd00::/8",
    ];
    prop_oneof![
        account.prop_map(|(namespace, name)| From::ServiceAccount { namespace, name }),
        select(&IDENTITIES[..]).prop_map(|id| From::Identity(id.parse().unwrap())),
        one_of(&["a", "b"]).prop_map(From::Namespace),
        one_of(&["cluster.local", "t.test"])
            .prop_map(|name| From::TrustDomain(name.parse().unwrap())),
        select(&NETWORKS[..]).prop_map(|net| From::Unauthenticated(net.parse().unwrap())),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let ports = vec((1_u16..8, 0_u16..3), 0..3).prop_map(|ports| {
        let ranges = ports.into_iter().map(|(first, more)| PortRange {
            first,
            last: first + more,
        });
        ranges.collect::<Vec<_>>()
    });
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Shadow)];
    let expires = prop_oneof![
        5 => Just(None),
        1 => Just(Some(datetime!(2026-11-22 02:00 UTC))),
    ];
    let effect = prop_oneof![3 => Just(Effect::Allow), 1 => Just(Effect::Deny)];
    (effect, vec(any_from(), 1..3), ports, mode, expires).prop_map(
        |(effect, from, ports, mode, expires)| Rule {
            name: "r".into(),
            effect,
            from,
            ports,
            mode,
            expires,
            reason: String::new(),
        },
    )
}

fn any_policy() -> impl Strategy<Value = AuthorizationPolicy> {
    let label = (one_of(&["app", "tier"]), one_of(&["1", "2"]));
    let labels = vec(label, 0..3).prop_map(|labels| labels.into_iter().collect::<BTreeMap<_, _>>());
    let account = proptest::option::weighted(0.2, one_of(&["x", "y"]));
    let namespace = proptest::option::weighted(0.8, one_of(&["a", "b"]));
    let namespaces = vec(one_of(&["a", "b"]), 0..2);
    (namespace, labels, account, namespaces, any_rule()).prop_map(
        |(namespace, labels, service_account, mut namespaces, rule)| {
            if namespace.is_some() {
                namespaces.clear();
            }
            AuthorizationPolicy {
                namespace,
                name: String::new(),
                target: Target {
                    namespaces,
                    service_account,
                    labels,
                },
                rules: vec![rule],
            }
        },
    )
}

/// One that has a sidecar, around which it may go, one that has none, and replicas of one that rules tell apart.
fn known() -> Vec<Workload> {
    let workload =
        |(namespace, account): (&str, &str), tier: Option<&str>, addr: &str, meshed| Workload {
            namespace: namespace.into(),
            name: account.into(),
            service_account: account.into(),
            labels: tier
                .map(|tier| ("tier".into(), tier.into()))
                .into_iter()
                .collect(),
            replicas: Vec::new(),
            addresses: vec![addr.parse().unwrap()],
            meshed,
            excluded_ports: Default::default(),
        };
    vec![
        workload(("a", "x"), None, "10.1.1.1", true),
        workload(("b", "y"), None, "10.255.255.255", false),
        workload(("b", "x"), Some("1"), "10.1.1.2", true),
        workload(("b", "x"), Some("2"), "192.168.0.1", true),
    ]
}

/// Names that sides may revoke.
const REVOKED: [&str; 4] = [
    "spiffe://cluster.local/ns/a/sa/x",
    "spiffe://cluster.local/ns/b/sa/y",
    "spiffe://cluster.local/ns/c/sa/z",
    "spiffe://t.test/w",
];

/// What both sides may have: policies and revocations, each of one side or of both.
pub(super) fn any_sides() -> impl Strategy<Value = [Rules; 2]> {
    let revoked = proptest::array::uniform4(prop_oneof![2 => Just(0_u8), 1 => 1_u8..4]);
    let policies = vec((any_policy(), 1_u8..4), 1..8);
    let settings = proptest::bool::weighted(0.1);
    (policies, revoked, any::<bool>(), settings).prop_map(
        |(policies, revoked, is_known, is_open)| {
            [1, 2].map(|side| {
                let mut rules = rules::of_files(&[], None).unwrap();
                let of_side = REVOKED.iter().zip(revoked).filter(|(_, of)| of & side != 0);
                let spec = RevocationsSpec {
                    identities: of_side.map(|(id, _)| id.parse().unwrap()).collect(),
                    serials: Vec::new(),
                };
                rules.revoked.take(&spec, "f:1");
                if is_open {
                    let closing = Closing::Shadow;
                    let settings = NamespaceSettings {
                        closing,
                        ..NamespaceSettings::default()
                    };
                    rules.known.namespaces.insert("a".into(), settings);
                }
                if is_known {
                    rules.known.workloads = known();
                }
                for (number, (policy, of)) in policies.iter().enumerate() {
                    let mut policy = policy.clone();
                    policy.name = format!("p{number}");
                    if of & side != 0 {
                        rules.policies.push(policy);
                    }
                }
                rules
            })
        },
    )
}

/// Who asks for whom.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) caller: Caller,
    pub(super) namespace: String,
    pub(super) account: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) port: u16,
}

pub(super) fn any_question() -> impl Strategy<Value = Question> {
    let domain = one_of(&["cluster.local", "cluster.local", "t.test", "u.test"]);
    let account = (domain, one_of(&["a", "b", "c"]), one_of(&["x", "y", "z"]));
    let id = account.prop_map(|(domain, namespace, name)| {
        format!("spiffe://{domain}/ns/{namespace}/sa/{name}")
    });
    let id = prop_oneof![8 => id, 1 => one_of(&["spiffe://t.test/w", "spiffe://cluster.local/w"])];
    let addr = one_of(&[
        "10.0.0.1",
        "10.1.0.1",
        "10.1.1.1",
        "10.1.200.1",
        "10.255.255.255",
        "192.168.0.1",
        "fd00::1",
        "::1",
        "255.255.255.255",
    ]);
    let caller = prop_oneof![
        2 => id.prop_map(|id| Caller::Identity(id.parse::<SpiffeId>().unwrap())),
        1 => addr.prop_map(|addr| Caller::Address(addr.parse::<IpAddr>().unwrap())),
    ];
    let label = (one_of(&["app", "tier", "more"]), one_of(&["1", "2", "3"]));
    let labels = vec(label, 0..3).prop_map(|labels| labels.into_iter().collect());
    let port = prop_oneof![8 => 1_u16..11, 1 => Just(u16::MAX)];
    (
        caller,
        one_of(&["a", "b", "c"]),
        one_of(&["x", "y", "z"]),
        labels,
        port,
    )
        .prop_map(|(caller, namespace, account, labels, port)| Question {
            caller,
            namespace,
            account,
            labels,
            port,
        })
}
