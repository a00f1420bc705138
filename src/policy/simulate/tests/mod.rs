mod revoked;

use time::macros::datetime;

use super::*;
use crate::policy::rules::sample::{rules, rules_of};
use crate::policy::traffic::sample::{edge, of_shop, traffic};

fn simulated(text: &str, edges: Vec<Edge>) -> Simulated {
    simulate(&rules(text), &traffic(edges), NOW)
}

const NOW: OffsetDateTime = datetime!(2026-11-22 03:00 UTC);

const RULES: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: web, effect: allow, from: [{serviceAccount: shop/web}], ports: [9090]}
  - {name: batch, effect: allow, from: [{serviceAccount: shop/batch}], expires: 2026-11-23T00:00:00Z, reason: x}
  - {name: old, effect: deny, from: [{serviceAccount: shop/batch}], ports: [8081], mode: shadow}
";

const ORDERS: &str = "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
";

#[test]
fn flips_are_told_both_ways_with_what_decides_and_replicas_are_one_workload() {
    let text = format!("{RULES}{ORDERS}");
    let edges = vec![
        edge(&of_shop("web"), "orders-0", 8080, Was::Allowed),
        edge(&of_shop("web"), "orders-1", 8080, Was::Allowed),
        edge(&of_shop("batch"), "orders-0", 8080, Was::Denied),
        edge(&of_shop("intruder"), "orders-0", 8080, Was::Denied),
    ];
    let simulated = simulated(&text, edges);
    let [denied, allowed] = simulated.flips.as_slice() else {
        panic!("{simulated:?}");
    };
    assert_eq!(
        (&*denied.seen.from, &*denied.seen.to),
        ("shop/web", "shop/orders")
    );
    assert_eq!((denied.seen.count, denied.becomes), (20, "deny"));
    let near = denied.near_miss.as_ref().unwrap();
    assert_eq!(
        (&*near.rule.name, near.differs),
        ("shop/orders/web", "ports")
    );
    assert!(near.rule.place.ends_with("rules.yaml:7"), "{near:?}");
    assert_eq!(
        (&*allowed.seen.from, allowed.becomes),
        ("shop/batch", "allow")
    );
    assert_eq!(allowed.rule.as_ref().unwrap().name, "shop/orders/batch");
    assert_eq!(simulated.unchanged.connections, 10);
    assert!(simulated.in_shadow.is_empty() && simulated.unknown.is_empty());
}

#[test]
fn what_only_shadow_would_flip_flips_nothing() {
    let text = format!("{RULES}{ORDERS}");
    let simulated = simulated(
        &text,
        vec![edge(&of_shop("batch"), "orders-0", 8081, Was::Allowed)],
    );
    assert!(simulated.flips.is_empty());
    let shadow = simulated.in_shadow[0].shadow.as_ref().unwrap();
    assert_eq!(
        (shadow.would, &*shadow.rule.name),
        ("deny", "shop/orders/old")
    );
    assert_eq!(simulated.unchanged.edges, 1);
}

#[test]
fn the_moment_that_is_asked_for_decides() {
    let rules = rules(&format!("{RULES}{ORDERS}"));
    let traffic = traffic(vec![edge(
        &of_shop("batch"),
        "orders-0",
        8080,
        Was::Allowed,
    )]);
    assert!(simulate(&rules, &traffic, NOW).flips.is_empty());
    let later = simulate(&rules, &traffic, datetime!(2026-11-23 00:00 UTC));
    assert_eq!(
        later.flips[0].near_miss.as_ref().unwrap().differs,
        "expires"
    );
}

#[test]
fn labels_are_never_guessed() {
    let edges = || vec![edge(&of_shop("web"), "orders-0", 8080, Was::Allowed)];
    let unknown = simulated(RULES, edges());
    assert_eq!(unknown.unknown[0].why, NO_LABELS);
    assert_eq!(unknown.unknown[0].seen.to, "shop/orders");
    assert!(unknown.flips.is_empty());
    // Two workloads of one account, of which the record names neither.
    let other = ORDERS
        .replace("name: orders,", "name: returns,")
        .replace("app: orders", "app: returns");
    let mut nameless = edge(&of_shop("batch"), "orders-0", 8080, Was::Allowed);
    nameless.workload = None;
    let text = format!("{RULES}{ORDERS}{other}");
    let different = simulated(&text, vec![nameless]);
    assert_eq!(different.unknown[0].why, DIFFERENT_LABELS);
    // Where no rule asks for labels, none are needed.
    let by_account = RULES.replace("labels: {app: orders}", "serviceAccount: orders");
    let known = simulated(&by_account, edges());
    assert_eq!((known.unknown.len(), known.flips.len()), (0, 1));
}

