//! What control sends, and what the proxy makes of it.

use palisade_api::policy::{Effect, From, Mode, Rule, Target};
use palisade_api::wire::Channel;

use super::*;
use crate::tls::fixture::{Authority, TRUST_DOMAIN};

struct Proxy {
    discovery: Discovery,
    identity: Arc<Identity>,
    book: AddressBook,
}

fn proxy() -> Proxy {
    let identity = Arc::new(Identity::new(TRUST_DOMAIN.parse().unwrap()));
    let (book, _asked) = AddressBook::new();
    let outside = vec!["192.168.0.0/16".parse().unwrap()];
    let discovery = Discovery::new(Arc::clone(&identity), book.clone(), outside);
    Proxy {
        discovery,
        identity,
        book,
    }
}

fn object(name: &str, body: Option<Body>) -> wire::Object {
    wire::Object {
        name: name.into(),
        digest: vec![1],
        body,
    }
}

fn update(channel: Channel, base: u64, changed: Vec<wire::Object>) -> wire::WatchResponse {
    wire::WatchResponse {
        channel: channel.into(),
        revision: base + 1,
        base,
        changed,
        removed: Vec::new(),
    }
}

fn own() -> wire::Object {
    let workload = Workload {
        namespace: "shop".into(),
        name: "orders-0".into(),
        service_account: "orders".into(),
        labels: std::collections::BTreeMap::new(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        meshed: true,
        identity: format!("spiffe://{TRUST_DOMAIN}/ns/shop/sa/orders")
            .parse()
            .unwrap(),
        place: palisade_api::workload::Place::default(),
        excluded_ports: Vec::new(),
    };
    let own = convert::self_to_wire(&workload, NamespaceSettings::default());
    object("self", Some(Body::Self_(own)))
}

fn policy(name: &str, rule: &str) -> wire::Object {
    let policy = AuthorizationPolicy {
        namespace: Some("shop".into()),
        name: name.into(),
        target: Target::default(),
        rules: vec![Rule {
            name: rule.into(),
            effect: Effect::Allow,
            from: vec![From::Namespace("shop".into())],
            ports: Vec::new(),
            mode: Mode::Enforce,
            expires: None,
            reason: String::new(),
        }],
    };
    object(name, Some(Body::Policy(convert::policy_to_wire(&policy))))
}

fn from_the_future(name: &str) -> wire::Object {
    let mut policy = policy(name, "new");
    if let Some(Body::Policy(policy)) = &mut policy.body {
        policy.rules[0].effect = 99;
    }
    policy
}

fn rules(proxy: &Proxy) -> Arc<Rules> {
    Arc::clone(proxy.discovery.rules().borrow().rules().unwrap())
}

fn rule_names(rules: &Rules) -> Vec<&str> {
    let mut names: Vec<_> = rules.names.iter().map(|name| name.rule.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn rules_without_a_workload_are_no_policy_yet() {
    let mut proxy = proxy();
    proxy
        .discovery
        .apply(update(Channel::Rules, 0, vec![policy("orders", "a")]))
        .unwrap();
    assert!(matches!(
        *proxy.discovery.rules().borrow(),
        PolicyState::Waiting
    ));
}

#[test]
fn a_policy_that_is_not_understood_keeps_its_last_good_version() {
    let mut proxy = proxy();
    let first = vec![own(), policy("orders", "a"), policy("other", "b")];
    proxy
        .discovery
        .apply(update(Channel::Rules, 0, first))
        .unwrap();
    let next = vec![from_the_future("orders"), policy("other", "c")];
    let ack = proxy
        .discovery
        .apply(update(Channel::Rules, 1, next))
        .unwrap();
    assert_eq!(
        ack.refusals
            .iter()
            .map(|r| r.name.as_str())
            .collect::<Vec<_>>(),
        ["orders"]
    );
    assert_eq!(ack.revision, 2, "all else of the revision is in force");
    let rules = rules(&proxy);
    assert_eq!(rule_names(&rules), ["a", "c"]);
    assert_eq!(rules.closed_by, None);
}

#[test]
fn a_policy_that_was_never_understood_closes_what_it_protects() {
    let mut proxy = proxy();
    let first = vec![own(), from_the_future("orders"), policy("other", "b")];
    proxy
        .discovery
        .apply(update(Channel::Rules, 0, first))
        .unwrap();
    assert_eq!(rules(&proxy).closed_by.as_deref(), Some("orders"));
    let mended = vec![policy("orders", "a")];
    proxy
        .discovery
        .apply(update(Channel::Rules, 1, mended))
        .unwrap();
    assert_eq!(rules(&proxy).closed_by, None);
}

#[test]
fn an_object_of_another_kind_is_refused_wherever_it_comes() {
    let mut proxy = proxy();
    for (channel, name) in [
        (Channel::Bundles, "b"),
        (Channel::Revocations, "r"),
        (Channel::Addresses, "10.0.0.9"),
    ] {
        let ack = proxy
            .discovery
            .apply(update(channel, 0, vec![policy(name, "x")]))
            .unwrap();
        assert_eq!(ack.refusals.len(), 1, "{channel:?}");
    }
}

#[test]
fn revocations_are_put_in_force_whole_or_not_at_all() {
    let mut proxy = proxy();
    let revoked = |identities: &[&str]| {
        let identities = identities.iter().map(|id| (*id).to_owned()).collect();
        let body = wire::Revocations {
            identities,
            serials: Vec::new(),
        };
        vec![object("revocations", Some(Body::Revocations(body)))]
    };
    let good = "spiffe://cluster.local/ns/shop/sa/web";
    proxy
        .discovery
        .apply(update(Channel::Revocations, 0, revoked(&[good])))
        .unwrap();
    let spoiled = revoked(&["spiffe://cluster.local/ns/shop/sa/db", "not a name"]);
    let ack = proxy
        .discovery
        .apply(update(Channel::Revocations, 1, spoiled))
        .unwrap();
    assert_eq!(ack.refusals.len(), 1);
    let revocations = proxy.identity.snapshot().revocations.unwrap();
    assert!(
        revocations.revoke(&good.parse().unwrap(), "1"),
        "the last good set stays"
    );
}

#[test]
fn the_own_authorities_never_leave_by_a_bundle_that_makes_no_sense() {
    let mut proxy = proxy();
    let authority = Authority::new();
    let bundle = |authorities| {
        let body = wire::Bundle {
            trust_domain: TRUST_DOMAIN.into(),
            authorities,
        };
        vec![object(TRUST_DOMAIN, Some(Body::Bundle(body)))]
    };
    let good = bundle(vec![authority.certificate().to_vec()]);
    proxy
        .discovery
        .apply(update(Channel::Bundles, 0, good))
        .unwrap();
    let before = proxy.identity.snapshot().bundles.unwrap();
    let ack = proxy
        .discovery
        .apply(update(Channel::Bundles, 1, bundle(Vec::new())))
        .unwrap();
    assert_eq!(ack.refusals.len(), 1);
    assert_eq!(proxy.identity.snapshot().bundles.unwrap(), before);
}

#[test]
fn without_control_only_what_an_operator_listed_is_outside() {
    let proxy = proxy();
    let (listed, unlisted) = ("192.168.1.1".parse().unwrap(), "10.9.9.9".parse().unwrap());
    assert_eq!(proxy.book.known_or_asked(listed), None);
    assert_eq!(proxy.book.known_or_asked(unlisted), None);
    proxy.discovery.answer_without_control();
    assert_eq!(
        proxy.book.known_or_asked(listed).as_deref(),
        Some(&AtAddress::Outside)
    );
    assert_eq!(proxy.book.known_or_asked(unlisted), None);
}
