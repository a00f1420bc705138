//! What is asked of the cluster only when a warning depends on it: whom the API server calls, where nodes are, and who is in
//! the namespaces that a rule names.
//!
//! Nothing of it is kept: who joins the mesh, or writes a rule, does so seldom.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use palisade_api::manifest::KnownWorkload;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A Service that the API server calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Called {
    /// Its name.
    pub(crate) service: String,
    /// Whose calls they are: `ValidatingWebhookConfiguration shop`.
    pub(crate) by: String,
}

/// The Services of a namespace that the API server calls: webhooks, aggregated APIs, conversions.
///
/// # Errors
///
/// One of the lists cannot be had.
pub(crate) async fn called(client: &Client, namespace: &str) -> Result<Vec<Called>, kube::Error> {
    let mut called = Vec::new();
    for (kind, path) in CALLERS {
        let callers: Vec<Caller> = all(client, path).await?;
        for caller in callers {
            let name = &caller.metadata.name;
            let services = caller.services().filter(|it| it.namespace == namespace);
            called.extend(services.map(|it| Called {
                service: it.name.clone(),
                by: format!("{kind} {name}"),
            }));
        }
    }
    called.sort();
    called.dedup();
    Ok(called)
}

/// The addresses of all nodes, each with its node's name.
///
/// # Errors
///
/// The list cannot be had.
pub(crate) async fn nodes(client: &Client) -> Result<Vec<(String, IpAddr)>, kube::Error> {
    let nodes: Vec<Node> = all(client, "/api/v1/nodes").await?;
    let addresses = nodes.into_iter().flat_map(|node| {
        let name = node.metadata.name;
        let addresses = node.status.addresses.into_iter();
        addresses.filter_map(move |it| Some((name.clone(), it.address.parse().ok()?)))
    });
    Ok(addresses.collect())
}

/// The service accounts of a namespace, or with none of all: the namespace and the name of each.
///
/// # Errors
///
/// The list cannot be had.
pub(crate) async fn accounts(
    client: &Client,
    namespace: Option<&str>,
) -> Result<Vec<(String, String)>, kube::Error> {
    let accounts: Vec<Account> = all(client, &core(namespace, "serviceaccounts")).await?;
    let names = accounts.into_iter().map(|it| it.metadata);
    Ok(names.map(|it| (it.namespace, it.name)).collect())
}

/// The pods of a namespace, or with none of all, that have not ended; `None` where there are more than are looked at.
///
/// # Errors
///
/// The list cannot be had.
pub(crate) async fn workloads(
    client: &Client,
    namespace: Option<&str>,
) -> Result<Option<Vec<KnownWorkload>>, kube::Error> {
    let pods: Option<Vec<Pod>> =
        pages(client, &core(namespace, "pods"), MOST_PAGES_OF_PODS).await?;
    Ok(pods.map(|pods| {
        let pods = pods.into_iter();
        let running = pods.filter(|it| !matches!(it.status.phase.as_str(), "Succeeded" | "Failed"));
        running.map(Pod::workload).collect()
    }))
}

/// Where objects of the core API are listed.
fn core(namespace: Option<&str>, plural: &str) -> String {
    match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/{plural}"),
        None => format!("/api/v1/{plural}"),
    }
}

async fn all<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Vec<T>, kube::Error> {
    Ok(pages(client, path, usize::MAX).await?.unwrap_or_default())
}

/// Page by page, and of each object what is used: whole definitions, and whole nodes, are many times that. `None` where
/// there are more pages than `most`.
async fn pages<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    most: usize,
) -> Result<Option<Vec<T>>, kube::Error> {
    let mut items = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    for _page in 0..most {
        let request = Request::new(path).list(&page);
        let found: Page<T> = client
            .request(request.map_err(kube::Error::BuildRequest)?)
            .await?;
        items.extend(found.items);
        match found.metadata.next {
            Some(next) if !next.is_empty() => page.continue_token = Some(next),
            Some(_) | None => return Ok(Some(items)),
        }
    }
    Ok(None)
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
}

/// Whatever has the API server call a Service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Caller {
    metadata: Metadata,
    webhooks: Vec<Hook>,
    spec: CallerSpec,
}

