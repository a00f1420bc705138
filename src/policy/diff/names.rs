//! Called ones by the names that people read: no name seems to cover one of whom another line tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::called::Place;
use super::compare::Namespace;
use super::targets::{Asked, Parts};

/// How the places of one namespace are named.
#[derive(Debug)]
pub(super) struct Names<'a> {
    namespace: &'a Namespace,
    /// Replicas of one workload that rules tell apart have one name.
    by_name: HashMap<&'a str, Vec<&'a Place>>,
    /// By each that stands for all who have some labels and account: the others who have them, too.
    included: BTreeMap<&'a Place, Vec<&'a Place>>,
    /// By one of those who are not known: who stands for all who have a part of what it has, the least first.
    around: BTreeMap<&'a Place, Vec<&'a Place>>,
}

/// A name, and all whom it covers.
pub(super) type Named<'a> = (String, BTreeSet<&'a Place>);

impl<'a> Names<'a> {
    pub(super) fn of(namespace: &'a Namespace) -> Self {
        let mut names = Self {
            namespace,
            by_name: HashMap::new(),
            included: BTreeMap::new(),
            around: BTreeMap::new(),
        };
        let mut parts = Parts::default();
        for place in &namespace.places {
            match place.asked() {
                Some(asked) if !asked.is_nothing() => parts.add(asked, place),
                Some(_) => {}
                None => names.by_name.entry(&place.shown).or_default().push(place),
            }
        }
        for place in &namespace.places {
            let had = place.had();
            let mut around: BTreeSet<&Place> = had.iter().flat_map(|had| parts.of(had)).collect();
            around.remove(place);
            for wider in &around {
                names.included.entry(wider).or_default().push(place);
            }
            if place.asked().is_some() {
                let mut around: Vec<&Place> = around.into_iter().collect();
                around.sort_by_key(|wider| wider.asked().map(Asked::count));
                names.around.insert(place, around);
            }
        }
        names
    }

    /// Those of whom the same is told, by as few names as tell of nobody else.
    pub(super) fn of_all(&self, told: &BTreeSet<&'a Place>) -> Vec<Named<'a>> {
        let Namespace {
            shown,
            places,
            is_everybody,
            ..
        } = self.namespace;
        let is_known = |place: &&Place| place.asked().is_none_or(|asked| !asked.is_nothing());
        let is_one = told.len() == 1 && told.iter().all(is_known);
        if *is_everybody && !is_one && told.len() == places.len() {
            return vec![(format!("every workload of {shown}"), told.clone())];
        }
        let wholes = self.wholes(told);
        let included = wholes.iter().flat_map(|place| self.included(place));
        let included: BTreeSet<&Place> = included.copied().collect();
        let mut named: BTreeMap<String, BTreeSet<&Place>> = BTreeMap::new();
        for place in told.iter().filter(|place| !included.contains(*place)) {
            let is_whole = wholes.contains(place);
            let name = self.name(place, told, is_whole);
            let covered = named.entry(name).or_default();
            covered.insert(place);
            if is_whole {
                covered.extend(self.included(place));
            }
        }
        named.into_iter().collect()
    }

    /// Those who stand for all who have a part of what this one has, where it is not known itself.
    pub(super) fn around(&self, place: &Place) -> &[&'a Place] {
        self.around.get(place).map_or(&[], Vec::as_slice)
    }

    fn included(&self, place: &Place) -> &[&'a Place] {
        self.included.get(place).map_or(&[], Vec::as_slice)
    }

    /// Those who stand for all who have some labels and account, where the same is told of all of these, none has a name of
    /// its own, and none is another's part already.
    fn wholes(&self, told: &BTreeSet<&'a Place>) -> BTreeSet<&'a Place> {
        let mut classes: Vec<(usize, &Place)> = told
            .iter()
            .filter_map(|place| Some((place.asked()?.count(), *place)))
            .collect();
        classes.sort_unstable();
        let mut taken: BTreeSet<&Place> = BTreeSet::new();
        let mut wholes = BTreeSet::new();
        for (_, place) in classes {
            let mut included = self.included(place).iter();
            let is_whole = included.all(|other| {
                other.asked().is_some() && told.contains(other) && !taken.contains(other)
            });
            if is_whole && !taken.contains(place) {
                taken.extend(self.included(place));
                wholes.insert(place);
            }
        }
        wholes
    }

    fn name(&self, place: &Place, told: &BTreeSet<&Place>, is_whole: bool) -> String {
        let namespace = &self.namespace.shown;
        if let Some(asked) = place.asked() {
            return asked.shown(namespace, is_whole);
        }
        let same = self
            .by_name
            .get(&*place.shown)
            .map_or(&[][..], Vec::as_slice);
        // Of some, nothing may be told at all.
        let is_all = same.len() == place.namesakes && same.iter().all(|one| told.contains(one));
        if is_all {
            return place.shown.clone();
        }
        let account = &place.after.service_account;
        let labels = place.after.labels.iter();
        let mut apart: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if same.iter().any(|one| one.after.service_account != *account) {
            apart.push(format!("account {account}"));
        }
        if apart.is_empty() {
            apart.push("without labels that rules ask for".to_owned());
        }
        format!("{} ({})", place.shown, apart.join(", "))
    }
}
