//! Says what `palisade check` would say, without being asked: a metric, and Events on the objects that it is about.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::sleep;

use palisade_api::cluster::CONTROL;

use super::Cluster;
use super::pace::failures;
use crate::audit::{self, Finding, Scope, Severity, Snapshot};

/// Until it is dropped.
pub(super) async fn keep(cluster: &Cluster) {
    let reporter = Reporter {
        controller: CONTROL.to_owned(),
        instance: Some(cluster.replica.clone()),
    };
    let recorder = Recorder::new(cluster.client.clone(), reporter);
    let mut checks = BTreeSet::new();
    // What follows from a change of leaders, such as sidecars that look for another replica, is over then.
    sleep(FIRST).await;
    loop {
        let system = &cluster.namespace;
        let snapshot = audit::everything(&cluster.client, system, &Scope::All).await;
        let findings = audit::judge(&snapshot);
        count(cluster, &findings, &mut checks);
        let told = told(&findings, &snapshot);
        drop(snapshot);
        let writes = told.into_iter().map(|told| tell(cluster, &recorder, told));
        // What could not be told is counted by the metric, and told the next time.
        failures(writes.collect()).await;
        sleep(EVERY).await;
    }
}

/// Every check that was ever found to be wrong has a number, though it be zero now.
fn count(cluster: &Cluster, findings: &[Finding], checks: &mut BTreeSet<&'static str>) {
    checks.extend(findings.iter().map(|finding| finding.check));
    for check in checks.iter() {
        for (severity, name) in SEVERITIES {
            let same = |one: &&Finding| one.check == *check && one.severity == severity;
            let count = findings.iter().filter(same).count();
            cluster.metrics.findings(check, name, count);
        }
    }
    for finding in findings {
        if finding.severity == Severity::Unknown {
            let Finding { check, what, .. } = finding;
            tracing::warn!(check, "the mesh was not looked at as a whole: {what}");
        }
    }
}

/// What is said about an object: an Event is known by that and by the check.
#[derive(Debug)]
struct Told {
    about: ObjectReference,
    check: &'static str,
    note: String,
}

/// Errors first, and not more than [`MOST`].
fn told(findings: &[Finding], snapshot: &Snapshot) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let of = |severity| findings.iter().filter(move |one| one.severity == severity);
    for finding in of(Severity::Error).chain(of(Severity::Warning)) {
        let about = audit::about(finding, snapshot);
        let note = note(finding);
        let same = |one: &&mut Told| one.check == finding.check && one.about == about;
        if let Some(same) = told.iter_mut().find(same) {
            same.note.push(' ');
            same.note.push_str(&note);
        } else if told.len() < MOST {
            told.push(Told {
                about,
                check: finding.check,
                note,
            });
        }
    }
    told
}

fn note(finding: &Finding) -> String {
    let Finding { what, remedy, .. } = finding;
    if remedy.is_empty() {
        format!("{what}.")
    } else {
        format!("{what}. To do: {remedy}.")
    }
}

async fn tell(cluster: &Cluster, recorder: &Recorder, told: Told) -> usize {
    let Told {
        mut about,
        check,
        note,
    } = told;
    if about.uid.is_none() && about.kind.as_deref() == Some("Deployment") {
        about.uid = uid(cluster, &about).await;
    }
    let event = Event {
        type_: EventType::Warning,
        reason: reason(check),
        note: Some(cut(note)),
        action: "Audit".to_owned(),
        secondary: None,
    };
    match recorder.publish(&event, &about).await {
        Ok(()) => 0,
        Err(error) => {
            let namespace = about.namespace.unwrap_or_default();
            let name = about.name.unwrap_or_default();
            tracing::warn!(namespace, name, check, %error, "an Event was not written");
            1
        }
    }
}

/// Pods name their ReplicaSet only.
async fn uid(cluster: &Cluster, about: &ObjectReference) -> Option<String> {
    let namespace = about.namespace.as_deref()?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let found = deployments.get_metadata_opt(about.name.as_deref()?).await;
    found.ok().flatten()?.metadata.uid
}

/// `api-calls` to `ApiCalls`.
fn reason(check: &str) -> String {
    let words = check.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

/// To what the API server takes.
fn cut(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - '…'.len_utf8()));
        note.push('…');
    }
    note
}

const SEVERITIES: [(Severity, &str); 3] = [
    (Severity::Error, "error"),
    (Severity::Warning, "warning"),
    (Severity::Unknown, "unknown"),
];
/// After it became the leader.
const FIRST: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_secs(300);
/// Events in a round. Whoever has more has one cause for most of them, and the metric.
const MOST: usize = 50;
/// In bytes.
const MAX_NOTE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_reason_in_one_word_and_a_note_that_fits() {
        assert_eq!(reason("api-calls"), "ApiCalls");
        assert_eq!(reason("unmeshed"), "Unmeshed");
        assert_eq!(cut("short".into()), "short");
        let long = cut("é".repeat(MAX_NOTE));
        assert!(
            long.len() <= MAX_NOTE && long.ends_with('…'),
            "{}",
            long.len()
        );
    }
}
