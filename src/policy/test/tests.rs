use std::path::PathBuf;

use palisade_api::manifest::PolicyTest;
use serde_json::Value;

use super::super::rules::sample;
use super::print::{details, text};
use super::*;

const RULES: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: web, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080]}
  - {name: old, effect: allow, from: [{serviceAccount: shop/web}], ports: [9000], expires: 2026-01-01T00:00:00Z, reason: x}
  - {name: not-a, effect: deny, from: [{serviceAccount: shop/web}], ports: [8080], mode: shadow}
---
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: second, namespace: shop}
spec:
  target: {labels: {version: b}}
  rules:
  - {name: not-b, effect: deny, from: [{serviceAccount: shop/web}], ports: [8081-8082]}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-0, namespace: shop, labels: {app: orders, version: a}}
spec: {serviceAccount: orders, addresses: [10.0.0.1]}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-1, namespace: shop, labels: {app: orders, version: b}}
spec: {serviceAccount: orders, addresses: [10.0.0.2]}
";

/// Rules and these expectations, in one file.
struct Written {
    rules: Rules,
    tests: Vec<PolicyTest>,
    _directory: tempfile::TempDir,
}

fn written(expectations: &str) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.yaml");
    let text = format!(
        "{RULES}---
apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
metadata: {{name: t}}
spec:
  at: 2026-02-01T00:00:00Z
  tests:
{expectations}"
    );
    std::fs::write(&file, text).unwrap();
    let paths: [PathBuf; 1] = [file];
    Written {
        rules: rules::of_files(&paths, None).unwrap(),
        tests: super::expectations(&paths).unwrap().tests,
        _directory: directory,
    }
}

/// What is not as expected of one expectation; nothing where all is.
fn wrong(expectation: &str) -> String {
    let Written {
        rules,
        tests,
        _directory,
    } = written(&format!("  - {expectation}\n"));
    let report = report(&rules, &tests, None).unwrap();
    details(&report.outcomes[0])
}

#[test]
fn what_is_decided_as_expected_passes() {
    for expectation in [
        "{from: shop/web, to: shop/orders, port: 8080, expect: allow}",
        "{from: shop/web, to: shop/orders, port: 8080, expect: allow, rule: shop/orders/web, reason: rule}",
        "{from: shop/web, to: shop/orders, port: 8080, expect: allow, rule: orders/web, shadow: deny}",
        "{from: spiffe://cluster.local/ns/shop/sa/web, to: 10.0.0.1, port: 8080, expect: allow, rule: web}",
        "{from: shop/web, to: shop/orders, ports: [1-8079, 8081-65535], expect: deny}",
        "{from: 10.0.0.9, to: shop/orders, port: 8080, expect: deny, reason: no_rule}",
        "{from: shop/web, to: shop/orders, port: 9000, expect: deny}",
        "{from: shop/web, to: shop/other, labels: {version: b}, port: 8081, expect: deny, rule: not-b}",
    ] {
        assert_eq!(wrong(expectation), "", "{expectation}");
    }
}

#[test]
fn ports_that_ranges_share_are_told_of_once() {
    let wrong = wrong(
        "{from: shop/web, to: shop/orders, ports: [8070-8082, 8080, 8079-8080], expect: allow}",
    );
    let told = "expected allow, got deny, at ports 8070-8079, 8081-8082\n";
    assert!(wrong.starts_with(told), "{wrong}");
}

#[test]
fn a_name_is_printed_as_it_is_written_but_for_what_a_terminal_obeys() {
    let expected = "expect: allow}";
    let named = |name: &str| {
        let Written {
            rules,
            tests,
            _directory,
        } = written(&format!(
            "  - {{name: {name}, from: shop/web, to: shop/orders, port: 8080, {expected}\n"
        ));
        let report = report(&rules, &tests, None).unwrap();
        print::title(&report.outcomes[0])
    };
    let quoted = named("'say \"b\"'");
    assert!(quoted.starts_with("say \"b\" (shop/web"), "{quoted}");
    let bell = named("\"a\\ab\"");
    assert!(bell.starts_with("a\u{fffd}b (shop/web"), "{bell}");
}

#[test]
fn what_is_not_is_told_with_the_rule_that_decided_or_came_nearest() {
    for (expectation, expected) in [
        (
            "{from: shop/web, to: shop/orders, port: 8080, expect: deny}",
            &[
                "expected deny, got allow\n",
                "by shop/orders/web ",
                "all.yaml:7",
            ][..],
        ),
        (
            "{from: shop/db, to: shop/orders, port: 8080, expect: allow}",
            &[
                "expected allow, got deny\n",
                "nearest: shop/orders/web",
                "not this caller",
            ],
        ),
        (
            "{from: shop/web, to: shop/orders, port: 8080, expect: allow, rule: old}",
            &["expected the rule old to decide, got shop/orders/web"],
        ),
        (
            "{from: shop/db, to: shop/orders, port: 8080, expect: deny, rule: not-b}",
            &["expected the rule not-b to decide, got none"],
        ),
        (
            "{from: shop/db, to: shop/orders, port: 8080, expect: deny, reason: permissive}",
            &["expected the reason permissive, got no_rule"],
        ),
        (
            "{from: shop/db, to: shop/orders, port: 8080, expect: deny, shadow: allow}",
            &["expected allow in shadow, got no other verdict"],
        ),
        (
            "{from: shop/web, to: shop/orders, ports: [8078-8080], expect: allow}",
            &["expected allow, got deny, at ports 8078-8079"],
        ),
    ] {
        let wrong = wrong(expectation);
        for part in expected {
            assert!(wrong.contains(part), "{expectation}: {part} in {wrong}");
        }
    }
}

