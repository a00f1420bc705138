use palisade_api::usage::{Caller, Counted, Decided, EdgeKey, Seen, Totals};

use super::*;

/// A shop whose `orders` two may reach, of whom one did.
pub(in crate::policy) fn shop(rest: &str) -> Rules {
    let text = format!(
        "apiVersion: palisade.dev/v1alpha1
kind: Namespace
metadata: {{name: shop{rest}}}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: orders-0, namespace: shop, labels: {{app: orders}}}}
spec: {{serviceAccount: orders, addresses: [10.0.0.1]}}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: orders-1, namespace: shop, labels: {{app: orders}}}}
spec: {{serviceAccount: orders, addresses: [10.0.0.2]}}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: old-0, namespace: legacy, labels: {{app: old}}}}
spec: {{serviceAccount: old, addresses: [10.0.0.3], meshed: false}}
---
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: orders, namespace: shop}}
spec:
  target: {{labels: {{app: orders}}}}
  rules:
  - {{name: web, effect: allow, from: [{{serviceAccount: shop/web}}, {{serviceAccount: shop/cron}}], ports: [80]}}
  - {{name: no-cart, effect: deny, mode: shadow, from: [{{serviceAccount: shop/cart}}]}}
  - {{name: cart, effect: allow, from: [{{serviceAccount: shop/cart}}]}}
"
    );
    rules::sample::rules(&text)
}

/// Who called, at which port, what was decided and by which rule.
pub(in crate::policy) type Counting<'a> = (&'a str, u16, Decided, Option<&'a str>);

/// Counts of each of the two replicas.
pub(in crate::policy) fn counts(edges: &[Counting<'_>]) -> Usage {
    let mut totals = Totals::default();
    for (caller, port, decided, rule) in edges {
        let caller = match caller.parse() {
            Ok(addr) => Caller::Address(addr),
            Err(_) => Caller::Identity(format!(
                "spiffe://cluster.local/ns/{}",
                caller.replace('/', "/sa/")
            )),
        };
        let key = EdgeKey {
            caller,
            port: *port,
            decided: *decided,
            rule: rule.map(str::to_owned),
            reason: None,
            shadow: None,
        };
        totals.edges.insert(
            key,
            Seen {
                count: 2,
                first: 10,
                last: 20,
            },
        );
        if let Some(rule) = rule {
            let used = totals.rules.entry((*rule).to_owned()).or_default();
            *used = Use {
                count: used.count + 2,
                last: 20,
                ..Use::default()
            };
        }
    }
    let replica = |name: &str| Counted {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        service_account: "orders".to_owned(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
        totals: totals.clone(),
        ..Counted::default()
    };
    Usage {
        workloads: vec![replica("orders-0"), replica("orders-1")],
        ..Usage::default()
    }
}

const WEB: &str = "shop/orders/web";

#[test]
fn what_nobody_does_is_told_for_each_source_of_each_rule() {
    let rules = shop("");
    let usage = counts(&[("shop/web", 80, Decided::AllowedByRule, Some(WEB))]);
    let report = report(&rules, &usage, Wanted::All);
    let unused: Vec<_> = report
        .unused
        .iter()
        .flatten()
        .map(|one| (one.from.as_str(), one.to.as_str()))
        .collect();
    assert_eq!(
        unused,
        [("shop/cron", "shop/orders"), ("shop/cart", "shop/orders")]
    );
    let counts: Vec<_> = report
        .rules
        .iter()
        .flatten()
        .map(|rule| (rule.rule.as_str(), rule.count))
        .collect();
    let expected = [
        ("shop/orders/cart", 0),
        ("shop/orders/no-cart", 0),
        (WEB, 4),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn what_was_denied_is_told_once_for_all_replicas() {
    let rules = shop("");
    let usage = counts(&[
        ("shop/web", 81, Decided::DeniedByNoRule, None),
        ("10.0.0.3", 80, Decided::DeniedByNoRule, None),
        ("shop/web", 80, Decided::AllowedByRule, Some(WEB)),
    ]);
    let report = report(&rules, &usage, Wanted::All);
    let mut denied: Vec<_> = report
        .denied
        .iter()
        .flatten()
        .map(|one| (one.from.as_str(), one.count))
        .collect();
    denied.sort_unstable();
    assert_eq!(
        denied,
        [("10.0.0.3 (legacy/old, in clear)", 4), ("shop/web", 4)]
    );
    let now = OffsetDateTime::from_unix_timestamp(80).unwrap();
    let text = anstream::adapter::strip_str(&print::report(&report, now)).to_string();
    assert!(
        text.contains("shop/web → shop/orders port 81: 4 times, last 1m ago"),
        "{text}"
    );
    assert!(text.contains("never used"), "{text}");
}

#[test]
fn only_the_part_that_is_asked_for_is_told() {
    let rules = shop("");
    let usage = counts(&[
        ("shop/web", 81, Decided::DeniedByNoRule, None),
        ("shop/web", 80, Decided::AllowedByRule, Some(WEB)),
    ]);
    let told = |wanted| serde_json::to_value(report(&rules, &usage, wanted)).unwrap();
    let is_there = |told: &serde_json::Value| {
        ["rules", "unused", "denied"].map(|part| told.get(part).is_some())
    };
    let denied = told(Wanted::Denied);
    assert_eq!(is_there(&denied), [false, false, true]);
    assert_eq!(denied["denied"][0]["port"], 81);
    let unused = told(Wanted::Unused);
    assert_eq!(is_there(&unused), [true, true, false]);
    let names = unused["rules"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|rule| rule["rule"].as_str().unwrap()).collect();
    assert_eq!(names, ["shop/orders/cart", "shop/orders/no-cart"]);
    assert_eq!(is_there(&told(Wanted::All)), [true; 3]);
}
