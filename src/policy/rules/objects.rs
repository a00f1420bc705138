//! What Kubernetes manifests say of who there is.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::cluster::{self, DISABLED, EXCLUDE_INBOUND_PORTS, INJECT};
use palisade_api::manifest::{self, Diagnostic, Severity};
use palisade_api::workload::NamespaceSettings;
use serde_json::Value;

use super::{Known, Workload};

/// Takes an object of any kind; those that tell of nobody are passed over. What is wrong with it.
pub(super) fn take(known: &mut Known, object: &Value) -> Vec<Misset> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    // Of what is created anew each time, the API server makes up the end of the name.
    let made_up = || text("/metadata/generateName").map(|begin| begin.trim_end_matches('-'));
    let Some(name) = text("/metadata/name").or_else(made_up) else {
        return Vec::new();
    };
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let kind = text("/kind").unwrap_or_default();
    let template = match kind {
        "Pod" => object,
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
            object.pointer("/spec/template").unwrap_or(&Value::Null)
        }
        "CronJob" => {
            let pointer = "/spec/jobTemplate/spec/template";
            object.pointer(pointer).unwrap_or(&Value::Null)
        }
        "ServiceAccount" => {
            let account = (namespace.to_owned(), name.to_owned());
            known.accounts.insert(account);
            return Vec::new();
        }
        "Namespace" => {
            let (settings, wrong) = settings(name, object.pointer("/metadata/annotations"));
            known.tell(name, settings);
            return wrong;
        }
        // Pods are made by kinds of others, too, such as Argo's Rollout.
        _ => match object.pointer("/spec/template") {
            Some(template) if template.pointer("/spec/containers").is_some() => template,
            Some(_) | None => return Vec::new(),
        },
    };
    let account = template
        .pointer("/spec/serviceAccountName")
        .and_then(Value::as_str);
    known.take(Workload {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        service_account: account.unwrap_or("default").to_owned(),
        labels: labels(template.pointer("/metadata/labels")),
        replicas: Vec::new(),
        addresses: Vec::new(),
        meshed: gets_sidecar(template),
        excluded_ports: excluded_ports(template),
    });
    Vec::new()
}

/// Whether the injector gives it one: not where it opts out, or has the node's own network.
fn gets_sidecar(template: &Value) -> bool {
    let says_no = |kind: &str| {
        let said = template
            .pointer("/metadata")
            .and_then(|it| it.get(kind)?.get(INJECT));
        said.and_then(Value::as_str) == Some(DISABLED)
    };
    let has_host_network = template.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    !(says_no("annotations") || says_no("labels") || has_host_network)
}

fn excluded_ports(template: &Value) -> BTreeSet<u16> {
    let annotations = template.pointer("/metadata/annotations");
    let ports = annotations.and_then(|all| all.get(EXCLUDE_INBOUND_PORTS)?.as_str());
    ports
        .into_iter()
        .flat_map(cluster::excluded_ports)
        .collect()
}

/// What people call an object of any kind.
pub(super) fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default();
    let name = text("/metadata/name").unwrap_or_default();
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn labels(written: Option<&Value>) -> BTreeMap<String, String> {
    let fields = written.and_then(Value::as_object).into_iter().flatten();
    fields
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// By the validator of our own Namespaces. A value that is not known is the closed one, as control takes it, and is told of.
pub(super) fn settings(
    namespace: &str,
    annotations: Option<&Value>,
) -> (NamespaceSettings, Vec<Misset>) {
    let annotations = annotations.and_then(Value::as_object).into_iter().flatten();
    let (settings, wrong) =
        manifest::settings_of(annotations.map(|(key, value)| (key, value.clone())));
    let wrong = wrong.into_iter().map(|one| Misset {
        title: format!("Namespace {namespace}"),
        file: None,
        message: one.message,
        remedy: format!("{} (until then it counts as closed)", one.remedy),
    });
    (settings, wrong.collect())
}

/// An annotation of a namespace that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misset {
    /// The namespace, as people call it.
    title: String,
    /// Where it stands; none of a cluster's.
    pub(super) file: Option<String>,
    message: String,
    remedy: String,
}

impl Misset {
    /// For people.
    pub(crate) fn told(&self) -> String {
        let Self {
            title,
            message,
            remedy,
            ..
        } = self;
        format!("{title}: {message}; {remedy}")
    }

    /// As what is wrong with rules is told.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let message = match &self.file {
            Some(_) => format!("{}: {}", self.title, self.message),
            None => self.message.clone(),
        };
        Diagnostic {
            file: self.file.as_ref().unwrap_or(&self.title).clone(),
            line: 0,
            column: 0,
            width: 0,
            severity: Severity::Warning,
            message,
            remedy: self.remedy.clone(),
        }
    }

    /// Whether it is an object's, which is in no file.
    pub(crate) fn is_of_object(&self) -> bool {
        self.file.is_none()
    }
}
