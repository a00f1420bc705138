//! Everybody who may be called in one namespace and may be answered otherwise, in classes that no rule of either side
//! tells apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::callers::unused;
use super::changed::Sentence;
use super::targets::{Asked, Targets};
use super::{Sides, TooManyError};
use crate::policy::rules::Workload;
use crate::policy::subject::{self, Called};

/// One that is known, or that stands for all that have the same labels and account as far as rules ask for them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// As people call it.
    pub(super) shown: String,
    /// As the one side knows it, and the other.
    pub(super) before: Called,
    pub(super) after: Called,
    /// What makes it one of those that are not known.
    asked: Option<Asked>,
}

impl Place {
    /// Whether people would take the other for one of these: it has all that these are named by, and more.
    pub(super) fn includes(&self, other: &Self) -> bool {
        match (&self.asked, &other.asked) {
            (Some(own), Some(other)) => !own.is_nothing() && own != other && own.is_part_of(other),
            (None, _) | (_, None) => false,
        }
    }
}

/// The meshed workloads of either side, by namespace.
#[derive(Debug)]
pub(super) struct Inhabitants<'a> {
    by_namespace: HashMap<&'a str, [BTreeSet<Called>; 2]>,
}

impl<'a> Inhabitants<'a> {
    /// Replicas that rules cannot tell apart are one.
    pub(super) fn of(sides: Sides<'a>) -> Self {
        let mut keys = subject::selected_labels(sides.before);
        keys.extend(subject::selected_labels(sides.after));
        let mut by_namespace: HashMap<&str, [BTreeSet<Called>; 2]> = HashMap::new();
        let is_meshed = |one: &&Workload| one.meshed;
        for one in sides.before.known.workloads.iter().filter(is_meshed) {
            let [before, _] = by_namespace.entry(&one.namespace).or_default();
            before.insert(subject::of(one, &keys));
        }
        for one in sides.after.known.workloads.iter().filter(is_meshed) {
            let [_, after] = by_namespace.entry(&one.namespace).or_default();
            after.insert(subject::of(one, &keys));
        }
        Self { by_namespace }
    }

    /// Those of a namespace, as both sides know them.
    fn places(&self, namespace: &str) -> BTreeSet<Place> {
        let Some([before, after]) = self.by_namespace.get(namespace) else {
            return BTreeSet::new();
        };
        let [old, new] = [before, after].map(by_name);
        let one_of = |side: &BTreeMap<&str, Vec<&Called>>, name: &str| match side.get(name) {
            Some(found) => match found.as_slice() {
                [one] => Some((*one).clone()),
                _ => None,
            },
            None => None,
        };
        let places = before.union(after).map(|called| {
            // One that has other labels now was something else before.
            let sides = one_of(&old, &called.name).zip(one_of(&new, &called.name));
            let (before, after) = sides.unwrap_or_else(|| (called.clone(), called.clone()));
            Place {
                shown: called.to_string(),
                before,
                after,
                asked: None,
            }
        });
        places.collect()
    }
}

fn by_name(side: &BTreeSet<Called>) -> BTreeMap<&str, Vec<&Called>> {
    let mut by_name: BTreeMap<&str, Vec<&Called>> = BTreeMap::new();
    for called in side {
        by_name.entry(&called.name).or_default().push(called);
    }
    by_name
}

/// Those of a namespace who may be answered otherwise, with what decides on them.
#[derive(Debug, Default)]
pub(super) struct Concerned<'a> {
    pub(super) places: Vec<(Place, Deciding<'a>)>,
    /// Whether these are all of the namespace.
    pub(super) is_everybody: bool,
}

/// The rules of both sides that select one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Deciding<'a> {
    /// Where one side has others, or has them for others.
    pub(super) otherwise: Vec<Sentence<'a>>,
    pub(super) alike: Vec<Sentence<'a>>,
}

/// Finds those of a namespace who may be answered otherwise; `shown` is its name for people. Where it `is_set` otherwise,
/// that is everybody.
///
/// # Errors
///
/// Where there are more than `most`.
pub(super) fn concerned<'a>(
    inhabitants: &Inhabitants<'_>,
    sentences: &[Sentence<'a>],
    (namespace, shown): (&str, &str),
    (is_set, most): (bool, u64),
) -> Result<Concerned<'a>, TooManyError> {
    let known = inhabitants.places(namespace);
    let is_moved = known.iter().any(|place| place.before != place.after);
    if !is_set && !is_moved && !sentences.iter().any(|sentence| sentence.is_changed) {
        return Ok(Concerned::default());
    }
    let by_target = ByTarget::of(sentences);
    let ByTarget {
        targets, changed, ..
    } = &by_target;
    let seeds = changed.iter().filter_map(|number| targets.at(*number));
    let mut seeds: BTreeSet<Asked> = seeds.cloned().collect();
    if is_set {
        seeds.insert(Asked::default());
    }
    let is_everybody = seeds.contains(&Asked::default());
    let mut places = Vec::new();
    let mut seen = BTreeSet::new();
    for place in known {
        let before = targets.fitting(&Asked::had_by(&place.before));
        let after = targets.fitting(&Asked::had_by(&place.after));
        let is_moved = before != after;
        let is_concerned = is_everybody || is_moved || !before.is_disjoint(changed);
        if is_concerned {
            places.push((place, by_target.deciding(&before, &after)));
        }
        if !is_moved {
            seen.insert(after);
        }
    }
    let other = unused("other", |name| targets.has_account(name));
    for asked in targets.together(seeds, most)? {
        let fitting = targets.fitting(&asked);
        if seen.contains(&fitting) {
            continue;
        }
        let called = Called {
            namespace: namespace.to_owned(),
            name: String::new(),
            service_account: asked.account().unwrap_or(&other).to_owned(),
            labels: asked.labels(),
        };
        let place = Place {
            shown: asked.shown(shown),
            before: called.clone(),
            after: called,
            asked: Some(asked),
        };
        places.push((place, by_target.deciding(&fitting, &fitting)));
    }
    Ok(Concerned {
        places,
        is_everybody,
    })
}

/// The rules of one namespace, by what their targets ask for.
#[derive(Debug, Default)]
struct ByTarget<'a> {
    targets: Targets,
    /// By the number of the target.
    sentences: Vec<Vec<Sentence<'a>>>,
    /// The targets of rules that only one side has.
    changed: BTreeSet<usize>,
}

impl<'a> ByTarget<'a> {
    fn of(sentences: &[Sentence<'a>]) -> Self {
        let mut all = Self::default();
        for sentence in sentences {
            let number = all.targets.number(sentence.target);
            if number >= all.sentences.len() {
                all.sentences.resize_with(number + 1, Vec::new);
            }
            if let Some(held) = all.sentences.get_mut(number) {
                held.push(*sentence);
            }
            if sentence.is_changed {
                all.changed.insert(number);
            }
        }
        all
    }

    /// The rules of the targets that a workload fits, on both sides.
    fn deciding(&self, before: &BTreeSet<usize>, after: &BTreeSet<usize>) -> Deciding<'a> {
        let mut deciding = Deciding::default();
        for number in before.union(after) {
            let is_moved = before.contains(number) != after.contains(number);
            for sentence in self.sentences.get(*number).into_iter().flatten() {
                if is_moved || sentence.is_changed {
                    deciding.otherwise.push(*sentence);
                } else {
                    deciding.alike.push(*sentence);
                }
            }
        }
        deciding
    }
}
