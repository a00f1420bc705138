//! Manifests in, objects out.

use std::collections::BTreeMap;

use palisade_api::manifest::{self, Manifest};
use palisade_api::wire::{address::At, object::Body};

use super::*;

/// An index of one file, where 10.0.0.0/8 is the mesh's but for 10.9.0.0/16.
pub(crate) fn index(text: &str) -> Index {
    let manifests = manifest::parse("test.yaml", text).unwrap();
    let ground = ground();
    let facts = Facts::from_manifests(&ground.trust_domain, &manifests).unwrap();
    Index::build(ground, facts, None)
}

fn ground() -> Ground {
    Ground {
        trust_domain: "cluster.local".parse().unwrap(),
        authorities: vec![CertificateDer::from(vec![1, 2, 3])],
        mesh: vec!["10.0.0.0/8".parse().unwrap()],
        outside: vec!["10.9.0.0/16".parse().unwrap()],
    }
}

fn workload(namespace: &str, name: &str, account: &str, ip: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {account}}}}}
spec: {{serviceAccount: {account}, addresses: [{ip}]}}
---
"
    )
}

fn policy(head: &str, target: &str, effect: &str) -> String {
    let target = match target {
        "" => String::new(),
        target => format!("  target: {{{target}}}\n"),
    };
    format!(
        "apiVersion: palisade.dev/v1alpha1
{head}
spec:
{target}  rules:
  - name: only
    effect: {effect}
    from: [{{namespace: shop}}]
---
"
    )
}

fn namespaced(name: &str, namespace: &str, target: &str, effect: &str) -> String {
    let head =
        format!("kind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}");
    policy(&head, target, effect)
}

fn cluster(name: &str, target: &str) -> String {
    let head = format!("kind: ClusterAuthorizationPolicy\nmetadata: {{name: {name}}}");
    policy(&head, target, "deny")
}

fn names(objects: &[Arc<Object>]) -> Vec<&str> {
    objects.iter().map(|object| object.name.as_str()).collect()
}

#[test]
fn a_workload_gets_itself_and_the_policies_that_select_it() {
    let text = [
        workload("shop", "orders-0", "orders", "10.0.0.1"),
        workload("shop", "web-0", "web", "10.0.0.2"),
        namespaced("all", "shop", "", "allow"),
        namespaced("account", "shop", "serviceAccount: orders", "allow"),
        namespaced("labels", "shop", "labels: {app: web}", "allow"),
        namespaced("closed", "shop", "labels: {app: orders}", "deny"),
        namespaced("elsewhere", "batch", "", "allow"),
        cluster("everywhere", ""),
        cluster("shops", "namespaces: [shop]"),
        cluster("batches", "namespaces: [batch]"),
    ];
    let index = index(&text.concat());
    let orders = index.workload("shop/orders-0").unwrap();
    // Denials before allowances.
    assert_eq!(
        names(&index.rules(orders)),
        [
            "self",
            "AuthorizationPolicy/shop/closed",
            "ClusterAuthorizationPolicy/everywhere",
            "ClusterAuthorizationPolicy/shops",
            "AuthorizationPolicy/shop/all",
            "AuthorizationPolicy/shop/account",
        ]
    );
    let web = index.workload("shop/web-0").unwrap();
    assert!(names(&index.rules(web)).contains(&"AuthorizationPolicy/shop/labels"));
    assert!(!names(&index.rules(web)).contains(&"AuthorizationPolicy/shop/account"));
}

