//! Lines that are kept as comments, and brought back to the byte.

use serde_json::Value;

use super::edit::Edit;
use super::line::{line_end, line_start};
use super::tree::{Entry, Kind, Node, Style};

/// The edits that bring back what [`commented`] kept, wherever `is_ours` knows the value that replaced it.
pub(super) fn restore(text: &str, node: &Node, is_ours: &dyn Fn(&Entry) -> bool) -> Vec<Edit> {
    match &node.kind {
        Kind::Alias | Kind::Scalar(..) => Vec::new(),
        Kind::List(_, items) => {
            let items = items.iter();
            items
                .flat_map(|item| restore(text, item, is_ours))
                .collect()
        }
        Kind::Map(_, entries) => {
            let entries = entries.iter();
            let edits = entries.flat_map(|entry| {
                let whole = Some(entry).filter(|entry| is_ours(entry));
                match whole.and_then(|entry| restored(text, entry)) {
                    Some(edit) => vec![edit],
                    None => restore(text, &entry.value, is_ours),
                }
            });
            edits.collect()
        }
    }
}

/// Whether one of the fields is another one afterwards, in a collection in flow style.
pub(super) fn replaces(node: &Node, after: Option<&Value>, fields: &[&str]) -> bool {
    match &node.kind {
        Kind::Map(Style::Flow, entries) => entries.iter().any(|entry| {
            let after = after.and_then(|after| after.get(&entry.name));
            let changed = after != Some(&entry.value.value());
            changed
                && (fields.contains(&entry.name.as_str()) || replaces(&entry.value, after, fields))
        }),
        Kind::List(Style::Flow, items) => items.iter().any(|item| {
            let named =
                |other: &&Value| item.field("name").map(Node::value).as_ref() == other.get("name");
            let after = after.and_then(Value::as_array);
            replaces(item, after.and_then(|all| all.iter().find(named)), fields)
        }),
        Kind::Alias | Kind::Scalar(..) | Kind::Map(..) | Kind::List(..) => false,
    }
}

/// Each line as a comment at a column.
pub(super) fn commented(lines: &str, column: usize) -> String {
    let indent = " ".repeat(column);
    let comment = |line: &str| match line.strip_prefix(&indent) {
        Some(rest) => format!("{indent}{INDENTED} {rest}\n"),
        None => format!("{indent}{WHOLE} {line}\n"),
    };
    let lines = lines.strip_suffix('\n').unwrap_or(lines);
    lines.split('\n').map(comment).collect()
}

/// The comment lines right above an entry, in place of them and of the entry.
fn restored(text: &str, entry: &Entry) -> Option<Edit> {
    let mut start = line_start(text, entry.key.range.start);
    let end = line_end(text, entry.value.range.end);
    let mut lines = Vec::new();
    while let Some(above) = start.checked_sub(1).map(|end| line_start(text, end)) {
        let Some(line) = text.get(above..start).and_then(uncommented) else {
            break;
        };
        lines.push(line);
        start = above;
    }
    if lines.is_empty() {
        return None;
    }
    Some(Edit {
        range: start..end,
        text: lines.into_iter().rev().collect(),
    })
}

/// The line that a comment keeps.
fn uncommented(line: &str) -> Option<String> {
    let comment = line.trim_start_matches(' ');
    let indent = line.get(..line.len() - comment.len())?;
    // Editors take away space at the end of a line.
    let kept = |marker: &str| {
        let rest = comment.strip_prefix(marker)?;
        Some(rest.strip_prefix(' ').unwrap_or(rest))
    };
    let indented = kept(INDENTED).map(|rest| format!("{indent}{rest}"));
    indented.or_else(|| kept(WHOLE).map(str::to_owned))
}

/// Before a line that is kept without the indentation of its comment.
const INDENTED: &str = "#palisade:";
/// Before a line that is kept with all its space.
const WHOLE: &str = "#palisade|";
