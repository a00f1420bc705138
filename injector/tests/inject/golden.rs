//! Golden files: objects as people write them, and the decision about each pod in them.
//!
//! `PALISADE_REGENERATE=1 cargo test -p palisade-injector golden` writes what is decided now; read the difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{LimitRange, Pod, PodTemplateSpec, ResourceQuota};
use palisade_injector::inject::{
    Injection, NamespaceFacts, ephemeral, inject, pod_pointer, uninject,
};
use palisade_injector::limits;
use serde_json::{Value, json};

#[test]
fn golden_files_are_decided_as_they_say() {
    let regenerate = std::env::var("PALISADE_REGENERATE").is_ok_and(|value| value == "1");
    let mut seen = 0;
    for input in inputs() {
        let decided = decided(&fs::read_to_string(&input).unwrap());
        let decided = format!("{:#}\n", Value::from(decided));
        let golden = input.with_extension("json");
        if regenerate {
            fs::write(&golden, &decided).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(decided, expected, "{}", input.display());
        seen += 1;
    }
    assert!(seen > 15, "{seen} golden files");
}

fn inputs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut inputs: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    inputs.sort();
    inputs
}

/// The decision about each pod of a stream of documents, in the namespace that the stream describes.
fn decided(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let namespace = namespace(&documents);
    let mut decided = Vec::new();
    for document in &documents {
        let Some(pointer) = pod_pointer(document["kind"].as_str().unwrap()) else {
            continue;
        };
        let pod = document.pointer(pointer).unwrap();
        let mut result = result(pod, &namespace);
        result["object"] = document["metadata"]["name"].clone();
        decided.push(result);
    }
    decided
}

fn result(pod: &Value, namespace: &NamespaceFacts) -> Value {
    if let Err(reasons) = ephemeral(pod) {
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        return json!({ "refused ephemeral containers": reasons });
    }
    match inject(pod, &super::settings(), namespace) {
        Injection::Patch {
            operations,
            warnings,
        } => {
            let after = super::apply(pod, &operations);
            let again = inject(&after, &super::settings(), namespace);
            assert_eq!(again, Injection::AlreadyInjected, "{after:#}");
            let template = json!({"metadata": after["metadata"], "spec": after["spec"]});
            serde_json::from_value::<PodTemplateSpec>(template).unwrap();
            assert!(uninject(&after).is_some());
            json!({"operations": operations, "warnings": warnings})
        }
        Injection::AlreadyInjected => json!("already injected"),
        Injection::Skip(reason) => json!({ "skipped": reason.to_string() }),
        Injection::Refuse(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            json!({ "refused": reasons })
        }
    }
}

fn namespace(documents: &[Value]) -> NamespaceFacts {
    let of = |kind| {
        let of_kind = move |document: &&Value| document["kind"] == kind;
        documents.iter().filter(of_kind).cloned().collect::<Value>()
    };
    let ranges: Vec<LimitRange> = serde_json::from_value(of("LimitRange")).unwrap();
    let quotas: Vec<ResourceQuota> = serde_json::from_value(of("ResourceQuota")).unwrap();
    let annotations = of("Namespace")[0]["metadata"]["annotations"].clone();
    let annotations: Option<BTreeMap<String, String>> =
        serde_json::from_value(annotations).unwrap();
    NamespaceFacts {
        name: "shop".to_owned(),
        annotations: annotations.unwrap_or_default(),
        labels: BTreeMap::new(),
        limits: limits::demanded(&ranges, &quotas),
    }
}

/// What the API server makes of a pod that was injected, before a webhook sees it again.
#[test]
fn what_the_api_server_fills_in_is_no_difference() {
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
    let mut settings = super::settings();
    settings.image_pull_policy = None;
    let namespace = NamespaceFacts::default();
    let Injection::Patch { operations, .. } = inject(&pod, &settings, &namespace) else {
        panic!("no patch");
    };
    let mut after = super::apply(&pod, &operations);
    let spec = &mut after["spec"];
    spec["volumes"][0]["projected"]["defaultMode"] = json!(420);
    for index in 0..2 {
        let container = &mut spec["initContainers"][index];
        container["terminationMessagePath"] = json!("/dev/termination-log");
        container["terminationMessagePolicy"] = json!("File");
        container["imagePullPolicy"] = json!("IfNotPresent");
        container["resources"]["requests"]["ephemeral-storage"] = json!("1Gi");
        container["resources"]["requests"]["cpu"] = json!("0.01");
        let token = json!({"name": "kube-api-access-x", "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
        match container["volumeMounts"].as_array_mut() {
            Some(mounts) => mounts.push(token),
            None => container["volumeMounts"] = json!([token]),
        }
    }
    let proxy = &mut spec["initContainers"][1];
    proxy["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = json!("v1");
    for probe in ["readinessProbe", "startupProbe"] {
        proxy[probe]["httpGet"]["scheme"] = json!("HTTP");
        proxy[probe]["timeoutSeconds"] = json!(1);
        proxy[probe]["successThreshold"] = json!(1);
    }
    proxy["readinessProbe"]["failureThreshold"] = json!(3);
    serde_json::from_value::<Pod>(after.clone()).unwrap();
    assert_eq!(
        inject(&after, &settings, &namespace),
        Injection::AlreadyInjected
    );

    // Anything else is a difference, and is written anew in its place.
    after["spec"]["initContainers"][1]["securityContext"]["runAsUser"] = json!(0);
    let Injection::Patch { operations, .. } = inject(&after, &settings, &namespace) else {
        panic!("no patch");
    };
    let repaired = super::apply(&after, &operations);
    let proxy = &repaired["spec"]["initContainers"][1];
    assert_eq!(proxy["name"], "palisade-proxy");
    assert_eq!(proxy["securityContext"]["runAsUser"], 1337);
}

/// A copy that `kubectl debug` makes of a pod has no probes.
#[test]
fn a_copy_without_probes_gets_a_sidecar_without_them() {
    let probe = json!({"httpGet": {"port": 8080}});
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "app", "image": "app", "livenessProbe": probe}]}});
    let namespace = NamespaceFacts::default();
    let decide = |pod: &Value| {
        let Injection::Patch { operations, .. } = inject(pod, &super::settings(), &namespace)
        else {
            panic!("no patch");
        };
        super::apply(pod, &operations)
    };
    let mut copy = decide(&pod);
    let app = &mut copy["spec"]["containers"][0];
    app.as_object_mut().unwrap().remove("livenessProbe");
    copy["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "debugger", "image": "busybox"}));
    let again = decide(&copy);
    assert!(!again.to_string().contains("PALISADE_PROBES"));
    assert_eq!(
        inject(&again, &super::settings(), &namespace),
        Injection::AlreadyInjected
    );
}
