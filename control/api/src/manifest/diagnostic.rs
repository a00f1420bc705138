//! What is wrong, where, and what to write instead.

use std::fmt;

use super::place::Position;
use super::read::without_controls;
use super::snippet::Snippet;

/// What is wrong, where, and what to write instead.
///
/// Its `Display` is one line, for a log; [`Diagnostic::snippet`] shows the text too, for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// The file's name, as it was given.
    pub file: String,
    /// The line, from 1; 0 where only the file is known.
    pub line: u64,
    /// The column in characters, from 1; 0 where only the file is known.
    pub column: u64,
    /// How many characters are meant; 0 where only the beginning is known.
    pub width: u64,
    /// Whether the file is refused.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

/// Whether what is wrong makes a file unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// It does: the file is refused.
    Error,
    /// It does not, but the file may not do what its author thinks.
    Warning,
}

impl Severity {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Diagnostic {
    pub(super) fn error(
        file: &str,
        at: Position,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            width: at.width,
            severity: Severity::Error,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// It with the line that it is about, underlined, for a terminal of so many columns.
    ///
    /// `text` is that of the file. Where it has no such line, none is shown.
    pub fn snippet(&self, text: &str, columns: usize) -> Snippet {
        Snippet::new(self, text, columns)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_controls(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}; {}", self.message, self.remedy)
    }
}
