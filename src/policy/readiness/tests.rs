use palisade_api::usage::{Decided, Resident};

use super::super::rules::sample;
use super::super::usage::tests::{Counting, counts, shop};
use super::*;

const PERMISSIVE: &str = ", annotations: {palisade.dev/mtls: permissive}";
const OPEN: &str = ", annotations: {palisade.dev/authorization: shadow}";

fn broken(annotations: &str, edges: &[Counting<'_>]) -> Vec<(String, By)> {
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let report = report(&shop(annotations), &counts(edges), (None, i64::MIN), now);
    assert_eq!(report.ready, report.breaks.is_empty());
    report
        .breaks
        .into_iter()
        .map(|one| (one.from, one.by))
        .collect()
}

#[test]
fn each_caller_is_told_with_what_would_keep_it_out() {
    let clear = ("10.0.0.3", 80, Decided::AllowedAsPermissive, None);
    let named = "10.0.0.3 (legacy/old, in clear)".to_owned();
    assert_eq!(broken(PERMISSIVE, &[clear]), [(named, By::Mtls)]);
    let unruled = ("shop/batch", 80, Decided::AllowedByShadow, None);
    assert_eq!(
        broken(OPEN, &[unruled]),
        [("shop/batch".to_owned(), By::Authorization)]
    );
    let shadowed = (
        "shop/cart",
        80,
        Decided::AllowedByRule,
        Some("shop/orders/cart"),
    );
    assert_eq!(
        broken("", &[shadowed]),
        [("shop/cart".to_owned(), By::Mode)]
    );
}

#[test]
fn a_caller_in_clear_is_kept_out_by_mutual_tls_whatever_let_it_in() {
    const BOTH: &str =
        ", annotations: {palisade.dev/mtls: permissive, palisade.dev/authorization: shadow}";
    for decided in [
        Decided::AllowedAsPermissive,
        Decided::AllowedByRule,
        Decided::AllowedByShadow,
    ] {
        let clear = ("10.0.0.3", 80, decided, None);
        let named = "10.0.0.3 (legacy/old, in clear)".to_owned();
        assert_eq!(broken(BOTH, &[clear]), [(named.clone(), By::Mtls)]);
        // Of one that is strict by now, the closing is all that lets it in.
        assert_eq!(broken(OPEN, &[clear]), [(named, By::Authorization)]);
    }
}

#[test]
fn what_is_allowed_or_was_denied_breaks_nothing() {
    let web = (
        "shop/web",
        80,
        Decided::AllowedByRule,
        Some("shop/orders/web"),
    );
    let denied = ("shop/batch", 80, Decided::DeniedByNoRule, None);
    let gone = (
        "shop/gone",
        80,
        Decided::AllowedByRule,
        Some("shop/orders/gone"),
    );
    assert_eq!(broken("", &[web, denied, gone]), []);
}

#[test]
fn only_what_was_asked_for_counts_and_what_is_not_known_is_not_ready() {
    let rules = shop("");
    let mut usage = counts(&[("shop/cart", 80, Decided::AllowedByRule, None)]);
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let ready = |usage: &Usage, what: Option<&str>, least| {
        let what = what.map(|what| what.parse().unwrap());
        report(&rules, usage, (what.as_ref(), least), now).ready
    };
    assert!(!ready(&usage, None, i64::MIN));
    assert!(!ready(&usage, Some("shop/orders"), 20));
    assert!(ready(&usage, None, 21));
    assert!(ready(&usage, Some("other"), 0) && ready(&usage, Some("shop/web"), 0));
    usage = counts(&[]);
    usage.workloads[0]
        .totals
        .others
        .insert(Decided::AllowedByShadow, 1);
    assert!(!ready(&usage, None, i64::MIN));
    for wrong in ["", "/", "a/", "a/b/c"] {
        assert!(wrong.parse::<What>().is_err(), "{wrong}");
    }
}

/// Its pod is gone, and its address may be somebody else's.
#[test]
fn who_came_in_clear_is_held_to_the_name_that_it_had_then() {
    let rules = sample::rules(
        "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
  - {name: in-clear, effect: allow, from: [{unauthenticated: {cidr: 10.0.0.0/8}}]}
  - {name: no-cart, effect: deny, mode: shadow, from: [{serviceAccount: shop/cart}]}
",
    );
    let mut usage = counts(&[("10.0.0.77", 80, Decided::AllowedByRule, None)]);
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    assert!(report(&rules, &usage, (None, i64::MIN), now).ready);
    let cart = Resident {
        namespace: "shop".to_owned(),
        name: "cart-7".to_owned(),
        service_account: "cart".to_owned(),
    };
    for counted in &mut usage.workloads {
        let at = "10.0.0.77".parse().unwrap();
        counted.callers.insert(at, cart.clone());
    }
    let breaks = report(&rules, &usage, (None, i64::MIN), now).breaks;
    let told: Vec<_> = breaks
        .iter()
        .map(|one| (&*one.from, one.by, one.rule.as_deref()))
        .collect();
    let named = "10.0.0.77 (shop/cart-7, in clear)";
    let rule = Some("shop/orders/no-cart");
    assert_eq!(told, [(named, By::Mode, rule); 2]);
}

#[test]
fn what_shadow_said_of_a_caller_makes_no_other_of_it() {
    let rules = shop("");
    let mut usage = counts(&[("shop/cart", 80, Decided::AllowedByRule, None)]);
    for counted in &mut usage.workloads {
        let (mut key, seen) = counted.totals.edges.pop_first().unwrap();
        counted.totals.edges.insert(key.clone(), seen);
        key.shadow = Some(palisade_api::usage::Shadow {
            effect: Effect::Deny.into(),
            rule: "shop/orders/no-cart".to_owned(),
        });
        counted.totals.edges.insert(key, seen);
    }
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let report = report(&rules, &usage, (None, i64::MIN), now);
    assert_eq!((report.edges, report.breaks.len()), (1, 1));
    // Of two replicas, each counted twice.
    assert_eq!(report.breaks[0].count, 8);
}

/// As its help says: nothing is in shadow, allowances neither.
#[test]
fn who_is_allowed_in_shadow_would_not_be_kept_out() {
    let rules = |mode: &str| {
        sample::rules(&format!(
            "apiVersion: palisade.dev/v1alpha1
kind: Namespace
metadata: {{name: shop{OPEN}}}
---
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: orders, namespace: shop}}
spec:
  rules:
  - {{name: batch, effect: allow, mode: shadow, from: [{{serviceAccount: shop/batch}}]}}
  - {{name: no-batch, effect: deny, mode: {mode}, from: [{{serviceAccount: shop/cart}}]}}
"
        ))
    };
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let batch = ("shop/batch", 80, Decided::AllowedByShadow, None);
    let usage = counts(&[batch]);
    assert!(report(&rules("enforce"), &usage, (None, i64::MIN), now).ready);
    let denied = report(
        &rules("shadow"),
        &counts(&[batch, ("shop/cart", 80, Decided::AllowedByShadow, None)]),
        (None, i64::MIN),
        now,
    );
    assert_eq!((denied.edges, denied.breaks.len()), (4, 2));
    assert!(denied.breaks.iter().all(|one| one.from == "shop/cart"));
}

