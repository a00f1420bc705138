//! What is converted means what it meant: never more, and where nothing was refused, not less.

use std::collections::BTreeMap;

use palisade_api::policy::{self, Destination, Source, Verdict};
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::NamespaceSettings;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use time::OffsetDateTime;

use super::super::{Converted, Settings};
use super::as_istio::{Asked, Fields, Mesh, Policy, ROOT, Rule};

const ALIAS: &str = "alias.test";
/// Every trust domain that a caller may be of, whether the mesh takes it for its own or not.
const DOMAINS: [&str; 3] = ["cluster.local", ALIAS, "other.test"];

type Lists = [(&'static str, &'static [&'static str])];

/// One field, mostly of those that convert; now and then two.
fn fields(good: &'static Lists, any: &'static Lists) -> impl Strategy<Value = Fields> {
    let field = |of: &'static Lists| {
        select(of).prop_flat_map(|(name, values)| (Just(name), vec(select(values), 1..3)))
    };
    prop_oneof![
        30 => vec(field(good), 1..2),
        1 => vec(field(any), 1..3),
    ]
    .prop_map(|fields| fields.into_iter().collect())
}

const GOOD_SOURCES: [(&str, &[&str]); 5] = [
    ("principals", &PRINCIPALS),
    (
        "principals",
        &["cluster.local/ns/shop/sa/web", "*/ns/shop/sa/web", "*"],
    ),
    ("namespaces", &["*"]),
    ("serviceAccounts", &["shop/web", "batch/job", "web"]),
    ("trustDomains", &["cluster.local", "other.test", "*"]),
];
const SOURCES: [(&str, &[&str]); 6] = [
    (
        "principals",
        &[
            "cluster.local/ns/shop/sa/*",
            "cluster.local/ns/batch/*",
            "cluster.local/*",
            "*/sa/web",
        ],
    ),
    ("namespaces", &["shop", "batch", "ba*"]),
    ("serviceAccounts", &["shop/web", "batch/job", "web"]),
    ("notPrincipals", &["*", "cluster.local/ns/shop/sa/web"]),
    ("notNamespaces", &["*", "shop"]),
    ("ipBlocks", &["10.0.0.0/8"]),
];
const PRINCIPALS: [&str; 5] = [
    "cluster.local/ns/shop/sa/web",
    "cluster.local/ns/batch/sa/job",
    "alias.test/ns/shop/sa/web",
    "other.test/ns/shop/sa/web",
    "*",
];
const GOOD_OPERATIONS: [(&str, &[&str]); 3] = [
    ("ports", &["80", "8080", "9090"]),
    ("ports", &["9090"]),
    ("notPorts", &["80", "8080"]),
];
const OPERATIONS: [(&str, &[&str]); 2] = [("ports", &["80", "8080"]), ("paths", &["/admin*"])];
const CONDITIONS: [(&str, &[&str]); 5] = [
    ("source.namespace", &["shop", "batch"]),
    ("source.principal", &["cluster.local/ns/shop/sa/web"]),
    ("source.trustDomain", &["cluster.local", "other.test"]),
    ("destination.port", &["80", "8080"]),
    ("request.headers[a]", &["b"]),
];

fn rule() -> impl Strategy<Value = Rule> {
    let condition = select(&CONDITIONS[..])
        .prop_flat_map(|(key, values)| (Just(key), vec(select(values), 1..3)));
    let from = option::weighted(0.8, vec(fields(&GOOD_SOURCES, &SOURCES), 1..3));
    let to = option::weighted(0.6, vec(fields(&GOOD_OPERATIONS, &OPERATIONS), 1..3));
    let when = prop_oneof![30 => Just(Vec::new()), 1 => vec(condition, 1..3)];
    (from, to, when).prop_map(|(from, to, when)| Rule { from, to, when })
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let namespace = prop_oneof![4 => Just("shop"), 3 => Just("bar"), 1 => Just(ROOT)];
    let app = select(&[None, Some("orders"), Some("db")][..]);
    let action = select(&["ALLOW", "ALLOW", "DENY"][..]);
    (
        namespace,
        app,
        action,
        proptest::bool::weighted(0.1),
        vec(rule(), 0..3),
    )
        .prop_map(|(namespace, app, action, is_dry, rules)| Policy {
            namespace,
            app,
            action,
            is_dry,
            rules,
        })
}

fn mesh() -> impl Strategy<Value = Mesh> {
    let mode = select(&["STRICT", "PERMISSIVE"][..]);
    let modes = btree_map(select(&["shop", "bar", ROOT][..]), mode, 0..4);
    let domains = prop_oneof![
        3 => Just(vec!["cluster.local"]),
        1 => Just(vec!["cluster.local", ALIAS]),
        1 => Just(vec![ALIAS]),
    ];
    (vec(a_policy(), 0..4), modes, domains).prop_map(|(policies, modes, domains)| Mesh {
        policies,
        modes,
        domains,
    })
}

/// Every question that can tell two policies of these apart.
fn questions() -> Vec<Asked> {
    let mut ids = vec![None];
    for domain in DOMAINS {
        for account in [
            ("shop", "web"),
            ("shop", "x"),
            ("batch", "job"),
            ("bar", "web"),
        ] {
            ids.push(Some((domain, account.0, account.1)));
        }
    }
    let mut asked = Vec::new();
    for id in ids {
        for addr in ["10.1.2.3", "192.0.2.1"] {
            for (namespace, app) in [
                ("shop", "orders"),
                ("shop", "db"),
                ("bar", "orders"),
                ("qa", "x"),
            ] {
                for port in [80, 8080, 9090, 1] {
                    asked.push(Asked {
                        id,
                        addr: addr.parse().unwrap(),
                        namespace,
                        app,
                        port,
                    });
                }
            }
        }
    }
    asked
}

/// What was converted, ready to be asked.
struct Ours<'a> {
    policy: policy::Policy,
    converted: &'a Converted,
    settings: &'a Settings,
}

impl<'a> Ours<'a> {
    fn new(converted: &'a Converted, settings: &'a Settings) -> Self {
        let policies = converted.policies.iter().map(|one| one.made.clone());
        Self {
            policy: policy::Policy::new(policies.collect()),
            converted,
            settings,
        }
    }

    fn allows(&self, asked: &Asked) -> bool {
        let mut of_namespace = NamespaceSettings::default();
        for set in self.converted.namespaces.iter().map(|one| &one.made) {
            if set.name == asked.namespace {
                of_namespace.mtls = set.mtls.unwrap_or(of_namespace.mtls);
                of_namespace.closing = set.closing.unwrap_or(of_namespace.closing);
            }
        }
        let labels = BTreeMap::from([("app".to_owned(), asked.app.to_owned())]);
        let destination = Destination {
            namespace: asked.namespace,
            service_account: "default",
            labels: &labels,
            trust_domain: &self.settings.domains.own,
            settings: of_namespace,
        };
        let id: Option<SpiffeId> = asked.id.map(|(domain, namespace, name)| {
            let id = format!("spiffe://{domain}/ns/{namespace}/sa/{name}");
            id.parse().unwrap()
        });
        let unauthenticated = Source::Unauthenticated(asked.addr);
        let source = id.as_ref().map_or(unauthenticated, Source::Authenticated);
        let now = OffsetDateTime::UNIX_EPOCH;
        let decision = self.policy.decide(source, &destination, asked.port, now);
        matches!(decision.verdict, Verdict::Allow(_))
    }
}

fn settings(mesh: &Mesh) -> Settings {
    let mut domains = mesh.domains.iter().map(|domain| domain.parse().unwrap());
    let mut settings = super::settings(super::Mesh::Istio);
    settings.domains.own = domains.next().unwrap();
    settings.domains.others = domains.collect();
    settings
}

fn is_refused(converted: &Converted) -> bool {
    let mut refused = converted.refused.iter();
    refused.any(|refusal| !refusal.of.object.starts_with("PeerAuthentication"))
}

/// Whether a policy of all namespaces is about a caller whom some of them take and others do not.
fn is_unsure(mesh: &Mesh, asked: &Asked) -> bool {
    let is_of_all = mesh.policies.iter().any(|policy| policy.namespace == ROOT);
    asked.id.is_none() && is_of_all && !mesh.modes.is_empty()
}

/// Whether a caller is of a trust domain that the mesh does not take for its own, which allowances of everybody leave out.
fn is_foreign(mesh: &Mesh, asked: &Asked) -> bool {
    let domain = asked.id.map(|(domain, ..)| domain);
    domain.is_some_and(|domain| !mesh.domains.contains(&domain))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_conversion_allows_what_istio_allows_and_nothing_else(mesh in mesh()) {
        let settings = settings(&mesh);
        let text = mesh.yaml();
        let converted = super::convert(super::Mesh::Istio, &text, &settings).unwrap();
        super::assert_sound(&converted);
        let converted_rules = Ours::new(&converted, &settings);
        for asked in questions() {
            let ours = converted_rules.allows(&asked);
            // Whatever the mode is where nothing says it.
            let theirs = mesh.allows(&asked, "STRICT");
            prop_assert!(!ours || theirs, "{asked:?} is let in by\n{}of\n{text}", super::printed(&converted));
            let is_whole = !is_refused(&converted) && !is_foreign(&mesh, &asked);
            if is_whole && mesh.is_closed(&asked) && !is_unsure(&mesh, &asked) {
                prop_assert_eq!(ours, theirs, "{:?} with\n{}of\n{}", asked, super::printed(&converted), text);
            }
        }
    }
}

#[test]
fn most_questions_are_about_something_that_was_converted() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut whole, mut allowed, mut denied) = (0, 0, 0);
    for _ in 0..300 {
        let mesh = mesh().new_tree(&mut runner).unwrap().current();
        let settings = settings(&mesh);
        let converted = super::convert(super::Mesh::Istio, &mesh.yaml(), &settings).unwrap();
        if is_refused(&converted) || converted.policies.is_empty() {
            continue;
        }
        whole += 1;
        let ours = Ours::new(&converted, &settings);
        for asked in questions().iter().filter(|asked| mesh.is_closed(asked)) {
            match ours.allows(asked) {
                true => allowed += 1,
                false => denied += 1,
            }
        }
    }
    assert!(whole > 100, "{whole} of 300 meshes convert as a whole");
    assert!(allowed > 1_000 && denied > 1_000, "{allowed} and {denied}");
}

