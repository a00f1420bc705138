//! One document of any kind, and the kinds that say what there is.

use std::net::IpAddr;

use super::name::Form;
use super::node::Node;
use super::read::{Fields, Places, Reader, instead, listed, quoted};
use super::{Manifest, ServiceSpec, WorkloadSpec, namespace, policy, rule, trust};
use crate::workload::ServicePort;

/// Reads one document by its kind.
pub(super) fn document(reader: &mut Reader<'_>, node: &Node) -> Option<Manifest> {
    let fields = reader.fields(
        node,
        "document",
        &["apiVersion", "kind", "metadata", "spec"],
    )?;
    let version = reader.required(&fields, "apiVersion", VERSION_REMEDY)?;
    let text = reader.text(version, "apiVersion")?;
    if text != VERSION {
        let message = format!("`apiVersion` cannot be {}", quoted(text));
        return reader.refuse(version.at, message, VERSION_REMEDY);
    }
    let kinds: &[&str] = match reader.places() {
        Places::Lines => &KINDS,
        Places::Fields(_) => &KINDS_OF_RULES,
    };
    let remedy = format!("write {}", listed(kinds, ""));
    let kind = reader.required(&fields, "kind", &remedy)?;
    let text = reader.text(kind, "kind")?;
    if !kinds.contains(&text) {
        let message = format!("there is no kind {}", quoted(text));
        return reader.refuse(kind.at, message, instead(text, kinds, ""));
    }
    match text {
        "AuthorizationPolicy" => policy::of_namespace(reader, &fields),
        "ClusterAuthorizationPolicy" => policy::of_cluster(reader, &fields),
        "Workload" => workload(reader, &fields),
        "Service" => service(reader, &fields),
        "Namespace" => namespace::namespace(reader, &fields),
        "Revocations" => trust::revocations(reader, &fields),
        _ => trust::trust_bundle(reader, &fields),
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
pub(super) const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];
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
