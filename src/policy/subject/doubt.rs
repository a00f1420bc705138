//! What is not sure of somebody who is named.

use super::{Subject, named};
use crate::near::near;
use crate::policy::rules::{Known, Rules};

/// Why a caller may be somebody else than [`super::callers`] takes it for, in words; none where that is sure.
pub(crate) fn doubt(rules: &Rules, subject: &Subject) -> Option<String> {
    match subject {
        Subject::Identity(_) => unheard_of(rules, subject),
        Subject::Named { namespace, .. } if rules.known.has_unread_pods(namespace) => Some(format!(
            "you may not list the pods of {namespace}: {subject} is taken for the service account of that name; name its \
             identity (spiffe://{}/ns/{namespace}/sa/ACCOUNT) if it runs as another, or its address if it has no sidecar",
            rules.trust_domain
        )),
        Subject::Named { .. } => unheard_of(rules, subject),
        Subject::Address(addr) => rules.known.unread_at(*addr).map(|unread| {
            format!(
                "you may not list the pods of {unread}: {addr} is taken for nobody's there; if it is the address of one of \
                 them, what denies that one denies it, too"
            )
        }),
    }
}

/// That nobody of this name is among those who were read, though some were: files need not name everybody.
pub(crate) fn unheard_of(rules: &Rules, subject: &Subject) -> Option<String> {
    let known = &rules.known;
    let (namespace, name) = match subject {
        Subject::Named { namespace, name } => (namespace.as_str(), name.as_str()),
        Subject::Identity(id) if id.trust_domain() == &rules.trust_domain => {
            id.service_account()?
        }
        Subject::Identity(_) | Subject::Address(_) => return None,
    };
    if known.has_unread_pods(namespace) {
        return None;
    }
    let is_known = match subject {
        Subject::Named { .. } => !named(known, namespace, name).is_empty(),
        Subject::Identity(_) | Subject::Address(_) => {
            let mut all = known.workloads.iter();
            all.any(|one| (&*one.namespace, &*one.service_account) == (namespace, name))
        }
    };
    let accounts = &known.accounts;
    let is_known = is_known || accounts.contains(&(namespace.to_owned(), name.to_owned()));
    if is_known || (known.workloads.is_empty() && accounts.is_empty()) {
        return None;
    }
    let near = near(&format!("{namespace}/{name}"), everybody(known));
    let meant = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    Some(format!(
        "nothing that was read names {namespace}/{name}: it is taken for a service account that is not there yet{meant}"
    ))
}

/// Workloads and service accounts, as people name them.
pub(super) fn everybody(known: &Known) -> impl Iterator<Item = String> {
    let workloads = known.workloads.iter();
    let workloads = workloads.map(|one| format!("{}/{}", one.namespace, one.name));
    let accounts = known.accounts.iter();
    workloads.chain(accounts.map(|(namespace, name)| format!("{namespace}/{name}")))
}
