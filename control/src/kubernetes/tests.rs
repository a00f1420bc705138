//! Against a real API server: `KUBECONFIG` names its administrator. Everything is made and removed in namespaces of
//! these tests' own, but for the system namespace's name.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::leader::{Cluster, lead};
use super::{ReviewError, ServiceAccounts, authority, lease};
use crate::telemetry::metrics::Metrics;

const SYSTEM: &str = "palisade-system";

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

async fn create<K>(api: &Api<K>, value: Value)
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    api.create(&PostParams::default(), &object(value))
        .await
        .unwrap();
}

async fn merge<K>(api: &Api<K>, name: &str, value: Value)
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(value))
        .await
        .unwrap();
}

/// Until the object is like that; how long it took.
async fn until<K>(api: &Api<K>, name: &str, is: impl Fn(Option<&K>) -> bool) -> Duration
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let began = Instant::now();
    let looks = async {
        while !is(api.get_opt(name).await.unwrap().as_ref()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), looks)
        .await
        .unwrap_or_else(|_| panic!("{name} did not come to be as expected"));
    began.elapsed()
}

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
#[ignore = "needs a cluster, named by KUBECONFIG"]
async fn the_leader_keeps_the_cluster_as_it_should_be() {
    let client = Client::try_default().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    create(&namespaces, json!({"metadata": {"name": SYSTEM}})).await;
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
    let unmeshed = watch::channel(Arc::new(Vec::new()));
    let cluster = Cluster {
        client: client.clone(),
        namespace: SYSTEM.into(),
        ca: Arc::new(first),
        metrics: Arc::new(Metrics::new()),
        replica: "replica".into(),
        policies: watch::channel(Arc::new(Vec::new())).1,
        unmeshed: unmeshed.1,
    };
    let leader = tokio::spawn(lead(cluster, leading.clone()));

    let hooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    create(&hooks, webhooks()).await;
    let ours = vec![Some(pem.clone().into_bytes()); 2];
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
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    until(&secrets, "palisade-webhook-tls", |found| found.is_some()).await;

    let shop =
        json!({"metadata": {"name": "shop-k", "annotations": {"palisade.dev/inject": "enabled"}}});
    create(&namespaces, shop).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop-k");
    let good = |found: Option<&ConfigMap>| {
        found
            .and_then(|map| map.data.as_ref())
            .is_some_and(|data| data.len() == 1 && data.get("ca.crt") == Some(&pem))
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

    stop.send_replace(true);
    election.await.unwrap();
    leader.abort();
    assert!(!*leading.borrow());
    hooks.delete("palisade-injector", &params).await.unwrap();
    namespaces.delete("shop-k", &params).await.unwrap();
    namespaces.delete(SYSTEM, &params).await.unwrap();
}

/// A token of the account `web`; bound to a pod, if one is given.
async fn token(client: &Client, audience: &str, pod: Option<&Pod>) -> String {
    let reference = pod.map(|pod| {
        json!({"kind": "Pod", "apiVersion": "v1", "name": pod.metadata.name, "uid": pod.metadata.uid})
    });
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [audience], "boundObjectRef": reference},
    });
    let request = http::Request::post("/api/v1/namespaces/attest-k/serviceaccounts/web/token")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&request).unwrap())
        .unwrap();
    let answer: Value = client.request(request).await.unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs a cluster, named by KUBECONFIG"]
async fn a_real_token_counts_only_for_its_pod_and_from_it() {
    let client = Client::try_default().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    create(&namespaces, json!({"metadata": {"name": "attest-k"}})).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "attest-k");
    create(&accounts, json!({"metadata": {"name": "web"}})).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "attest-k");
    // No node takes it: its status is ours to write.
    let web = json!({
        "metadata": {"name": "web-1"},
        "spec": {
            "serviceAccountName": "web", "nodeSelector": {"nobody": "has-this"},
            "containers": [{"name": "web", "image": "none"}],
        },
    });
    create(&pods, web).await;
    let pod = pods.get("web-1").await.unwrap();
    let bound = token(&client, "palisade", Some(&pod)).await;
    let reviewer =
        |check| ServiceAccounts::new(client.clone(), "cluster.local".parse().unwrap(), check);
    let (checked, unchecked) = (reviewer(true), reviewer(false));
    let at = |address: &str| address.parse::<IpAddr>().unwrap();
    let reason = |result: Result<super::Reviewed, ReviewError>| match result {
        Ok(_) => "accepted",
        Err(ReviewError::Refused(refusal)) => {
            eprintln!("{refusal}");
            refusal.reason()
        }
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(
        reason(checked.review(&bound, at("10.88.1.77")).await),
        "not_visible_yet"
    );
    let status = json!({"status": {"podIP": "10.88.1.77", "podIPs": [{"ip": "10.88.1.77"}, {"ip": "fd88::77"}]}});
    pods.patch_status("web-1", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let began = Instant::now();
    let reviewed = checked.review(&bound, at("fd88::77")).await.unwrap();
    eprintln!("reviewed in {:?}", began.elapsed());
    let (id, named) = reviewed.into_parts();
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/attest-k/sa/web");
    assert_eq!(named.uid, pod.metadata.uid.clone().unwrap());

    assert_eq!(
        reason(checked.review(&bound, at("10.88.1.78")).await),
        "address"
    );
    assert_eq!(
        reason(unchecked.review(&bound, at("10.88.1.78")).await),
        "accepted"
    );
    let free = token(&client, "palisade", None).await;
    assert_eq!(
        reason(unchecked.review(&free, at("10.88.1.77")).await),
        "unbound"
    );
    let other = token(&client, "another", Some(&pod)).await;
    assert_eq!(
        reason(unchecked.review(&other, at("10.88.1.77")).await),
        "not_authenticated"
    );
    let (signed, _signature) = bound.rsplit_once('.').unwrap();
    let forged = format!("{signed}.AAAA");
    assert_eq!(
        reason(unchecked.review(&forged, at("10.88.1.77")).await),
        "not_authenticated"
    );

    pods.delete("web-1", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    until(&pods, "web-1", |found| found.is_none()).await;
    // The API server's own cache of reviews may say yes for some seconds; the pod itself is asked for, and is not there.
    let gone = reason(unchecked.review(&bound, at("10.88.1.77")).await);
    assert!(["not_authenticated", "pod_gone"].contains(&gone), "{gone}");
    let mut params = DeleteParams::default();
    params.propagation_policy = Some(PropagationPolicy::Background);
    namespaces.delete("attest-k", &params).await.unwrap();
}
