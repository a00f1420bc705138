//! What the rules that exist say of what was seen.

use std::collections::BTreeSet;

use palisade_api::policy::{AllowReason, Effect, Policy, Verdict};
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

    fn decide(
        &self,
        policy: &Policy,
        edge: &Edge,
        (called, beside): (&Called, &Beside),
    ) -> Verdict {
        let trust_domain = edge.trust_domain(&self.rules.trust_domain);
        let settings = self.rules.known.settings(&edge.namespace);
        let destination = called.destination(trust_domain, settings);
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
