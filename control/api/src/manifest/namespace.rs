//! Namespaces, which are set by annotations.

use super::Manifest;
use super::name::Form;
use super::node::{Entry, Node, Value};
use super::read::{Fields, Reader, instead, quoted};
use super::resource::cluster_metadata;
use crate::workload::{Closing, Mtls, NamespaceSettings};

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
        unknown if unknown.starts_with(PREFIX) && unknown != INJECT => {
            let message = format!("there is no annotation {}", quoted(unknown));
            let remedy = instead(unknown, &[MTLS, AUTHORIZATION, INJECT], "");
            reader.refuse(*key_at, message, remedy)
        }
        _ => Some(settings),
    }
}

const PREFIX: &str = "palisade.dev/";
const MTLS: &str = "palisade.dev/mtls";
const AUTHORIZATION: &str = "palisade.dev/authorization";
/// The injector's; it changes nothing here.
const INJECT: &str = "palisade.dev/inject";
