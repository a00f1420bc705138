//! `palisade ps` on a cluster: who is in the mesh, and who should be.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use futures_util::stream::{self, StreamExt};
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Client, ResourceExt};
use palisade_api::sidecar::TELEMETRY_PORT;
use serde::Serialize;

use super::client::{self, Scope};
use super::{list, namespace, pod, warn};
use crate::args::{Output, PsArgs};
use crate::records::table;
use crate::up::event::State;

/// One pod, with the keys of a local one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// `shop/web-6d4f5c9b7d-x2w1p`.
    pub(crate) workload: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// None where it is not meshed, or not yet known.
    pub(crate) spiffe_id: Option<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) node: String,
    pub(crate) meshed: bool,
    #[serde(flatten)]
    pub(crate) state: State,
    pub(crate) restarts: Restarts,
}

/// How often its parts were started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Restarts {
    pub(crate) proxy: i32,
    pub(crate) app: i32,
}

/// Prints the pods.
pub(crate) async fn run(args: &PsArgs) -> anyhow::Result<ExitCode> {
    let client = client::client(&args.mesh.kube).await?;
    let default = Scope::Namespace(client.default_namespace().to_owned());
    let scope = args.mesh.scope.or(default);
    let pods = list::list::<Pod>(&client, &scope).await;
    let pods = pods.map_err(|error| {
        let why = namespace::refused(&client, &scope, &error);
        anyhow::anyhow!("cannot list pods: {why}")
    })?;
    for namespace in &pods.unreadable {
        warn(&format!(
            "you may not list the pods of {namespace}; it is left out"
        ));
    }
    let namespaces = namespaces(&client, &scope).await;
    let rows = rows(&pods.items, &namespaces);
    let mut rows = with_reasons(&client, rows).await;
    rows.sort_by(|one, other| one.workload.cmp(&other.workload));
    let mut out = anstream::AutoStream::auto(std::io::stdout()).lock();
    match Output::or_by_terminal(args.mesh.output) {
        Output::Text => write!(out, "{}", table::of_pods(&rows))?,
        Output::Json => {
            for row in &rows {
                writeln!(out, "{}", serde_json::to_string(row)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The namespaces by name. Who may not read them is not told which pods should be meshed.
async fn namespaces(client: &Client, scope: &Scope) -> BTreeMap<String, Namespace> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = match scope {
        Scope::All => api
            .list(&kube::api::ListParams::default())
            .await
            .map(|all| all.items),
        Scope::Namespace(name) => api.get(name).await.map(|one| vec![one]),
    };
    match found {
        Ok(found) => found.into_iter().map(|one| (one.name_any(), one)).collect(),
        Err(error) => {
            warn(&format!(
                "pods that should be meshed and are not cannot be told: {}",
                list::in_words(&error)
            ));
            BTreeMap::new()
        }
    }
}

/// Meshed pods, and those that should be and are not.
fn rows(pods: &[Pod], namespaces: &BTreeMap<String, Namespace>) -> Vec<Row> {
    let mut rows = Vec::new();
    for one in pods {
        let namespace = namespaces.get(&one.namespace().unwrap_or_default());
        let missed = namespace
            .filter(|namespace| pod::asks(namespace) || pod::is_member(namespace))
            .is_some_and(|namespace| pod::exempt(one, namespace).is_none());
        if pod::sidecar(one).is_some() {
            rows.push(row(one, state(one)));
        } else if missed {
            rows.push(row(one, State::NotReady(NOT_MESHED.into())));
        }
    }
    rows
}

fn row(one: &Pod, state: State) -> Row {
    let status = one.status.as_ref();
    let addresses = status.and_then(|status| status.pod_ips.as_ref());
    let apps = status.and_then(|status| status.container_statuses.as_ref());
    let apps = apps.into_iter().flatten().map(|app| app.restart_count);
    Row {
        workload: pod::key(one),
        namespace: one.namespace().unwrap_or_default(),
        name: one.name_any(),
        spiffe_id: pod::identity(one),
        addresses: addresses
            .into_iter()
            .flatten()
            .filter_map(|address| address.ip.parse().ok())
            .collect(),
        node: one
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        meshed: pod::sidecar(one).is_some(),
        state,
        restarts: Restarts {
            proxy: pod::sidecar_status(one).map_or(0, |status| status.restart_count),
            app: apps.sum(),
        },
    }
}

/// How a meshed pod is, as far as its status says.
pub(crate) fn state(one: &Pod) -> State {
    let Some(status) = &one.status else {
        return State::Starting;
    };
    let phase = status.phase.as_deref().unwrap_or_default();
    if pod::is_finished(one) {
        let reason = status
            .reason
            .clone()
            .unwrap_or_else(|| phase.to_lowercase());
        return State::Ended(reason);
    }
    let containers = status.init_container_statuses.iter().flatten();
    let containers = containers.chain(status.container_statuses.iter().flatten());
    for container in containers {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        match reason {
            None | Some("PodInitializing" | "ContainerCreating") => {}
            Some("CrashLoopBackOff") => {
                return State::Restarting(format!("{} ends again and again", container.name));
            }
            Some(reason) => return State::NotReady(format!("{}: {reason}", container.name)),
        }
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|one| one.type_ == kind);
    if condition("Ready").is_some_and(|ready| ready.status == "True") {
        return State::Ready;
    }
    let unscheduled = condition("PodScheduled").filter(|scheduled| scheduled.status == "False");
    if let Some(message) = unscheduled.and_then(|unscheduled| unscheduled.message.clone()) {
        return State::NotReady(message);
    }
    let is_ready = pod::sidecar_status(one).is_some_and(|proxy| proxy.ready);
    match condition("Ready").and_then(|ready| ready.message.clone()) {
        Some(message) if is_ready => State::NotReady(message),
        _ => State::NotReady(PROXY_NOT_READY.into()),
    }
}

/// Asks each sidecar that is not ready why, through the API server; who may not is shown the status only.
async fn with_reasons(client: &Client, rows: Vec<Row>) -> Vec<Row> {
    let asked = rows.into_iter().map(|mut row| async move {
        if row.state == State::NotReady(PROXY_NOT_READY.into())
            && let Some(reason) = reason(client, &row).await
        {
            row.state = State::NotReady(reason);
        }
        row
    });
    stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn reason(client: &Client, row: &Row) -> Option<String> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}:{TELEMETRY_PORT}/proxy/ready",
        row.namespace, row.name
    );
    let request = Request::get(path).body(Vec::new()).ok()?;
    match tokio::time::timeout(REASON_TIME, client.request_text(request)).await {
        // Not ready is 503; that its text is no object of the API is expected.
        Ok(Err(kube::Error::Api(status))) if status.code == 503 => reasons(&status.message),
        _ => None,
    }
}

/// The reasons alone, which come one a line; the API server's own words about a pod that it cannot reach are none.
fn reasons(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let reasons = lines.collect::<Vec<_>>().join("; ");
    (!reasons.is_empty() && !reasons.contains("error trying to reach service")).then_some(reasons)
}

const NOT_MESHED: &str = "its namespace is in the mesh, and it is not; restart it (palisade check)";
const PROXY_NOT_READY: &str = "the proxy is not ready";
const AT_ONCE: usize = 16;
const REASON_TIME: std::time::Duration = std::time::Duration::from_secs(3);

#[cfg(test)]
#[path = "ps_tests.rs"]
mod tests;
