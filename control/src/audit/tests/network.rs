use super::*;

fn pod(annotations: Value) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "web-0", "labels": {"app": "web"}, "annotations": annotations},
        "spec": {
            "containers": [{"name": "app", "ports": [{"name": "https", "containerPort": 8443}]}],
            "initContainers": [{"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"}],
        },
        "status": {"phase": "Running"},
    })
}

fn policy(spec: Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": "limit"}, "spec": spec})
}

#[test]
fn a_sidecar_must_reach_control() {
    let all_pods = || json!({});
    let egress = |ports: Value| json!({"podSelector": all_pods(), "policyTypes": ["Egress"], "egress": [{"ports": ports}]});
    let closed = || json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    for (specs, expected) in [
        (vec![closed()], 1),
        (
            vec![json!({"podSelector": {}, "policyTypes": ["Ingress"]})],
            0,
        ),
        (
            vec![json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]})],
            0,
        ),
        (vec![closed(), egress(json!([{"port": 15012}]))], 0),
        (vec![egress(json!([{"port": 53, "protocol": "UDP"}]))], 1),
        (vec![egress(json!([{"port": 15012, "protocol": "UDP"}]))], 1),
        (vec![egress(json!([{"port": 15000, "endPort": 16000}]))], 0),
        (vec![egress(json!([]))], 0),
        (
            vec![json!({"podSelector": {}, "egress": [{"ports": [{"port": 443}]}]})],
            1,
        ),
    ] {
        let snapshot = Snapshot {
            pods: Ok(all(vec![pod(json!({}))])),
            network_policies: Ok(all(specs.iter().cloned().map(policy).collect())),
            ..blind()
        };
        let errors = wrong(&super::super::network::judge(&snapshot), Severity::Error);
        assert_eq!(errors.len(), expected, "{specs:?} {errors:?}");
    }
}

#[test]
fn what_the_api_server_calls_is_left_out_of_the_mesh_or_told() {
    let hook = json!({
        "metadata": {"name": "shop-hook"},
        "webhooks": [{
            "name": "hook.shop", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": "shop", "name": "hook"}},
        }],
    });
    let service = |target: Value| {
        json!({
            "metadata": {"namespace": "shop", "name": "hook"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 443, "targetPort": target}]},
        })
    };
    let excluded = |ports: &str| json!({"palisade.dev/exclude-inbound-ports": ports});
    for (target, annotations, expected) in [
        (json!(8443), json!({}), 1),
        (json!(8443), excluded("9090, 8443"), 0),
        (json!("https"), excluded("8443"), 0),
        (json!("https"), excluded("9090"), 1),
    ] {
        let namespace = json!({"metadata": {"name": "shop", "labels": {"mesh.palisade.dev/member": "enabled"}}});
        let snapshot = Snapshot {
            namespaces: Ok(all(vec![namespace])),
            pods: Ok(all(vec![pod(annotations.clone())])),
            services: Ok(all(vec![service(target.clone())])),
            network_policies: Ok(Vec::new()),
            validating: Ok(all(vec![hook.clone()])),
            mutating: Ok(Vec::new()),
            api_services: Ok(Vec::new()),
            definitions: Ok(Vec::new()),
            ..blind()
        };
        let warnings = wrong(&super::super::network::judge(&snapshot), Severity::Warning);
        assert_eq!(
            warnings.len(),
            expected,
            "{target} {annotations} {warnings:?}"
        );
    }
}
