//! Everybody who may be called in one namespace, in classes that no rule of either side tells apart.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::policy::{AuthorizationPolicy, Target};

use super::callers::unused;
use super::{Rules, Sides, TooManyError};
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
            (Some(own), Some(other)) => {
                *own != Asked::default() && own != other && own.is_part_of(other)
            }
            (None, _) | (_, None) => false,
        }
    }
}

/// What a target asks of a workload, beside its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    account: Option<String>,
    labels: BTreeMap<String, String>,
}

impl Asked {
    fn of(target: &Target) -> Self {
        Self {
            account: target.service_account.clone(),
            labels: target.labels.clone(),
        }
    }

    fn fits(&self, called: &Called) -> bool {
        let is_account = self
            .account
            .as_ref()
            .is_none_or(|own| *own == called.service_account);
        let mut labels = self.labels.iter();
        is_account && labels.all(|(key, value)| called.labels.get(key) == Some(value))
    }

    fn is_part_of(&self, more: &Self) -> bool {
        let mut labels = self.labels.iter();
        (self.account.is_none() || self.account == more.account)
            && labels.all(|(key, value)| more.labels.get(key) == Some(value))
    }

    /// Both; none where nobody can be both.
    fn and(&self, other: &Self) -> Option<Self> {
        let mut both = self.clone();
        match (&both.account, &other.account) {
            (Some(own), Some(other)) if own != other => return None,
            (None, Some(other)) => both.account = Some(other.clone()),
            _ => {}
        }
        for (key, value) in &other.labels {
            let held = both
                .labels
                .entry(key.clone())
                .or_insert_with(|| value.clone());
            if held != value {
                return None;
            }
        }
        Some(both)
    }

    fn shown(&self, namespace: &str) -> String {
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let labels: Vec<_> = labels.collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!(" labelled {}", labels.join(", ")),
        };
        let account = self
            .account
            .as_ref()
            .map(|account| format!(" of account {account}"));
        let account = account.unwrap_or_default();
        if labels.is_empty() && account.is_empty() {
            return format!("any other workload of {namespace}");
        }
        format!("any workload of {namespace}{account}{labels}")
    }
}

/// Whether a policy protects workloads of a namespace.
pub(super) fn protects(policy: &AuthorizationPolicy, namespace: &str) -> bool {
    match &policy.namespace {
        Some(own) => own == namespace,
        None => {
            let named = &policy.target.namespaces;
            named.is_empty() || named.iter().any(|own| own == namespace)
        }
    }
}

/// Everybody of a namespace; `shown` is its name for people.
///
/// # Errors
///
/// Where there are more than `most`.
pub(super) fn places(
    sides: Sides<'_>,
    (namespace, shown): (&str, &str),
    most: u64,
) -> Result<Vec<Place>, TooManyError> {
    let policies = [sides.before, sides.after].map(|side| side.policies.iter());
    let targets: BTreeSet<Asked> = policies
        .into_iter()
        .flatten()
        .filter(|policy| protects(policy, namespace))
        .map(|policy| Asked::of(&policy.target))
        .collect();
    let mut places = known(sides, namespace);
    let fitting = |called: &Called| {
        targets
            .iter()
            .map(|one| one.fits(called))
            .collect::<Vec<bool>>()
    };
    let mut seen: BTreeSet<Vec<bool>> = places
        .iter()
        .filter(|place| fitting(&place.before) == fitting(&place.after))
        .map(|place| fitting(&place.after))
        .collect();
    for asked in together(&targets, most)? {
        let other = unused("other", |name| {
            targets
                .iter()
                .any(|one| one.account.as_deref() == Some(name))
        });
        let called = Called {
            namespace: namespace.to_owned(),
            name: String::new(),
            service_account: asked.account.clone().unwrap_or(other),
            labels: asked.labels.clone(),
        };
        if seen.insert(fitting(&called)) {
            places.push(Place {
                shown: asked.shown(shown),
                before: called.clone(),
                after: called,
                asked: Some(asked),
            });
        }
    }
    Ok(places)
}

/// All that workloads can be asked for at once. Whoever fits some targets has all that these ask for; so what is asked
/// by each set of targets that do not exclude each other stands for everybody.
fn together(targets: &BTreeSet<Asked>, most: u64) -> Result<BTreeSet<Asked>, TooManyError> {
    let mut all = BTreeSet::from([Asked::default()]);
    for target in targets {
        let more: Vec<Asked> = all.iter().filter_map(|asked| asked.and(target)).collect();
        all.extend(more);
        let needed = u64::try_from(all.len()).unwrap_or(u64::MAX);
        if needed > most {
            return Err(TooManyError { needed, most });
        }
    }
    Ok(all)
}

/// The workloads that either side knows, replicas that rules cannot tell apart as one.
fn known(sides: Sides<'_>, namespace: &str) -> Vec<Place> {
    let mut keys = subject::selected_labels(sides.before);
    keys.extend(subject::selected_labels(sides.after));
    let of = |side: &Rules| -> BTreeSet<Called> {
        let workloads = side.known.workloads.iter();
        let own = workloads.filter(|one| one.meshed && one.namespace == namespace);
        own.map(|one| subject::of(one, &keys)).collect()
    };
    let (before, after) = (of(sides.before), of(sides.after));
    let mut places = Vec::new();
    for called in before.union(&after) {
        let of_name = |side: &BTreeSet<Called>| -> Vec<Called> {
            side.iter()
                .filter(|one| one.name == called.name)
                .cloned()
                .collect()
        };
        // One that has other labels now was something else before.
        let (before, after) = match (of_name(&before).as_slice(), of_name(&after).as_slice()) {
            ([before], [after]) => (before.clone(), after.clone()),
            _ => (called.clone(), called.clone()),
        };
        let place = Place {
            shown: called.to_string(),
            before,
            after,
            asked: None,
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}
