//! Everybody who may be called in one namespace and may be answered otherwise, in classes that no rule of either side
//! tells apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::callers::unused;
use super::changed::Sentence;
use super::targets::{Asked, Targets};
use super::{Sides, TooManyError};
use crate::policy::excluded;
use crate::policy::rules::Rules;
use crate::policy::subject::{self, Called};

/// One that is known, or that stands for all that have the same labels and account as far as rules ask for them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// As people call it.
    pub(super) shown: String,
    /// As the one side knows it, and the other.
    pub(super) before: Called,
    pub(super) after: Called,
    /// Ports that none of its sidecars sees: no rule is asked there.
    pub(super) excluded: BTreeSet<u16>,
    /// How many are called so, this one among them: rules tell replicas of one workload apart.
    pub(super) namesakes: usize,
    /// What makes it one of those that are not known.
    asked: Option<Asked>,
}

impl Place {
    /// What makes it one of those that are not known; none of one that is.
    pub(super) fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// All that people know of it: its account and labels on either side, or what is asked of it.
    pub(super) fn had(&self) -> Vec<Asked> {
        let known = [&self.before, &self.after].map(Asked::had_by);
        self.asked
            .clone()
            .map_or_else(|| known.into(), |asked| vec![asked])
    }
}

/// The meshed workloads of either side, by namespace.
#[derive(Debug)]
pub(super) struct Inhabitants<'a> {
    by_namespace: HashMap<&'a str, [BTreeSet<Called>; 2]>,
    /// The ports that all replicas of one exclude.
    excluded: BTreeMap<Called, BTreeSet<u16>>,
}

impl<'a> Inhabitants<'a> {
    /// Replicas that rules cannot tell apart are one.
    pub(super) fn of(sides: Sides<'a>) -> Self {
        let mut keys = subject::selected_labels(sides.before);
        keys.extend(subject::selected_labels(sides.after));
        let mut by_namespace: HashMap<&str, [BTreeSet<Called>; 2]> = HashMap::new();
        let meshed = |side: &'a Rules| side.known.workloads.iter().filter(|one| one.meshed);
        for one in meshed(sides.before) {
            let [before, _] = by_namespace.entry(&one.namespace).or_default();
            before.insert(subject::of(one, &keys));
        }
        for one in meshed(sides.after) {
            let [_, after] = by_namespace.entry(&one.namespace).or_default();
            after.insert(subject::of(one, &keys));
        }
        let everybody = meshed(sides.before).chain(meshed(sides.after));
        let excluded = excluded::unseen(everybody, &keys);
        Self {
            by_namespace,
            excluded,
        }
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
                excluded: self.excluded.get(&after).cloned().unwrap_or_default(),
                namesakes: 1,
                before,
                after,
                asked: None,
            }
        });
        let places: BTreeSet<Place> = places.collect();
        let mut namesakes: HashMap<String, usize> = HashMap::new();
        for place in &places {
            *namesakes.entry(place.shown.clone()).or_default() += 1;
        }
        let counted = places.into_iter().map(|place| Place {
            namesakes: namesakes.get(&place.shown).copied().unwrap_or(1),
            ..place
        });
        counted.collect()
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

/// What is asked of the places of one namespace.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    /// Whether everybody may be answered otherwise, whatever rules say.
    pub(super) is_set: bool,
    /// The accounts that are revoked, and on which sides. Of workloads that are not known, those of which a target asks
    /// for such an account are told of as such.
    pub(super) revoked: BTreeMap<&'a str, [bool; 2]>,
    /// How many questions may be decided.
    pub(super) most: u64,
}

impl Limits<'_> {
    /// Whether each side refuses this one's certificate.
    fn refused(&self, [before, after]: [&Called; 2]) -> [bool; 2] {
        let of = |called: &Called| self.revoked.get(&*called.service_account).copied();
        let [was, _] = of(before).unwrap_or_default();
        let [_, is] = of(after).unwrap_or_default();
        [was, is]
    }

    /// This one's account, where some side revokes it: nobody else is answered as it is.
    fn revoked_account(&self, called: &Called) -> Option<String> {
        let account = &called.service_account;
        let is_revoked = self.revoked.contains_key(&**account);
        is_revoked.then(|| account.clone())
    }

    /// The accounts that only one side revokes.
    fn refused_otherwise(&self) -> impl Iterator<Item = &str> {
        let accounts = self.revoked.iter();
        let otherwise = accounts.filter(|(_, [before, after])| before != after);
        otherwise.map(|(account, _)| *account)
    }
}

