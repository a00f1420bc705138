use super::*;

fn certificate(days: i64) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["x".into()]).unwrap();
    params.not_before = blind().now - time::Duration::days(300);
    params.not_after = blind().now + time::Duration::days(days);
    params.self_signed(&key).unwrap().pem().into_bytes()
}

fn text(pem: &[u8]) -> String {
    String::from_utf8(pem.to_vec()).unwrap()
}

#[test]
fn definitions_deployments_and_the_net_must_be_there() {
    let definition = |name: &str, version: &str, established: &str| {
        json!({
            "metadata": {"name": name},
            "spec": {
                "group": "palisade.dev", "scope": "Namespaced", "names": {"kind": "K", "plural": "p"},
                "versions": [{"name": version, "served": true, "storage": true}],
            },
            "status": {"conditions": [{"type": "Established", "status": established}]},
        })
    };
    let deployment = |name: &str, ready: i32| {
        json!({
            "metadata": {"name": name, "namespace": "palisade-system"},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"readyReplicas": ready},
        })
    };
    let rules = "authorizationpolicies.palisade.dev";
    let cluster_rules = "clusterauthorizationpolicies.palisade.dev";
    let mut snapshot = Snapshot {
        definitions: Ok(all(vec![definition(rules, "v1", "True")])),
        deployments: Ok(all(vec![deployment("palisade-control", 1)])),
        admission_policies: Ok(Vec::new()),
        ..blind()
    };
    let findings = installed::judge(&snapshot);
    assert_eq!(
        wrong(&findings, Severity::Error),
        [
            format!("CustomResourceDefinition {rules}: it does not serve the version v1alpha1"),
            format!("CustomResourceDefinition {cluster_rules}: it is not there: no rule can be written"),
            "Deployment palisade-system/palisade-injector: it is not there".into(),
            "ValidatingAdmissionPolicy palisade-sidecar-required: it is not there: while webhooks are off, pods start \
             without a sidecar"
                .into(),
            "ValidatingAdmissionPolicy palisade-sidecar-kept: it is not there: whoever may edit a pod may put another \
             image in place of its sidecar"
                .into(),
        ]
    );
    assert_eq!(
        wrong(&findings, Severity::Warning),
        ["Deployment palisade-system/palisade-control: 1 of 2 replicas are ready"]
    );
    snapshot.definitions = Ok(all(vec![
        definition(rules, "v1alpha1", "True"),
        definition(cluster_rules, "v1alpha1", "True"),
    ]));
    snapshot.deployments = Ok(all(vec![
        deployment("palisade-control", 2),
        deployment("palisade-injector", 2),
    ]));
    let net = ["palisade-sidecar-required", "palisade-sidecar-kept"];
    let net = net.map(|name| json!({"metadata": {"name": name}}));
    snapshot.admission_policies = Ok(all(net.to_vec()));
    let findings = installed::judge(&snapshot);
    assert!(
        findings.iter().all(|one| one.severity == Severity::Ok),
        "{findings:?}"
    );
}

#[test]
fn certificates_have_days_left_or_not() {
    for (authority, webhook, errors, warnings) in [
        (Some(3000), Some(30), 0, 0),
        (Some(30), Some(5), 0, 2),
        (Some(-1), None, 2, 0),
    ] {
        let snapshot = Snapshot {
            certificates: Certificates {
                authority: Ok(authority.map(certificate)),
                webhook: Ok(webhook.map(certificate)),
                trust: Err("forbidden".into()),
            },
            ..blind()
        };
        let findings = certificate::judge(&snapshot);
        assert_eq!(
            wrong(&findings, Severity::Error).len(),
            errors,
            "{findings:?}"
        );
        assert_eq!(
            wrong(&findings, Severity::Warning).len(),
            warnings,
            "{findings:?}"
        );
    }
}

