use std::collections::BTreeSet;

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
        "Service palisade-control",
        "Service palisade-injector",
        "PodDisruptionBudget palisade-control",
        "Deployment palisade-control",
        "PodDisruptionBudget palisade-injector",
        "Deployment palisade-injector",
        "ValidatingAdmissionPolicy palisade-sidecar-required",
        "ValidatingAdmissionPolicyBinding palisade-sidecar-required",
        "ValidatingAdmissionPolicy palisade-control-limits",
        "ValidatingAdmissionPolicyBinding palisade-control-limits",
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
        serde_saphyr::from_str(include_str!("../../injector/chart/palisade/Chart.yaml")).unwrap();
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

#[test]
fn webhooks_fail_closed_where_they_look_and_look_nowhere_else() {
    let objects = objects(&[]);
    let webhooks: Vec<&Value> = [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ]
    .iter()
    .flat_map(|kind| {
        named(&objects, kind, cluster::INJECTOR)["webhooks"]
            .as_array()
            .unwrap()
    })
    .collect();
    let expected = [
        (
            "pods.palisade.dev",
            cluster::PODS_PATH,
            "NoneOnDryRun",
            Some("IfNeeded"),
            true,
        ),
        (
            "namespaces.palisade.dev",
            cluster::NAMESPACES_PATH,
            "NoneOnDryRun",
            Some("IfNeeded"),
            false,
        ),
        (
            "rules.palisade.dev",
            cluster::RULES_PATH,
            "None",
            None,
            false,
        ),
        (
            "ephemeral.palisade.dev",
            cluster::EPHEMERAL_PATH,
            "None",
            None,
            true,
        ),
    ];
    assert_eq!(webhooks.len(), expected.len());
    for (webhook, (name, path, effects, again, of_members)) in webhooks.into_iter().zip(expected) {
        assert_eq!(webhook["name"], name);
        let service = &webhook["clientConfig"]["service"];
        assert_eq!(service["path"], path);
        assert_eq!(service["name"], cluster::INJECTOR);
        assert_eq!(service["namespace"], cluster::SYSTEM_NAMESPACE);
        assert_eq!(webhook["failurePolicy"], "Fail", "{name}");
        assert_eq!(webhook["matchPolicy"], "Equivalent", "{name}");
        assert_eq!(webhook["timeoutSeconds"], 5, "{name}");
        assert_eq!(webhook["sideEffects"], effects, "{name}");
        assert_eq!(
            webhook.get("reinvocationPolicy").and_then(Value::as_str),
            again,
            "{name}"
        );
        let selector = &webhook["namespaceSelector"];
        assert_eq!(
            selector["matchLabels"][cluster::MEMBER_LABEL] == cluster::ENABLED,
            of_members,
            "{name}"
        );
        if of_members {
            assert_eq!(
                selector["matchExpressions"][0]["values"],
                json!(["kube-system", "palisade-system"])
            );
        }
    }
}

