//! Each judgement, over objects as the API server gives them.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::macros::datetime;

use super::finding::{Finding, Severity};
use super::snapshot::{Certificates, Platform, Snapshot};
use super::*;

mod network;
mod nodes;
mod parts;
mod pods;
mod sidecars;

/// An object.
fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn all<T: DeserializeOwned>(values: Vec<Value>) -> Vec<T> {
    values.into_iter().map(of).collect()
}

/// A cluster of which nothing may be read.
fn blind() -> Snapshot {
    let why = || "forbidden".to_owned();
    Snapshot {
        now: datetime!(2026-11-21 12:00 UTC),
        system_namespace: "palisade-system".into(),
        platform: Platform {
            version: Err(why()),
            nodes: Err(why()),
        },
        definitions: Err(why()),
        deployments: Err(why()),
        admission_policies: Err(why()),
        mutating: Err(why()),
        validating: Err(why()),
        api_services: Err(why()),
        certificates: Certificates {
            authority: Err(why()),
            webhook: Err(why()),
            trust: Err(why()),
        },
        namespaces: Err(why()),
        pods: Err(why()),
        services: Err(why()),
        network_policies: Err(why()),
        events: Err(why()),
        policies: Err(why()),
        cluster_policies: Err(why()),
        in_force: Err(why()),
        reports: Err(why()),
        unreadable: Vec::new(),
    }
}

/// What is wrong, as `place: what`.
fn wrong(findings: &[Finding], severity: Severity) -> Vec<String> {
    let wrong = findings.iter().filter(|one| one.severity == severity);
    wrong
        .map(|one| format!("{}: {}", one.place, one.what))
        .collect()
}

#[test]
fn what_may_not_be_read_is_said_and_is_neither_good_nor_bad() {
    let findings = judge(&blind());
    assert!(
        findings.iter().all(|one| one.severity == Severity::Unknown),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .all(|one| one.what == "could not look: forbidden")
    );
}
