//! The ConfigMap in each namespace of the mesh from which a new pod knows control's authority.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};

use palisade_api::cluster::{TRUST_CONFIG_MAP, TRUST_FILE};

use crate::kubernetes::{is_managed_by_us, managed_by_us};

/// One write that brings the cluster nearer to what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Correction {
    Create(ConfigMap),
    Replace(ConfigMap),
    Remove {
        namespace: String,
        only_if: Preconditions,
    },
}

/// What is wrong with the ConfigMaps that were found. `others` are namespaces that live and are not in the mesh.
pub(super) fn corrections<'a>(
    members: &BTreeSet<String>,
    others: &BTreeSet<String>,
    found: impl IntoIterator<Item = &'a ConfigMap>,
    pem: &str,
) -> Vec<Correction> {
    let mut missing = members.clone();
    let mut corrections = Vec::new();
    for config_map in found {
        let namespace = config_map.metadata.namespace.clone().unwrap_or_default();
        let ours = is_managed_by_us(&config_map.metadata);
        if missing.remove(&namespace) {
            let wanted = wanted(&namespace, pem, &config_map.metadata);
            if ours && config_map.data == wanted.data && config_map.binary_data.is_none() {
                continue;
            }
            corrections.push(if config_map.immutable == Some(true) {
                // Its end is seen, and then it is missing.
                remove(namespace, config_map)
            } else {
                Correction::Replace(wanted)
            });
        } else if ours && others.contains(&namespace) {
            corrections.push(remove(namespace, config_map));
        }
    }
    let created = |namespace| wanted(namespace, pem, &ObjectMeta::default());
    corrections.extend(missing.iter().map(|name| Correction::Create(created(name))));
    corrections
}

fn wanted(namespace: &str, pem: &str, before: &ObjectMeta) -> ConfigMap {
    let mut labels = before.labels.clone().unwrap_or_default();
    labels.extend(managed_by_us());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(TRUST_CONFIG_MAP.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            annotations: before.annotations.clone(),
            resource_version: before.resource_version.clone(),
            ..ObjectMeta::default()
        },
        data: Some([(TRUST_FILE.to_owned(), pem.to_owned())].into()),
        ..ConfigMap::default()
    }
}

fn remove(namespace: String, config_map: &ConfigMap) -> Correction {
    Correction::Remove {
        namespace,
        only_if: Preconditions {
            uid: config_map.metadata.uid.clone(),
            resource_version: config_map.metadata.resource_version.clone(),
        },
    }
}

impl Correction {
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Create(config_map) | Self::Replace(config_map) => {
                config_map.metadata.namespace.as_deref().unwrap_or_default()
            }
            Self::Remove { namespace, .. } => namespace,
        }
    }

    /// Writes it.
    pub(super) async fn apply(&self, client: &Client) -> Result<(), kube::Error> {
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), self.namespace());
        match self {
            Self::Create(config_map) => {
                config_maps
                    .create(&PostParams::default(), config_map)
                    .await?;
            }
            Self::Replace(config_map) => {
                config_maps
                    .replace(TRUST_CONFIG_MAP, &PostParams::default(), config_map)
                    .await?;
            }
            Self::Remove { only_if, .. } => {
                let params = DeleteParams::default().preconditions(only_if.clone());
                config_maps.delete(TRUST_CONFIG_MAP, &params).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\n";

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn found(namespace: &str, edit: impl FnOnce(&mut ConfigMap)) -> ConfigMap {
        let mut config_map = wanted(namespace, PEM, &ObjectMeta::default());
        config_map.metadata.resource_version = Some("7".into());
        config_map.metadata.uid = Some("u".into());
        edit(&mut config_map);
        config_map
    }

    fn replaced(namespace: &str) -> Correction {
        let mut config_map = wanted(namespace, PEM, &ObjectMeta::default());
        config_map.metadata.resource_version = Some("7".into());
        Correction::Replace(config_map)
    }

    fn removed(namespace: &str) -> Correction {
        remove(namespace.into(), &found(namespace, |_| {}))
    }

    #[test]
    fn each_state_of_a_config_map_has_its_correction() {
        type Edit = fn(&mut ConfigMap);
        let unlabelled: Edit = |map| map.metadata.labels = None;
        type Case = (&'static str, Edit, Vec<Correction>);
        let cases: [Case; 9] = [
            ("member", |_| {}, vec![]),
            ("member", |map| map.data = None, vec![replaced("member")]),
            (
                "member",
                |map| drop(map.data.as_mut().unwrap().insert("more".into(), "x".into())),
                vec![replaced("member")],
            ),
            ("member", unlabelled, vec![replaced("member")]),
            (
                "member",
                |map| {
                    map.immutable = Some(true);
                    map.data = None;
                },
                vec![removed("member")],
            ),
            // Left the mesh.
            ("other", |_| {}, vec![removed("other")]),
            // Somebody else's of the same name.
            ("other", unlabelled, vec![]),
            // On its way out with all that is in it.
            ("ending", |_| {}, vec![]),
            ("ending", |map| map.data = None, vec![]),
        ];
        for (at, (namespace, edit, expected)) in cases.into_iter().enumerate() {
            let members = names(if namespace == "member" {
                &["member"]
            } else {
                &[]
            });
            let found = found(namespace, edit);
            let corrections = corrections(&members, &names(&["other"]), [&found], PEM);
            assert_eq!(corrections, expected, "{at}");
        }
    }

    #[test]
    fn a_namespace_without_one_gets_one() {
        let created = corrections(&names(&["a", "b"]), &names(&["c"]), [], PEM);
        let namespaces: Vec<_> = created.iter().map(Correction::namespace).collect();
        assert_eq!(namespaces, ["a", "b"]);
        assert!(matches!(&created[0], Correction::Create(map)
            if map.data.as_ref().unwrap()["ca.crt"] == PEM && map.metadata.resource_version.is_none()));
    }

    #[test]
    fn what_others_wrote_on_it_stays() {
        let edited = found("member", |map| {
            map.data = None;
            let labels = map.metadata.labels.as_mut().unwrap();
            labels.insert("team".into(), "a".into());
            map.metadata.annotations = Some([("note".to_owned(), "b".to_owned())].into());
        });
        let made = corrections(&names(&["member"]), &names(&[]), [&edited], PEM);
        let [Correction::Replace(made)] = made.as_slice() else {
            panic!("{made:?}");
        };
        assert_eq!(made.metadata.labels, edited.metadata.labels);
        assert_eq!(made.metadata.annotations, edited.metadata.annotations);
    }
}
