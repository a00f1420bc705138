//! Policies as objects: as somebody wrote them, so that whoever applies the same file by another program agrees with it.

use std::collections::HashMap;

use anyhow::Context;
use palisade_api::manifest;
use palisade_api::policy::AuthorizationPolicy;
use serde_json::{Map, Value};

use super::super::Change;

/// The objects of a change, by the title of their policies.
#[derive(Debug)]
pub(super) struct Objects(HashMap<String, Value>);

impl Objects {
    /// Of what no file says, or another parser reads otherwise than the validator did, none.
    pub(super) fn of(change: &Change) -> Self {
        let policies = change.policies.iter();
        let meant: HashMap<String, &AuthorizationPolicy> =
            policies.map(|policy| (policy.title(), policy)).collect();
        let pieces = change.files.iter().flat_map(|file| {
            let pieces = manifest::apart(&file.text).into_iter();
            pieces.map(|(_, piece)| piece)
        });
        let written = pieces.filter_map(|piece| {
            let object: Value = serde_saphyr::from_str(piece).ok()?;
            let read = manifest::read("object", &object.to_string()).ok()?;
            let [document] = read.as_slice() else {
                return None;
            };
            let policy = document.manifest.policy()?;
            let title = policy.title();
            (meant.get(&title) == Some(&policy)).then(|| (title, kept(object)))
        });
        Self(written.collect())
    }

    /// That of a policy.
    pub(super) fn object(&self, policy: &AuthorizationPolicy) -> anyhow::Result<Value> {
        match self.0.get(&policy.title()) {
            Some(object) => Ok(object.clone()),
            None => serde_saphyr::from_str(&manifest::print(policy))
                .context("the policy cannot be written"),
        }
    }
}

/// Without what the API server writes, and what `kubectl apply` remembers by.
fn kept(object: Value) -> Value {
    let Value::Object(mut object) = object else {
        return object;
    };
    object.retain(|key, _| OBJECT.contains(&key.as_str()));
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.retain(|key, _| METADATA.contains(&key.as_str()));
        let annotations = metadata.get_mut("annotations");
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        metadata.retain(|_, value| {
            value
                .as_object()
                .is_none_or(|map: &Map<_, _>| !map.is_empty())
        });
    }
    Value::Object(object)
}

const OBJECT: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::NewFile;
    use super::*;

    fn change(text: &str) -> Change {
        let read = manifest::read("rules.yaml", text).unwrap();
        Change {
            policies: read
                .iter()
                .filter_map(|one| one.manifest.policy().cloned())
                .collect(),
            files: vec![NewFile {
                name: "rules.yaml".to_owned(),
                text: text.to_owned(),
                place: "rules.yaml".to_owned(),
            }],
            ..Change::default()
        }
    }

    #[test]
    fn an_object_is_what_its_file_says() {
        let text = "\
# By ann.
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata:
  name: orders
  namespace: shop
  labels: {team: shop}
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}
  resourceVersion: \"7\"
spec:
  rules: [{name: a, effect: allow, mode: enforce, from: [{namespace: shop}], expires: 2030-01-01T02:00:00+02:00, reason: INC-1}]
status: {proxies: 3}
---
apiVersion: palisade.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: {name: all}
spec: {rules: [{name: b, effect: deny, from: [{namespace: shop}]}]}
";
        let change = change(text);
        let objects = Objects::of(&change);
        let [orders, all] = change.policies.as_slice() else {
            panic!("{:?}", change.policies);
        };
        let expected = json!({
            "apiVersion": "palisade.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "orders", "namespace": "shop", "labels": {"team": "shop"}},
            "spec": {"rules": [{
                "name": "a", "effect": "allow", "mode": "enforce", "from": [{"namespace": "shop"}],
                "expires": "2030-01-01T02:00:00+02:00", "reason": "INC-1",
            }]},
        });
        assert_eq!(objects.object(orders).unwrap(), expected);
        assert_eq!(
            objects.object(all).unwrap()["kind"],
            "ClusterAuthorizationPolicy"
        );
        // What no file says is written anew.
        let none = Objects::of(&Change::default());
        let written = none.object(orders).unwrap();
        assert_eq!(
            written["spec"]["rules"][0]["expires"],
            "2030-01-01T00:00:00Z"
        );
    }
}
