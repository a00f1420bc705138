//! Whether what is asked for is settled without a new rule.

use std::fmt;
use std::time::Duration;

use palisade_api::policy::{AllowReason, AuthorizationPolicy, DenyReason, Effect, Policy, Verdict};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::last_end;
use crate::policy::beside;
use crate::policy::revoked::Refused;
use crate::policy::rules::Rules;
use crate::policy::subject::{Called, Caller};

/// Why nothing need be done, or would help.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// By this rule, or what else allows it.
    Allowed(String),
    /// By this rule.
    Denied(String),
    /// The name of one of both is revoked: no rule is asked.
    Revoked(Refused),
}

impl Settled {
    /// For programs: nothing was applied, and why.
    pub(super) fn json(&self) -> Value {
        let decision = match self {
            Self::Allowed(_) => "allow",
            Self::Denied(_) | Self::Revoked(_) => "deny",
        };
        let mut json = json!({"applied": [], "decision": decision, "why": self.to_string()});
        if let (Some(json), Self::Revoked(one)) = (json.as_object_mut(), self) {
            json.insert("revoked".to_owned(), json!(one));
        }
        json
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(by) => write!(f, "it is allowed already, {by}; nothing was done"),
            Self::Denied(by) => write!(
                f,
                "the rule {by} denies it, whatever is allowed, so nothing was done; change that rule"
            ),
            Self::Revoked(Refused { identity, place }) => write!(
                f,
                "{identity} is revoked ({place}), and no rule is asked, so nothing was done; take it out of that list if it \
                 is to be trusted again"
            ),
        }
    }
}

/// What the rules say without it and with it.
pub(super) fn settled(
    rules: &Rules,
    policy: &AuthorizationPolicy,
    (callers, called, port): (&[Caller], &[Called], u16),
    now: OffsetDateTime,
) -> Option<Settled> {
    if let Some(refused) = revoked(rules, callers, called) {
        return Some(Settled::Revoked(refused));
    }
    let decided = |compiled: &Policy, now: OffsetDateTime| {
        let mut verdicts = Vec::new();
        for called in called {
            // No other rule may have asked for these.
            let mut called = called.clone();
            called.labels.extend(policy.target.labels.clone());
            let settings = rules.known.settings(&called.namespace);
            let destination = called.destination(&rules.trust_domain, settings);
            let decided = callers.iter().map(|caller| {
                let beside = beside::of(rules, caller);
                beside::decide(compiled, (caller, &beside), &destination, port, now).verdict
            });
            verdicts.extend(decided);
        }
        verdicts
    };
    // Its own former version is no reason to do nothing.
    let mut others = rules.policies.clone();
    others.retain(|one| (&one.namespace, &one.name) != (&policy.namespace, &policy.name));
    let without = Policy::new(others.clone());
    let before = decided(&without, now);
    // What allows it now may end before this would.
    let then = last_end(policy).map_or(now, |end| end - Duration::from_secs(1));
    let is_denied = |verdict: &Verdict| verdict.effect() == Effect::Deny;
    let ends_sooner = decided(&without, then).iter().any(is_denied);
    let allowed: Option<Vec<_>> = before
        .iter()
        .map(|verdict| match verdict {
            Verdict::Allow(AllowReason::Rule(rule)) => Some(format!("by the rule {rule}")),
            Verdict::Allow(reason) => {
                Some(format!("as {}", crate::records::in_words(reason.as_str())))
            }
            Verdict::Deny(_) => None,
        })
        .collect();
    let by = allowed.filter(|_| !ends_sooner);
    if let Some(by) = by.and_then(|by| by.into_iter().next()) {
        return Some(Settled::Allowed(by));
    }
    others.push(policy.clone());
    decided(&Policy::new(others), now)
        .into_iter()
        .find_map(|verdict| match verdict {
            Verdict::Deny(DenyReason::Rule(rule)) => Some(Settled::Denied(rule.to_string())),
            Verdict::Allow(_) | Verdict::Deny(DenyReason::NoRule(_)) => None,
        })
}

/// Somebody whom no rule lets in, or to whom it lets nobody in.
fn revoked(rules: &Rules, callers: &[Caller], called: &[Called]) -> Option<Refused> {
    let mut pairs = called
        .iter()
        .flat_map(|called| callers.iter().map(move |caller| (caller, called)));
    pairs.find_map(|(caller, called)| {
        let settings = rules.known.settings(&called.namespace);
        let destination = called.destination(&rules.trust_domain, settings);
        let id = rules.revoked.of_call_to(caller, &destination)?;
        Some(rules.revoked.refused(&id))
    })
}
