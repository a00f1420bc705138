//! What the proxies of each replica enforce, and whom it refused, in one ConfigMap a replica: the leader reads all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::managed_by_us;
use super::refusals::Refused;
use crate::audit::sidecars::Reports;

/// What one proxy acknowledged, of the rules that it was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    /// `namespace/pod`.
    pub(crate) workload: String,
    /// In force there.
    pub(crate) enforces: BTreeSet<Rule>,
    /// Sent there, and refused.
    pub(crate) refuses: BTreeSet<Rule>,
}

/// A rule as it was sent: its name, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) generation: i64,
}

/// Reports what this replica's proxies hold whenever that changed, at most every five seconds, until it is dropped.
pub(crate) async fn report(
    client: Client,
    namespace: String,
    replica: String,
    said: impl Fn() -> (Vec<Held>, Refused) + Send,
) {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    // Only ours may write it, so that forcing takes nothing from anybody.
    let params = PatchParams::apply("palisade-control").force();
    let name = format!("palisade-acks-{replica}");
    let mut reported = None;
    loop {
        let (held, refused) = said();
        let now = texts(&held, &refused);
        if reported.as_ref() != Some(&now) {
            let owner = pods.get_opt(&replica).await.ok().flatten();
            let config_map = config_map(&name, owner.as_ref(), &now);
            match config_maps
                .patch(&name, &params, &Patch::Apply(config_map))
                .await
            {
                Ok(_written) => reported = Some(now),
                Err(error) => tracing::warn!(%error, "the acknowledgements were not reported"),
            }
        }
        sleep(INTERVAL).await;
    }
}

/// It goes when its replica does: what a dead replica heard is no longer so.
fn config_map(name: &str, owner: Option<&Pod>, texts: &BTreeMap<String, String>) -> ConfigMap {
    let mut labels = managed_by_us();
    labels.insert(ACKS_LABEL.to_owned(), "true".to_owned());
    let owner = owner.and_then(|pod| {
        Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            ..OwnerReference::default()
        })
    });
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(texts.clone()),
        ..ConfigMap::default()
    }
}

fn texts(held: &[Held], refused: &Refused) -> BTreeMap<String, String> {
    // Strings are always JSON.
    let refused = serde_json::to_string(refused).unwrap_or_default();
    [(KEY, written(held)), (REFUSED, refused)]
        .map(|(key, text)| (key.to_owned(), text))
        .into()
}

/// What all replicas say of sidecars: who has a stream, and who was refused.
pub(crate) fn reports(config_maps: &[ConfigMap]) -> Reports {
    let held = read(config_maps);
    let texts = config_maps
        .iter()
        .filter_map(|config_map| config_map.data.as_ref()?.get(REFUSED));
    let refused = texts.filter_map(|text| serde_json::from_str::<Refused>(text).ok());
    Reports {
        replicas: config_maps.len(),
        served: held.into_iter().map(|held| held.workload).collect(),
        refused: refused.flatten().collect(),
    }
}

/// Each rule once, and proxies by its place in that list: a ConfigMap holds 1 MiB.
#[derive(Serialize, Deserialize)]
struct Written {
    rules: Vec<Rule>,
    /// By workload.
    proxies: BTreeMap<String, Places>,
}

#[derive(Serialize, Deserialize)]
struct Places {
    enforces: Vec<usize>,
    refuses: Vec<usize>,
}

fn written(held: &[Held]) -> String {
    let all = |held: &Held| -> Vec<Rule> { held.enforces.union(&held.refuses).cloned().collect() };
    let rules: BTreeSet<Rule> = held.iter().flat_map(all).collect();
    let rules: Vec<Rule> = rules.into_iter().collect();
    let places = |of: &BTreeSet<Rule>| -> Vec<usize> {
        of.iter()
            .filter_map(|rule| rules.binary_search(rule).ok())
            .collect()
    };
    let proxies = held
        .iter()
        .map(|held| {
            let both = Places {
                enforces: places(&held.enforces),
                refuses: places(&held.refuses),
            };
            (held.workload.clone(), both)
        })
        .collect();
    // Strings and numbers are always JSON.
    serde_json::to_string(&Written { rules, proxies }).unwrap_or_default()
}

/// What the ConfigMaps of all replicas say. One that cannot be read says nothing.
pub(super) fn read<'a>(config_maps: impl IntoIterator<Item = &'a ConfigMap>) -> Vec<Held> {
    config_maps
        .into_iter()
        .filter_map(|config_map| config_map.data.as_ref()?.get(KEY))
        .filter_map(|text| serde_json::from_str::<Written>(text).ok())
        .flat_map(|Written { rules, proxies }| {
            let named = |places: Vec<usize>| -> BTreeSet<Rule> {
                let rule = |place| rules.get(place).cloned();
                places.into_iter().filter_map(rule).collect()
            };
            let held = |(workload, places): (String, Places)| Held {
                workload,
                enforces: named(places.enforces),
                refuses: named(places.refuses),
            };
            proxies.into_iter().map(held).collect::<Vec<_>>()
        })
        .collect()
}

/// Selects the ConfigMaps of all replicas.
pub(crate) const ACKS_LABEL: &str = "palisade.dev/acks";
const KEY: &str = "acks";
const REFUSED: &str = "refused";
const INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, generation: i64) -> Rule {
        Rule {
            name: name.into(),
            generation,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let held = vec![
            Held {
                workload: "shop/db-0".into(),
                enforces: [rule("shop/db", 2), rule("all", 1)].into(),
                refuses: BTreeSet::new(),
            },
            Held {
                workload: "shop/web-1".into(),
                enforces: [rule("all", 1)].into(),
                refuses: [rule("shop/web", 7)].into(),
            },
        ];
        let why = ("address".to_owned(), "seen at 10.0.0.1".to_owned());
        let refused: Refused = [("shop/old-0".to_owned(), why)].into();
        let texts = texts(&held, &refused);
        let config_map = config_map("palisade-acks-a", None, &texts);
        assert_eq!(read([&config_map]), held);
        assert_eq!(texts[KEY].matches(r#""all""#).count(), 1, "{texts:?}");
        let broken = [KEY, REFUSED].map(|key| (key.to_owned(), "{".to_owned()));
        let broken = super::config_map("palisade-acks-b", None, &broken.into());
        assert_eq!(read([&config_map, &broken]), held);
        let reports = reports(&[config_map, broken]);
        assert_eq!(
            reports.served,
            ["shop/db-0", "shop/web-1"].map(str::to_owned).into()
        );
        assert_eq!((reports.replicas, reports.refused), (2, refused));
    }
}
