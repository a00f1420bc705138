//! One document of any kind, and the kinds that say what there is.

use std::net::IpAddr;

use super::name::Form;
use super::near::{did_you_mean, nearest};
use super::node::{Node, Value};
use super::read::{Fields, Found, Left, Places, Reader, listed, quoted};
use super::{Manifest, ServiceSpec, WorkloadSpec, expectation, namespace, policy, rule, trust};
use crate::workload::ServicePort;

/// What is wrong with a document.
#[derive(Debug)]
pub(super) struct Refused {
    /// At least one mistake, in the order of the text.
    pub(super) found: Vec<Found>,
    /// What it says by itself, where it can be read: not what its author meant.
    pub(super) doubtful: Option<Box<Manifest>>,
}

/// Reads one document by its kind. It is good only if nothing at all is wrong with it.
///
/// # Errors
///
/// Everything that is wrong with it: where its version or kind is, also what is with the rest, read as most likely meant.
pub(super) fn document(places: Places<'_>, node: &Node) -> Result<Manifest, Refused> {
    let mut reader = Reader::new(places);
    let manifest = by_kind(&mut reader, node);
    let found = reader.into_found();
    match manifest {
        Some(manifest) if found.is_empty() => Ok(manifest),
        doubtful => Err(Refused {
            found,
            doubtful: doubtful.map(Box::new),
        }),
    }
}

fn by_kind(reader: &mut Reader<'_>, node: &Node) -> Option<Manifest> {
    if is_no_object(node) {
        let message = "`document` is no object: it has neither `kind` nor `metadata` nor `spec`";
        return reader.refuse(node.at, message, NO_OBJECT_REMEDY);
    }
    let fields = reader.fields(
        node,
        "document",
        &["apiVersion", "kind", "metadata", "spec"],
    )?;
    version(reader, &fields);
    match kind(reader, &fields)? {
        "AuthorizationPolicy" => policy::of_namespace(reader, &fields),
        "ClusterAuthorizationPolicy" => policy::of_cluster(reader, &fields),
        "Workload" => workload(reader, &fields),
        "Service" => service(reader, &fields),
        "Namespace" => namespace::namespace(reader, &fields),
        "Revocations" => trust::revocations(reader, &fields),
        // Only where it was most likely meant: the others were taken out before.
        expectation::KIND => {
            expectation::contents(reader, &fields);
            None
        }
        _ => trust::trust_bundle(reader, &fields),
    }
}

/// Whether a document is something else as a whole, such as what helm and kustomize read: then nothing in it is a mistake of
/// its own.
fn is_no_object(node: &Node) -> bool {
    let Value::Map(entries) = &node.value else {
        return false;
    };
    let is_of_object = |key: &str| nearest(key, ["kind", "metadata", "spec"]).is_some();
    !entries.iter().any(|entry| is_of_object(&entry.key))
}

/// Refuses any version but ours. What the document says is read all the same.
fn version(reader: &mut Reader<'_>, document: &Fields<'_>) {
    let Some(entry) = document.find("apiVersion") else {
        reader.note(
            document.at,
            "`apiVersion` is missing",
            VERSION_REMEDY,
            Left::All,
        );
        return;
    };
    let at = entry.value.at;
    if let Some(text) = reader.text(&entry.value, "apiVersion")
        && text != VERSION
    {
        let message = format!("`apiVersion` cannot be {}", quoted(text));
        reader.note(at, message, VERSION_REMEDY, Left::Word(VERSION));
    }
}

