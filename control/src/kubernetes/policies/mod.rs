//! The rules of a cluster: objects of one kind to policies, the last good version of each kept. Pure.
//!
//! # An object that is wrong
//!
//! It never replaces a good version of itself, which stays in force; the two are one object as long as the unique id
//! is the same. One that is wrong at first sight has no good version here, but may have one in proxies, and may hold a
//! denial: it is sent as a policy that says nothing. A proxy with a good version keeps that, one without closes.
//!
//! # A definition that goes away
//!
//! Rules do not go away with their `CustomResourceDefinition`: deleting it deletes every object within milliseconds,
//! and which event comes first is not said. So a deletion is a doubt until the definition has been *asked for* after
//! it: only if that is still there, is the same one and is not terminating, somebody deleted the object. This costs a
//! deletion one request, some milliseconds. Otherwise everything that was in force stays so: until the definition is
//! back and [`SETTLE`] has passed, in which its rules can be applied again without a gap; then what the API server
//! lists is the truth again.
//!
//! A definition that is not there when control starts is waited for: nobody can tell then whether it ever was, and
//! proxies go on with what they have.
//!
//! # A definition that went away before control started
//!
//! What was in force then is no longer anywhere but in proxies. So it is on record, outside of this program, under which
//! definition there were how many rules ([`Record`]). Where another definition is found and fewer rules, nothing is
//! known until they are there again, or that definition is as old as [`SETTLE`].

mod object;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::Instant;

use palisade_api::policy::AuthorizationPolicy;

use super::facts::Name;

pub(crate) use object::{Kind, Object, read, target};
use state::State;
pub(crate) use state::{Definition, Notice, SETTLE};

/// All policies of one kind.
#[derive(Debug)]
pub(crate) struct Policies {
    kind: Kind,
    state: State,
    /// What was on record when all was known last.
    recorded: Option<Record>,
    held: BTreeMap<Name, Held>,
    /// The objects were listed at least once.
    listed: bool,
    /// Objects that were deleted, by somebody or with their definition.
    doubted: BTreeSet<Name>,
    /// Objects that went with their definition, or may have.
    orphans: BTreeSet<Name>,
}

/// One object, and what of it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) uid: String,
    /// The newest generation that was seen.
    pub(crate) generation: i64,
    /// What is in force, and the generation that it is of.
    pub(crate) good: Option<(i64, AuthorizationPolicy)>,
    /// What is sent where there is none.
    unreadable: Option<AuthorizationPolicy>,
    /// What is wrong with the newest generation.
    pub(crate) errors: Vec<String>,
    /// What its status says.
    pub(crate) status: Option<Value>,
}

/// What outlives control, so that one that starts knows whether rules are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The definition under which all of them were there.
    pub(crate) uid: String,
    pub(crate) rules: usize,
    /// How many of them the API server does not list.
    pub(crate) missing: usize,
    /// When these are let go of, as far as that is known.
    pub(crate) until: Option<Instant>,
}

impl Policies {
    /// Nothing is known yet but what was recorded.
    pub(crate) fn new(kind: Kind, recorded: Option<Record>) -> Self {
        Self {
            kind,
            state: State::Awaited,
            recorded,
            held: BTreeMap::new(),
            listed: false,
            doubted: BTreeSet::new(),
            orphans: BTreeSet::new(),
        }
    }

    /// Takes an object that is there.
    pub(crate) fn set(&mut self, name: Name, object: &Object) {
        self.doubted.remove(&name);
        let came_back = self.orphans.remove(&name);
        if let Some(held) = self.held.get_mut(&name)
            && held.uid == object.uid
            && held.generation == object.generation
        {
            held.status.clone_from(&object.status);
            return;
        }
        let former = self
            .held
            .get(&name)
            .filter(|held| held.uid == object.uid || came_back);
        let (good, errors) = match object.policy(self.kind, &name) {
            Ok(policy) => (Some((object.generation, policy)), Vec::new()),
            Err(errors) => (former.and_then(|former| former.good.clone()), errors),
        };
        let unreadable = good.is_none().then(|| object.unreadable(self.kind, &name));
        let held = Held {
            uid: object.uid.clone(),
            generation: object.generation,
            good,
            unreadable,
            errors,
            status: object.status.clone(),
        };
        self.held.insert(name, held);
    }

    /// Takes the whole list of what is there.
    pub(crate) fn list(&mut self, objects: &BTreeMap<Name, Object>) {
        let missing: Vec<_> = self
            .held
            .keys()
            .filter(|name| !objects.contains_key(*name))
            .cloned()
            .collect();
        for name in missing {
            self.gone(name);
        }
        for (name, object) in objects {
            self.set(name.clone(), object);
        }
        self.listed = true;
    }

    /// Takes note that an object is not there any more.
    pub(crate) fn gone(&mut self, name: Name) {
        if !self.held.contains_key(&name) || self.orphans.contains(&name) {
            return;
        }
        match self.state {
            State::Going { .. } => self.orphans.insert(name),
            State::Awaited
            | State::Missing { .. }
            | State::Served { .. }
            | State::Returned { .. } => self.doubted.insert(name),
        };
    }

