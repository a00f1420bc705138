//! [`Policy`]: rules compiled into an index, and the one function that decides.

use time::OffsetDateTime;

use super::index::{Compiled, Index};
use super::{
    AllowReason, AuthorizationPolicy, Decision, DenyReason, Destination, Difference, Effect, Mode,
    NearMiss, RuleName, Source, Verdict,
};
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
}

impl Policy {
    /// Compiles policy objects. Their order, and that of their rules, means nothing.
    pub fn new(objects: Vec<AuthorizationPolicy>) -> Self {
        let index = Index::new(objects);
        let mut expiries: Vec<_> = index.rules().filter_map(|rule| rule.expires).collect();
        expiries.sort_unstable();
        Self { index, expiries }
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
        let source = canonical(source);
        let about = self.index.about(source, destination);
        let mut said = Said::default();
        for rule in &about {
            if rule.has_port(port) && !rule.has_expired(now) {
                said.hear(rule);
            }
        }
        let miss = || self.near_miss(source, destination, port, now);
        Decision {
            verdict: verdict(&said, source, destination, miss),
            shadow: shadow(&said, source, destination),
        }
    }

    /// The next moment after `now` at which a rule expires: live connections are decided again then.
    pub fn next_change(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let past = self.expiries.partition_point(|expiry| *expiry <= now);
        self.expiries.get(past).copied()
    }

    /// The allowance that came nearest: it differs in the nearest field, then in the fewest, then is the first by name.
    fn near_miss(
        &self,
        source: Source<'_>,
        destination: &Destination<'_>,
        port: u16,
        now: OffsetDateTime,
    ) -> Option<NearMiss> {
        let about_source = self.index.about(source, destination).into_iter();
        let about_others = self
            .index
            .protecting(destination)
            .take(NEAR_MISS_CANDIDATES);
        let elsewhere = self.index.elsewhere(source, destination);
        let candidates = about_source
            .map(|rule| (rule, true, true))
            .chain(about_others.map(|rule| (rule, rule.is_about(source, destination), true)))
            .chain(elsewhere.take(NEAR_MISS_CANDIDATES).map(|rule| {
                let protects = rule.protects(destination);
                (rule, true, protects)
            }));
        candidates
            .filter(|(rule, ..)| rule.effect == Effect::Allow)
            .filter_map(|(rule, from, target)| {
                let differs = [
                    (Difference::Mode, rule.mode == Mode::Shadow),
                    (Difference::Expired, rule.has_expired(now)),
                    (Difference::Port, !rule.has_port(port)),
                    (Difference::From, !from),
                    (Difference::Target, !target),
                ];
                nearness(differs).map(|near| (near, &rule.name))
            })
            .min()
            .map(|((differs, _), rule)| NearMiss {
                rule: rule.clone(),
                differs,
            })
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
    source: Source<'_>,
    destination: &Destination<'_>,
    near_miss: impl FnOnce() -> Option<NearMiss>,
) -> Verdict {
    if let Some(rule) = said.deny {
        return Verdict::Deny(DenyReason::Rule(rule.clone()));
    }
    if let Some(rule) = said.allow {
        return Verdict::Allow(AllowReason::Rule(rule.clone()));
    }
    if is_let_in_by_permissiveness(source, destination) {
        return Verdict::Allow(AllowReason::Permissive);
    }
    match destination.settings.closing {
        Closing::Enforce => Verdict::Deny(DenyReason::NoRule(near_miss())),
        Closing::Shadow => Verdict::Allow(AllowReason::ClosingInShadow(near_miss())),
    }
}

fn shadow(
    said: &Said<'_>,
    source: Source<'_>,
    destination: &Destination<'_>,
) -> Option<(Effect, RuleName)> {
    if said.deny.is_some() {
        return None;
    }
    let is_open = said.allow.is_some()
        || is_let_in_by_permissiveness(source, destination)
        || destination.settings.closing == Closing::Shadow;
    let (effect, rule) = match (is_open, said.shadow_deny, said.shadow_allow) {
        (true, Some(rule), _) => (Effect::Deny, rule),
        (false, None, Some(rule)) => (Effect::Allow, rule),
        (true, None, _) | (false, Some(_), _) | (false, None, None) => return None,
    };
    Some((effect, rule.clone()))
}

fn is_let_in_by_permissiveness(source: Source<'_>, destination: &Destination<'_>) -> bool {
    matches!(source, Source::Unauthenticated(_)) && destination.settings.mtls == Mtls::Permissive
}

/// The farthest field that differs, and in how many the rule does. None for a rule that is not near: one that
/// differs in its source and in its port or target too has nothing in common with what was asked.
fn nearness(differs: [(Difference, bool); 5]) -> Option<(Difference, usize)> {
    let fields = || differs.iter().filter(|(_, differs)| *differs);
    let farthest = fields().map(|(field, _)| *field).max()?;
    let has_other_source = fields().any(|(field, _)| *field == Difference::From);
    let has_other_place =
        fields().any(|(field, _)| matches!(field, Difference::Port | Difference::Target));
    (!(has_other_source && has_other_place)).then(|| (farthest, fields().count()))
}

/// An IPv4 address that came in IPv6's clothes is the IPv4 address, or a denial of its network would miss it.
fn canonical(source: Source<'_>) -> Source<'_> {
    match source {
        Source::Unauthenticated(addr) => Source::Unauthenticated(addr.to_canonical()),
        Source::Authenticated(_) => source,
    }
}

/// How many rules about others, by name, are looked at for a near miss: a denied caller must not be able to
/// make us read every rule.
const NEAR_MISS_CANDIDATES: usize = 64;
