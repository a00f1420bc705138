//! Policies, and what is said of them and of pods.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::super::acks::{self, Held, Rule};
use super::super::leader::{Selecting, Unmeshed, unmeshed};
use super::{SYSTEM, create, object, until};

/// As much of the CRD as a status needs.
fn definition() -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "metadata": {"name": "authorizationpolicies.palisade.dev"},
        "spec": {
            "group": "palisade.dev", "scope": "Namespaced",
            "names": {"kind": "AuthorizationPolicy", "plural": "authorizationpolicies", "singular": "authorizationpolicy"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": any},
            }],
        },
    })
}

async fn define(admin: &Client) -> Api<CustomResourceDefinition> {
    let definitions: Api<CustomResourceDefinition> = Api::all(admin.clone());
    create(&definitions, definition()).await;
    until(
        &definitions,
        "authorizationpolicies.palisade.dev",
        |found| {
            let conditions = found
                .and_then(|found| found.status.as_ref())
                .and_then(|status| status.conditions.as_ref());
            conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "Established" && c.status == "True")
        },
    )
    .await;
    definitions
}

/// A policy's status follows what a replica reports.
pub(super) async fn tells_of_policies(
    admin: &Client,
    client: Client,
    policies: &watch::Sender<Arc<Vec<Selecting>>>,
) {
    let definitions = define(admin).await;
    let kind = GroupVersionKind::gvk("palisade.dev", "v1alpha1", "AuthorizationPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, "authorizationpolicies");
    let objects: Api<DynamicObject> = Api::namespaced_with(admin.clone(), "default", &resource);
    let web = json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": {"name": "web-k"},
    });
    let made = object::<DynamicObject>(web);
    objects.create(&PostParams::default(), &made).await.unwrap();
    let rule = Rule {
        name: "default/web-k".into(),
        generation: 1,
    };
    policies.send_replace(Arc::new(vec![Selecting {
        namespace: Some("default".into()),
        name: "web-k".into(),
        generation: 1,
        errors: Vec::new(),
        in_force: Some(rule.clone()),
        workloads: ["default/web-1".to_owned()].into(),
        status: None,
    }]));
    let ready = |found: Option<&DynamicObject>, expected: &str| {
        found.is_some_and(|found| found.data["status"]["conditions"][0]["status"] == expected)
    };
    let look = async |expected: &str| {
        let looks = async {
            while !ready(objects.get_opt("web-k").await.unwrap().as_ref(), expected) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), looks).await.unwrap();
    };
    look("False").await;
    let held = move || {
        vec![Held {
            workload: "default/web-1".into(),
            enforces: [rule.clone()].into(),
            refuses: BTreeSet::new(),
        }]
    };
    let report = tokio::spawn(acks::report(client, SYSTEM.into(), "replica".into(), held));
    look("True").await;
    report.abort();
    let params = DeleteParams::default();
    let name = "authorizationpolicies.palisade.dev";
    definitions.delete(name, &params).await.unwrap();
}

/// A pod without a sidecar has an Event.
pub(super) async fn tells_of_pods(admin: &Client, outside: &watch::Sender<Arc<Vec<Unmeshed>>>) {
    let namespace = object(json!({"labels": {"mesh.palisade.dev/member": "enabled"}}));
    let pod: Pod = object(json!({
        "metadata": {"namespace": "default", "name": "bare-k", "uid": "5b1a"}, "spec": {"containers": []},
    }));
    let found = unmeshed(&pod, &namespace).unwrap();
    outside.send_replace(Arc::new(vec![found]));
    let events: Api<Event> = Api::namespaced(admin.clone(), "default");
    let told = async {
        loop {
            let found = events.list(&ListParams::default()).await.unwrap();
            let about = |event: &Event| {
                event
                    .regarding
                    .as_ref()
                    .and_then(|about| about.name.clone())
            };
            if found
                .iter()
                .any(|event| about(event).as_deref() == Some("bare-k"))
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), told).await.unwrap();
}
