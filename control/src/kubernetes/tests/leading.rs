//! The leader and what it keeps.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::leader::{Cluster, lead};
use super::super::{authority, lease};
use super::policies::{tells_of_pods, tells_of_policies};
use super::{SYSTEM, create, merge, object, rights, until};
use crate::telemetry::metrics::Metrics;

fn marked(namespace: Option<&Namespace>) -> Option<bool> {
    let labels = namespace?.metadata.labels.as_ref()?;
    Some(labels.get("mesh.palisade.dev/member").map(String::as_str) == Some("enabled"))
}

fn bundles(found: Option<&MutatingWebhookConfiguration>) -> Vec<Option<Vec<u8>>> {
    let webhooks = found.and_then(|found| found.webhooks.as_ref());
    let bundle = |hook: &k8s_openapi::api::admissionregistration::v1::MutatingWebhook| {
        hook.client_config.ca_bundle.clone().map(|bytes| bytes.0)
    };
    webhooks.into_iter().flatten().map(bundle).collect()
}

fn webhooks() -> Value {
    let webhook = |name: &str| {
        json!({
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
            "namespaceSelector": {"matchLabels": {"nobody": "has-this"}},
            "clientConfig": {"service": {"name": "palisade-injector", "namespace": SYSTEM, "path": "/pods"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        })
    };
    json!({
        "metadata": {"name": "palisade-injector"},
        "webhooks": [webhook("pods.palisade.dev"), webhook("namespaces.palisade.dev")],
    })
}

#[tokio::test]
async fn the_leader_keeps_the_cluster_as_it_should_be() {
    let client = Client::try_default().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    create(&namespaces, json!({"metadata": {"name": SYSTEM}})).await;
    let admin = client.clone();
    let client = rights::control(&admin).await;
    let domain = "cluster.local".parse().unwrap();
    let (first, second) = tokio::join!(
        authority::load_or_create(&client, SYSTEM, &domain),
        authority::load_or_create(&client, SYSTEM, &domain)
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.root().certificate(), second.root().certificate());
    let pem = first.root().pem().to_owned();

    let (stop, stopping) = watch::channel(false);
    let (leading, election) = lease::elect(client.clone(), SYSTEM, "replica", stopping);
    let election = tokio::spawn(election);
    let metrics = Arc::new(Metrics::new());
    let selecting = watch::channel(Arc::new(Vec::new()));
    let cluster = Cluster {
        client: client.clone(),
        namespace: SYSTEM.into(),
        ca: Arc::new(first),
        metrics: Arc::clone(&metrics),
        replica: "replica".into(),
        policies: selecting.1,
        records: watch::channel([None, None]).1,
    };
    let leader = tokio::spawn(lead(cluster, leading.clone()));

    believes_webhooks(&admin, &pem).await;
    keeps_namespaces(&admin, &pem).await;
    tells_of_policies(&admin, client, &selecting.0).await;
    tells_of_pods(&admin, &metrics).await;

    stop.send_replace(true);
    election.await.unwrap();
    leader.abort();
    assert!(!*leading.borrow());
    let params = DeleteParams::default();
    namespaces.delete(SYSTEM, &params).await.unwrap();
    rights::revoke(&admin).await;
}

/// The webhooks are served and believed, also after a `replace`.
async fn believes_webhooks(admin: &Client, pem: &str) {
    let hooks: Api<MutatingWebhookConfiguration> = Api::all(admin.clone());
    create(&hooks, webhooks()).await;
    let ours = vec![Some(pem.as_bytes().to_vec()); 2];
    let took = until(&hooks, "palisade-injector", |found| bundles(found) == ours).await;
    eprintln!("the caBundle was there after {took:?}");
    let mut again = object::<MutatingWebhookConfiguration>(webhooks());
    let found = hooks.get("palisade-injector").await.unwrap();
    again.metadata.resource_version = found.metadata.resource_version;
    hooks
        .replace("palisade-injector", &PostParams::default(), &again)
        .await
        .unwrap();
    let took = until(&hooks, "palisade-injector", |found| bundles(found) == ours).await;
    eprintln!("after a replace, after {took:?}");
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), SYSTEM);
    until(&secrets, "palisade-webhook-tls", |found| found.is_some()).await;

    let params = DeleteParams::default();
    hooks.delete("palisade-injector", &params).await.unwrap();
}

/// A namespace that asks for the mesh is marked and has the bundle, until it asks no longer.
async fn keeps_namespaces(admin: &Client, pem: &str) {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let shop =
        json!({"metadata": {"name": "shop-k", "annotations": {"palisade.dev/inject": "enabled"}}});
    create(&namespaces, shop).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "shop-k");
    let good = |found: Option<&ConfigMap>| {
        found
            .and_then(|map| map.data.as_ref())
            .is_some_and(|data| data.len() == 1 && data.get("ca.crt") == Some(&pem.to_owned()))
    };
    let took = until(&config_maps, "palisade-trust", good).await;
    let label = until(&namespaces, "shop-k", |found| marked(found) == Some(true)).await;
    eprintln!("the bundle was there after {took:?}, the label {label:?} later");
    merge(
        &config_maps,
        "palisade-trust",
        json!({"data": {"ca.crt": "x", "y": "z"}}),
    )
    .await;
    let took = until(&config_maps, "palisade-trust", good).await;
    eprintln!("edited, it was repaired after {took:?}");
    let params = DeleteParams::default();
    config_maps.delete("palisade-trust", &params).await.unwrap();
    let took = until(&config_maps, "palisade-trust", good).await;
    eprintln!("deleted, it was back after {took:?}");
    merge(
        &namespaces,
        "shop-k",
        json!({"metadata": {"annotations": {"palisade.dev/inject": null}}}),
    )
    .await;
    until(&namespaces, "shop-k", |found| marked(found) == Some(false)).await;
    until(&config_maps, "palisade-trust", |found| found.is_none()).await;

    namespaces.delete("shop-k", &params).await.unwrap();
}