/// The kind that is written or, where there is none such, the one that was most likely meant.
fn kind(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<&'static str> {
    let (kinds, beside): (&[&'static str], _) = match reader.places() {
        Places::Lines => (&KINDS, Some(expectation::KIND)),
        Places::Fields(_) => (&KINDS_OF_RULES, None),
    };
    let remedy = format!("write {}", listed(kinds, ""));
    let node = reader.required(document, "kind", &remedy)?;
    let text = reader.text(node, "kind")?;
    if let Some(kind) = kinds.iter().find(|kind| **kind == text) {
        return Some(kind);
    }
    let message = format!("there is no kind {}", quoted(text));
    let Some(meant) = nearest(text, kinds.iter().copied().chain(beside)) else {
        return reader.refuse(node.at, message, remedy);
    };
    reader.note(node.at, message, did_you_mean(meant), Left::Word(meant));
    Some(meant)
}

/// Whether a document is meant to be ours, by its `apiVersion` and `kind` as they are or were most likely meant. In files
/// of a cluster others' stand beside.
pub fn is_ours(version: &str, kind: &str) -> bool {
    let own = VERSION.split_once('/').map(|(group, _)| group);
    match version.split_once('/') {
        Some((group, _)) => {
            group.split('.').next() == Some(PROJECT) || nearest(group, own).is_some()
        }
        // Kubernetes's own kinds have no group.
        None => OF_US_ONLY.contains(&kind),
    }
}

/// The namespace and name of an object that has both, and its labels.
pub(super) struct Metadata<'n> {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: Option<&'n Node>,
}

pub(super) fn metadata<'n>(
    reader: &mut Reader<'_>,
    document: &Fields<'n>,
    form: Form,
) -> Option<Metadata<'n>> {
    let node = reader.required(
        document,
        "metadata",
        "write `metadata: {name: …, namespace: …}`",
    )?;
    let fields = reader.fields(node, "metadata", &METADATA)?;
    let name = name(reader, &fields, form);
    let remedy = "write the namespace that it belongs to: none is the default";
    let namespace = reader
        .required(&fields, "namespace", remedy)
        .and_then(|node| reader.name(node, "namespace", Form::Label));
    Some(Metadata {
        namespace: namespace?,
        name: name?,
        labels: fields.find("labels").map(|entry| &entry.value),
    })
}

/// The name of an object that belongs to no namespace, and its metadata.
pub(super) fn cluster_metadata<'n>(
    reader: &mut Reader<'_>,
    document: &Fields<'n>,
    form: Form,
    if_namespaced: &str,
) -> Option<(String, Fields<'n>)> {
    let node = reader.required(document, "metadata", "write `metadata: {name: …}`")?;
    let fields = reader.fields(node, "metadata", &METADATA)?;
    if let Some(entry) = fields.find("namespace") {
        let message = "this kind belongs to no namespace";
        return reader.refuse(entry.key_at, message, if_namespaced);
    }
    Some((name(reader, &fields, form)?, fields))
}

pub(super) fn name(reader: &mut Reader<'_>, metadata: &Fields<'_>, form: Form) -> Option<String> {
    let node = reader.required(metadata, "name", "write `name: …`")?;
    reader.name(node, "name", form)
}

fn workload(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<Manifest> {
    let metadata = metadata(reader, document, Form::Subdomain);
    let node = reader.required(
        document,
        "spec",
        "write `spec: {serviceAccount: …, addresses: […]}`",
    )?;
    let spec = reader.fields(node, "spec", &["serviceAccount", "addresses", "meshed"])?;
    let account = reader
        .required(
            &spec,
            "serviceAccount",
            "write the service account that it runs as",
        )
        .and_then(|node| reader.name(node, "serviceAccount", Form::Subdomain));
    let addresses = addresses(reader, &spec);
    let meshed = reader.optional(&spec, "meshed", |reader, node| {
        reader.boolean(node, "meshed")
    });
    let metadata = metadata?;
    let labels = metadata
        .labels
        .map(|node| reader.labels(node, "labels", None));
    Some(Manifest::Workload(WorkloadSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        service_account: account?,
        labels: labels.unwrap_or_else(|| Some(Default::default()))?,
        addresses: addresses?,
        meshed: meshed?.unwrap_or(true),
    }))
}

