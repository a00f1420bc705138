//! Namespaces, which are set by annotations.

use k8s_openapi::api::core::v1 as core;
use kube::core::PartialObjectMeta;

use palisade_api::manifest::settings_of;
use palisade_api::workload::NamespaceSettings;

/// What is kept of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    pub(crate) settings: NamespaceSettings,
    /// What is wrong with annotations of ours, each with its remedy.
    wrong: Vec<String>,
}

impl Namespace {
    /// What is kept of the API's object.
    pub(crate) fn keep(namespace: PartialObjectMeta<core::Namespace>) -> Option<Self> {
        let (settings, wrong) = settings_of(namespace.metadata.annotations.unwrap_or_default());
        let wrong = wrong.into_iter();
        Some(Self {
            settings,
            wrong: wrong
                .map(|one| format!("{}; {}", one.message, one.remedy))
                .collect(),
        })
    }

    /// What is wrong with it, for people.
    pub(super) fn warnings(&self, name: &str) -> impl Iterator<Item = String> {
        self.wrong
            .iter()
            .map(move |wrong| format!("namespace {name}: {wrong}. Until then it counts as closed"))
    }
}
