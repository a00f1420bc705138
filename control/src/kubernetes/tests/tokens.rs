//! Tokens that the API server made.

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::super::{ReviewError, ServiceAccounts};
use super::{create, until};

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

/// A pod that no node takes, so that its status is ours to write.
async fn pod(client: &Client, pods: &Api<Pod>) -> Pod {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    create(&namespaces, json!({"metadata": {"name": "attest-k"}})).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "attest-k");
    create(&accounts, json!({"metadata": {"name": "web"}})).await;
    let web = json!({
        "metadata": {"name": "web-1"},
        "spec": {
            "serviceAccountName": "web", "nodeSelector": {"nobody": "has-this"},
            "containers": [{"name": "web", "image": "none"}],
        },
    });
    create(pods, web).await;
    pods.get("web-1").await.unwrap()
}

/// In one word, what a token came to.
async fn outcome(accounts: &ServiceAccounts, token: &str, from: &str) -> &'static str {
    match accounts.review(token, from.parse().unwrap()).await {
        Ok(_) => "accepted",
        Err(ReviewError::Refused(refusal)) => {
            eprintln!("{refusal}");
            refusal.reason()
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_real_token_counts_only_for_its_pod_and_from_it() {
    let client = Client::try_default().await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "attest-k");
    let pod = pod(&client, &pods).await;
    let bound = token(&client, "palisade", Some(&pod)).await;
    let domain = "cluster.local".parse().unwrap();
    let checked = ServiceAccounts::new(client.clone(), domain, true);
    let domain = "cluster.local".parse().unwrap();
    let unchecked = ServiceAccounts::new(client.clone(), domain, false);
    let (own, other) = ("10.88.1.77", "10.88.1.78");
    assert_eq!(outcome(&checked, &bound, own).await, "not_visible_yet");
    let addresses = json!([{"ip": own}, {"ip": "fd88::77"}]);
    let status = json!({"status": {"podIP": own, "podIPs": addresses}});
    pods.patch_status("web-1", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let address = "fd88::77".parse().unwrap();
    let (id, named) = checked.review(&bound, address).await.unwrap().into_parts();
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/attest-k/sa/web");
    assert_eq!(Some(named.uid), pod.metadata.uid);

    assert_eq!(outcome(&checked, &bound, other).await, "address");
    assert_eq!(outcome(&unchecked, &bound, other).await, "accepted");
    let free = token(&client, "palisade", None).await;
    assert_eq!(outcome(&unchecked, &free, own).await, "unbound");
    let foreign = token(&client, "another", Some(&pod)).await;
    assert_eq!(
        outcome(&unchecked, &foreign, own).await,
        "not_authenticated"
    );
    let (signed, _signature) = bound.rsplit_once('.').unwrap();
    let forged = format!("{signed}.AAAA");
    assert_eq!(outcome(&unchecked, &forged, own).await, "not_authenticated");

    let params = DeleteParams::default().grace_period(0);
    pods.delete("web-1", &params).await.unwrap();
    until(&pods, "web-1", |found| found.is_none()).await;
    // The API server's cache of reviews may say yes for some seconds more; the pod is asked for, and is not there.
    let gone = outcome(&unchecked, &bound, own).await;
    assert!(["not_authenticated", "pod_gone"].contains(&gone), "{gone}");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let params = DeleteParams::default();
    namespaces.delete("attest-k", &params).await.unwrap();
}
