//! Gathers a snapshot. What may not be read costs its own judgement, nothing else.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{DynamicObject, GroupVersionKind, ListParams};
use kube::core::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use palisade_api::cluster;
use palisade_api::in_force::InForce;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::installed;
use super::list::{self, Scope, in_words, is_undefined};
use super::sidecars::Reports;
use super::slim;
use super::snapshot::{Certificates, Looked, Platform, Snapshot};
use crate::kubernetes::acks;

/// All that is judged of a mesh.
pub async fn everything(client: &Client, system: &str, scope: &Scope) -> Snapshot {
    let in_system = Scope::Namespace(system.to_owned());
    let whole = ListParams::default();
    // Of a cluster's Events, these are few.
    let refusals = whole.clone().fields("reason=FailedCreate");
    let mut unreadable = Vec::new();
    let left_out = &mut unreadable;
    let snapshot = Snapshot {
        now: OffsetDateTime::now_utc(),
        system_namespace: system.to_owned(),
        platform: platform(client).await,
        definitions: all(client, slim::definition).await,
        deployments: some(client, &in_system, &whole, slim::nothing, left_out).await,
        admission_policies: all(client, slim::nothing).await,
        mutating: all(client, slim::nothing).await,
        validating: all(client, slim::nothing).await,
        api_services: all(client, slim::nothing).await,
        certificates: certificates(client, system, scope).await,
        namespaces: namespaces(client, scope).await,
        pods: some(client, scope, &whole, slim::pod, left_out).await,
        services: some(client, scope, &whole, slim::nothing, left_out).await,
        network_policies: some(client, scope, &whole, slim::nothing, left_out).await,
        events: some(client, scope, &refusals, slim::nothing, left_out).await,
        policies: of_kind(client, scope, KINDS[0]).await,
        cluster_policies: of_kind(client, scope, KINDS[1]).await,
        in_force: in_force(client, system).await,
        reports: reports(client, system).await,
        unreadable: Vec::new(),
    };
    unreadable.sort();
    unreadable.dedup();
    Snapshot {
        unreadable,
        ..snapshot
    }
}

/// What the cluster is made of.
pub async fn platform(client: &Client) -> Platform {
    let version = client.apiserver_version().await;
    Platform {
        version: version.map_err(|error| in_words(&error)),
        nodes: all(client, slim::node).await,
    }
}

async fn all<K>(client: &Client, slim: fn(&mut K)) -> Looked<Vec<K>>
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let found = list::pages(&Api::all(client.clone()), &ListParams::default(), slim).await;
    found.map_err(|error| in_words(&error))
}

/// What is kept of each, and the namespaces that could not be read.
async fn some<K>(
    client: &Client,
    scope: &Scope,
    params: &ListParams,
    slim: fn(&mut K),
    unreadable: &mut Vec<String>,
) -> Looked<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let found = list::list_some(client, scope, params, slim).await;
    let found = found.map_err(|error| in_words(&error))?;
    unreadable.extend(found.unreadable);
    Ok(found.items)
}

/// The namespaces that are meant.
///
/// # Errors
///
/// Where they may not be read, in words.
pub async fn namespaces(client: &Client, scope: &Scope) -> Looked<Vec<Namespace>> {
    match scope {
        Scope::All => all(client, slim::nothing).await,
        Scope::Namespace(name) => {
            let api: Api<Namespace> = Api::all(client.clone());
            let found = api.get(name).await;
            found.map(|one| vec![one]).map_err(|error| in_words(&error))
        }
    }
}

/// The rules that hold in a scope.
#[derive(Debug, Default)]
pub struct Policies {
    /// Those of namespaces, and the cluster's.
    pub items: Vec<DynamicObject>,
    /// The namespaces whose own may not be read.
    pub unreadable: Vec<String>,
    /// The definitions that are not there: of their kinds, no rule is listed.
    pub undefined: Vec<String>,
}

/// The rules that hold in a scope, the cluster's among them, and the namespaces whose own may not be read.
///
/// # Errors
///
/// Where the API server does not answer, or the rules of the cluster, or all of those of namespaces, may not be read.
pub async fn policies(client: &Client, scope: &Scope) -> Result<Policies, kube::Error> {
    let [own, of_cluster] = KINDS;
    let whole = ListParams::default();
    let mut policies = Policies::default();
    let api = |part: &Scope| api_of(client, part, own);
    match list::list_by(client, scope, api, &whole, slim::nothing).await {
        Ok(mut listed) => {
            named(&mut listed.items, own);
            policies.items = listed.items;
            policies.unreadable = listed.unreadable;
        }
        Err(error) if is_undefined(&error) => policies.undefined.push(definition(own)),
        Err(error) => return Err(error),
    }
    match of_one_kind(client, scope, of_cluster).await? {
        Some(found) => policies.items.extend(found),
        None => policies.undefined.push(definition(of_cluster)),
    }
    Ok(policies)
}

/// Whether control is there, which is where a mesh is, whatever else of it is gone.
///
/// # Errors
///
/// Where that may not be read, in words.
pub async fn is_installed(client: &Client, system: &str) -> Looked<bool> {
    Ok(control(client, system).await?.is_some())
}

