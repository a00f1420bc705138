//! Reads fields out of nodes and collects what is wrong, so that one run tells of every mistake.

use std::collections::BTreeMap;

use super::name;
use super::near::{did_you_mean, nearest};
use super::node::{Entry, Node, Value};
use super::object::FieldPaths;
use super::{Diagnostic, Position};

/// Collects what is wrong with one text. Whatever is read as `None` was refused.
#[derive(Debug)]
pub(super) struct Reader<'p> {
    places: Places<'p>,
    found: Vec<Found>,
}

/// What a position means to whoever wrote the text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Places<'p> {
    /// Line and column of a file.
    Lines,
    /// A field of an object, of which only the rules' kinds exist.
    Fields(&'p FieldPaths),
}

/// One mistake.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) at: Position,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) left: Left,
}

/// What is left of what was refused, where more mistakes are looked for. Of several for one place, the first is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// The word that was most likely meant.
    Word(&'static str),
    /// All of it: only with others, or without what it lacks, is it wrong.
    All,
}

impl Found {
    pub(super) fn in_file(self, file: &str) -> Diagnostic {
        Diagnostic::error(file, self.at, self.message, self.remedy)
    }
}

/// A mapping of which every field is known.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    pub(super) at: Position,
    entries: &'n [Entry],
    /// Fields that there are not, by those that they were most likely meant to be.
    misspelt: Vec<(&'static str, &'n Entry)>,
}

impl<'n> Fields<'n> {
    /// The field of this name. One that is misspelt was refused, and is read for what else is wrong with it.
    pub(super) fn find(&self, key: &str) -> Option<&'n Entry> {
        let misspelt = || {
            let mut misspelt = self.misspelt.iter();
            misspelt.find_map(|(meant, entry)| (*meant == key).then_some(*entry))
        };
        by_name(self.entries, key).or_else(misspelt)
    }
}

fn by_name<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.key == key)
}

impl<'p> Reader<'p> {
    pub(super) fn new(places: Places<'p>) -> Self {
        Self {
            places,
            found: Vec::new(),
        }
    }

    /// What was refused, in the order of the text.
    pub(super) fn into_found(mut self) -> Vec<Found> {
        self.found.sort_by_key(|found| found.at);
        self.found
    }

