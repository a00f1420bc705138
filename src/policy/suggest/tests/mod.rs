use palisade_api::manifest::{self, Manifest};
use palisade_api::policy::{From, PortRange};
use time::macros::datetime;

use super::*;
use crate::policy::rules::of_mesh;
use crate::policy::rules::sample::{self, rules, rules_of};
use crate::policy::traffic::sample::{edge, of_shop, traffic};
use crate::policy::traffic::{Edge, Was};

mod unanswered;
mod widened;

const LEAST: Wanted = Wanted {
    by_namespace: false,
    include_denied: false,
    mode: Mode::Shadow,
};

fn suggested(text: &str, edges: Vec<Edge>, wanted: Wanted) -> Suggested {
    let now = datetime!(2026-11-22 03:00 UTC);
    suggest(&rules(text), &traffic(edges), wanted, now)
}

/// What is printed, read by the validator.
fn read(suggested: &Suggested) -> Vec<AuthorizationPolicy> {
    let text = print::yaml(suggested);
    let read = manifest::parse("suggested.yaml", &text).unwrap_or_else(|found| {
        panic!("{found:?} in\n{text}");
    });
    let policies = read.into_iter().map(|one| {
        let Manifest::Policy(policy) = one else {
            panic!("{one:?}");
        };
        policy
    });
    policies.collect()
}

fn deployment(name: &str, account: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec: {{template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{serviceAccountName: {account}}}}}}}
---
"
    )
}

fn shop() -> Vec<Edge> {
    vec![
        edge(&of_shop("web"), "orders-0", 8080, Was::Allowed),
        edge(&of_shop("web"), "orders-1", 8081, Was::Allowed),
        edge(&of_shop("web"), "orders-1", 9000, Was::Allowed),
        edge(&of_shop("batch"), "orders-0", 8080, Was::Allowed),
        edge(&of_shop("orders"), "db-0", 5432, Was::Allowed),
        edge(&of_shop("intruder"), "db-0", 5432, Was::Denied),
    ]
}

#[test]
fn what_is_printed_reads_as_the_least_rules_in_shadow() {
    let known = deployment("orders", "orders") + &deployment("db", "db");
    let suggested = suggested(&known, shop(), LEAST);
    let policies = read(&suggested);
    let [db, orders] = policies.as_slice() else {
        panic!("{policies:?}");
    };
    assert_eq!(orders.target.labels["app"], "orders");
    assert_eq!((&*orders.name, orders.rules.len()), ("orders", 2));
    let web = &orders.rules[1];
    assert_eq!((&*web.name, web.mode), ("from-web", Mode::Shadow));
    let range = |first, last| PortRange { first, last };
    assert_eq!(web.ports, [range(8080, 8081), range(9000, 9000)]);
    let account = From::ServiceAccount {
        namespace: "shop".into(),
        name: "web".into(),
    };
    assert_eq!(web.from, [account]);
    assert_eq!(db.rules.len(), 1, "the intruder was denied");
    let text = print::yaml(&suggested);
    for part in [
        "  # 30 connections, first 2026-11-22 02:23:12Z, last 2026-11-22 02:30:00Z\n  - name: from-web\n",
        "# left out, as it was denied: shop/intruder at port 5432, 10 times, last 2026-11-22 02:30:00Z\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(
        print::summary(&suggested)
            .starts_with("2 policies with 3 rules for 50 connections; 10 connections denied")
    );
}

#[test]
fn without_a_label_of_its_own_a_workload_is_selected_by_its_account() {
    let by_account = |known: &str| {
        let policies = read(&suggested(known, shop(), LEAST));
        policies[1].target.service_account.clone()
    };
    assert_eq!(by_account("").as_deref(), Some("orders"));
    // Another workload has the same label.
    let known = deployment("orders", "orders")
        + &deployment("other", "x").replace("app: other", "app: orders");
    assert_eq!(by_account(&known).as_deref(), Some("orders"));
    // Another workload has the same account, and the record does not say which of the two it was.
    let mut nameless = edge(&of_shop("web"), "orders-0", 8080, Was::Allowed);
    nameless.workload = None;
    let known = deployment("orders", "orders") + &deployment("returns", "orders");
    let suggested = suggested(&known, vec![nameless], LEAST);
    assert!(suggested.targets[0].unsure[0].ends_with("shared by 2 workloads: orders, returns"));
    assert_eq!(
        read(&suggested)[0].target.service_account.as_deref(),
        Some("orders")
    );
}

