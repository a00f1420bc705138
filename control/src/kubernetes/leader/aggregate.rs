//! What stands in the status of a policy: how many of the proxies that it concerns enforce it as it is written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::kubernetes::acks::{Held, Rule};

/// A policy, and whom it concerns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selecting {
    /// Nothing for a rule of the whole cluster.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// As proxies were sent it.
    pub(crate) rule: Rule,
    /// The running meshed pods that it selects, `namespace/pod`.
    pub(crate) workloads: BTreeSet<String>,
    /// What stands in the object now.
    pub(crate) status: Option<Value>,
}

/// The status that the policy should have, where it has another. `now` is RFC 3339.
pub(super) fn correction(policy: &Selecting, held: &[Held], now: &str) -> Option<Value> {
    let by_workload: BTreeMap<&str, &Held> = held
        .iter()
        .map(|held| (held.workload.as_str(), held))
        .collect();
    let mut enforcing = 0_usize;
    let (mut pending, mut refusing) = (Vec::new(), Vec::new());
    for workload in &policy.workloads {
        match by_workload.get(workload.as_str()) {
            Some(held) if held.refuses.contains(&policy.rule) => refusing.push(workload),
            Some(held) if held.enforces.contains(&policy.rule) => enforcing += 1,
            _ => pending.push(workload),
        }
    }
    let (ready, reason, message) = if !refusing.is_empty() {
        let message = format!(
            "{} proxies refuse it; their last good rules are in force",
            refusing.len()
        );
        ("False", "Refused", message)
    } else if !pending.is_empty() {
        (
            "False",
            "Pending",
            format!("{} proxies do not enforce it yet", pending.len()),
        )
    } else {
        (
            "True",
            "Enforced",
            "every proxy that it concerns enforces it".to_owned(),
        )
    };
    let condition = json!({
        "type": "Ready", "status": ready, "reason": reason, "message": message,
        "observedGeneration": policy.rule.generation,
        "lastTransitionTime": since(policy.status.as_ref(), ready).unwrap_or(now),
    });
    pending.truncate(MAX_NAMES);
    refusing.truncate(MAX_NAMES);
    let wanted = json!({
        "observedGeneration": policy.rule.generation,
        "proxies": policy.workloads.len(),
        "enforcing": enforcing,
        "pending": pending,
        "refusing": refusing,
        "conditions": [condition],
    });
    (policy.status.as_ref() != Some(&wanted)).then_some(wanted)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(workloads: &[&str]) -> Selecting {
        Selecting {
            namespace: Some("shop".into()),
            name: "web".into(),
            rule: Rule {
                name: "shop/web".into(),
                generation: 3,
            },
            workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
            status: None,
        }
    }

    fn held(workload: &str, generation: i64, refuses: bool) -> Held {
        let rule = Rule {
            name: "shop/web".into(),
            generation,
        };
        let one = BTreeSet::from([rule]);
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
