use std::io::Write as _;

use palisade_api::manifest::Diagnostic;
use time::macros::datetime;

use super::*;

const MESH: &str = "apiVersion: palisade.dev/v1alpha1
kind: LocalMesh
metadata: {name: m}
spec:
  rules: rules
  workloads:
  - {name: web, namespace: shop, command: [x]}
  - {name: orders, namespace: shop, command: [x], ports: [8080]}
  - {name: mail, namespace: shop, serviceAccount: jobs, command: [x]}
  - {name: clean, namespace: shop, serviceAccount: jobs, command: [x]}
  - {name: old, namespace: legacy, meshed: false, command: [x]}
";

fn policy(rules: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: orders, namespace: shop}}
spec:
  target: {{labels: {{app: orders}}}}
  rules:
{rules}"
    )
}

/// What is found in rules for that mesh, as `code line:column`.
fn found_with(rules: &str, seen: Option<&Seen>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/r.yaml"), rules).unwrap();
    let mesh = folder.path().join("mesh.yaml");
    std::fs::write(&mesh, MESH).unwrap();
    let rules = rules::all_of_files(&[mesh], None).unwrap();
    let sheets = Sheets::of(&rules);
    let found = findings(&Asked {
        rules: &rules,
        documents: &sheets.documents,
        now: datetime!(2026-11-22 00:00 UTC),
        soon: time::Duration::days(7),
        seen,
    });
    let shown = found.iter().map(|one| {
        let Diagnostic { line, column, .. } = &one.diagnostic;
        format!("{} {line}:{column}", one.code.as_str())
    });
    shown.collect()
}

fn found(rules: &str) -> Vec<String> {
    found_with(&policy(rules), None)
}

#[test]
fn what_nobody_with_a_sidecar_is_protected_by_is_told_once() {
    let rules = policy(
        "  - {name: a, effect: deny, from: [{serviceAccount: shop/web}]}
  - {name: b, effect: allow, from: [{serviceAccount: shop/orders}]}
",
    );
    let rules = rules.replace("namespace: shop}", "namespace: legacy}");
    let old = rules.replace("{app: orders}", "{app: old}");
    assert_eq!(found_with(&old, None), ["selects-nothing 7:12"]);
}

#[test]
fn good_rules_are_passed_over_in_silence() {
    let good = "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080]}\n";
    assert_eq!(found(good), [""; 0]);
}

#[test]
fn each_lint_finds_its_fault_where_it_stands() {
    for (rules, expected) in FAULTS {
        assert_eq!(found(rules), *expected, "{rules}");
    }
}

/// Rules, and what is found in them.
const FAULTS: &[(&str, &[&str])] = &[
        (
            "  - {name: a, effect: permit, form: x}\n",
            &["invalid 7:23", "invalid 7:31", "invalid 7:37"],
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/wbe}]}\n",
            &["unknown 7:54"],
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/jobs}]}\n",
            &["shared-account 7:54"],
        ),
        (
            "  - {name: a, effect: allow, from: [{identity: \"spiffe://cluster.local/ns/shop/sa/jobs\"}]}\n",
            &["shared-account 7:48"],
        ),
        // What a denial shuts out may be many.
        (
            "  - {name: a, effect: deny, from: [{serviceAccount: shop/jobs}]}\n",
            &[],
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/default}]}\n",
            &["default-account 7:54"],
        ),
        (
            "  - {name: a, effect: allow, from: [{namespace: shop}]}
  - {name: b, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080]}\n",
            &["repeated 8:12"],
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], expires: 2026-11-21T00:00:00Z, reason: x}\n",
            &["expired 7:75"],
        ),
        // That another says the same does not matter any more.
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], expires: 2026-11-21T00:00:00Z, reason: x}
  - {name: b, effect: allow, from: [{serviceAccount: shop/web}]}\n",
            &["expired 7:75"],
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], expires: 2026-11-28T00:00:00Z, reason: x}\n",
            &["expires-soon 7:75"],
        ),
        (
            "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], expires: 2026-11-30T00:00:00Z, reason: x}\n",
            &[],
        ),
];

