//! The rendered manifests, object by object.

mod rights;
mod rules;
mod webhooks;

use clap::Parser;
use serde_json::{Value, json};

use palisade_api::{cluster, sidecar};

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: InstallArgs,
}

fn args(typed: &[&str]) -> Result<InstallArgs, clap::Error> {
    let typed = std::iter::once("install").chain(typed.iter().copied());
    Cli::try_parse_from(typed).map(|cli| cli.args)
}

fn rendered(typed: &[&str]) -> String {
    let args = args(typed).unwrap();
    chart::manifests(&args.namespace, &values::of(&args).unwrap()).unwrap()
}

fn objects(typed: &[&str]) -> Vec<Value> {
    chart::objects(&rendered(typed)).unwrap()
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn named<'v>(objects: &'v [Value], kind: &str, name: &str) -> &'v Value {
    let is_it =
        |object: &&Value| text(object, "/kind") == kind && text(object, "/metadata/name") == name;
    objects
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn container(objects: &[Value], name: &str) -> Value {
    named(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0].clone()
}

fn variable(container: &Value, name: &str) -> Option<String> {
    let list = container["env"].as_array().unwrap();
    let found = list.iter().find(|variable| variable["name"] == name)?;
    Some(text(found, "/value").to_owned())
}

#[test]
fn all_objects_come_in_the_order_of_their_needs() {
    let objects = objects(&[]);
    let order: Vec<String> = objects
        .iter()
        .map(|object| {
            format!(
                "{} {}",
                text(object, "/kind"),
                text(object, "/metadata/name")
            )
        })
        .collect();
    let expected = [
        "Namespace palisade-system",
        "CustomResourceDefinition authorizationpolicies.palisade.dev",
        "CustomResourceDefinition clusterauthorizationpolicies.palisade.dev",
        "ServiceAccount palisade-control",
        "ClusterRole palisade-control",
        "ClusterRoleBinding palisade-control",
        "Role palisade-control",
        "RoleBinding palisade-control",
        "ServiceAccount palisade-injector",
        "ClusterRole palisade-injector",
        "ClusterRoleBinding palisade-injector",
        "Role palisade-injector",
        "RoleBinding palisade-injector",
        "ClusterRole palisade-policies-admin",
        "ClusterRole palisade-policies-view",
        "ClusterRole palisade-cluster-policies-view",
        "ServiceAccount palisade-reader",
        "ClusterRole palisade-reader",
        "ClusterRoleBinding palisade-reader",
        "Role palisade-ask",
        "ClusterRole palisade-viewer",
        "ClusterRole palisade-ask-view",
        "Role palisade-reach",
        "Service palisade-control",
        "Service palisade-injector",
        "PodDisruptionBudget palisade-control",
        "Deployment palisade-control",
        "PodDisruptionBudget palisade-injector",
        "Deployment palisade-injector",
        "ValidatingAdmissionPolicy palisade-sidecar-required",
        "ValidatingAdmissionPolicyBinding palisade-sidecar-required",
        "ValidatingAdmissionPolicy palisade-sidecar-kept",
        "ValidatingAdmissionPolicyBinding palisade-sidecar-kept",
        "ValidatingAdmissionPolicy palisade-control-limits",
        "ValidatingAdmissionPolicyBinding palisade-control-limits",
        "ValidatingAdmissionPolicy palisade-definitions-kept",
        "ValidatingAdmissionPolicyBinding palisade-definitions-kept",
        "MutatingWebhookConfiguration palisade-injector",
        "ValidatingWebhookConfiguration palisade-injector",
    ];
    assert_eq!(order, expected);
}

#[test]
fn nothing_secret_and_nothing_of_control_is_in_them() {
    let stream = rendered(&[]);
    let objects = chart::objects(&stream).unwrap();
    assert!(objects.iter().all(|object| object["kind"] != "Secret"));
    for object in &objects {
        let text = object.to_string();
        assert!(!text.contains("caBundle\":"), "{text}");
    }
    for secret in ["PRIVATE KEY", "CERTIFICATE", "{{"] {
        assert!(!stream.contains(secret), "{secret}");
    }
}

#[test]
fn the_namespace_that_was_asked_for_is_the_only_one() {
    let stream = rendered(&["--namespace", "mesh"]);
    assert!(!stream.contains(cluster::SYSTEM_NAMESPACE));
    let cluster_wide = [
        "Namespace",
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ];
    for object in chart::objects(&stream).unwrap() {
        let expected = if cluster_wide.contains(&text(&object, "/kind")) {
            ""
        } else {
            "mesh"
        };
        assert_eq!(text(&object, "/metadata/namespace"), expected, "{object}");
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/part-of"],
            "palisade"
        );
    }
}

