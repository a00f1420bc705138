//! Deletes, in an order in which nothing breaks on the way, and waits until each thing is gone.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, TypeMeta,
};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

use palisade_api::cluster;

use super::report::{Event, Report};
use crate::kubernetes::list::in_words;

/// Why something could not be taken away.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoveError {
    /// The API server's answer.
    #[error("{what} cannot be removed: {why}")]
    Api {
        /// Kind and name.
        what: String,
        /// In the API server's words.
        why: String,
    },
    /// Nobody listens any more.
    #[error("the report cannot be written")]
    Report(#[from] io::Error),
}

/// What is taken away.
pub(super) struct Removal {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// How many policies go with each CRD.
    pub(super) rules: BTreeMap<String, usize>,
}

impl Removal {
    /// Removes the chart's objects in the opposite of the order in which they are installed, and before the rules
    /// what control has made; says how many things were there.
    pub(super) async fn run(
        self,
        objects: &[Value],
        report: &mut Report,
    ) -> Result<usize, RemoveError> {
        let mut removed = 0;
        let targets: Vec<Target> = objects.iter().rev().filter_map(target).collect();
        let (rules, parts) = split(targets);
        for target in &parts {
            removed += self.target(target, report).await?;
        }
        removed += self.made_by_control(report).await?;
        removed += self.labels(report).await?;
        for target in &rules {
            removed += self.target(target, report).await?;
        }
        Ok(removed + self.system_namespace(report).await?)
    }

    async fn target(&self, target: &Target, report: &mut Report) -> Result<usize, RemoveError> {
        let resource = ApiResource::from_gvk(&target.gvk);
        let api: Api<DynamicObject> = match &target.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        if !delete(&api, &target.gvk.kind, &target.name).await? {
            return Ok(0);
        }
        report.say(&Event::Removed {
            kind: &target.gvk.kind,
            namespace: target.namespace.as_deref(),
            name: &target.name,
            rules: self.rules.get(&target.name).copied(),
        })?;
        Ok(1)
    }

    /// Trust anchors in every namespace; acknowledgements, the record of rules, keys and the lease in the system's.
    async fn made_by_control(&self, report: &mut Report) -> Result<usize, RemoveError> {
        let named = |name: &str| ListParams::default().fields(&format!("metadata.name={name}"));
        let acks = ListParams::default().labels("palisade.dev/acks=true");
        let mut removed = self
            .listed::<ConfigMap>(None, &named(cluster::TRUST_CONFIG_MAP), report)
            .await?;
        let system = Some(self.namespace.as_str());
        removed += self.listed::<ConfigMap>(system, &acks, report).await?;
        removed += self
            .listed::<ConfigMap>(system, &named(cluster::RULES_CONFIG_MAP), report)
            .await?;
        for name in [cluster::CA_SECRET, cluster::WEBHOOK_SECRET] {
            removed += self.listed::<Secret>(system, &named(name), report).await?;
        }
        Ok(removed
            + self
                .listed::<Lease>(system, &named(cluster::CONTROL), report)
                .await?)
    }

    async fn listed<K>(
        &self,
        namespace: Option<&str>,
        which: &ListParams,
        report: &mut Report,
    ) -> Result<usize, RemoveError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let kind = K::kind(&());
        let api = match namespace {
            Some(namespace) => Api::<K>::namespaced(self.client.clone(), namespace),
            None => Api::<K>::all(self.client.clone()),
        };
        let found = api
            .list_metadata(which)
            .await
            .map_err(failed(&format!("every {kind}")))?;
        let mut removed = 0;
        for object in found {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let api = Api::<K>::namespaced(self.client.clone(), &namespace);
            if delete(&api, &kind, &name).await? {
                removed += 1;
                let namespace = Some(namespace.as_str());
                report.say(&Event::Removed {
                    kind: &kind,
                    namespace,
                    name: &name,
                    rules: None,
                })?;
            }
        }
        Ok(removed)
    }

    /// The derived label of meshed namespaces; what their owners wrote stays.
    async fn labels(&self, report: &mut Report) -> Result<usize, RemoveError> {
        let api = Api::<Namespace>::all(self.client.clone());
        let which = ListParams::default().labels(cluster::MEMBER_LABEL);
        let found = api
            .list_metadata(&which)
            .await
            .map_err(failed("the label of namespaces"))?;
        let removed = found.items.len();
        for namespace in found {
            let name = namespace.name_any();
            let patch = json!({"metadata": {"labels": {cluster::MEMBER_LABEL: null}}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map_err(failed(&format!("the label of namespace {name}")))?;
            report.say(&Event::Unlabelled { namespace: &name })?;
        }
        Ok(removed)
    }

    /// The namespace goes too, unless somebody else has something in it.
    async fn system_namespace(&self, report: &mut Report) -> Result<usize, RemoveError> {
        let api = Api::<Namespace>::all(self.client.clone());
        if let Some(foreign) = self.foreign().await? {
            report.say(&Event::Kept {
                namespace: &self.namespace,
                holds: &foreign,
            })?;
            return Ok(0);
        }
        if !delete(&api, "Namespace", &self.namespace).await? {
            return Ok(0);
        }
        report.say(&Event::Removed {
            kind: "Namespace",
            namespace: None,
            name: &self.namespace,
            rules: None,
        })?;
        Ok(1)
    }

    async fn foreign(&self) -> Result<Option<String>, RemoveError> {
        let others = ListParams::default()
            .labels("app.kubernetes.io/part-of!=palisade")
            .limit(1);
        let (client, namespace) = (&self.client, self.namespace.as_str());
        if let Some(found) = first::<Deployment>(client, namespace, &others).await? {
            return Ok(Some(found));
        }
        if let Some(found) = first::<StatefulSet>(client, namespace, &others).await? {
            return Ok(Some(found));
        }
        if let Some(found) = first::<DaemonSet>(client, namespace, &others).await? {
            return Ok(Some(found));
        }
        first::<Pod>(client, namespace, &others).await
    }
}

async fn first<K>(
    client: &Client,
    namespace: &str,
    which: &ListParams,
) -> Result<Option<String>, RemoveError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let kind = K::kind(&());
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let found = api
        .list_metadata(which)
        .await
        .map_err(failed(&format!("what is a {kind}")))?;
    Ok(found
        .items
        .first()
        .map(|object| format!("{kind} {}", object.name_any())))
}

