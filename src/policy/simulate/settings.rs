//! How namespaces are set, where the files of the rules do not say it.

use std::collections::BTreeMap;

use palisade_api::workload::{Closing, Mtls, NamespaceSettings};

use crate::policy::rules::Rules;
use crate::policy::traffic::{Edge, Was};

/// How namespaces are taken to be set of which the rules' files say nothing.
#[derive(Debug, Default)]
pub(super) struct Shown {
    settings: BTreeMap<String, NamespaceSettings>,
    pub(super) warnings: Vec<String>,
}

impl Shown {
    /// As the records show it: who was let in without a rule was so by an annotation.
    pub(super) fn of(rules: &Rules, edges: &[Edge]) -> Self {
        let mut shown = Self::default();
        if rules.known.is_complete {
            return shown;
        }
        for edge in edges.iter().filter(|edge| edge.was == Was::Allowed) {
            let known = NamespaceSettings::default();
            let settings = match edge.reason.as_deref() {
                Some("permissive") => NamespaceSettings {
                    mtls: Mtls::Permissive,
                    ..known
                },
                Some("no_rule" | "closing_in_shadow") => NamespaceSettings {
                    closing: Closing::Shadow,
                    ..known
                },
                _ => continue,
            };
            let name = edge.namespace.to_string();
            let held = shown.settings.entry(name).or_default();
            if settings.mtls == Mtls::Permissive {
                held.mtls = settings.mtls;
            }
            if settings.closing == Closing::Shadow {
                held.closing = settings.closing;
            }
        }
        // Who says strict and enforced says what is so without a word, and is to be heard nevertheless.
        let (told, untold): (BTreeMap<_, _>, _) = shown
            .settings
            .into_iter()
            .partition(|(namespace, _)| rules.known.told.contains(namespace));
        shown.settings = untold;
        shown.warnings = shown.settings.iter().map(taken_for).collect();
        let unlike = told
            .iter()
            .filter_map(|told| unlike(told, rules.known.settings(told.0)));
        shown.warnings.extend(unlike);
        shown
    }

    pub(super) fn settings(&self, rules: &Rules, namespace: &str) -> NamespaceSettings {
        let shown = self.settings.get(namespace).copied();
        shown.unwrap_or_else(|| rules.known.settings(namespace))
    }
}

fn taken_for((namespace, settings): (&String, &NamespaceSettings)) -> String {
    format!(
        "the namespace {namespace} is taken to have the annotations that its records show ({}); put its Namespace beside \
         the rules to have it otherwise",
        annotations(*settings)
    )
}

/// A Namespace without annotations may be meant to take them away, and may stand there for other reasons.
fn unlike(
    (namespace, shown): (&String, &NamespaceSettings),
    told: NamespaceSettings,
) -> Option<String> {
    let default = NamespaceSettings::default();
    let of_records = NamespaceSettings {
        mtls: if told.mtls == shown.mtls {
            default.mtls
        } else {
            shown.mtls
        },
        closing: if told.closing == shown.closing {
            default.closing
        } else {
            shown.closing
        },
    };
    (of_records != default).then(|| {
        format!(
            "the namespace {namespace} is taken as its Namespace in the files sets it, without what its records show ({}); \
             leave it out to have it as the records show it",
            annotations(of_records)
        )
    })
}

fn annotations(settings: NamespaceSettings) -> String {
    let mut annotations = Vec::new();
    if settings.mtls == Mtls::Permissive {
        annotations.push("palisade.dev/mtls: permissive");
    }
    if settings.closing == Closing::Shadow {
        annotations.push("palisade.dev/authorization: shadow");
    }
    annotations.join(", ")
}
