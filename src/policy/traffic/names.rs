//! Names that come again and again, each kept once and known by a number.

use std::collections::HashMap;
use std::sync::Arc;

/// What texts stand for, each once.
#[derive(Debug)]
pub(super) struct Names<T> {
    numbers: HashMap<Box<str>, usize>,
    values: Vec<T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T> Names<T> {
    /// The number of a text; none where `read` makes nothing of it, or too many are kept.
    pub(super) fn number(
        &mut self,
        text: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<usize> {
        if let Some(number) = self.numbers.get(text) {
            return Some(*number);
        }
        if self.values.len() >= MOST {
            return None;
        }
        let value = read(text)?;
        let number = self.values.len();
        self.values.push(value);
        self.numbers.insert(text.into(), number);
        Some(number)
    }

    pub(super) fn at(&self, number: usize) -> Option<&T> {
        self.values.get(number)
    }
}

impl Names<Arc<str>> {
    /// A text as it is shown: without control characters.
    pub(super) fn kept(&mut self, text: &str) -> Option<Arc<str>> {
        let shown = |text: &str| -> Option<Arc<str>> {
            let shown: String = text.chars().filter(|c| !c.is_control()).collect();
            Some(shown.into())
        };
        let number = self.number(text, shown)?;
        self.at(number).cloned()
    }
}

/// More than there are ends of the edges that are kept.
const MOST: usize = 2_000_000;
