mod cluster;
mod names;
mod revoked;
mod unknown;

use time::macros::datetime;

use super::*;
use crate::policy::rules::sample::rules;

/// What is printed, without what stands in brackets.
fn diff(before: &str, after: &str) -> Vec<String> {
    let text = printed(before, after);
    let lines = text.lines().filter(|line| line.starts_with(['+', '-']));
    lines
        .map(|line| line.rsplit_once(" (").unwrap().0.to_owned())
        .collect()
}

fn printed(before: &str, after: &str) -> String {
    let (before, after) = (rules(before), rules(after));
    let sides = Sides {
        before: &before,
        after: &after,
        trust_domain: &after.trust_domain,
    };
    let now = datetime!(2026-11-22 03:00 UTC);
    let compared = compare::compare(sides, now, 100_000).unwrap();
    let lines = merge::lines(&compared, sides.trust_domain);
    anstream::adapter::strip_str(&print::text(sides, &lines)).to_string()
}

/// A policy of the namespace `shop`.
fn policy(target: &str, rules: &[&str]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .enumerate()
        .map(|(number, rule)| format!("  - {{name: r{number}, {rule}}}\n"))
        .collect();
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: p, namespace: shop}}
spec:
  target: {target}
  rules:
{}---
",
        rules.concat()
    )
}

fn deployment(name: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec: {{template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{serviceAccountName: {name}}}}}}}
---
"
    )
}

const ORDERS: &str = "{labels: {app: orders}}";
const WEB: &str = "effect: allow, from: [{serviceAccount: shop/web}]";

#[test]
fn nothing_but_meaning_makes_a_difference() {
    let rule = policy(ORDERS, &[WEB, "effect: deny, from: [{namespace: b}]"]);
    let other = rule.replace("name: p,", "name: q,").replace("r0", "first") + "# a comment\n";
    assert_eq!(diff(&rule, &other), Vec::<String>::new());
    assert_eq!(
        printed(&rule, &other),
        "no difference in who reaches whom\n"
    );
    let shadow = policy(
        ORDERS,
        &[
            WEB,
            "effect: deny, from: [{namespace: b}]",
            "mode: shadow, effect: allow, from: [{namespace: c}]",
        ],
    );
    assert_eq!(diff(&rule, &shadow), Vec::<String>::new());
}

#[test]
fn ports_are_put_together_and_what_was_allowed_before_is_no_difference() {
    let narrow = policy(ORDERS, &[&format!("{WEB}, ports: [8085, 8088]")]);
    let wide = policy(ORDERS, &[&format!("{WEB}, ports: [8080-8090, 9000]")]);
    let orders = deployment("orders");
    let (narrow, wide) = (format!("{narrow}{orders}"), format!("{wide}{orders}"));
    assert_eq!(
        diff(&narrow, &wide),
        ["+ shop/web → shop/orders 8080-8084, 8086-8087, 8089-8090, 9000"]
    );
    assert_eq!(
        diff(&wide, &narrow),
        ["- shop/web → shop/orders 8080-8084, 8086-8087, 8089-8090, 9000"]
    );
    let text = printed(&wide, &narrow);
    assert!(
        text.contains("(no rule allows it; was by shop/p/r0, "),
        "{text}"
    );
    assert!(text.ends_with("0 allowed that were denied, 1 denied that were allowed\n"));
}

#[test]
fn those_who_are_not_known_are_told_of_as_what_rules_say_of_them() {
    let before = policy(ORDERS, &[WEB]);
    let after = policy(
        ORDERS,
        &[
            WEB,
            "effect: allow, from: [{namespace: monitoring}], ports: [9090]",
        ],
    );
    assert_eq!(
        diff(&before, &after),
        ["+ every account of namespace monitoring → any workload of shop labelled app=orders 9090"],
        "no line speaks of one of them"
    );
    let but = policy(
        ORDERS,
        &[
            WEB,
            "effect: allow, from: [{namespace: monitoring}], ports: [9090]",
            "effect: deny, from: [{serviceAccount: monitoring/old}]",
        ],
    );
    // Of the whole namespace that is named, one is an exception.
    let of_all = policy(
        ORDERS,
        &[
            WEB,
            "effect: deny, from: [{serviceAccount: monitoring/old}]",
        ],
    );
    assert_eq!(
        diff(&of_all, &but),
        [
            "+ any other account of namespace monitoring → any workload of shop labelled app=orders 9090"
        ]
    );
    assert_eq!(
        diff(&after, &but),
        ["- monitoring/old → any workload of shop labelled app=orders 9090"]
    );
    let named = policy(ORDERS, &[WEB, "effect: allow, from: [{namespace: shop}]"]);
    let no_web = policy(ORDERS, &["effect: deny, from: [{serviceAccount: other/x}]"]);
    assert_eq!(
        diff(&no_web, &named),
        [
            "+ any other account of namespace shop → any workload of shop labelled app=orders all ports",
            "+ shop/web → any workload of shop labelled app=orders all ports",
        ],
        "two rules admit them"
    );
}

