//! Gathers a snapshot. What may not be read costs its own judgement, nothing else.

use std::fmt::Debug;

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, Resource, ResourceExt};
use palisade_api::cluster;
use palisade_api::in_force::InForce;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::callers;
use super::snapshot::{Answer, Certificates, Looked, Platform, Right, Snapshot};
use crate::kubernetes::client::Scope;
use crate::kubernetes::list::{self, in_words};

/// All that is judged of a mesh.
pub(crate) async fn everything(client: &Client, system: &str, scope: &Scope) -> Snapshot {
    let in_system = Scope::Namespace(system.to_owned());
    let mut unreadable = Vec::new();
    let pods = some(client, scope, &mut unreadable).await;
    let snapshot = Snapshot {
        now: OffsetDateTime::now_utc(),
        system_namespace: system.to_owned(),
        platform: platform_of(client).await,
        definitions: all(client).await,
        deployments: some(client, &in_system, &mut unreadable).await,
        admission_policies: all(client).await,
        mutating: all(client).await,
        validating: all(client).await,
        api_services: all(client).await,
        certificates: certificates(client, system, scope).await,
        answer: ask_injector(client).await,
        namespaces: namespaces(client, scope).await,
        callers: callers::read(client, &pods).await,
        pods,
        services: some(client, scope, &mut unreadable).await,
        network_policies: some(client, scope, &mut unreadable).await,
        events: some(client, scope, &mut unreadable).await,
        policies: policies(client, scope).await,
        in_force: in_force(client, system).await,
        unreadable: Vec::new(),
    };
    unreadable.sort();
    unreadable.dedup();
    Snapshot {
        unreadable,
        ..snapshot
    }
}

/// What is judged before there is a mesh.
pub(crate) async fn platform(client: &Client, system: &str) -> Platform {
    let rights = TO_INSTALL
        .iter()
        .map(|needed| right(client, system, needed));
    Platform {
        rights: join_all(rights).await,
        ..platform_of(client).await
    }
}

async fn platform_of(client: &Client) -> Platform {
    let version = client.apiserver_version().await;
    Platform {
        version: version.map_err(|error| in_words(&error)),
        nodes: all(client).await,
        rights: Vec::new(),
    }
}

async fn all<K>(client: &Client) -> Looked<Vec<K>>
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let found = api.list(&ListParams::default()).await;
    found
        .map(|found| found.items)
        .map_err(|error| in_words(&error))
}

async fn some<K>(client: &Client, scope: &Scope, unreadable: &mut Vec<String>) -> Looked<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let found = list::list(client, scope).await;
    let found = found.map_err(|error| in_words(&error))?;
    unreadable.extend(found.unreadable);
    Ok(found.items)
}

pub(crate) async fn namespaces(client: &Client, scope: &Scope) -> Looked<Vec<Namespace>> {
    match scope {
        Scope::All => all(client).await,
        Scope::Namespace(name) => {
            let api: Api<Namespace> = Api::all(client.clone());
            let found = api.get(name).await;
            found.map(|one| vec![one]).map_err(|error| in_words(&error))
        }
    }
}

/// The rules, as objects of which the API server need not know the schema. No CRD is no rule: that is said elsewhere.
pub(crate) async fn policies(client: &Client, scope: &Scope) -> Looked<Vec<DynamicObject>> {
    let mut found = Vec::new();
    for (kind, plural) in KINDS {
        let resource = resource(kind, plural);
        // The cluster's own rules belong to no namespace, and hold in each.
        let api: Api<DynamicObject> = match scope {
            Scope::Namespace(namespace) if plural == cluster::POLICIES => {
                Api::namespaced_with(client.clone(), namespace, &resource)
            }
            Scope::Namespace(_) | Scope::All => Api::all_with(client.clone(), &resource),
        };
        match api.list(&ListParams::default()).await {
            Ok(list) => found.extend(list.items.into_iter().map(|mut one| {
                // Lists leave the kind of their items out.
                one.types.get_or_insert_with(|| kube::core::TypeMeta {
                    api_version: resource.api_version.clone(),
                    kind: kind.to_owned(),
                });
                one
            })),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(in_words(&error)),
        }
    }
    Ok(found)
}

