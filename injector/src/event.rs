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

/// One pod without a sidecar. It has no name yet, or no object: its owner, or its namespace, has the Event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Skipped {
    regarding: ObjectReference,
    message: String,
}

impl Skipped {
    pub(crate) fn new(pod: &Value, namespace: &str, message: &str) -> Self {
        let regarding = owner(pod, namespace).unwrap_or_else(|| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: Some(namespace.to_owned()),
            ..ObjectReference::default()
        });
        Self {
            regarding,
            message: message.to_owned(),
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
        // Where the API server wants Events about objects that belong to no namespace.
        let namespace = event.involved_object.namespace.clone();
        event.metadata.namespace = namespace.or_else(|| Some("default".to_owned()));
        event
    }
}

/// The controller that makes such pods.
fn owner(pod: &Value, namespace: &str) -> Option<ObjectReference> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let owner = owners.iter().find(is_controller)?;
    let text = |field: &str| Some(owner.get(field)?.as_str()?.to_owned());
    Some(ObjectReference {
        api_version: Some(text("apiVersion")?),
        kind: Some(text("kind")?),
        name: Some(text("name")?),
        uid: Some(text("uid")?),
        namespace: Some(namespace.to_owned()),
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
            .try_send(Skipped::new(&json!({}), "shop", "why"))
            .unwrap();
        drop(sender);
        timeout(BOUND, write(cluster.client.clone(), receiver))
            .await
            .unwrap();
        let (path, event) = cluster.written.try_recv().unwrap();
        assert_eq!(path, "/api/v1/namespaces/default/events");
        assert_eq!(event["involvedObject"]["name"], "shop");
    }

    fn event(pod: &Value) -> Value {
        let event = Skipped::new(pod, "shop", "why").event(datetime!(2026-01-02 03:04:05.6 UTC));
        serde_json::to_value(event).unwrap()
    }

    #[test]
    fn an_event_is_about_the_pods_controller() {
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "node",
            "uid": "u", "controller": true});
        let other = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "v"});
        let event = event(&json!({"metadata": {"ownerReferences": [other, owner]}}));
        let expected = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "node",
            "uid": "u", "namespace": "shop"});
        assert_eq!(event["involvedObject"], expected);
        assert_eq!(event["metadata"]["namespace"], "shop");
        assert_eq!(event["metadata"]["generateName"], "palisade-injector-");
        assert_eq!(event["lastTimestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(
            (&event["type"], &event["message"]),
            (&json!("Warning"), &json!("why"))
        );
    }

    #[test]
    fn a_pod_without_one_is_told_of_at_its_namespace() {
        for pod in [
            json!({}),
            json!({"metadata": {"ownerReferences": [{"controller": true}]}}),
        ] {
            let event = event(&pod);
            let expected = json!({"apiVersion": "v1", "kind": "Namespace", "name": "shop"});
            assert_eq!(event["involvedObject"], expected);
            assert_eq!(event["metadata"]["namespace"], "default");
        }
    }
}