#[test]
fn rules_are_kept_whole_for_the_validator() {
    let objects = objects(&[]);
    for (plural, namespaces) in [
        (cluster::POLICIES, false),
        (cluster::CLUSTER_POLICIES, true),
    ] {
        let crd = named(
            &objects,
            "CustomResourceDefinition",
            &format!("{plural}.{}", cluster::GROUP),
        );
        assert_eq!(
            crd["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["name"], cluster::VERSION);
        assert_eq!(version["subresources"]["status"], json!({}));
        let schema = &version["schema"]["openAPIV3Schema"]["properties"];
        let mut kept = Vec::new();
        check_kept(&schema["spec"], "spec", &mut kept);
        let expected = [
            "spec",
            "spec.rules[]",
            "spec.rules[].from[]",
            "spec.rules[].from[].unauthenticated",
            "spec.target",
        ];
        assert_eq!(kept, expected);
        let target = &schema["spec"]["properties"]["target"]["properties"];
        assert_eq!(target.get("namespaces").is_some(), namespaces);
        let status: BTreeSet<&String> = schema["status"]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        let fields = [
            "conditions",
            "enforcing",
            "observedGeneration",
            "pending",
            "proxies",
            "refusing",
        ];
        assert!(status.into_iter().eq(fields), "{plural}");
    }
}

/// Every object with fields of its own keeps those that it does not know, and every field says what it is.
fn check_kept(schema: &Value, path: &str, kept: &mut Vec<String>) {
    if let Some(items) = schema.get("items") {
        check_kept(items, &format!("{path}[]"), kept);
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    assert_eq!(
        schema["x-kubernetes-preserve-unknown-fields"], true,
        "{path}"
    );
    kept.push(path.to_owned());
    for (name, field) in properties {
        assert!(
            field.get("description").is_some(),
            "{path}.{name} has no description"
        );
        check_kept(field, &format!("{path}.{name}"), kept);
    }
    kept.sort();
}

#[test]
fn both_kinds_of_rules_differ_only_in_whom_they_protect() {
    let objects = objects(&[]);
    let schema = |plural: &str| {
        let crd = named(
            &objects,
            "CustomResourceDefinition",
            &format!("{plural}.{}", cluster::GROUP),
        );
        let mut version = crd["spec"]["versions"][0].clone();
        for at in [
            "/description",
            "/properties/kind",
            "/properties/spec/properties/target/description",
        ] {
            *version
                .pointer_mut(&format!("/schema/openAPIV3Schema{at}"))
                .unwrap() = Value::Null;
        }
        let target = "/schema/openAPIV3Schema/properties/spec/properties/target/properties";
        version
            .pointer_mut(target)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("namespaces");
        version
    };
    assert_eq!(schema(cluster::POLICIES), schema(cluster::CLUSTER_POLICIES));
}

/// One line a right: where, API group, resource, object's name if bound to one, verbs.
#[test]
fn rights_are_these_and_no_others() {
    let read = "get list watch";
    let expected: BTreeSet<String> = [
        format!("ClusterRole palisade-control: /pods {read}"),
        format!("ClusterRole palisade-control: /services {read}"),
        format!("ClusterRole palisade-control: /namespaces {read}"),
        format!("ClusterRole palisade-control: /nodes {read}"),
        format!("ClusterRole palisade-control: /serviceaccounts {read}"),
        format!("ClusterRole palisade-control: discovery.k8s.io/endpointslices {read}"),
        format!("ClusterRole palisade-control: palisade.dev/authorizationpolicies {read}"),
        format!("ClusterRole palisade-control: palisade.dev/clusterauthorizationpolicies {read}"),
        "ClusterRole palisade-control: palisade.dev/authorizationpolicies/status get patch update".into(),
        "ClusterRole palisade-control: palisade.dev/clusterauthorizationpolicies/status get patch update".into(),
        format!("ClusterRole palisade-control: apiextensions.k8s.io/customresourcedefinitions {read}"),
        "ClusterRole palisade-control: authentication.k8s.io/tokenreviews create".into(),
        "ClusterRole palisade-control: authorization.k8s.io/subjectaccessreviews create".into(),
        "ClusterRole palisade-control: /namespaces patch".into(),
        "ClusterRole palisade-control: /configmaps create".into(),
        format!("ClusterRole palisade-control: /configmaps[palisade-trust] {read} update patch delete"),
        format!("ClusterRole palisade-control: admissionregistration.k8s.io/mutatingwebhookconfigurations[palisade-injector] {read} patch"),
        format!("ClusterRole palisade-control: admissionregistration.k8s.io/validatingwebhookconfigurations[palisade-injector] {read} patch"),
        "ClusterRole palisade-control: /events create patch".into(),
        "ClusterRole palisade-control: events.k8s.io/events create patch".into(),
        "Role palisade-control: /secrets create".into(),
        format!("Role palisade-control: /secrets[palisade-ca palisade-webhook-tls] {read} update patch"),
        format!("Role palisade-control: /configmaps {read} create update patch delete"),
        "Role palisade-control: coordination.k8s.io/leases create".into(),
        format!("Role palisade-control: coordination.k8s.io/leases[palisade-control] {read} update patch"),
        format!("ClusterRole palisade-injector: /namespaces {read}"),
        format!("ClusterRole palisade-injector: /limitranges {read}"),
        format!("ClusterRole palisade-injector: /resourcequotas {read}"),
        "ClusterRole palisade-injector: /events create".into(),
        "ClusterRole palisade-injector: events.k8s.io/events create".into(),
        format!("Role palisade-injector: /secrets[palisade-webhook-tls] {read}"),
        format!("Role palisade-injector: /services[palisade-control] {read}"),
        "ClusterRole palisade-policies-admin: palisade.dev/authorizationpolicies create update patch delete deletecollection".into(),
        format!("ClusterRole palisade-policies-view: palisade.dev/authorizationpolicies {read}"),
    ]
    .into();
    assert_eq!(rights(&objects(&[])), expected);
}

fn rights(objects: &[Value]) -> BTreeSet<String> {
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for role in objects
        .iter()
        .filter(|object| text(object, "/kind").ends_with("Role"))
    {
        let whose = format!("{} {}", text(role, "/kind"), text(role, "/metadata/name"));
        for rule in role["rules"].as_array().unwrap() {
            let names = strings(&rule["resourceNames"]).join(" ");
            let names = if names.is_empty() {
                names
            } else {
                format!("[{names}]")
            };
            let verbs = strings(&rule["verbs"]).join(" ");
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    rights.insert(format!("{whose}: {group}/{resource}{names} {verbs}"));
                }
            }
        }
    }
    rights
}

#[test]
fn rules_are_written_by_administrators_and_read_by_viewers() {
    let objects = objects(&[]);
    for (name, label) in [
        ("palisade-policies-admin", "admin"),
        ("palisade-policies-view", "view"),
    ] {
        let labels = named(&objects, "ClusterRole", name)["metadata"]["labels"]
            .as_object()
            .unwrap();
        let aggregated: Vec<&String> = labels
            .keys()
            .filter(|key| key.starts_with("rbac."))
            .collect();
        assert_eq!(
            aggregated,
            [&format!("rbac.authorization.k8s.io/aggregate-to-{label}")]
        );
    }
}
