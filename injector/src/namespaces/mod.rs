//! What is known of namespaces: their marks, and what they demand of every container.
//!
//! A review carries its pod only. What the pod's namespace says is held here, from watches; of a namespace that no
//! watch has told of yet, the API server is asked before the review is answered.

mod table;
mod watch;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use palisade_api::sidecar::MTLS_ANNOTATION;

use crate::inject::NamespaceFacts;
use crate::limits::{LimitsDemanded, demanded};

pub(crate) use table::{Key, Table};
pub(crate) use watch::follow;

/// Everything that is held, by one watch each.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) namespaces: Table<Marks>,
    pub(crate) limit_ranges: Table<LimitRange>,
    pub(crate) quotas: Table<ResourceQuota>,
}

/// What a namespace says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Marks {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        Self {
            labels: namespace.labels().clone(),
            annotations: namespace.annotations().clone(),
        }
    }
}

impl Store {
    /// Whether all of it has been told once.
    pub(crate) fn is_complete(&self) -> bool {
        self.namespaces.is_complete()
            && self.limit_ranges.is_complete()
            && self.quotas.is_complete()
    }

    /// A namespace as it is known; `None` until then.
    pub(crate) fn facts(&self, name: &str) -> Option<NamespaceFacts> {
        if !self.is_complete() {
            return None;
        }
        let marks = self.namespaces.find(&Key::of_cluster(name))?;
        let limits = demanded(&self.limit_ranges.of(name), &self.quotas.of(name));
        Some(facts(name, marks, limits))
    }

    /// The namespaces that take plaintext from anywhere.
    pub(crate) fn permissive(&self) -> Vec<String> {
        self.namespaces.names(|marks| {
            marks.annotations.get(MTLS_ANNOTATION).map(String::as_str) == Some("permissive")
        })
    }
}

/// Asks the API server for one namespace.
///
/// # Errors
///
/// Where it has none of that name, or does not answer.
pub(crate) async fn ask(client: &Client, name: &str) -> Result<NamespaceFacts, kube::Error> {
    let everything = ListParams::default();
    let namespace = Api::<Namespace>::all(client.clone()).get(name).await?;
    let ranges = Api::<LimitRange>::namespaced(client.clone(), name);
    let ranges = ranges.list(&everything).await?.items;
    let quotas = Api::<ResourceQuota>::namespaced(client.clone(), name);
    let quotas = quotas.list(&everything).await?.items;
    let marks = Marks::of(&namespace);
    Ok(facts(name, marks, demanded(&ranges, &quotas)))
}

fn facts(name: &str, marks: Marks, limits: LimitsDemanded) -> NamespaceFacts {
    NamespaceFacts {
        name: name.to_owned(),
        annotations: marks.annotations,
        labels: marks.labels,
        limits,
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;
    use crate::cluster_double::{BOUND, Cluster};
    use crate::readiness::tests::complete;

    #[tokio::test]
    async fn what_is_watched_and_what_is_asked_are_the_same() {
        let shop = json!({"metadata": {"name": "shop", "uid": "u", "annotations": {"a": "b"}}});
        let range = json!({"metadata": {"name": "r", "namespace": "shop"}, "spec": {"limits": [
            {"type": "Container", "max": {"cpu": "1"}},
        ]}});
        let quota = json!({"metadata": {"name": "q", "namespace": "shop"},
            "spec": {"hard": {"limits.memory": "1Gi"}}});
        let cluster = Cluster::start([
            ("/api/v1/namespaces", json!([shop])),
            ("/api/v1/limitranges", json!([range])),
            ("/api/v1/resourcequotas", json!([quota])),
            ("/api/v1/namespaces/shop", shop.clone()),
            ("/api/v1/namespaces/shop/limitranges", json!([range])),
            ("/api/v1/namespaces/shop/resourcequotas", json!([quota])),
        ])
        .await;
        let asked = ask(&cluster.client, "shop").await.unwrap();
        assert_eq!(asked.annotations["a"], "b");
        assert_ne!(asked.limits, LimitsDemanded::default());
        ask(&cluster.client, "web").await.unwrap_err();

        let store = Store::default();
        let known = async {
            while !store.is_complete() {
                yield_now().await;
            }
        };
        let following = Box::pin(follow(cluster.client.clone(), &store));
        let both = async {
            tokio::select! { () = following => panic!("it ended"), () = known => {} }
        };
        timeout(BOUND, both).await.unwrap();
        assert_eq!(store.facts("shop"), Some(asked));
    }

    fn marks(annotations: &[(&str, &str)]) -> Marks {
        let annotations = annotations.iter();
        Marks {
            annotations: annotations
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Marks::default()
        }
    }

    #[test]
    fn a_namespace_is_known_once_everything_about_it_is() {
        let store = Store::default();
        store.namespaces.take(Event::Init);
        let shop = (Key::of_cluster("shop"), marks(&[("a", "b")]));
        store.namespaces.take(Event::InitApply(shop));
        store.namespaces.take(Event::InitDone);
        assert_eq!(store.facts("shop").map(|facts| facts.name), None);
        store.limit_ranges.take(Event::InitDone);
        store.quotas.take(Event::InitDone);
        let facts = store.facts("shop").unwrap();
        assert_eq!(facts.annotations["a"], "b");
        assert_eq!(facts.limits, LimitsDemanded::default());
        assert!(store.facts("web").is_none());
    }

    #[test]
    fn a_namespace_has_its_own_quotas_only() {
        let store = Store::default();
        complete(&store);
        for name in ["shop", "web"] {
            let one = (Key::of_cluster(name), Marks::default());
            store.namespaces.take(Event::Apply(one));
        }
        let quota = json!({"spec": {"hard": {"limits.cpu": "4"}}});
        let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
        store
            .quotas
            .take(Event::Apply((Key::new("shop", "q"), quota.clone())));
        let expected = demanded(&[], std::slice::from_ref(&quota));
        assert_eq!(store.facts("shop").unwrap().limits, expected);
        assert_eq!(
            store.facts("web").unwrap().limits,
            LimitsDemanded::default()
        );
    }

    #[test]
    fn permissive_namespaces_are_known_by_their_annotation() {
        let store = Store::default();
        complete(&store);
        for (name, value) in [("a", "permissive"), ("b", "strict"), ("c", "Permissive")] {
            let one = (Key::of_cluster(name), marks(&[(MTLS_ANNOTATION, value)]));
            store.namespaces.take(Event::Apply(one));
        }
        assert_eq!(store.permissive(), ["a"]);
    }
}