/// A policy over all of a namespace, of one rule for port 9090.
fn at_9090(namespace: &'static str, action: &'static str, from: Option<Fields>) -> Policy {
    Policy {
        namespace,
        app: None,
        action,
        is_dry: false,
        rules: vec![Rule {
            from: from.map(|fields| vec![fields]),
            to: Some(vec![Fields::from([("ports", vec!["9090"])])]),
            when: Vec::new(),
        }],
    }
}

/// How many objects are refused; nobody is let in whom Istio keeps out.
fn refused_without_widening(mesh: &Mesh) -> usize {
    let settings = settings(mesh);
    let converted = super::convert(super::Mesh::Istio, &mesh.yaml(), &settings).unwrap();
    super::assert_sound(&converted);
    let ours = Ours::new(&converted, &settings);
    for asked in questions() {
        let is_widened = ours.allows(&asked) && !mesh.allows(&asked, "STRICT");
        assert!(
            !is_widened,
            "{asked:?} is let in by\n{}",
            super::printed(&converted)
        );
    }
    converted.refused.len()
}

#[test]
fn a_denial_holds_in_every_trust_domain_that_an_allowance_names() {
    let allowances = [
        ("principals", "other.test/ns/shop/sa/web"),
        ("trustDomains", "other.test"),
    ];
    for (name, value) in allowances {
        // Whom a denial is about, and how many objects are refused because a foreign trust domain is named: the denial,
        // and the allowance with it.
        for (denied, count) in [
            (None, 0),
            (Some(("principals", "*")), 0),
            (Some(("namespaces", "*")), 0),
            (Some(("trustDomains", "*")), 0),
            (Some(("principals", "cluster.local/ns/shop/sa/*")), 0),
            (Some(("namespaces", "shop")), 2),
            (Some(("principals", "*/ns/shop/sa/web")), 2),
            (Some(("serviceAccounts", "shop/web")), 2),
        ] {
            let from = denied.map(|(name, value)| Fields::from([(name, vec![value])]));
            let allowed = Fields::from([(name, vec![value])]);
            let mut mesh = Mesh {
                policies: vec![
                    at_9090("shop", "DENY", from),
                    at_9090("shop", "ALLOW", Some(allowed)),
                ],
                modes: BTreeMap::new(),
                domains: vec!["cluster.local"],
            };
            assert_eq!(refused_without_widening(&mesh), count, "{denied:?}");
            // One that is named elsewhere may be let in by whatever is written there later.
            mesh.policies[1].namespace = "bar";
            assert_eq!(refused_without_widening(&mesh), count / 2, "{denied:?}");
            // Where the mesh takes it for its own, or none is named, a denial means what it says.
            mesh.domains = vec!["other.test"];
            mesh.policies[1].rules[0].from = None;
            assert_eq!(refused_without_widening(&mesh), 0, "{denied:?}");
        }
    }
}
