//! What is wrong with policies only by what exists, and by what time it is.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Manifest;
use super::diagnostic::{Diagnostic, Severity};
use super::known::{Inventory, Known};
use super::near::{did_you_mean, nearest};
use super::place::{Document, Position};
use super::read::listed;
use super::selection;
use crate::policy::{AuthorizationPolicy, From, Rule};
use crate::spiffe::SpiffeId;

/// Checks policies against what exists: namespaces and service accounts that there are not, targets that select nothing,
/// rules that have expired by `now`.
///
/// What does not exist is an error where what is known is complete, and a warning where it is not. A target that selects
/// nothing is a warning, for its workloads may be yet to come. In the order of the documents, and within each of its lines.
pub fn against(documents: &[Document], known: &Known, now: OffsetDateTime) -> Vec<Diagnostic> {
    let mut check = Check {
        known,
        inventory: Inventory::new(known),
        now,
        found: Vec::new(),
        suggestions: MOST_SUGGESTIONS,
    };
    for document in documents {
        if let Manifest::Policy(policy) = &document.manifest {
            let before = check.found.len();
            check.policy(document, policy);
            if let Some(own) = check.found.get_mut(before..) {
                own.sort_by_key(|found| (found.line, found.column));
            }
        }
    }
    check.found
}

/// What policies are checked against, and what was found.
pub(super) struct Check<'k> {
    pub(super) known: &'k Known,
    pub(super) inventory: Inventory<'k>,
    now: OffsetDateTime,
    found: Vec<Diagnostic>,
    /// How many are still made: each is looked for among all names.
    suggestions: usize,
}

impl<'k> Check<'k> {
    fn policy(&mut self, document: &Document, policy: &AuthorizationPolicy) {
        if let Some(own) = &policy.namespace {
            self.namespace(document, own, document.namespace);
        }
        let named = policy.target.namespaces.iter();
        for (name, at) in named.zip(&document.target.namespaces) {
            self.namespace(document, name, *at);
        }
        selection::check(self, document, policy);
        for (rule, place) in policy.rules.iter().zip(&document.rules) {
            for (from, at) in rule.from.iter().zip(&place.from) {
                self.source(document, from, *at);
            }
            self.expiry(document, rule, place.expires);
        }
    }

    fn source(&mut self, document: &Document, from: &From, at: Position) {
        match from {
            From::ServiceAccount { namespace, name } => {
                self.account(document, (namespace, name), at);
            }
            From::Identity(id) => self.identity(document, id, at),
            From::Namespace(name) => {
                self.namespace(document, name, at);
            }
            // Of others' identities nothing is known, and addresses need nobody at them.
            From::TrustDomain(_) | From::Unauthenticated(_) => {}
        }
    }

    fn identity(&mut self, document: &Document, id: &SpiffeId, at: Position) {
        let own = self.known.trust_domain.as_ref();
        if own != Some(id.trust_domain()) {
            return;
        }
        match id.service_account() {
            Some(account) => self.account(document, account, at),
            None => {
                let message = format!("`{id}` is of this mesh, and names no service account");
                let domain = id.trust_domain();
                let remedy = format!("write it like spiffe://{domain}/ns/NAMESPACE/sa/NAME");
                self.unknown(document, at, message, remedy);
            }
        }
    }

    /// Whether it exists.
    fn namespace(&mut self, document: &Document, name: &str, at: Position) -> bool {
        if self.inventory.namespace(name).is_some() {
            return true;
        }
        let near = self.nearest(name, |inventory| inventory.namespaces().collect());
        let remedy = match near {
            Some(near) => did_you_mean(near),
            None => one_of(
                "the namespaces are",
                &self.inventory.namespaces().collect::<Vec<_>>(),
            ),
        };
        self.unknown(
            document,
            at,
            format!("there is no namespace `{name}`"),
            remedy,
        );
        false
    }

    fn account(&mut self, document: &Document, (namespace, name): (&str, &str), at: Position) {
        if !self.namespace(document, namespace, at) || self.has_account(namespace, name) {
            return;
        }
        let message = format!("no service account `{name}` in namespace `{namespace}`");
        let own = |inventory: &Inventory<'k>| accounts(inventory, namespace);
        let remedy = match self.nearest(name, own) {
            Some(near) => did_you_mean(near),
            None => self.elsewhere(namespace, name),
        };
        self.unknown(document, at, message, remedy);
    }

    fn has_account(&self, namespace: &str, name: &str) -> bool {
        let own = self.inventory.namespace(namespace);
        own.is_some_and(|own| own.accounts.contains(name))
    }

    /// Another namespace's account of this name, or those that there are.
    fn elsewhere(&self, namespace: &str, name: &str) -> String {
        let mut namespaces = self.inventory.namespaces();
        match namespaces.find(|other| self.has_account(other, name)) {
            Some(other) => did_you_mean(&format!("{other}/{name}")),
            None => one_of(
                "its service accounts are",
                &accounts(&self.inventory, namespace),
            ),
        }
    }

    fn expiry(&mut self, document: &Document, rule: &Rule, at: Position) {
        let Some(end) = rule.expires.filter(|end| *end <= self.now) else {
            return;
        };
        let end = end
            .format(&Rfc3339)
            .unwrap_or_else(|_no_such_form| end.to_string());
        let message = format!(
            "the rule `{}` expired at {end} and says nothing any more",
            rule.name
        );
        let remedy = "remove it, or let it expire later";
        self.say(document, at, Severity::Error, (message, remedy));
    }

    /// What does not exist, as far as is known.
    pub(super) fn unknown(
        &mut self,
        document: &Document,
        at: Position,
        message: String,
        remedy: String,
    ) {
        let severity = match self.known.complete {
            true => Severity::Error,
            false => Severity::Warning,
        };
        self.say(document, at, severity, (message, &remedy));
    }

    pub(super) fn say(
        &mut self,
        document: &Document,
        at: Position,
        severity: Severity,
        (message, remedy): (String, &str),
    ) {
        let diagnostic = Diagnostic::error(&document.file, at, message, remedy);
        self.found.push(Diagnostic {
            severity,
            ..diagnostic
        });
    }

    /// The nearest of some names, unless many were looked for already.
    pub(super) fn nearest(
        &mut self,
        written: &str,
        among: impl FnOnce(&Inventory<'k>) -> Vec<&'k str>,
    ) -> Option<&'k str> {
        self.suggestions = self.suggestions.checked_sub(1)?;
        nearest(written, among(&self.inventory))
    }
}

fn accounts<'k>(inventory: &Inventory<'k>, namespace: &str) -> Vec<&'k str> {
    let own = inventory.namespace(namespace);
    own.map(|own| own.accounts.iter().copied().collect())
        .unwrap_or_default()
}

/// All that there is to choose from, if it is not much.
pub(super) fn one_of(are: &str, names: &[&str]) -> String {
    match names.len() {
        0 => "there is none yet: make it first".to_owned(),
        1 => format!("there is only {}", listed(names, "")),
        2..=MOST_LISTED => format!("{are} {}", listed(names, "")),
        many => format!("make it first, or name one of the {many} that there are"),
    }
}

const MOST_LISTED: usize = 8;
/// A file with more unknown names was not written by hand.
const MOST_SUGGESTIONS: usize = 200;