#[test]
fn an_edge_is_told_once_whatever_rules_let_it_in() {
    let rules = shop("");
    let usage = counts(&[
        ("shop/cart", 80, Decided::AllowedByRule, Some("shop/a/b")),
        ("shop/cart", 80, Decided::AllowedByRule, Some("shop/c/d")),
        ("shop/cart", 80, Decided::AllowedAsPermissive, None),
    ]);
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let report = report(&rules, &usage, (None, i64::MIN), now);
    assert_eq!((report.edges, report.breaks.len()), (1, 1));
    assert_eq!(report.breaks[0].count, 12);
}

#[test]
fn what_nobody_ever_answered_breaks_nothing() {
    let rules = shop(OPEN);
    let mut usage = counts(&[
        ("shop/batch", 81, Decided::AllowedByShadow, None),
        ("shop/batch", 82, Decided::AllowedByShadow, None),
        ("shop/batch", 80, Decided::AllowedByShadow, None),
    ]);
    let [_, other] = usage.workloads.as_mut_slice() else {
        panic!("there are two replicas");
    };
    // One replica answers at port 80.
    for (key, seen) in &mut other.totals.edges {
        seen.unanswered = if key.port == 80 { 0 } else { seen.count };
    }
    let of_all = |usage: &Usage| {
        let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
        report(&rules, usage, (None, i64::MIN), now)
    };
    assert_eq!(
        of_all(&usage).breaks.len(),
        3,
        "the other says nothing of it"
    );
    for seen in usage.workloads[0].totals.edges.values_mut() {
        seen.unanswered = seen.count;
    }
    let report = of_all(&usage);
    let ports: Vec<_> = report.breaks.iter().map(|one| one.port).collect();
    assert_eq!((report.edges, ports), (1, vec![80]));
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let text = anstream::adapter::strip_str(&print::report(&report, now)).to_string();
    let told = "2 edges left out: nobody ever answered at these ports, and they would be denied\n  \
                shop/batch → shop/orders ports 81-82\n";
    assert!(text.contains(told), "{text}");
    // Nothing else is left of it.
    for counted in &mut usage.workloads {
        counted.totals.edges.retain(|key, _| key.port != 80);
    }
    let report = of_all(&usage);
    assert_eq!((report.ready, report.edges), (true, 0));
}

