//! Changes of a text that change what it means, and nothing else in it: comments, order and style stay.

use std::ops::Range;

use palisade_injector::patch::{Step, align};
use serde_json::{Map, Value};
use thiserror::Error;

use super::keep::{commented, replaces};
use super::line::{ends_line, line_end, line_start};
use super::render;
use super::tree::{Entry, Kind, Node, Quotes, Style};

/// Bytes, and what comes in their place.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

/// What becomes of values that are replaced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Replaced<'a> {
    /// These fields stay as comments, so that [`restore`](super::keep::restore) can bring back each byte.
    Commented {
        /// Their names.
        fields: &'a [&'a str],
        /// The field that comes in their place.
        by: &'a str,
    },
    /// They are gone.
    Dropped,
}

/// A text cannot be changed where it is written.
#[derive(Debug, Error)]
#[error("this cannot be changed in the way it is written")]
pub(super) struct EditError {
    /// Where, from 1.
    pub(super) line: usize,
}

/// The edits that make a node mean `after`.
pub(super) fn edits(
    text: &str,
    node: &Node,
    after: &Value,
    replaced: Replaced<'_>,
) -> Result<Vec<Edit>, EditError> {
    let mut editor = Editor {
        text,
        replaced,
        edits: Vec::new(),
    };
    editor.change(node, after)?;
    Ok(editor.edits)
}

/// The text with the edits in it; those at one place come in their order.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let mut edited = String::with_capacity(text.len());
    let mut at = 0;
    for edit in &edits {
        edited.push_str(text.get(at..edit.range.start).unwrap_or_default());
        edited.push_str(&edit.text);
        at = at.max(edit.range.end);
    }
    edited.push_str(text.get(at..).unwrap_or_default());
    // A last line that does not end stays one.
    if !text.ends_with('\n') && edited.ends_with('\n') {
        edited.pop();
    }
    edited
}

struct Editor<'a> {
    text: &'a str,
    replaced: Replaced<'a>,
    edits: Vec<Edit>,
}

