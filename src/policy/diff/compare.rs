//! Asks both sides the same questions.

use std::collections::BTreeSet;

use palisade_api::policy::{
    AllowReason, Decision, DenyReason, Policy, PortRange, RuleName, Source, Verdict,
};
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::NamespaceSettings;
use time::OffsetDateTime;

use super::called::{self, Place};
use super::callers::{self, Callers, Classes};
use super::changed::{self, Changed};
use super::{Sides, TooManyError};
use crate::policy::beside;
use crate::policy::subject::Caller;
use crate::policy::traffic::Was;

/// All differences, and among whom they were looked for.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) callers: Classes,
    pub(super) namespaces: Vec<Namespace>,
}

/// The differences of one namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    /// As people call it.
    pub(super) shown: String,
    /// Everybody who may be called, also those of whom nothing changes.
    pub(super) places: Vec<Place>,
    pub(super) flips: Vec<Flip>,
}

/// One question that both sides answer otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flip {
    pub(super) why: Why,
    pub(super) from: Callers,
    pub(super) to: Place,
    /// Ports that no rule of the namespace tells apart.
    pub(super) ports: PortRange,
}

/// What becomes of it, and by what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Why {
    pub(super) becomes: Was,
    pub(super) before: Said,
    pub(super) after: Said,
}

/// What decides it on one side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    Rule(RuleName),
    NoRule,
    Permissive,
    ClosingInShadow,
}

/// Finds all differences.
///
/// # Errors
///
/// Where more than `most` questions would have to be decided.
pub(super) fn compare(
    sides: Sides<'_>,
    now: OffsetDateTime,
    most: u64,
) -> Result<Compared, TooManyError> {
    let callers = callers::classes(sides);
    let mut named: Vec<(String, String)> = changed::namespaces(sides)
        .into_iter()
        .map(|name| (name.to_owned(), name.to_owned()))
        .collect();
    let other = callers::unused("other", |name| named.iter().any(|(own, _)| own == name));
    named.push((other, "any other namespace".to_owned()));
    let mut all = Vec::new();
    let mut needed = 0_u64;
    for (name, shown) in named {
        let changed = Changed::of(sides, &name);
        let places = called::places(sides, (&name, &shown), most)?;
        let is_moved = places.iter().any(|place| place.before != place.after);
        if changed.is_nothing() && !is_moved {
            continue;
        }
        let asked = Asked::of(sides, &changed, (&name, &places), &callers);
        needed = needed.saturating_add(asked.count());
        all.push((shown, changed.settings, places.clone(), asked));
    }
    if needed > most {
        return Err(TooManyError { needed, most });
    }
    let decider = Decider {
        sides,
        policies: [sides.before.compiled(), sides.after.compiled()],
        now,
    };
    let namespaces = all.into_iter().map(|(shown, settings, places, asked)| {
        let flips = decider.flips(&asked, settings);
        Namespace {
            shown,
            places,
            flips,
        }
    });
    Ok(Compared {
        namespaces: namespaces.collect(),
        callers,
    })
}

/// The questions of one namespace that both sides may answer otherwise.
struct Asked {
    /// With the identities that are known at the address of one that comes without.
    callers: Vec<(Callers, Caller, Vec<SpiffeId>)>,
    places: Vec<Place>,
    ports: Vec<PortRange>,
}

impl Asked {
    fn of(
        sides: Sides<'_>,
        changed: &Changed<'_>,
        (namespace, places): (&str, &[Place]),
        callers: &Classes,
    ) -> Self {
        // Who has other labels now may have been about any rule.
        let is_moved = places.iter().any(|place| place.before != place.after);
        let places = places.iter().filter(|place| changed.is_about(place));
        let callers = callers.iter().map(|(class, caller)| {
            let beside = beside_of(sides, caller);
            (class.clone(), caller.clone(), beside)
        });
        let callers = callers.filter(|(_, caller, beside)| {
            let beside = beside.iter().map(Source::Authenticated);
            let mut sources = beside.chain([caller.source()]);
            is_moved || sources.any(|source| changed.names(source, sides.trust_domain))
        });
        let ports = ports(sides, namespace).into_iter();
        Self {
            callers: callers.collect(),
            places: places.cloned().collect(),
            ports: ports
                .filter(|range| is_moved || changed.has_port(range.first))
                .collect(),
        }
    }