#[test]
fn what_rules_admit_is_left_out_and_names_that_are_taken_are_not_taken_again() {
    let existing = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {serviceAccount: orders}
  rules:
  - {name: web, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080-8081]}
  - {name: old, effect: deny, from: [{serviceAccount: shop/batch}]}
";
    let suggested = suggested(existing, shop(), LEAST);
    assert_eq!(suggested.admitted, 20);
    let policies = read(&suggested);
    assert_eq!(policies[1].name, "orders-suggested");
    let evidence = &suggested.targets[1].evidence;
    let [batch, web] = evidence.as_slice() else {
        panic!("{evidence:?}");
    };
    assert_eq!((web.count, policies[1].rules[1].ports.len()), (10, 1));
    assert_eq!(
        batch.unsure,
        ["shop/orders/old denies it, whatever is allowed"]
    );
}

#[test]
fn nothing_is_wider_than_asked_for() {
    let other = "spiffe://cluster.local/ns/tools/sa/probe";
    let foreign = "spiffe://b.test/ns/shop/sa/web";
    let edges = || {
        let mut edges = shop();
        edges.push(edge(other, "orders-0", 8080, Was::Allowed));
        edges.push(edge(foreign, "orders-0", 8080, Was::Allowed));
        edges.push(edge("10.0.0.9", "orders-0", 8080, Was::Allowed));
        edges
    };
    let from = |wanted| {
        let policies = read(&suggested("", edges(), wanted));
        let rules = policies[1].rules.iter();
        let from = rules.map(|rule| (rule.name.clone(), rule.from[0].clone()));
        from.collect::<Vec<_>>()
    };
    let names =
        |rules: Vec<(String, From)>| rules.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let least = from(LEAST);
    assert!(
        !least
            .iter()
            .any(|(_, from)| matches!(from, From::Namespace(_) | From::TrustDomain(_)))
    );
    assert_eq!(least[0].1, From::Identity(foreign.parse().unwrap()));
    let address = From::Unauthenticated("10.0.0.9/32".parse().unwrap());
    assert!(
        least.contains(&("from-10-0-0-9".to_owned(), address)),
        "{least:?}"
    );
    let wide = Wanted {
        by_namespace: true,
        ..LEAST
    };
    assert_eq!(
        names(from(wide)),
        [
            "from-b-test-ns-shop-sa-web",
            "from-tools-probe",
            "from-10-0-0-9",
            "from-namespace-shop"
        ],
        "one account of a namespace is no reason to name all of it"
    );
}

#[test]
fn what_was_denied_is_admitted_where_it_is_asked_for() {
    let wanted = Wanted {
        include_denied: true,
        mode: Mode::Enforce,
        ..LEAST
    };
    let suggested = suggested("", shop(), wanted);
    let policies = read(&suggested);
    assert_eq!(policies[0].rules[0].name, "from-intruder");
    assert_eq!(policies[0].rules[0].mode, Mode::Enforce);
    assert_eq!(
        suggested.targets[0].evidence[0].unsure,
        ["denied 10 times, never allowed"]
    );
    assert!(suggested.targets[0].denied.is_empty());
}

#[test]
fn what_was_denied_is_not_called_admitted_where_nobody_knows_who_it_is() {
    let existing = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: db, namespace: shop}
spec:
  target: {serviceAccount: db}
  rules:
  - {name: plain, effect: allow, from: [{unauthenticated: {cidr: 10.0.0.0/8}}]}
  - {name: banned, effect: deny, from: [{serviceAccount: shop/banned}]}
";
    let mut denied = edge("10.0.0.9", "db-0", 5432, Was::Denied);
    denied.at = Some(("shop".into(), "banned-0".into()));
    let found = suggested(existing, vec![denied.clone()], LEAST);
    assert_eq!((found.admitted, found.targets[0].denied.len()), (0, 1));
    let wanted = Wanted {
        include_denied: true,
        ..LEAST
    };
    let found = suggested(existing, vec![denied], wanted);
    let unsure = &found.targets[0].evidence[0].unsure;
    assert!(
        unsure[2].starts_with("shop/db/banned may deny it"),
        "{unsure:?}"
    );
}

