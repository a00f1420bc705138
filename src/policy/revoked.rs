//! Who is refused whatever rules say, and what becomes of a call where it is held to that first, as sidecars do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade_api::manifest::RevocationsSpec;
use palisade_api::policy::{Decision, Destination, Effect, NearMiss, Policy, RuleName};
use palisade_api::spiffe::SpiffeId;
use serde::Serialize;
use time::OffsetDateTime;

use super::beside;
use super::subject::Caller;

/// Names and serial numbers that are revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// With where each is written, for people: `rules/revoked.yaml:1`.
    identities: BTreeMap<SpiffeId, String>,
    /// The same.
    serials: BTreeMap<String, String>,
}

/// A name that is revoked, and where that is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Refused {
    pub(crate) identity: String,
    pub(crate) place: String,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name of one of its ends is revoked: no rule is asked.
    Revoked(SpiffeId),
    /// What rules say.
    Decided(Decision),
}

impl Revoked {
    pub(crate) fn take(&mut self, spec: &RevocationsSpec, place: &str) {
        for id in &spec.identities {
            let held = self.identities.entry(id.clone());
            held.or_insert_with(|| place.to_owned());
        }
        for serial in &spec.serials {
            let held = self.serials.entry(serial.clone());
            held.or_insert_with(|| place.to_owned());
        }
    }

    /// Takes those of another in addition.
    pub(crate) fn add(&mut self, other: &Self) {
        for (id, place) in &other.identities {
            let held = self.identities.entry(id.clone());
            held.or_insert_with(|| place.clone());
        }
        for (serial, place) in &other.serials {
            let held = self.serials.entry(serial.clone());
            held.or_insert_with(|| place.clone());
        }
    }

    /// Leaves out what is written in files of these names.
    pub(crate) fn leave_out(&mut self, is_left_out: impl Fn(&str) -> bool) {
        let is_kept = |place: &String| {
            let file = place.rsplit_once(':').map_or(&**place, |(file, _)| file);
            let name = Path::new(file).file_name().and_then(|name| name.to_str());
            !name.is_some_and(&is_left_out)
        };
        self.identities.retain(|_, place| is_kept(place));
        self.serials.retain(|_, place| is_kept(place));
    }

    /// Where it is written, each place once.
    pub(crate) fn places(&self) -> BTreeSet<&str> {
        let places = self.identities.values().chain(self.serials.values());
        places.map(String::as_str).collect()
    }

    pub(crate) fn has_serials(&self) -> bool {
        !self.serials.is_empty()
    }

    pub(crate) fn identities(&self) -> impl Iterator<Item = &SpiffeId> {
        self.identities.keys()
    }