/// What a mistake is told of beside: it hides nothing that is to be said of the same rule, or of others of its file.
#[test]
fn a_mistake_hides_no_other_fault() {
    let rules = "  - {name: a, effect: allow, from: [{serviceAccount: shop/wbe}], expires: 2026-11-21T00:00:00Z, reason: x}
  - {name: a, effect: allow, from: [{serviceAccount: shop/jobs}], expires: 2026-11-24T00:00:00Z, reason: x}
";
    let faults = [
        "unknown 7:54",
        "expired 7:75",
        "invalid 8:12",
        "shared-account 8:54",
        "expires-soon 8:76",
    ];
    assert_eq!(found(rules), faults);
    let faults = [&faults[..2], &faults[3..]].concat();
    let once = policy(&rules.replacen("name: a", "name: b", 1));
    for (good, bad, at) in [
        ("v1alpha1", "v1", "invalid 1:13"),
        ("apiVersion: palisade.dev/", "apiVersion: ", "invalid 1:13"),
        ("kind: Auth", "kind: auth", "invalid 2:7"),
        ("spec:", "spc:", "invalid 4:1"),
    ] {
        let expected = [&[at], &*faults].concat();
        assert_eq!(
            found_with(&once.replace(good, bad), None),
            expected,
            "{bad}"
        );
    }
}

#[test]
fn faults_of_several_objects_are_found() {
    let rules = "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}]}\n";
    let denial = "---
apiVersion: palisade.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: {name: base}
spec: {rules: [{name: no-shop, effect: deny, from: [{namespace: shop}]}]}
---
apiVersion: palisade.dev/v1alpha1
kind: Namespace
metadata: {name: shop, annotations: {palisade.dev/mtls: permissive}}
";
    let text = policy(rules) + denial;
    assert_eq!(
        found_with(&text, None),
        ["unreachable 7:12", "permissive-denial 12:23"]
    );
    let elsewhere = policy(rules).replace("app: orders", "app: ordres");
    assert_eq!(found_with(&elsewhere, None), ["selects-nothing 5:26"]);
    let test = format!(
        "{}---\napiVersion: palisade.dev/v1alpha1\nkind: PolicyTest\nmetadata: {{name: t}}\nspec: {{tests: [{{form: x}}]}}\n",
        policy(rules)
    );
    let found = found_with(&test, None);
    assert!(
        found.iter().all(|one| one.starts_with("invalid 12:")),
        "{found:?}"
    );
    assert!(!found.is_empty());
}

/// Records of callers and ports that the rule `shop/orders/a` admitted.
fn seen(callers: &[(&str, u16)]) -> Seen {
    recorded(callers, &[])
}

