//! Policies, and what is said of them and of pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
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
use super::super::leader::Selecting;
use super::{SYSTEM, create, object, until};
use crate::telemetry::metrics::Metrics;

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
        idle: BTreeSet::new(),
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
        let held = Held {
            workload: "default/web-1".into(),
            enforces: [rule.clone()].into(),
            refuses: BTreeSet::new(),
        };
        (vec![held], BTreeMap::new())
    };
    let report = tokio::spawn(acks::report(client, SYSTEM.into(), "replica".into(), held));
    look("True").await;
    report.abort();
    let params = DeleteParams::default();
    let name = "authorizationpolicies.palisade.dev";
    definitions.delete(name, &params).await.unwrap();
}

/// A pod without a sidecar has an Event, and is counted; what is judged could all be read.
pub(super) async fn tells_of_pods(admin: &Client, metrics: &Metrics) {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let annotations = json!({"palisade.dev/inject": "enabled"});
    let outside = json!({"metadata": {"name": "outside-k", "annotations": annotations}});
    create(&namespaces, outside).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "outside-k");
    until(&accounts, "default", |found| found.is_some()).await;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "outside-k");
    let bare = json!({"containers": [{"name": "a", "image": "kube.local/none:1", "imagePullPolicy": "Never"}]});
    create(&pods, json!({"metadata": {"name": "bare-k"}, "spec": bare})).await;
    let events: Api<Event> = Api::namespaced(admin.clone(), "outside-k");
    let told = async {
        loop {
            let found = events.list(&ListParams::default()).await.unwrap();
            let is_ours = |event: &Event| {
                let about = event.regarding.as_ref();
                let name = about.and_then(|about| about.name.as_deref());
                event.reason.as_deref() == Some("Unmeshed") && name == Some("bare-k")
            };
            if found.iter().any(is_ours) {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(60), told).await.unwrap();
    let text = metrics.text().unwrap();
    let line = |check: &str, severity: &str| {
        format!("palisade_findings{{check=\"{check}\",severity=\"{severity}\"}}")
    };
    assert!(
        text.contains(&format!("{} 1\n", line("unmeshed", "error"))),
        "{text}"
    );
    let params = DeleteParams::default();
    namespaces.delete("outside-k", &params).await.unwrap();
}
