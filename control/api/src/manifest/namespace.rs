//! Namespaces, which are set by annotations.

use serde_json::{Value as Json, json};

use super::name::Form;
use super::node::{Entry, Node, Value};
use super::read::{Fields, Reader, instead, quoted};
use super::reading::read_all;
use super::resource::cluster_metadata;
use super::{Diagnostic, Manifest};
use crate::cluster::{ALLOW_OPT_OUT, INJECT};
use crate::sidecar::{API_VERSION, MTLS_ANNOTATION as MTLS};
use crate::workload::{Closing, Mtls, NamespaceSettings};

/// How a namespace of Kubernetes is set by its annotations, and what is wrong with those. One that is not understood counts
/// as not there, which is the closed value: a mistyped word opens nothing.
pub fn settings_of(
    annotations: impl IntoIterator<Item = (impl AsRef<str>, impl Into<Json>)>,
) -> (NamespaceSettings, Vec<Diagnostic>) {
    let mut settings = NamespaceSettings::default();
    let mut wrong = Vec::new();
    for (key, value) in annotations {
        // Those of others may be as long as objects.
        let key = key.as_ref();
        if !key.starts_with(PREFIX) {
            continue;
        }
        let value: Json = value.into();
        // Each for itself: what is wrong with one says nothing of the other.
        let document = json!({
            "apiVersion": API_VERSION, "kind": "Namespace",
            "metadata": {"name": "any", "annotations": {key: value}},
        });
        let mut read = read_all("annotations", &document.to_string());
        wrong.append(&mut read.mistakes);
        let Some(Manifest::Namespace { settings: one, .. }) =
            read.documents.pop().map(|document| document.manifest)
        else {
            continue;
        };
        let default = NamespaceSettings::default();
        if one.mtls != default.mtls {
            settings.mtls = one.mtls;
        }
        if one.closing != default.closing {
            settings.closing = one.closing;
        }
    }
    (settings, wrong)
}

/// `Namespace`.
pub(super) fn namespace(reader: &mut Reader<'_>, document: &Fields<'_>) -> Option<Manifest> {
    if let Some(entry) = document.find("spec") {
        let remedy = "set it by its annotations";
        reader.refuse::<()>(entry.key_at, "a namespace has no `spec`", remedy);
    }
    let remedy = "remove `namespace`; the name of a Namespace is its `name`";
    let (name, fields) = cluster_metadata(reader, document, Form::Label, remedy)?;
    let settings = reader.optional(&fields, "annotations", settings)?;
    let settings = settings.unwrap_or_default();
    Some(Manifest::Namespace { name, settings })
}

/// Annotations that are not ours may say anything; ours must be known, or a typing error would open or close nothing.
fn settings(reader: &mut Reader<'_>, node: &Node) -> Option<NamespaceSettings> {
    let Value::Map(entries) = &node.value else {
        return reader.refuse(
            node.at,
            "`annotations` are no mapping",
            "write `palisade.dev/mtls: permissive`",
        );
    };
    let mut settings = NamespaceSettings::default();
    let mut is_good = true;
    for entry in entries {
        match setting(reader, entry, settings) {
            Some(next) => settings = next,
            None => is_good = false,
        }
    }
    is_good.then_some(settings)
}

fn setting(
    reader: &mut Reader<'_>,
    Entry { key, key_at, value }: &Entry,
    settings: NamespaceSettings,
) -> Option<NamespaceSettings> {
    match key.as_str() {
        MTLS => {
            let words = [("strict", Mtls::Strict), ("permissive", Mtls::Permissive)];
            let mtls = reader.word(value, key, &words)?;
            Some(NamespaceSettings { mtls, ..settings })
        }
        AUTHORIZATION => {
            let words = [("enforce", Closing::Enforce), ("shadow", Closing::Shadow)];
            let closing = reader.word(value, key, &words)?;
            Some(NamespaceSettings {
                closing,
                ..settings
            })
        }
        // The injector's; they change nothing here.
        INJECT | ALLOW_OPT_OUT => Some(settings),
        unknown if unknown.starts_with(PREFIX) => {
            let message = format!("there is no annotation {}", quoted(unknown));
            let known = [MTLS, AUTHORIZATION, INJECT, ALLOW_OPT_OUT];
            let remedy = instead(unknown, &known, "");
            reader.refuse(*key_at, message, remedy)
        }
        _ => Some(settings),
    }
}

const PREFIX: &str = "palisade.dev/";
const AUTHORIZATION: &str = "palisade.dev/authorization";
