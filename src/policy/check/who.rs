//! Names that rules have, against those who are known.

use std::collections::{HashMap, HashSet};

use palisade_api::manifest::{self, Document, Known, Severity};
use time::OffsetDateTime;

use super::finding::{Code, Finding, Placed};
use super::lints::{Asked, rules_of};

/// What the validator says of rules whose mesh it knows, also of those beside which others have mistakes.
pub(super) fn unknown(asked: &Asked<'_>) -> Vec<Finding> {
    let known = asked.rules.known_to_the_validator();
    let mut found = named(asked.documents, &known, asked.now);
    found.extend(named(&asked.rules.doubtful, &known, asked.now));
    // Of rules alone, nothing says who there is.
    let is_known = !known.service_accounts.is_empty() || !known.workloads.is_empty();
    found.retain(|one| is_known || one.code == Code::Expired);
    found
}

fn named(documents: &[Document], known: &Known, now: OffsetDateTime) -> Vec<Finding> {
    let said = manifest::against(documents, known, now);
    let mut placed = HashMap::new();
    for rule in rules_of(documents) {
        for at in rule.places() {
            let key = (&*rule.document.file, at.line, at.column);
            placed.entry(key).or_insert(rule);
        }
    }
    let targets: HashSet<_> = documents.iter().flat_map(targets).collect();
    let found = said.into_iter().map(|diagnostic| {
        let key = (&*diagnostic.file, diagnostic.line, diagnostic.column);
        let placed = placed.get(&key);
        let is_expiry = placed.is_some_and(|placed| {
            let at = placed.place.expires;
            (at.line, at.column) == (diagnostic.line, diagnostic.column)
        });
        let code = match diagnostic.severity {
            _ if is_expiry => Code::Expired,
            Severity::Warning if targets.contains(&key) => Code::SelectsNothing,
            Severity::Warning | Severity::Error => Code::Unknown,
        };
        Finding {
            code,
            rule: placed.map(Placed::name),
            field: None,
            diagnostic,
        }
    });
    found.collect()
}

/// Where a document's target stands, and what it selects by.
fn targets(document: &Document) -> impl Iterator<Item = (&str, u64, u64)> {
    let target = &document.target;
    let places = [target.at, target.service_account];
    let places = places.into_iter().chain(target.labels.values().copied());
    let known = places.filter(|at| at.is_known());
    known.map(|at| (&*document.file, at.line, at.column))
}
