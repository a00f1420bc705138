//! [`Policy`]: rules compiled into an index, and the one function that decides.

use std::net::IpAddr;

use time::OffsetDateTime;

use super::expiring::{self, ExpiringRules};
use super::index::{Compiled, Index};
use super::{
    AllowReason, AuthorizationPolicy, Decision, DenyReason, Destination, Difference, Effect, Mode,
    NearMiss, RuleName, Source, Verdict,
};
use crate::spiffe::SpiffeId;
use crate::workload::{Closing, Mtls};

/// Policy objects, compiled.
///
/// What [`Policy::decide`] costs does not grow with the rules that protect other workloads or are about other
/// sources.
#[derive(Debug, Default)]
pub struct Policy {
    index: Index,
    /// Ascending.
    expiries: Vec<OffsetDateTime>,
    pub(super) expiring: ExpiringRules,
}

impl Policy {
    /// Compiles policy objects. Their order, and that of their rules, means nothing.
    pub fn new(objects: Vec<AuthorizationPolicy>) -> Self {
        let expiring = expiring::of(&objects);
        let index = Index::new(objects);
        let mut expiries: Vec<_> = index.rules().filter_map(|rule| rule.expires).collect();
        expiries.sort_unstable();
        Self {
            index,
            expiries,
            expiring,
        }
    }

    /// Decides whether `source` may reach `port` of `destination` at `now`.
    ///
    /// Deny before allow before the default denial. Where several rules say the same, the first by name is the
    /// one that is told of, so that the answer never depends on the order in which files were read.
    ///
    /// A rule in shadow only ever fills [`Decision::shadow`], and only if the verdict would be another one with
    /// every rule in shadow enforced.
    pub fn decide(
        &self,
        source: Source<'_>,
        destination: &Destination<'_>,
        port: u16,
        now: OffsetDateTime,
    ) -> Decision {
        let asked = Asked {
            source: canonical(source),
            destination,
            port,
            now,
        };
        let about: Vec<&Compiled> = self.index.about(asked.source, destination).collect();
        let said = Said::by(about.iter().copied(), asked);
        Decision {
            verdict: verdict(&said, asked, || self.near_miss(&about, asked)),
            shadow: shadow(&said, asked),
        }
    }

    /// Decides on a caller that proves nothing, and at whose address these identities are known (`beside`).
    ///
    /// What the rules for such callers allow is held against the denials of those identities, too: nobody sheds a denied
    /// name by leaving it at home. That no rule allows them denies nothing here. A denial in shadow is told of as any
    /// other. Nor does a rule in shadow allow what such a denial, enforced or in shadow, would deny were both enforced.
    pub fn decide_in_clear(
        &self,
        (addr, beside): (IpAddr, &[SpiffeId]),
        destination: &Destination<'_>,
        port: u16,
        now: OffsetDateTime,
    ) -> Decision {
        let mut decision = self.decide(Source::Unauthenticated(addr), destination, port, now);
        let is_denied = matches!(decision.verdict, Verdict::Deny(_));
        if is_denied && !decision.is_allowed_in_shadow() {
            return decision;
        }
        for id in beside {
            let asked = Asked {
                source: Source::Authenticated(id),
                destination,
                port,
                now,
            };
            let said = Said::by(self.index.about(asked.source, destination), asked);
            if is_denied {
                let is_held_back = said.deny.or(said.shadow_deny).is_some();
                decision.shadow = decision.shadow.filter(|_| !is_held_back);
                continue;
            }
            if let Some(rule) = said.deny {
                return Decision {
                    verdict: Verdict::Deny(DenyReason::Rule(rule.clone())),
                    shadow: None,
                };
            }
            let denied = || said.shadow_deny.map(|rule| (Effect::Deny, rule.clone()));
            decision.shadow = decision.shadow.or_else(denied);
        }
        decision
    }

    /// The next moment after `now` at which a rule expires: live connections are decided again then.
    pub fn next_change(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let past = self.expiries.partition_point(|expiry| *expiry <= now);
        self.expiries.get(past).copied()
    }

    /// The allowance that came nearest: it differs in the nearest field, then in the fewest, then is the first by name.
    ///
    /// Where no rule allows, each allowance for this source and destination differs in something nearer than these
    /// two. So all that follow are about others, and then for others, and need not be asked.
    fn near_miss(&self, about: &[&Compiled], asked: Asked<'_>) -> Option<NearMiss> {
        let Asked {
            source,
            destination,
            ..
        } = asked;
        let about_others = || {
            let allowances = self.index.allowances(destination);
            allowances
                .take(NEAR_MISS_CANDIDATES)
                .filter(|rule| rule.protects(destination))
        };
        let elsewhere = || {
            self.index
                .elsewhere(source, destination, NEAR_MISS_CANDIDATES)
        };
        asked
            .nearest(about.iter().copied(), None)
            .or_else(|| asked.nearest(about_others(), Some(Difference::From)))
            .or_else(|| asked.nearest(elsewhere(), Some(Difference::Target)))
    }
}

/// The farthest field in which a rule differs from what was asked, and in how many it does.
type Distance = (Difference, usize);

