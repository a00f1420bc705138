//! What stands in the status of a policy: how many of the proxies that it concerns enforce it as it is written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use palisade_api::cluster;

use crate::kubernetes::acks::{Held, Rule};

/// A policy, and whom it concerns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selecting {
    /// Nothing for a rule of the whole cluster.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// The newest version.
    pub(crate) generation: i64,
    /// What is wrong with it: an older version is in force then, or none.
    pub(crate) errors: Vec<String>,
    /// The version in force, as proxies were sent it; none, if control knows of none that was ever right.
    pub(crate) in_force: Option<Rule>,
    /// The meshed pods that it selects, `namespace/pod`, but for those that have ended.
    pub(crate) workloads: BTreeSet<String>,
    /// Those of them whose sidecar does not run, as far as their nodes have said: nobody has a place for them, an image is
    /// missing, or they begin.
    pub(crate) idle: BTreeSet<String>,
    /// What stands in the object now.
    pub(crate) status: Option<Value>,
}

/// The status that the policy should have, where it has another. `now` is RFC 3339.
pub(super) fn correction(policy: &Selecting, held: &[Held], now: &str) -> Option<Value> {
    let mut counted = Counted::of(policy, held);
    let (ready, reason, message) = verdict(policy, &counted);
    let condition = json!({
        "type": "Ready", "status": ready, "reason": reason, "message": message,
        "observedGeneration": policy.generation,
        "lastTransitionTime": since(policy.status.as_ref(), ready).unwrap_or(now),
    });
    counted.pending.truncate(MAX_NAMES);
    counted.refusing.truncate(MAX_NAMES);
    let mut wanted = json!({
        "observedGeneration": policy.generation,
        "proxies": policy.workloads.len() - counted.idle,
        "notRunning": counted.idle,
        "enforcing": counted.enforcing,
        "pending": counted.pending,
        "refusing": counted.refusing,
        "conditions": [condition],
    });
    if let (Some(rule), Some(fields)) = (&policy.in_force, wanted.as_object_mut()) {
        fields.insert(ENFORCED.to_owned(), rule.generation.into());
    }
    (policy.status.as_ref() != Some(&wanted)).then_some(wanted)
}

/// What proxies make of the version in force.
#[derive(Debug, Default)]
struct Counted<'a> {
    enforcing: usize,
    pending: Vec<&'a str>,
    refusing: Vec<&'a str>,
    /// Pods whose sidecar does not run yet, or no more.
    idle: usize,
}

impl<'a> Counted<'a> {
    fn of(policy: &'a Selecting, held: &[Held]) -> Self {
        let by_workload: BTreeMap<&str, &Held> = held
            .iter()
            .map(|held| (held.workload.as_str(), held))
            .collect();
        let mut counted = Self::default();
        for workload in &policy.workloads {
            let held = by_workload.get(workload.as_str());
            // A sidecar takes the rules as they are then before its pod's containers start, and lets nobody in before: one
            // that does not run is not waited for. One that has a stream runs, whatever its node has said so far.
            if held.is_none() && policy.idle.contains(workload) {
                counted.idle += 1;
                continue;
            }
            // Where nothing is in force, nobody can acknowledge it, and nobody is waited for.
            let Some(rule) = &policy.in_force else {
                continue;
            };
            match held {
                Some(held) if held.refuses.contains(rule) => counted.refusing.push(workload),
                Some(held) if held.enforces.contains(rule) => counted.enforcing += 1,
                _ => counted.pending.push(workload),
            }
        }
        counted
    }
}

/// Whether the newest version is what every proxy enforces, the reason in one word, and in a sentence.
fn verdict(policy: &Selecting, counted: &Counted<'_>) -> (&'static str, &'static str, String) {
    let (refusing, pending) = (counted.refusing.len(), counted.pending.len());
    if !policy.errors.is_empty() {
        ("False", cluster::INVALID, mistakes(policy))
    } else if refusing > 0 {
        let message = match refusing {
            1 => "one proxy refuses it; its last good rules are in force".to_owned(),
            _ => format!("{refusing} proxies refuse it; their last good rules are in force"),
        };
        ("False", "Refused", message)
    } else if pending > 0 {
        let message = match pending {
            1 => "one proxy does not enforce it yet".to_owned(),
            _ => format!("{pending} proxies do not enforce it yet"),
        };
        ("False", "Pending", message)
    } else {
        let not_yet = match counted.idle {
            0 => String::new(),
            1 => "; of one pod the proxy does not run yet".to_owned(),
            idle => format!("; of {idle} pods the proxy does not run yet"),
        };
        let message = format!("every proxy that it concerns enforces it{not_yet}");
        ("True", "Enforced", message)
    }
}