#[test]
fn sidecars_that_were_not_heard_of_are_counted() {
    let rules = shop("");
    let heard = counts(&[("shop/cart", 80, Decided::AllowedByRule, None)]);
    let all = rules
        .known
        .workloads
        .iter()
        .filter(|one| one.meshed)
        .map(|one| one.replicas.len())
        .sum::<usize>();
    assert!(all > 0, "{:?}", rules.known);
    let running = sidecars(&rules, None);
    assert_eq!(silent(&running, &Usage::default()).len(), all);
    let left = silent(&running, &heard);
    assert_eq!(left.len(), all - heard.workloads.len());
    assert!(left.iter().all(|name| name.contains('/')), "{left:?}");
    let nobody: What = "elsewhere".parse().unwrap();
    assert!(sidecars(&rules, Some(&nobody)).is_empty());
    let many: Vec<_> = (1..8).map(|number| format!("shop/db-{number}")).collect();
    let said = "shop/db-1, shop/db-2, shop/db-3, shop/db-4, shop/db-5 and 2 more";
    assert_eq!(few(&many), said);
}

#[test]
fn sidecars_that_are_cut_off_from_control_are_named_and_those_that_do_not_run_are_not() {
    let mut rules = shop("");
    let all = sidecars(&rules, None);
    let mut usage = Usage {
        connected: all.iter().cloned().collect(),
        ..Usage::default()
    };
    assert_eq!(counted::cut_off(&all, &usage, true), None);
    let cut = all.first().unwrap();
    usage.connected.remove(cut);
    let said = counted::cut_off(&all, &usage, true).unwrap();
    assert!(
        said.starts_with(&format!("{cut} has no connection to control")),
        "{said}"
    );
    let said = counted::cut_off(&all, &usage, false).unwrap();
    assert!(
        said.contains("no connection to a replica of control that could be asked"),
        "{said}"
    );
    let (namespace, name) = cut.split_once('/').unwrap();
    rules
        .known
        .idle
        .insert((namespace.to_owned(), name.to_owned()));
    assert_eq!(
        counted::cut_off(&sidecars(&rules, None), &usage, true),
        None
    );
}