#[test]
fn a_namespace_is_taken_to_be_set_as_its_records_show_unless_the_files_say_how() {
    let plain = || {
        let mut plain = edge("10.0.0.9", "orders-0", 8080, Was::Allowed);
        plain.reason = Some("permissive".into());
        vec![plain]
    };
    let text = format!("{RULES}{ORDERS}");
    let shown = simulated(&text, plain());
    assert!(shown.flips.is_empty(), "{shown:?}");
    assert!(shown.warnings[0].contains("palisade.dev/mtls: permissive"));
    let namespace = |version: &str, annotations: &str| {
        let metadata = format!("{{name: shop, annotations: {{{annotations}}}}}");
        format!("---\napiVersion: {version}\nkind: Namespace\nmetadata: {metadata}\n")
    };
    let ours = "palisade.dev/v1alpha1";
    let strict = "palisade.dev/mtls: strict, palisade.dev/authorization: enforce";
    for said in [
        namespace(ours, "palisade.dev/mtls: strict"),
        namespace(ours, strict),
        namespace("v1", strict),
    ] {
        let told = simulated(&format!("{text}{said}"), plain());
        assert_eq!(told.flips[0].becomes, "deny", "{said}");
        let [unlike] = told.warnings.as_slice() else {
            panic!("{:?}", told.warnings);
        };
        let shown = "as its Namespace in the files sets it, without what its records show (palisade.dev/mtls: permissive)";
        assert!(unlike.contains(shown), "{unlike}");
    }
    let as_shown = namespace("v1", "palisade.dev/mtls: permissive");
    let told = simulated(&format!("{text}{as_shown}"), plain());
    assert!(
        told.flips.is_empty() && told.warnings.is_empty(),
        "{told:?}"
    );
}

/// What would not be in force is not promised, or it is said what to do.
#[test]
fn of_what_a_cluster_does_not_take_it_is_said() {
    let text = format!(
        "{RULES}---
apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {{identities: [spiffe://cluster.local/ns/shop/sa/web]}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: shop, annotations: {{palisade.dev/mtls: permissive}}}}
"
    );
    let mut edited = rules(&text);
    let before = edited.known.clone();
    of_cluster(&mut edited, &Known::default());
    assert!(edited.revoked.is_empty());
    let [revocations, namespace] = edited.warnings.as_slice() else {
        panic!("{:?}", edited.warnings);
    };
    assert!(
        revocations.starts_with("a cluster takes no Revocations"),
        "{revocations}"
    );
    let annotate = "kubectl annotate --overwrite namespace shop palisade.dev/mtls=permissive \
                    palisade.dev/authorization=enforce";
    assert!(namespace.ends_with(annotate), "{namespace}");
    // Where it is set so, there is nothing to do.
    let mut edited = rules(&text);
    of_cluster(&mut edited, &before);
    assert_eq!(edited.warnings.len(), 1, "{:?}", edited.warnings);
}

#[test]
fn the_called_sides_own_trust_domain_is_meant_by_a_service_account() {
    let by_account = RULES
        .replace("labels: {app: orders}", "serviceAccount: orders")
        .replace(", ports: [9090]", "");
    let mut partner = edge(
        "spiffe://b.test/ns/shop/sa/web",
        "orders-0",
        8080,
        Was::Denied,
    );
    partner.identity = "spiffe://b.test/ns/shop/sa/orders".parse().ok();
    let flipped = simulated(&by_account, vec![partner]);
    assert_eq!(flipped.flips[0].seen.from, "shop/web");
    let foreign = edge(
        "spiffe://b.test/ns/shop/sa/web",
        "orders-0",
        8080,
        Was::Denied,
    );
    assert!(simulated(&by_account, vec![foreign]).flips.is_empty());
}

#[test]
fn nobody_sheds_a_denied_identity_by_coming_without_it() {
    let rules_of = |effect: &str| {
        format!(
            "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: db, namespace: shop}}
spec:
  target: {{serviceAccount: db}}
  rules:
  - {{name: plain, effect: allow, from: [{{unauthenticated: {{cidr: 10.0.0.0/8}}}}]}}
  - {{name: banned, effect: {effect}, from: [{{serviceAccount: shop/banned}}]}}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: banned-0, namespace: shop}}
spec: {{serviceAccount: banned, addresses: [10.0.0.9]}}
"
        )
    };
    let plain = |addr: &str| vec![edge(addr, "db-0", 5432, Was::Allowed)];
    let denied = simulated(&rules_of("deny"), plain("10.0.0.9"));
    assert_eq!(
        denied.flips[0].rule.as_ref().unwrap().name,
        "shop/db/banned"
    );
    assert!(
        simulated(&rules_of("deny"), plain("10.0.0.8"))
            .flips
            .is_empty()
    );
    assert!(
        simulated(&rules_of("allow"), plain("10.0.0.9"))
            .flips
            .is_empty()
    );
}

const BANNED: &str = "---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: banned-0, namespace: shop}
spec: {serviceAccount: banned, addresses: [10.0.0.1]}
";

/// Rules for all addresses that deny an account.
fn denying(who: &str, account: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: db, namespace: shop}}
spec:
  target: {{serviceAccount: db}}
  rules:
  - {{name: plain, effect: allow, from: [{{unauthenticated: {{cidr: 10.0.0.0/8}}}}]}}
  - {{name: banned, effect: deny, from: [{{serviceAccount: {account}}}], ports: [5432]}}
{who}"
    )
}