#[test]
fn replicas_that_are_decided_differently_are_all_shown() {
    let wrong = wrong("{from: shop/web, to: shop/orders, port: 8081, expect: deny, rule: not-b}");
    assert!(
        wrong.contains("version=a") && wrong.contains("version=b"),
        "{wrong}"
    );
    assert!(wrong.contains("as expected\n"), "{wrong}");
}

/// Its pods may not be read: nobody knows as whom it runs.
#[test]
fn an_answer_that_rests_on_a_presumption_says_so_to_programs() {
    let expectations = "  - {from: jobs/cron, to: shop/orders, port: 8080, expect: deny}
  - {from: jobs/cron, to: shop/orders, port: 8080, expect: allow}
  - {from: shop/orders, to: shop/orders, port: 8080, expect: deny}\n";
    let Written {
        mut rules,
        tests,
        _directory,
    } = written(expectations);
    rules.known.extent = sample::rules_of("shop", RULES).known.extent;
    let report = report(&rules, &tests, None).unwrap();
    let mut out = Vec::new();
    print::json(&mut out, &report).unwrap();
    let lines = String::from_utf8(out).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let presumed: Vec<_> = lines.iter().map(|one| one["presumed"] == true).collect();
    assert_eq!(presumed, [true, true, false, false], "{lines:#?}");
    assert_eq!(lines[1]["answers"][0]["explained"]["presumed"], true);
    let xml = junit::xml(&report);
    let doubt = "<system-out>you may not list the pods of jobs: jobs/cron is taken for";
    assert_eq!(xml.matches(doubt).count(), 2, "{xml}");
    let good = ": deny\" file=\"";
    let (_, good) = xml.split_once(good).unwrap();
    let expected = "time=\"0\">\n      <system-out>";
    assert!(
        good.split_once("</system-out>")
            .unwrap()
            .0
            .contains(expected),
        "{xml}"
    );
}

#[test]
fn rules_that_nothing_exercised_are_named_and_may_be_too_many() {
    let Written {
        rules,
        tests,
        _directory,
    } = written("  - {from: shop/web, to: shop/orders, port: 8080, expect: allow}\n");
    let enough = report(&rules, &tests, Some(50)).unwrap();
    assert!(enough.is_good(), "{enough:?}");
    let report = report(&rules, &tests, Some(51)).unwrap();
    assert!(!report.is_good() && report.failed() == 0);
    let idle: Vec<_> = report
        .coverage
        .unexercised
        .iter()
        .map(|one| one.rule.as_str())
        .collect();
    assert_eq!(idle, ["shop/orders/old", "shop/second/not-b"]);
    let text = anstream::adapter::strip_str(&text(&report)).to_string();
    assert!(
        text.contains("coverage: 2 of 4 rules (50 %), and 51 % are asked for"),
        "{text}"
    );
    let xml = junit::xml(&report);
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
}

#[test]
fn names_of_nobody_are_mistakes_in_their_places_all_at_once() {
    let Written {
        rules,
        tests,
        _directory,
    } = written(
        "  - {from: shop/web, to: shop/orders, port: 1, expect: deny, rule: webb}
  - {from: shop/web, to: shop/nobody, port: 1, expect: deny, rule: nothing-like-it}\n",
    );
    let error = report(&rules, &tests, None).unwrap_err().to_string();
    let error = anstream::adapter::strip_str(&error).to_string();
    for part in [
        "error: there is no rule `webb`\n",
        "did you mean `web`?",
        "error: nothing is known of shop/nobody",
        "error: there is no rule `nothing-like-it`\n",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn cases_of_one_name_are_told_apart_in_junit() {
    let twice = "  - {from: shop/web, to: shop/orders, port: 8080, expect: allow}\n".repeat(2);
    let Written {
        rules,
        tests,
        _directory,
    } = written(&twice);
    let report = report(&rules, &tests, None).unwrap();
    assert!(junit::xml(&report).contains(": allow #2\""));
}

#[test]
fn who_is_revoked_is_denied_before_any_rule_and_an_expectation_may_say_so() {
    let revoked = "
---
apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {identities: [spiffe://cluster.local/ns/shop/sa/web, spiffe://cluster.local/ns/shop/sa/orders]}
";
    let wrong = |expectation: &str| {
        let Written {
            rules,
            tests,
            _directory,
        } = written(&format!("  - {expectation}{revoked}"));
        let report = report(&rules, &tests, None).unwrap();
        details(&report.outcomes[0])
    };
    for as_expected in [
        "{from: shop/web, to: shop/orders, port: 8080, expect: deny, rule: revoked}",
        "{from: shop/db, to: shop/orders, port: 8080, expect: deny, rule: revoked}",
        "{from: 10.0.0.9, to: shop/orders, port: 8080, expect: deny, reason: no_rule}",
    ] {
        assert_eq!(wrong(as_expected), "", "{as_expected}");
    }
    for (expectation, expected) in [
        (
            "{from: shop/web, to: shop/orders, port: 8080, expect: allow}",
            &[
                "expected allow, got deny: revoked\n",
                "spiffe://cluster.local/ns/shop/sa/web is revoked (",
                "all.yaml:",
            ][..],
        ),
        (
            "{from: shop/web, to: shop/orders, port: 8080, expect: deny, rule: not-b}",
            &["expected the rule not-b to decide, got revoked"],
        ),
        (
            "{from: shop/web, to: shop/orders, port: 8080, expect: deny, reason: no_rule}",
            &["expected the reason no_rule, got revoked"],
        ),
        (
            "{from: 10.0.0.9, to: shop/orders, port: 8080, expect: deny, rule: revoked}",
            &["expected the rule revoked to decide, got none"],
        ),
    ] {
        let wrong = wrong(expectation);
        for part in expected {
            assert!(wrong.contains(part), "{expectation}: {part} in {wrong}");
        }
    }
}