/// The same, where nobody was at some ports.
fn recorded(callers: &[(&str, u16)], unanswered: &[u16]) -> Seen {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let called = r#""dst.namespace": "shop", "dst.workload": "orders-0", "dst.identity": "spiffe://cluster.local/ns/shop/sa/orders""#;
    for (conn, (caller, port)) in callers.iter().enumerate() {
        let who = if caller.contains(':') {
            format!(r#""src.addr": "10.9.9.9:1", "src.identity": "{caller}""#)
        } else {
            format!(r#""src.addr": "{caller}:4000""#)
        };
        let why = match unanswered.contains(port) {
            true => r#", "error": "connect""#,
            false => "",
        };
        writeln!(
            file,
            r#"{{"time": "2026-11-22T02:23:12Z", "conn.id": "{conn}", "event": "close", "direction": "inbound", {who}, {called}, "dst.port": {port}, "policy.decision": "allow", "policy.rule": "shop/orders/a"{why}}}"#
        )
        .unwrap();
        // The caller's side decides nothing.
        writeln!(
            file,
            r#"{{"time": "2026-11-22T02:23:12Z", "conn.id": "{conn}", "event": "close", "direction": "outbound", {who}, {called}, "dst.port": 1, "policy.decision": "allow", "policy.rule": "shop/orders/a"}}"#
        )
        .unwrap();
    }
    Seen::read(&[file.path().to_owned()]).unwrap()
}

#[test]
fn rules_that_are_wider_than_the_records_are_found() {
    let web = "spiffe://cluster.local/ns/shop/sa/web";
    for (rule, callers, expected) in [
        (
            "[{serviceAccount: shop/web}], ports: [8080]",
            &[(web, 8080)][..],
            &[][..],
        ),
        (
            "[{namespace: shop}], ports: [8080]",
            &[(web, 8080)],
            &["broad 7:49"],
        ),
        (
            "[{serviceAccount: shop/web}]",
            &[(web, 8080)],
            &["broad 7:12"],
        ),
        (
            "[{serviceAccount: shop/web}, {serviceAccount: shop/orders}], ports: [8080-8081, 1]",
            &[(web, 8080)],
            &["broad 7:82", "broad 7:105", "broad 7:116"],
        ),
        (
            "[{unauthenticated: {cidr: 10.0.0.0/8}}], ports: [8080]",
            &[("10.2.0.7", 8080), ("10.2.0.9", 8080)],
            &["broad 7:62"],
        ),
        (
            "[{unauthenticated: {cidr: 10.2.0.0/28}}], ports: [8080]",
            &[("10.2.0.7", 8080), ("10.2.0.9", 8080)],
            &[],
        ),
        (
            "[{trustDomain: cluster.local}], ports: [8080]",
            &[(web, 8080)],
            &["broad 7:51"],
        ),
    ] {
        let rules = policy(&format!("  - {{name: a, effect: allow, from: {rule}}}\n"));
        let found = found_with(&rules, Some(&seen(callers)));
        assert_eq!(found, expected, "{rule}");
    }
}

/// By what they admit, not by their names: a rule that is new has admitted nobody yet.
#[test]
fn rules_are_held_against_the_traffic_of_records_whatever_admitted_it() {
    let seen = seen(&[("spiffe://cluster.local/ns/shop/sa/web", 8080)]);
    let rule = |from: &str, port: u16| {
        policy(&format!(
            "  - {{name: new, effect: allow, from: [{{serviceAccount: {from}}}], ports: [{port}]}}\n"
        ))
    };
    let found = |rules: &str| found_with(rules, Some(&seen));
    assert_eq!(found(&rule("shop/web", 8080)), [""; 0]);
    let unused = ["broad 7:12"];
    assert_eq!(found(&rule("shop/web", 8081)), unused);
    assert_eq!(found(&rule("shop/orders", 8080)), unused);
    let of_another = rule("shop/web", 8080).replace("app: orders", "app: mail");
    assert_eq!(found(&of_another), unused);
}

#[test]
fn no_rule_need_admit_to_a_port_where_nobody_is() {
    let web = "spiffe://cluster.local/ns/shop/sa/web";
    let rule = policy(
        "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080, 9000]}\n",
    );
    let calls = [(web, 8080), (web, 9000)];
    assert_eq!(found_with(&rule, Some(&recorded(&calls, &[]))), [""; 0]);
    let found = found_with(&rule, Some(&recorded(&calls, &[9000])));
    assert_eq!(found, ["broad 7:80"]);
}

/// A rule by labels may be about the one that was called, or about another of its namespace.
#[test]
fn where_labels_are_not_known_rules_that_select_by_them_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let by_labels = policy("  - {name: a, effect: allow, from: [{namespace: shop}]}\n");
    let by_account = by_labels.replace("labels: {app: orders}", "serviceAccount: orders");
    let file = folder.path().join("r.yaml");
    let seen = seen(&[("spiffe://cluster.local/ns/shop/sa/web", 8080)]);
    let told = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let rules = rules::all_of_files(std::slice::from_ref(&file), None).unwrap();
        let sheets = Sheets::of(&rules);
        let asked = Asked {
            rules: &rules,
            documents: &sheets.documents,
            now: datetime!(2026-11-22 00:00 UTC),
            soon: time::Duration::days(7),
            seen: Some(&seen),
        };
        let (found, left_out) = broad::broad(&asked, &seen);
        (found.len(), left_out)
    };
    let (found, left_out) = told(&by_labels);
    let left_out = left_out.unwrap();
    assert_eq!(found, 0);
    assert!(left_out.starts_with("1 rule is not held"), "{left_out}");
    assert!(left_out.ends_with("name a mesh file or manifests that say who has which labels"));
    assert_eq!(told(&by_account), (2, None), "the record names the account");
    let at_others = by_labels.replace("shop}]", "jobs}]");
    assert_eq!(told(&at_others), (1, None), "nobody came whom it may admit");
    let manifest = "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
";
    assert_eq!(told(&format!("{by_labels}{manifest}")), (2, None));
}