/// A call in clear to the database, by whom is known to be at its address.
fn at(was: Was, port: u16, at: Option<(&str, &str)>) -> Edge {
    let mut edge = edge("10.0.0.9", "db-0", port, was);
    edge.at = at.map(|(namespace, replica)| (namespace.into(), replica.into()));
    edge
}

#[test]
fn what_may_be_denied_by_who_is_at_an_address_is_no_flip() {
    let banned = Some(("shop", "banned-0"));
    // Flips, and what is not known.
    for (text, edge, expected) in [
        (
            denying("", "shop/banned"),
            at(Was::Denied, 5432, banned),
            (0, 1),
        ),
        (
            denying("", "shop/banned"),
            at(Was::Denied, 5432, None),
            (0, 1),
        ),
        (
            denying("", "shop/banned"),
            at(Was::Allowed, 5432, banned),
            (0, 1),
        ),
        (
            denying("", "shop/banned"),
            at(Was::Allowed, 5432, None),
            (0, 0),
        ),
        (
            denying("", "shop/banned"),
            at(Was::Denied, 1, banned),
            (1, 0),
        ),
        (
            denying("", "b/banned"),
            at(Was::Denied, 5432, banned),
            (1, 0),
        ),
        // It has another address now, and is known by what the record says.
        (
            denying(BANNED, "shop/banned"),
            at(Was::Denied, 5432, banned),
            (0, 0),
        ),
        (
            denying(BANNED, "shop/banned"),
            at(Was::Allowed, 5432, banned),
            (1, 0),
        ),
        (
            denying(BANNED, "shop/other"),
            at(Was::Denied, 5432, banned),
            (1, 0),
        ),
    ] {
        let told = simulated(&text, vec![edge.clone()]);
        let counts = (told.flips.len(), told.unknown.len());
        assert_eq!(counts, expected, "{edge:?} by\n{text}");
    }
}

#[test]
fn what_all_of_a_namespace_is_denied_is_known_of_each_of_it() {
    let denying_all = |whom: &str| denying("", "x/y").replace("serviceAccount: x/y", whom);
    let namespace = |name: &str| denying_all(&format!("namespace: {name}"));
    let all_of_mesh = || denying_all("trustDomain: cluster.local");
    let banned = Some(("shop", "banned-0"));
    // Flips, and what is not known.
    for (text, edge, expected) in [
        (namespace("shop"), at(Was::Denied, 5432, banned), (0, 0)),
        (namespace("shop"), at(Was::Allowed, 5432, banned), (1, 0)),
        (namespace("b"), at(Was::Allowed, 5432, banned), (0, 0)),
        (all_of_mesh(), at(Was::Allowed, 5432, banned), (1, 0)),
        // Or nobody of the mesh.
        (namespace("shop"), at(Was::Denied, 5432, None), (0, 1)),
        (all_of_mesh(), at(Was::Denied, 5432, None), (0, 1)),
    ] {
        let told = simulated(&text, vec![edge.clone()]);
        let counts = (told.flips.len(), told.unknown.len());
        assert_eq!(counts, expected, "{edge:?} by\n{text}");
    }
}