#[test]
fn what_is_at_an_address_is_known_unknown_or_outside() {
    let service = "apiVersion: palisade.dev/v1alpha1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {addresses: [10.1.0.1], selector: {app: orders}, ports: [{port: 80, targetPort: 8080}]}
---
";
    let text = [
        workload("shop", "orders-0", "orders", "10.0.0.1"),
        workload("shop", "orders-1", "orders", "10.0.0.2"),
        workload("shop", "web-0", "web", "10.0.0.3"),
        workload("other", "orders-0", "orders", "10.0.0.4"),
        service.to_owned(),
    ];
    let index = index(&text.concat());
    let at = |ip: &str| {
        let object = index.address(ip.parse().unwrap());
        assert_eq!(object.name, ip);
        match object.body.clone() {
            Some(Body::Address(address)) => address.at.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(at("10.0.0.3"), At::Workload(workload) if workload.name == "web-0"));
    let At::Service(service) = at("10.1.0.1") else {
        panic!("no service");
    };
    let endpoints: BTreeMap<_, _> = service
        .endpoints
        .iter()
        .map(|endpoint| endpoint.workload.as_ref().unwrap())
        .map(|workload| (workload.name.as_str(), workload.namespace.as_str()))
        .collect();
    assert_eq!(
        endpoints,
        BTreeMap::from([("orders-0", "shop"), ("orders-1", "shop")])
    );
    assert!(matches!(at("10.0.0.99"), At::Unknown(_)));
    assert!(matches!(at("10.9.0.1"), At::Outside(_)));
    assert!(matches!(at("192.0.2.1"), At::Outside(_)));
}

#[test]
fn equal_content_has_an_equal_digest_and_other_content_another() {
    let of = |ip: &str| {
        let index = index(&workload("shop", "web-0", "web", ip));
        let web = index.workload("shop/web-0").unwrap();
        index.rules(web)[0].digest.clone()
    };
    assert_eq!(of("10.0.0.1"), of("10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
}

#[test]
fn a_trust_bundle_is_foreign_and_whole() {
    let bundle = |domain: &str, pem: String| Manifest::TrustBundle {
        trust_domain: domain.parse().unwrap(),
        authorities_pem: pem,
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let own = "cluster.local".parse().unwrap();
    let build = |manifest: Manifest| Facts::from_manifests(&own, [&manifest]);
    let index = Index::build(
        ground(),
        build(bundle("partner.example", pem.clone())).unwrap(),
        None,
    );
    assert_eq!(names(index.bundles()), ["cluster.local", "partner.example"]);
    for no_pem in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let refused = build(bundle("partner.example", no_pem.into()));
        assert!(matches!(refused, Err(FactsError::Bundle(_))), "{no_pem}");
    }
    let own = build(bundle("cluster.local", pem));
    assert!(matches!(own, Err(FactsError::OwnBundle(_))));
}

#[test]
fn a_policy_says_whom_it_selects_and_only_the_meshed() {
    let plain =
        workload("shop", "plain", "web", "10.0.0.3").replace("spec: {", "spec: {meshed: false, ");
    let text = [
        workload("shop", "orders-0", "orders", "10.0.0.1"),
        workload("shop", "web-0", "web", "10.0.0.2"),
        plain,
        namespaced("labels", "shop", "labels: {app: web}", "allow"),
        cluster("everywhere", ""),
    ];
    let index = index(&text.concat());
    assert_eq!(
        index.selected("AuthorizationPolicy/shop/labels"),
        ["shop/web-0"]
    );
    assert_eq!(
        index.selected("ClusterAuthorizationPolicy/everywhere"),
        ["shop/orders-0", "shop/web-0"]
    );
    assert!(index.selected("AuthorizationPolicy/shop/none").is_empty());
    let names: Vec<_> = index.policies().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 2);
}

#[test]
fn of_two_claims_to_an_address_the_workload_s_holds_and_outside_comes_last() {
    let own = ground().trust_domain;
    let text = [
        workload("shop", "web-0", "web", "10.0.0.1"),
        "apiVersion: palisade.dev/v1alpha1
kind: Service
metadata: {name: web, namespace: shop}
spec: {addresses: [10.1.0.1], selector: {app: web}, ports: [{port: 80}]}
"
        .to_owned(),
    ];
    let manifests = manifest::parse("test.yaml", &text.concat()).unwrap();
    let mut facts = Facts::from_manifests(&own, &manifests).unwrap();
    let claimed: Vec<IpAddr> = ["10.0.0.1", "10.1.0.1", "10.0.0.9"]
        .map(|ip| ip.parse().unwrap())
        .to_vec();
    for (ips, _) in &mut facts.services {
        ips.push(claimed[0]);
    }
    facts.outside.clone_from(&claimed);
    let index = Index::build(ground(), facts, None);
    let at = |ip: IpAddr| match index.address(ip).body.clone() {
        Some(Body::Address(address)) => address.at.unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(at(claimed[0]), At::Workload(_)));
    assert!(matches!(at(claimed[1]), At::Service(_)));
    assert!(matches!(at(claimed[2]), At::Outside(_)));
}
