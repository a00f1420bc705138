//! What comes into the cluster, whatever of the mesh runs or does not run.

mod guarded;
mod names;
mod pods;
mod rights;

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, text, wait_for};

#[test]
fn without_any_webhook_no_pod_of_the_mesh_starts_bare() {
    let mesh = Mesh::alone();
    let (inside, outside) = (mesh.namespace("net"), mesh.cluster().namespace("plain"));
    assert!(create(&inside, &pod("web")).status.success());
    for kind in ["mutating", "validating"] {
        let configuration = format!("{kind}webhookconfiguration");
        stdout(
            &mesh
                .cluster()
                .kubectl(&["delete", &configuration, "palisade-injector"]),
        );
    }
    // The API server forgets a webhook some moments later.
    let refused = wait_for("the webhook to be forgotten", BOUND, || {
        let created = create(&inside, &pod("web"));
        (!created.status.success()).then(|| text(&created.stderr))
    });
    for said in [
        &format!("the namespace {} is in the mesh", inside.name()),
        "this pod has no sidecar",
        "palisade install | kubectl apply -f -",
    ] {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    // Nor with containers that have our names only.
    let mut fake = pod("fake");
    let image = "kube.local/busybox:1";
    fake["spec"]["initContainers"] = json!([
        {"name": "palisade-redirect", "image": image, "command": ["true"]},
        {"name": "palisade-proxy", "image": image, "command": ["sleep", "3600"], "restartPolicy": "Always"},
    ]);
    let refused = text(&create(&inside, &fake).stderr);
    for said in [
        "palisade-redirect.image, palisade-proxy.image",
        "the injector adds them, with an image of kube.local/palisade.",
    ] {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    guarded::only_ours_are_let_in(&inside);
    assert!(create(&outside, &pod("web")).status.success());
    mesh.mend();
    wait_for("the webhook", BOUND, || {
        create(&inside, &pod("web")).status.success().then_some(())
    });
}

#[test]
fn without_an_injector_the_mesh_waits_and_the_rest_goes_on() {
    let mesh = Mesh::alone();
    let (inside, outside) = (mesh.namespace("down"), mesh.cluster().namespace("rest"));
    stdout(&mesh.system(&["scale", "deployment/palisade-injector", "--replicas=0"]));
    let refused = wait_for("the injector to be away", BOUND, || {
        let created = create(&inside, &pod("web"));
        (!created.status.success()).then(|| text(&created.stderr))
    });
    assert!(
        refused.contains("failed calling webhook \"pods.palisade.dev\"")
            && refused.contains("palisade-injector.palisade-system.svc"),
        "{refused}"
    );
    assert!(create(&outside, &pod("web")).status.success());
    // A namespace that has nothing to do with us is made and marked as ever.
    let label = ["label", "namespace", outside.name(), "team=shop"];
    stdout(&mesh.cluster().kubectl(&label));
    mesh.mend();
    wait_for("the injector", BOUND, || {
        create(&inside, &pod("web")).status.success().then_some(())
    });
}

#[test]
fn no_definition_of_rules_may_drop_what_it_does_not_know() {
    let mesh = Mesh::shared();
    let name = "authorizationpolicies.palisade.dev";
    let rules = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let rule = format!("{rules}/properties/rules/items");
    let source = format!("{rule}/properties/from/items");
    for at in [
        rules,
        &format!("{rules}/properties/target"),
        &rule,
        &source,
        &format!("{source}/properties/unauthenticated"),
    ] {
        let path = format!("{at}/x-kubernetes-preserve-unknown-fields");
        let patch = json!([{"op": "remove", "path": path}]).to_string();
        let arguments = [
            "patch",
            "crd",
            name,
            "--type=json",
            "--dry-run=server",
            "-p",
            &patch,
        ];
        let patched = mesh.cluster().kubectl(&arguments);
        let said = text(&patched.stderr);
        assert!(
            !patched.status.success() && said.contains("would drop fields"),
            "{at}: {said}"
        );
    }
    let patch = r#"{"metadata": {"labels": {"kept": "yes"}}}"#;
    let arguments = [
        "patch",
        "crd",
        name,
        "--type=merge",
        "--dry-run=server",
        "-p",
        patch,
    ];
    stdout(&mesh.cluster().kubectl(&arguments));
}

#[test]
fn a_namespace_that_is_annotated_late_is_reported_until_its_pods_are_restarted() {
    let mesh = Mesh::shared();
    let namespace = mesh.cluster().namespace("late");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": pod("web")["spec"]["containers"],
                },
            },
        },
    });
    namespace.apply(&deployment.to_string());
    namespace.rolled_out("deployment/web");
    let unmeshed = || {
        let checked = mesh.palisade(&["check", "-o", "json", "-n", namespace.name()]);
        let said = text(&checked.stdout);
        let found = said.lines().filter(|line| {
            line.contains(r#""check":"unmeshed""#) && line.contains(namespace.name())
        });
        (
            found.map(str::to_owned).collect::<Vec<_>>(),
            checked.status.code(),
        )
    };
    assert_eq!(unmeshed().0, Vec::<String>::new());
    let annotate = [
        "annotate",
        "namespace",
        namespace.name(),
        "palisade.dev/inject=enabled",
    ];
    let warned = text(&mesh.cluster().kubectl(&annotate).stderr);
    assert!(warned.contains("once they are restarted"), "{warned}");
    let (found, code) = unmeshed();
    assert_eq!((found.len(), code), (1, Some(1)), "{found:?}");
    assert!(
        found.iter().all(|found| found.contains("rollout restart")),
        "{found:?}"
    );
    stdout(&namespace.kubectl(&["rollout", "restart", "deployment/web"]));
    namespace.rolled_out("deployment/web");
    wait_for("nothing to report", BOUND, || {
        unmeshed().0.is_empty().then_some(())
    });
}

