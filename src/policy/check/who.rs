//! Names that rules have, against those who are known.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::manifest::{self, Document, Known, KnownWorkload, Severity};

use super::super::rules::Rules;
use super::finding::{Code, Finding};
use super::lints::Asked;

/// What the validator says of rules whose mesh it knows.
pub(super) fn unknown(asked: &Asked<'_>) -> Vec<Finding> {
    let known = known(asked.rules);
    let is_known = !known.service_accounts.is_empty() || !known.workloads.is_empty();
    let said = manifest::against(asked.documents, &known, asked.now);
    let found = said.into_iter().map(|diagnostic| {
        let (line, column) = (diagnostic.line, diagnostic.column);
        let is_there = |document: &Document| *document.file == *diagnostic.file;
        let placed = asked
            .each()
            .find(|placed| is_there(placed.document) && placed.has(line, column));
        let is_expiry = placed.is_some_and(|placed| {
            let at = placed.place.expires;
            (at.line, at.column) == (line, column)
        });
        let is_target = |document: &Document| is_there(document) && selects(document, line, column);
        let code = match diagnostic.severity {
            _ if is_expiry => Code::Expired,
            Severity::Warning if asked.documents.iter().any(is_target) => Code::SelectsNothing,
            Severity::Warning | Severity::Error => Code::Unknown,
        };
        Finding {
            code,
            rule: placed.map(|placed| placed.name()),
            field: None,
            diagnostic,
        }
    });
    // Of rules alone, nothing says who there is.
    found
        .filter(|one| is_known || one.code == Code::Expired)
        .collect()
}

fn selects(document: &Document, line: u64, column: u64) -> bool {
    let target = &document.target;
    let mut places = [target.at, target.service_account]
        .into_iter()
        .chain(target.labels.values().copied());
    places.any(|at| at.is_known() && (at.line, at.column) == (line, column))
}

/// As the validator asks for it.
fn known(rules: &Rules) -> Known {
    let mut accounts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for namespace in rules.known.namespaces.keys() {
        accounts.entry(namespace.clone()).or_default();
    }
    for (namespace, name) in &rules.known.accounts {
        let own = accounts.entry(namespace.clone()).or_default();
        own.insert(name.clone());
    }
    let workloads = rules.known.workloads.iter().map(|one| KnownWorkload {
        namespace: one.namespace.clone(),
        name: one.name.clone(),
        service_account: one.service_account.clone(),
        labels: one.labels.clone(),
    });
    Known {
        service_accounts: accounts,
        workloads: workloads.collect(),
        trust_domain: Some(rules.trust_domain.clone()),
        complete: rules.known.is_complete,
    }
}
