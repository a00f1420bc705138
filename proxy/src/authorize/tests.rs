//! Decisions of the policy as permits and refusals, and their end.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, Rule, Target};

use super::*;

pub(crate) fn rule(name: &str, effect: Effect, from: From) -> Rule {
    Rule {
        name: name.into(),
        effect,
        from: vec![from],
        ports: Vec::new(),
        mode: Mode::Enforce,
        expires: None,
        reason: String::new(),
    }
}

pub(crate) fn web() -> From {
    From::ServiceAccount {
        namespace: "shop".into(),
        name: "web".into(),
    }
}

pub(crate) fn anyone() -> From {
    From::Unauthenticated("0.0.0.0/0".parse().unwrap())
}

pub(crate) fn state(revision: u64, rules: Vec<Rule>) -> PolicyState {
    let policy = AuthorizationPolicy {
        namespace: Some("shop".into()),
        name: "orders".into(),
        target: Target::default(),
        rules,
    };
    PolicyState::Current(Arc::new(Rules {
        revision,
        own: own(),
        settings: NamespaceSettings::default(),
        names: Vec::new(),
        policy: Policy::new(vec![policy]),
        closed_by: None,
    }))
}

pub(crate) fn own() -> Workload {
    Workload {
        namespace: "shop".into(),
        name: "orders-0".into(),
        service_account: "orders".into(),
        labels: BTreeMap::new(),
        addresses: Vec::new(),
        meshed: true,
        identity: "spiffe://cluster.local/ns/shop/sa/orders".parse().unwrap(),
        place: palisade_api::workload::Place::default(),
        excluded_ports: Vec::new(),
    }
}

fn dst() -> SocketAddr {
    "10.0.0.1:8080".parse().unwrap()
}

pub(crate) fn web_id() -> palisade_api::spiffe::SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

#[test]
fn before_there_is_a_policy_everything_is_denied() {
    let id = web_id();
    let refusal = authorize(
        &PolicyState::Waiting,
        Source::Authenticated(&id),
        dst(),
        OffsetDateTime::now_utc(),
    );
    assert!(matches!(refusal.unwrap_err().denied, Denied::NoPolicy));
}

#[test]
fn an_object_that_is_not_understood_closes_its_target() {
    let PolicyState::Current(rules) = state(1, vec![rule("r", Effect::Allow, web())]) else {
        panic!("there are rules")
    };
    let mut rules = Arc::into_inner(rules).unwrap();
    rules.closed_by = Some("AuthorizationPolicy/shop/new".into());
    let id = web_id();
    let state = PolicyState::Current(Arc::new(rules));
    let refusal = authorize(
        &state,
        Source::Authenticated(&id),
        dst(),
        OffsetDateTime::now_utc(),
    );
    assert!(matches!(
        refusal.unwrap_err().denied,
        Denied::NotUnderstood(_)
    ));
}

#[test]
fn a_denied_identity_is_not_shed_by_leaving_the_sidecar_out() {
    let not_web = |mode| Rule {
        mode,
        ..rule("not-web", Effect::Deny, web())
    };
    let decided = |rules: &[Rule], beside: &AtAddress| {
        let anyone = rule("anyone", Effect::Allow, anyone());
        let state = state(1, [&[anyone], rules].concat());
        let caller = (IpAddr::from([10, 0, 0, 9]), beside);
        authorize_in_clear(&state, caller, dst(), OffsetDateTime::now_utc())
    };
    let beside = AtAddress::Workload(Arc::new(Workload {
        identity: web_id(),
        ..own()
    }));
    let denied = decided(&[not_web(Mode::Enforce)], &beside).unwrap_err();
    assert!(matches!(denied.denied, Denied::Rule(rule) if rule.rule == "not-web"));
    // That nothing allows its identity denies nothing here, nor does a denial of others.
    let is_told = |rules: &[Rule], beside: &AtAddress| {
        let permit = decided(rules, beside).unwrap();
        let shadow = permit.decision().shadow.clone();
        shadow.map(|(effect, rule)| (effect, rule.rule))
    };
    assert_eq!(is_told(&[], &beside), None);
    for nobody in [AtAddress::Unknown, AtAddress::Outside] {
        assert_eq!(is_told(&[not_web(Mode::Enforce)], &nobody), None);
    }
    let would = Some((Effect::Deny, "not-web".to_owned()));
    assert_eq!(is_told(&[not_web(Mode::Shadow)], &beside), would);
}