    /// The deletions about which the definition is to be asked for, if there are some.
    pub(crate) fn doubts(&self) -> Option<BTreeSet<Name>> {
        (!self.doubted.is_empty()).then(|| self.doubted.clone())
    }

    /// Takes the definition as it was found after these deletions.
    pub(crate) fn resolve(
        &mut self,
        doubts: &BTreeSet<Name>,
        found: Option<&Definition>,
        now: Instant,
    ) -> Option<Notice> {
        let notice = self.define(found, now);
        let is_there = matches!(
            self.state,
            State::Missing { .. } | State::Served { .. } | State::Returned { .. }
        );
        if is_there {
            for name in doubts {
                // One that came again since is no doubt any more; one that is an orphan by now stays.
                if self.doubted.remove(name) {
                    self.held.remove(name);
                }
            }
        }
        notice
    }

    /// Takes the definition as it is.
    pub(crate) fn define(&mut self, found: Option<&Definition>, now: Instant) -> Option<Notice> {
        let (state, notice) = self.state.next(found, self.recorded.as_ref(), now)?;
        self.recorded = self.record();
        if notice != Notice::Served {
            self.orphans.append(&mut self.doubted);
        }
        let lost_all = matches!(
            state,
            State::Returned { .. } | State::Going { gone: true, .. }
        );
        if lost_all {
            self.orphans.extend(self.held.keys().cloned());
        }
        if matches!(state, State::Awaited | State::Missing { .. }) {
            // Nobody was told of what was listed under another definition.
            self.held.clear();
            self.orphans.clear();
            self.listed = false;
        }
        self.state = state;
        Some(notice)
    }

    /// When something is to be done, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Missing { until, .. } | State::Returned { until, .. } => Some(*until),
            State::Awaited | State::Served { .. } | State::Going { .. } => None,
        }
    }

    /// Lets go of what did not come again in time, and stops waiting for what is there again.
    pub(crate) fn settle(&mut self, now: Instant) -> Option<Notice> {
        let (uid, is_due) = match &self.state {
            State::Missing { uid, until } => (uid, now >= *until || self.missing() == 0),
            State::Returned { uid, until } => (uid, now >= *until),
            State::Awaited | State::Served { .. } | State::Going { .. } => return None,
        };
        if !is_due {
            return None;
        }
        self.state = State::Served { uid: uid.clone() };
        for name in std::mem::take(&mut self.orphans) {
            self.held.remove(&name);
        }
        Some(Notice::Settled)
    }

    /// Whether all of them are known.
    pub(crate) fn is_complete(&self) -> bool {
        self.listed && !matches!(self.state, State::Awaited | State::Missing { .. })
    }

    /// How many rules that were in force are not listed by the API server, as far as is known.
    pub(crate) fn missing(&self) -> usize {
        let recorded = self.recorded.as_ref();
        match &self.state {
            State::Awaited => recorded.map_or(0, |recorded| recorded.missing),
            State::Missing { .. } => recorded
                .map_or(0, |recorded| recorded.rules)
                .saturating_sub(self.held.len()),
            State::Served { .. } => 0,
            State::Going { .. } | State::Returned { .. } => self.orphans.len(),
        }
    }

    /// What is to be on record now.
    pub(crate) fn record(&self) -> Option<Record> {
        let missing = self.missing();
        let under = match &self.state {
            State::Served { uid } => Some(uid),
            State::Returned { uid, .. } if missing == 0 => Some(uid),
            State::Awaited
            | State::Missing { .. }
            | State::Going { .. }
            | State::Returned { .. } => None,
        };
        let held = self.held.len();
        let is_held = matches!(self.state, State::Going { .. } | State::Returned { .. });
        match under {
            // Nothing is known yet.
            Some(_) if !self.listed => self.recorded.clone(),
            Some(uid) => Some(Record {
                uid: uid.clone(),
                rules: held,
                missing,
                until: None,
            }),
            None => self.recorded.as_ref().map(|recorded| Record {
                uid: recorded.uid.clone(),
                rules: if is_held { held } else { recorded.rules },
                missing,
                until: self.due(),
            }),
        }
    }

    /// The definition whose objects can be watched now.
    pub(crate) fn served(&self) -> Option<&str> {
        match &self.state {
            State::Missing { uid, .. }
            | State::Served { uid }
            | State::Returned { uid, .. }
            | State::Going { uid, gone: false } => Some(uid),
            State::Awaited | State::Going { gone: true, .. } => None,
        }
    }

    /// Whether rules are in force that the API server does not list.
    pub(crate) fn is_frozen(&self) -> bool {
        matches!(self.state, State::Going { .. } | State::Returned { .. })
    }

    /// What proxies are sent.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &AuthorizationPolicy> {
        self.held.values().filter_map(|held| {
            let good = held.good.as_ref().map(|(_, policy)| policy);
            good.or(held.unreadable.as_ref())
        })
    }

    /// Every object that is held.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&Name, &Held)> {
        self.held.iter()
    }

    /// Their kind.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}
