//! What is in the cluster before anything is taken away.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};

use palisade_api::cluster;

use super::meshed::{self, Owner, Workload};

/// What was found.
#[derive(Debug)]
pub(super) struct Survey {
    /// Workloads with pods in the mesh.
    pub(super) meshed: Vec<Workload>,
    /// How many policies go with each CRD, by its name.
    pub(super) rules: BTreeMap<String, usize>,
    leave: Vec<String>,
}

impl Survey {
    /// The commands that take the pods out of the mesh, in their order.
    pub(super) fn ways_out(&self) -> Vec<String> {
        let restarts = self.meshed.iter().map(|workload| workload.restart.clone());
        self.leave.iter().cloned().chain(restarts).collect()
    }
}

/// Looks, and changes nothing.
pub(super) async fn survey(client: &Client) -> kube::Result<Survey> {
    let pods = pods(client).await?;
    let parents = parents(client, &pods).await?;
    let meshed = meshed::workloads(&pods, &parents);
    let namespaces = Api::<Namespace>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    Ok(Survey {
        leave: meshed::leave(&namespaces.items, &meshed),
        meshed,
        rules: rules(client).await?,
    })
}

/// All meshed pods; the others, of which a cluster has many more, are not kept.
async fn pods(client: &Client) -> kube::Result<Vec<Pod>> {
    let api = Api::<Pod>::all(client.clone());
    let mut pods = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        pods.extend(list.items.into_iter().filter(meshed::is_meshed));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

async fn parents(client: &Client, pods: &[Pod]) -> kube::Result<BTreeMap<Owner, Owner>> {
    let owners: BTreeSet<Owner> = pods.iter().map(meshed::owner).collect();
    let mut parents = BTreeMap::new();
    for owner in owners {
        let (client, namespace) = (client.clone(), &owner.namespace);
        let found = match owner.kind.as_str() {
            "ReplicaSet" => {
                let api = Api::<ReplicaSet>::namespaced(client, namespace);
                api.get_metadata_opt(&owner.name)
                    .await?
                    .map(|set| set.metadata)
            }
            "Job" => {
                let api = Api::<Job>::namespaced(client, namespace);
                api.get_metadata_opt(&owner.name)
                    .await?
                    .map(|job| job.metadata)
            }
            _ => None,
        };
        if let Some(parent) = found.as_ref().and_then(meshed::controller) {
            parents.insert(owner, parent);
        }
    }
    Ok(parents)
}

async fn rules(client: &Client) -> kube::Result<BTreeMap<String, usize>> {
    let mut rules = BTreeMap::new();
    for (kind, plural) in [
        ("AuthorizationPolicy", cluster::POLICIES),
        ("ClusterAuthorizationPolicy", cluster::CLUSTER_POLICIES),
    ] {
        let gvk = GroupVersionKind::gvk(cluster::GROUP, cluster::VERSION, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
        match api.list_metadata(&ListParams::default()).await {
            Ok(list) => {
                rules.insert(format!("{plural}.{}", cluster::GROUP), list.items.len());
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(rules)
}

const PAGE: u32 = 500;