fn service(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<Manifest> {
    let metadata = metadata(reader, document, Form::Label);
    let node = reader.required(
        document,
        "spec",
        "write `spec: {addresses: […], selector: {…}, ports: […]}`",
    )?;
    let spec = reader.fields(node, "spec", &["addresses", "selector", "ports"])?;
    let addresses = addresses(reader, &spec);
    let selector = reader
        .required(&spec, "selector", "write `selector: {app: orders}`")
        .and_then(|node| {
            reader.labels(
                node,
                "selector",
                Some("name at least one label of its workloads"),
            )
        });
    let ports = reader
        .required(&spec, "ports", "write `ports: [{port: 8080}]`")
        .and_then(|node| {
            reader.list(
                node,
                "ports",
                "name at least one port: one that is not listed leads nowhere",
            )
        })
        .and_then(|nodes| service_ports(reader, nodes));
    let metadata = metadata?;
    Some(Manifest::Service(ServiceSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        addresses: addresses?,
        selector: selector?,
        ports: ports?,
    }))
}

fn service_ports(reader: &mut Reader<'_>, nodes: &[Node]) -> Option<Vec<ServicePort>> {
    let mut seen = Vec::new();
    reader.each(nodes, |reader, node| {
        let fields = reader.fields(node, "ports", &["port", "targetPort"])?;
        let own = reader.required(&fields, "port", "write `port: 8080`")?;
        let port = rule::port(reader, own)?;
        let target = reader.optional(&fields, "targetPort", rule::port)?;
        if seen.contains(&port) {
            let message = format!("port {port} is listed twice");
            return reader.refuse(own.at, message, "list each port once");
        }
        seen.push(port);
        let target_port = target.unwrap_or(port);
        Some(ServicePort { port, target_port })
    })
}

fn addresses(reader: &mut Reader<'_>, spec: &Fields<'_>) -> Option<Vec<IpAddr>> {
    let node = reader.required(
        spec,
        "addresses",
        "write `addresses: [10.111.0.7, \"fd70::7\"]`",
    )?;
    let nodes = reader.list(node, "addresses", "name at least one address")?;
    let mut seen = Vec::new();
    reader.each(nodes, |reader, node| {
        let addr = address(reader, node)?;
        if seen.contains(&addr) {
            let message = format!("the address {addr} is listed twice");
            return reader.refuse(node.at, message, "list each address once");
        }
        seen.push(addr);
        Some(addr)
    })
}

fn address(reader: &mut Reader<'_>, node: &Node) -> Option<IpAddr> {
    let text = reader.text(node, "addresses")?;
    let Ok(addr) = text.parse::<IpAddr>() else {
        let message = format!("{} is no IP address", quoted(text));
        return reader.refuse(node.at, message, "write one like 10.111.0.7 or fd70::7");
    };
    let nobodys = addr.is_unspecified() || addr.is_loopback() || addr.is_multicast();
    if nobodys || addr.to_canonical() != addr {
        let message = format!("{addr} is not an address that one workload or service can have");
        let remedy = "write a unicast address, IPv4 as IPv4, and no loopback";
        return reader.refuse(node.at, message, remedy);
    }
    Some(addr)
}

pub(super) const VERSION: &str = "palisade.dev/v1alpha1";
pub(super) const VERSION_REMEDY: &str = "write `apiVersion: palisade.dev/v1alpha1`";
const NO_OBJECT_REMEDY: &str = "write `apiVersion: palisade.dev/v1alpha1`, `kind:`, `metadata:` and `spec:`; of what helm or \
                                kustomize reads, check what they make of it: `kustomize build . | palisade policy check -`";
pub(super) const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];
const PROJECT: &str = "palisade";
const KINDS: [&str; 7] = [
    "AuthorizationPolicy",
    "ClusterAuthorizationPolicy",
    "Workload",
    "Service",
    "Namespace",
    "Revocations",
    "TrustBundle",
];
/// What the API server has CRDs of: everything else is known there by other names.
pub(super) const KINDS_OF_RULES: [&str; 2] = ["AuthorizationPolicy", "ClusterAuthorizationPolicy"];
/// What is no kind of Kubernetes itself.
const OF_US_ONLY: [&str; 7] = [
    "AuthorizationPolicy",
    "ClusterAuthorizationPolicy",
    "Workload",
    "Revocations",
    "TrustBundle",
    expectation::KIND,
    "LocalMesh",
];
