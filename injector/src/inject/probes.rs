//! Probes and hooks that the kubelet sends over the network. It comes from an address that no API object has, so it
//! asks the sidecar instead, which asks the application.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, GRPCAction, HTTPGetAction, LifecycleHandler, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use palisade_api::probe::{Ask, HttpGet, Probe, Probes};
use palisade_api::{cluster, sidecar};
use serde_json::{Value, json};

use super::RefuseReason;
use super::read::{Place, Pod};
use super::refuse::is_proxy_port;
use crate::sidecar::probes_of;

/// What the sidecar is told, and what is written into the pod.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) probes: Probes,
    pub(super) rewrites: Vec<Rewrite>,
}

/// One probe or hook that changes.
#[derive(Debug)]
pub(super) struct Rewrite {
    /// JSON pointer of the probe or hook.
    at: String,
    /// Its path on the telemetry port.
    path: String,
}

impl Rewrite {
    /// Replaces what is asked; how often and how patiently stays.
    pub(super) fn apply(&self, pod: &mut Value) {
        let probe = pod.pointer_mut(&self.at).and_then(Value::as_object_mut);
        if let Some(probe) = probe {
            for handler in ["httpGet", "tcpSocket", "grpc"] {
                probe.remove(handler);
            }
            let asked = json!({"path": self.path, "port": sidecar::TELEMETRY_PORT});
            probe.insert("httpGet".to_owned(), asked);
        }
    }
}

/// Looks at all probes and hooks; those that cannot be rewritten are reasons.
pub(super) fn plan(pod: &Pod, reasons: &mut Vec<RefuseReason>) -> Plan {
    let known = known(pod);
    let grace = pod.spec.termination_grace_period_seconds.unwrap_or(30);
    let grace = u32::try_from(grace).unwrap_or(0).max(1);
    let mut plan = Plan::default();
    for place in pod.containers() {
        for asked in asked(place.container, grace) {
            if let Err(reason) = plan.add(&place, &asked, &known) {
                reasons.push(reason);
            }
        }
    }
    plan
}

impl Plan {
    fn add(
        &mut self,
        place: &Place<'_>,
        asked: &Asked<'_>,
        known: &Probes,
    ) -> Result<(), RefuseReason> {
        let path = format!(
            "{}{}/{}",
            cluster::PROBE_PATH,
            place.container.name,
            asked.kind
        );
        let field = format!("{}.{}", place.path(), asked.field.replace('/', "."));
        let (ask, is_rewritten) = match (known.get(&path), asked.handler) {
            (Some(original), Handler::HttpGet(get)) if is_rewritten(get, &path) => {
                (Some(original.ask.clone()), true)
            }
            (_, handler) => (handler.ask(place.container, &field)?, false),
        };
        let Some(ask) = ask else {
            return Ok(());
        };
        let (port, handler) = match &ask {
            Ask::HttpGet(get) => (get.port, "httpGet"),
            Ask::TcpSocket { port } => (*port, "tcpSocket"),
            Ask::Grpc { port, .. } => (*port, "grpc"),
        };
        if is_proxy_port(port) {
            let path = format!("{field}.{handler}.port");
            return Err(RefuseReason::Port { path, port });
        }
        if !is_rewritten {
            self.rewrites.push(Rewrite {
                at: format!("{}/{}", place.pointer(), asked.field),
                path: path.clone(),
            });
        }
        let timeout_seconds = asked.timeout_seconds;
        self.probes.insert(
            path,
            Probe {
                ask,
                timeout_seconds,
            },
        );
        Ok(())
    }
}

/// The originals of what a sidecar that is already there rewrote.
fn known(pod: &Pod) -> Probes {
    let env = pod.sidecar().and_then(|container| container.env.as_ref());
    let env: BTreeMap<&str, &str> = env
        .into_iter()
        .flatten()
        .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
        .collect();
    probes_of(&env)
}

/// Whether this is what we write in place of a probe.
fn is_rewritten(get: &HTTPGetAction, path: &str) -> bool {
    let port = IntOrString::Int(i32::from(sidecar::TELEMETRY_PORT));
    get.port == port && get.host.is_none() && get.path.as_deref() == Some(path)
}