impl Editor<'_> {
    fn change(&mut self, node: &Node, after: &Value) -> Result<(), EditError> {
        if node.value() == *after {
            return Ok(());
        }
        match (&node.kind, after) {
            (Kind::Map(Style::Block, entries), Value::Object(after)) => self.map(entries, after),
            (Kind::Map(Style::Flow, entries), Value::Object(after)) => {
                self.flow_map(node, entries, after)
            }
            (Kind::List(style, items), Value::Array(after)) => {
                self.list(*style, (node, items), after)
            }
            (Kind::Scalar(quotes, _), after) if !after.is_array() && !after.is_object() => {
                let text = match (quotes, after) {
                    (Quotes::Double, Value::String(_)) => after.to_string(),
                    (Quotes::Double | Quotes::Other, after) => render::scalar_text(after),
                };
                self.replace(node.range.clone(), text);
                Ok(())
            }
            (Kind::Alias | Kind::Scalar(..) | Kind::List(..) | Kind::Map(..), _) => {
                Err(EditError { line: node.line })
            }
        }
    }

    fn map(&mut self, entries: &[Entry], after: &Map<String, Value>) -> Result<(), EditError> {
        // What replaces a field that stays as a comment stands right behind it.
        let mut written = Vec::new();
        for entry in entries {
            let value = after.get(&entry.name);
            if value == Some(&entry.value.value()) || written.contains(&entry.name.as_str()) {
                continue;
            }
            if self.keeps(entry) {
                let mut text = commented(self.lines(entry)?, entry.key.column);
                if let Replaced::Commented { by, .. } = self.replaced
                    && let Some(value) = after.get(by)
                {
                    text.push_str(&render::entry(by, value, entry.key.column));
                    written.push(by);
                }
                self.replace(self.line_range(entry)?, text);
                continue;
            }
            if let Some(value) = value.filter(|value| self.keeps_inside(entry, value)) {
                let mut text = commented(self.lines(entry)?, entry.key.column);
                text.push_str(&self.rewritten(entry, value)?);
                self.replace(self.line_range(entry)?, text);
                continue;
            }
            match value {
                None => self.replace(self.line_range(entry)?, String::new()),
                Some(value) if is_alike(&entry.value, value) => self.change(&entry.value, value)?,
                Some(value) => {
                    let text = render::entry(&entry.name, value, entry.key.column);
                    self.replace(self.line_range(entry)?, text);
                }
            }
        }
        let is_new = |name: &str| {
            !written.contains(&name) && !entries.iter().any(|entry| entry.name == name)
        };
        let added = after.iter().filter(|(name, _)| is_new(name));
        let column = entries.first().map_or(0, |entry| entry.key.column);
        let added: String = added
            .map(|(name, value)| render::entry(name, value, column))
            .collect();
        if let Some(last) = entries.last().filter(|_| !added.is_empty()) {
            let end = line_end(self.text, last.value.range.end);
            self.insert_lines(end, added);
        }
        Ok(())
    }

    fn flow_map(
        &mut self,
        node: &Node,
        entries: &[Entry],
        after: &Map<String, Value>,
    ) -> Result<(), EditError> {
        let ranges: Vec<_> = entries
            .iter()
            .map(|entry| entry.key.range.start..entry.value.range.end)
            .collect();
        let mut removed = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match after.get(&entry.name) {
                None => removed.push(index),
                Some(value) if is_alike(&entry.value, value) => self.change(&entry.value, value)?,
                Some(value) => self.replace(entry.value.range.clone(), value.to_string()),
            }
        }
        self.remove_flow(&ranges, &removed);
        let is_new = |name: &str| !entries.iter().any(|entry| entry.name == name);
        let added = after.iter().filter(|(name, _)| is_new(name));
        let added = added.map(|(name, value)| format!("{}: {value}", Value::from(name.as_str())));
        self.append_flow(node, &ranges, &removed, added.collect());
        Ok(())
    }

    fn list(
        &mut self,
        style: Style,
        (node, items): (&Node, &[Node]),
        after: &[Value],
    ) -> Result<(), EditError> {
        let before: Vec<Value> = items.iter().map(Node::value).collect();
        let ranges: Vec<_> = items.iter().map(|item| item.range.clone()).collect();
        let mut removed = Vec::new();
        let mut added = Vec::new();
        for step in align(&before, after) {
            match step {
                Step::Add(to) => added.extend(after.get(to)),
                Step::Remove(from) => removed.push(from),
                Step::Keep(from, to) => {
                    let (Some(item), Some(value)) = (items.get(from), after.get(to)) else {
                        continue;
                    };
                    self.add_before(style, item, std::mem::take(&mut added))?;
                    self.change(item, value)?;
                }
            }
        }
        match style {
            Style::Flow => {
                self.remove_flow(&ranges, &removed);
                let added = added.into_iter().map(Value::to_string).collect();
                self.append_flow(node, &ranges, &removed, added);
            }
            Style::Block => {
                for item in removed.iter().filter_map(|index| items.get(*index)) {
                    let start = line_start(self.text, self.dash(item)?);
                    let end = line_end(self.text, item.range.end);
                    self.replace(start..end, String::new());
                }
                if let Some(last) = items.last().filter(|_| !added.is_empty()) {
                    let column = self.column(self.dash(last)?);
                    let lines = render::items(&added, column);
                    self.insert_lines(line_end(self.text, last.range.end), lines);
                }
            }
        }
        Ok(())
    }

    /// New items stand before the comments of the one that follows.
    fn add_before(
        &mut self,
        style: Style,
        item: &Node,
        added: Vec<&Value>,
    ) -> Result<(), EditError> {
        if added.is_empty() {
            return Ok(());
        }
        if style == Style::Flow {
            let text = added.iter().map(|value| format!("{value}, ")).collect();
            self.replace(item.range.start..item.range.start, text);
            return Ok(());
        }
        let dash = self.dash(item)?;
        let column = self.column(dash);
        let mut at = line_start(self.text, dash);
        while let Some(above) = at.checked_sub(1).map(|end| line_start(self.text, end)) {
            let line = self.text.get(above..at).unwrap_or_default();
            if !line.trim_start().starts_with('#') {
                break;
            }
            at = above;
        }
        self.replace(at..at, render::items(&added, column));
        Ok(())
    }

    /// An entry goes with the comma that parts it from its neighbour.
    fn remove_flow(&mut self, ranges: &[Range<usize>], removed: &[usize]) {
        if removed.len() == ranges.len() {
            if let Some((first, last)) = ranges.first().zip(ranges.last()) {
                self.replace(first.start..last.end, String::new());
            }
            return;
        }
        let last_kept = (0..ranges.len())
            .rev()
            .find(|index| !removed.contains(index));
        for index in removed {
            let next = ranges.get(index + 1).map(|range| range.start);
            let previous = index.checked_sub(1).and_then(|index| ranges.get(index));
            let Some(range) = ranges.get(*index) else {
                continue;
            };
            let range = match (next, previous) {
                (Some(next), _) if Some(*index) < last_kept => range.start..next,
                (_, Some(previous)) => previous.end..range.end,
                (Some(next), None) => range.start..next,
                (None, None) => range.clone(),
            };
            self.replace(range, String::new());
        }
    }

    fn append_flow(
        &mut self,
        node: &Node,
        ranges: &[Range<usize>],
        removed: &[usize],
        added: Vec<String>,
    ) {
        if added.is_empty() {
            return;
        }
        let added = added.join(", ");
        match ranges.last() {
            Some(last) if removed.len() < ranges.len() => {
                self.replace(last.end..last.end, format!(", {added}"));
            }
            Some(last) => self.replace(last.end..last.end, added),
            None => self.replace(node.range.start + 1..node.range.start + 1, added),
        }
    }

    fn keeps(&self, entry: &Entry) -> bool {
        self.kept().contains(&entry.name.as_str()) && self.line_range(entry).is_ok()
    }

    /// Whether a field that stays is replaced in an entry in flow style, which has no lines for a comment inside.
    fn keeps_inside(&self, entry: &Entry, after: &Value) -> bool {
        replaces(&entry.value, Some(after), self.kept()) && self.line_range(entry).is_ok()
    }

    fn kept(&self) -> &[&str] {
        match self.replaced {
            Replaced::Commented { fields, .. } => fields,
            Replaced::Dropped => &[],
        }
    }

    /// The lines of an entry, with its value changed.
    fn rewritten(&self, entry: &Entry, after: &Value) -> Result<String, EditError> {
        let start = self.line_range(entry)?.start;
        let mut changes = edits(self.text, &entry.value, after, Replaced::Dropped)?;
        for edit in &mut changes {
            edit.range = edit.range.start - start..edit.range.end - start;
        }
        Ok(apply(self.lines(entry)?, changes))
    }

    /// The lines of an entry that stands on lines of its own.
    fn line_range(&self, entry: &Entry) -> Result<Range<usize>, EditError> {
        let start = line_start(self.text, entry.key.range.start);
        let before = self
            .text
            .get(start..entry.key.range.start)
            .unwrap_or_default();
        if before.trim_start_matches(' ').is_empty() {
            Ok(start..line_end(self.text, entry.value.range.end))
        } else {
            Err(EditError {
                line: entry.key.line,
            })
        }
    }

    fn lines(&self, entry: &Entry) -> Result<&str, EditError> {
        Ok(self.text.get(self.line_range(entry)?).unwrap_or_default())
    }

    /// The dash before an item, with nothing but space and comments between.
    fn dash(&self, item: &Node) -> Result<usize, EditError> {
        let error = EditError { line: item.line };
        let before = self.text.get(..item.range.start).unwrap_or_default();
        let at = before.trim_end_matches([' ', '\n', '\r']).len();
        let dash = at
            .checked_sub(1)
            .filter(|at| before.get(*at..=*at) == Some("-"));
        let dash = dash.ok_or(EditError { line: item.line })?;
        let start = line_start(self.text, dash);
        let indent = self.text.get(start..dash).unwrap_or_default();
        if indent.trim_start_matches(' ').is_empty() {
            Ok(dash)
        } else {
            Err(error)
        }
    }

    fn column(&self, at: usize) -> usize {
        at - line_start(self.text, at)
    }

    fn replace(&mut self, range: Range<usize>, text: String) {
        self.edits.push(Edit { range, text });
    }

    fn insert_lines(&mut self, at: usize, mut lines: String) {
        if !ends_line(self.text, at) {
            lines.pop();
            lines.insert(0, '\n');
        }
        self.replace(at..at, lines);
    }
}

/// Whether one can become the other in its place.
fn is_alike(node: &Node, after: &Value) -> bool {
    match &node.kind {
        Kind::Alias => false,
        Kind::Map(..) => after.is_object(),
        Kind::List(..) => after.is_array(),
        Kind::Scalar(..) => !node.range.is_empty() && !after.is_object() && !after.is_array(),
    }
}