    pub(super) fn places(&self) -> Places<'p> {
        self.places
    }

    /// Says what is wrong. Always `None`, so that a refusal can be a value's end.
    pub(super) fn refuse<T>(
        &mut self,
        at: Position,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        self.note(at, message, remedy, Left::Nothing);
        None
    }

    /// Says what is wrong with something that can be read on, and as what.
    pub(super) fn note(
        &mut self,
        at: Position,
        message: impl Into<String>,
        remedy: impl Into<String>,
        left: Left,
    ) {
        self.found.push(Found {
            at,
            message: message.into(),
            remedy: remedy.into(),
            left,
        });
    }

    /// Reads every node, also those after one that was refused.
    pub(super) fn each<T>(
        &mut self,
        nodes: &[Node],
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut all = Some(Vec::new());
        for node in nodes {
            let one = read(self, node);
            all = all.zip(one).map(|(mut all, one)| {
                all.push(one);
                all
            });
        }
        all
    }

    /// The fields of a mapping; those that are not known are refused.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &'static [&'static str],
    ) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            let message = format!("`{what}` is {}, not fields", describe(&node.value));
            return self.refuse(node.at, message, format!("write {}", listed(known, ":")));
        };
        let missing = known.iter().copied();
        let missing: Vec<_> = missing
            .filter(|known| by_name(entries, known).is_none())
            .collect();
        let mut misspelt = Vec::new();
        for entry in entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let (remedy, left) = match nearest(&entry.key, missing.iter().copied()) {
                Some(meant) => {
                    misspelt.push((meant, entry));
                    (did_you_mean(meant), Left::Word(meant))
                }
                None => (
                    format!("its fields are {}", listed(known, "")),
                    Left::Nothing,
                ),
            };
            let message = format!("`{what}` has no field {}", quoted(&entry.key));
            self.note(entry.key_at, message, remedy, left);
        }
        Some(Fields {
            at: node.at,
            entries,
            misspelt,
        })
    }

    /// A field that must be there.
    pub(super) fn required<'n>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
        remedy: &str,
    ) -> Option<&'n Node> {
        match fields.find(key) {
            Some(entry) => Some(&entry.value),
            None => self.refuse(fields.at, format!("`{key}` is missing"), remedy),
        }
    }

    /// Reads a field that may be left out: `None` where it was refused.
    pub(super) fn optional<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        read: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) -> Option<Option<T>> {
        match fields.find(key) {
            Some(entry) => read(self, &entry.value).map(Some),
            None => Some(None),
        }
    }

    /// Text that says something.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) if !text.trim().is_empty() => Some(text),
            Value::Text(_) | Value::Null => {
                self.refuse(node.at, format!("`{what}` is empty"), "write some text")
            }
            Value::Bool(_) | Value::Int(_) | Value::OtherNumber => {
                let message = format!("`{what}` is {}, not text", describe(&node.value));
                self.refuse(node.at, message, "put it in quotes")
            }
            Value::List(_) | Value::Map(_) => {
                let message = format!("`{what}` is {}, not text", describe(&node.value));
                self.refuse(node.at, message, "write one value")
            }
        }
    }

    /// A list with something in it; `if_none` says what to do instead of an empty one.
    pub(super) fn list<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        if_none: &str,
    ) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(nodes) if !nodes.is_empty() => Some(nodes),
            Value::List(_) | Value::Null => {
                self.refuse(node.at, format!("`{what}` is an empty list"), if_none)
            }
            Value::Bool(_)
            | Value::Int(_)
            | Value::OtherNumber
            | Value::Text(_)
            | Value::Map(_) => {
                let message = format!("`{what}` is {}, not a list", describe(&node.value));
                self.refuse(
                    node.at,
                    message,
                    format!("write `{what}: [ … ]`, or each entry after a dash"),
                )
            }
        }
    }

    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        let Value::Bool(value) = node.value else {
            let message = format!("`{what}` is {}", describe(&node.value));
            return self.refuse(node.at, message, "write true or false");
        };
        Some(value)
    }

    /// One of few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meant);
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("`{what}` cannot be {}", quoted(text));
        self.refuse(node.at, message, instead(text, &known, ""))
    }

    /// The same, and where it is none of them the one that was most likely meant, by which the rest can be read.
    pub(super) fn word_or_meant<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let read = self.word(node, what, words);
        let Value::Text(text) = &node.value else {
            return read;
        };
        let meant = nearest(text, words.iter().map(|(word, _)| *word))?;
        if let (None, Some(refused)) = (&read, self.found.last_mut()) {
            refused.left = Left::Word(meant);
        }
        words
            .iter()
            .find(|(word, _)| *word == meant)
            .map(|(_, value)| *value)
    }

    /// A name, of the form that Kubernetes asks of it.
    pub(super) fn name(&mut self, node: &Node, what: &str, form: name::Form) -> Option<String> {
        let text = self.text(node, what)?;
        if form.fits(text) {
            return Some(text.to_owned());
        }
        let message = format!("`{what}` cannot be {}", quoted(text));
        self.refuse(node.at, message, form.remedy(text))
    }

    /// Labels; `if_none` says what to do instead of none, where none are refused.
    pub(super) fn labels(
        &mut self,
        node: &Node,
        what: &str,
        if_none: Option<&str>,
    ) -> Option<BTreeMap<String, String>> {
        let Value::Map(entries) = &node.value else {
            let message = format!("`{what}` is {}, not labels", describe(&node.value));
            return self.refuse(node.at, message, format!("write `{what}: {{app: orders}}`"));
        };
        if let Some(remedy) = if_none.filter(|_| entries.is_empty()) {
            return self.refuse(node.at, format!("`{what}` is empty"), remedy);
        }
        let mut labels = Some(BTreeMap::new());
        for entry in entries {
            let label = self.label(entry, what);
            labels = labels.zip(label).map(|(mut labels, (key, value))| {
                labels.insert(key, value);
                labels
            });
        }
        labels
    }

    fn label(&mut self, entry: &Entry, what: &str) -> Option<(String, String)> {
        if !name::Form::LabelKey.fits(&entry.key) {
            let message = format!("`{what}` has no label {}", quoted(&entry.key));
            let remedy = name::Form::LabelKey.remedy(&entry.key);
            return self.refuse(entry.key_at, message, remedy);
        }
        // The only text that may be empty.
        if matches!(&entry.value.value, Value::Text(text) if text.is_empty()) {
            return Some((entry.key.clone(), String::new()));
        }
        let value = self.name(&entry.value, &entry.key, name::Form::LabelValue)?;
        Some((entry.key.clone(), value))
    }
}

impl Places<'_> {
    /// A place that another message refers to.
    pub(super) fn name(self, at: Position) -> String {
        match self {
            Self::Lines => format!("in line {}", at.line),
            Self::Fields(paths) => format!("at {}", paths.path(at)),
        }
    }
}

/// What somebody wrote, fit for a terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST_QUOTED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", shown.escape_debug())
}

/// A text that somebody else wrote, such as a file's name, fit for a terminal: what it would not show, or what would show
/// others in another order, is a replacement character.
pub fn without_controls(text: &str) -> String {
    let shown = text.chars().map(|c| {
        if is_hidden(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    });
    shown.collect()
}

/// Whether a terminal would not show it, or show what is around it in another order.
pub(super) fn is_hidden(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || is_format
}

/// `a`, `b` or `c`.
pub(super) fn listed(words: &[&str], after: &str) -> String {
    let words: Vec<_> = words
        .iter()
        .map(|word| format!("`{word}{after}`"))
        .collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// What to write instead of a word that is none of a few: the one that was meant, or any of them.
pub(super) fn instead(written: &str, words: &[&str], after: &str) -> String {
    match nearest(written, words.iter().copied()) {
        Some(meant) => did_you_mean(meant),
        None => format!("write {}", listed(words, after)),
    }
}

pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Int(_) | Value::OtherNumber => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

const MOST_QUOTED: usize = 100;
