//! What is added to a pod: the redirect, the sidecar, and the volume of its proof.

use std::collections::BTreeMap;

use ipnet::IpNet;
use palisade_api::probe::Probes;
use palisade_api::{cluster, sidecar};
use serde_json::{Map, Value, json};

use crate::settings::Settings;

/// What the containers of one pod are made of.
#[derive(Debug, Clone, Copy)]
pub struct Sidecar<'a> {
    /// How the mesh is set.
    pub settings: &'a Settings,
    /// What the pod keeps out of the mesh.
    pub excluded: &'a Excluded,
    /// Whether datagrams, which the mesh cannot carry, are kept out.
    pub datagrams: Datagrams,
    /// What the sidecar asks of the application for the kubelet.
    pub probes: &'a Probes,
    /// The `resources` of either container.
    pub resources: &'a Value,
}

/// What a pod keeps out of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Ports that are reached without the mesh.
    pub inbound_ports: Vec<u16>,
    /// Ports anywhere that the pod reaches without the mesh.
    pub outbound_ports: Vec<u16>,
    /// Addresses that the pod reaches without the mesh.
    pub outbound_cidrs: Vec<IpNet>,
}

/// What becomes of datagrams that come to the pod and answer nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagrams {
    /// They are dropped: the namespace is strict.
    Drop,
    /// They pass: the namespace is permissive.
    Pass,
}

impl Sidecar<'_> {
    /// The init container that writes the redirect and ends.
    ///
    /// It is root, because NET_ADMIN given to another user has no effect, and has nothing else.
    pub fn redirect(&self) -> Value {
        let mut env = Vec::new();
        for (name, value) in [
            (
                cluster::EXCLUDED_PORTS_VARIABLE,
                list(&self.excluded.inbound_ports),
            ),
            (
                "PALISADE_EXCLUDE_OUTBOUND_PORT",
                list(&self.excluded.outbound_ports),
            ),
            (
                "PALISADE_EXCLUDE_OUTBOUND_CIDR",
                list(&self.excluded.outbound_cidrs),
            ),
        ] {
            env.extend(value.map(|value| variable(name, &value)));
        }
        if self.datagrams == Datagrams::Drop {
            env.push(variable("PALISADE_DROP_DATAGRAMS", "true"));
        }
        let mut container = self.container(cluster::REDIRECT_CONTAINER);
        container.insert("args".into(), json!(cluster::REDIRECT_ARGS));
        if !env.is_empty() {
            container.insert("env".into(), env.into());
        }
        container.insert(
            "securityContext".into(),
            json!({
                "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "runAsUser": 0,
                "seccompProfile": {"type": "RuntimeDefault"},
            }),
        );
        Value::Object(container)
    }

    /// The proxy: a native sidecar, which starts before the user's containers and ends after them.
    pub fn proxy(&self) -> Value {
        let mut container = self.container(cluster::PROXY_CONTAINER);
        let ready = json!({"path": "/ready", "port": sidecar::READINESS_PORT});
        for (key, value) in [
            ("args", json!(cluster::PROXY_ARGS)),
            ("env", self.proxy_env().into()),
            (
                "ports",
                json!([
                    {"containerPort": sidecar::TELEMETRY_PORT, "name": "mesh-telemetry", "protocol": "TCP"},
                    {"containerPort": sidecar::READINESS_PORT, "name": "mesh-ready", "protocol": "TCP"},
                ]),
            ),
            (
                "readinessProbe",
                json!({"httpGet": ready, "periodSeconds": 5}),
            ),
            ("restartPolicy", json!("Always")),
            (
                "securityContext",
                json!({
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": true,
                    "runAsGroup": sidecar::PROXY_UID,
                    "runAsNonRoot": true,
                    "runAsUser": sidecar::PROXY_UID,
                    "seccompProfile": {"type": "RuntimeDefault"},
                }),
            ),
            (
                "startupProbe",
                json!({
                    "failureThreshold": FOR_EVER,
                    "httpGet": ready,
                    "periodSeconds": 1,
                }),
            ),
            (
                "volumeMounts",
                json!([{
                    "mountPath": cluster::IDENTITY_PATH,
                    "name": cluster::IDENTITY_VOLUME,
                    "readOnly": true,
                }]),
            ),
        ] {
            container.insert(key.to_owned(), value);
        }
        Value::Object(container)
    }

    fn proxy_env(&self) -> Vec<Value> {
        let path = |file| format!("{}/{file}", cluster::IDENTITY_PATH);
        let mut env = vec![
            downward("POD_NAME", "metadata.name"),
            downward("POD_NAMESPACE", "metadata.namespace"),
            variable("PALISADE_WORKLOAD", "$(POD_NAMESPACE)/$(POD_NAME)"),
            variable("PALISADE_TRUST_DOMAIN", &self.settings.trust_domain),
            variable("PALISADE_CONTROL", &self.settings.control.join(",")),
            variable("PALISADE_SERVICE_ACCOUNT_TOKEN", &path(cluster::TOKEN_FILE)),
            variable("PALISADE_TRUST_ANCHOR", &path(cluster::TRUST_FILE)),
        ];
        if let Some(ports) = list(&self.excluded.inbound_ports) {
            env.push(variable(cluster::EXCLUDED_PORTS_VARIABLE, &ports));
        }
        if !self.probes.is_empty() {
            // The kubelet would take `$(NAME)` in it for a variable; `$$` is a dollar sign to it.
            let probes = json!(self.probes).to_string().replace('$', "$$");
            env.push(variable(cluster::PROBES_VARIABLE, &probes));
        }
        env
    }

    /// What the two containers have in common.
    fn container(&self, name: &str) -> Map<String, Value> {
        let mut container = Map::new();
        container.insert("name".into(), name.into());
        container.insert("command".into(), json!(cluster::PROXY_COMMAND));
        container.insert("image".into(), self.settings.image.as_str().into());
        if let Some(policy) = &self.settings.image_pull_policy {
            container.insert("imagePullPolicy".into(), policy.as_str().into());
        }
        if self
            .resources
            .as_object()
            .is_some_and(|map| !map.is_empty())
        {
            container.insert("resources".into(), self.resources.clone());
        }
        container
    }
}

/// The volume with the token that proves the pod, and the authorities that control is known by.
pub fn volume() -> Value {
    json!({
        "name": cluster::IDENTITY_VOLUME,
        "projected": {"sources": [
            {"serviceAccountToken": {
                "audience": sidecar::TOKEN_AUDIENCE,
                "expirationSeconds": cluster::TOKEN_SECONDS,
                "path": cluster::TOKEN_FILE,
            }},
            {"configMap": {
                "items": [{"key": cluster::TRUST_FILE, "path": cluster::TRUST_FILE}],
                "name": cluster::TRUST_CONFIG_MAP,
                "optional": true,
            }},
        ]},
    })
}

/// The rewritten probes that a sidecar has in its environment, if it is one.
pub(crate) fn probes_of(env: &BTreeMap<&str, &str>) -> Probes {
    let written = env.get(cluster::PROBES_VARIABLE);
    let json = written.map(|json| json.replace("$$", "$"));
    json.and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_default()
}

fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn downward(name: &str, field: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}})
}

/// A comma list, unless there is nothing in it.
fn list(items: &[impl ToString]) -> Option<String> {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    (!items.is_empty()).then(|| items.join(","))
}

/// Tries of the startup probe, one a second: a year. Were the kubelet to give up, the backoff of its restarts would
/// outlive an outage of control.
const FOR_EVER: i64 = 365 * 24 * 60 * 60;