#[test]
fn what_is_not_sure_is_marked() {
    let once = |from: &str| {
        let mut once = edge(from, "orders-0", 8080, Was::Allowed);
        once.count = 1;
        once
    };
    let known = deployment("web", "default") + &deployment("api", "default");
    for (known, from, expected) in [
        ("", of_shop("web"), vec!["seen once"]),
        (
            "",
            of_shop("default"),
            vec![
                "seen once",
                "caller is the service account default, which every workload has that names no other",
            ],
        ),
        (
            &known,
            of_shop("default"),
            vec![
                "seen once",
                "caller is the service account default, shared by 2 workloads",
            ],
        ),
        (
            "",
            "fd00::9".to_owned(),
            vec!["seen once", "caller without an identity, at an address"],
        ),
    ] {
        let suggested = suggested(known, vec![once(&from)], LEAST);
        assert_eq!(suggested.targets[0].evidence[0].unsure, expected, "{from}");
        read(&suggested);
    }
}

#[test]
fn only_denied_calls_are_no_policy_and_names_are_labels() {
    let denied = edge(&of_shop("web"), "db-0", 5432, Was::Denied);
    let nothing = suggested("", vec![denied], LEAST);
    assert!(
        print::yaml(&nothing)
            .lines()
            .all(|line| line.starts_with('#'))
    );
    let long = format!("spiffe://{}/ns/shop/sa/web.v2", "a".repeat(100));
    let one = edge(&long, "db-0", 1, Was::Allowed);
    let other = edge(&format!("{long}/x"), "db-0", 1, Was::Allowed);
    let policies = read(&suggested("", vec![one, other], LEAST));
    assert_eq!(policies[0].rules.len(), 2);
    assert!(policies[0].rules[1].name.ends_with("-2"));
}

#[test]
fn objects_come_with_their_evidence() {
    let json = print::json(&suggested("", shop(), LEAST)).unwrap();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["policy"]["kind"], "AuthorizationPolicy");
    assert_eq!(
        lines[1]["policy"]["spec"]["rules"][1]["name"],
        lines[1]["evidence"][1]["rule"]
    );
    assert_eq!(lines[1]["evidence"][1]["count"], 30);
    assert_eq!(lines[0]["denied"][0]["from"], "shop/intruder");
}

#[test]
fn what_was_decided_otherwise_or_for_a_while_is_marked() {
    let unsure = |edges: Vec<Edge>| {
        let suggested = suggested("", edges, LEAST);
        read(&suggested);
        assert_eq!(suggested.targets[0].denied, []);
        let evidence = &suggested.targets[0].evidence[0];
        (evidence.count, evidence.unsure.join("; "))
    };
    let allowed = || edge(&of_shop("web"), "orders-0", 8080, Was::Allowed);
    let denied = |rule: Option<&str>| Edge {
        rule: rule.map(Into::into),
        ..edge(&of_shop("web"), "orders-1", 8080, Was::Denied)
    };
    for (rule, expected) in [
        (None, "also denied 10 times, as no rule allowed it"),
        (
            Some("shop/orders/no-web"),
            "also denied 10 times, by shop/orders/no-web",
        ),
    ] {
        assert_eq!(
            unsure(vec![allowed(), denied(rule)]),
            (10, expected.to_owned())
        );
    }
    let mut emergency = allowed();
    emergency.passing.count = 10;
    emergency.passing.rule = Some("shop/break-glass-x/break-glass".into());
    emergency.passing.because = Some("INC-7".into());
    let rule = "shop/break-glass-x/break-glass (INC-7)";
    let all = format!("allowed only by a rule that ends, 10 times: {rule}");
    assert_eq!(unsure(vec![emergency.clone()]), (10, all));
    let some = format!("allowed 10 of 20 times by a rule that ends: {rule}");
    assert_eq!(
        unsure(vec![emergency.clone(), allowed()]),
        (20, some.clone())
    );
    // The called pod is gone, and its records with it; what another one says of the same port is enough.
    let gone = Edge {
        one_sided: 10,
        ..edge(&of_shop("web"), "orders-1", 8080, Was::Allowed)
    };
    let not_known = "only the caller's records tell of it at port 8080: by which rule it was let in is not known";
    assert_eq!(unsure(vec![gone.clone()]), (10, not_known.to_owned()));
    assert_eq!(unsure(vec![gone.clone(), allowed()]), (20, String::new()));
    assert_eq!(
        unsure(vec![gone, emergency]),
        (20, format!("{some}; {not_known}"))
    );
}

