//! Asks both sides the same questions.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::policy::{
    AllowReason, DenyReason, Effect, Policy, PortRange, Rule, RuleName, Verdict,
};
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::NamespaceSettings;
use time::OffsetDateTime;

use super::about::Index;
use super::called::{self, Concerned, Deciding, Inhabitants, Limits, Place};
use super::callers::{self, Callers, Classes};
use super::changed::{self, Sentences};
use super::{Sides, TooManyError};
use crate::policy::ports;
use crate::policy::revoked::Answer;
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
    /// Everybody who may be answered otherwise, also those of whom nothing changes in the end.
    pub(super) places: Vec<Place>,
    /// Whether these are all of the namespace.
    pub(super) is_everybody: bool,
    pub(super) flips: Vec<Flip>,
    /// By its name for people: the ports at which one would be told of, if its sidecar saw them.
    pub(super) excluded: Excluded,
}

type Excluded = BTreeMap<String, BTreeSet<u16>>;

/// One question that both sides answer otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flip {
    pub(super) why: Why,
    pub(super) from: Callers,
    pub(super) to: Place,
    /// Ports that no rule tells apart which is about them.
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
    /// The name of one of the ends is revoked.
    Revoked(SpiffeId),
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
    let index = Index::of(&callers, sides.trust_domain);
    let sentences = Sentences::of(sides);
    let inhabitants = Inhabitants::of(sides);
    let mut all = Vec::new();
    let mut needed = 0_u64;
    for (name, shown) in namespaces(sides) {
        let settings = changed::settings(sides, &name);
        let is_set = changed::is_set_otherwise(sides, settings);
        let about: Vec<_> = sentences.about(&name).collect();
        let limits = Limits {
            is_set,
            revoked: changed::revoked_accounts(sides, &name),
            most,
        };
        let concerned = called::concerned(&inhabitants, &about, (&name, &shown), &limits)?;
        if concerned.places.is_empty() {
            continue;
        }
        let Concerned {
            places,
            is_everybody,
        } = concerned;
        let mut asked = Vec::new();
        for (place, deciding) in places {
            let questions = questions(&index, &deciding, is_set);
            let ports = questions.iter().map(|(_, ports)| ports.len());
            needed = needed.saturating_add(u64::try_from(ports.sum::<usize>()).unwrap_or(u64::MAX));
            if needed > most {
                return Err(TooManyError { needed, most });
            }
            asked.push((place, questions));
        }
        all.push((shown, settings, is_everybody, asked));
    }
    let decider = Decider {
        sides,
        policies: [sides.before.compiled(), sides.after.compiled()],
        index: &index,
        now,
    };
    let namespaces = all
        .into_iter()
        .map(|(shown, settings, is_everybody, asked)| {
            let (flips, excluded) = decider.flips(&asked, settings);
            Namespace {
                shown,
                is_everybody,
                flips,
                excluded,
                places: asked.into_iter().map(|(place, _)| place).collect(),
            }
        });
    let namespaces = namespaces.collect();
    Ok(Compared {
        namespaces,
        callers,
    })
}

/// Each by its name, and by its name for people; one that nobody tells of stands for all others.
fn namespaces(sides: Sides<'_>) -> Vec<(String, String)> {
    let named = changed::namespaces(sides);
    let other = callers::unused("other", |name| named.contains(name));
    let others = match named.is_empty() {
        true => "any namespace",
        false => "any other namespace",
    };
    let named = named
        .into_iter()
        .map(|name| (name.to_owned(), name.to_owned()));
    named.chain([(other, others.to_owned())]).collect()
}

/// What is asked about one place: classes of callers, by their numbers, and for each the ports.
type Questions = Vec<(usize, Vec<PortRange>)>;

/// Where one side has other rules about a caller, the ports of these; where the namespace `is_set` otherwise, all.
fn questions(index: &Index<'_>, deciding: &Deciding<'_>, is_set: bool) -> Questions {
    let mut about: BTreeMap<usize, About<'_>> = BTreeMap::new();
    if is_set {
        about.extend((0..index.all.len()).map(|number| (number, About::default())));
    }
    for sentence in &deciding.otherwise {
        for number in index.find(sentence.rule) {
            about
                .entry(number)
                .or_default()
                .otherwise
                .push(sentence.rule);
        }
    }
    if about.is_empty() {
        return Vec::new();
    }
    for sentence in &deciding.alike {
        for number in index.find(sentence.rule) {
            if let Some(about) = about.get_mut(&number) {
                about.alike.push(sentence.rule);
            }
        }
    }
    let questions = about.into_iter();
    questions
        .map(|(number, about)| (number, about.ports(is_set)))
        .collect()
}