#[test]
fn a_rule_in_shadow_would_not_allow_whom_a_denial_of_its_name_denies() {
    let would = |rules: &[Rule], beside: &AtAddress| {
        let anyone = Rule {
            mode: Mode::Shadow,
            ..rule("anyone", Effect::Allow, anyone())
        };
        let state = state(1, [&[anyone], rules].concat());
        let caller = (IpAddr::from([10, 0, 0, 9]), beside);
        let refusal = authorize_in_clear(&state, caller, dst(), OffsetDateTime::now_utc());
        let refusal = refusal.unwrap_err();
        assert!(matches!(refusal.denied, Denied::NoRule(_)));
        refusal.is_allowed_in_shadow()
    };
    let beside = AtAddress::Workload(Arc::new(Workload {
        identity: web_id(),
        ..own()
    }));
    assert!(would(&[], &beside));
    for mode in [Mode::Enforce, Mode::Shadow] {
        let not_web = Rule {
            mode,
            ..rule("not-web", Effect::Deny, web())
        };
        assert!(!would(slice::from_ref(&not_web), &beside), "{mode:?}");
        assert!(would(&[not_web], &AtAddress::Unknown), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_came_between_the_decision_and_the_wait_is_seen() {
    let (states, mut reader) = watch::channel(state(1, vec![rule("r", Effect::Allow, web())]));
    let id = web_id();
    let first = reader.borrow_and_update().clone();
    let now = OffsetDateTime::now_utc();
    authorize(&first, Source::Authenticated(&id), dst(), now).unwrap();
    states.send_replace(state(2, vec![rule("r", Effect::Deny, web())]));
    let check =
        |state: &PolicyState, now| authorize(state, Source::Authenticated(&id), dst(), now).err();
    let refusal = tokio::time::timeout(Duration::from_secs(5), until_denied(reader, now, check));
    assert_eq!(refusal.await.unwrap().revision, 2);
}

#[tokio::test]
async fn the_expiry_of_a_rule_ends_what_it_allowed() {
    let mut expiring = rule("r", Effect::Allow, web());
    let now = OffsetDateTime::now_utc();
    expiring.expires = Some(now + Duration::from_millis(150));
    let (_states, mut reader) = watch::channel(state(1, vec![expiring]));
    reader.mark_unchanged();
    let id = web_id();
    let check =
        |state: &PolicyState, now| authorize(state, Source::Authenticated(&id), dst(), now).err();
    let refusal = tokio::time::timeout(Duration::from_secs(5), until_denied(reader, now, check));
    assert_eq!(refusal.await.unwrap().revision, 1);
}

#[test]
fn a_permit_says_until_when_and_why_where_its_rule_is_there_for_a_while_only() {
    let expires = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(100);
    let for_a_while = Rule {
        expires: Some(expires),
        reason: "INC-1".into(),
        ..rule("for-a-while", Effect::Allow, web())
    };
    let id = web_id();
    let permit = |rule: Rule| {
        let state = state(1, vec![rule]);
        authorize(
            &state,
            Source::Authenticated(&id),
            dst(),
            OffsetDateTime::UNIX_EPOCH,
        )
        .unwrap()
    };
    let permitted = permit(for_a_while);
    let expiring = permitted.expiring().unwrap();
    assert_eq!(
        (expiring.expires, expiring.reason.as_str()),
        (expires, "INC-1")
    );
    assert_eq!(permit(rule("ever", Effect::Allow, web())).expiring(), None);
}
