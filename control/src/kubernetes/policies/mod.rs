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

mod object;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use palisade_api::policy::AuthorizationPolicy;

use super::facts::Name;

pub(crate) use object::{Kind, Object};

/// A `CustomResourceDefinition`, as much of it as matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) uid: String,
    pub(crate) terminating: bool,
}

/// All policies of one kind.
#[derive(Debug)]
pub(crate) struct Policies {
    kind: Kind,
    state: State,
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

/// What is known of the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It has not been seen.
    Awaited,
    /// It is there, and what is listed is the truth.
    Served { uid: String },
    /// It is being deleted, or is gone.
    Going { uid: String, gone: bool },
    /// It is there again; what is not listed is in force still.
    Returned { uid: String, until: Instant },
}

/// What is to be told about a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It is not there yet, or about to go.
    Absent,
    /// It is there.
    Served,
    /// It goes, or is gone, and its rules stay.
    Frozen,
    /// It is there again, and its rules are awaited.
    Returned,
    /// What did not come again is gone.
    Settled,
}

impl Policies {
    /// Nothing is known yet.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Awaited,
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
            State::Awaited | State::Served { .. } | State::Returned { .. } => {
                self.doubted.insert(name)
            }
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
        if matches!(self.state, State::Served { .. } | State::Returned { .. }) {
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
        let (state, notice) = self.state.next(found, now)?;
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
        self.state = state;
        Some(notice)
    }

    /// When something is to be done, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Returned { until, .. } => Some(*until),
            State::Awaited | State::Served { .. } | State::Going { .. } => None,
        }
    }

    /// Lets go of what did not come again in time.
    pub(crate) fn settle(&mut self, now: Instant) -> Option<Notice> {
        let State::Returned { uid, until } = &self.state else {
            return None;
        };
        if now < *until {
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
        self.listed && self.state != State::Awaited
    }

    /// The definition whose objects can be watched now.
    pub(crate) fn served(&self) -> Option<&str> {
        match &self.state {
            State::Served { uid }
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

impl State {
    /// What comes next, if it is something else. What was asked for is answered late at times, so an answer that fits
    /// only what was before changes nothing.
    fn next(&self, found: Option<&Definition>, now: Instant) -> Option<(Self, Notice)> {
        let until = now + SETTLE;
        match (self, found) {
            // Terminating at first sight: some of its objects may be gone already, so nothing is known.
            (
                Self::Awaited,
                None
                | Some(Definition {
                    terminating: true, ..
                }),
            ) => Some((Self::Awaited, Notice::Absent)),
            (Self::Awaited, Some(Definition { uid, .. })) => {
                Some((Self::Served { uid: uid.clone() }, Notice::Served))
            }
            (Self::Served { uid } | Self::Returned { uid, .. }, None) => {
                let (uid, gone) = (uid.clone(), true);
                Some((Self::Going { uid, gone }, Notice::Frozen))
            }
            (Self::Going { uid, gone: false }, None) => {
                let (uid, gone) = (uid.clone(), true);
                Some((Self::Going { uid, gone }, Notice::Frozen))
            }
            (Self::Going { gone: true, .. }, None) => None,
            (Self::Served { uid } | Self::Returned { uid, .. }, Some(found)) => {
                match (*uid == found.uid, found.terminating) {
                    (true, false) => None,
                    (_, true) => {
                        let (uid, gone) = (found.uid.clone(), *uid != found.uid);
                        Some((Self::Going { uid, gone }, Notice::Frozen))
                    }
                    (false, false) => {
                        let uid = found.uid.clone();
                        Some((Self::Returned { uid, until }, Notice::Returned))
                    }
                }
            }
            (Self::Going { uid, .. }, Some(found)) => {
                let is_back = *uid != found.uid && !found.terminating;
                let uid = found.uid.clone();
                is_back.then_some((Self::Returned { uid, until }, Notice::Returned))
            }
        }
    }
}

/// For how long, after a definition came back, the rules that went with it are in force.
pub(crate) const SETTLE: Duration = Duration::from_secs(600);
