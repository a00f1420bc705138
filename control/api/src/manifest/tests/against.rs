//! What is wrong only by what exists.

use std::collections::BTreeSet;

use time::macros::datetime;

use super::*;

/// `shop` has web, orders and db, `batch` an account and no workload.
fn known(complete: bool) -> Known {
    let accounts =
        |names: &[&str]| -> BTreeSet<_> { names.iter().map(|name| (*name).to_owned()).collect() };
    let workload = |account: &str, labels: &[(&str, &str)]| KnownWorkload {
        namespace: "shop".to_owned(),
        name: format!("{account}-0"),
        service_account: account.to_owned(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    Known {
        service_accounts: BTreeMap::from([
            ("batch".to_owned(), accounts(&["reconciler"])),
            ("shop".to_owned(), accounts(&["web", "idle"])),
        ]),
        workloads: vec![
            workload("web", &[("app", "web"), ("tier", "front")]),
            workload("orders", &[("app", "orders"), ("tier", "back")]),
        ],
        trust_domain: Some("cluster.local".parse().unwrap()),
        complete,
    }
}

/// What is said of a policy with this target and this rule, a line each, `warning: ` before a warning.
fn found(kind: &str, target: &str, rule: &str, known: &Known) -> String {
    let metadata = match kind {
        "AuthorizationPolicy" => "{name: a, namespace: shop}",
        _ => "{name: a}",
    };
    let text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec:\n  {target}\n  rules:\n  - {{name: r, effect: allow, {rule}}}\n"
    );
    let documents = read("f", &text).unwrap();
    let found = against(&documents, known, datetime!(2026-11-21 12:00 UTC));
    let lines = found.iter().map(|diagnostic| match diagnostic.severity {
        Severity::Error => diagnostic.to_string(),
        Severity::Warning => format!("warning: {diagnostic}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

const GOOD: &str = "from: [{serviceAccount: shop/web}]";

#[test]
fn what_exists_and_holds_is_not_spoken_of() {
    let known = known(true);
    for rule in [
        GOOD,
        "from: [{serviceAccount: shop/orders}, {serviceAccount: batch/reconciler}, {namespace: batch}]",
        "from: [{identity: spiffe://cluster.local/ns/shop/sa/web}, {trustDomain: a.test}]",
        "from: [{identity: spiffe://a.test/ns/shop/sa/wbe}, {unauthenticated: {cidr: 10.0.0.0/8}}]",
        "from: [{namespace: shop}], expires: 2026-11-21T12:00:01Z, reason: a",
    ] {
        for target in [
            "",
            "target: {labels: {app: orders, tier: back}}",
            "target: {serviceAccount: web, labels: {app: web}}",
        ] {
            assert_eq!(found("AuthorizationPolicy", target, rule, &known), "");
        }
    }
    let target = "target: {namespaces: [shop], labels: {app: web}}";
    assert_eq!(
        found("ClusterAuthorizationPolicy", target, GOOD, &known),
        ""
    );
    assert_eq!(found("ClusterAuthorizationPolicy", "", GOOD, &known), "");
}

#[test]
fn whom_a_rule_names_exists() {
    for (source, expected) in [
        (
            "serviceAccount: shop/wbe",
            "f:7:54: no service account `wbe` in namespace `shop`; did you mean `web`?",
        ),
        (
            "serviceAccount: shpo/web",
            "f:7:54: there is no namespace `shpo`; did you mean `shop`?",
        ),
        (
            "serviceAccount: batch/orders",
            "f:7:54: no service account `orders` in namespace `batch`; did you mean `shop/orders`?",
        ),
        (
            "serviceAccount: shop/metrics",
            "f:7:54: no service account `metrics` in namespace `shop`; its service accounts are `idle`, `orders` or `web`",
        ),
        (
            "namespace: monitoring",
            "f:7:49: there is no namespace `monitoring`; the namespaces are `batch` or `shop`",
        ),
        (
            "identity: spiffe://cluster.local/ns/shop/sa/oders",
            "f:7:48: no service account `oders` in namespace `shop`; did you mean `orders`?",
        ),
        (
            "identity: spiffe://cluster.local/vm/7",
            "f:7:48: `spiffe://cluster.local/vm/7` is of this mesh, and names no service account; write it like spiffe://cluster.local/ns/NAMESPACE/sa/NAME",
        ),
    ] {
        let rule = format!("from: [{{{source}}}]");
        let said = |complete| found("AuthorizationPolicy", "", &rule, &known(complete));
        assert_eq!(said(true), expected);
        assert_eq!(said(false), format!("warning: {expected}"));
    }
}

#[test]
fn a_target_selects_something() {
    for (target, expected) in [
        (
            "{labels: {app: ordres}}",
            "f:5:26: no workload of `shop` is labelled app=ordres; did you mean `orders`?",
        ),
        (
            "{labels: {app: metrics}}",
            "f:5:26: no workload of `shop` is labelled app=metrics; `app` can be `orders` or `web`",
        ),
        (
            "{labels: {ap: orders}}",
            "f:5:25: no workload of `shop` is labelled ap=orders; did you mean `app`?",
        ),
        (
            "{labels: {role: orders}}",
            "f:5:27: no workload of `shop` is labelled role=orders; their labels are `app` or `tier`",
        ),
        (
            "{labels: {app: web, tier: back}}",
            "f:5:11: no workload of `shop` has all of these labels; name only such as one workload has together",
        ),
        (
            "{serviceAccount: idle}",
            "f:5:28: no workload of `shop` runs as `idle`; until there is one, these rules protect nothing",
        ),
        (
            "{serviceAccount: web, labels: {app: orders}}",
            "f:5:47: no workload of `shop` is labelled app=orders; there is only `web`",
        ),
    ] {
        for complete in [true, false] {
            let target = format!("target: {target}");
            let said = found("AuthorizationPolicy", &target, GOOD, &known(complete));
            assert_eq!(said, format!("warning: {expected}"));
        }
    }
}

#[test]
fn a_target_names_what_exists() {
    for (kind, target, expected) in [
        (
            "AuthorizationPolicy",
            "{serviceAccount: oders}",
            "f:5:28: no service account `oders` in `shop`; did you mean `orders`?",
        ),
        (
            "ClusterAuthorizationPolicy",
            "{serviceAccount: metrics}",
            "f:5:28: no service account `metrics` in any namespace; the service accounts are `idle`, `orders`, `reconciler` or `web`",
        ),
        (
            "ClusterAuthorizationPolicy",
            "{namespaces: [shop, bach]}",
            "f:5:31: there is no namespace `bach`; did you mean `batch`?",
        ),
        (
            "ClusterAuthorizationPolicy",
            "{namespaces: [bach]}",
            "f:5:25: there is no namespace `bach`; did you mean `batch`?",
        ),
    ] {
        let target = format!("target: {target}");
        assert_eq!(found(kind, &target, GOOD, &known(true)), expected);
        assert_eq!(
            found(kind, &target, GOOD, &known(false)),
            format!("warning: {expected}")
        );
    }
}

#[test]
fn a_namespace_without_workloads_is_told_only_where_all_are_known() {
    let target = "target: {namespaces: [batch]}";
    let said = |complete| found("ClusterAuthorizationPolicy", target, GOOD, &known(complete));
    let nothing = "until there is one, these rules protect nothing";
    assert_eq!(
        said(true),
        format!("warning: f:5:11: there is no workload in `batch`; {nothing}")
    );
    assert_eq!(said(false), "");
    // The policy's own namespace stands for a target that is left out.
    let mut empty = known(true);
    empty.workloads.clear();
    let said = found("AuthorizationPolicy", "", GOOD, &empty);
    assert_eq!(
        said,
        format!("warning: f:3:32: there is no workload in `shop`; {nothing}")
    );
}

#[test]
fn where_nothing_is_known_a_namespace_is_told_once() {
    let nothing = Known {
        complete: true,
        ..Known::default()
    };
    let said = found(
        "AuthorizationPolicy",
        "target: {labels: {app: a}}",
        GOOD,
        &nothing,
    );
    let none = "there is no namespace `shop`; there is none yet: make it first";
    assert_eq!(said, format!("f:3:32: {none}\nf:7:54: {none}"));
}

#[test]
fn a_rule_that_has_expired_is_a_mistake() {
    for (expires, end) in [
        ("2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z"),
        ("2026-11-21T01:00:00+02:00", "2026-11-21T01:00:00+02:00"),
    ] {
        let rule = format!("{GOOD}, expires: {expires}, reason: a");
        let expected = format!(
            "f:7:75: the rule `r` expired at {end} and says nothing any more; remove it, or let it expire later"
        );
        assert_eq!(
            found("AuthorizationPolicy", "", &rule, &known(false)),
            expected
        );
    }
}

#[test]
fn everything_is_told_at_once_in_the_order_of_the_text() {
    let rule = "expires: 2020-01-01T00:00:00Z, reason: a, from: [{serviceAccount: shop/wbe}, {namespace: bach}]";
    let said = found(
        "AuthorizationPolicy",
        "target: {labels: {app: db}}",
        rule,
        &known(true),
    );
    let places: Vec<_> = said
        .lines()
        .filter_map(|line| line.split(": ").find(|part| part.starts_with("f:")))
        .collect();
    assert_eq!(places, ["f:5:26", "f:7:39", "f:7:96", "f:7:119"], "{said}");
}

#[test]
fn documents_tell_what_exists() {
    let documents = read("f", &[NAMESPACE, WORKLOAD, POLICY].join("---\n")).unwrap();
    let mut known = Known::default();
    known.learn(&documents);
    assert_eq!(known.workloads.len(), 1);
    assert!(known.service_accounts.contains_key("shop"));
    let found = against(&documents, &known, datetime!(2026-11-21 12:00 UTC));
    let expected = "f:27:23: no service account `web` in namespace `shop`; there is only `orders`";
    assert_eq!(shown(&found), expected);
}
