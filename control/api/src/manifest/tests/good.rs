//! What good documents mean.

use ipnet::IpNet;
use time::macros::datetime;

use super::*;
use crate::policy::{Effect, From, Mode, PortRange, Rule, Target};
use crate::workload::{Closing, Mtls};

fn one(text: &str) -> Manifest {
    let mut manifests = parse("f", text).unwrap();
    assert_eq!(manifests.len(), 1);
    manifests.remove(0)
}

fn ports(ranges: &[(u16, u16)]) -> Vec<PortRange> {
    let ranges = ranges.iter();
    ranges
        .map(|&(first, last)| PortRange { first, last })
        .collect()
}

fn app(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), name.to_owned())])
}

const EVERYTHING: &str = r#"
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop, labels: {team: a}, annotations: {note: 7}}
spec:
  target: {labels: {app: orders}, serviceAccount: orders}
  rules:
  - name: web-places-orders
    effect: allow
    from:                                # any one of these
    - serviceAccount: shop/default
    - identity: spiffe://cluster.local/ns/batch/sa/reconciler
    - namespace: monitoring
    - trustDomain: partner.example
    - unauthenticated: {cidr: 10.2.0.0/16}
    - unauthenticated: {cidr: "::/0"}
    ports: [8080, 9000-9010, "80"]
    mode: shadow
    expires: 2026-12-01T02:00:00+02:00
    reason: "INC-1234"
  - {name: no, effect: deny, from: [namespace: batch]}
"#;

fn everything_that_a_rule_can_say() -> Rule {
    let network = |cidr: &str| From::Unauthenticated(cidr.parse::<IpNet>().unwrap());
    Rule {
        name: "web-places-orders".to_owned(),
        effect: Effect::Allow,
        from: vec![
            From::ServiceAccount {
                namespace: "shop".to_owned(),
                name: "default".to_owned(),
            },
            From::Identity(
                "spiffe://cluster.local/ns/batch/sa/reconciler"
                    .parse()
                    .unwrap(),
            ),
            From::Namespace("monitoring".to_owned()),
            From::TrustDomain("partner.example".parse().unwrap()),
            network("10.2.0.0/16"),
            network("::/0"),
        ],
        ports: ports(&[(8080, 8080), (9000, 9010), (80, 80)]),
        mode: Mode::Shadow,
        expires: Some(datetime!(2026-12-01 0:00 UTC)),
        reason: "INC-1234".to_owned(),
    }
}

#[test]
fn a_policy_with_everything() {
    let denial = Rule {
        name: "no".to_owned(),
        effect: Effect::Deny,
        from: vec![From::Namespace("batch".to_owned())],
        ports: Vec::new(),
        mode: Mode::Enforce,
        expires: None,
        reason: String::new(),
    };
    let target = Target {
        namespaces: Vec::new(),
        service_account: Some("orders".to_owned()),
        labels: app("orders"),
    };
    let policy = AuthorizationPolicy {
        namespace: Some("shop".to_owned()),
        name: "orders".to_owned(),
        target,
        rules: vec![everything_that_a_rule_can_say(), denial],
    };
    assert_eq!(one(EVERYTHING), Manifest::Policy(policy));
}

#[test]
fn a_cluster_policy_protects_the_namespaces_that_it_names_or_all() {
    for (text, namespaces) in [
        (CLUSTER.to_owned(), vec!["shop".to_owned()]),
        (
            CLUSTER.replace("  target: {namespaces: [shop]}\n", ""),
            vec![],
        ),
    ] {
        let Manifest::Policy(policy) = one(&text) else {
            panic!("no policy");
        };
        assert_eq!(
            (policy.namespace, policy.target.namespaces),
            (None, namespaces)
        );
    }
}

#[test]
fn workloads_and_services() {
    let workload = WorkloadSpec {
        namespace: "shop".to_owned(),
        name: "orders-0".to_owned(),
        service_account: "orders".to_owned(),
        labels: app("orders"),
        addresses: vec!["10.111.0.7".parse().unwrap(), "fd70::7".parse().unwrap()],
        meshed: false,
    };
    assert_eq!(one(WORKLOAD), Manifest::Workload(workload.clone()));
    let plain = WorkloadSpec {
        meshed: true,
        labels: BTreeMap::new(),
        ..workload
    };
    let text = WORKLOAD.replace("  meshed: false\n", "");
    let text = text.replace(", labels: {app: orders}", "");
    assert_eq!(one(&text), Manifest::Workload(plain));

    let service = |port, target_port| ServiceSpec {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
        addresses: vec!["10.112.0.2".parse().unwrap(), "fd71::2".parse().unwrap()],
        selector: app("orders"),
        ports: vec![ServicePort { port, target_port }],
    };
    assert_eq!(one(SERVICE), Manifest::Service(service(80, 8080)));
    let text = SERVICE.replace(", targetPort: 8080", "");
    assert_eq!(one(&text), Manifest::Service(service(80, 80)));
}

#[test]
fn a_namespace_is_strict_and_enforced_unless_its_annotations_say_otherwise() {
    let namespace = |mtls, closing| Manifest::Namespace {
        name: "shop".to_owned(),
        settings: NamespaceSettings { mtls, closing },
    };
    assert_eq!(one(NAMESPACE), namespace(Mtls::Permissive, Closing::Shadow));
    let strict = NAMESPACE
        .replace("permissive", "strict")
        .replace("shadow", "enforce");
    assert_eq!(one(&strict), namespace(Mtls::Strict, Closing::Enforce));
    let bare = NAMESPACE.split("  annotations").next().unwrap();
    assert_eq!(one(bare), namespace(Mtls::Strict, Closing::Enforce));
}

#[test]
fn whom_to_trust_and_whom_no_longer() {
    let revocations = RevocationsSpec {
        identities: vec!["spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()],
        serials: vec!["0a1b".to_owned()],
    };
    assert_eq!(one(REVOCATIONS), Manifest::Revocations(revocations));
    let bundle = Manifest::TrustBundle {
        trust_domain: "partner.example".parse().unwrap(),
        authorities_pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            .to_owned(),
    };
    assert_eq!(one(BUNDLE), bundle);
}

#[test]
fn a_file_holds_any_number_of_documents() {
    assert_eq!(parse("f", ""), Ok(vec![]));
    assert_eq!(parse("f", "# nothing\n---\n---\n"), Ok(vec![]));
    let text = [
        POLICY,
        CLUSTER,
        WORKLOAD,
        SERVICE,
        NAMESPACE,
        REVOCATIONS,
        REVOCATIONS,
        BUNDLE,
    ];
    assert_eq!(parse("f", &text.join("---\n")).unwrap().len(), text.len());
}
