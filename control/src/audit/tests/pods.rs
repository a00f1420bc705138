use super::*;

fn namespace(name: &str, labels: Value, annotations: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}})
}

fn member(name: &str, annotations: Value) -> Value {
    let mut annotations = annotations;
    annotations["palisade.dev/inject"] = json!("enabled");
    namespace(
        name,
        json!({"mesh.palisade.dev/member": "enabled"}),
        annotations,
    )
}

/// A pod that a Deployment made.
fn pod(deployment: &str, number: u32, meshed: bool, annotations: Value) -> Value {
    let sidecar = json!({"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"});
    json!({
        "metadata": {
            "namespace": "shop", "name": format!("{deployment}-6d4f-{number}"),
            "labels": {"pod-template-hash": "6d4f"}, "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-6d4f"),
                "uid": "u", "controller": true,
            }],
        },
        "spec": {"containers": [], "initContainers": if meshed { json!([sidecar]) } else { json!([]) }},
        "status": {"phase": "Running"},
    })
}

fn judged(namespaces: Vec<Value>, pods: Vec<Value>) -> Vec<Finding> {
    meshed::judge(&Snapshot {
        namespaces: Ok(all(namespaces)),
        pods: Ok(all(pods)),
        ..blind()
    })
}

#[test]
fn pods_that_are_older_than_their_namespaces_place_in_the_mesh() {
    let findings = judged(
        vec![
            member("shop", json!({})),
            namespace("other", json!({}), json!({})),
        ],
        vec![
            pod("web", 1, false, json!({})),
            pod("web", 2, true, json!({})),
            pod("orders", 1, true, json!({})),
        ],
    );
    let errors: Vec<&Finding> = findings
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .collect();
    assert_eq!(errors.len(), 1, "{findings:?}");
    assert_eq!(errors[0].place, "Deployment shop/web");
    assert!(
        errors[0]
            .what
            .starts_with("1 of its 2 pods have no sidecar"),
        "{findings:?}"
    );
    assert_eq!(
        errors[0].remedy,
        "kubectl -n shop rollout restart deployment/web"
    );
}

#[test]
fn a_namespace_that_is_not_annotated_is_nobodys_business() {
    let findings = judged(
        vec![namespace("shop", json!({}), json!({}))],
        vec![pod("web", 1, false, json!({}))],
    );
    assert!(
        findings.iter().all(|one| one.severity == Severity::Ok),
        "{findings:?}"
    );
}

#[test]
fn a_mistyped_annotation_is_told_with_what_to_write_instead() {
    let annotations = json!({
        "palisade.dev/mtls": "permisive", "palisade.dev/authorisation": "shadow",
        "palisade.dev/allow-opt-out": "true", "example.org/mtls": "permisive",
    });
    let findings = judged(vec![namespace("shop", json!({}), annotations)], Vec::new());
    let warned: Vec<_> = findings
        .iter()
        .filter(|one| one.severity == Severity::Warning)
        .map(|one| format!("{}: {}; {}", one.place, one.what, one.remedy))
        .collect();
    let [key, word] = warned.as_slice() else {
        panic!("{findings:?}");
    };
    assert!(
        key.contains("no annotation \"palisade.dev/authorisation\""),
        "{key}"
    );
    assert!(key.contains("palisade.dev/authorization"), "{key}");
    assert!(
        word.starts_with("shop: ") && word.contains("permisive"),
        "{word}"
    );
    assert!(word.contains("did you mean `permissive`?"), "{word}");
}

#[test]
fn namespaces_between_out_and_in() {
    let level = "pod-security.kubernetes.io/enforce";
    for (of_it, expected) in [
        (
            namespace("shop", json!({}), json!({"palisade.dev/inject": "enabled"})),
            "it asks for the mesh, and its label is missing",
        ),
        (
            namespace(
                "shop",
                json!({"mesh.palisade.dev/member": "enabled"}),
                json!({}),
            ),
            "it no longer asks for the mesh, and still has its label",
        ),
        (
            namespace(
                "shop",
                json!({"mesh.palisade.dev/member": "enabled", "palisade.dev/inject": "enabled", level: "restricted"}),
                json!({}),
            ),
            "its pod-security level restricted refuses every meshed pod",
        ),
    ] {
        let errors = wrong(&judged(vec![of_it], vec![]), Severity::Error);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with(&format!("shop: {expected}")),
            "{errors:?}"
        );
    }
}

#[test]
fn exemptions_in_force_are_listed() {
    let allowed = json!({"palisade.dev/allow-opt-out": "true"});
    let findings = judged(
        vec![member("shop", allowed)],
        vec![
            pod(
                "batch",
                1,
                false,
                json!({"palisade.dev/inject": "disabled"}),
            ),
            pod(
                "web",
                1,
                true,
                json!({"palisade.dev/exclude-inbound-ports": "9090,9100"}),
            ),
        ],
    );
    assert_eq!(
        wrong(&findings, Severity::Warning),
        [
            "Deployment shop/batch: it is not meshed, since it has opted out",
            "Deployment shop/web: it is reached without the mesh on ports 9090,9100",
        ]
    );
    assert!(wrong(&findings, Severity::Error).is_empty(), "{findings:?}");
    let unallowed = judged(
        vec![member("shop", json!({}))],
        vec![pod(
            "batch",
            1,
            false,
            json!({"palisade.dev/inject": "disabled"}),
        )],
    );
    assert_eq!(
        wrong(&unallowed, Severity::Error).len(),
        1,
        "it must not opt out: {unallowed:?}"
    );
}

#[test]
fn refused_pods_are_told_for_ten_minutes_with_the_way_out() {
    let event = |name: &str, reason: &str, message: &str, time: &str| {
        json!({
            "metadata": {"namespace": "shop", "name": format!("{name}.1")}, "reason": reason, "message": message,
            "lastTimestamp": time,
            "involvedObject": {"namespace": "shop", "kind": "ReplicaSet", "name": name},
        })
    };
    let refused =
        r#"admission webhook "pods.palisade.dev" denied the request: the container runs as 1337"#;
    let snapshot = Snapshot {
        events: Ok(all(vec![
            event("web-6d4f", "FailedCreate", refused, "2026-11-21T11:55:00Z"),
            event(
                "web-6d4f",
                "FailedCreate",
                "palisade: first",
                "2026-11-21T11:54:00Z",
            ),
            event("old-6d4f", "FailedCreate", refused, "2026-11-21T11:00:00Z"),
            event(
                "quota-6d4f",
                "FailedCreate",
                "exceeded quota",
                "2026-11-21T11:59:00Z",
            ),
            event(
                "fine-6d4f",
                "SuccessfulCreate",
                "palisade",
                "2026-11-21T11:59:00Z",
            ),
        ])),
        ..blind()
    };
    let findings = backoff::judge(&snapshot);
    assert_eq!(
        wrong(&findings, Severity::Error),
        [format!(
            "ReplicaSet shop/web-6d4f: its pods were refused: {refused}"
        )]
    );
    assert!(
        findings[0]
            .remedy
            .ends_with("kubectl -n shop rollout restart deployment/web")
    );
}
