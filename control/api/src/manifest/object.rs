//! Objects of the API server: the reader of files, with field paths for lines.
//!
//! What the API server keeps in an object beside what people wrote is passed over: `status`, and all of the metadata
//! but the names, whose schema is its own. In a file, where a field may be misspelt, it is what is known to be its own.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::known::Known;
use super::name::Form;
use super::node::{Entry, Node, Value};
use super::read::{Places, quoted};
use super::resource::{KINDS_OF_RULES, Refused};
use super::{Document, Manifest, Position};
use super::{against, resource};

/// Reads one object of a kind of rules, as the API server writes it.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of its fields, with the messages and remedies of
/// [`parse`](super::parse).
pub fn check_object(json: &str) -> Result<Manifest, Vec<ObjectDiagnostic>> {
    Ok(read_object(json)?.document.manifest)
}

/// The same, with the fields of what was read.
///
/// # Errors
///
/// Those of [`check_object`].
pub fn read_object(json: &str) -> Result<Object, Vec<ObjectDiagnostic>> {
    let mut object: Json = serde_json::from_str(json).map_err(|error| {
        vec![ObjectDiagnostic {
            path: String::new(),
            message: format!("this is no JSON: {error}"),
            remedy: "write one object as JSON".to_owned(),
        }]
    })?;
    keep_what_people_write(&mut object);
    let mut paths = FieldPaths::default();
    let node = paths.node(Step::Root, Position::default(), object);
    match resource::document(Places::Fields(&paths), &node) {
        Ok(manifest) => Ok(Object {
            document: Document::new(&Arc::from(""), &node, manifest),
            paths,
        }),
        Err(Refused { found, .. }) => {
            let found = found.into_iter().map(|found| ObjectDiagnostic {
                path: paths.path(found.at),
                message: found.message,
                remedy: found.remedy,
            });
            Err(found.collect())
        }
    }
}

/// An object that was read, and the fields that its parts were read from.
#[derive(Debug)]
pub struct Object {
    document: Document,
    paths: FieldPaths,
}

impl Object {
    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.document.manifest
    }

    /// Checks it against what exists, as [`against()`](super::against()) does with files: nothing of it is refused for that.
    pub fn against(&self, known: &Known, now: OffsetDateTime) -> Vec<ObjectDiagnostic> {
        let found = against(std::slice::from_ref(&self.document), known, now);
        let in_field = found.into_iter().map(|found| ObjectDiagnostic {
            path: self.paths.path(Position {
                line: found.line,
                ..Position::default()
            }),
            message: found.message,
            remedy: found.remedy,
        });
        in_field.collect()
    }
}

fn keep_what_people_write(object: &mut Json) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.remove(STATUS);
    if let Some(metadata) = fields.get_mut("metadata").and_then(Json::as_object_mut) {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace"));
    }
}

/// The same for a document of a file, which may be an object as `kubectl get -o yaml` prints it.
pub(super) fn keep_what_a_file_says(document: &mut Node) {
    let Value::Map(fields) = &mut document.value else {
        return;
    };
    let is_rules = |text: &str| KINDS_OF_RULES.contains(&text);
    let is_object = fields.iter().any(|field| {
        field.key == "kind" && matches!(&field.value.value, Value::Text(text) if is_rules(text))
    });
    if !is_object {
        return;
    }
    fields.retain(|field| field.key != STATUS);
    for field in fields.iter_mut().filter(|field| field.key == "metadata") {
        if let Value::Map(metadata) = &mut field.value.value {
            metadata.retain(|field| !ADDED.contains(&field.key.as_str()));
        }
    }
}

/// What is wrong with an object, in which field, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectDiagnostic {
    /// The field, as in `spec.rules[0].from[1]`; empty where the object as a whole is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for ObjectDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// The way to each node of an object, which its position is the number of.
///
/// Each holds its last step only: whole paths are made for what is reported, not for every node.
#[derive(Debug, Default)]
pub(super) struct FieldPaths(Vec<(Position, Step)>);

#[derive(Debug)]
enum Step {
    Root,
    Field(String),
    Index(usize),
}

impl FieldPaths {
    /// The tree below a value, numbered in its order.
    fn node(&mut self, step: Step, parent: Position, json: Json) -> Node {
        self.0.push((parent, step));
        let at = Position {
            line: u64::try_from(self.0.len()).unwrap_or(u64::MAX),
            ..Position::default()
        };
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => number.as_u64().map_or(Value::OtherNumber, Value::Int),
            Json::String(text) => Value::Text(text),
            Json::Array(list) => {
                let nodes = list.into_iter().enumerate();
                Value::List(
                    nodes
                        .map(|(index, json)| self.node(Step::Index(index), at, json))
                        .collect(),
                )
            }
            Json::Object(fields) => {
                let entries = fields.into_iter().map(|(key, json)| {
                    let value = self.node(Step::Field(key.clone()), at, json);
                    Entry {
                        key,
                        key_at: value.at,
                        value,
                    }
                });
                Value::Map(entries.collect())
            }
        };
        Node { at, value }
    }

    /// The path as Kubernetes writes it: keys of labels in brackets, for they may have dots.
    pub(super) fn path(&self, at: Position) -> String {
        let mut steps = Vec::new();
        let mut at = at;
        while let Some((parent, step)) = self.step(at) {
            steps.push(step);
            at = *parent;
        }
        let mut path = String::new();
        let mut is_of_labels = false;
        for step in steps.into_iter().rev() {
            match step {
                Step::Root => {}
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Field(key) if is_of_labels && Form::LabelKey.fits(key) => {
                    path.push_str(&format!("[{key}]"));
                }
                Step::Field(key) if !is_plain(key) => path.push_str(&format!("[{}]", quoted(key))),
                Step::Field(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
            }
            is_of_labels = matches!(step, Step::Field(key) if key == LABELS);
        }
        path
    }

    fn step(&self, at: Position) -> Option<&(Position, Step)> {
        let number = usize::try_from(at.line).ok()?.checked_sub(1)?;
        self.0.get(number)
    }
}

/// Whether a dot before it is enough to tell where it begins and ends.
fn is_plain(key: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !key.is_empty() && key.len() <= LONGEST_PLAIN_BYTES && key.bytes().all(is_inside)
}

const LONGEST_PLAIN_BYTES: usize = 63;
const LABELS: &str = "labels";
const STATUS: &str = "status";
/// Of the metadata: what says nothing of what people meant.
const ADDED: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