/// What control recorded of the rules; nothing where there is no mesh yet.
async fn in_force(client: &Client, system: &str) -> Looked<Vec<(String, InForce)>> {
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

/// Offers, without meaning it, a rule that every schema lets pass and the injector must refuse: with a field that
/// does not exist.
async fn ask_injector(client: &Client) -> Looked<Answer> {
    let resource = resource("AuthorizationPolicy", cluster::POLICIES);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let rule = serde_json::json!({
        "name": "none", "effect": "allow", "from": [{"namespace": "default"}], "mistyped": true,
    });
    let spec = serde_json::json!({"spec": {"rules": [rule]}});
    let offered = DynamicObject::new("palisade-check", &resource)
        .within("default")
        .data(spec);
    let dry_run = PostParams {
        dry_run: true,
        field_manager: None,
    };
    match api.create(&dry_run, &offered).await {
        Ok(_) => Ok(Answer::Accepted),
        Err(error) => answer(&error),
    }
}

fn answer(error: &kube::Error) -> Looked<Answer> {
    let words = in_words(error);
    if words.contains("failed calling webhook") {
        Ok(Answer::Unreachable(words))
    } else if words.contains("admission webhook") && words.contains("denied the request") {
        Ok(Answer::Refused)
    } else if matches!(error, kube::Error::Api(status) if status.code == 404) {
        Err("there are no AuthorizationPolicies in this cluster".into())
    } else {
        Err(words)
    }
}

async fn right(client: &Client, system: &str, needed: &Needed) -> Right {
    let Needed(group, plural, in_system) = *needed;
    let namespace = in_system.then(|| system.to_owned());
    let place = namespace.as_ref().map(|name| format!(" in {name}"));
    let what = format!("create {plural}{}", place.unwrap_or_default());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(plural.to_owned()),
                verb: Some("create".to_owned()),
                namespace,
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let allowed = answer.map(|answer| answer.status.is_some_and(|status| status.allowed));
    Right {
        what,
        allowed: allowed.map_err(|error| in_words(&error)),
    }
}

/// Group, plural, and whether it stands in the system namespace.
struct Needed(&'static str, &'static str, bool);

const TO_INSTALL: &[Needed] = &[
    Needed("", "namespaces", false),
    Needed("apiextensions.k8s.io", "customresourcedefinitions", false),
    Needed("rbac.authorization.k8s.io", "clusterroles", false),
    Needed("rbac.authorization.k8s.io", "clusterrolebindings", false),
    Needed(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        false,
    ),
    Needed(
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        false,
    ),
    Needed(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        false,
    ),
    Needed(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        false,
    ),
    Needed("apps", "deployments", true),
    Needed("", "services", true),
    Needed("", "serviceaccounts", true),
    Needed("rbac.authorization.k8s.io", "roles", true),
    Needed("rbac.authorization.k8s.io", "rolebindings", true),
];

const KINDS: [(&str, &str); 2] = [
    ("AuthorizationPolicy", cluster::POLICIES),
    ("ClusterAuthorizationPolicy", cluster::CLUSTER_POLICIES),
];

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn the_injectors_refusal_is_told_from_its_silence() {
        let error = |message: &str, code| {
            kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
        };
        let denied = r#"admission webhook "rules.palisade.dev" denied the request: spec.rules[0]: unknown field"#;
        let silent = r#"Internal error occurred: failed calling webhook "rules.palisade.dev": connection refused"#;
        assert_eq!(answer(&error(denied, 400)), Ok(Answer::Refused));
        assert_eq!(
            answer(&error(silent, 500)),
            Ok(Answer::Unreachable(silent.into()))
        );
        assert!(
            answer(&error(
                "the server could not find the requested resource",
                404
            ))
            .is_err()
        );
        assert!(answer(&error("authorizationpolicies is forbidden", 403)).is_err());
    }
}