#[test]
fn flags_reach_the_programs() {
    let typed = [
        "--image=registry.example/palisade:1",
        "--trust-domain=example.org",
        "--mesh-cidr=10.244.0.0/16,fd00::/64",
        "--outside-cidr=10.244.9.0/24",
        "--replicas=3",
        "--attest-address=off",
        "--svid-ttl=12h",
        "--set=priorityClassName=",
        "--set=sidecarCpuRequest=20m",
    ];
    let objects = objects(&typed);
    let (control, injector) = (
        container(&objects, cluster::CONTROL),
        container(&objects, cluster::INJECTOR),
    );
    assert_eq!(
        control["args"],
        json!(["control", "run", "--kubernetes", "--attest-address=off"])
    );
    for (name, expected) in [
        ("PALISADE_TRUST_DOMAIN", "example.org"),
        ("PALISADE_MESH_CIDR", "10.244.0.0/16,fd00::/64"),
        ("PALISADE_OUTSIDE_CIDR", "10.244.9.0/24"),
        ("PALISADE_SVID_TTL", "12h"),
        ("PALISADE_LISTEN", "[::]:15012"),
        ("PALISADE_TELEMETRY", "[::]:15020"),
        ("PALISADE_NAMESPACE", "$(POD_NAMESPACE)"),
    ] {
        assert_eq!(
            variable(&control, name).as_deref(),
            Some(expected),
            "{name}"
        );
    }
    assert_eq!(
        variable(&injector, "PALISADE_IMAGE").as_deref(),
        Some("registry.example/palisade:1")
    );
    assert!(injector["args"].as_array().unwrap().contains(&json!("20m")));
    for name in [cluster::CONTROL, cluster::INJECTOR] {
        let deployment = named(&objects, "Deployment", name);
        assert_eq!(deployment["spec"]["replicas"], 3);
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod.get("priorityClassName"), None);
        assert_eq!(pod["containers"][0]["image"], "registry.example/palisade:1");
    }
}

#[test]
fn what_is_not_asked_for_is_left_out() {
    let control = container(&objects(&[]), cluster::CONTROL);
    assert_eq!(variable(&control, "PALISADE_MESH_CIDR"), None);
    assert_eq!(variable(&control, "PALISADE_OUTSIDE_CIDR"), None);
    assert_eq!(
        control["args"],
        json!(["control", "run", "--kubernetes", "--attest-address=on"])
    );
}

#[test]
fn mistakes_are_refused_before_anything_is_printed() {
    for typed in [
        "--namespace=kube-system",
        "--namespace=Mesh",
        "--namespace=-mesh",
        "--trust-domain=Example Org",
        "--mesh-cidr=10.244.0.0",
        "--replicas=0",
        "--attest-address=maybe",
        "--svid-ttl=25h",
        "--svid-ttl=24h 1ms",
        "--svid-ttl=0s",
        "--set=replicas",
    ] {
        assert!(args(&[typed]).is_err(), "{typed}");
    }
}

#[test]
fn the_chart_is_of_this_version() {
    let chart: Value =
        serde_saphyr::from_str(include_str!("../../../injector/chart/palisade/Chart.yaml"))
            .unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(text(&chart, "/version"), version);
    assert_eq!(text(&chart, "/appVersion"), version);
    assert_eq!(
        text(&values::defaults().unwrap(), "/image"),
        format!("palisade:{version}")
    );
}

#[test]
fn pods_are_restricted_spread_and_probed() {
    let objects = objects(&[]);
    let namespace = named(&objects, "Namespace", cluster::SYSTEM_NAMESPACE);
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    assert_eq!(
        namespace["metadata"].get("annotations"),
        None,
        "it is never in the mesh itself"
    );
    for name in [cluster::CONTROL, cluster::INJECTOR] {
        let deployment = named(&objects, "Deployment", name);
        assert_eq!(
            deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"],
            0
        );
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], name);
        assert_eq!(pod["securityContext"]["runAsUser"], sidecar::PROXY_UID);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(
            pod["topologySpreadConstraints"][0]["whenUnsatisfiable"],
            "ScheduleAnyway"
        );
        let container = &pod["containers"][0];
        let expected = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]}});
        assert_eq!(container["securityContext"], expected);
        for (probe, path) in [
            ("readinessProbe", "/ready"),
            ("livenessProbe", "/live"),
            ("startupProbe", "/live"),
        ] {
            let expected = json!({"path": path, "port": sidecar::TELEMETRY_PORT});
            assert_eq!(container[probe]["httpGet"], expected, "{name} {probe}");
        }
        let budget = named(&objects, "PodDisruptionBudget", name);
        assert_eq!(budget["spec"]["minAvailable"], 1);
        assert_eq!(budget["spec"]["selector"], deployment["spec"]["selector"]);
        assert_eq!(
            named(&objects, "Service", name)["spec"]["selector"],
            deployment["spec"]["selector"]["matchLabels"]
        );
    }
    let ports = |name: &str| named(&objects, "Service", name)["spec"]["ports"][0].clone();
    assert_eq!(ports(cluster::CONTROL)["port"], sidecar::CONTROL_PORT);
    assert_eq!(ports(cluster::INJECTOR)["port"], 443);
    assert_eq!(
        ports(cluster::INJECTOR)["targetPort"],
        sidecar::WEBHOOK_PORT
    );
}
