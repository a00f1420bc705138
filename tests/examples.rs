//! Every file under `examples/` is run, or read by what would read it.

use std::path::{Path, PathBuf};

use palisade_api::manifest;

use crate::harness::{Mesh, User, palisade, repository, wait_until};

#[test]
fn the_shop_generates_its_traffic_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(folder, &repository("examples/local/shop.yaml"), User::Own);
    mesh.wait_for("the shop to be up", |line| line["event"] == "up");
    let rules = [
        ("web-0", "shop/orders/web-places-orders"),
        ("orders-", "shop/db/orders-keeps-its-books"),
    ];
    for (caller, rule) in rules {
        mesh.both_sides("close", |r| {
            r["src.workload"]
                .as_str()
                .is_some_and(|name| name.starts_with(caller))
                && r["bytes_recv"].as_u64() > Some(0)
        });
        mesh.record(rule, |r| {
            r["policy.rule"] == rule && r["policy.decision"] == "allow"
        });
    }
    // Its one connection is kept, and is recorded while it lives.
    mesh.both_sides("open", |r| r["src.workload"] == "batch-0");
    for service in ["shop/orders", "shop/db"] {
        let (_, inbound) = mesh.both_sides("denied", |r| {
            r["src.workload"] == "intruder-0" && r["dst.service"] == service
        });
        assert_eq!(inbound["policy.reason"], "no_rule");
        assert!(inbound["policy.near_miss"].is_string());
    }
}

#[test]
fn the_mesh_of_real_servers_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(
        folder,
        &repository("examples/local/servers.yaml"),
        User::Own,
    );
    wait_until(
        "control to accept the rules, and every pod to have a sidecar",
        || {
            let ps = mesh.palisade().args(["ps", "-o", "json"]).output().unwrap();
            let pods = crate::harness::json_lines(&ps.stdout);
            let has_sidecar = |pod: &serde_json::Value| pod["pids"]["proxy"].is_u64();
            (pods.len() == 4 && pods.iter().all(has_sidecar)).then_some(())
        },
    );
    assert!(!mesh.stderr().contains("error"), "{}", mesh.stderr());
}

#[test]
fn every_pod_of_the_shop_on_kubernetes_gets_a_sidecar_and_gives_it_back() {
    let file = repository("examples/kubernetes/shop.yaml");
    let original = std::fs::read_to_string(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let said = |task: &str, file: &Path| {
        let mut command = palisade(folder.path());
        let output = command.args([task, "-f"]).arg(file).output().unwrap();
        assert!(output.status.success(), "{task}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let injected = said("inject", &file);
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&injected).unwrap();
    let deployments = objects
        .iter()
        .filter(|object| object["kind"] == "Deployment");
    let has_sidecar = |object: &&serde_json::Value| {
        let containers = object["spec"]["template"]["spec"]["initContainers"].as_array();
        containers.is_some_and(|all| all.iter().any(|one| one["name"] == "palisade-proxy"))
    };
    let deployments: Vec<_> = deployments.collect();
    assert_eq!(deployments.len(), 5);
    assert!(deployments.iter().all(has_sidecar), "{injected}");

    let copy = folder.path().join("injected.yaml");
    std::fs::write(&copy, injected).unwrap();
    assert_eq!(said("uninject", &copy), original);
}

#[test]
fn every_example_is_a_mesh_that_is_run_or_rules_that_are_read() {
    // The tests above, and one on a real cluster.
    let run = ["local/shop.yaml", "local/servers.yaml"];
    let objects = ["kubernetes/shop.yaml", "policies/workloads.yaml"];
    let examples = repository("examples");
    let mut seen = 0;
    for file in files(&examples) {
        let name = file
            .strip_prefix(&examples)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        if text.contains("kind: LocalMesh") {
            assert!(run.contains(&name.as_str()), "no test runs {name}");
            seen += 1;
        } else if objects.contains(&name.as_str()) {
            seen += 1;
        } else if text.contains("kind: PolicyTest") && !name.ends_with(".md") {
            let read = manifest::read_tests(&name, &text);
            assert!(read.is_ok_and(|tests| !tests.is_empty()), "{name}");
        } else if !name.ends_with(".md") {
            let read = manifest::parse(&name, &text);
            assert!(read.is_ok_and(|documents| !documents.is_empty()), "{name}");
        }
    }
    assert_eq!(seen, run.len() + objects.len());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
