//! Print and parse are inverse.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use time::OffsetDateTime;

use super::*;
use crate::policy::{Effect, From, Mode, PortRange, Rule, Target};

const ALL: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {serviceAccount: orders, labels: {app: orders, tier: \"1\"}}
  rules:
  - name: everybody
    effect: deny
    from:
    - serviceAccount: shop/web
    - identity: spiffe://cluster.local/ns/batch/sa/reconciler
    - namespace: monitoring
    - trustDomain: partner.example
    - unauthenticated: {cidr: 10.2.0.0/16}
    - unauthenticated: {cidr: \"fd70::/64\"}
    ports: [8080, 9000-9010]
    mode: shadow
    expires: 2026-12-01T00:00:00Z
    reason: \"INC-1234: \\\"why\\\"\\nnot\"
  - name: \"no\"
    effect: allow
    from:
    - serviceAccount: shop/web
    reason: INC-1234
";

fn printed(text: &str) -> String {
    let Manifest::Policy(policy) = parse("f", text).unwrap().remove(0) else {
        panic!("{text}");
    };
    print(&policy)
}

#[test]
fn a_policy_is_printed_in_the_form_of_the_examples() {
    let cluster = ALL
        .replace("kind: ", "kind: Cluster")
        .replace(", namespace: shop", "")
        .replace("target: {", "target: {namespaces: [shop, \"1\"], ");
    for text in [ALL, &cluster] {
        assert_eq!(printed(text), text);
    }
}

#[test]
fn what_may_be_left_out_is_left_out_and_a_moment_is_told_in_utc() {
    let text = ALL
        .replace("effect: allow", "effect: allow\n    mode: enforce")
        .replace("2026-12-01T00:00:00Z", "2026-12-01T02:30:00+02:30");
    assert_eq!(printed(&text), ALL);
}

/// What a reader of YAML may take for something else.
fn label() -> impl Strategy<Value = String> {
    let hostile = [
        "no",
        "true",
        "null",
        "y",
        "1234",
        "1e3",
        "0x1f",
        "0o7",
        "2026-12-01",
    ];
    prop_oneof![
        select(hostile.to_vec()).prop_map(str::to_owned),
        "[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?"
    ]
}

fn label_value() -> impl Strategy<Value = String> {
    let hostile = [
        "", "No", "NULL", "TRUE", "1_000", "0.5", "1.e3", "0b1", "0X1F",
    ];
    prop_oneof![
        select(hostile.to_vec()).prop_map(str::to_owned),
        "[a-zA-Z0-9]([a-zA-Z0-9._-]{0,5}[a-zA-Z0-9])?"
    ]
}

fn label_key() -> impl Strategy<Value = String> {
    let name = label_value().prop_filter("a key says something", |name| !name.is_empty());
    (prop::option::of("[a-z0-9]{1,4}(\\.[a-z0-9]{1,4})?"), name).prop_map(|(prefix, name)| {
        match prefix {
            Some(prefix) => format!("{prefix}/{name}"),
            None => name,
        }
    })
}

fn reason() -> impl Strategy<Value = String> {
    let hostile = [
        ": ",
        " #",
        "\"",
        "'",
        "\\",
        "\n",
        "\r",
        "\t",
        "- ",
        "? ",
        "*",
        "&",
        "!",
        "%",
        "@",
        "`",
        "{",
        "}",
        "[",
        "]",
        ",",
        "|",
        ">",
        "~",
        "=",
        "<<",
        "---",
        "...",
        "no",
        "12",
        " ",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{202e}",
        "\u{0}",
        "\u{7f}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{e000}",
        "\u{1f600}",
        "\u{10ffff}",
        "é",
        "日",
    ];
    let pieces = prop::collection::vec(select(hostile.to_vec()), 1..6);
    prop_oneof![
        Just(String::new()),
        pieces.prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
    .prop_filter("a reason is none, or says something", |reason| {
        reason.is_empty() || !reason.trim().is_empty()
    })
}

fn from() -> impl Strategy<Value = From> {
    let account = (label(), label());
    let domain = || "[a-z0-9._-]{1,8}".prop_filter_map("a trust domain", |name| name.parse().ok());
    let id = (domain(), "[a-zA-Z0-9_-]{1,8}").prop_filter_map("an identity", |(domain, path)| {
        let domain: TrustDomain = domain;
        format!("spiffe://{domain}/{path}").parse().ok()
    });
    let network = (any::<IpAddr>(), 0..=32_u8).prop_filter_map("a network", |(addr, prefix)| {
        let network = ipnet::IpNet::new(addr, prefix).ok()?.trunc();
        let is_v4 = matches!(network.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        (!is_v4).then_some(network)
    });
    prop_oneof![
        account.prop_map(|(namespace, name)| From::ServiceAccount { namespace, name }),
        id.prop_map(From::Identity),
        label().prop_map(From::Namespace),
        domain().prop_map(From::TrustDomain),
        network.prop_map(From::Unauthenticated),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let port = (1..=u16::MAX, 0..3_u16).prop_map(|(first, more)| PortRange {
        first,
        last: first.saturating_add(more),
    });
    let moment =
        (0..253_402_300_800_i64).prop_map(|at| OffsetDateTime::from_unix_timestamp(at).unwrap());
    (
        prop::collection::vec(from(), 1..4),
        prop::collection::vec(port, 0..3),
        select(&[Mode::Enforce, Mode::Shadow][..]),
        prop::option::of(moment),
        reason(),
    )
        .prop_map(|(from, ports, mode, expires, reason)| Rule {
            name: String::new(),
            effect: Effect::Allow,
            from,
            ports,
            mode,
            // One that expires says why.
            expires: expires.filter(|_| !reason.is_empty()),
            reason,
        })
}

fn target() -> impl Strategy<Value = Target> {
    (
        prop::collection::vec(label(), 0..3),
        prop::option::of(label()),
        prop::collection::btree_map(label_key(), label_value(), 0..3),
    )
        .prop_map(|(namespaces, service_account, labels)| Target {
            namespaces,
            service_account,
            labels,
        })
}

fn policy() -> impl Strategy<Value = AuthorizationPolicy> {
    let names = subsequence(vec!["no", "1", "null", "a-b", "0x1f"], 1..4);
    (
        prop::option::of(label()),
        label(),
        target(),
        names.prop_flat_map(|names| {
            let count = names.len();
            (Just(names), prop::collection::vec(rule(), count))
        }),
        select(&[Effect::Allow, Effect::Deny][..]),
    )
        .prop_map(|(namespace, name, mut target, (names, rules), effect)| {
            if namespace.is_some() {
                target.namespaces.clear();
            }
            let named = names.into_iter().zip(rules);
            let rules = named.map(|(name, rule)| Rule {
                name: name.to_owned(),
                effect,
                ..rule
            });
            let rules = rules.collect();
            AuthorizationPolicy {
                namespace,
                name,
                target,
                rules,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_printed_reads_as_what_it_was(policy in policy()) {
        let text = print(&policy);
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);
        let expected = Ok(vec![Manifest::Policy(policy)]);
        prop_assert_eq!(parse("f", &text), expected, "{}", text);
    }
}