#[test]
fn what_no_sidecar_sees_is_named_and_is_not_ready_alone() {
    let workload = |name: &str, more: &str| {
        format!(
            "---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: shop}}
spec: {{serviceAccount: a, {more}}}
"
        )
    };
    let all = workload("orders-0", "addresses: [10.0.0.1]")
        + &workload("legacy-0", "addresses: [10.0.0.2], meshed: false");
    let mut rules = sample::rules(&all);
    for one in rules.known.workloads.iter_mut().filter(|one| one.meshed) {
        one.excluded_ports = [9000, 9001].into();
    }
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let of = |what: Option<&str>| {
        let what = what.map(|what| what.parse().unwrap());
        report(&rules, &counts(&[]), (what.as_ref(), i64::MIN), now)
    };
    let all = of(None);
    let text = anstream::adapter::strip_str(&print::report(&all, now)).to_string();
    for told in [
        "without a sidecar, so not counted, and open whatever is enforced: shop/legacy-0\n",
        "excluded from the sidecar, so not counted, and open whatever is enforced: shop/orders ports 9000-9001\n",
    ] {
        assert!(text.contains(told), "{text}");
    }
    assert_eq!(of(Some("shop/legacy")).outside.lines().len(), 1);
    assert_eq!(of(Some("elsewhere")).outside, Outside::default());
    let error = |rules: &Rules, what: &str| {
        let what: What = what.parse().unwrap();
        what.is_there(rules).err().map(|error| error.to_string())
    };
    rules.known.namespaces.entry("shop".to_owned()).or_default();
    assert_eq!(error(&rules, "shop"), None, "somebody there has one");
    let alone = error(&rules, "shop/legacy").unwrap();
    assert!(
        alone.contains("no sidecar in workload shop/legacy"),
        "{alone}"
    );
    // Where nobody is in the mesh, nobody is asked about.
    rules.known.workloads.retain(|one| !one.meshed);
    let report = report(&rules, &counts(&[]), (None, i64::MIN), now);
    assert_eq!(report.outside, Outside::default());
}

#[test]
fn who_is_revoked_would_not_break_and_is_told_apart() {
    let revoked = |account: &str| {
        let mut rules = shop(OPEN);
        let revocations = format!(
            "apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {{identities: [spiffe://cluster.local/ns/shop/sa/{account}]}}
"
        );
        rules.revoked = sample::rules(&revocations).revoked;
        rules
    };
    let web = Some("shop/orders/web");
    let usage = counts(&[
        ("shop/web", 80, Decided::AllowedByRule, web),
        ("shop/batch", 80, Decided::AllowedByShadow, None),
        ("shop/batch", 81, Decided::AllowedByShadow, None),
        ("10.0.0.3", 80, Decided::AllowedByShadow, None),
    ]);
    let now = OffsetDateTime::from_unix_timestamp(100).unwrap();
    let of = |account| report(&revoked(account), &usage, (None, i64::MIN), now);
    let told = |report: &Report| -> Vec<_> {
        let told = report.revoked.iter();
        told.map(|one| (one.from.clone(), one.port)).collect()
    };
    let batch = [80, 81].map(|port| ("shop/batch".to_owned(), port));
    let of_batch = of("batch");
    assert_eq!(told(&of_batch), batch);
    assert_eq!(of_batch.edges, 2);
    let broken: Vec<_> = of_batch
        .breaks
        .iter()
        .map(|one| one.from.as_str())
        .collect();
    assert_eq!(broken, ["10.0.0.3 (legacy/old, in clear)"]);
    let text = anstream::adapter::strip_str(&print::report(&of_batch, now)).to_string();
    for part in [
        "2 edges left out: refused by now, whatever is enforced\n",
        "  shop/batch → shop/orders ports 80-81: spiffe://cluster.local/ns/shop/sa/batch is revoked (",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // What is allowed by rules is refused, too; and whoever has an identity, by one that is revoked itself.
    assert_eq!(told(&of("web")), [("shop/web".to_owned(), 80)]);
    let of_orders = of("orders");
    assert_eq!((of_orders.revoked.len(), of_orders.edges), (3, 1));
    assert!(of("stranger").revoked.is_empty());
}
