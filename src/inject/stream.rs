//! A stream of documents in, the same with other pods out.

use std::collections::BTreeMap;

use palisade_injector::inject::{
    Declined, NamespaceFacts, RefuseReason, Settings, pod_pointer, rewrite, uninject,
};
use serde_json::{Value, json};

use super::edit::{self, Edit, EditError, Replaced};
use super::keep;
use super::tree::{self, Entry, Kind, Node, Style};

/// What is done to each pod.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task<'a> {
    /// It gets a sidecar, in a namespace that has these annotations beside those that the stream gives it.
    Inject(&'a Settings, &'a NamespaceFacts),
    /// It loses it.
    Uninject,
}

/// The stream afterwards.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) text: String,
    /// What whoever applies it should know.
    pub(super) notes: Vec<Note>,
}

/// A sentence about a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) line: usize,
    pub(super) text: String,
}

/// Changes each pod of a stream, and nothing else.
///
/// # Errors
///
/// The stream cannot be read, or a pod must not run: every reason. Then nothing is changed.
pub(super) fn change(text: &str, task: Task<'_>) -> Result<Changed, Vec<Note>> {
    let restored = match task {
        Task::Inject(..) => None,
        Task::Uninject => Some(with_originals(text)?),
    };
    let text = restored.as_deref().unwrap_or(text);
    let mut stream = Stream {
        text,
        task,
        edits: Vec::new(),
        notes: Vec::new(),
        refused: Vec::new(),
        namespaces: BTreeMap::new(),
    };
    let documents = tree::parse(text).map_err(unreadable)?;
    for root in documents
        .iter()
        .filter_map(|document| document.root.as_ref())
    {
        annotations(root, &mut stream.namespaces);
    }
    let mut expected = Vec::new();
    for document in &documents {
        let Some(root) = &document.root else {
            continue;
        };
        let mut value = root.value();
        let edits = stream.edits.len();
        stream.object(root, &mut value);
        expected.push(value);
        // Its text stands in two places, and would change in both.
        if document.has_aliases && stream.edits.len() > edits {
            stream.refused.push(Note {
                line: root.line,
                text: "the document uses aliases (*name), so its pod cannot be changed where it is written; \
                       write the values out"
                    .to_owned(),
            });
        }
    }
    if !stream.refused.is_empty() {
        return Err(stream.refused);
    }
    let changed = edit::apply(text, stream.edits);
    // Whatever the text looked like: what is printed means what was decided, or is not printed.
    let parsed = tree::parse(&changed).map_err(unreadable)?;
    let roots = parsed.iter().filter_map(|document| document.root.as_ref());
    if !roots.map(Node::value).eq(expected) {
        return Err(vec![Note {
            line: 1,
            text: "the file cannot be changed in the way it is written; write its pods in plain block style".to_owned(),
        }]);
    }
    Ok(Changed {
        text: changed,
        notes: stream.notes,
    })
}

/// The text with the probes back that were kept as comments.
fn with_originals(text: &str) -> Result<String, Vec<Note>> {
    let documents = tree::parse(text).map_err(unreadable)?;
    let roots = documents
        .iter()
        .filter_map(|document| document.root.as_ref());
    let edits = roots.flat_map(|root| keep::restore(text, root, &is_ours));
    Ok(edit::apply(text, edits.collect()))
}

/// Whether an entry is one of ours, or has one in flow style.
fn is_ours(entry: &Entry) -> bool {
    let path = entry.value.field("path").and_then(Node::text);
    let is_rewritten = entry.name == REWRITTEN
        && path.is_some_and(|path| path.starts_with(palisade_api::cluster::PROBE_PATH));
    is_rewritten || has_ours(&entry.value)
}

fn has_ours(node: &Node) -> bool {
    match &node.kind {
        Kind::Map(Style::Flow, entries) => entries.iter().any(is_ours),
        Kind::List(Style::Flow, items) => items.iter().any(has_ours),
        Kind::Alias | Kind::Scalar(..) | Kind::Map(..) | Kind::List(..) => false,
    }
}

