//! What becomes of pods: golden files, and properties of pods made at random.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod golden;
#[path = "../pods/mod.rs"]
mod pods;
mod property;

use palisade_injector::inject::{Resources, Settings};
use palisade_injector::patch::PatchOp;
use serde_json::Value;

/// As an installation sets it.
fn settings() -> Settings {
    Settings {
        image: "palisade:test".to_owned(),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        trust_domain: "cluster.local".to_owned(),
        control: vec![
            "palisade-control.palisade-system.svc:15012".to_owned(),
            "10.96.0.9:15012".to_owned(),
        ],
        resources: Resources {
            cpu_request: "10m".parse().expect("a quantity"),
            memory_request: "32Mi".parse().expect("a quantity"),
        },
    }
}

/// What the API server makes of the operations.
fn apply(pod: &Value, operations: &[PatchOp]) -> Value {
    let operations = serde_json::to_value(operations).expect("JSON");
    let patch: json_patch::Patch = serde_json::from_value(operations).expect("a JSON Patch");
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).expect("a patch that fits");
    pod
}