/// One probe or hook of a container.
struct Asked<'a> {
    /// The last part of its path on the telemetry port.
    kind: &'static str,
    /// Where it stands in the container.
    field: &'static str,
    handler: Handler<'a>,
    timeout_seconds: u32,
}

#[derive(Clone, Copy)]
enum Handler<'a> {
    HttpGet(&'a HTTPGetAction),
    TcpSocket(&'a TCPSocketAction),
    Grpc(&'a GRPCAction),
}

/// Those that come over the network. A hook has no timeout of its own; the kubelet's patience is the grace period.
fn asked(container: &Container, grace: u32) -> Vec<Asked<'_>> {
    let mut asked = Vec::new();
    for (kind, field, probe) in [
        ("liveness", "livenessProbe", &container.liveness_probe),
        ("readiness", "readinessProbe", &container.readiness_probe),
        ("startup", "startupProbe", &container.startup_probe),
    ] {
        let Some(probe) = probe else {
            continue;
        };
        let http = probe.http_get.as_ref().map(Handler::HttpGet);
        let tcp = || probe.tcp_socket.as_ref().map(Handler::TcpSocket);
        let grpc = || probe.grpc.as_ref().map(Handler::Grpc);
        let timeout = probe
            .timeout_seconds
            .and_then(|seconds| u32::try_from(seconds).ok());
        asked.extend(http.or_else(tcp).or_else(grpc).map(|handler| Asked {
            kind,
            field,
            handler,
            timeout_seconds: timeout.unwrap_or(1).max(1),
        }));
    }
    let lifecycle = container.lifecycle.as_ref();
    let hook =
        |hook: Option<&'_ LifecycleHandler>| hook.is_some_and(|hook| hook.http_get.is_some());
    for (kind, field, handler) in [
        (
            "postStart",
            "lifecycle/postStart",
            lifecycle.and_then(|l| l.post_start.as_ref()),
        ),
        (
            "preStop",
            "lifecycle/preStop",
            lifecycle.and_then(|l| l.pre_stop.as_ref()),
        ),
    ] {
        if !hook(handler) {
            continue;
        }
        let get = handler.and_then(|hook| hook.http_get.as_ref());
        asked.extend(get.map(|get| Asked {
            kind,
            field,
            handler: Handler::HttpGet(get),
            timeout_seconds: grace,
        }));
    }
    asked
}

impl Handler<'_> {
    /// What is asked of the application; nothing where it is asked of another host.
    fn ask(self, container: &Container, field: &str) -> Result<Option<Ask>, RefuseReason> {
        let port = |handler: &str, port: &IntOrString| {
            resolve(container, port).ok_or_else(|| RefuseReason::UnknownPort {
                path: format!("{field}.{handler}.port"),
                port: match port {
                    IntOrString::Int(number) => number.to_string(),
                    IntOrString::String(name) => name.clone(),
                },
            })
        };
        let is_elsewhere =
            |host: &Option<String>| host.as_ref().is_some_and(|host| !host.is_empty());
        Ok(match self {
            Self::HttpGet(get) if is_elsewhere(&get.host) => None,
            Self::TcpSocket(tcp) if is_elsewhere(&tcp.host) => None,
            Self::HttpGet(get) => Some(Ask::HttpGet(http_get(get, port("httpGet", &get.port)?))),
            Self::TcpSocket(tcp) => Some(Ask::TcpSocket {
                port: port("tcpSocket", &tcp.port)?,
            }),
            Self::Grpc(grpc) => Some(Ask::Grpc {
                port: port("grpc", &IntOrString::Int(grpc.port))?,
                service: grpc.service.clone().unwrap_or_default(),
            }),
        })
    }
}

fn http_get(get: &HTTPGetAction, port: u16) -> HttpGet {
    let path = get.path.as_deref().unwrap_or_default();
    let headers = get.http_headers.iter().flatten();
    HttpGet {
        port,
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        },
        https: get.scheme.as_deref() == Some("HTTPS"),
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    }
}

/// As the kubelet resolves it: a name of the container's own, or a number, even one that is written as text.
fn resolve(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            match named {
                Some(port) => u16::try_from(port.container_port).ok(),
                None => name.parse().ok(),
            }
        }
    };
    number.filter(|number| *number > 0)
}