/// Deletes an object and what it made, and waits until it is gone; says whether it was there.
async fn delete<K>(api: &Api<K>, kind: &str, name: &str) -> Result<bool, RemoveError>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let what = format!("{kind} {name}");
    match api.delete(name, &DeleteParams::foreground()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
        Err(error) => return Err(failed(&what)(error)),
    }
    while api
        .get_metadata_opt(name)
        .await
        .map_err(failed(&what))?
        .is_some()
    {
        sleep(RHYTHM).await;
    }
    Ok(true)
}

fn failed(what: &str) -> impl FnOnce(kube::Error) -> RemoveError {
    move |error| RemoveError::Api {
        what: what.to_owned(),
        why: in_words(&error),
    }
}

/// One of the chart's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    gvk: GroupVersionKind,
    namespace: Option<String>,
    name: String,
}

fn target(object: &Value) -> Option<Target> {
    let types: TypeMeta = serde_json::from_value(object.clone()).ok()?;
    let metadata = object.get("metadata")?;
    let text = |key| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(Target {
        gvk: GroupVersionKind::try_from(types).ok()?,
        namespace: text("namespace"),
        name: text("name")?,
    })
}

/// The CRDs, with which the rules go, and what goes before them; the namespace comes after all and is in neither.
fn split(targets: Vec<Target>) -> (Vec<Target>, Vec<Target>) {
    targets
        .into_iter()
        .filter(|target| target.gvk.kind != "Namespace")
        .partition(|target| target.gvk.kind == "CustomResourceDefinition")
}

const RHYTHM: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::{chart, values};

    #[test]
    fn webhooks_go_first_and_rules_last() {
        let stream = chart::manifests("mesh", &values::complete().unwrap()).unwrap();
        let objects = chart::objects(&stream).unwrap();
        let targets: Vec<Target> = objects.iter().rev().filter_map(target).collect();
        assert_eq!(
            targets.len(),
            objects.len(),
            "every object has a kind and a name"
        );
        let (rules, parts) = split(targets);
        let order: Vec<&str> = parts
            .iter()
            .map(|target| target.gvk.kind.as_str())
            .collect();
        let at = |kind: &str| order.iter().position(|found| *found == kind).unwrap();
        let last = |kind: &str| order.iter().rposition(|found| *found == kind).unwrap();
        assert!(
            order[..2]
                .iter()
                .all(|kind| kind.ends_with("WebhookConfiguration")),
            "{order:?}"
        );
        assert!(
            last("ValidatingAdmissionPolicy") < at("Deployment"),
            "{order:?}"
        );
        assert!(last("Deployment") < at("ClusterRole"), "{order:?}");
        let names: Vec<&str> = rules.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "clusterauthorizationpolicies.palisade.dev",
                "authorizationpolicies.palisade.dev"
            ]
        );
    }

    #[test]
    fn an_object_is_found_where_it_was_installed() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}});
        let expected = Target {
            gvk: GroupVersionKind::gvk("apps", "v1", "Deployment"),
            namespace: Some("b".into()),
            name: "a".into(),
        };
        assert_eq!(target(&object), Some(expected));
    }
}
