use std::collections::BTreeSet;

use palisade_api::usage::{Caller, Counted, Decided, EdgeKey, Seen, Totals, Use};

use super::*;
use crate::policy::rules::Workload;

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
    super::super::rules::sample::rules(&text)
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
                unanswered: 0,
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
const NOW: OffsetDateTime = time::macros::datetime!(1970-01-01 00:01:20 UTC);

fn told(rules: &Rules, usage: &Usage, wanted: Wanted) -> Report {
    report(rules, usage, (wanted, 100), NOW)
}

fn shown(report: &Report) -> String {
    anstream::adapter::strip_str(&print::report(report, NOW)).to_string()
}

/// From whom, where, and by which rules.
fn unused(report: &Report) -> Vec<(&str, String, String)> {
    let edges = report.unused.iter().flatten();
    let told = edges.map(|one| (&*one.from, one.ports.join(","), one.rules.join(",")));
    told.collect()
}

#[test]
fn ports_that_no_sidecar_sees_are_not_told_as_never_used() {
    let mut rules = shop("");
    let told_at_80 = |rules: &Rules| {
        let report = told(rules, &counts(&[]), Wanted::All);
        unused(&report).iter().any(|(_, ports, _)| ports == "80")
    };
    assert!(told_at_80(&rules));
    let orders = |one: &&mut Workload| one.name == "orders";
    let orders = rules.known.workloads.iter_mut().find(orders).unwrap();
    orders.excluded_ports.insert(80);
    let seen = Workload {
        excluded_ports: BTreeSet::new(),
        ..orders.clone()
    };
    assert!(!told_at_80(&rules));
    // A replica whose sidecar sees it counts.
    rules.known.workloads.push(seen);
    assert!(told_at_80(&rules));
}

