//! Targets that select nothing, and what they may have been meant to select.

use std::collections::BTreeSet;

use super::against::{Check, one_of};
use super::diagnostic::Severity;
use super::known::KnownWorkload;
use super::near::did_you_mean;
use super::place::{Document, Position};
use super::read::listed;
use crate::policy::{AuthorizationPolicy, Target};

/// Says so if the target of a policy selects no workload, as far as any are known.
pub(super) fn check(check: &mut Check<'_>, document: &Document, policy: &AuthorizationPolicy) {
    let namespaces = match &policy.namespace {
        Some(own) => std::slice::from_ref(own),
        None => &policy.target.namespaces,
    };
    let within = check.inventory.within(namespaces);
    if within.is_empty() {
        return;
    }
    let accounts = within.iter().flat_map(|own| own.accounts.iter().copied());
    let accounts: BTreeSet<_> = accounts.collect();
    let workloads = within.iter().flat_map(|own| own.workloads.iter().copied());
    let selection = Selection {
        document,
        target: &policy.target,
        place: place(namespaces),
        workloads: workloads.collect(),
    };
    let account = policy.target.service_account.as_deref();
    if let Some(account) = account.filter(|account| !accounts.contains(account)) {
        let message = format!("no service account `{account}` in {}", selection.place);
        let remedy = meant(check, account, &accounts, "the service accounts are");
        let at = document.target.service_account;
        check.unknown(document, at, message, remedy);
    } else if check.known.complete || !selection.workloads.is_empty() {
        selection.check(check);
    }
}

/// A target, and the workloads that it can select among.
struct Selection<'a, 'k> {
    document: &'a Document,
    target: &'a Target,
    /// The namespaces, in words.
    place: String,
    workloads: Vec<&'k KnownWorkload>,
}

impl<'k> Selection<'_, 'k> {
    fn check(&self, check: &mut Check<'k>) {
        let account = self.target.service_account.as_deref();
        let workloads = self.workloads.iter().copied();
        let running: Vec<_> = workloads
            .filter(|workload| account.is_none_or(|account| workload.service_account == account))
            .collect();
        let is_selected = |workload: &&KnownWorkload| {
            let mut labels = self.target.labels.iter();
            labels.all(|(key, value)| workload.labels.get(key) == Some(value))
        };
        match account {
            _ if running.iter().any(is_selected) => {}
            Some(account) if running.is_empty() => {
                let message = format!("no workload of {} runs as `{account}`", self.place);
                self.warn(check, self.document.target.service_account, message, LATER);
            }
            _ if running.is_empty() => {
                let target = self.document.target.at;
                let places = [target, self.document.namespace, self.document.name];
                let at = places.into_iter().find(|at| at.is_known());
                let message = format!("there is no workload in {}", self.place);
                self.warn(check, at.unwrap_or_default(), message, LATER);
            }
            _ => self.labels(check, &running),
        }
    }

    /// Some workloads are there, and none has all of the labels.
    fn labels(&self, check: &mut Check<'k>, workloads: &[&'k KnownWorkload]) {
        let values = |key| {
            let values = workloads.iter().filter_map(|one| one.labels.get(key));
            values.map(String::as_str).collect::<BTreeSet<_>>()
        };
        let mut labels = self.target.labels.iter();
        let Some((key, value)) = labels.find(|(key, value)| !values(*key).contains(value.as_str()))
        else {
            let message = format!("no workload of {} has all of these labels", self.place);
            let remedy = "name only such as one workload has together";
            self.warn(check, self.document.target.at, message, remedy);
            return;
        };
        let at = self.document.target.labels.get(key);
        let message = format!("no workload of {} is labelled {key}={value}", self.place);
        let values = values(key);
        let remedy = if values.is_empty() {
            let keys = workloads.iter().flat_map(|one| one.labels.keys());
            let keys = keys.map(String::as_str).collect();
            meant(check, key, &keys, "their labels are")
        } else {
            meant(check, value, &values, &format!("`{key}` can be"))
        };
        self.warn(check, at.copied().unwrap_or_default(), message, &remedy);
    }

    fn warn(&self, check: &mut Check<'k>, at: Position, message: String, remedy: &str) {
        check.say(self.document, at, Severity::Warning, (message, remedy));
    }
}

/// What may have been meant: the nearest, or one of those that there are.
fn meant<'k>(check: &mut Check<'k>, written: &str, names: &BTreeSet<&'k str>, are: &str) -> String {
    let names: Vec<_> = names.iter().copied().collect();
    match check.nearest(written, |_| names.clone()) {
        Some(near) => did_you_mean(near),
        None => one_of(are, &names),
    }
}

fn place(namespaces: &[String]) -> String {
    let names: Vec<_> = namespaces.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => "any namespace".to_owned(),
        names => listed(names, ""),
    }
}

const LATER: &str = "until there is one, these rules protect nothing";