#[test]
fn every_member_trusts_the_authority() {
    let namespace = |name: &str| json!({"metadata": {"name": name, "labels": {"mesh.palisade.dev/member": "enabled"}}});
    let (ours, other) = (certificate(300), certificate(300));
    let mut rotating = ours.clone();
    rotating.extend_from_slice(&other);
    let snapshot = Snapshot {
        namespaces: Ok(all(["good", "rotating", "other", "none"]
            .map(namespace)
            .into())),
        certificates: Certificates {
            authority: Ok(Some(ours.clone())),
            webhook: Ok(Some(certificate(30))),
            trust: Ok(vec![
                ("good".into(), text(&ours)),
                ("rotating".into(), text(&rotating)),
                ("other".into(), text(&other)),
            ]),
        },
        ..blind()
    };
    assert_eq!(
        wrong(&certificate::judge(&snapshot), Severity::Error),
        [
            "ConfigMap other/palisade-trust: it names another authority: new pods refuse control",
            "ConfigMap none/palisade-trust: it is not there: new pods cannot know control",
        ]
    );
}

#[test]
fn the_api_server_must_trust_the_mesh_s_authority() {
    use k8s_openapi::ByteString;
    let (ours, other) = (certificate(300), certificate(300));
    let configuration = |bundle: Option<Vec<u8>>| {
        let bundle = bundle.map(|pem| serde_json::to_value(ByteString(pem)).unwrap());
        json!({
            "metadata": {"name": "palisade-injector"},
            "webhooks": [{
                "name": "rules.palisade.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"caBundle": bundle},
            }],
        })
    };
    let place = "ValidatingWebhookConfiguration palisade-injector, rules.palisade.dev";
    for (bundle, expected) in [
        (Some(ours.clone()), vec![]),
        (
            Some(other),
            vec![format!(
                "{place}: its CA is not the mesh's: the API server trusts another injector"
            )],
        ),
        (
            None,
            vec![format!(
                "{place}: it has no CA: the API server trusts no injector"
            )],
        ),
        (
            Some(b"x".to_vec()),
            vec![format!(
                "{place}: its CA cannot be read: it holds no certificate"
            )],
        ),
    ] {
        let snapshot = Snapshot {
            mutating: Ok(all(vec![configuration(Some(ours.clone()))])),
            validating: Ok(all(vec![configuration(bundle)])),
            certificates: Certificates {
                authority: Err("forbidden".into()),
                webhook: Err("forbidden".into()),
                trust: Ok(vec![("shop".into(), text(&ours))]),
            },
            ..blind()
        };
        assert_eq!(wrong(&webhook::judge(&snapshot), Severity::Error), expected);
    }
    let snapshot = Snapshot {
        mutating: Ok(Vec::new()),
        validating: Ok(Vec::new()),
        ..blind()
    };
    assert_eq!(
        wrong(&webhook::judge(&snapshot), Severity::Error).len(),
        2,
        "none is there"
    );
}

/// A rule of the second generation.
fn rule(name: &str, from: Value, status: Value) -> Value {
    json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "shop", "generation": 2},
        "spec": {"rules": [{"name": "r", "effect": "allow", "from": [from]}]},
        "status": status,
    })
}

fn meshed() -> Value {
    json!({"namespace": "web"})
}

#[test]
fn rules_that_are_behind_not_understood_or_open_are_told() {
    let snapshot = Snapshot {
        policies: Ok(all(vec![
            rule(
                "good",
                meshed(),
                json!({"observedGeneration": 2, "proxies": 3, "enforcing": 3}),
            ),
            rule(
                "behind",
                meshed(),
                json!({"observedGeneration": 2, "proxies": 3, "enforcing": 2, "pending": ["shop/web-0"]}),
            ),
            rule(
                "strange",
                meshed(),
                json!({"observedGeneration": 2, "refusing": ["shop/db-0"]}),
            ),
            rule("unseen", meshed(), json!({"observedGeneration": 1})),
            rule(
                "open",
                json!({"unauthenticated": {"cidr": "10.0.0.0/8"}}),
                json!({"observedGeneration": 2}),
            ),
        ])),
        ..blind()
    };
    let findings = rules::judge(&snapshot);
    assert_eq!(
        wrong(&findings, Severity::Warning),
        [
            "AuthorizationPolicy shop/behind: 2 of 3 proxies enforce it; behind are shop/web-0",
            "AuthorizationPolicy shop/unseen: control has not taken up its last change",
            "AuthorizationPolicy shop/open: callers without an identity are let in, as plaintext, from 10.0.0.0/8",
        ]
    );
    let closed = "AuthorizationPolicy shop/strange: proxies do not understand it, and close what it protects: shop/db-0";
    assert_eq!(wrong(&findings, Severity::Error), [closed]);
}

