//! Events about pods that were let through without a sidecar, for those who look with `kubectl`.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use palisade_api::cluster;

/// One pod without a sidecar. It has no uid yet, and no name where Kubernetes gives it one: then what makes it has the
/// Event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Skipped {
    regarding: ObjectReference,
    message: String,
}

impl Skipped {
    pub(crate) fn new(pod: &Value, namespace: &str, message: &str) -> Self {
        let text = |field: &str| {
            let metadata = pod.get("metadata")?;
            let text = metadata.get(field)?.as_str()?;
            Some(text).filter(|text| !text.is_empty())
        };
        let begins = text("generateName").map(|prefix| format!("{prefix}*"));
        let name = text("name").map(str::to_owned);
        let owner = owner(pod).filter(|_| name.is_none());
        let name = name.or(begins).unwrap_or_default();
        let regarding = owner.unwrap_or_else(|| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name.clone()),
            ..ObjectReference::default()
        });
        Self {
            regarding: ObjectReference {
                namespace: Some(namespace.to_owned()),
                ..regarding
            },
            message: format!("pod {name}: {message}"),
        }
    }

    fn event(self, now: OffsetDateTime) -> Event {
        let now = Timestamp::from_second(now.unix_timestamp()).ok().map(Time);
        let mut event = Event {
            involved_object: self.regarding,
            reason: Some("NotInMesh".to_owned()),
            message: Some(self.message),
            type_: Some("Warning".to_owned()),
            source: Some(EventSource {
                component: Some(cluster::INJECTOR.to_owned()),
                host: None,
            }),
            first_timestamp: now.clone(),
            last_timestamp: now,
            count: Some(1),
            ..Event::default()
        };
        event.metadata.generate_name = Some(format!("{}-", cluster::INJECTOR));
        event.metadata.namespace = event.involved_object.namespace.clone();
        event
    }
}

/// The controller that makes such pods.
fn owner(pod: &Value) -> Option<ObjectReference> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let owner = owners.iter().find(is_controller)?;
    let text = |field: &str| Some(owner.get(field)?.as_str()?.to_owned());
    Some(ObjectReference {
        api_version: Some(text("apiVersion")?),
        kind: Some(text("kind")?),
        name: Some(text("name")?),
        uid: Some(text("uid")?),
        ..ObjectReference::default()
    })
}

/// Writes the Events one after the other, until nobody sends any more.
pub(crate) async fn write(client: Client, mut skipped: mpsc::Receiver<Skipped>) {
    while let Some(skipped) = skipped.recv().await {
        let event = skipped.event(OffsetDateTime::now_utc());
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let events = Api::<Event>::namespaced(client.clone(), namespace);
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::warn!(%error, "an Event about a skipped pod was not written");
        }
    }
}

/// How many Events wait to be written; what comes then is in the metric only.
pub(crate) const MAX_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;
    use tokio::time::timeout;

    use super::*;
    use crate::cluster_double::{BOUND, Cluster};

    #[tokio::test]
    async fn events_are_written_where_their_object_is() {
        let mut cluster = Cluster::start([]).await;
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        sender
            .try_send(Skipped::new(
                &json!({"metadata": {"name": "web"}}),
                "shop",
                "why",
            ))
            .unwrap();
        drop(sender);
        timeout(BOUND, write(cluster.client.clone(), receiver))
            .await
            .unwrap();
        let (path, event) = cluster.written.try_recv().unwrap();
        assert_eq!(path, "/api/v1/namespaces/shop/events");
        assert_eq!(event["involvedObject"]["name"], "web");
    }

    fn event(pod: &Value) -> Value {
        let event = Skipped::new(pod, "shop", "why").event(datetime!(2026-01-02 03:04:05.6 UTC));
        serde_json::to_value(event).unwrap()
    }

    #[test]
    fn of_a_pod_without_a_name_its_controller_has_the_event() {
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "node",
            "uid": "u", "controller": true});
        let other = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "v"});
        let event = event(
            &json!({"metadata": {"generateName": "node-", "ownerReferences": [other, owner]}}),
        );
        let expected = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "node",
            "uid": "u", "namespace": "shop"});
        assert_eq!(event["involvedObject"], expected);
        assert_eq!(event["metadata"]["namespace"], "shop");
        assert_eq!(event["metadata"]["generateName"], "palisade-injector-");
        assert_eq!(event["lastTimestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(
            (&event["type"], &event["message"]),
            (&json!("Warning"), &json!("pod node-*: why"))
        );
    }

    #[test]
    fn any_other_event_is_about_the_pod_in_its_namespace() {
        let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u", "controller": true});
        for (metadata, name) in [
            (
                json!({"name": "web-0", "generateName": "web-", "ownerReferences": [owner]}),
                "web-0",
            ),
            (json!({"generateName": "web-", "name": ""}), "web-*"),
            (
                json!({"generateName": "web-", "ownerReferences": [{"controller": true}]}),
                "web-*",
            ),
        ] {
            let event = event(&json!({"metadata": metadata}));
            let expected =
                json!({"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": "shop"});
            assert_eq!(event["involvedObject"], expected);
            assert_eq!(event["metadata"]["namespace"], "shop");
            assert_eq!(event["message"], format!("pod {name}: why"));
        }
    }
}
