//! What the cluster's own traffic would meet: NetworkPolicies, and the API server's calls.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use palisade_api::cluster;
use palisade_api::sidecar::CONTROL_PORT;

use super::finding::{Finding, both, look};
use super::snapshot::{Looked, Snapshot};
use super::{pod, selector};

/// Egress to control, and what the API server calls.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let looked = both(&snapshot.network_policies, &snapshot.pods);
    let fine = "no NetworkPolicy keeps a sidecar from control";
    let egress = look("egress", &looked, fine, |(policies, pods)| {
        egress(policies, pods)
    });
    let called = called(snapshot);
    let looked = both(&snapshot.services, &snapshot.pods);
    let looked = both(&called, &looked);
    let fine = "the API server calls no meshed pod";
    let calls = look("api-calls", &looked, fine, |(called, (services, pods))| {
        let judged = called
            .iter()
            .filter_map(|call| judge_call(call, services, pods));
        judged.collect()
    });
    [egress, calls].concat()
}

/// NetworkPolicies that leave a meshed pod no way to control. Policies add up: one that admits it is enough.
fn egress(policies: &[NetworkPolicy], pods: &[Pod]) -> Vec<Finding> {
    let mut shut: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in pods
        .iter()
        .filter(|one| pod::sidecar(one).is_some() && !pod::is_finished(one))
    {
        let selecting: Vec<(&NetworkPolicy, &NetworkPolicySpec)> = policies
            .iter()
            .filter(|policy| policy.namespace() == one.namespace())
            .filter_map(|policy| Some((policy, policy.spec.as_ref()?)))
            .filter(|(_, spec)| limits_egress(spec) && selects(spec, one))
            .collect();
        if !selecting.is_empty() && !selecting.iter().any(|(_, spec)| admits_control(spec)) {
            let names = selecting.iter().map(|(policy, _)| policy.name_any());
            shut.entry(one.namespace().unwrap_or_default())
                .or_default()
                .extend(names);
        }
    }
    let found = shut.into_iter().map(|(namespace, names)| {
        let names: Vec<String> = names.into_iter().collect();
        Finding::error(
            "egress",
            format!("NetworkPolicy {namespace}/{}", names.join(", ")),
            format!(
                "meshed pods may not reach control's port {CONTROL_PORT}: they get no identity"
            ),
            format!("add an egress rule with port {CONTROL_PORT} to the namespace of control"),
        )
    });
    found.collect()
}

fn limits_egress(spec: &NetworkPolicySpec) -> bool {
    match &spec.policy_types {
        Some(types) => types.iter().any(|kind| kind == "Egress"),
        None => spec.egress.is_some(),
    }
}

fn selects(spec: &NetworkPolicySpec, one: &Pod) -> bool {
    spec.pod_selector
        .as_ref()
        .is_none_or(|wanted| selector::fits(wanted, one.labels()))
}

/// Whether control's port is open to anywhere at all; to where is not judged, since an address may be control's.
fn admits_control(spec: &NetworkPolicySpec) -> bool {
    let mut rules = spec.egress.iter().flatten();
    rules.any(|rule| match rule.ports.as_deref() {
        None | Some([]) => true,
        Some(ports) => ports.iter().any(has_control_port),
    })
}

fn has_control_port(port: &NetworkPolicyPort) -> bool {
    let control = i32::from(CONTROL_PORT);
    let tcp = port
        .protocol
        .as_deref()
        .is_none_or(|protocol| protocol == "TCP");
    tcp && match (&port.port, port.end_port) {
        (None, _) => true,
        (Some(IntOrString::Int(first)), Some(last)) => (*first..=last).contains(&control),
        (Some(IntOrString::Int(port)), None) => *port == control,
        (Some(IntOrString::String(_)), _) => false,
    }
}

/// A Service that the API server calls.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Called {
    by: String,
    namespace: String,
    service: String,
}

