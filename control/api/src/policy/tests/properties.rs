//! What holds for `decide`, for rules and questions out of a few words.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use time::Duration;

use super::laws;
use super::plain::{Asked, NOW};
use crate::policy::*;
use crate::workload::{Closing, Mtls, NamespaceSettings};

fn word() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b"])
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let pair = (word(), word()).prop_map(|(key, value)| (key.to_owned(), value.to_owned()));
    prop::collection::vec(pair, 0..3).prop_map(BTreeMap::from_iter)
}

fn identity() -> impl Strategy<Value = SpiffeId> {
    (
        select(vec!["one.test", "two.test"]),
        word(),
        word(),
        select(vec!["ns", "vm"]),
    )
        .prop_map(|(domain, ns, sa, kind)| {
            format!("spiffe://{domain}/{kind}/{ns}/sa/{sa}")
                .parse()
                .unwrap()
        })
}

fn network() -> impl Strategy<Value = IpNet> {
    let networks = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.1/32",
        "::/0",
        "fd00::/8",
        "fd00::1/128",
    ];
    select(networks.to_vec()).prop_map(|network| network.parse().unwrap())
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        (word(), word()).prop_map(|(namespace, name)| From::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        identity().prop_map(From::Identity),
        word().prop_map(|name| From::Namespace(name.to_owned())),
        select(vec!["one.test", "two.test"])
            .prop_map(|name| From::TrustDomain(name.parse().unwrap())),
        network().prop_map(From::Unauthenticated),
    ]
}

fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    let range = select(vec![(1, 1), (2, 3), (1, 65535), (3, 4)]);
    prop::collection::vec(
        range.prop_map(|(first, last)| PortRange { first, last }),
        0..3,
    )
}

fn rule(name: usize) -> impl Strategy<Value = Rule> {
    let effect = select(vec![Effect::Allow, Effect::Deny]);
    let mode = select(vec![Mode::Enforce, Mode::Enforce, Mode::Shadow]);
    let expires = select(vec![None, None, Some(-1), Some(0), Some(1)]);
    let from = prop::collection::vec(from(), 1..3);
    (effect, from, ports(), mode, expires).prop_map(move |(effect, from, ports, mode, expires)| {
        Rule {
            name: format!("r{name}"),
            effect,
            from,
            ports,
            mode,
            expires: expires.map(|seconds| NOW + Duration::seconds(seconds)),
            reason: String::new(),
        }
    })
}

fn policy(name: usize) -> impl Strategy<Value = AuthorizationPolicy> {
    let target = (
        subsequence(vec!["a", "b"], 0..=2),
        prop::option::of(word()),
        labels(),
    );
    let rules = (rule(0), rule(1), rule(2), 0..4_usize);
    (prop::option::of(word()), target, rules).prop_map(move |(namespace, target, rules)| {
        let (namespaces, service_account, labels) = target;
        let (one, two, three, count) = rules;
        let namespaces = namespaces.into_iter().map(str::to_owned);
        AuthorizationPolicy {
            target: Target {
                namespaces: namespaces.filter(|_| namespace.is_none()).collect(),
                service_account: service_account.map(str::to_owned),
                labels,
            },
            namespace: namespace.map(str::to_owned),
            name: format!("p{name}"),
            rules: [one, two, three].into_iter().take(count).collect(),
        }
    })
}

pub(super) fn policies() -> impl Strategy<Value = Vec<AuthorizationPolicy>> {
    let all = (policy(0), policy(1), policy(2), policy(3), policy(4));
    (all, 0..6_usize)
        .prop_map(|((a, b, c, d, e), count)| [a, b, c, d, e].into_iter().take(count).collect())
}

fn asked() -> impl Strategy<Value = Asked> {
    let addrs = [
        "10.0.0.1",
        "10.1.1.1",
        "192.0.2.1",
        "fd00::1",
        "2001:db8::1",
    ];
    let addr = select(addrs.to_vec()).prop_map(|addr| addr.parse().unwrap());
    let settings = (
        select(vec![Mtls::Strict, Mtls::Strict, Mtls::Permissive]),
        select(vec![Closing::Enforce, Closing::Enforce, Closing::Shadow]),
    );
    let source = (prop::option::weighted(0.7, identity()), addr);
    let destination = (word(), word(), labels(), settings);
    (source, destination, 1..6_u16).prop_map(|((id, addr), destination, port)| {
        let (namespace, account, labels, (mtls, closing)) = destination;
        let settings = NamespaceSettings { mtls, closing };
        Asked {
            id,
            addr,
            namespace,
            account,
            labels,
            settings,
            port,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_index_agrees_with_a_plain_reading(policies in policies(), asked in asked()) {
        laws::the_index_agrees_with_a_plain_reading(&policies, &asked);
    }

    #[test]
    fn order_means_nothing(
        (policies, shuffled) in policies().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        asked in asked(),
    ) {
        laws::order_means_nothing(&policies, shuffled, &asked);
    }

    #[test]
    fn a_denial_wins_whatever_else_there_is(policies in policies(), asked in asked()) {
        laws::a_denial_wins_whatever_else_there_is(&policies, &asked);
    }

    #[test]
    fn an_allowance_more_never_takes_access_away(policies in policies(), more in policy(9), asked in asked()) {
        laws::an_allowance_more_never_takes_access_away(&policies, more, &asked);
    }

    #[test]
    fn rules_in_shadow_change_no_verdict_but_its_near_miss(policies in policies(), asked in asked()) {
        laws::rules_in_shadow_change_no_verdict_but_its_near_miss(&policies, &asked);
    }

    #[test]
    fn what_shadow_says_is_what_enforcing_it_does(policies in policies(), asked in asked()) {
        laws::what_shadow_says_is_what_enforcing_it_does(&policies, &asked);
    }

    #[test]
    fn who_comes_without_its_identity_has_two_denials_to_pass(policies in policies(), asked in asked()) {
        laws::who_comes_without_its_identity_has_two_denials_to_pass(&policies, &asked);
    }
}