/// Whether no replica of control is ready: then what the status of rules says is of before. Where there is no control, it is
/// not known to be down.
///
/// # Errors
///
/// Where that may not be read, in words.
pub async fn is_down(client: &Client, system: &str) -> Looked<bool> {
    let control = control(client, system).await?;
    Ok(control.is_some_and(|control| installed::ready(&control) == 0))
}

async fn control(client: &Client, system: &str) -> Looked<Option<Deployment>> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), system);
    let found = deployments.get_opt(cluster::CONTROL).await;
    found.map_err(|error| in_words(&error))
}

/// As objects of which the API server need not know the schema.
async fn of_kind(client: &Client, scope: &Scope, kind: (&str, &str)) -> Looked<Vec<DynamicObject>> {
    let found = of_one_kind(client, scope, kind).await;
    // No CRD is no rule: that is said elsewhere.
    let found = found.map_err(|error| in_words(&error))?;
    Ok(found.unwrap_or_default())
}

/// None where there is no such definition.
async fn of_one_kind(
    client: &Client,
    scope: &Scope,
    kind: (&str, &str),
) -> Result<Option<Vec<DynamicObject>>, kube::Error> {
    let api = api_of(client, scope, kind);
    match list::pages(&api, &ListParams::default(), slim::nothing).await {
        Ok(mut found) => {
            named(&mut found, kind);
            Ok(Some(found))
        }
        Err(error) if is_undefined(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Its name.
fn definition((_, plural): (&str, &str)) -> String {
    format!("{plural}.{}", cluster::GROUP)
}

fn api_of(client: &Client, scope: &Scope, (kind, plural): (&str, &str)) -> Api<DynamicObject> {
    let resource = resource(kind, plural);
    // The cluster's own rules belong to no namespace, and hold in each.
    match scope {
        Scope::Namespace(namespace) if plural == cluster::POLICIES => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        Scope::Namespace(_) | Scope::All => Api::all_with(client.clone(), &resource),
    }
}

/// Lists leave the kind of their items out.
fn named(found: &mut [DynamicObject], (kind, plural): (&str, &str)) {
    let resource = resource(kind, plural);
    for one in found {
        one.types.get_or_insert_with(|| kube::core::TypeMeta {
            api_version: resource.api_version.clone(),
            kind: kind.to_owned(),
        });
    }
}

/// What each replica of control says of the sidecars that it serves.
async fn reports(client: &Client, system: &str) -> Looked<Reports> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), system);
    let labelled = ListParams::default().labels(&format!("{}=true", acks::ACKS_LABEL));
    let found = api.list(&labelled).await;
    let found = found.map_err(|error| in_words(&error))?;
    Ok(acks::reports(&found.items))
}

/// What control recorded of the rules; nothing where there is no mesh yet.
///
/// # Errors
///
/// Where that may not be read, or is no such record, in words.
pub async fn in_force(client: &Client, system: &str) -> Looked<Vec<(String, InForce)>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), system);
    let found = api.get_opt(cluster::RULES_CONFIG_MAP).await;
    let found = found.map_err(|error| in_words(&error))?;
    let entries = found.and_then(|found| found.data).unwrap_or_default();
    let read = |(name, text): (String, String)| match serde_json::from_str(&text) {
        Ok(in_force) => Ok((name, in_force)),
        Err(error) => Err(format!(
            "{name} in the ConfigMap {}: {error}",
            cluster::RULES_CONFIG_MAP
        )),
    };
    entries.into_iter().map(read).collect()
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk(cluster::GROUP, cluster::VERSION, kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

async fn certificates(client: &Client, system: &str, scope: &Scope) -> Certificates {
    Certificates {
        authority: certificate(client, system, cluster::CA_SECRET).await,
        webhook: certificate(client, system, cluster::WEBHOOK_SECRET).await,
        trust: trust(client, scope).await,
    }
}

/// The certificate of a Secret; its key is forgotten at once.
async fn certificate(client: &Client, namespace: &str, name: &str) -> Looked<Option<Vec<u8>>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets
        .get_opt(name)
        .await
        .map_err(|error| in_words(&error))?;
    let mut entries = secret.and_then(|secret| secret.data).unwrap_or_default();
    Ok(entries.remove("tls.crt").map(|bytes| bytes.0))
}

async fn trust(client: &Client, scope: &Scope) -> Looked<Vec<(String, String)>> {
    let api: Api<ConfigMap> = match scope {
        Scope::All => Api::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let named = format!("metadata.name={}", cluster::TRUST_CONFIG_MAP);
    let found = api.list(&ListParams::default().fields(&named)).await;
    let found = found.map_err(|error| in_words(&error))?;
    let mut trust = Vec::new();
    for map in found.items {
        let namespace = map.namespace().unwrap_or_default();
        let text = map
            .data
            .and_then(|mut entries| entries.remove(cluster::TRUST_FILE));
        trust.push((namespace, text.unwrap_or_default()));
    }
    Ok(trust)
}

const KINDS: [(&str, &str); 2] = [
    ("AuthorizationPolicy", cluster::POLICIES),
    ("ClusterAuthorizationPolicy", cluster::CLUSTER_POLICIES),
];