    fn count(&self) -> u64 {
        let sizes = [self.callers.len(), self.places.len(), self.ports.len()];
        let sizes = sizes.map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        sizes.into_iter().fold(1, u64::saturating_mul)
    }
}

/// The identities of the workloads without a sidecar that are known at a caller's address, on either side.
fn beside_of(sides: Sides<'_>, caller: &Caller) -> Vec<SpiffeId> {
    let Caller::Address(addr) = caller else {
        return Vec::new();
    };
    let known = [sides.before, sides.after].map(|side| side.known.workloads.iter());
    let known = known.into_iter().flatten().filter(|one| !one.meshed);
    beside::identities(known, *addr, sides.trust_domain)
}

/// All ports, cut wherever a rule of the namespace begins or ends.
fn ports(sides: Sides<'_>, namespace: &str) -> Vec<PortRange> {
    let mut firsts = BTreeSet::from([1]);
    for side in [sides.before, sides.after] {
        for (_, rule) in changed::rules(side, namespace) {
            for PortRange { first, last } in &rule.ports {
                firsts.insert(*first);
                firsts.extend(last.checked_add(1));
            }
        }
    }
    let firsts: Vec<u16> = firsts.into_iter().collect();
    let ends = firsts.iter().skip(1).map(|next| next - 1);
    let ends = ends.chain([u16::MAX]);
    let ranges = firsts.iter().copied().zip(ends);
    ranges
        .map(|(first, last)| PortRange { first, last })
        .collect()
}

struct Decider<'a> {
    sides: Sides<'a>,
    policies: [Policy; 2],
    now: OffsetDateTime,
}

impl Decider<'_> {
    fn flips(&self, asked: &Asked, settings: (NamespaceSettings, NamespaceSettings)) -> Vec<Flip> {
        let [old, new] = &self.policies;
        let mut flips = Vec::new();
        for to in &asked.places {
            let domain = self.sides.trust_domain;
            let before = to.before.destination(domain, settings.0);
            let after = to.after.destination(domain, settings.1);
            for (from, caller, beside) in &asked.callers {
                let caller = (caller, &**beside);
                for ports in &asked.ports {
                    let port = ports.first;
                    let before = beside::decide(old, caller, &before, port, self.now);
                    let after = beside::decide(new, caller, &after, port, self.now);
                    if let Some(why) = Why::of(&before, &after) {
                        flips.push(Flip {
                            why,
                            from: from.clone(),
                            to: to.clone(),
                            ports: *ports,
                        });
                    }
                }
            }
        }
        flips
    }
}

impl Why {
    /// None where both allow or both deny.
    fn of(before: &Decision, after: &Decision) -> Option<Self> {
        let becomes = match (&before.verdict, &after.verdict) {
            (Verdict::Deny(_), Verdict::Allow(_)) => Was::Allowed,
            (Verdict::Allow(_), Verdict::Deny(_)) => Was::Denied,
            (Verdict::Allow(_), Verdict::Allow(_)) | (Verdict::Deny(_), Verdict::Deny(_)) => {
                return None;
            }
        };
        Some(Self {
            becomes,
            before: Said::of(&before.verdict),
            after: Said::of(&after.verdict),
        })
    }
}

impl Said {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Allow(AllowReason::Rule(rule)) | Verdict::Deny(DenyReason::Rule(rule)) => {
                Self::Rule(rule.clone())
            }
            Verdict::Allow(AllowReason::Permissive) => Self::Permissive,
            Verdict::Allow(AllowReason::ClosingInShadow(_)) => Self::ClosingInShadow,
            Verdict::Deny(DenyReason::NoRule(_)) => Self::NoRule,
        }
    }
}