/// The rules about one caller that select one place.
#[derive(Default)]
struct About<'a> {
    otherwise: Vec<&'a Rule>,
    alike: Vec<&'a Rule>,
}

impl About<'_> {
    /// Ports, cut wherever one of these rules begins or ends, of which answers may differ.
    fn ports(&self, is_set: bool) -> Vec<PortRange> {
        let mut firsts = BTreeSet::from([1]);
        for rule in self.otherwise.iter().chain(&self.alike) {
            for PortRange { first, last } in &rule.ports {
                firsts.insert(*first);
                firsts.extend(last.checked_add(1));
            }
        }
        let firsts: Vec<u16> = firsts.into_iter().collect();
        let ends = firsts.iter().skip(1).map(|next| next - 1);
        let ends = ends.chain([u16::MAX]);
        let ranges = firsts.iter().copied().zip(ends);
        let is_all = is_set || self.otherwise.iter().any(|rule| rule.ports.is_empty());
        let wanted = self.otherwise.iter().flat_map(|rule| &rule.ports);
        let wanted = ports::together(wanted.copied().collect());
        let is_wanted = |port: u16| {
            let before = wanted.partition_point(|range| range.first <= port);
            let range = before.checked_sub(1).and_then(|number| wanted.get(number));
            range.is_some_and(|range| range.contains(port))
        };
        ranges
            .map(|(first, last)| PortRange { first, last })
            .filter(|range| is_all || is_wanted(range.first))
            .collect()
    }
}

struct Decider<'a> {
    sides: Sides<'a>,
    policies: [Policy; 2],
    index: &'a Index<'a>,
    now: OffsetDateTime,
}

impl Decider<'_> {
    /// What flips, and where it would if a sidecar saw the port.
    fn flips(
        &self,
        asked: &[(Place, Questions)],
        settings: [NamespaceSettings; 2],
    ) -> (Vec<Flip>, Excluded) {
        let [old, new] = &self.policies;
        let (was, is) = (self.sides.before, self.sides.after);
        let [set_before, set_after] = settings;
        let (mut flips, mut excluded) = (Vec::new(), Excluded::new());
        for (to, questions) in asked {
            let domain = self.sides.trust_domain;
            let before = to.before.destination(domain, set_before);
            let after = to.after.destination(domain, set_after);
            for (number, ports) in questions {
                let Some((from, stands)) = self.index.all.get(*number) else {
                    continue;
                };
                let caller = (&stands.caller, &*stands.beside);
                for asked_at in ports {
                    let at = (asked_at.first, self.now);
                    let before = was.revoked.decide(old, caller, &before, at);
                    let after = is.revoked.decide(new, caller, &after, at);
                    let Some(why) = Why::of(&before, &after) else {
                        continue;
                    };
                    let unseen = to.excluded.range(asked_at.first..=asked_at.last);
                    if unseen.clone().next().is_some() {
                        let held = excluded.entry(to.shown.clone()).or_default();
                        held.extend(unseen);
                    }
                    let seen = ports::without(&[*asked_at], &to.excluded).into_iter();
                    flips.extend(seen.map(|ports| Flip {
                        why: why.clone(),
                        from: (*from).clone(),
                        to: to.clone(),
                        ports,
                    }));
                }
            }
        }
        (flips, excluded)
    }
}

impl Why {
    /// None where both allow or both deny.
    fn of(before: &Answer, after: &Answer) -> Option<Self> {
        let becomes = match (before.effect(), after.effect()) {
            (Effect::Deny, Effect::Allow) => Was::Allowed,
            (Effect::Allow, Effect::Deny) => Was::Denied,
            (Effect::Allow, Effect::Allow) | (Effect::Deny, Effect::Deny) => return None,
        };
        Some(Self {
            becomes,
            before: Said::of(before),
            after: Said::of(after),
        })
    }
}

impl Said {
    fn of(answer: &Answer) -> Self {
        let decision = match answer {
            Answer::Revoked(id) => return Self::Revoked(id.clone()),
            Answer::Decided(decision) => decision,
        };
        match &decision.verdict {
            Verdict::Allow(AllowReason::Rule(rule)) | Verdict::Deny(DenyReason::Rule(rule)) => {
                Self::Rule(rule.clone())
            }
            Verdict::Allow(AllowReason::Permissive) => Self::Permissive,
            Verdict::Allow(AllowReason::ClosingInShadow(_)) => Self::ClosingInShadow,
            Verdict::Deny(DenyReason::NoRule(_)) => Self::NoRule,
        }
    }
}