    pub(crate) fn has(&self, id: &SpiffeId) -> bool {
        self.identities.contains_key(id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.serials.is_empty()
    }

    /// For people, where it is written.
    pub(crate) fn refused(&self, id: &SpiffeId) -> Refused {
        Refused {
            identity: id.to_string(),
            place: self.identities.get(id).cloned().unwrap_or_default(),
        }
    }

    /// The name for which a call is refused. Each side shows its certificate and looks at the other's; who comes without
    /// one is shown none, and is not asked for a name.
    pub(crate) fn of_call(&self, caller: &Caller, called: Option<&SpiffeId>) -> Option<SpiffeId> {
        let Caller::Identity(id) = caller else {
            return None;
        };
        let mut ends = [Some(id), called].into_iter().flatten();
        ends.find(|id| self.has(id)).cloned()
    }

    /// The same, of one that is called as this.
    pub(crate) fn of_call_to(&self, caller: &Caller, called: &Destination<'_>) -> Option<SpiffeId> {
        if self.identities.is_empty() {
            return None;
        }
        let (namespace, account) = (called.namespace, called.service_account);
        let id = SpiffeId::of_service_account(called.trust_domain, namespace, account);
        self.of_call(caller, id.ok().as_ref())
    }

    /// Decides, as sidecars do: what is revoked is refused before any rule is asked.
    pub(crate) fn decide(
        &self,
        policy: &Policy,
        (caller, beside): (&Caller, &[SpiffeId]),
        destination: &Destination<'_>,
        (port, now): (u16, OffsetDateTime),
    ) -> Answer {
        if let Some(id) = self.of_call_to(caller, destination) {
            return Answer::Revoked(id);
        }
        Answer::Decided(beside::decide(
            policy,
            (caller, beside),
            destination,
            port,
            now,
        ))
    }

    /// What no answer about names can tell.
    pub(crate) fn warning(&self) -> Option<String> {
        let serials = match self.serials.len() {
            0 => return None,
            1 => "1 serial number is revoked".to_owned(),
            several => format!("{several} serial numbers are revoked"),
        };
        Some(format!(
            "{serials}: calls with these certificates are refused, which what is said here of names leaves out"
        ))
    }
}

impl Answer {
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::Revoked(_) => Effect::Deny,
            Self::Decided(decision) => decision.verdict.effect(),
        }
    }

    /// In the word of records.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Revoked(_) => REVOKED,
            Self::Decided(decision) => decision.verdict.reason(),
        }
    }

    /// The rule that decided.
    pub(crate) fn rule(&self) -> Option<&RuleName> {
        self.decision().and_then(|one| one.verdict.rule())
    }

    pub(crate) fn near_miss(&self) -> Option<&NearMiss> {
        self.decision().and_then(|one| one.verdict.near_miss())
    }

    pub(crate) fn shadow(&self) -> Option<&(Effect, RuleName)> {
        self.decision().and_then(|one| one.shadow.as_ref())
    }

    /// The name that is revoked.
    pub(crate) fn revoked(&self) -> Option<&SpiffeId> {
        match self {
            Self::Revoked(id) => Some(id),
            Self::Decided(_) => None,
        }
    }

    fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Revoked(_) => None,
            Self::Decided(decision) => Some(decision),
        }
    }
}

/// The word of records.
pub(crate) const REVOKED: &str = "revoked";
/// What to do on a cluster.
pub(super) const DENY_INSTEAD: &str = "deny each identity in a ClusterAuthorizationPolicy, which no namespace overrides: \
                                       {name: revoked, effect: deny, from: [{identity: \"spiffe://…\"}]}";

#[cfg(test)]
mod tests {
    use palisade_api::policy::Policy;
    use time::macros::datetime;

    use super::*;
    use crate::policy::rules::sample::rules;
    use crate::policy::subject::{self, Subject};

    const RULES: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec:
  rules:
  - {name: all, effect: allow, from: [{namespace: shop}, {unauthenticated: {cidr: 10.0.0.0/8}}]}
---
apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec:
  identities: [spiffe://cluster.local/ns/shop/sa/web]
  serials: [0a1b]
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: web-0, namespace: shop}
spec: {serviceAccount: web, addresses: [10.0.0.7]}
";

    #[test]
    fn either_end_is_refused_by_name_before_rules_are_asked_but_not_one_in_clear() {
        let rules = rules(RULES);
        let policy: Policy = rules.compiled();
        let asked = |from: &str, to: &str| {
            let (from, to): (Subject, Subject) = (from.parse().unwrap(), to.parse().unwrap());
            let caller = subject::callers(&rules, &from).unwrap().remove(0);
            let called = subject::called(&rules, &to, &BTreeMap::new()).unwrap();
            let settings = rules.known.settings("shop");
            let destination = called[0].destination(&rules.trust_domain, settings);
            let beside = beside::of(&rules, &caller);
            let at = (8080, datetime!(2026-11-22 03:00 UTC));
            rules
                .revoked
                .decide(&policy, (&caller, &beside), &destination, at)
        };
        for (from, to) in [("shop/web", "shop/orders"), ("shop/orders", "shop/web")] {
            let answer = asked(from, to);
            assert_eq!((answer.effect(), answer.reason()), (Effect::Deny, REVOKED));
            let refused = rules.revoked.refused(answer.revoked().unwrap());
            assert!(refused.identity.ends_with("/sa/web"), "{refused:?}");
            assert!(refused.place.ends_with("rules.yaml:8"), "{refused:?}");
        }
        for (from, to) in [("shop/batch", "shop/orders"), ("10.0.0.7", "shop/web")] {
            let answer = asked(from, to);
            assert_eq!((answer.effect(), answer.reason()), (Effect::Allow, "rule"));
        }
        let warning = rules.revoked.warning().unwrap();
        assert!(warning.starts_with("1 serial number is"), "{warning}");
    }
}