/// What is asked.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    source: Source<'a>,
    destination: &'a Destination<'a>,
    port: u16,
    now: OffsetDateTime,
}

impl Asked<'_> {
    /// The nearest of some allowances that come in the order of their names and all differ in `place`, if in any.
    fn nearest<'a>(
        self,
        rules: impl Iterator<Item = &'a Compiled>,
        place: Option<Difference>,
    ) -> Option<NearMiss> {
        let least = (place.unwrap_or(Difference::Mode), 1);
        let mut nearest: Option<(Distance, &RuleName)> = None;
        for rule in rules.filter(|rule| rule.effect == Effect::Allow) {
            let Some(distance) = self.distance(rule, place) else {
                continue;
            };
            if nearest.is_none_or(|(nearest, _)| distance < nearest) {
                nearest = Some((distance, &rule.name));
            }
            if distance == least {
                break;
            }
        }
        nearest.map(|((differs, _), rule)| NearMiss {
            rule: rule.clone(),
            differs,
        })
    }

    /// None for a rule that is not near: one that differs in its source and in its port too has nothing in common with
    /// what was asked.
    fn distance(self, rule: &Compiled, place: Option<Difference>) -> Option<Distance> {
        let is_at_port = rule.has_port(self.port);
        if place == Some(Difference::From) && !is_at_port {
            return None;
        }
        let fields = [
            (Difference::Mode, rule.mode == Mode::Shadow),
            (Difference::Expired, rule.has_expired(self.now)),
            (Difference::Port, !is_at_port),
        ];
        let own = fields
            .into_iter()
            .filter_map(|(field, differs)| differs.then_some(field));
        let differing = own.chain(place);
        Some((differing.clone().max()?, differing.count()))
    }

    fn is_let_in_by_permissiveness(self) -> bool {
        matches!(self.source, Source::Unauthenticated(_))
            && self.destination.settings.mtls == Mtls::Permissive
    }
}

/// What the rules say that fit; of each kind, the first by name.
#[derive(Debug, Default)]
struct Said<'a> {
    deny: Option<&'a RuleName>,
    allow: Option<&'a RuleName>,
    shadow_deny: Option<&'a RuleName>,
    shadow_allow: Option<&'a RuleName>,
}

impl<'a> Said<'a> {
    /// What those say that fit in port and time; all of them fit in source and destination.
    fn by(about: impl Iterator<Item = &'a Compiled>, asked: Asked<'_>) -> Self {
        let mut said = Self::default();
        for rule in about {
            if rule.has_port(asked.port) && !rule.has_expired(asked.now) {
                said.hear(rule);
            }
        }
        said
    }

    fn hear(&mut self, rule: &'a Compiled) {
        let said = match (rule.effect, rule.mode) {
            (Effect::Deny, Mode::Enforce) => &mut self.deny,
            (Effect::Allow, Mode::Enforce) => &mut self.allow,
            (Effect::Deny, Mode::Shadow) => &mut self.shadow_deny,
            (Effect::Allow, Mode::Shadow) => &mut self.shadow_allow,
        };
        // They come in the order of their names.
        said.get_or_insert(&rule.name);
    }
}

fn verdict(
    said: &Said<'_>,
    asked: Asked<'_>,
    near_miss: impl FnOnce() -> Option<NearMiss>,
) -> Verdict {
    if let Some(rule) = said.deny {
        return Verdict::Deny(DenyReason::Rule(rule.clone()));
    }
    if let Some(rule) = said.allow {
        return Verdict::Allow(AllowReason::Rule(rule.clone()));
    }
    if asked.is_let_in_by_permissiveness() {
        return Verdict::Allow(AllowReason::Permissive);
    }
    match asked.destination.settings.closing {
        Closing::Enforce => Verdict::Deny(DenyReason::NoRule(near_miss())),
        Closing::Shadow => Verdict::Allow(AllowReason::ClosingInShadow(near_miss())),
    }
}

fn shadow(said: &Said<'_>, asked: Asked<'_>) -> Option<(Effect, RuleName)> {
    if said.deny.is_some() {
        return None;
    }
    let is_open = said.allow.is_some()
        || asked.is_let_in_by_permissiveness()
        || asked.destination.settings.closing == Closing::Shadow;
    let (effect, rule) = match (is_open, said.shadow_deny, said.shadow_allow) {
        (true, Some(rule), _) => (Effect::Deny, rule),
        (false, None, Some(rule)) => (Effect::Allow, rule),
        (true, None, _) | (false, Some(_), _) | (false, None, None) => return None,
    };
    Some((effect, rule.clone()))
}

/// An IPv4 address that came in IPv6's clothes is the IPv4 address, or a denial of its network would miss it.
fn canonical(source: Source<'_>) -> Source<'_> {
    match source {
        Source::Unauthenticated(addr) => Source::Unauthenticated(addr.to_canonical()),
        Source::Authenticated(_) => source,
    }
}

/// How many rules about others, and for others, by name, are looked at for a near miss: a denied caller must not be able
/// to make us read every rule.
const NEAR_MISS_CANDIDATES: usize = 64;
