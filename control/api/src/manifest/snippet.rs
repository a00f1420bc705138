//! A diagnostic with the line that it is about, as a compiler shows one.

use std::fmt;

use super::diagnostic::{Diagnostic, Severity};
use super::read::without_controls;
use super::underline::Underlined;

/// A diagnostic with the line that it is about, underlined. Its `Display` is plain text, several lines, without a line
/// break at its end.
///
/// ```text
/// shop.yaml:9:23: error: no service account `wbe` in namespace `shop`
///  9 |     - serviceAccount: shop/wbe
///    |                       ^^^^^^^^
///    = help: did you mean `web`?
/// ```
///
/// Whatever stands in the file, nothing of it can write to a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    parts: Vec<Part>,
}

/// A piece of a snippet that looks the same throughout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is, for whoever colours it.
    pub style: Style,
    /// What it says. Only a part of [`Style::Plain`] has a line break.
    pub text: String,
}

/// What a piece of a snippet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// Spaces, line breaks, and the remedy.
    Plain,
    /// File, line and column.
    Place,
    /// The word `error` or `warning`, and the underline.
    Severity(Severity),
    /// What is wrong.
    Message,
    /// The line's number, and what parts the text from it.
    Margin,
    /// The file's own text.
    Source,
    /// The word `help`.
    Help,
}

impl Snippet {
    pub(super) fn new(diagnostic: &Diagnostic, text: &str, columns: usize) -> Self {
        let mut snippet = Self { parts: Vec::new() };
        snippet.head(diagnostic);
        let number = diagnostic.line.to_string();
        let margin = " ".repeat(number.len());
        if let Some(line) = line_of(text, diagnostic.line) {
            let room = columns.saturating_sub(number.len() + MARGIN_COLUMNS);
            let skipped = count(diagnostic.column.saturating_sub(1));
            let width = count(diagnostic.width);
            let shown = Underlined::new(line, skipped, width, room.max(LEAST_ROOM));
            snippet.line(format!(" {number} | "));
            snippet.push(Style::Source, shown.line);
            snippet.line(format!(" {margin} | "));
            snippet.push(Style::Plain, " ".repeat(shown.before));
            let underline = "^".repeat(shown.width);
            snippet.push(Style::Severity(diagnostic.severity), underline);
        }
        snippet.line(format!(" {margin} = "));
        snippet.push(Style::Help, "help");
        let remedy = without_controls(&diagnostic.remedy);
        snippet.push(Style::Plain, format!(": {remedy}"));
        snippet
    }

    /// Its pieces, in their order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn head(&mut self, diagnostic: &Diagnostic) {
        let mut place = without_controls(&diagnostic.file);
        if diagnostic.line > 0 {
            place.push_str(&format!(":{}:{}", diagnostic.line, diagnostic.column));
        }
        let severity = diagnostic.severity;
        self.push(Style::Place, place);
        self.push(Style::Plain, ": ");
        self.push(Style::Severity(severity), severity.as_str());
        self.push(Style::Plain, ": ");
        self.push(Style::Message, without_controls(&diagnostic.message));
    }

    /// Begins a new line with its margin.
    fn line(&mut self, margin: String) {
        self.push(Style::Plain, "\n");
        self.push(Style::Margin, margin);
    }

    fn push(&mut self, style: Style, text: impl Into<String>) {
        let text = text.into();
        self.parts.push(Part { style, text });
    }
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts
            .iter()
            .try_for_each(|part| f.write_str(&part.text))
    }
}

/// The line of a number, from 1, as YAML counts them: a carriage return ends one too.
fn line_of(text: &str, number: u64) -> Option<&str> {
    let number = count(number).checked_sub(1)?;
    let mut lines = text
        .split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    lines.nth(number)
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Spaces and the bar.
const MARGIN_COLUMNS: usize = 4;
/// Of the file's text, however narrow the terminal is.
const LEAST_ROOM: usize = 20;
