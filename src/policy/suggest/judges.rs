//! What the rules that exist say of what was seen.

use std::collections::BTreeSet;

use palisade_api::policy::{AllowReason, Destination, Effect, Policy, Verdict};
use palisade_api::spiffe::SpiffeId;
use time::OffsetDateTime;

use crate::policy::rules::Rules;
use crate::policy::subject::Called;
use crate::policy::traffic::{Beside, Denials, Edge, Was};
use crate::policy::{beside, unshadowed};

/// The rules that exist.
pub(super) struct Judges<'a> {
    rules: &'a Rules,
    acting: Policy,
    /// The allowances in shadow as if they acted, and nothing else.
    in_shadow: Policy,
    denials: Denials<'a>,
    now: OffsetDateTime,
}

/// What they say of an edge.
#[derive(Debug, Default)]
pub(super) struct Says {
    /// The caller's or the called one's name, where it is revoked: rules are asked no more.
    pub(super) revoked: Option<SpiffeId>,
    pub(super) is_admitted: bool,
    /// The allowances in shadow that would admit what is not; empty where they would not admit all of it.
    pub(super) in_shadow: BTreeSet<String>,
    /// Rules that deny it whatever is allowed.
    pub(super) denied_by: BTreeSet<String>,
    /// Rules that may, by who is at its address.
    pub(super) may_be_denied_by: BTreeSet<String>,
}

impl<'a> Judges<'a> {
    pub(super) fn new(rules: &'a Rules, now: OffsetDateTime) -> Self {
        Self {
            rules,
            acting: rules.compiled(),
            in_shadow: unshadowed::allowances(rules),
            denials: Denials::of(rules, now),
            now,
        }
    }

    /// Where there are no rules, or too little is known of who was called, they say nothing.
    pub(super) fn say(&self, edge: &Edge, called: &[Called], beside: &Beside) -> Says {
        if let Some(id) = self.revoked(edge, called) {
            return Says {
                revoked: Some(id),
                ..Says::default()
            };
        }
        if self.rules.policies.is_empty() {
            return Says::default();
        }
        let at = (edge.trust_domain(&self.rules.trust_domain), edge.port);
        let maybe = self.denials.maybe(beside, called, at).into_iter();
        let mut says = Says {
            may_be_denied_by: maybe.map(|rule| rule.to_string()).collect(),
            ..Says::default()
        };
        let is_in_doubt = edge.was == Was::Denied && !says.may_be_denied_by.is_empty();
        let mut is_all_in_shadow = true;
        let mut is_all_admitted = !called.is_empty();
        for one in called {
            let decide = |policy| self.decide(policy, edge, (one, beside));
            let verdict = decide(&self.acting);
            if allowing(&verdict).is_some() {
                continue;
            }
            is_all_admitted = false;
            if verdict.effect() == Effect::Deny {
                says.denied_by
                    .extend(verdict.rule().map(ToString::to_string));
            }
            match allowing(&decide(&self.in_shadow)) {
                Some(rule) => {
                    says.in_shadow.insert(rule);
                }
                None => is_all_in_shadow = false,
            }
        }
        says.is_admitted = is_all_admitted && !is_in_doubt;
        if !is_all_in_shadow {
            says.in_shadow.clear();
        }
        says
    }

    /// As the record names both; where it does not name the account that was called, as that is known.
    fn revoked(&self, edge: &Edge, called: &[Called]) -> Option<SpiffeId> {
        let revoked = &self.rules.revoked;
        let named = revoked.of_call(&edge.from, edge.identity.as_ref());
        named.or_else(|| {
            let mut called = called.iter();
            called.find_map(|one| revoked.of_call_to(&edge.from, &self.destination(edge, one)))
        })
    }

    fn destination<'b>(&'b self, edge: &'b Edge, called: &'b Called) -> Destination<'b> {
        let trust_domain = edge.trust_domain(&self.rules.trust_domain);
        let settings = self.rules.known.settings(&edge.namespace);
        called.destination(trust_domain, settings)
    }

    fn decide(
        &self,
        policy: &Policy,
        edge: &Edge,
        (called, beside): (&Called, &Beside),
    ) -> Verdict {
        let destination = self.destination(edge, called);
        let caller = (&edge.from, &*beside.known);
        beside::decide(policy, caller, &destination, edge.port, self.now).verdict
    }
}

/// The rule that allows it, where one does.
fn allowing(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Allow(AllowReason::Rule(rule)) => Some(rule.to_string()),
        Verdict::Allow(_) | Verdict::Deny(_) => None,
    }
}
