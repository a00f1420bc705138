//! Whether something that has our name is what we would write.
//!
//! The API server fills in defaults, writes quantities in its own way, and mounts the service account's token into
//! every container: none of that is a difference.

use palisade_api::cluster;
use serde_json::{Map, Value, json};

use crate::limits::Quantity;

/// What is there if it is what we want, else what we want.
pub(super) fn keep_or_replace(existing: Option<Value>, wanted: Value) -> Value {
    match existing {
        Some(existing) if is_same(&existing, &wanted) => existing,
        Some(_) | None => wanted,
    }
}

fn is_same(existing: &Value, wanted: &Value) -> bool {
    let mut existing = plain(existing);
    // Without a policy of ours, Kubernetes chose one.
    if wanted.get("imagePullPolicy").is_none()
        && let Some(fields) = existing.as_object_mut()
    {
        fields.remove("imagePullPolicy");
    }
    existing == plain(wanted)
}

/// A container or a volume without what the API server adds.
fn plain(value: &Value) -> Value {
    let mut value = without_defaults(value);
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    if let Some(mounts) = fields.get_mut("volumeMounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| !is_api_token(mount));
    }
    if let Some(resources) = fields.remove("resources") {
        let resources = amounts(&resources);
        if !resources.is_empty() {
            fields.insert("resources".to_owned(), Value::Object(resources));
        }
    }
    value
}

fn without_defaults(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, value)| !is_default(key, value));
            let kept = kept.map(|(key, value)| (key.clone(), without_defaults(value)));
            Value::Object(kept.collect())
        }
        Value::Array(items) => items.iter().map(without_defaults).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// What the API server writes where nothing is written.
fn is_default(key: &str, value: &Value) -> bool {
    let default = match key {
        "terminationMessagePath" => json!("/dev/termination-log"),
        "terminationMessagePolicy" => json!("File"),
        "scheme" => json!("HTTP"),
        "protocol" => json!("TCP"),
        "apiVersion" => json!("v1"),
        "procMount" => json!("Default"),
        "successThreshold" | "timeoutSeconds" => json!(1),
        "failureThreshold" => json!(3),
        "periodSeconds" => json!(10),
        "defaultMode" => json!(420),
        _ => return value.is_null(),
    };
    *value == default
}

/// What the ServiceAccount admission mounts into containers that have no mount there.
fn is_api_token(mount: &Value) -> bool {
    let is_theirs = mount.get("name").and_then(Value::as_str) != Some(cluster::IDENTITY_VOLUME);
    let at = mount.get("mountPath").and_then(Value::as_str);
    is_theirs && at == Some(API_TOKEN_PATH) && mount.get("readOnly") == Some(&Value::Bool(true))
}

/// CPU and memory by value. Of other resources we write nothing, and a LimitRange may have defaults.
fn amounts(resources: &Value) -> Map<String, Value> {
    let mut amounts = Map::new();
    for kind in ["limits", "requests"] {
        for name in ["cpu", "memory"] {
            let written = resources.get(kind).and_then(|map| map.get(name));
            if let Some(written) = written {
                let text = written
                    .as_str()
                    .map_or_else(|| written.to_string(), str::to_owned);
                let amount = text.parse::<Quantity>();
                let amount = amount.map_or(text, |amount| amount.nanos().to_string());
                amounts.insert(format!("{kind}.{name}"), amount.into());
            }
        }
    }
    amounts
}

const API_TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