/// Of an APIService, or of a definition.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallerSpec {
    service: Option<Place>,
    conversion: Conversion,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conversion {
    webhook: Option<Hook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Hook {
    client_config: ClientConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientConfig {
    service: Option<Place>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Place {
    namespace: String,
    name: String,
}

impl Caller {
    fn services(&self) -> impl Iterator<Item = &Place> {
        let hooks = self.webhooks.iter().chain(&self.spec.conversion.webhook);
        let of_hooks = hooks.filter_map(|hook| hook.client_config.service.as_ref());
        of_hooks.chain(&self.spec.service)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Metadata,
    status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Account {
    metadata: LabelledMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: LabelledMetadata,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LabelledMetadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    service_account_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

impl Pod {
    fn workload(self) -> KnownWorkload {
        KnownWorkload {
            namespace: self.metadata.namespace,
            name: self.metadata.name,
            service_account: self.spec.service_account_name,
            labels: self.metadata.labels,
        }
    }
}

/// Who can have the API server call a Service, and where it lists them.
const CALLERS: [(&str, &str); 4] = [
    (
        "MutatingWebhookConfiguration",
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    ),
    (
        "ValidatingWebhookConfiguration",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    ),
    ("APIService", "/apis/apiregistration.k8s.io/v1/apiservices"),
    (
        "CustomResourceDefinition",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ),
];
const PAGE: u32 = 100;
/// What a review has time for.
const MOST_PAGES_OF_PODS: usize = 20;

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster_double::Cluster;

    /// Lists of everything that is asked: `shop/hook` is called for each kind, and by `node1` a node is called.
    pub(crate) fn lists() -> [(&'static str, Value); 5] {
        let service =
            |namespace: &str| json!({"namespace": namespace, "name": "hook", "port": 443});
        let webhooks = |service: Value| {
            json!([{"metadata": {"name": "a"}, "webhooks": [
                {"name": "by-url", "clientConfig": {"url": "https://hook.example"}},
                {"name": "one", "clientConfig": {"service": service}},
                {"name": "two", "clientConfig": {"service": service}},
            ]}])
        };
        let definition = json!([
            {"metadata": {"name": "c"}, "spec": {"conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": {"service": service("shop")}}}}},
            {"metadata": {"name": "d"}, "spec": {"conversion": {"strategy": "None"}}},
        ]);
        let api_services = json!([
            {"metadata": {"name": "b"}, "spec": {"service": service("shop")}},
            {"metadata": {"name": "local"}, "spec": {"service": null}},
        ]);
        let node = json!([{"metadata": {"name": "node1"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.11"},
            {"type": "InternalIP", "address": "fd00::11"},
            {"type": "Hostname", "address": "node1"},
        ]}}]);
        let lists = [
            webhooks(service("shop")),
            webhooks(service("elsewhere")),
            api_services,
            definition,
        ];
        let mut all = lists.into_iter().zip(CALLERS);
        let mut next = || all.next().map(|(list, (_, path))| (path, list)).unwrap();
        [next(), next(), next(), next(), ("/api/v1/nodes", node)]
    }

    #[tokio::test]
    async fn every_service_of_a_namespace_that_the_api_server_calls_is_found() {
        let cluster = Cluster::start(lists()).await;
        let found = called(&cluster.client, "shop").await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|it| format!("{} for {}", it.service, it.by))
            .collect();
        let expected = [
            "hook for APIService b",
            "hook for CustomResourceDefinition c",
            "hook for MutatingWebhookConfiguration a",
        ];
        assert_eq!(found, expected);
        assert_eq!(called(&cluster.client, "web").await.unwrap(), []);
    }

    #[tokio::test]
    async fn nodes_are_found_by_their_addresses() {
        let cluster = Cluster::start(lists()).await;
        let expected =
            ["10.0.0.11", "fd00::11"].map(|addr| ("node1".to_owned(), addr.parse().unwrap()));
        assert_eq!(nodes(&cluster.client).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_list_that_may_not_be_had_is_an_error() {
        let cluster = Cluster::start([]).await;
        called(&cluster.client, "shop").await.unwrap_err();
        nodes(&cluster.client).await.unwrap_err();
    }
}
