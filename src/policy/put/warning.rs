//! What may not be what its author meant, of rules that are put in force nevertheless.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::manifest::{self, Diagnostic, Severity};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::standing::{self, Write};
use super::{Change, NewFile};
use crate::kubernetes;
use crate::kubernetes::meant::Meant;
use crate::policy::mistakes::shown;
use crate::policy::revoked::DENY_INSTEAD;
use crate::policy::rules::Rules;

/// A warning: nothing is refused for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum Warning {
    /// About a file.
    OfFile(Diagnostic),
    /// About an object, in the words of the API server.
    OfObject {
        /// `AuthorizationPolicy shop/orders`.
        object: String,
        message: String,
    },
}

impl Warning {
    /// Tells people, on stderr; `texts` are those of the files, by name.
    pub(in crate::policy) fn tell(&self, texts: &BTreeMap<String, String>) {
        match self {
            Self::OfFile(diagnostic) => anstream::eprintln!("{}", shown(diagnostic, texts)),
            Self::OfObject { object, message } => kubernetes::warn(&format!("{object}: {message}")),
        }
    }

    /// For programs.
    pub(in crate::policy) fn json(&self) -> Value {
        match self {
            Self::OfFile(Diagnostic {
                file,
                line: 0,
                message,
                remedy,
                ..
            }) => json!({"file": file, "message": message, "remedy": remedy}),
            Self::OfFile(Diagnostic {
                file,
                line,
                column,
                message,
                remedy,
                ..
            }) => json!({
                "file": file, "line": line, "column": column, "message": message, "remedy": remedy,
            }),
            Self::OfObject { object, message } => json!({"object": object, "message": message}),
        }
    }
}

/// What the validator says of names and of the time. What rules name may come later, so that a mistake to `palisade policy
/// check` is none here, as it is none to the admission of a cluster.
pub(super) fn of_names(change: &Change, now: &Rules) -> Vec<Warning> {
    let known = now.known_to_the_validator();
    let found = manifest::against(&change.documents, &known, OffsetDateTime::now_utc());
    let found = found.into_iter().map(|found| Diagnostic {
        severity: Severity::Warning,
        ..found
    });
    found.map(Warning::OfFile).collect()
}

/// New files whose names the mesh has for other files.
pub(super) fn of_other_files(files: &[NewFile], writes: &[Write]) -> Vec<Warning> {
    let beside = files.iter().filter_map(|new| {
        let write = writes.iter().find(|one| one.place == new.place)?;
        let own = standing::usual(&new.name);
        (own != write.name).then_some((new, write, own))
    });
    let warnings = beside.map(|(new, write, own)| {
        let given = &write.name;
        Warning::OfFile(Diagnostic {
            file: new.place.clone(),
            line: 0,
            column: 0,
            width: 0,
            severity: Severity::Warning,
            message: format!(
                "the mesh has another {own}, so what is new in this one is in {given} there"
            ),
            remedy: "nothing is gone; to name it yourself, rename yours before it is applied"
                .to_owned(),
        })
    });
    warnings.collect()
}

/// What stands in the files, and is put nowhere.
pub(super) fn of_what_is_left_out(change: &Change, meant: Meant) -> Vec<Warning> {
    let mut left: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut revocations = BTreeSet::new();
    if meant == Meant::Cluster {
        for document in &change.documents {
            if document.manifest.policy().is_some() {
                continue;
            }
            match document.manifest.title() {
                Some(title) => left.entry(&document.file).or_default().push(title),
                None => drop(revocations.insert(&*document.file)),
            }
        }
    }
    for (file, titles) in &change.others {
        let own = left.entry(file).or_default();
        own.extend(titles.iter().cloned());
    }
    left.retain(|_, titles| !titles.is_empty());
    let left = left.into_iter().map(|(file, titles)| {
        let message = format!("left out, as it is no rule: {}", some(&titles));
        left_out(file, message, remedy(meant))
    });
    let revocations = revocations
        .into_iter()
        .map(|file| left_out(file, NO_REVOCATIONS.to_owned(), DENY_INSTEAD));
    left.chain(revocations).collect()
}

fn left_out(file: &str, message: String, remedy: &str) -> Warning {
    Warning::OfFile(Diagnostic {
        file: file.to_owned(),
        line: 0,
        column: 0,
        width: 0,
        severity: Severity::Warning,
        message,
        remedy: remedy.to_owned(),
    })
}

const NO_REVOCATIONS: &str =
    "left out, as a cluster takes no Revocations: those of this file revoke nobody there";

fn remedy(meant: Meant) -> &'static str {
    match meant {
        Meant::Cluster => {
            "apply Kubernetes's objects with kubectl; a cluster knows its workloads from its pods, and how a namespace is set \
             from the annotations of the Namespace"
        }
        Meant::Local => {
            "a local mesh is told of workloads and namespaces by its mesh file, when it starts"
        }
    }
}

/// The first few of them.
fn some(names: &[String]) -> String {
    let shown = names.get(..MOST_NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const MOST_NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_named_by_file_and_not_without_end() {
        let named = |count: usize| (0..count).map(|number| format!("Pod shop/p{number}"));
        let change = Change {
            others: [
                ("a.yaml".to_owned(), named(MOST_NAMED + 2).collect()),
                ("b.yaml".to_owned(), Vec::new()),
                ("c.yaml".to_owned(), named(1).collect()),
            ]
            .into(),
            ..Change::default()
        };
        let said: Vec<_> = of_what_is_left_out(&change, Meant::Local)
            .iter()
            .map(|one| {
                let said = one.json();
                format!("{} {}", said["file"], said["message"])
            })
            .collect();
        let [many, one] = said.as_slice() else {
            panic!("{said:?}");
        };
        assert!(many.contains("Pod shop/p9 and 2 more"), "{many}");
        assert!(one.contains("\"c.yaml\" \"left out"), "{one}");
    }
}