/// What is so meanwhile, and what is wrong, as the validator says it. Whoever wrote the rule chose how long the names
/// in it are.
fn mistakes(policy: &Selecting) -> String {
    let mut said = policy.errors.join("; ");
    if let Some((end, _)) = said.char_indices().nth(MAX_MESSAGE) {
        said.truncate(end);
        said.push('…');
    }
    match &policy.in_force {
        Some(Rule { generation, .. }) => format!("generation {generation} stays in force: {said}"),
        None => format!(
            "proxies stay with what it said before, and one that never heard it closes what it may protect: {said}"
        ),
    }
}

/// Since when the condition has been as it is to be.
fn since<'a>(status: Option<&'a Value>, ready: &str) -> Option<&'a str> {
    let condition = status?.get("conditions")?.get(0)?;
    let same = condition.get("status")?.as_str()? == ready;
    let since = condition.get("lastTransitionTime")?.as_str()?;
    same.then_some(since)
}

/// Whoever looks for more has the cluster's metrics.
const MAX_NAMES: usize = 10;
/// In characters: several mistakes of common length.
const MAX_MESSAGE: usize = 2048;
/// The field that is absent where nothing is in force.
pub(super) const ENFORCED: &str = "enforcedGeneration";

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(workloads: &[&str]) -> Selecting {
        Selecting {
            namespace: Some("shop".into()),
            name: "web".into(),
            generation: 3,
            errors: Vec::new(),
            in_force: Some(rule(3)),
            workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
            idle: BTreeSet::new(),
            status: None,
        }
    }

    fn rule(generation: i64) -> Rule {
        Rule {
            name: "shop/web".into(),
            generation,
        }
    }

    fn held(workload: &str, generation: i64, refuses: bool) -> Held {
        let one = BTreeSet::from([rule(generation)]);
        let none = BTreeSet::new();
        let (enforces, refuses) = if refuses { (none, one) } else { (one, none) };
        Held {
            workload: workload.into(),
            enforces,
            refuses,
        }
    }

    #[test]
    fn each_proxy_counts_once_and_for_what_it_said_of_this_version() {
        let policy = policy(&["a/1", "a/2", "a/3", "a/4"]);
        let acks = [
            held("a/1", 3, false),
            held("a/2", 2, false),
            held("a/3", 3, true),
            // Gone, or not concerned.
            held("b/1", 3, false),
        ];
        let status = correction(&policy, &acks, "then").unwrap();
        assert_eq!(status["proxies"], 4);
        assert_eq!(status["enforcing"], 1);
        assert_eq!(status["pending"], json!(["a/2", "a/4"]));
        assert_eq!(status["refusing"], json!(["a/3"]));
        assert_eq!(status["observedGeneration"], 3);
        assert_eq!(status["conditions"][0]["status"], "False");
        assert_eq!(status["conditions"][0]["reason"], "Refused");
    }

    #[test]
    fn a_pod_whose_sidecar_does_not_run_is_not_waited_for_and_one_with_a_stream_is() {
        let mut policy = policy(&["a/1", "a/2", "a/3", "a/4"]);
        let idle = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        policy.idle = idle(&["a/2", "a/3"]);
        let acks = [held("a/1", 3, false), held("a/4", 3, false)];
        let status = correction(&policy, &acks, "then").unwrap();
        assert_eq!(
            [
                &status["proxies"],
                &status["enforcing"],
                &status["notRunning"]
            ],
            [&json!(2), &json!(2), &json!(2)]
        );
        assert_eq!(status["pending"], json!([]));
        let condition = &status["conditions"][0];
        assert_eq!(condition["status"], "True");
        let message = condition["message"].as_str().unwrap();
        assert!(
            message.ends_with("; of 2 pods the proxy does not run yet"),
            "{message}"
        );

        // Its node is late to say that it runs: it may have older rules, and serve by them.
        let acks = [&acks[..], &[held("a/2", 2, false)]].concat();
        let status = correction(&policy, &acks, "then").unwrap();
        assert_eq!(status["pending"], json!(["a/2"]));
        assert_eq!(
            [&status["proxies"], &status["notRunning"]],
            [&json!(3), &json!(1)]
        );
        assert_eq!(status["conditions"][0]["status"], "False");

        // Once it runs it is waited for, whether it has a stream or none.
        policy.idle = idle(&[]);
        let status = correction(&policy, &acks, "then").unwrap();
        assert_eq!(status["pending"], json!(["a/2", "a/3"]));
        assert_eq!(status["notRunning"], 0);
    }

    #[test]
    fn what_stands_is_not_written_again_and_keeps_its_time() {
        let mut policy = policy(&["a/1"]);
        policy.status = Some(correction(&policy, &[], "first").unwrap());
        assert_eq!(correction(&policy, &[], "second"), None);
        // Still not ready, for another reason.
        let refused = correction(&policy, &[held("a/1", 3, true)], "third").unwrap();
        assert_eq!(refused["conditions"][0]["lastTransitionTime"], "first");
        let ready = correction(&policy, &[held("a/1", 3, false)], "fourth").unwrap();
        assert_eq!(ready["conditions"][0]["lastTransitionTime"], "fourth");
        assert_eq!(ready["conditions"][0]["status"], "True");
    }

    #[test]
    fn a_wrong_version_is_not_ready_and_what_is_in_force_is_still_told() {
        let mut policy = policy(&["a/1", "a/2"]);
        policy.status = Some(correction(&policy, &[], "first").unwrap());
        policy.generation = 4;
        policy.errors = vec!["spec.port: nobody knows it; remove it".into()];
        let acks = [held("a/1", 3, false), held("a/2", 3, false)];
        let status = correction(&policy, &acks, "then").unwrap();
        assert_eq!(status["observedGeneration"], 4);
        assert_eq!(status["enforcedGeneration"], 3);
        assert_eq!(
            (&status["proxies"], &status["enforcing"]),
            (&json!(2), &json!(2))
        );
        let condition = &status["conditions"][0];
        assert_eq!(condition["status"], "False");
        assert_eq!(condition["reason"], "Invalid");
        assert_eq!(condition["observedGeneration"], 4);
        assert_eq!(
            condition["message"],
            "generation 3 stays in force: spec.port: nobody knows it; remove it"
        );
    }

    #[test]
    fn a_policy_that_never_was_right_has_a_status_too_and_waits_for_nobody() {
        let mut policy = policy(&["a/1", "a/2"]);
        policy.errors = vec!["é".repeat(5000), "more".into()];
        policy.in_force = None;
        let status = correction(&policy, &[held("a/1", 3, true)], "then").unwrap();
        assert_eq!(status.get("enforcedGeneration"), None);
        assert_eq!(
            (&status["proxies"], &status["enforcing"]),
            (&json!(2), &json!(0))
        );
        assert_eq!(
            (&status["pending"], &status["refusing"]),
            (&json!([]), &json!([]))
        );
        let condition = &status["conditions"][0];
        assert_eq!(condition["reason"], "Invalid");
        let message = condition["message"].as_str().unwrap();
        assert!(message.chars().count() < MAX_MESSAGE + 200, "{message}");
        assert!(message.contains("closes what it may protect"), "{message}");
        policy.status = Some(status);
        assert_eq!(correction(&policy, &[], "later"), None);
    }

    #[test]
    fn a_policy_for_nobody_is_enforced_and_many_stragglers_are_ten_names() {
        let nobody = correction(&policy(&[]), &[], "now").unwrap();
        assert_eq!(nobody["conditions"][0]["status"], "True");
        let names: Vec<_> = (0..30).map(|number| format!("a/{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let many = correction(&policy(&names), &[], "now").unwrap();
        assert_eq!(many["pending"].as_array().unwrap().len(), 10);
        assert_eq!(many["proxies"], 30);
    }
}
