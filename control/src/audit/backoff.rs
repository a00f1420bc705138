//! Workloads whose pods were refused, and which wait longer and longer before they try again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;

use super::finding::{Finding, look};
use super::meshed::restart;
use super::snapshot::Snapshot;

/// By the events of the last ten minutes.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "no pod was refused in the last ten minutes";
    look("backoff", &snapshot.events, fine, |events| {
        let mut last: BTreeMap<(String, String, String), &Event> = BTreeMap::new();
        let since = snapshot.now.unix_timestamp() - RECENT_SECONDS;
        for event in events
            .iter()
            .filter(|event| is_ours(event) && at(event) >= since)
        {
            let object = &event.involved_object;
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let key = (
                part(&object.namespace),
                part(&object.kind),
                part(&object.name),
            );
            let newest = last.entry(key).or_insert(event);
            if at(event) > at(newest) {
                *newest = event;
            }
        }
        let refused = last.into_iter();
        refused
            .map(|((namespace, kind, name), event)| finding(&namespace, &kind, &name, event))
            .collect()
    })
}

fn finding(namespace: &str, kind: &str, name: &str, event: &Event) -> Finding {
    let message = event.message.as_deref().unwrap_or_default();
    let remedy = match (kind, name.rsplit_once('-')) {
        ("ReplicaSet", Some((deployment, _))) => restart("Deployment", deployment, namespace),
        ("StatefulSet" | "DaemonSet", _) => restart(kind, name, namespace),
        _ => format!("delete the {kind} and create it again"),
    };
    Finding::error(
        "backoff",
        format!("{kind} {namespace}/{name}"),
        format!("its pods were refused: {message}"),
        format!("put that right, then, so that it need not wait: {remedy}"),
    )
}

fn is_ours(event: &Event) -> bool {
    let message = event.message.as_deref().unwrap_or_default();
    event.reason.as_deref() == Some("FailedCreate") && message.contains("palisade")
}

fn at(event: &Event) -> i64 {
    let last = event.last_timestamp.as_ref().map(|time| time.0.as_second());
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let first = event.event_time.as_ref().map(|time| time.0.as_second());
    last.max(series.map(|time| time.0.as_second()))
        .max(first)
        .unwrap_or_default()
}

const RECENT_SECONDS: i64 = 600;