#[test]
fn what_nobody_does_is_told_for_each_source_of_each_rule() {
    let rules = shop("");
    let usage = counts(&[("shop/web", 80, Decided::AllowedByRule, Some(WEB))]);
    let report = told(&rules, &usage, Wanted::All);
    let cart = ("shop/cart", String::new(), "shop/orders/cart".to_owned());
    let cron = ("shop/cron", "80".to_owned(), WEB.to_owned());
    assert_eq!(unused(&report), [cart, cron], "the widest first");
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
    let text = shown(&report);
    for line in [
        "rules never hit (2)",
        "  shop/cart → shop/orders  every port  shop/orders/cart\n",
        "  shop/cron → shop/orders  port 80     shop/orders/web\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

/// The rules of a policy that protects the two replicas of orders.
fn ruled(rules: &[&str]) -> Rules {
    super::super::rules::sample::rules(&(replicas() + &policy("more", rules)))
}

fn replicas() -> String {
    let workload = |number: u8| {
        format!(
            "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: orders-{number}, namespace: shop, labels: {{app: orders}}}}
spec: {{serviceAccount: orders, addresses: [10.0.0.{number}]}}
---
"
        )
    };
    workload(1) + &workload(2)
}

fn policy(name: &str, rules: &[&str]) -> String {
    let rules: String = rules
        .iter()
        .map(|rule| format!("  - {{{rule}}}\n"))
        .collect();
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  rules:
{rules}"
    )
}

#[test]
fn an_edge_is_used_whichever_rule_let_it_in_and_at_the_ports_where_it_was() {
    let web = "from: [{serviceAccount: shop/web}]";
    let rules = ruled(&[
        &format!("name: a, effect: allow, {web}, ports: [80]"),
        &format!("name: b, effect: allow, {web}, ports: [80, 9000-9010]"),
        "name: c, effect: allow, from: [{namespace: shop}]",
        "name: d, effect: allow, from: [{unauthenticated: {cidr: 10.0.0.0/8}}], ports: [80]",
        "name: e, effect: allow, from: [{namespace: other}]",
    ]);
    let usage = counts(&[
        ("shop/web", 80, Decided::AllowedByRule, Some("shop/more/a")),
        (
            "shop/web",
            9005,
            Decided::AllowedByRule,
            Some("shop/more/c"),
        ),
        ("10.0.0.7", 80, Decided::AllowedAsPermissive, None),
    ]);
    let report = told(&rules, &usage, Wanted::Unused);
    let other = ("other/*", String::new(), "shop/more/e".to_owned());
    let rest = (
        "shop/web",
        "9000-9004,9006-9010".to_owned(),
        "shop/more/b".to_owned(),
    );
    assert_eq!(unused(&report), [other, rest]);
    let instead = report.rules.iter().flatten();
    let instead: Vec<_> = instead
        .map(|rule| (&*rule.rule, rule.instead.join(",")))
        .collect();
    let expected = [
        ("shop/more/b", "shop/more/a,shop/more/c".to_owned()),
        ("shop/more/d", String::new()),
        ("shop/more/e", String::new()),
    ];
    assert_eq!(instead, expected);
}

#[test]
fn what_a_denial_takes_back_is_not_permitted() {
    let both = "from: [{serviceAccount: shop/web}]";
    let denial = |ports: &str| {
        let yes = policy(
            "more",
            &[&format!(
                "name: yes, effect: allow, {both}, ports: [80, 90]"
            )],
        );
        let no = policy(
            "never",
            &[&format!("name: no, effect: deny, {both}{ports}")],
        );
        super::super::rules::sample::rules(&format!("{}{yes}---\n{no}", replicas()))
    };
    let nothing = counts(&[]);
    let report = told(&denial(""), &nothing, Wanted::Unused);
    assert_eq!(unused(&report), []);
    let text = shown(&report);
    assert!(
        text.contains("every edge is denied by shop/never/no"),
        "{text}"
    );
    let partly = denial(", ports: [90]");
    let left = ("shop/web", "80".to_owned(), "shop/more/yes".to_owned());
    assert_eq!(unused(&told(&partly, &nothing, Wanted::Unused)), [left]);
}

#[test]
fn a_rule_that_others_repeat_is_told_as_such() {
    let from = "effect: allow, from: [{serviceAccount: shop/web}]";
    let rules = ruled(&[
        &format!("name: a, {from}"),
        &format!("name: b, {from}, ports: [80]"),
    ]);
    let usage = counts(&[("shop/web", 80, Decided::AllowedByRule, Some("shop/more/a"))]);
    let report = told(&rules, &usage, Wanted::All);
    assert_eq!(unused(&report), []);
    let text = shown(&report);
    let line = "every edge is also allowed by shop/more/a";
    assert!(text.contains(line), "{text}");
}

/// Each of so many callers may reach orders by a rule of its own, and some by one more.
#[test]
fn of_very_many_only_the_widest_are_told_and_the_others_counted() {
    let each = (0..6000).map(|number| {
        format!("name: r{number}, effect: allow, from: [{{serviceAccount: shop/w{number}}}], ports: [80]")
    });
    let mut each: Vec<_> = each.collect();
    each.push("name: wide, effect: allow, from: [{namespace: other}]".to_owned());
    let each: Vec<_> = each.iter().map(String::as_str).collect();
    let rules = ruled(&each);
    let report = report(&rules, &counts(&[]), (Wanted::All, 3), NOW);
    assert_eq!(unused(&report)[0].0, "other/*");
    assert_eq!(report.unused.as_ref().map(Vec::len), Some(3));
    let more = More {
        never_hit: 5998,
        unused: 5998,
        ..More::default()
    };
    assert_eq!(report.more, more);
    let text = shown(&report);
    assert!(text.contains("permitted and never used (6001)"), "{text}");
    assert!(text.contains("and 5998 more"), "{text}");
}

#[test]
fn what_was_denied_is_told_once_for_all_replicas() {
    let rules = shop("");
    let usage = counts(&[
        ("shop/web", 81, Decided::DeniedByNoRule, None),
        ("10.0.0.3", 80, Decided::DeniedByNoRule, None),
        ("shop/web", 80, Decided::AllowedByRule, Some(WEB)),
    ]);
    let report = told(&rules, &usage, Wanted::All);
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
    let text = shown(&report);
    let line = "shop/web → shop/orders                         port 81  4 times, last 1m ago  no rule allows it";
    assert!(text.contains(line), "{text}");
}

#[test]
fn what_was_denied_for_several_reasons_is_one_line_with_all_of_them() {
    let rules = shop("");
    let no_cart = Some("shop/orders/no-cart");
    let mut usage = counts(&[
        ("shop/cart", 80, Decided::DeniedByNoRule, None),
        ("shop/cart", 80, Decided::DeniedByRule, no_cart),
        ("shop/cart", 80, Decided::AllowedByRule, Some(WEB)),
        ("shop/web", 81, Decided::DeniedByNoRule, None),
    ]);
    for counted in &mut usage.workloads {
        for (key, seen) in &mut counted.totals.edges {
            if key.rule.as_deref() == no_cart {
                (seen.count, seen.last) = (30, 70);
            }
        }
    }
    let report = told(&rules, &usage, Wanted::Denied);
    let value = serde_json::to_value(&report).unwrap();
    let first = &value["denied"][0];
    assert_eq!(value["denied"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&first["from"], &first["count"]),
        (&"shop/cart".into(), &64.into())
    );
    assert_eq!(first["last"], "1970-01-01T00:01:10Z");
    let expected = serde_json::json!([
        {"reason": "rule", "rule": "shop/orders/no-cart", "count": 60, "last": "1970-01-01T00:01:10Z"},
        {"reason": "no_rule", "count": 4, "last": "1970-01-01T00:00:20Z"},
    ]);
    assert_eq!(first["reasons"], expected);
    let text = shown(&report);
    let line = "shop/cart → shop/orders  port 80  64 times, last 10s ago  shop/orders/no-cart denies it (60×), no rule allows it (4×)\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn only_the_part_that_is_asked_for_is_told() {
    let rules = shop("");
    let usage = counts(&[
        ("shop/web", 81, Decided::DeniedByNoRule, None),
        ("shop/web", 80, Decided::AllowedByRule, Some(WEB)),
    ]);
    let told = |wanted| serde_json::to_value(told(&rules, &usage, wanted)).unwrap();
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

#[test]
fn what_a_rule_did_in_its_other_mode_is_not_what_it_does() {
    let rules = shop("");
    let cart = "shop/orders/no-cart";
    let mut usage = counts(&[]);
    let mut used = |name: &str, used: Use| {
        let totals = &mut usage.workloads[0].totals;
        totals.rules.insert(name.to_owned(), used);
    };
    // One was in shadow and is enforced now, the other the other way round.
    used(
        WEB,
        Use {
            shadow_count: 213,
            shadow_last: 20,
            ..Use::default()
        },
    );
    used(
        cart,
        Use {
            count: 24,
            last: 20,
            ..Use::default()
        },
    );
    let shown = shown(&told(&rules, &usage, Wanted::All));
    let (_, never) = shown.split_once("rules never hit").unwrap();
    for (rule, before) in [
        (WEB, "213× in shadow before"),
        (cart, "24× when it was enforced"),
    ] {
        let line = never.lines().find(|line| line.contains(rule)).expect(rule);
        assert!(line.ends_with(before), "{line}");
    }
}

#[test]
fn of_a_namespace_with_rules_that_are_not_known_nothing_is_told() {
    use crate::policy::rules::{of_mesh, sample};

    let report = |objects: &[serde_json::Value]| {
        let server = sample::readable().has(&sample::own_rules("shop"), sample::list(objects));
        let rules = of_mesh(&server.mesh(None)).unwrap();
        let now = OffsetDateTime::now_utc();
        let report = report(&rules, &counts(&[]), (Wanted::All, 10), now);
        (report.rules.unwrap().len(), report.unused.unwrap().len())
    };
    let mut good = sample::rule("shop");
    assert_eq!(report(&[good.clone()]), (1, 1));
    good["metadata"]["name"] = "other".into();
    let bad = sample::mistaken("generation 3 stays in force: no", Some(3));
    assert_eq!(report(&[bad, good]), (0, 0));
}