#[test]
fn of_rules_alone_nothing_is_said_about_who_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let text = policy("  - {name: a, effect: allow, from: [{serviceAccount: shop/wbe}]}\n");
    std::fs::write(folder.path().join("r.yaml"), text).unwrap();
    let rules = rules::all_of_files(&[folder.path().to_owned()], None).unwrap();
    let sheets = Sheets::of(&rules);
    let asked = Asked {
        rules: &rules,
        documents: &sheets.documents,
        now: OffsetDateTime::now_utc(),
        soon: time::Duration::days(7),
        seen: None,
    };
    assert_eq!(findings(&asked), []);
}

#[test]
fn objects_have_fields_where_files_have_lines() {
    let folder = tempfile::tempdir().unwrap();
    let text = policy(
        "  - {name: a, effect: allow, from: [{serviceAccount: shop/web}, {serviceAccount: shop/default}]}\n",
    );
    std::fs::write(folder.path().join("r.yaml"), text).unwrap();
    let mut rules = rules::all_of_files(&[folder.path().to_owned()], None).unwrap();
    // As a cluster gives them.
    rules.documents.clear();
    rules.texts.clear();
    let sheets = Sheets::of(&rules);
    let mut found = findings(&Asked {
        rules: &rules,
        documents: &sheets.documents,
        now: OffsetDateTime::now_utc(),
        soon: time::Duration::days(7),
        seen: None,
    });
    found.iter_mut().for_each(|one| sheets.place(one));
    let [one] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(one.diagnostic.file, "AuthorizationPolicy shop/orders");
    assert_eq!(
        one.field.as_deref(),
        Some("spec.rules[0].from[1].serviceAccount")
    );
    assert_eq!(one.diagnostic.line, 0);
    let text = print::text(&rules, &found, &[]);
    let text = anstream::adapter::strip_str(&text).to_string();
    assert!(
        text.starts_with(
            "AuthorizationPolicy shop/orders, spec.rules[0].from[1].serviceAccount: warning:"
        ),
        "{text}"
    );
}

#[test]
fn names_and_conflicts_are_told_beside_mistakes_of_form() {
    let rules = policy(
        "  - {name: a, effect: allow, from: [{serviceAccount: shop/wbe}], ports: [0]}
  - {name: b, effect: alow, from: [{serviceAccount: shop/web}]}
  - {name: c, effect: allow, from: [{serviceAccount: shop/web}], reason: x, expires: 2026-11-01T00:00:00Z}
",
    );
    let twice = rules.replace("labels: {app: orders}", "labels: {app: oders}");
    let broken = "kind: [\n";
    let found = found_with(&[&*rules, broken, &*twice].join("---\n"), None);
    let expected = [
        "unknown 7:54",
        "invalid 7:74",
        "invalid 8:23",
        "expired 9:86",
        "invalid 11:7",
        "invalid 13:1",
        "selects-nothing 17:26",
        "unknown 19:54",
        "invalid 19:74",
        "invalid 20:23",
        "expired 21:86",
    ];
    assert_eq!(found, expected);
}
