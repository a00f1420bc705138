//! YAML as a tree in which every node knows where it stands, before anything is made of it.
//!
//! Not serde's derived structs: those stop at the first mistake, and lose places inside tagged enums.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, MessageFormatter, Options, Spanned,
    UserMessageFormatter,
};

use super::read::{quoted, without_controls};
use super::{Diagnostic, Position};

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What YAML's core schema makes of a value.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(u64),
    /// A number that no field of ours takes.
    OtherNumber,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

/// The documents of a file, and what is wrong with those that cannot be read; empty ones are left out.
pub(super) fn documents(file: &str, text: &str) -> (Vec<Node>, Vec<Diagnostic>) {
    if let Ok(nodes) = parse(file, text) {
        return (nodes, Vec::new());
    }
    // Where a document ends can be told without reading it, so one that is no YAML hides no other.
    let (mut nodes, mut mistakes) = (Vec::new(), Vec::new());
    for (lines_before, document) in apart(text) {
        match parse(file, document) {
            Ok(mut read) => {
                read.iter_mut().for_each(|node| node.shift(lines_before));
                nodes.extend(read);
            }
            Err(mut mistake) => {
                mistake.line += if mistake.line > 0 { lines_before } else { 0 };
                mistakes.push(mistake);
            }
        }
    }
    (nodes, mistakes)
}

fn parse(file: &str, text: &str) -> Result<Vec<Node>, Diagnostic> {
    let documents: Vec<Spanned<Value>> = serde_saphyr::from_multiple_with_options(text, strict())
        .map_err(|error| diagnostic(file, &error))?;
    let documents: Vec<_> = documents.into_iter().map(Node::from).collect();
    match documents.iter().find_map(Node::repeated_key) {
        Some(entry) => {
            let message = format!("the field {} is there twice", quoted(&entry.key));
            Err(Diagnostic::error(file, entry.key_at, message, ONCE))
        }
        None => Ok(documents),
    }
}

/// A file's documents as texts, each with the marker before it, and with how many lines there are before it. A line that
/// begins with a marker can be inside of nothing else; a carriage return ends one too, as YAML counts them.
pub fn apart(text: &str) -> Vec<(u64, &str)> {
    let (mut starts, mut number, mut at) = (vec![(0, 0)], 0, 0);
    for line in text.split_inclusive(['\n', '\r']) {
        let is_rest_of_break =
            line == "\n" && text.get(..at).is_some_and(|before| before.ends_with('\r'));
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker && at > 0 {
            starts.push((number, at));
        }
        number += u64::from(!is_rest_of_break);
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, start)| *start);
    let ends: Vec<_> = ends.chain([text.len()]).collect();
    let starts = starts.into_iter().zip(ends);
    starts
        .filter_map(|((number, start), end)| Some((number, text.get(start..end)?)))
        .collect()
}

impl Node {
    /// The parser compares keys as YAML values, to which `"1"` and `1` differ; to us they are one name.
    fn repeated_key(&self) -> Option<&Entry> {
        match &self.value {
            Value::List(nodes) => nodes.iter().find_map(Self::repeated_key),
            Value::Map(entries) => {
                let mut seen = HashSet::new();
                entries.iter().find_map(|entry| {
                    let is_repeated = !seen.insert(&entry.key);
                    let here = is_repeated.then_some(entry);
                    here.or_else(|| entry.value.repeated_key())
                })
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::OtherNumber | Value::Text(_) => {
                None
            }
        }
    }

    /// Moves it down by some lines.
    fn shift(&mut self, lines: u64) {
        self.at.line += lines;
        match &mut self.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.shift(lines)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.key_at.line += lines;
                entry.value.shift(lines);
            }),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::OtherNumber | Value::Text(_) => {}
        }
    }
}

/// Nothing that can be read in two ways, and bounds on what a file can cost.
fn strict() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_documents: 100_000,
            max_nodes: 4_000_000,
            max_events: 16_000_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        emit_comments: false,
        leading_zero_numbers_as_strings: true,
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

fn diagnostic(file: &str, error: &Error) -> Diagnostic {
    let error = error.without_snippet();
    let at = error.location().map(Position::from).unwrap_or_default();
    let remedy = if matches!(error, Error::DuplicateMappingKey { .. }) {
        ONCE
    } else if matches!(error, Error::MergeKeyNotAllowed { .. }) {
        "write the fields themselves"
    } else if matches!(error, Error::UnsupportedTag { .. }) {
        "write the value without a tag"
    } else {
        "write it as YAML 1.2: spaces for indentation, quotes around text with special characters"
    };
    let message = without_controls(&UserMessageFormatter.format_message(error));
    Diagnostic::error(file, at, message, remedy)
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
            width: location.span().len(),
        }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        let mut at = Position::from(spanned.referenced);
        if matches!(spanned.value, Value::Null | Value::List(_) | Value::Map(_)) {
            at.width = 0;
        }
        Self {
            at,
            value: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::OtherNumber, Value::Int))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element::<Spanned<Value>>()? {
            nodes.push(node.into());
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value: Node = map.next_value::<Spanned<Value>>()?.into();
            entries.push(Entry {
                key: key.value,
                key_at: key.referenced.into(),
                value,
            });
        }
        Ok(Value::Map(entries))
    }
}

const ONCE: &str = "write each field once";