#[test]
fn accounts_that_nobody_has_are_no_lines_of_their_own() {
    let account = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: shop}}\n"
        )
    };
    let accounts = account("attachdetach") + &account("disruption");
    let before = policy(ORDERS, &[WEB]) + &accounts;
    let shop = "effect: allow, from: [{namespace: shop}], ports: [9090]";
    let after = policy(ORDERS, &[WEB, shop]) + &accounts;
    assert_eq!(
        diff(&before, &after),
        ["+ any other account of namespace shop → any workload of shop labelled app=orders 9090"]
    );
}

#[test]
fn those_who_have_more_beside_are_not_told_of_again() {
    let keeper = policy("{serviceAccount: keeper}", &[WEB]).replace("name: p,", "name: q,");
    let batch = "effect: allow, from: [{serviceAccount: shop/batch}]";
    let before = policy(ORDERS, &[WEB]) + &keeper;
    let after = policy(ORDERS, &[WEB, batch]) + &keeper;
    assert_eq!(
        diff(&before, &after),
        ["+ shop/batch → any workload of shop labelled app=orders all ports"]
    );
}

#[test]
fn trust_domains_and_networks_are_classes_and_what_is_whole_is_one() {
    let none = policy(ORDERS, &[WEB]);
    let partner = policy(
        ORDERS,
        &[WEB, "effect: allow, from: [{trustDomain: b.test}]"],
    );
    let line = "→ any workload of shop labelled app=orders all ports";
    assert_eq!(
        diff(&none, &partner),
        [format!("+ every identity of b.test {line}")]
    );
    let nets = |rules: &[&str]| {
        let mut all = vec![WEB];
        all.extend(rules);
        policy(ORDERS, &all)
    };
    let wide = "effect: allow, from: [{unauthenticated: {cidr: 10.2.0.0/16}}]";
    let inner = "effect: deny, from: [{unauthenticated: {cidr: 10.2.1.0/24}}]";
    assert_eq!(
        diff(&none, &nets(&[wide])),
        [format!(
            "+ addresses in 10.2.0.0/16 without an identity {line}"
        )]
    );
    assert_eq!(
        diff(&none, &nets(&[wide, inner])),
        [format!(
            "+ addresses in 10.2.0.0/16, but not in 10.2.1.0/24, without an identity {line}"
        )]
    );
    assert_eq!(
        diff(&nets(&[inner]), &nets(&[])),
        Vec::<String>::new(),
        "nobody allowed it anyway"
    );
    assert_eq!(
        diff(
            &nets(&[wide, inner]),
            &nets(&[inner.replace("deny", "allow").as_str()])
        ),
        [
            format!(
                "- addresses in 10.2.0.0/16, but not in 10.2.1.0/24, without an identity {line}"
            ),
            format!("+ addresses in 10.2.1.0/24 without an identity {line}"),
        ]
    );
}

#[test]
fn a_workload_without_a_sidecar_is_held_to_what_its_account_is_denied() {
    let legacy = "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: legacy-0, namespace: shop}
spec: {serviceAccount: legacy, addresses: [10.2.0.9], meshed: false}
";
    let plain = "effect: allow, from: [{unauthenticated: {cidr: 10.2.0.0/16}}]";
    let deny = "effect: deny, from: [{serviceAccount: shop/legacy}]";
    let before = policy(ORDERS, &[plain]) + legacy;
    let after = policy(ORDERS, &[plain, deny]) + legacy;
    assert_eq!(
        diff(&before, &after),
        [
            "- shop/legacy, in clear from 10.2.0.9 → any workload of shop labelled app=orders all ports"
        ]
    );
}

#[test]
fn calls_that_go_around_a_sidecar_are_told_of() {
    let web = "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: web-0, namespace: shop}
spec: {serviceAccount: web, addresses: [10.2.0.7]}
---
";
    let plain = "effect: allow, from: [{unauthenticated: {cidr: 10.2.0.0/16}}]";
    let deny = "effect: deny, from: [{serviceAccount: shop/web}]";
    let side = |rules: &[&str]| policy(ORDERS, rules) + web;
    let line = "→ any workload of shop labelled app=orders all ports";
    assert_eq!(
        diff(&side(&[plain]), &side(&[plain, deny])),
        [format!("- shop/web, in clear from 10.2.0.7 {line}")],
    );
    assert_eq!(
        diff(&side(&[deny]), &side(&[plain, deny])),
        [format!(
            "+ addresses in 10.2.0.0/16, but not of shop/web, without an identity {line}"
        )],
        "nobody sheds a denied identity"
    );
    let its_address = "effect: deny, from: [{unauthenticated: {cidr: 10.2.0.7/32}}]";
    assert_eq!(
        diff(&side(&[its_address]), &side(&[plain, its_address])),
        [format!(
            "+ addresses in 10.2.0.0/16, but not of shop/web, without an identity {line}"
        )],
        "an exception is told of by who is known there"
    );
    let other = "effect: allow, from: [{serviceAccount: shop/batch}]";
    assert_eq!(
        diff(&side(&[other]), &side(&[plain, other])),
        [format!(
            "+ every address in 10.2.0.0/16 without an identity {line}"
        )],
    );
}