#[test]
fn a_rule_that_no_proxy_enforces_is_an_error_unless_it_is_new() {
    let status = |since: &str| {
        json!({
            "observedGeneration": 2, "proxies": 2, "enforcing": 0, "pending": ["shop/a", "shop/b"],
            "conditions": [{"reason": "Pending", "status": "False", "lastTransitionTime": since}],
        })
    };
    let snapshot = Snapshot {
        policies: Ok(all(vec![
            rule("new", meshed(), status("2026-11-21T11:59:45Z")),
            rule("dead", meshed(), status("2026-11-21T11:00:00Z")),
        ])),
        cluster_policies: Ok(Vec::new()),
        ..blind()
    };
    let findings = rules::judge(&snapshot);
    let told = |name: &str| {
        [format!(
            "AuthorizationPolicy shop/{name}: 0 of 2 proxies enforce it; behind are shop/a, shop/b"
        )]
    };
    assert_eq!(wrong(&findings, Severity::Warning), told("new"));
    assert_eq!(wrong(&findings, Severity::Error), told("dead"));
}

#[test]
fn rules_that_may_be_read_are_judged_though_the_clusters_may_not() {
    let behind =
        json!({"observedGeneration": 2, "proxies": 3, "enforcing": 2, "pending": ["shop/web-0"]});
    let snapshot = Snapshot {
        policies: Ok(all(vec![rule("behind", meshed(), behind)])),
        ..blind()
    };
    let findings = rules::judge(&snapshot);
    let told: Vec<_> = findings
        .iter()
        .map(|one| (one.check, one.severity))
        .collect();
    assert_eq!(
        told,
        [
            ("rules", Severity::Warning),
            ("rules", Severity::Unknown),
            ("plaintext", Severity::Ok),
            ("plaintext", Severity::Unknown),
        ]
    );
    let fine = "no rule lets a caller in that has no identity, among those that you may read";
    assert_eq!(findings[2].what, fine);
    assert_eq!(findings[3].what, "could not look: forbidden");
}

#[test]
fn rules_that_went_with_their_definition_are_told_while_they_are_in_force() {
    let kind = |name: &str, value: Value| (format!("{name}.palisade.dev"), of(value));
    let snapshot = Snapshot {
        in_force: Ok(vec![
            kind(
                "clusterauthorizationpolicies",
                json!({"definition": "1", "rules": 3, "missing": 2, "until": "2026-11-21T12:05:00Z"}),
            ),
            kind(
                "authorizationpolicies",
                json!({"definition": "1", "rules": 3, "missing": 0}),
            ),
        ]),
        ..blind()
    };
    let told = "CustomResourceDefinition clusterauthorizationpolicies.palisade.dev: it went away, and 2 of 3 rules are in \
         force that the API server no longer lists, until 2026-11-21T12:05:00Z";
    assert_eq!(wrong(&frozen::judge(&snapshot), Severity::Error), [told]);
}

#[test]
fn mistakes_of_a_rule_are_told_in_the_words_of_control_and_else_in_ours() {
    let snapshot = Snapshot {
        policies: Ok(all(vec![
            // Control has not looked at it yet.
            rule(
                "wrong",
                json!({"namespaces": "web"}),
                json!({"observedGeneration": 2}),
            ),
            // A validator of another version than this one's.
            rule(
                "held",
                meshed(),
                json!({"observedGeneration": 2, "enforcedGeneration": 1, "proxies": 3, "enforcing": 3, "conditions": [{
                    "type": "Ready", "status": "False", "reason": "Invalid",
                    "message": "generation 1 stays in force: spec.rules: as control says it",
                }]}),
            ),
        ])),
        ..blind()
    };
    let errors = wrong(&rules::judge(&snapshot), Severity::Error);
    let mistakes = [
        (
            "wrong",
            "control stays with what it said before: spec.rules[0].from[0].namespaces: ",
        ),
        (
            "held",
            "generation 1 stays in force: spec.rules: as control says it",
        ),
    ];
    assert_eq!(errors.len(), mistakes.len(), "{errors:?}");
    for ((name, mistake), error) in mistakes.iter().zip(&errors) {
        let told = format!("AuthorizationPolicy shop/{name}: it has mistakes, and {mistake}");
        assert!(error.starts_with(&told), "{error}");
    }
}
