//! The documents of a file that are ours, and those that are Kubernetes's.
//!
//! People keep rules beside what they are for. The validator reads ours only, so others are blanked out for it: lines
//! stay where they are.

use palisade_api::manifest;
use serde_json::Value;

/// A file's text, taken apart.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Split {
    /// The text for the validator; blank lines stand for all else.
    pub(super) ours: String,
    /// The same without all else, and so with other lines.
    pub(super) alone: String,
    /// Objects of other kinds.
    pub(super) others: Vec<Value>,
    /// Whether the file describes a local mesh.
    pub(super) is_mesh: bool,
}

/// Takes a file apart. A document that cannot be read is ours: the validator says what is wrong with it.
pub(super) fn split(text: &str) -> Split {
    let mut split = Split::default();
    for (_, document) in manifest::apart(text) {
        match kind(document) {
            Kind::Ours => {
                split.ours.push_str(document);
                split.alone.push_str(document);
            }
            Kind::Mesh => {
                split.is_mesh = true;
                blank(&mut split.ours, document);
            }
            Kind::Other(value) => {
                blank(&mut split.ours, document);
                split.others.extend(items(value));
            }
        }
    }
    split
}

enum Kind {
    Ours,
    Mesh,
    Other(Value),
}

fn kind(document: &str) -> Kind {
    let body = document.strip_prefix("---").unwrap_or(document);
    let Ok(value) = serde_saphyr::from_str::<Value>(body) else {
        return Kind::Ours;
    };
    let field = |key: &str| value.get(key).and_then(Value::as_str);
    match (field("apiVersion"), field("kind")) {
        (Some(version), Some(kind)) if !manifest::is_ours(version, kind) => Kind::Other(value),
        (Some(_), Some("LocalMesh")) => Kind::Mesh,
        _ => Kind::Ours,
    }
}

fn blank(ours: &mut String, document: &str) {
    let is_marked = document.starts_with("---");
    if is_marked {
        ours.push_str("---");
    }
    ours.extend(document.chars().filter(|c| *c == '\n'));
}

/// The objects of a List, as `kubectl get -o yaml` prints it.
fn items(value: Value) -> Vec<Value> {
    match value.get("items").and_then(Value::as_array) {
        Some(items) if value.get("kind").is_some_and(|kind| kind == "List") => items.clone(),
        _ => vec![value],
    }
}
