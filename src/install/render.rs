//! The part of Helm's template language that the chart is written in, and nothing beyond.
//!
//! `{{ .Values.a }}`, `{{ .Release.Namespace }}`, `| quote`, `| toJson`, `if`, `else`, `end`, and the dashes that eat
//! blank space. What is not understood is an error, so the chart cannot grow beyond what both programs read alike.

use serde_json::Value;

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    /// An action without its end.
    #[error("`{{{{{0}` is never closed")]
    Open(String),
    /// Something that Helm may know.
    #[error("`{{{{ {0} }}}}` is not understood")]
    Unknown(String),
    /// A value that is not there.
    #[error("there is no value `{0}`")]
    Missing(String),
    /// A list or a mapping where text is needed.
    #[error("`{0}` cannot stand in text as it is; it needs toJson")]
    NotText(String),
    /// `else` or `end` without `if`, or `if` without `end`.
    #[error("`if` and `end` do not match")]
    Unbalanced,
}

/// Renders one template; `scope` has `Values` and `Release`.
pub(super) fn render(template: &str, scope: &Value) -> Result<String, RenderError> {
    let mut out = String::with_capacity(template.len());
    // Whether the branch that each open `if` is in is rendered.
    let mut branches: Vec<bool> = Vec::new();
    for piece in pieces(template)? {
        let shown = branches.iter().all(|branch| *branch);
        match piece {
            Piece::Text(text) if shown => out.push_str(text),
            Piece::Text(_) => {}
            Piece::Action(action) => {
                let words: Vec<&str> = action.split_whitespace().collect();
                match words.as_slice() {
                    ["if", path] => branches.push(is_true(find(scope, path)?)),
                    ["else"] => {
                        let branch = branches.last_mut().ok_or(RenderError::Unbalanced)?;
                        *branch = !*branch;
                    }
                    ["end"] => {
                        branches.pop().ok_or(RenderError::Unbalanced)?;
                    }
                    _ => {
                        let text = expression(scope, &words, action)?;
                        if shown {
                            out.push_str(&text);
                        }
                    }
                }
            }
        }
    }
    if branches.is_empty() {
        Ok(out)
    } else {
        Err(RenderError::Unbalanced)
    }
}

enum Piece<'t> {
    Text(&'t str),
    Action(&'t str),
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, RenderError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trims = false;
    while let Some((text, after)) = rest.split_once("{{") {
        let (action, following) = after.split_once("}}").ok_or_else(|| {
            RenderError::Open(after.lines().next().unwrap_or_default().to_owned())
        })?;
        let text = if trims { text.trim_start() } else { text };
        let (text, action) = match action.strip_prefix("- ") {
            Some(action) => (text.trim_end(), action),
            None => (text, action),
        };
        let action = action
            .strip_suffix(" -")
            .inspect(|_| trims = true)
            .unwrap_or_else(|| {
                trims = false;
                action
            });
        pieces.push(Piece::Text(text));
        pieces.push(Piece::Action(action.trim()));
        rest = following;
    }
    pieces.push(Piece::Text(if trims { rest.trim_start() } else { rest }));
    Ok(pieces)
}

fn expression(scope: &Value, words: &[&str], action: &str) -> Result<String, RenderError> {
    match words {
        [path] if path.starts_with('.') => match find(scope, path)? {
            Value::String(text) => Ok(text.clone()),
            value @ (Value::Bool(_) | Value::Number(_)) => Ok(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(RenderError::NotText((*path).to_owned()))
            }
        },
        [path, "|", "quote"] => match find(scope, path)? {
            text @ Value::String(_) => Ok(text.to_string()),
            value @ (Value::Bool(_) | Value::Number(_)) => Ok(format!("\"{value}\"")),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(RenderError::NotText((*path).to_owned()))
            }
        },
        [path, "|", "toJson"] => Ok(find(scope, path)?.to_string()),
        _ => Err(RenderError::Unknown(action.to_owned())),
    }
}

fn find<'v>(scope: &'v Value, path: &str) -> Result<&'v Value, RenderError> {
    let Some(keys) = path.strip_prefix('.') else {
        return Err(RenderError::Unknown(path.to_owned()));
    };
    keys.split('.')
        .try_fold(scope, |value, key| value.get(key))
        .ok_or_else(|| RenderError::Missing(path.to_owned()))
}

/// As Go's templates see it.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope() -> Value {
        json!({"Values": {
            "name": "a\"b", "count": 2, "on": true, "off": false, "none": "", "list": [],
            "map": {"b": "1", "a": [true]},
        }})
    }

    #[test]
    fn what_both_understand_is_rendered() {
        for (template, expected) in [
            ("a: {{ .Values.count }}\n", "a: 2\n"),
            ("a: {{ .Values.name | quote }}", r#"a: "a\"b""#),
            ("a: {{ .Values.count | quote }}", r#"a: "2""#),
            ("a: {{ .Values.map.b }}", "a: 1"),
            (
                "a: {{ .Values.map | toJson }}",
                r#"a: {"a":[true],"b":"1"}"#,
            ),
            ("a\n{{- if .Values.on }}\nb\n{{- end }}\nc", "a\nb\nc"),
            ("a\n{{- if .Values.off }}\nb\n{{- end }}\nc", "a\nc"),
            ("{{ if .Values.none }}a{{ else }}b{{ end }}", "b"),
            ("{{ if .Values.list }}a{{ else }}b{{ end }}", "b"),
            ("{{ if .Values.on -}}  a {{- end -}}  b", "ab"),
            (
                "{{ if .Values.off }}{{ if .Values.on }}a{{ else }}b{{ end }}c{{ end }}d",
                "d",
            ),
        ] {
            assert_eq!(
                render(template, &scope()).as_deref(),
                Ok(expected),
                "{template}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (template, expected) in [
            (
                "{{ .Values.other }}",
                RenderError::Missing(".Values.other".into()),
            ),
            (
                "{{ if .Values.off }}{{ .Values.other }}{{ end }}",
                RenderError::Missing(".Values.other".into()),
            ),
            (
                "{{ include \"x\" . }}",
                RenderError::Unknown("include \"x\" .".into()),
            ),
            (
                "{{ .Values.name | upper }}",
                RenderError::Unknown(".Values.name | upper".into()),
            ),
            (
                "{{/* a comment */}}",
                RenderError::Unknown("/* a comment */".into()),
            ),
            (
                "{{ if not .Values.on }}{{ end }}",
                RenderError::Unknown("if not .Values.on".into()),
            ),
            (
                "{{ .Values.map }}",
                RenderError::NotText(".Values.map".into()),
            ),
            (
                "{{ .Values.list | quote }}",
                RenderError::NotText(".Values.list".into()),
            ),
            ("{{ if .Values.on }}", RenderError::Unbalanced),
            ("{{ end }}", RenderError::Unbalanced),
            ("{{ else }}", RenderError::Unbalanced),
            (
                "a {{ .Values.on\nb",
                RenderError::Open(" .Values.on".into()),
            ),
        ] {
            assert_eq!(render(template, &scope()), Err(expected), "{template}");
        }
    }
}
