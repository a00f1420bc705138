//! Rules of a cluster that are in force, or close whom they select, and of which it is not known what they say.

use kube::ResourceExt;
use kube::api::DynamicObject;
use palisade_api::policy::{AuthorizationPolicy, Target};
use palisade_control::audit::rules::{self as objects, Status};

use super::{Rules, UnreadError};
use crate::kubernetes::definitions::ASK_A_SIDECAR;
use crate::policy::subject::Called;

/// Such rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// Whom they may be about; it says nothing itself.
    about: AuthorizationPolicy,
    state: State,
    /// Which they are, why they are not known, and what to do.
    why: String,
}

/// What is made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The API server does not list them.
    Unlisted,
    /// Sidecars enforce another version than the one that can be read.
    InForce,
    /// There is no version that sidecars could enforce: they close whom it selects.
    Closed,
}

impl Unknown {
    /// Any, in any namespace.
    pub(super) fn unlisted(why: String) -> Self {
        Self {
            about: about(None, String::new(), Target::default()),
            state: State::Unlisted,
            why,
        }
    }

    /// An object that has mistakes by the validator here, or by control; none where neither finds any.
    pub(super) fn object(object: &DynamicObject, mistakes: Option<&str>) -> Option<Self> {
        let status = Status::of(object);
        let is_newest = status.observed_generation.is_some()
            && status.observed_generation == object.metadata.generation;
        let is_good_somewhere = status.enforced_generation.is_some();
        let said = match (is_newest.then(|| status.invalid()), mistakes) {
            (Some(Some(said)), _) => format!("has mistakes: {said}"),
            (_, None) => return None,
            (Some(None), Some(mistakes)) => format!(
                "cannot be read by this version of the command, though control takes it as it is: {mistakes}"
            ),
            (None, Some(mistakes)) if is_good_somewhere => {
                format!("has mistakes, and what it said before stays in force: {mistakes}")
            }
            (None, Some(mistakes)) => {
                format!(
                    "has mistakes, and control has not said yet what it makes of it: {mistakes}"
                )
            }
        };
        let is_enforced = is_good_somewhere || (is_newest && status.invalid().is_none());
        let why = format!(
            "{} {said}; put it right and apply it again, or delete it",
            objects::place(object)
        );
        Some(Self {
            // Another version may select others; what is closed is what this one selects.
            about: about(
                object.namespace(),
                object.name_any(),
                match is_enforced {
                    true => Target::default(),
                    false => objects::target(object),
                },
            ),
            state: if is_enforced {
                State::InForce
            } else {
                State::Closed
            },
            why,
        })
    }

    /// For whoever asks about more than it may decide.
    pub(super) fn warning(&self) -> String {
        let whose = match (&self.about.namespace, &*self.about.target.namespaces) {
            (Some(namespace), _) => namespace.clone(),
            (None, []) => "any namespace".to_owned(),
            (None, several) => several.join(", "),
        };
        format!(
            "{}; what it may decide in {whose}, only `palisade policy explain --proxy` tells",
            self.why
        )
    }

    /// Whether they may be about somebody of a namespace.
    pub(crate) fn is_in(&self, namespace: &str) -> bool {
        let own = self.about.namespace.as_deref();
        let several = &self.about.target.namespaces;
        own.is_none_or(|own| own == namespace)
            && (several.is_empty() || several.iter().any(|one| one == namespace))
    }

    /// Whether a rule of this name may be one of an object's with mistakes.
    pub(crate) fn may_have(&self, rule: &str) -> bool {
        let rest = rule.strip_prefix(&self.about.called());
        self.state != State::Unlisted && rest.is_some_and(|rest| rest.starts_with('/'))
    }

    fn is_everywhere(&self) -> bool {
        self.about.namespace.is_none() && self.about.target.namespaces.is_empty()
    }

    fn error(&self) -> UnreadError {
        UnreadError::Unknown(match self.state {
            State::Unlisted => self.why.clone(),
            State::InForce | State::Closed => {
                format!(
                    "{}: till then it is not known here what is decided; {ASK_A_SIDECAR}",
                    self.why
                )
            }
        })
    }
}

fn about(namespace: Option<String>, name: String, target: Target) -> AuthorizationPolicy {
    AuthorizationPolicy {
        namespace,
        name,
        target,
        rules: Vec::new(),
    }
}

impl Rules {
    /// Itself, where the API server lists every rule that is in force.
    ///
    /// # Errors
    ///
    /// Where it does not.
    pub(super) fn listed(self) -> Result<Self, UnreadError> {
        let mut unknown = self.unknown.iter();
        match unknown.find(|one| one.state == State::Unlisted) {
            Some(one) => Err(one.error()),
            None => Ok(self),
        }
    }

    /// Whether it is known what all rules say that are in force in a namespace, or in some namespace.
    ///
    /// # Errors
    ///
    /// Where it is not: which rule may say anything there.
    pub(crate) fn sure_in(&self, namespace: Option<&str>) -> Result<(), UnreadError> {
        let mut unknown = self.unknown.iter();
        let found = unknown.find(|one| match namespace {
            Some(namespace) => one.is_in(namespace),
            None => one.is_everywhere(),
        });
        found.map_or(Ok(()), |one| Err(one.error()))
    }

    /// The same of every namespace.
    ///
    /// # Errors
    ///
    /// Where it is not.
    pub(crate) fn sure_of_all(&self) -> Result<(), UnreadError> {
        self.unknown.first().map_or(Ok(()), |one| Err(one.error()))
    }

    /// The same of one who is called.
    ///
    /// # Errors
    ///
    /// Where it is not.
    pub(crate) fn sure_of(&self, called: &Called) -> Result<(), UnreadError> {
        let mut unknown = self.unknown.iter();
        let Called {
            namespace,
            service_account,
            labels,
            ..
        } = called;
        let found = unknown.find(|one| one.about.selects(namespace, service_account, labels));
        found.map_or(Ok(()), |one| Err(one.error()))
    }

    /// Whom rules are about that are not known.
    pub(crate) fn about_unknown(&self) -> impl Iterator<Item = &AuthorizationPolicy> {
        self.unknown.iter().map(|one| &one.about)
    }

    /// Goes on without what is in force and not known, for what is to be put beside it. What closes stays: it closes
    /// whatever is put beside it.
    pub(crate) fn pass_over_what_is_in_force(&mut self) -> Vec<Unknown> {
        let unknown = std::mem::take(&mut self.unknown).into_iter();
        let (closed, passed_over) = unknown.partition(|one| one.state == State::Closed);
        self.unknown = closed;
        passed_over
    }
}
