use super::*;
use crate::audit::sidecars::{Reports, judge};

/// A meshed pod whose sidecar runs since then.
fn pod(name: &str, since: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": name, "labels": {"pod-template-hash": "5d"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u", "controller": true},
            ],
        },
        "spec": {"containers": [], "initContainers": [{"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"}]},
        "status": {"initContainerStatuses": [{
            "name": "palisade-proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": since}},
        }]},
    })
}

fn judged(reports: Reports, ready: i32) -> Vec<Finding> {
    let control = json!({
        "metadata": {"name": "palisade-control", "namespace": "palisade-system"},
        "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": {"readyReplicas": ready},
    });
    judge(&Snapshot {
        deployments: Ok(all(vec![control])),
        pods: Ok(all(vec![
            pod("web-5d-a", "2026-11-21T11:00:00Z"),
            pod("web-5d-b", "2026-11-21T11:00:00Z"),
            // It starts.
            pod("web-5d-c", "2026-11-21T11:59:50Z"),
        ])),
        reports: Ok(reports),
        ..blind()
    })
}

fn serving(served: &[&str]) -> Reports {
    Reports {
        replicas: 2,
        served: served.iter().map(|key| (*key).to_owned()).collect(),
        ..Reports::default()
    }
}

#[test]
fn a_sidecar_that_no_replica_serves_is_lost() {
    let well = judged(serving(&["shop/web-5d-a", "shop/web-5d-b"]), 2);
    assert!(
        well.iter().all(|one| one.severity == Severity::Ok),
        "{well:?}"
    );
    let findings = judged(serving(&["shop/web-5d-a"]), 2);
    let errors = wrong(&findings, Severity::Error);
    assert_eq!(errors.len(), 1, "{findings:?}");
    let expected = "Deployment shop/web: 1 of its 2 sidecars have no connection to control";
    assert!(errors[0].starts_with(expected), "{errors:?}");
    let remedy = &findings[0].remedy;
    assert!(
        remedy.starts_with("kubectl -n shop rollout restart deployment/web")
            && remedy.contains("logs web-5d-b -c palisade-proxy"),
        "{remedy}"
    );
}

#[test]
fn without_control_nobody_knows_who_is_lost() {
    for (reports, ready) in [(serving(&[]), 0), (Reports::default(), 2)] {
        let findings = judged(reports, ready);
        assert!(
            findings.iter().all(|one| one.severity == Severity::Unknown),
            "{findings:?}"
        );
    }
}

#[test]
fn addresses_that_the_network_hides_are_found_by_what_control_refuses() {
    let with = |pod: &str, reason: &str| {
        let why = format!("the caller's address 10.0.0.1 is none of pod {pod}'s");
        let reports = Reports {
            refused: [(pod.to_owned(), (reason.to_owned(), why))].into(),
            ..serving(&["shop/web-5d-b"])
        };
        let findings = judged(reports, 2);
        let of_addresses = findings.iter().filter(|one| one.check == "addresses");
        let errors = of_addresses.filter(|one| one.severity == Severity::Error);
        errors.cloned().collect::<Vec<_>>()
    };
    let [found] = &with("shop/web-5d-a", "address")[..] else {
        panic!("one finding")
    };
    assert_eq!(found.place, "Deployment palisade-system/palisade-control");
    assert!(found.what.contains("10.0.0.1"), "{found:?}");
    assert!(found.remedy.contains("--attest-address=off"), "{found:?}");
    // For another reason; one that is served all the same, as by whoever stole its token; one that is gone.
    assert_eq!(with("shop/web-5d-a", "account"), []);
    assert_eq!(with("shop/web-5d-b", "address"), []);
    assert_eq!(with("shop/gone", "address"), []);
}

#[test]
fn each_finding_is_about_an_object() {
    let snapshot = Snapshot {
        namespaces: Ok(all(vec![json!({"metadata": {"name": "shop", "uid": "n"}})])),
        pods: Ok(all(vec![pod("web-5d-a", "2026-11-21T11:00:00Z")])),
        ..blind()
    };
    for (place, expected) in [
        ("", "apps/v1 Deployment palisade-system/palisade-control "),
        ("shop", "v1 Namespace shop/shop n"),
        ("ReplicaSet shop/web-5d", "apps/v1 ReplicaSet shop/web-5d u"),
        (
            "NetworkPolicy shop/a, b",
            "networking.k8s.io/v1 NetworkPolicy shop/a ",
        ),
        ("Node a", "v1 Node /a "),
        ("Rollout shop/web", " Rollout shop/web "),
    ] {
        let found = about(&Finding::error("x", place, "", ""), &snapshot);
        let found = format!(
            "{} {} {}/{} {}",
            found.api_version.unwrap_or_default(),
            found.kind.unwrap_or_default(),
            found.namespace.unwrap_or_default(),
            found.name.unwrap_or_default(),
            found.uid.unwrap_or_default(),
        );
        assert_eq!(found, expected, "{place}");
    }
}
