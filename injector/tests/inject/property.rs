//! What holds for every pod.

use k8s_openapi::api::core::v1::{Container, Pod};
use palisade_api::probe::{Ask, Probes};
use palisade_injector::inject::{Injection, NamespaceFacts, inject, uninject};
use palisade_injector::patch;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::pods::pod;

const PROBES: [(&str, &str); 5] = [
    ("liveness", "/livenessProbe"),
    ("readiness", "/readinessProbe"),
    ("startup", "/startupProbe"),
    ("postStart", "/lifecycle/postStart"),
    ("preStop", "/lifecycle/preStop"),
];

proptest! {
    #[test]
    fn a_pod_is_injected_once_and_keeps_what_is_the_users(before in pod("web")) {
        let namespace = NamespaceFacts::default();
        let settings = super::settings();
        let Injection::Patch { operations, .. } = inject(&before, &settings, &namespace) else {
            panic!("no patch for {before:#}");
        };
        let after = super::apply(&before, &operations);
        prop_assert_eq!(inject(&after, &settings, &namespace), Injection::AlreadyInjected);
        let typed: Pod = serde_json::from_value(after.clone()).unwrap();
        let init = typed.spec.as_ref().unwrap().init_containers.as_deref().unwrap();
        let names: Vec<_> = init.iter().take(2).map(|container| container.name.as_str()).collect();
        prop_assert_eq!(names, ["palisade-redirect", "palisade-proxy"]);
        names_are_unique(&typed);

        let probes = probes(&init[1]);
        let mut used = 0;
        for (list, skipped) in [("containers", 0), ("initContainers", 2)] {
            let old = containers(&before, list);
            let new = &containers(&after, list)[skipped..];
            prop_assert_eq!(old.len(), new.len());
            for (old, new) in old.iter().zip(new) {
                used += unchanged_but_for_probes(old, new, &probes);
            }
        }
        prop_assert_eq!(used, probes.len());
        prop_assert_eq!(guarantee(&before), guarantee(&after));

        let back = uninject(&after).unwrap();
        prop_assert_eq!(uninject(&back), None);
        let again = super::apply(&back, &patch::between(&back, &after));
        prop_assert_eq!(&again, &after);
        prop_assert_eq!(numbered(&back), numbered(&before));
    }
}

fn containers<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    pod["spec"][list].as_array().map_or(&[], Vec::as_slice)
}

fn names_are_unique(pod: &Pod) {
    let spec = pod.spec.as_ref().unwrap();
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let mut names: Vec<&str> = all.map(|container| container.name.as_str()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// As the proxy reads them: `$$` was made one dollar by the kubelet.
fn probes(proxy: &Container) -> Probes {
    let mut env = proxy.env.iter().flatten();
    let written = env.find(|variable| variable.name == "PALISADE_PROBES");
    written.map_or_else(Probes::new, |written| {
        let json = written.value.as_deref().unwrap().replace("$$", "$");
        serde_json::from_str(&json).unwrap()
    })
}

/// How many of its probes were rewritten; each says to the sidecar what it asked before.
fn unchanged_but_for_probes(old: &Value, new: &Value, probes: &Probes) -> usize {
    let (mut old_rest, mut new_rest) = (old.clone(), new.clone());
    let mut rewritten = 0;
    for (kind, pointer) in PROBES {
        let (Some(asked), Some(asks)) = (old.pointer(pointer), new.pointer(pointer)) else {
            assert_eq!(old.pointer(pointer), new.pointer(pointer));
            continue;
        };
        let path = format!("/probe/{}/{kind}", old["name"].as_str().unwrap());
        let is_elsewhere = asked["httpGet"].get("host").is_some();
        if asked.get("exec").is_some() || is_elsewhere {
            assert_eq!(asked, asks);
            assert!(!probes.contains_key(&path));
            continue;
        }
        rewritten += 1;
        assert_eq!(asks["httpGet"], json!({"port": 15020, "path": path}));
        let probe = &probes[&path];
        asks_the_same(old, asked, &probe.ask);
        if !pointer.starts_with("/lifecycle") {
            let timeout = asked
                .get("timeoutSeconds")
                .map_or(1, |seconds| seconds.as_u64().unwrap());
            assert_eq!(u64::from(probe.timeout_seconds), timeout);
        }
        for (rest, value) in [(&mut old_rest, asked), (&mut new_rest, asks)] {
            let mut value = value.clone();
            for handler in ["httpGet", "tcpSocket", "grpc"] {
                value.as_object_mut().unwrap().remove(handler);
            }
            *rest.pointer_mut(pointer).unwrap() = value;
        }
    }
    assert_eq!(old_rest, new_rest);
    rewritten
}

fn asks_the_same(container: &Value, asked: &Value, ask: &Ask) {
    let resolve = |port: &Value| match port.as_str() {
        Some(_) => container["ports"][0]["containerPort"].clone(),
        None => port.clone(),
    };
    match ask {
        Ask::HttpGet(get) => {
            let asked = &asked["httpGet"];
            assert_eq!(json!(get.port), resolve(&asked["port"]));
            let path = asked.get("path").map_or("/", |path| path.as_str().unwrap());
            assert_eq!(get.path, path);
            assert_eq!(get.https, asked.get("scheme") == Some(&json!("HTTPS")));
            let headers: Vec<Value> = get
                .headers
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            let written = asked.get("httpHeaders").cloned().unwrap_or(json!([]));
            assert_eq!(Value::from(headers), written);
        }
        Ask::TcpSocket { port } => assert_eq!(json!(port), resolve(&asked["tcpSocket"]["port"])),
        Ask::Grpc { port, service } => {
            assert_eq!(json!(port), asked["grpc"]["port"]);
            let written = asked["grpc"]
                .get("service")
                .map_or("", |name| name.as_str().unwrap());
            assert_eq!(service, written);
        }
    }
}

/// Whether every container has limits, and no requests but those.
fn guarantee(pod: &Value) -> bool {
    let all = containers(pod, "containers")
        .iter()
        .chain(containers(pod, "initContainers"));
    let mut all = all.map(|container| &container["resources"]);
    all.all(|resources| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = &resources["limits"][name];
            let request = &resources["requests"][name];
            // The generator's 100m and 0.1 are the same.
            let is_same = request == limit || (request == "100m" && limit == "0.1");
            !limit.is_null() && (request.is_null() || is_same)
        })
    })
}

/// The pod with what it leaves to Kubernetes written out: names of ports, a probe's path, scheme and service.
fn numbered(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let web = container["ports"][0]["containerPort"].clone();
            for (_, pointer) in PROBES {
                let Some(probe) = container.pointer_mut(pointer) else {
                    continue;
                };
                for handler in ["httpGet", "tcpSocket"] {
                    let Some(asked) = probe.get_mut(handler).and_then(Value::as_object_mut) else {
                        continue;
                    };
                    if asked["port"] == "web" {
                        asked["port"] = web.clone();
                    }
                    if handler == "httpGet" {
                        asked.entry("path").or_insert_with(|| json!("/"));
                        asked.entry("scheme").or_insert_with(|| json!("HTTP"));
                    }
                }
            }
        }
    }
    pod
}