#[test]
fn what_is_shown_says_which_way_how_often_and_why() {
    let text = format!("{RULES}{ORDERS}");
    let edges = vec![
        edge(&of_shop("web"), "orders-0", 8080, Was::Allowed),
        edge(&of_shop("batch"), "orders-0", 8080, Was::Denied),
    ];
    let simulated = simulated(&text, edges);
    let text = anstream::adapter::strip_str(&print::text(&simulated)).to_string();
    assert!(
        text.starts_with("allow → deny  10 connections on 1 edge\n"),
        "{text}"
    );
    for part in [
        "  shop/web → shop/orders:8080  10 connections  2026-11-22 02:23:12Z to 2026-11-22 02:30:00Z\n",
        "    no rule allows it\n    nearest: shop/orders/web, but for its ports  ",
        "deny → allow  10 connections on 1 edge\n",
        "    by shop/orders/batch  ",
        "unchanged: 0 connections on 0 edges\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let json = print::json(&simulated).unwrap();
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(last["denied"]["connections"], 10);
    assert_eq!(json.lines().count(), 3);
}

#[test]
fn calls_from_and_to_whom_the_files_revoke_become_denied_whatever_rules_and_labels_say() {
    let revoked = |account: &str| {
        format!(
            "---
apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {{identities: [spiffe://cluster.local/ns/shop/sa/{account}]}}
"
        )
    };
    let edges = || {
        vec![
            edge(&of_shop("web"), "orders-0", 9090, Was::Allowed),
            edge(&of_shop("batch"), "orders-0", 8081, Was::Allowed),
            edge("10.0.0.9", "orders-0", 8080, Was::Denied),
        ]
    };
    let flips = |text: &str| -> Vec<[String; 4]> {
        let simulated = simulated(text, edges());
        assert!(simulated.unknown.is_empty(), "{simulated:?}");
        let flips = simulated.flips.iter().map(|flip| {
            let revoked = flip.revoked.as_ref().unwrap();
            assert!(revoked.place.contains("rules.yaml:"), "{revoked:?}");
            assert!(print::text(&simulated).contains(&format!("{} is revoked", revoked.identity)));
            let account = revoked.identity.rsplit('/').next().unwrap().to_owned();
            [&*flip.seen.from, flip.becomes, flip.reason, &account].map(str::to_owned)
        });
        flips.collect()
    };
    let denied = |from: &str, account: &str| [from, "deny", "revoked", account].map(str::to_owned);
    let web = format!("{RULES}{ORDERS}{}", revoked("web"));
    assert_eq!(flips(&web), [denied("shop/web", "web")]);
    // Whoever comes without an identity is not asked for one, and is shown none.
    let orders = format!("{RULES}{ORDERS}{}", revoked("orders"));
    let both = [denied("shop/batch", "orders"), denied("shop/web", "orders")];
    assert_eq!(flips(&orders), both);
    // Of whom no labels are known, that is known.
    let only = |account: &str| simulated(&format!("{RULES}{}", revoked(account)), edges());
    assert_eq!((only("web").flips.len(), only("web").unknown.len()), (1, 2));
}

#[test]
fn what_is_called_where_the_mesh_was_not_read_is_unknown() {
    let text = format!("{RULES}{ORDERS}");
    let edges = || traffic(vec![edge(&of_shop("web"), "orders-0", 9090, Was::Allowed)]);
    let elsewhere = simulate(&rules_of("other", &text), &edges(), NOW);
    assert_eq!(elsewhere.unknown[0].why, NOT_READ);
    assert!(elsewhere.flips.is_empty());
    let within = simulate(&rules_of("shop", &text), &edges(), NOW);
    assert_eq!(within.unchanged.edges, 1, "{within:?}");
}