#[test]
fn all_of_a_namespace_are_told_of_as_one() {
    let none = policy(
        "{}",
        &["effect: allow, from: [{serviceAccount: a/b}], ports: [1]"],
    );
    let all = policy(
        "{}",
        &["effect: allow, from: [{serviceAccount: a/b}], ports: [1-2]"],
    );
    let known = deployment("orders") + &deployment("db");
    let both = |rules: &str| format!("{rules}{known}");
    assert_eq!(
        diff(
            &both(&none.replace("  target: {}\n", "")),
            &both(&all.replace("  target: {}\n", ""))
        ),
        ["+ a/b → every workload of shop 2"]
    );
}

#[test]
fn a_namespace_that_becomes_permissive_lets_everybody_without_an_identity_in() {
    let namespace = |mtls: &str| {
        format!(
            "apiVersion: palisade.dev/v1alpha1
kind: Namespace
metadata: {{name: shop, annotations: {{palisade.dev/mtls: {mtls}}}}}
---
"
        )
    };
    let rule = policy(
        ORDERS,
        &["effect: deny, from: [{unauthenticated: {cidr: 10.9.0.0/16}}]"],
    );
    let mut before = rules(&format!("{rule}{}", namespace("strict")));
    let after = rules(&format!("{rule}{}", namespace("permissive")));
    before.known.is_complete = true;
    let sides = Sides {
        before: &before,
        after: &after,
        trust_domain: &after.trust_domain,
    };
    let now = datetime!(2026-11-22 03:00 UTC);
    let compared = compare::compare(sides, now, 100_000).unwrap();
    let lines = merge::lines(&compared, sides.trust_domain);
    let text = print::text(sides, &lines);
    assert!(text.contains("any other address without an identity → any workload of shop labelled app=orders all ports"), "{text}");
    assert!(
        text.contains("every address without an identity → any other workload of shop all ports"),
        "{text}"
    );
    assert!(!text.contains("→ any workload of shop labelled app=orders all ports (10.9"));
}

#[test]
fn one_that_gets_other_labels_is_told_of() {
    let rule = policy(ORDERS, &[WEB]);
    let renamed = deployment("orders").replace("app: orders", "app: shop");
    assert_eq!(
        diff(
            &format!("{rule}{}", deployment("orders")),
            &format!("{rule}{renamed}")
        ),
        ["- shop/web → shop/orders all ports"]
    );
}

#[test]
fn what_would_take_too_long_is_refused_before_it_is_begun() {
    let ports: Vec<String> = (1..60).map(|port| format!("{}", port * 2)).collect();
    let rule = format!("{WEB}, ports: [{}]", ports.join(", "));
    let (before, after) = (
        rules(&policy(ORDERS, &[WEB])),
        rules(&policy(ORDERS, &[&rule])),
    );
    let sides = Sides {
        before: &before,
        after: &after,
        trust_domain: &after.trust_domain,
    };
    let now = datetime!(2026-11-22 03:00 UTC);
    let error = compare::compare(sides, now, 50).unwrap_err();
    assert!(
        error.needed > 50 && error.to_string().contains("--most"),
        "{error}"
    );
    // Labels that a workload may have all at once are as many combinations.
    let labels: Vec<String> = (0..12)
        .map(|key| {
            policy(&format!("{{labels: {{k{key}: v}}}}"), &[WEB])
                .replace("name: p,", &format!("name: p{key},"))
        })
        .collect();
    let (none, many) = (rules(&policy(ORDERS, &[WEB])), rules(&labels.concat()));
    let sides = Sides {
        before: &none,
        after: &many,
        trust_domain: &many.trust_domain,
    };
    assert!(compare::compare(sides, now, 1000).is_err());
}

#[test]
fn objects_say_both_sides() {
    let (before, after) = (
        rules(&policy(
            ORDERS,
            &["effect: deny, from: [{serviceAccount: shop/web}]"],
        )),
        rules(&policy(ORDERS, &[WEB])),
    );
    let sides = Sides {
        before: &before,
        after: &after,
        trust_domain: &after.trust_domain,
    };
    let compared = compare::compare(sides, datetime!(2026-11-22 03:00 UTC), 1000).unwrap();
    let lines = merge::lines(&compared, sides.trust_domain);
    let json: serde_json::Value =
        serde_json::from_str(&print::json(sides, &lines).unwrap()).unwrap();
    assert_eq!(
        (&json["becomes"], &json["ports"][0]),
        (&"allow".into(), &"1-65535".into())
    );
    assert_eq!(json["rule"]["name"], "shop/p/r0");
    assert_eq!(json["was"]["reason"], "rule");
}
