//! Pods on their way into the mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{create, pod};
use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_for};

#[path = "../../../injector/tests/pods/mod.rs"]
mod generate;

const GENERATED: usize = 60;

#[test]
fn every_pod_that_the_api_server_takes_it_takes_into_the_mesh() {
    let mesh = Mesh::shared();
    let (inside, outside) = (mesh.namespace("any"), mesh.cluster().namespace("any-bare"));
    let mut runner = TestRunner::deterministic();
    let pods: Vec<_> = (0..GENERATED)
        .map(|number| {
            let mut pod = generate::pod("generated")
                .new_tree(&mut runner)
                .unwrap()
                .current();
            pod["metadata"]["name"] = format!("generated-{number}").into();
            pod.to_string()
        })
        .collect();
    let stream = pods.join("\n---\n");
    let (bare, refusals) = created(&outside, &stream);
    assert!(
        bare.len() * 10 >= GENERATED * 9,
        "{} of {GENERATED}: {refusals}",
        bare.len()
    );
    let (meshed, refusals) = created(&inside, &stream);
    for (name, bare) in &bare {
        let meshed = meshed
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {refusals}"));
        let init = containers(meshed, "initContainers");
        let (ours, theirs) = init.split_at_checked(2).unwrap();
        let names: Vec<_> = ours.iter().map(|container| &container["name"]).collect();
        assert_eq!(names, ["palisade-redirect", "palisade-proxy"]);
        assert_eq!(theirs, containers(bare, "initContainers"), "{name}");
        assert_eq!(
            containers(meshed, "containers"),
            containers(bare, "containers"),
            "{name}"
        );
    }
    println!(
        "{} generated pods in the mesh, of {} that are valid",
        meshed.len(),
        bare.len()
    );
}

/// By name, what the API server made of the pods that it took; and what it said of the others.
fn created(namespace: &Namespace, stream: &str) -> (BTreeMap<String, Value>, String) {
    let output = super::tried(namespace, stream, &[]);
    let pods = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let pods = pods.map(Result::unwrap).map(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        (name, pod)
    });
    (pods.collect(), text(&output.stderr))
}

/// A list of containers without what the mesh may change, and what the API server names at random.
fn containers(pod: &Value, list: &str) -> Vec<Value> {
    let mut containers = pod["spec"][list].as_array().cloned().unwrap_or_default();
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        for changed in [
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            container.remove(changed);
        }
        let mounts = container
            .get_mut("volumeMounts")
            .and_then(Value::as_array_mut);
        for mount in mounts.into_iter().flatten() {
            let name = mount["name"].as_str().unwrap();
            if name.starts_with("kube-api-access-") {
                mount["name"] = "kube-api-access".into();
            }
        }
    }
    containers
}

#[test]
fn what_cannot_be_meshed_is_said_and_what_must_not_be_is_refused() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("refuse");
    let mut host = pod("host");
    host["spec"]["hostNetwork"] = true.into();
    let skipped = create(&namespace, &host);
    let warned = text(&skipped.stderr);
    assert!(
        skipped.status.success() && warned.contains("the pod stays outside of the mesh"),
        "{skipped:?}"
    );
    assert!(!text(&skipped.stdout).contains("palisade-proxy"));
    // A pod that no node has to run.
    host["spec"]["nodeSelector"] = json!({"nowhere": "yes"});
    namespace.apply(&host.to_string());
    wait_for("an Event about the pod", BOUND, || {
        let path = r#"{.items[?(@.reason=="NotInMesh")].involvedObject['kind','name']}"#;
        (namespace.words(&["events"], path) == ["Pod", "host"]).then_some(())
    });
    let mut ours = pod("ours");
    ours["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 1337});
    let refused = text(&create(&namespace, &ours).stderr);
    assert!(
        refused.contains("spec.containers[0].securityContext.runAsUser: uid 1337 is the sidecar's"),
        "{refused}"
    );
    let mut waits = pod("waits");
    waits["spec"]["nodeSelector"] = json!({"nowhere": "yes"});
    namespace.apply(&waits.to_string());
    let debug = |uid: u32| {
        let ephemeral = json!({
            "name": format!("debug-{uid}"),
            "image": "kube.local/curl:1",
            "securityContext": {"runAsUser": uid},
        });
        let patch = json!({"spec": {"ephemeralContainers": [ephemeral]}}).to_string();
        let sub = "--subresource=ephemeralcontainers";
        namespace.kubectl(&[
            "patch",
            "pod",
            "waits",
            sub,
            "--type=strategic",
            "-p",
            &patch,
        ])
    };
    let refused = text(&debug(1337).stderr);
    assert!(refused.contains("uid 1337 is the sidecar's"), "{refused}");
    stdout(&debug(1000));
}

#[test]
fn a_review_takes_milliseconds() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("latency");
    // One stream of a hundred pods, so that kubectl's own start counts once.
    let pods: Vec<_> = (0..100)
        .map(|number| pod(&format!("web-{number}")).to_string())
        .collect();
    let stream = pods.join("\n---\n");
    let before = reviews(&mesh);
    let run = |namespace: &str| {
        let start = OffsetDateTime::now_utc();
        let dry = [
            "kubectl",
            "-n",
            namespace,
            "create",
            "--dry-run=server",
            "-f",
            "-",
        ];
        assert_eq!(
            stdout(&mesh.cluster().fed(&dry, &stream)).lines().count(),
            100
        );
        Duration::try_from(OffsetDateTime::now_utc() - start).unwrap()
    };
    let plain = mesh.cluster().namespace("unhurried");
    let (outside, inside) = (run(plain.name()), run(namespace.name()));
    let buckets: Vec<_> = reviews(&mesh)
        .into_iter()
        .zip(before)
        .map(|((le, after), (_, before))| (le, after - before))
        .collect();
    let total = buckets.last().unwrap().1;
    assert!(total >= 100, "{buckets:?}");
    let below = |percent: u64| {
        let (le, _) = buckets
            .iter()
            .find(|(_, count)| count * 100 >= total * percent)
            .unwrap();
        le.as_str()
    };
    println!(
        "a review, by the injector: p50 <= {} s, p99 <= {} s; a pod by kubectl: {:?} outside, {:?} inside of the mesh",
        below(50),
        below(99),
        outside / 100,
        inside / 100
    );
    assert!(below(99).parse::<f64>().unwrap() <= 1.0, "{buckets:?}");
}

/// Of both replicas: how many reviews of pods took at most so long, the bounds in their order.
fn reviews(mesh: &Mesh) -> Vec<(String, u64)> {
    let injector = "app.kubernetes.io/name=palisade-injector";
    let pods = [
        "get",
        "pods",
        "-l",
        injector,
        "-o",
        "jsonpath={.items[*].status.podIP}",
    ];
    let bounds = [
        "0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.5", "1.0", "5.0",
        "+Inf",
    ];
    let mut counts = bounds.map(|le| (le.to_owned(), 0));
    for addr in stdout(&mesh.system(&pods)).split_whitespace() {
        let url = format!("http://{addr}:15020/metrics");
        let metrics =
            stdout(
                &mesh
                    .cluster()
                    .run(&["exec", "curl", "-sS", "--max-time", "10", &url]),
            );
        for (le, count) in &mut counts {
            let line = format!("review_seconds_bucket{{le=\"{le}\",path=\"pods\"}} ");
            let found = metrics.lines().find_map(|found| found.split_once(&line));
            *count += found.map_or(0, |(_, count)| count.parse::<u64>().unwrap());
        }
    }
    counts.into()
}
