//! What is told of is exactly what flips, whoever is asked about.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_api::policy::{
    AuthorizationPolicy, Destination, Effect, From, Mode, PortRange, Rule, Target, Verdict,
};
use palisade_api::spiffe::SpiffeId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use time::OffsetDateTime;
use time::macros::datetime;

use super::called::Place;
use super::callers::{Callers, Classes};
use super::changed;
use super::compare::{Compared, compare};
use super::{Rules, Sides, rules};
use crate::policy::beside;
use crate::policy::rules::Workload;
use crate::policy::subject::Caller;

const NOW: OffsetDateTime = datetime!(2026-11-22 03:00 UTC);

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

/// One that has a sidecar, around which it may go, and one that has none.
fn known() -> Vec<Workload> {
    let workload = |namespace: &str, account: &str, addr: &str, meshed| Workload {
        namespace: namespace.into(),
        name: account.into(),
        service_account: account.into(),
        labels: BTreeMap::new(),
        replicas: Vec::new(),
        addresses: vec![addr.parse().unwrap()],
        meshed,
    };
    vec![
        workload("a", "x", "10.1.1.1", true),
        workload("b", "y", "10.255.255.255", false),
    ]
}

/// Policies that both sides may have.
fn any_sides() -> impl Strategy<Value = [Rules; 2]> {
    (vec((any_policy(), 1_u8..4), 1..8), any::<bool>()).prop_map(|(policies, is_known)| {
        [1, 2].map(|side| {
            let mut rules = rules::of_files(&[], None).unwrap();
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
    })
}

#[derive(Debug, Clone)]
struct Question {
    caller: Caller,
    namespace: String,
    account: String,
    labels: BTreeMap<String, String>,
    port: u16,
}

fn any_question() -> impl Strategy<Value = Question> {
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

/// The narrowest class that the caller is of.
fn class(caller: &Caller, all: &Classes) -> Callers {
    let own = "cluster.local";
    let known = |class: Callers| all.contains_key(&class).then_some(class);
    match caller {
        Caller::Identity(id) => {
            let domain = id.trust_domain();
            let account = id.service_account().filter(|_| domain.as_str() == own);
            known(Callers::Identity(id.clone()))
                .or_else(|| known(Callers::OtherOf(account?.0.to_owned())))
                .or_else(|| known(Callers::OtherIn(domain.clone())))
                .unwrap_or(Callers::OtherIdentity)
        }
        Caller::Address(addr) => {
            let is_there = |class: &&Callers| matches!(class, Callers::InClear(who) if who.addresses.contains(addr));
            let in_clear = all.keys().find(is_there);
            if let Some(class) = in_clear {
                return class.clone();
            }
            let networks = all.keys().filter_map(Callers::network);
            let networks = networks.filter(|net| net.contains(addr));
            let narrowest = networks.max_by_key(|net| net.prefix_len());
            narrowest.map_or(Callers::OtherAddress, Callers::Network)
        }
    }
}

/// What the comparison says becomes of it; none where it says nothing.
fn told(sides: Sides<'_>, compared: &Compared, question: &Question) -> Option<bool> {
    let is_named = |name: &str| changed::namespaces(sides).contains(name);
    let shown = if is_named(&question.namespace) {
        &*question.namespace
    } else {
        "any other namespace"
    };
    let namespace = compared.namespaces.iter().find(|one| one.shown == shown)?;
    let sentences = changed::Sentences::of(sides);
    let targets = |account: &str, labels: &BTreeMap<String, String>| -> Vec<bool> {
        let fits = |target: &Target| {
            target
                .service_account
                .as_deref()
                .is_none_or(|own| own == account)
                && target
                    .labels
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
        };
        let all = sentences.about(&question.namespace);
        all.map(|sentence| fits(sentence.target)).collect()
    };
    let asked = targets(&question.account, &question.labels);
    let mut places = namespace.places.iter();
    let mut is_asked =
        |place: &&Place| targets(&place.after.service_account, &place.after.labels) == asked;
    let place = places.find(&mut is_asked);
    let Some(place) = place else {
        assert!(!namespace.is_everybody, "everybody is of some class");
        return None;
    };
    let from = class(&question.caller, &compared.callers);
    let mut flips = namespace.flips.iter();
    let flip = flips.find(|flip| {
        flip.from == from && flip.to == *place && flip.ports.contains(question.port)
    })?;
    Some(flip.why.becomes == crate::policy::traffic::Was::Allowed)
}

fn is_allowed(rules: &Rules, question: &Question) -> bool {
    let destination = Destination {
        namespace: &question.namespace,
        service_account: &question.account,
        labels: &question.labels,
        trust_domain: &rules.trust_domain,
        settings: rules.known.settings(&question.namespace),
    };
    let beside = beside::of(rules, &question.caller);
    let caller = (&question.caller, &*beside);
    let decision = beside::decide(&rules.compiled(), caller, &destination, question.port, NOW);
    matches!(decision.verdict, Verdict::Allow(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_difference_is_told_of_where_answers_differ_and_nowhere_else(
        [before, after] in any_sides(),
        questions in vec(any_question(), 100),
    ) {
        let sides = Sides { before: &before, after: &after, trust_domain: &after.trust_domain };
        let compared = compare(sides, NOW, 1_000_000).unwrap();
        for question in questions {
            let (was, is) = (is_allowed(&before, &question), is_allowed(&after, &question));
            let expected = (was != is).then_some(is);
            prop_assert_eq!(told(sides, &compared, &question), expected, "{:?}", question);
        }
    }
}
