//! What holds for `decide` whatever the rules are, and whoever asks.
//!
//! Only what the crate shows is used here, as `tests/fuzz` has this module, too.

use super::plain::{Asked, allows, plain};
use crate::policy::{AuthorizationPolicy, DenyReason, Effect, From, Mode, Rule, Target, Verdict};

/// Policies in any order, and their rules in any.
type Policies = Vec<AuthorizationPolicy>;

pub(super) fn the_index_agrees_with_a_plain_reading(policies: &Policies, asked: &Asked) {
    assert_eq!(asked.of(policies.clone()), plain(policies, asked));
}

/// `shuffled` are the same policies.
pub(super) fn order_means_nothing(policies: &Policies, mut shuffled: Policies, asked: &Asked) {
    shuffled
        .iter_mut()
        .for_each(|policy| policy.rules.reverse());
    assert_eq!(asked.of(policies.clone()), asked.of(shuffled));
}

pub(super) fn a_denial_wins_whatever_else_there_is(policies: &Policies, asked: &Asked) {
    let all = [&**policies, &[baseline(Effect::Deny)]].concat();
    let verdict = asked.of(all).verdict;
    assert!(
        matches!(verdict, Verdict::Deny(DenyReason::Rule(_))),
        "{verdict:?}"
    );
}

pub(super) fn an_allowance_more_never_takes_access_away(
    policies: &Policies,
    mut more: AuthorizationPolicy,
    asked: &Asked,
) {
    more.rules
        .iter_mut()
        .for_each(|rule| rule.effect = Effect::Allow);
    let before = asked.of(policies.clone());
    let after = asked.of([&**policies, &[more]].concat());
    assert!(allows(&after) || !allows(&before), "{before:?}, {after:?}");
}

pub(super) fn rules_in_shadow_change_no_verdict_but_its_near_miss(
    policies: &Policies,
    asked: &Asked,
) {
    let mut enforced = policies.clone();
    enforced
        .iter_mut()
        .for_each(|policy| policy.rules.retain(|rule| rule.mode == Mode::Enforce));
    assert_eq!(
        allows(&asked.of(policies.clone())),
        allows(&asked.of(enforced))
    );
}

pub(super) fn what_shadow_says_is_what_enforcing_it_does(policies: &Policies, asked: &Asked) {
    let decision = asked.of(policies.clone());
    let changes = allows(&decision) != allows(&asked.of(enforced(policies.clone())));
    assert_eq!(decision.shadow.is_some(), changes, "{decision:?}");
}

pub(super) fn who_comes_without_its_identity_has_two_denials_to_pass(
    policies: &Policies,
    asked: &Asked,
) {
    let without = Asked {
        id: None,
        ..asked.clone()
    };
    let decision = asked.in_clear(policies.clone());
    let is_denied_by_name = asked.id.is_some()
        && matches!(
            plain(policies, asked).verdict,
            Verdict::Deny(DenyReason::Rule(_))
        );
    let passes = allows(&plain(policies, &without)) && !is_denied_by_name;
    assert_eq!(allows(&decision), passes, "{decision:?}");
    let changes = passes != allows(&asked.in_clear(enforced(policies.clone())));
    assert_eq!(decision.shadow.is_some(), changes, "{decision:?}");
}

/// The same, with nothing in shadow.
fn enforced(mut policies: Vec<AuthorizationPolicy>) -> Vec<AuthorizationPolicy> {
    for rule in policies.iter_mut().flat_map(|policy| &mut policy.rules) {
        rule.mode = Mode::Enforce;
    }
    policies
}

/// A rule that is about everybody, everywhere, always.
fn baseline(effect: Effect) -> AuthorizationPolicy {
    let domains = ["one.test", "two.test"].map(|name| From::TrustDomain(name.parse().unwrap()));
    let networks = ["0.0.0.0/0", "::/0"].map(|cidr| From::Unauthenticated(cidr.parse().unwrap()));
    AuthorizationPolicy {
        namespace: None,
        name: "baseline".to_owned(),
        target: Target::default(),
        rules: vec![Rule {
            name: "everybody".to_owned(),
            effect,
            from: domains.into_iter().chain(networks).collect(),
            ports: Vec::new(),
            mode: Mode::Enforce,
            expires: None,
            reason: String::new(),
        }],
    }
}
