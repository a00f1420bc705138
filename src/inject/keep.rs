//! Lines that are kept as comments, and brought back to the byte.

use super::edit::{Edit, line_end, line_start};
use super::tree::{Entry, Kind, Node};

/// The edits that bring back what [`commented`] kept, wherever `is_ours` knows the value that replaced it.
pub(super) fn restore(text: &str, node: &Node, is_ours: &dyn Fn(&Entry) -> bool) -> Vec<Edit> {
    let mut edits = Vec::new();
    let children: Vec<&Node> = match &node.kind {
        Kind::Alias | Kind::Scalar(..) => Vec::new(),
        Kind::List(_, items) => items.iter().collect(),
        Kind::Map(_, entries) => {
            let ours = entries.iter().filter(|entry| is_ours(entry));
            edits.extend(ours.filter_map(|entry| restored(text, entry)));
            entries.iter().map(|entry| &entry.value).collect()
        }
    };
    edits.extend(
        children
            .into_iter()
            .flat_map(|child| restore(text, child, is_ours)),
    );
    edits
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
