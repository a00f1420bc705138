//! Namespaces, which are set by annotations.

use k8s_openapi::api::core::v1 as core;
use kube::core::PartialObjectMeta;

use palisade_api::workload::{Closing, Mtls, NamespaceSettings};

/// What is kept of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    pub(crate) settings: NamespaceSettings,
    /// Annotations of ours with a value that is not known, and the words that are.
    unknown: Vec<(&'static str, String, &'static str)>,
}

impl Namespace {
    /// What is kept of the API's object. A value that is not known is the closed one: a mistyped word opens nothing.
    pub(crate) fn keep(namespace: PartialObjectMeta<core::Namespace>) -> Option<Self> {
        let mut annotations = namespace.metadata.annotations.unwrap_or_default();
        let mut kept = Self::default();
        match annotations.remove(MTLS) {
            None => {}
            Some(word) if word == "strict" => {}
            Some(word) if word == "permissive" => kept.settings.mtls = Mtls::Permissive,
            Some(unknown) => kept
                .unknown
                .push((MTLS, unknown, "`strict` or `permissive`")),
        }
        match annotations.remove(AUTHORIZATION) {
            None => {}
            Some(word) if word == "enforce" => {}
            Some(word) if word == "shadow" => kept.settings.closing = Closing::Shadow,
            Some(unknown) => {
                kept.unknown
                    .push((AUTHORIZATION, unknown, "`enforce` or `shadow`"));
            }
        }
        Some(kept)
    }

    /// What is wrong with it, for people.
    pub(super) fn warnings(&self, name: &str) -> impl Iterator<Item = String> {
        self.unknown.iter().map(move |(key, value, words)| {
            format!(
                "namespace {name}: {key} cannot be {value:?}, and the closed value is taken; \
                 write {words}"
            )
        })
    }
}

const MTLS: &str = "palisade.dev/mtls";
const AUTHORIZATION: &str = "palisade.dev/authorization";
