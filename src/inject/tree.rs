//! YAML as a tree whose nodes know the bytes that they are written in.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's events are non-exhaustive, and no later one is a node"
)]

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle, Tag};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// One document of a stream.
#[derive(Debug)]
pub(crate) struct Document {
    /// Nothing where the document is empty.
    pub(crate) root: Option<Node>,
    /// Whether a value of it stands in two places at once.
    pub(crate) has_aliases: bool,
}

/// A value and where it is written.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its bytes: of a collection in block style from its first child's to its last.
    pub(crate) range: Range<usize>,
    /// From 1.
    pub(crate) line: usize,
    /// From 0, in characters.
    pub(crate) column: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Alias,
    Scalar(Quotes, Value),
    List(Style, Vec<Node>),
    Map(Style, Vec<Entry>),
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    Double,
    Other,
}

/// How a collection is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Block,
    Flow,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) key: Node,
    pub(crate) value: Node,
}

/// A text is no YAML that an object could be written in.
#[derive(Debug, Error)]
#[error("{line}: {problem}")]
pub(crate) struct ParseYamlError {
    pub(crate) line: usize,
    pub(crate) problem: String,
}

/// The documents of a stream.
pub(crate) fn parse(text: &str) -> Result<Vec<Document>, ParseYamlError> {
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str(text),
        has_aliases: false,
        depth: 0,
    };
    let mut documents = Vec::new();
    loop {
        let (event, _) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentEnd => {}
            Event::DocumentStart(..) => {
                reader.has_aliases = false;
                let (event, span) = reader.next()?;
                let root = match event {
                    Event::DocumentEnd => None,
                    event => Some(reader.node(event, span)?),
                };
                documents.push(Document {
                    root,
                    has_aliases: reader.has_aliases,
                });
            }
            _ => {}
        }
    }
}

impl Node {
    /// What it means.
    pub(crate) fn value(&self) -> Value {
        match &self.kind {
            Kind::Alias => Value::Null,
            Kind::Scalar(_, value) => value.clone(),
            Kind::List(_, items) => items.iter().map(Self::value).collect(),
            Kind::Map(_, entries) => {
                let fields = entries
                    .iter()
                    .map(|entry| (entry.name.clone(), entry.value.value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The value of a field, if it is a mapping that has it.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Kind::Map(_, entries) = &self.kind else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.name == name);
        entry.map(|entry| &entry.value)
    }

    /// The item of a list.
    pub(crate) fn item(&self, index: usize) -> Option<&Self> {
        match &self.kind {
            Kind::List(_, items) => items.get(index),
            Kind::Alias | Kind::Scalar(..) | Kind::Map(..) => None,
        }
    }

    /// A scalar's text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(_, Value::String(text)) => Some(text),
            Kind::Alias | Kind::Scalar(..) | Kind::List(..) | Kind::Map(..) => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    has_aliases: bool,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The next event that is not a comment.
    fn next(&mut self) -> Result<(Event<'a>, Span), ParseYamlError> {
        loop {
            match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => {
                    let line = error.marker().line();
                    let problem = error.info().to_string();
                    return Err(ParseYamlError { line, problem });
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, ParseYamlError> {
        let range = span.byte_range().unwrap_or_default();
        let (line, column) = (span.start.line(), span.start.col());
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = format!("values are nested deeper than {MAX_DEPTH}");
            return Err(ParseYamlError { line, problem });
        }
        let (kind, range) = match event {
            Event::Scalar(text, style, _, tag) => self.scalar((&text, style), tag.as_ref(), range),
            Event::SequenceStart(style, ..) => self.list(style.into(), range)?,
            Event::MappingStart(style, ..) => self.map(style.into(), range)?,
            _ => {
                self.has_aliases = true;
                (Kind::Alias, range)
            }
        };
        self.depth -= 1;
        Ok(Node {
            range,
            line,
            column,
            kind,
        })
    }

    fn scalar(
        &self,
        (text, style): (&str, ScalarStyle),
        tag: Option<&Cow<'_, Tag>>,
        range: Range<usize>,
    ) -> (Kind, Range<usize>) {
        let is_plain = style == ScalarStyle::Plain && tag.is_none();
        let value = if is_plain { resolve(text) } else { text.into() };
        let quotes = match style {
            ScalarStyle::DoubleQuoted => Quotes::Double,
            _ => Quotes::Other,
        };
        // A block scalar's span goes on to the next token.
        let written = self.text.get(range.clone()).unwrap_or_default();
        let end = range.start + written.trim_end().len();
        (Kind::Scalar(quotes, value), range.start..end)
    }

    fn list(
        &mut self,
        style: Style,
        range: Range<usize>,
    ) -> Result<(Kind, Range<usize>), ParseYamlError> {
        let mut items: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let children = items.first().zip(items.last());
                let range = around(style, range, span, children);
                return Ok((Kind::List(style, items), range));
            }
            items.push(self.node(event, span)?);
        }
    }

    fn map(
        &mut self,
        style: Style,
        range: Range<usize>,
    ) -> Result<(Kind, Range<usize>), ParseYamlError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut names = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                let first = entries.first().map(|entry| &entry.key);
                let children = first.zip(entries.last().map(|entry| &entry.value));
                let range = around(style, range, span, children);
                return Ok((Kind::Map(style, entries), range));
            }
            let name = match &event {
                Event::Scalar(text, ..) => text.to_string(),
                _ => String::new(),
            };
            let key = self.node(event, span)?;
            if !names.insert(name.clone()) {
                let problem = format!("the field \"{name}\" is there twice");
                return Err(ParseYamlError {
                    line: key.line,
                    problem,
                });
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            entries.push(Entry { name, key, value });
        }
    }
}

/// The bytes of a collection.
fn around(
    style: Style,
    start: Range<usize>,
    end: Span,
    children: Option<(&Node, &Node)>,
) -> Range<usize> {
    match (style, children) {
        (Style::Block, Some((first, last))) => first.range.start..last.range.end,
        (Style::Block, None) => start,
        (Style::Flow, _) => start.start..end.byte_range().unwrap_or(start).end,
    }
}

/// What a scalar without quotes is, by YAML's core schema.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text => {
            let is_numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            let float = || text.parse::<f64>().ok().and_then(Number::from_f64);
            let number = text.parse::<i64>().ok().map(Number::from).or_else(float);
            number
                .filter(|_| is_numeric)
                .map_or_else(|| text.into(), Value::Number)
        }
    }
}

impl From<StructureStyle> for Style {
    fn from(style: StructureStyle) -> Self {
        match style {
            StructureStyle::Block => Self::Block,
            _ => Self::Flow,
        }
    }
}

/// Deeper than any object of Kubernetes.
const MAX_DEPTH: usize = 128;
