//! A file's documents, also of a file with mistakes: so that one run tells of what is wrong in the good ones, too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::node::{Entry, Node, Value};
use super::place::Document;
use super::read::{Found, Left, Places};
use super::resource::Refused;
use super::{Diagnostic, Position, documents, expectation, resource, together};

/// What a file says, and what is wrong with it.
#[derive(Debug)]
pub struct Reading {
    /// Documents with which nothing is wrong. Where there are mistakes, the file is refused with them.
    pub documents: Vec<Document>,
    /// The others, without the parts that were refused, or with what was most likely meant there: to look for more mistakes
    /// in them, and for nothing else. What a rule says without one of its parts is not what its author meant.
    pub doubtful: Vec<Document>,
    /// Everything that is wrong, in the order of the text.
    pub mistakes: Vec<Diagnostic>,
}

/// Reads every document of a file, also those beside which others have mistakes; `file` is its name, for messages.
///
/// Of a document that is no YAML, only the first mistake is known. Documents of the kind `PolicyTest` are for
/// [`read_tests`](super::read_tests), and left out.
pub fn read_all(file: &str, text: &str) -> Reading {
    let (mut nodes, mut mistakes) = documents::of(file, text);
    nodes.retain(|node| !expectation::is_test(node));
    let name: Arc<str> = file.into();
    let (mut documents, mut doubtful) = (Vec::new(), Vec::new());
    for node in nodes {
        match resource::document(Places::Lines, &node) {
            Ok(manifest) => documents.push(Document::new(&name, &node, manifest)),
            Err(Refused { found, .. }) => {
                doubtful.extend(salvaged(&name, node, &found));
                mistakes.extend(found.into_iter().map(|found| found.in_file(file)));
            }
        }
    }
    let mut all: Vec<&Document> = documents.iter().chain(&doubtful).collect();
    all.sort_by_key(|document| document.line);
    mistakes.extend(together(all));
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    Reading {
        documents,
        doubtful,
        mistakes,
    }
}

/// Reads files that are in force together, their texts by their names. A file with mistakes is refused as a whole: all of its documents
/// are doubtful then.
pub fn read_together(files: &BTreeMap<String, String>) -> Reading {
    let mut all = Reading {
        documents: Vec::new(),
        doubtful: Vec::new(),
        mistakes: Vec::new(),
    };
    for (file, text) in files {
        let read = read_all(file, text);
        if read.mistakes.is_empty() {
            all.documents.extend(read.documents);
        } else {
            all.doubtful.extend(read.documents);
            all.doubtful.extend(read.doubtful);
        }
        all.mistakes.extend(read.mistakes);
    }
    let mut told: HashSet<Diagnostic> = all.mistakes.iter().cloned().collect();
    let conflicts = together(all.documents.iter().chain(&all.doubtful));
    let new = conflicts.into_iter().filter(|one| told.insert(one.clone()));
    all.mistakes.extend(new);
    all
}

/// A document without what was refused of it; none where nothing is left.
fn salvaged(file: &Arc<str>, mut node: Node, found: &[Found]) -> Option<Document> {
    let mut refused = lefts(found);
    for _ in 0..MOST_CUTS {
        if !cut(&mut node, &refused) {
            return None;
        }
        let manifest = match resource::document(Places::Lines, &node) {
            Ok(manifest) => Some(manifest),
            Err(Refused { found, doubtful }) => {
                refused = lefts(&found);
                let is_all_left = refused.values().all(|left| *left == Left::All);
                doubtful.filter(|_| is_all_left).map(|manifest| *manifest)
            }
        };
        if let Some(manifest) = manifest {
            return Some(Document::new(file, &node, manifest));
        }
        // What is missing now takes with it what cannot be without.
    }
    None
}

/// What is left where something was refused.
fn lefts(found: &[Found]) -> HashMap<Position, Left> {
    let mut all = HashMap::new();
    for Found { at, left, .. } in found {
        let least = all.entry(*at).or_insert(*left);
        *least = (*least).min(*left);
    }
    all
}

/// Takes the fields and entries away that were refused, or puts the words there that were meant; whether anything is left.
fn cut(node: &mut Node, refused: &HashMap<Position, Left>) -> bool {
    // A list begins where its first entry does, so its place alone may mean that one.
    let is_ones_own = match &node.value {
        Value::List(nodes) => nodes.first().is_none_or(|first| first.at != node.at),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::OtherNumber
        | Value::Text(_)
        | Value::Map(_) => true,
    };
    match refused.get(&node.at).filter(|_| is_ones_own) {
        Some(Left::Nothing) => return false,
        Some(Left::Word(word)) => node.value = Value::Text((*word).to_owned()),
        Some(Left::All) | None => {}
    }
    match &mut node.value {
        Value::List(nodes) => {
            let were_there = !nodes.is_empty();
            nodes.retain_mut(|node| cut(node, refused));
            !(were_there && nodes.is_empty())
        }
        Value::Map(entries) => {
            entries.retain_mut(|entry| cut_field(entry, refused));
            true
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::OtherNumber | Value::Text(_) => true,
    }
}

fn cut_field(entry: &mut Entry, refused: &HashMap<Position, Left>) -> bool {
    match refused.get(&entry.key_at) {
        Some(Left::Nothing) => return false,
        Some(Left::Word(word)) => entry.key = (*word).to_owned(),
        Some(Left::All) | None => {}
    }
    cut(&mut entry.value, refused)
}

/// A field, the rule that cannot be without it, and the list that cannot be without the rule.
const MOST_CUTS: usize = 3;