struct Stream<'a> {
    text: &'a str,
    task: Task<'a>,
    edits: Vec<Edit>,
    notes: Vec<Note>,
    refused: Vec<Note>,
    /// The annotations of the namespaces that the stream makes.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl Stream<'_> {
    /// An object, or a list of them; `value` becomes what it should mean.
    fn object(&mut self, node: &Node, value: &mut Value) {
        let kind = node.field("kind").and_then(Node::text).unwrap_or_default();
        let version = node
            .field("apiVersion")
            .and_then(Node::text)
            .unwrap_or_default();
        if kind == "List" && version == "v1" {
            let items = value.get_mut("items").and_then(Value::as_array_mut);
            for (index, value) in items.into_iter().flatten().enumerate() {
                if let Some(item) = node.field("items").and_then(|items| items.item(index)) {
                    self.object(item, value);
                }
            }
            return;
        }
        // Other groups have kinds of the same names.
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let pointer = pod_pointer(kind).filter(|_| ["", "apps", "batch"].contains(&group));
        let pod = pointer.and_then(|pointer| value.pointer_mut(pointer));
        let at = pointer.and_then(|pointer| {
            let mut path = pointer.split('/').skip(1);
            path.try_fold(node, |node, name| node.field(name))
        });
        if let (Some(pod), Some(at)) = (pod, at) {
            let name = node
                .field("metadata")
                .and_then(|metadata| metadata.field("name"));
            let name = name.and_then(Node::text).unwrap_or("without a name");
            let namespace = node
                .field("metadata")
                .and_then(|metadata| metadata.field("namespace"));
            let namespace = namespace.and_then(Node::text).unwrap_or("default");
            self.pod(at, pod, (&format!("{kind} {name}"), namespace));
        }
    }

    fn pod(&mut self, node: &Node, pod: &mut Value, (object, namespace): (&str, &str)) {
        let (after, replaced) = match self.task {
            Task::Uninject => {
                let after = uninject(pod).map(|mut after| {
                    keep_empty(node, &mut after);
                    after
                });
                (after, Replaced::Dropped)
            }
            Task::Inject(settings, facts) => {
                let mut annotations = self.namespaces.get(namespace).cloned().unwrap_or_default();
                annotations.extend(facts.annotations.clone());
                let facts = NamespaceFacts {
                    name: namespace.to_owned(),
                    annotations,
                    ..facts.clone()
                };
                let after = match rewrite(pod, settings, &facts) {
                    Ok(rewritten) => {
                        let notes = rewritten.warnings.into_iter();
                        self.notes.extend(notes.map(|text| Note {
                            line: node.line,
                            text: format!("{object}: {text}"),
                        }));
                        Some(rewritten.pod)
                    }
                    Err(Declined::Skip(reason)) => {
                        self.notes.push(Note {
                            line: node.line,
                            text: format!("{object}: {reason}"),
                        });
                        None
                    }
                    Err(Declined::Refuse(reasons)) => {
                        let notes = reasons.iter().map(|reason| refusal(node, object, reason));
                        self.refused.extend(notes);
                        None
                    }
                };
                (after, KEPT)
            }
        };
        let Some(after) = after else {
            return;
        };
        match edit::edits(self.text, node, &after, replaced) {
            Ok(edits) => {
                self.edits.extend(edits);
                *pod = after;
            }
            Err(error @ EditError { line }) => self.refused.push(Note {
                line,
                text: format!("{object}: {error}; write it in plain block style"),
            }),
        }
    }
}

/// Collects what the Namespaces of a document say, by name: a pod may stand before its own.
fn annotations(node: &Node, namespaces: &mut BTreeMap<String, BTreeMap<String, String>>) {
    let text = |field: &str| node.field(field).and_then(Node::text);
    match (text("apiVersion"), text("kind")) {
        (Some("v1"), Some("List")) => {
            let items = node.field("items").map(|items| &items.kind);
            if let Some(Kind::List(_, items)) = items {
                items.iter().for_each(|item| annotations(item, namespaces));
            }
        }
        (Some("v1"), Some("Namespace")) => {
            let metadata = node.field("metadata");
            let field = |name: &str| metadata.and_then(|metadata| metadata.field(name));
            let found = field("annotations").map(Node::value);
            // What is no mapping of text the API server refuses.
            let found = found.and_then(|found| serde_json::from_value(found).ok());
            if let (Some(name), Some(found)) = (field("name").and_then(Node::text), found) {
                namespaces.insert(name.to_owned(), found);
            }
        }
        (_, _) => {}
    }
}

/// A collection in flow style, in one in block style, was there before we wrote into it, be it empty.
fn keep_empty(node: &Node, after: &mut Value) {
    let (Kind::Map(Style::Block, entries), Some(after)) = (&node.kind, after.as_object_mut())
    else {
        return;
    };
    for entry in entries {
        match (after.get_mut(&entry.name), &entry.value.kind) {
            (Some(after), _) => keep_empty(&entry.value, after),
            (None, Kind::Map(Style::Flow, _)) => {
                after.insert(entry.name.clone(), json!({}));
            }
            (None, Kind::List(Style::Flow, _)) => {
                after.insert(entry.name.clone(), json!([]));
            }
            (None, Kind::Map(Style::Block, _)) => {
                let mut empty = json!({});
                keep_empty(&entry.value, &mut empty);
                if empty != json!({}) {
                    after.insert(entry.name.clone(), empty);
                }
            }
            (None, Kind::Alias | Kind::Scalar(..) | Kind::List(..)) => {}
        }
    }
}

fn refusal(pod: &Node, object: &str, reason: &RefuseReason) -> Note {
    Note {
        line: place(pod, reason.path()).line,
        text: format!("{object}: {reason}"),
    }
}

/// The node at a path such as `spec.containers[0].name` or `metadata.annotations[key]`, as deep as there is one.
fn place<'a>(pod: &'a Node, path: &str) -> &'a Node {
    let mut node = pod;
    let mut rest = path;
    while !rest.is_empty() {
        let (segment, next) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((segment, next)) => (segment, next),
            None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
        };
        let item = segment.parse().ok().and_then(|index| node.item(index));
        let Some(child) = item.or_else(|| node.field(segment)) else {
            break;
        };
        node = child;
        rest = next.strip_prefix('.').unwrap_or(next);
    }
    node
}

fn unreadable(tree::ParseYamlError { line, problem }: tree::ParseYamlError) -> Vec<Note> {
    let text = format!("{problem}; write it as YAML 1.2");
    vec![Note { line, text }]
}

/// The field that comes in place of a probe's or hook's own.
const REWRITTEN: &str = "httpGet";
/// Those that it comes in place of.
const KEPT: Replaced<'static> = Replaced::Commented {
    fields: &["httpGet", "tcpSocket", "grpc"],
    by: REWRITTEN,
};