/// All that the API server calls in namespaces of the mesh.
fn called(snapshot: &Snapshot) -> Looked<Vec<Called>> {
    let definitions = snapshot.definitions.as_ref().map_err(Clone::clone)?;
    let api_services = snapshot.api_services.as_ref().map_err(Clone::clone)?;
    let namespaces = snapshot.namespaces.as_ref().map_err(Clone::clone)?;
    let mut called = hooks(snapshot)?;
    called.extend(api_services.iter().filter_map(|one| {
        let service = one.spec.as_ref()?.service.as_ref()?;
        Some(Called {
            by: format!("APIService {}", one.name_any()),
            namespace: service.namespace.clone()?,
            service: service.name.clone()?,
        })
    }));
    called.extend(definitions.iter().filter_map(|one| {
        let webhook = one.spec.conversion.as_ref()?.webhook.as_ref()?;
        let service = webhook.client_config.as_ref()?.service.as_ref()?;
        Some(Called {
            by: format!("CustomResourceDefinition {}", one.name_any()),
            namespace: service.namespace.clone(),
            service: service.name.clone(),
        })
    }));
    let members = members(namespaces);
    called.retain(|one| {
        members.contains(&one.namespace) && one.namespace != snapshot.system_namespace
    });
    called.dedup();
    Ok(called)
}

/// What the API server calls as admission webhooks.
fn hooks(snapshot: &Snapshot) -> Looked<Vec<Called>> {
    let mutating = snapshot.mutating.as_ref().map_err(Clone::clone)?;
    let validating = snapshot.validating.as_ref().map_err(Clone::clone)?;
    let call = |by: &str, config: &WebhookClientConfig| {
        let service = config.service.as_ref()?;
        Some(Called {
            by: by.to_owned(),
            namespace: service.namespace.clone(),
            service: service.name.clone(),
        })
    };
    let mut called = Vec::new();
    for one in mutating {
        let by = format!("MutatingWebhookConfiguration {}", one.name_any());
        let hooks = one.webhooks.iter().flatten();
        called.extend(hooks.filter_map(|hook| call(&by, &hook.client_config)));
    }
    for one in validating {
        let by = format!("ValidatingWebhookConfiguration {}", one.name_any());
        let hooks = one.webhooks.iter().flatten();
        called.extend(hooks.filter_map(|hook| call(&by, &hook.client_config)));
    }
    Ok(called)
}

fn members(namespaces: &[Namespace]) -> BTreeSet<String> {
    let members = namespaces
        .iter()
        .filter(|one| pod::is_member(one) || pod::asks(one));
    members.map(ResourceExt::name_any).collect()
}

/// A call that arrives at a meshed pod, unless the pod leaves its port out.
fn judge_call(call: &Called, services: &[Service], pods: &[Pod]) -> Option<Finding> {
    let service = services.iter().find(|one| {
        one.name_any() == call.service && one.namespace().as_ref() == Some(&call.namespace)
    })?;
    let spec = service.spec.as_ref()?;
    let wanted = spec.selector.as_ref().filter(|wanted| !wanted.is_empty())?;
    let targets: BTreeSet<String> = spec
        .ports
        .iter()
        .flatten()
        .map(|port| match &port.target_port {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(name)) => name.clone(),
            None => port.port.to_string(),
        })
        .collect();
    let meshed = pods.iter().filter(|one| {
        one.namespace().as_ref() == Some(&call.namespace)
            && pod::sidecar(one).is_some()
            && selector::has_all(wanted.iter(), one.labels())
    });
    let refused = meshed.filter(|one| {
        let excluded = one.annotations().get(cluster::EXCLUDE_INBOUND_PORTS);
        let excluded = excluded.map(String::as_str).unwrap_or_default();
        let excluded: BTreeSet<&str> = excluded.split(',').map(str::trim).collect();
        !targets
            .iter()
            .all(|target| excluded.contains(&*number(one, target)))
    });
    let refused = refused.count();
    let ports: Vec<&str> = targets.iter().map(String::as_str).collect();
    (refused > 0).then(|| {
        Finding::warning(
            "api-calls",
            format!("Service {}/{}", call.namespace, call.service),
            format!(
                "the API server calls it for {}, without an identity, and {refused} meshed pods refuse that",
                call.by
            ),
            format!(
                "annotate the pods with {}: \"{}\", or allow `unauthenticated` from the API server's addresses \
                 (if a rule does already, all is well)",
                cluster::EXCLUDE_INBOUND_PORTS,
                ports.join(",")
            ),
        )
    })
}

/// The number of a port that may be named.
fn number(one: &Pod, port: &str) -> String {
    let containers = one.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let named = ports.find(|declared| declared.name.as_deref() == Some(port));
    named.map_or_else(
        || port.to_owned(),
        |declared| declared.container_port.to_string(),
    )
}
