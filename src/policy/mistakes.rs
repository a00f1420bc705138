//! What is wrong with files, as a compiler shows it: with the line, underlined.

use std::collections::BTreeMap;
use std::fmt;

use anstyle::Style;
use palisade_api::manifest::{self, Diagnostic, Severity};

use super::rules::Texts;
use crate::records::{self, DIM, ERROR, GOOD, WAITING};

/// Mistakes, and the texts that they are in. Its `Display` has colours, for a stream that takes away what its reader has
/// no use for.
#[derive(Debug)]
pub(crate) struct Mistakes {
    found: Vec<Diagnostic>,
    texts: BTreeMap<String, String>,
}

impl Mistakes {
    /// What is wrong with the files of a mesh, by themselves and together; none where nothing is.
    pub(crate) fn of(texts: Texts) -> Option<Self> {
        let mut found = texts.unreadable;
        let texts = texts.by_file;
        found.extend(manifest::read_together(&texts).mistakes);
        (!found.is_empty()).then(|| Self::new(found, texts))
    }

    /// `texts` are those of the files, by name.
    pub(crate) fn new(found: Vec<Diagnostic>, texts: BTreeMap<String, String>) -> Self {
        Self { found, texts }
    }

    /// Takes others in the same texts, and puts all in their order.
    pub(crate) fn add(&mut self, found: impl IntoIterator<Item = Diagnostic>) {
        self.found.extend(found);
        let place = |one: &Diagnostic| (one.file.clone(), one.line, one.column);
        self.found.sort_by_key(place);
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.found.iter().map(|one| shown(one, &self.texts));
        f.write_str(&shown.collect::<Vec<_>>().join("\n\n"))
    }
}

/// One of them, in colours and without a line break at its end.
pub(crate) fn shown(diagnostic: &Diagnostic, texts: &BTreeMap<String, String>) -> String {
    let text = texts.get(&diagnostic.file).map_or("", String::as_str);
    let snippet = diagnostic.snippet(text, records::columns().unwrap_or(COLUMNS));
    let parts = snippet.parts().iter().map(|part| {
        let style = look(part.style);
        format!("{}{}{}", style.render(), part.text, style.render_reset())
    });
    parts.collect()
}

fn look(style: manifest::Style) -> Style {
    match style {
        manifest::Style::Plain | manifest::Style::Source => Style::new(),
        manifest::Style::Place => Style::new().bold(),
        manifest::Style::Severity(Severity::Error) => ERROR,
        manifest::Style::Severity(Severity::Warning) => WAITING.bold(),
        manifest::Style::Message => Style::new().bold(),
        manifest::Style::Margin => DIM,
        manifest::Style::Help => GOOD,
    }
}

/// Where it is no terminal that shows them.
const COLUMNS: usize = 120;