#[test]
fn whoever_opens_or_joins_the_mesh_is_warned_of_what_the_cluster_itself_does() {
    let mesh = Mesh::shared();
    let namespace = mesh.cluster().namespace("called");
    let name = namespace.name();
    let hook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "hook.example.test",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"service": {"namespace": name, "name": "hook"}},
            "rules": [{"apiGroups": ["example.test"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["none"]}],
        }],
    });
    mesh.cluster().apply(&hook.to_string());
    let join = ["annotate", "namespace", name, "palisade.dev/inject=enabled"];
    let warned = text(&mesh.cluster().kubectl(&join).stderr);
    let delete = ["delete", "validatingwebhookconfiguration", name];
    stdout(&mesh.cluster().kubectl(&delete));
    let expected = format!("calls the Service `hook` for ValidatingWebhookConfiguration {name}");
    assert!(warned.contains(&expected), "{warned}");
    let rule = json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": {"name": "open"},
        "spec": {"rules": [
            {"name": "lb", "effect": "allow", "from": [{"unauthenticated": {"cidr": "10.90.0.0/24"}}]},
        ]},
    });
    let warned = text(&create(&namespace, &rule).stderr);
    assert!(warned.contains("by way of the node `node"), "{warned}");
}

/// A pod that runs for ever.
fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "containers": [{
                "name": "app",
                "image": "kube.local/curl:1",
                "imagePullPolicy": "Never",
                "command": ["sleep", "1000000"],
            }],
        },
    })
}

/// All of its admission, and then nothing of it is kept.
fn create(namespace: &Namespace, pod: &Value) -> Output {
    tried(namespace, &pod.to_string(), &[])
}

/// The same with a stream of objects, and more arguments.
fn tried(namespace: &Namespace, stream: &str, more: &[&str]) -> Output {
    let dry = [
        "kubectl",
        "-n",
        namespace.name(),
        "create",
        "--dry-run=server",
        "-o",
        "json",
        "-f",
        "-",
    ];
    Cluster::shared().fed(&[&dry, more].concat(), stream)
}
