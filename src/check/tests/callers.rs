use std::collections::BTreeSet;

use super::*;
use crate::check::callers::call::{Call, Recorded};
use crate::check::callers::judge;
use crate::records::filter::Timed;

/// An inbound record of a caller without an identity, and what is laid over it.
fn call(called: &str, over: Value) -> Option<Call> {
    let mut record = json!({
        "time": "2026-11-21T11:55:03Z", "event": "denied", "conn.id": "1", "direction": "inbound",
        "src.addr": "10.88.1.5:40000", "dst.addr": "10.88.1.6:80", "dst.port": 80, "policy.reason": "no_rule",
    });
    let fields = record.as_object_mut().unwrap();
    fields.extend(over.as_object().unwrap().clone());
    Call::of(called, &Timed::of_line(&record.to_string()).unwrap())
}

fn let_in(called: &str, over: Value) -> Option<Call> {
    let mut said = json!({
        "event": "close", "policy.decision": "allow", "policy.reason": null, "policy.rule": "shop/web/old",
    });
    let fields = said.as_object_mut().unwrap();
    fields.extend(over.as_object().unwrap().clone());
    call(called, said)
}

fn judged(calls: Vec<Call>) -> Vec<Finding> {
    judged_without(calls, BTreeSet::new())
}

fn judged_without(calls: Vec<Call>, unread: BTreeSet<String>) -> Vec<Finding> {
    let pod = |name: &str, inject: &str| {
        json!({
            "metadata": {
                "namespace": "shop", "name": name, "labels": {"pod-template-hash": "5d"},
                "annotations": {"palisade.dev/inject": inject},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u", "controller": true},
                ],
            },
            "spec": {"containers": []},
        })
    };
    let recorded = Recorded {
        calls,
        read: 2,
        sidecars: 3,
        unread,
    };
    judge(
        &Ok(recorded),
        &Ok(all(vec![
            pod("web-5d-a", "enabled"),
            pod("web-5d-b", "enabled"),
            pod("web-5d-out", "disabled"),
        ])),
    )
}

#[test]
fn a_caller_without_an_identity_is_told_once_with_what_to_do() {
    let legacy = || json!({"src.namespace": "old", "src.workload": "legacy-0"});
    let later = json!({
        "src.namespace": "old", "src.workload": "legacy-0", "time": "2026-11-21T11:56:00Z",
    });
    let calls = [
        call("shop/web-5d-a", legacy()),
        call("shop/web-5d-b", later),
        call("shop/web-5d-a", legacy()),
        call("shop/web-5d-a", json!({"src.addr": "[fd00::9]:40000"})),
        let_in("shop/gone", json!({})),
    ];
    let findings = judged(calls.into_iter().flatten().collect());
    assert_eq!(
        wrong(&findings, Severity::Warning),
        [
            "Deployment shop/web: Pod old/legacy-0 was refused, as it came in plaintext, at port 80, last at 11:56:00Z",
            "Deployment shop/web: fd00::9 was refused, as it came in plaintext, at port 80, last at 11:55:03Z",
            "Pod shop/gone: 10.88.1.5 was let in as plaintext, by shop/web/old, at port 80, last at 11:55:03Z",
        ]
    );
    for (finding, remedy) in findings.iter().zip([
        "kubectl annotate namespace old palisade.dev/inject=enabled",
        "{unauthenticated: {cidr: fd00::9/128}}",
        "no wider than it must be",
    ]) {
        assert!(finding.remedy.contains(remedy), "{finding:?}");
    }
}

#[test]
fn records_of_anything_else_are_passed_over() {
    for (what, over) in [
        (
            "a caller with an identity",
            json!({"src.identity": "spiffe://x/ns/a/sa/b"}),
        ),
        ("the own side of a call", json!({"direction": "outbound"})),
        (
            "a sidecar that was not ready",
            json!({"policy.reason": "not_ready"}),
        ),
        ("a handshake that failed", json!({"event": "tls_failed"})),
        ("what nothing was decided of", json!({"event": "close"})),
    ] {
        assert_eq!(call("shop/web-0", over), None, "{what}");
    }
}

#[test]
fn many_callers_are_a_few_lines_and_none_is_one_that_says_how_far_it_looked() {
    let findings = judged(Vec::new());
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Ok);
    let looked = "the last 10 minutes' records of 2 of 3 sidecars";
    assert!(findings[0].what.contains(looked), "{findings:?}");
    let many = (0..50).filter_map(|n| {
        call(
            "shop/web-5d-a",
            json!({"src.addr": format!("10.0.0.{n}:1")}),
        )
    });
    let findings = judged(many.collect());
    assert_eq!(findings.len(), 21);
    let last = &findings[20].what;
    assert!(
        last.starts_with("30 more callers") && last.contains(looked),
        "{last}"
    );
}

#[test]
fn logs_that_cannot_be_read_are_told_and_are_no_error() {
    let unread = ["pods \"web-0\" is forbidden".to_owned()].into();
    let findings = judged_without(Vec::new(), unread);
    assert_eq!(
        wrong(&findings, Severity::Warning),
        [
            ": only the last 10 minutes' records of 2 of 3 sidecars were read: pods \"web-0\" is forbidden"
        ]
    );
    assert_eq!(exit_code(&findings), 0);
}

#[test]
fn a_caller_that_opted_out_is_told_to_opt_in_and_not_what_its_namespace_has() {
    let from = |name: &str| {
        let over = json!({"src.namespace": "shop", "src.workload": name});
        judged(let_in("shop/web-5d-a", over).into_iter().collect())
    };
    let out = &from("web-5d-out")[0].remedy;
    assert!(
        out.starts_with(
            "bring it into the mesh: take `palisade.dev/inject: disabled` out of the pod template of Deployment shop/web, \
             which starts new pods; then remove"
        ),
        "{out}"
    );
    // One that is as old as the namespace was without it.
    let old = &from("web-5d-b")[0].remedy;
    assert!(
        old.contains("kubectl annotate namespace shop palisade.dev/inject=enabled"),
        "{old}"
    );
}
