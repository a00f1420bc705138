//! Whoever may only edit pods takes the place of no container of the mesh.

use palisade_injector::inject::{NamespaceFacts, Resources, Settings, rewrite};
use serde_json::{Value, json};

use super::pod;
use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, text, wait_for};

#[test]
fn whoever_may_edit_pods_changes_their_own_containers_only() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("kept");
    let bind = ["create", "rolebinding", "edit", "--clusterrole=edit"];
    stdout(&namespace.kubectl(&[&bind[..], &["--user=eddie"]].concat()));
    // No node has to run it.
    let mut waits = pod("waits");
    waits["spec"]["nodeSelector"] = json!({"nowhere": "yes"});
    namespace.apply(&waits.to_string());
    let set = |container: &str| {
        let image = format!("{container}=kube.local/busybox:1");
        namespace.kubectl(&["set", "image", "pod/waits", &image, "--as=eddie"])
    };
    // A role that is bound counts some moments later.
    wait_for("eddie to edit", BOUND, || {
        set("app").status.success().then_some(())
    });
    for ours in ["palisade-proxy", "palisade-redirect"] {
        let refused = set(ours);
        let said = text(&refused.stderr);
        assert!(
            !refused.status.success()
                && said.contains("are the mesh's own and stay as they are")
                && said.contains("kubectl rollout restart"),
            "{ours}: {said}"
        );
    }
    let label = ["label", "pod", "waits", "team=shop", "--as=eddie"];
    stdout(&namespace.kubectl(&label));
    stdout(&namespace.kubectl(&["delete", "pod", "waits", "--as=eddie"]));
}

/// With no webhook, of pods that bring containers with our names those alone are let in that the injector made.
pub(super) fn only_ours_are_let_in(namespace: &Namespace) {
    let ours = injected(namespace);
    let named = |name: &str, change: Change| {
        let mut pod = ours.clone();
        change(&mut pod);
        pod["metadata"]["name"] = name.into();
        pod.to_string()
    };
    let good: Vec<_> = SAME.iter().map(|change| named("same", *change)).collect();
    let (created, refused) = create(namespace, &good);
    assert_eq!(created.lines().count(), SAME.len(), "{refused}");
    let pods: Vec<_> = DIFFERENT
        .iter()
        .enumerate()
        .map(|(number, (_, change))| named(&format!("differs-{number}"), *change))
        .collect();
    let (created, refused) = create(namespace, &pods);
    assert_eq!(created, "");
    for (number, (difference, _)) in DIFFERENT.iter().enumerate() {
        let name = format!("\"differs-{number}\"");
        let said = refused.lines().find(|line| line.contains(&name));
        let said = said.unwrap_or_else(|| panic!("{difference}: {refused}"));
        let named = format!("are not what its injector writes: {difference}. Leave ");
        assert!(said.contains(&named), "{difference}: {said}");
    }
}

/// A pod as the injector makes it, with a volume of the user's beside.
fn injected(namespace: &Namespace) -> Value {
    let settings = Settings {
        image: namespace.cluster().palisade_image().to_owned(),
        image_pull_policy: None,
        trust_domain: "cluster.local".to_owned(),
        control: vec!["palisade-control.palisade-system.svc:15012".to_owned()],
        resources: Resources {
            cpu_request: "10m".parse().unwrap(),
            memory_request: "32Mi".parse().unwrap(),
        },
    };
    let facts = NamespaceFacts {
        name: namespace.name().to_owned(),
        ..NamespaceFacts::default()
    };
    let mut pod = pod("web");
    pod["metadata"]["annotations"] = json!({
        "palisade.dev/proxy-cpu-request": "20m",
        "palisade.dev/proxy-memory-limit": "128Mi",
    });
    pod["spec"]["volumes"] = json!([{"name": "mine", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}});
    rewrite(&pod, &settings, &facts).unwrap().pod
}

/// What kubectl says of pods that are not kept, and of those that are refused.
fn create(namespace: &Namespace, pods: &[String]) -> (String, String) {
    let name = namespace.name();
    let dry = ["kubectl", "-n", name, "create", "--dry-run=server"];
    let said = Cluster::shared().fed(&[&dry[..], &["-f", "-"]].concat(), &pods.join("\n---\n"));
    (text(&said.stdout), text(&said.stderr))
}

fn redirect(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["initContainers"][0]
}

fn proxy(pod: &mut Value) -> &mut Value {
    &mut pod["spec"]["initContainers"][1]
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}

/// The variable of that name.
fn variable<'a>(container: &'a mut Value, name: &str) -> &'a mut Value {
    let mut variables = container["env"].as_array_mut().unwrap().iter_mut();
    variables.find(|item| item["name"] == name).unwrap()
}

/// What somebody does to a pod.
type Change = fn(&mut Value);