#[test]
fn what_is_there_in_shadow_is_not_suggested_again() {
    let once = suggested("", shop(), LEAST);
    let there = print::yaml(&once);
    let again = suggested(&there, shop(), LEAST);
    let text = print::yaml(&again);
    assert!(
        again.targets.iter().all(|one| one.policy.is_none()),
        "{text}"
    );
    let told = "# left out, as shop/orders/from-web is there in shadow: shop/web at port 8080, 8081, 9000, 30 times";
    assert!(text.contains(told), "{text}");
    let summary = print::summary(&again);
    assert!(
        summary.contains("50 connections left out, as rules in shadow would admit them"),
        "{summary}"
    );
    // A port more is a rule more, for that port.
    let more = edge(&of_shop("web"), "orders-0", 9001, Was::Allowed);
    let again = suggested(&there, [shop(), vec![more]].concat(), LEAST);
    let policies = read(&again);
    let [orders] = policies.as_slice() else {
        panic!("{policies:?}");
    };
    assert_eq!(orders.name, "orders-suggested");
    assert_eq!(orders.rules.len(), 1);
    let port = PortRange {
        first: 9001,
        last: 9001,
    };
    assert_eq!(orders.rules[0].ports, [port]);
}

#[test]
fn nothing_is_suggested_where_the_rules_were_not_read() {
    let known = deployment("orders", "orders") + &deployment("db", "db");
    for (namespace, edges) in [("shop", shop().len()), ("other", 0)] {
        let mut seen = traffic(shop());
        assert_eq!(seen.leave_out_unread(&rules_of(namespace, &known)), 0);
        assert_eq!(seen.edges.len(), edges, "{namespace}");
        let said = seen.warnings.join("\n");
        assert_eq!(said.contains("ask with -n shop"), edges == 0, "{said}");
    }
}

/// Whoever asks by a script must not take it for all that there is.
#[test]
fn what_a_mistake_keeps_from_being_suggested_is_counted() {
    let bad = sample::mistaken("generation 3 stays in force: no", Some(3));
    let server = sample::readable().has(&sample::own_rules("shop"), sample::list(&[bad]));
    let rules = of_mesh(&server.mesh(None)).unwrap();
    let mut seen = traffic(shop());
    let all: u64 = seen.edges.iter().map(|edge| edge.count).sum();
    assert_eq!(seen.leave_out_unread(&rules), all);
    assert!(seen.edges.is_empty());
    let said = seen.warnings.join("\n");
    let left_out = format!(
        "calls into shop are left out ({all} connections): AuthorizationPolicy shop/orders has"
    );
    assert!(said.contains(&left_out), "{said}");
    let suggested = Suggested {
        unknown: all,
        ..Suggested::default()
    };
    assert_eq!(
        print::summary(&suggested),
        format!(
            "nothing to suggest; {all} connections left out, as it is not known what is decided there"
        )
    );
}

#[test]
fn for_whom_is_revoked_no_rule_is_suggested() {
    let revoked = |account: &str| {
        format!(
            "apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {{identities: [spiffe://cluster.local/ns/shop/sa/{account}]}}
"
        )
    };
    let edges = || {
        vec![
            edge(&of_shop("web"), "orders-0", 8080, Was::Allowed),
            edge(&of_shop("web"), "orders-0", 8081, Was::Denied),
            edge(&of_shop("cron"), "orders-0", 8080, Was::Allowed),
            edge("10.0.0.9", "orders-0", 8080, Was::Allowed),
        ]
    };
    let wanted = Wanted {
        by_namespace: true,
        include_denied: true,
        mode: Mode::Shadow,
    };
    let rules_for = |account: &str| -> (Vec<String>, String) {
        let suggested = suggested(&revoked(account), edges(), wanted);
        let rules = read(&suggested).into_iter().flat_map(|one| one.rules);
        (
            rules.map(|rule| rule.name).collect(),
            print::yaml(&suggested),
        )
    };
    let (rules, text) = rules_for("web");
    assert_eq!(rules, ["from-cron", "from-10-0-0-9"], "{text}");
    let id = of_shop("web");
    let line = format!("# left out, as {id} is revoked (");
    assert!(text.contains(&line), "{text}");
    assert!(
        text.contains("): shop/web at ports 8080-8081, 20 times, last "),
        "{text}"
    );
    let (rules, text) = rules_for("orders");
    assert_eq!(rules, ["from-10-0-0-9"], "{text}");
    let suggested = suggested(&revoked("orders"), edges()[..3].to_vec(), wanted);
    let text = print::yaml(&suggested);
    assert!(
        text.starts_with("# shop/orders: nothing that a rule could admit\n"),
        "{text}"
    );
    assert!(print::summary(&suggested).contains("30 connections left out, as the caller or"));
    assert!(print::json(&suggested).unwrap().contains("\"revoked\":[{"));
}
