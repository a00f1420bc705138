//! The documents of a file that are ours, and those that are Kubernetes's.
//!
//! People keep rules beside what they are for. The validator reads ours only, so others are blanked out for it: lines
//! and columns stay where they are.

use palisade_api::manifest;
use serde_json::Value;

use super::list;

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

/// Takes a file apart. A document that cannot be read is ours: the validator says what is wrong with it. So is a list that
/// cannot be taken apart.
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
            Kind::Others(values) => {
                blank(&mut split.ours, document);
                split.others.extend(values);
            }
            Kind::Mixed(values) => match list::without(document, is_other) {
                Some(ours) => {
                    split.ours.push_str(&ours);
                    split.alone.push_str(&ours);
                    split.others.extend(values);
                }
                None => {
                    split.ours.push_str(document);
                    split.alone.push_str(document);
                }
            },
        }
    }
    split
}

enum Kind {
    Ours,
    Mesh,
    Others(Vec<Value>),
    /// A list, of ours and of these.
    Mixed(Vec<Value>),
}

fn kind(document: &str) -> Kind {
    let body = document.strip_prefix("---").unwrap_or(document);
    let Ok(value) = serde_saphyr::from_str_with_options::<Value>(body, large()) else {
        return Kind::Ours;
    };
    let kind = field(&value, "kind").unwrap_or_default();
    let is_list = LISTS.contains(&kind);
    let Some(items) = value.get("items").and_then(Value::as_array) else {
        return match field(&value, "apiVersion") {
            Some(palisade_api::sidecar::API_VERSION) if kind == "LocalMesh" => Kind::Mesh,
            _ if is_other(&value) => Kind::Others(vec![value]),
            _ => Kind::Ours,
        };
    };
    let others = || items.iter().filter(|item| is_other(item)).cloned();
    if is_list {
        match others().count() {
            0 => Kind::Ours,
            count if count == items.len() => Kind::Others(others().collect()),
            _ => Kind::Mixed(others().collect()),
        }
    } else if is_other(&value) && !items.iter().any(is_ours) {
        Kind::Others(vec![value])
    } else {
        Kind::Ours
    }
}

/// Whether it is an object of another group. A list is not, whatever is in it.
fn is_other(value: &Value) -> bool {
    let (version, kind) = (field(value, "apiVersion"), field(value, "kind"));
    version.is_some() && kind.is_some_and(|kind| !LISTS.contains(&kind)) && !is_ours(value)
}

fn is_ours(value: &Value) -> bool {
    let of = field(value, "apiVersion").zip(field(value, "kind"));
    of.is_some_and(|(version, kind)| manifest::is_ours(version, kind))
}

fn field<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn blank(ours: &mut String, document: &str) {
    let is_marked = document.starts_with("---");
    if is_marked {
        ours.push_str("---");
    }
    ours.extend(document.chars().filter(|c| *c == '\n'));
}

/// All pods of a large cluster are one list.
fn large() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 4_000_000, max_events: 16_000_000 },
    }
}

/// Kinds of lists that the validator knows, too.
const LISTS: [&str; 3] = [
    "List",
    "AuthorizationPolicyList",
    "ClusterAuthorizationPolicyList",
];