/// Finds those of a namespace who may be answered otherwise; `shown` is its name for people.
///
/// # Errors
///
/// Where there are more than `most`.
pub(super) fn concerned<'a>(
    inhabitants: &Inhabitants<'_>,
    sentences: &[Sentence<'a>],
    (namespace, shown): (&str, &str),
    limits: &Limits<'_>,
) -> Result<Concerned<'a>, TooManyError> {
    let known = inhabitants.places(namespace);
    let is_moved = known.iter().any(|place| place.before != place.after);
    let is_changed = sentences.iter().any(|sentence| sentence.is_changed)
        || limits.refused_otherwise().next().is_some();
    if !limits.is_set && !is_moved && !is_changed {
        return Ok(Concerned::default());
    }
    let by_target = ByTarget::of(sentences);
    let ByTarget {
        targets, changed, ..
    } = &by_target;
    let seeds = changed.iter().filter_map(|number| targets.at(*number));
    let mut seeds: BTreeSet<Asked> = seeds.cloned().collect();
    let revoked = limits.revoked.keys();
    let revoked = revoked.filter(|account| targets.has_account(account));
    seeds.extend(revoked.map(|account| Asked::of_account(account)));
    if limits.is_set {
        seeds.insert(Asked::default());
    }
    let is_everybody = seeds.contains(&Asked::default());
    let mut places = Vec::new();
    let mut seen = BTreeSet::new();
    for place in known {
        let before = targets.fitting(&Asked::had_by(&place.before));
        let after = targets.fitting(&Asked::had_by(&place.after));
        let is_moved = before != after;
        let [was, is] = limits.refused([&place.before, &place.after]);
        let is_otherwise = was != is;
        if !is_moved {
            seen.insert((after.clone(), limits.revoked_account(&place.after)));
        }
        let is_concerned = is_everybody || is_moved || !before.is_disjoint(changed);
        if is_concerned || is_otherwise {
            let deciding = by_target.deciding([&before, &after], is_otherwise);
            places.push((place, deciding));
        }
    }
    let other = unused("other", |name| {
        targets.has_account(name) || limits.revoked.contains_key(name)
    });
    for asked in targets.together(seeds, limits.most)? {
        let fitting = targets.fitting(&asked);
        let account = asked.account().unwrap_or(&other).to_owned();
        let place = standing(asked, (namespace, shown), account);
        if seen.contains(&(fitting.clone(), limits.revoked_account(&place.after))) {
            continue;
        }
        let [was, is] = limits.refused([&place.before, &place.after]);
        let deciding = by_target.deciding([&fitting, &fitting], was != is);
        places.push((place, deciding));
    }
    Ok(Concerned {
        places,
        is_everybody,
    })
}

/// One that stands for all who are not known and have what is asked.
fn standing(asked: Asked, (namespace, shown): (&str, &str), account: String) -> Place {
    let called = Called {
        namespace: namespace.to_owned(),
        name: String::new(),
        service_account: account,
        labels: asked.labels(),
    };
    Place {
        shown: asked.shown(shown, true),
        before: called.clone(),
        after: called,
        excluded: BTreeSet::new(),
        namesakes: 1,
        asked: Some(asked),
    }
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

    /// The rules of the targets that a workload fits, on both sides. One that is refused otherwise is answered otherwise
    /// by all of them.
    fn deciding(
        &self,
        [before, after]: [&BTreeSet<usize>; 2],
        is_refused_otherwise: bool,
    ) -> Deciding<'a> {
        let mut deciding = Deciding::default();
        for number in before.union(after) {
            let is_moved = before.contains(number) != after.contains(number);
            for sentence in self.sentences.get(*number).into_iter().flatten() {
                if is_refused_otherwise || is_moved || sentence.is_changed {
                    deciding.otherwise.push(*sentence);
                } else {
                    deciding.alike.push(*sentence);
                }
            }
        }
        deciding
    }
}
