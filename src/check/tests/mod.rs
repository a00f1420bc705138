//! Each judgement, over objects as the API server gives them.

use palisade_control::audit::{Finding, Platform, Severity};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::injector::Answer;
use super::preflight::Right;
use super::*;

mod callers;

/// An object.
fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn all<T: DeserializeOwned>(values: Vec<Value>) -> Vec<T> {
    values.into_iter().map(of).collect()
}

/// What is wrong, as `place: what`.
fn wrong(findings: &[Finding], severity: Severity) -> Vec<String> {
    let wrong = findings.iter().filter(|one| one.severity == severity);
    wrong
        .map(|one| format!("{}: {}", one.place, one.what))
        .collect()
}

#[test]
fn the_exit_code_is_for_ci() {
    let finding = |severity| Finding {
        severity,
        ..Finding::ok("x", "y")
    };
    for (severities, expected) in [
        (vec![], 0),
        (vec![Severity::Ok, Severity::Warning], 0),
        (vec![Severity::Warning, Severity::Unknown], 2),
        (vec![Severity::Unknown, Severity::Error], 1),
    ] {
        let findings: Vec<Finding> = severities.iter().copied().map(finding).collect();
        assert_eq!(exit_code(&findings), expected, "{severities:?}");
    }
}

#[test]
fn findings_are_read_by_people_and_by_programs() {
    let finding = Finding::error(
        "unmeshed",
        "Deployment shop/web",
        "2 of its 3 pods have no sidecar",
        "restart it",
    );
    let text = anstream::adapter::strip_str(&print::text(&finding)).to_string();
    assert_eq!(
        text,
        "error   unmeshed      Deployment shop/web: 2 of its 3 pods have no sidecar\n                      └ restart it\n"
    );
    assert_eq!(
        serde_json::to_value(&finding).unwrap(),
        json!({
            "severity": "error", "check": "unmeshed", "place": "Deployment shop/web",
            "what": "2 of its 3 pods have no sidecar", "remedy": "restart it",
        })
    );
    let findings = [finding, Finding::unknown("rules", "forbidden")];
    assert_eq!(
        print::summary(&findings),
        "1 error, 0 warnings, 1 could not be looked at"
    );
}

#[test]
fn preflight_names_what_is_too_old_and_what_is_not_allowed() {
    let node = |name: &str, version: &str, os: &str| {
        json!({"metadata": {"name": name}, "status": {"nodeInfo": {
            "kubeletVersion": version, "operatingSystem": os, "architecture": "", "bootID": "",
            "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
            "osImage": "", "systemUUID": "",
        }}})
    };
    let version = |minor: &str| {
        of(json!({
            "major": "1", "minor": minor, "buildDate": "", "compiler": "", "gitCommit": "",
            "gitTreeState": "", "gitVersion": "", "goVersion": "", "platform": "",
        }))
    };
    let mut rights = vec![Right {
        what: "create namespaces".into(),
        allowed: Ok(false),
    }];
    let mut platform = Platform {
        version: Ok(version("29")),
        nodes: Ok(all(vec![
            node("a", "v1.29.0", "linux"),
            node("b", "v1.28.9", "linux"),
            node("c", "v1.20.0", "windows"),
        ])),
    };
    let findings = preflight::judge(&platform, &rights);
    assert_eq!(
        wrong(&findings, Severity::Error),
        [
            ": Kubernetes 1.29 has no admission policies, which keep pods without a sidecar out",
            "Node b: its kubelet v1.28.9 has no native sidecars: meshed pods cannot start there",
            ": you may not create namespaces",
        ]
    );
    platform.version = Ok(version("30+"));
    platform.nodes = Ok(Vec::new());
    rights.clear();
    let findings = preflight::judge(&platform, &rights);
    assert!(
        findings.iter().all(|one| one.severity == Severity::Ok),
        "{findings:?}"
    );
}

#[test]
fn the_injector_must_refuse_what_is_wrong() {
    for (answer, errors) in [
        (Answer::Refused, 0),
        (Answer::Accepted, 1),
        (Answer::Unreachable("failed calling webhook".into()), 1),
    ] {
        let findings = injector::judge(&Ok(answer.clone()));
        assert_eq!(
            wrong(&findings, Severity::Error).len(),
            errors,
            "{answer:?}"
        );
    }
}
