//! Values as YAML: in block style for people, or on one line as JSON, which is YAML too.

use serde_json::{Map, Value};

/// The lines of `key: value` at a column.
pub(super) fn entry(key: &str, value: &Value, column: usize) -> String {
    let mut lines = String::new();
    write_entry(key, value, column, &mut lines);
    lines
}

/// The lines of a list's items whose dashes are at a column.
pub(super) fn items(values: &[&Value], column: usize) -> String {
    values.iter().map(|value| item(value, column)).collect()
}

/// The lines of a list's item whose dash is at a column.
fn item(value: &Value, column: usize) -> String {
    let indent = " ".repeat(column);
    match nested(value, column + 2) {
        // The first line's own indentation makes room for the dash.
        Some(lines) => format!("{indent}- {}", lines.get(column + 2..).unwrap_or_default()),
        None => format!("{indent}- {}\n", scalar_text(value)),
    }
}

/// A scalar, or an empty collection.
pub(super) fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::String(text) if text.contains('"') && can_be_single_quoted(text) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => value.to_string(),
    }
}

fn write_entry(key: &str, value: &Value, column: usize, lines: &mut String) {
    let indent = " ".repeat(column);
    let key = scalar_text(&Value::from(key));
    lines.push_str(&match nested(value, column + 2) {
        Some(nested) => format!("{indent}{key}:\n{nested}"),
        None => format!("{indent}{key}: {}\n", scalar_text(value)),
    });
}

/// The lines of a collection that has something in it.
fn nested(value: &Value, column: usize) -> Option<String> {
    let lines = match value {
        Value::Object(fields) => fields_at(fields, column),
        Value::Array(items) => items_at(items, column),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    Some(lines).filter(|lines| !lines.is_empty())
}

/// A name comes first: it is what people look for.
fn fields_at(fields: &Map<String, Value>, column: usize) -> String {
    let mut lines = String::new();
    let (names, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(key, _)| *key == "name");
    for (key, value) in names.into_iter().chain(rest) {
        write_entry(key, value, column, &mut lines);
    }
    lines
}

fn items_at(items: &[Value], column: usize) -> String {
    items.iter().map(|value| item(value, column)).collect()
}

/// Whether a text means itself without quotes, to parsers of YAML 1.1 also.
fn is_plain(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_word = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let has_start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '$');
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./-:$()".contains(c);
    has_start && text.chars().all(is_safe) && !text.ends_with(':') && !is_word.contains(&&*lower)
}

fn can_be_single_quoted(text: &str) -> bool {
    text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
}
