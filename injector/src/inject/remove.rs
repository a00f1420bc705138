//! The way back.

use std::collections::BTreeMap;

use palisade_api::probe::{Ask, HttpGet, Probes};
use palisade_api::{cluster, sidecar};
use serde_json::{Map, Value, json};

use super::read::is_ours;
use crate::sidecar::probes_of;

/// The pod without what [`inject`](super::inject) adds, its probes and hooks as they were; nothing where there is
/// nothing of ours in it. Ports that had a name have their number afterwards.
pub fn uninject(pod: &Value) -> Option<Value> {
    let mut after = pod.clone();
    let fields = after.as_object_mut()?;
    let spec = fields.get_mut("spec")?.as_object_mut()?;
    restore(spec);
    drop_named(spec, "initContainers", is_ours);
    drop_named(spec, "volumes", |name| name == cluster::IDENTITY_VOLUME);
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut);
        if annotations.is_some_and(|map| map.remove(cluster::INJECTED).is_some() && map.is_empty())
        {
            metadata.remove("annotations");
            if metadata.is_empty() {
                fields.remove("metadata");
            }
        }
    }
    (after != *pod).then_some(after)
}

/// Leaves out the items of these names, and the list where nothing else is in it.
fn drop_named(spec: &mut Map<String, Value>, key: &str, is_named: impl Fn(&str) -> bool) {
    let Some(items) = spec.get_mut(key).and_then(Value::as_array_mut) else {
        return;
    };
    let before = items.len();
    items.retain(|item| {
        !item
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(&is_named)
    });
    if items.is_empty() && before > 0 {
        spec.remove(key);
    }
}

fn restore(spec: &mut Map<String, Value>) {
    let probes = written(spec);
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container
                .get("name")
                .and_then(Value::as_str)
                .map(str::to_owned);
            for (kind, pointer) in PROBES {
                let Some(probe) = container
                    .pointer_mut(pointer)
                    .and_then(Value::as_object_mut)
                else {
                    continue;
                };
                let path = format!(
                    "{}{}/{kind}",
                    cluster::PROBE_PATH,
                    name.as_deref().unwrap_or_default()
                );
                let port = probe.get("httpGet").and_then(|get| get.get("port"));
                let asks = probe.get("httpGet").and_then(|get| get.get("path"));
                let is_ours =
                    port == Some(&json!(sidecar::TELEMETRY_PORT)) && asks == Some(&json!(path));
                if let Some(original) = probes.get(&path).filter(|_| is_ours) {
                    probe.remove("httpGet");
                    let (handler, asked) = handler(&original.ask);
                    probe.insert(handler.to_owned(), asked);
                }
            }
        }
    }
}

/// What the sidecar was told.
fn written(spec: &Map<String, Value>) -> Probes {
    let containers = spec.get("initContainers").and_then(Value::as_array);
    let mut containers = containers.into_iter().flatten();
    let proxy = containers
        .find(|item| item.get("name").and_then(Value::as_str) == Some(cluster::PROXY_CONTAINER));
    let env = proxy
        .and_then(|proxy| proxy.get("env"))
        .and_then(Value::as_array);
    let env: BTreeMap<&str, &str> = env
        .into_iter()
        .flatten()
        .filter_map(|item| Some((item.get("name")?.as_str()?, item.get("value")?.as_str()?)))
        .collect();
    probes_of(&env)
}

/// The field and its value, as a user writes them.
fn handler(ask: &Ask) -> (&'static str, Value) {
    match ask {
        Ask::HttpGet(HttpGet {
            port,
            path,
            https,
            headers,
        }) => {
            let mut get = Map::new();
            get.insert("path".to_owned(), json!(path));
            get.insert("port".to_owned(), json!(port));
            if *https {
                get.insert("scheme".to_owned(), json!("HTTPS"));
            }
            if !headers.is_empty() {
                let header =
                    |(name, value): &(String, String)| json!({"name": name, "value": value});
                get.insert(
                    "httpHeaders".to_owned(),
                    headers.iter().map(header).collect(),
                );
            }
            ("httpGet", Value::Object(get))
        }
        Ask::TcpSocket { port } => ("tcpSocket", json!({"port": port})),
        Ask::Grpc { port, service } if service.is_empty() => ("grpc", json!({"port": port})),
        Ask::Grpc { port, service } => ("grpc", json!({"port": port, "service": service})),
    }
}

/// Kinds of rewritten probes, and where they stand in a container.
const PROBES: [(&str, &str); 5] = [
    ("liveness", "/livenessProbe"),
    ("readiness", "/readinessProbe"),
    ("startup", "/startupProbe"),
    ("postStart", "/lifecycle/postStart"),
    ("preStop", "/lifecycle/preStop"),
];