/// What is no difference: as it is, other versions, and what other webhooks add to every container.
const SAME: &[Change] = &[
    |_| {},
    |pod| proxy(pod)["image"] = "kube.local/palisade:next".into(),
    |pod| {
        redirect(pod)["image"] = format!("kube.local/palisade:1@sha256:{}", "0".repeat(64)).into()
    },
    |pod| {
        let variable = json!({"name": "AWS_REGION", "value": "eu-central-1"});
        push(&mut proxy(pod)["env"], variable);
        let mount = json!({"name": "mine", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount"});
        push(&mut proxy(pod)["volumeMounts"], mount);
    },
];

/// Each difference by itself, as the refusal names it.
const DIFFERENT: &[(&str, Change)] = &[
    ("palisade-proxy.image", |pod| {
        proxy(pod)["image"] = "kube.local/busybox:1".into();
    }),
    // Another registry whose host is named as the installed repository begins.
    ("palisade-proxy.image", |pod| {
        proxy(pod)["image"] = "kube.local/palisade:5000/evil:1".into();
    }),
    ("palisade-redirect.image", |pod| {
        redirect(pod)["image"] = "kube.local/palisade-evil:1".into();
    }),
    ("palisade-proxy.command", |pod| {
        proxy(pod)["command"] = json!(["sleep", "3600"]);
    }),
    // The image's entry point is another program.
    ("palisade-proxy.command", |pod| {
        proxy(pod).as_object_mut().unwrap().remove("command");
    }),
    ("palisade-redirect.command", |pod| {
        redirect(pod)["command"] = json!(["true"]);
    }),
    ("palisade-proxy.args", |pod| {
        proxy(pod)["args"] = json!(["run", "--bypass"]);
    }),
    ("palisade-redirect.args", |pod| {
        redirect(pod)["args"] = json!(["redirect", "--check"]);
    }),
    ("palisade-redirect.restartPolicy", |pod| {
        redirect(pod)["restartPolicy"] = "Always".into();
    }),
    ("palisade-proxy.securityContext.runAsUser", |pod| {
        proxy(pod)["securityContext"]["runAsUser"] = 1000.into();
    }),
    ("palisade-redirect.securityContext.runAsUser", |pod| {
        redirect(pod)["securityContext"]["runAsUser"] = 1000.into();
    }),
    ("palisade-proxy.securityContext.capabilities", |pod| {
        proxy(pod)["securityContext"]["capabilities"]["add"] = json!(["NET_ADMIN"]);
    }),
    ("palisade-redirect.securityContext.capabilities", |pod| {
        redirect(pod)["securityContext"]["capabilities"] = json!({});
    }),
    ("palisade-proxy.lifecycle", |pod| {
        proxy(pod)["lifecycle"] = json!({"postStart": {"exec": {"command": ["/palisade"]}}});
    }),
    ("palisade-proxy (a probe that runs a command)", |pod| {
        proxy(pod)["livenessProbe"] = json!({"exec": {"command": ["/palisade"]}});
    }),
    ("palisade-proxy.envFrom", |pod| {
        proxy(pod)["envFrom"] = json!([{"configMapRef": {"name": "mine"}}]);
    }),
    ("palisade-proxy.env", |pod| {
        let variable = json!({"name": "PALISADE_BYPASS", "value": "true"});
        push(&mut proxy(pod)["env"], variable);
    }),
    ("palisade-proxy.env", |pod| {
        variable(proxy(pod), "PALISADE_TRUST_ANCHOR")["value"] = "/etc/mine/ca.crt".into();
    }),
    ("palisade-proxy.env", |pod| {
        *variable(proxy(pod), "POD_NAME") = json!({"name": "POD_NAME", "value": "another"});
    }),
    ("palisade-proxy.env (twice the same)", |pod| {
        let anchor = variable(proxy(pod), "PALISADE_TRUST_ANCHOR").clone();
        push(&mut proxy(pod)["env"], anchor);
    }),
    // Its namespace does not allow to opt out.
    ("palisade-redirect.env", |pod| {
        let variable = json!({"name": "PALISADE_EXCLUDE_INBOUND_PORT", "value": "8080"});
        push(&mut redirect(pod)["env"], variable);
    }),
    ("palisade-redirect.env (PALISADE_DROP_DATAGRAMS)", |pod| {
        redirect(pod)["env"] = json!([]);
    }),
    ("palisade-redirect.volumeMounts", |pod| {
        redirect(pod)["volumeMounts"] = json!([{"name": "mine", "mountPath": "/palisade"}]);
    }),
    ("palisade-proxy.volumeMounts", |pod| {
        let mount = json!({"name": "mine", "mountPath": "/etc/../palisade"});
        push(&mut proxy(pod)["volumeMounts"], mount);
    }),
    ("palisade-proxy.volumeMounts", |pod| {
        let mount = json!({"name": "mine", "mountPath": "/var/run/secrets/palisade/ca.crt"});
        push(&mut proxy(pod)["volumeMounts"], mount);
    }),
    ("the volume palisade-identity", |pod| {
        let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
        let identity = volumes
            .iter_mut()
            .find(|item| item["name"] == "palisade-identity");
        identity.unwrap()["projected"]["sources"][1]["configMap"]["name"] = "mine".into();
    }),
    (
        "initContainers (palisade-redirect, then palisade-proxy, then others)",
        |pod| {
            let mine = json!({"name": "mine", "image": "kube.local/busybox:1"});
            let list = pod["spec"]["initContainers"].as_array_mut().unwrap();
            list.insert(0, mine);
        },
    ),
];
