//! `PolicyTest`: what rules are expected to decide.
//!
//! It says nothing to a mesh, so [`read`](super::read()) leaves it out: it may stand beside the rules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::name::Form;
use super::node::{Node, Value};
use super::read::{Fields, Places, Reader, quoted};
use super::resource::{METADATA, VERSION, VERSION_REMEDY, name};
use super::{Diagnostic, Position, documents, rule};
use crate::policy::{Effect, PortRange};
use crate::spiffe::SpiffeId;

/// Expectations, and the moment for which they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTest {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// Its name, for people.
    pub name: String,
    /// The moment at which the rules are asked; none: now.
    pub at: Option<OffsetDateTime>,
    /// At least one, where nothing is wrong with the document.
    pub expectations: Vec<Expectation>,
    /// What can be read of others, with which something is wrong.
    pub doubtful: Vec<Names>,
}

/// A file's expectations, and what is wrong with them.
#[derive(Debug)]
pub struct TestReading {
    /// Where there are mistakes, the file is refused with them, and these are there to look for more.
    pub tests: Vec<PolicyTest>,
    /// Everything that is wrong, in the order of the text.
    pub mistakes: Vec<Diagnostic>,
}

/// Whom and what an expectation names, as far as that can be read: to look for more mistakes in it, and for nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Who calls.
    pub from: Option<Placed<Who>>,
    /// Who is called; none either where it cannot be read which labels it has.
    pub to: Option<Placed<Who>>,
    /// Labels of the called one.
    pub labels: BTreeMap<String, String>,
    /// The rule that is to decide.
    pub rule: Option<Placed<String>>,
}

/// What is asked, and what is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Where it begins.
    pub place: Position,
    /// What it is for; none: what it asks says enough.
    pub name: Option<String>,
    /// Who calls.
    pub from: Placed<Who>,
    /// Who is called.
    pub to: Placed<Who>,
    /// Labels of the called one, where nothing else says which it has.
    pub labels: BTreeMap<String, String>,
    /// Every port that is asked for, at least one.
    pub ports: Vec<PortRange>,
    /// What is to be decided.
    pub expect: Effect,
    /// The rule that is to decide: its whole name, or the end of it.
    pub rule: Option<Placed<String>>,
    /// Why, in the word of records.
    pub reason: Option<&'static str>,
    /// What rules in shadow are to change: the verdict would be this one instead.
    pub shadow: Option<Effect>,
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub at: Position,
}

/// Somebody, as people name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A workload or service account, as in `shop/web`.
    Named {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A proven name, as in `spiffe://cluster.local/ns/shop/sa/web`.
    Identity(SpiffeId),
    /// An address, and no proven name.
    Address(IpAddr),
}

/// Reads the `PolicyTest` documents of a file, and leaves out all others; `file` is its name, for messages.
///
/// # Errors
///
/// Everything that is wrong with them, and with what is no YAML: there one could be.
pub fn read_tests(file: &str, text: &str) -> Result<Vec<PolicyTest>, Vec<Diagnostic>> {
    let TestReading { tests, mistakes } = read_all_tests(file, text);
    if mistakes.is_empty() {
        Ok(tests)
    } else {
        Err(mistakes)
    }
}

/// The same, with the expectations beside which others have mistakes.
pub fn read_all_tests(file: &str, text: &str) -> TestReading {
    let (mut nodes, mut mistakes) = documents::of(file, text);
    nodes.retain(is_test);
    let named: Arc<str> = file.into();
    let mut reader = Reader::new(Places::Lines);
    let tests = nodes.iter();
    let tests = tests.filter_map(|node| test(&mut reader, node, &named));
    let tests = tests.collect();
    let found = reader.into_found();
    mistakes.extend(found.into_iter().map(|found| found.in_file(file)));
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    TestReading { tests, mistakes }
}

/// Whether a document is one of these, however wrong the rest of it may be.
pub(super) fn is_test(node: &Node) -> bool {
    let Value::Map(entries) = &node.value else {
        return false;
    };
    entries.iter().any(|entry| {
        entry.key == "kind" && matches!(&entry.value.value, Value::Text(kind) if kind == KIND)
    })
}

fn test(reader: &mut Reader<'_>, node: &Node, file: &Arc<str>) -> Option<PolicyTest> {
    let document = reader.fields(node, "document", &DOCUMENT)?;
    reader
        .required(&document, "apiVersion", VERSION_REMEDY)
        .and_then(|node| reader.word(node, "apiVersion", &[(VERSION, ())]));
    let Contents {
        name,
        at,
        expectations,
        doubtful,
    } = contents(reader, &document);
    Some(PolicyTest {
        file: Arc::clone(file),
        name: name.unwrap_or_default(),
        at,
        expectations,
        doubtful,
    })
}

/// What a document says, as far as nothing is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    name: Option<String>,
    at: Option<OffsetDateTime>,
    expectations: Vec<Expectation>,
    doubtful: Vec<Names>,
}

/// All of a document but its version and kind.
pub(super) fn contents(reader: &mut Reader<'_>, document: &Fields<'_>) -> Contents {
    let mut contents = Contents {
        name: reader
            .required(document, "metadata", "write `metadata: {name: …}`")
            .and_then(|node| {
                let fields = reader.fields(node, "metadata", &METADATA)?;
                name(reader, &fields, Form::Subdomain)
            }),
        ..Contents::default()
    };
    let spec = reader
        .required(document, "spec", "write `spec: {tests: […]}`")
        .and_then(|node| reader.fields(node, "spec", &["at", "tests"]));
    let Some(spec) = spec else {
        return contents;
    };
    contents.at = reader.optional(&spec, "at", moment).flatten();
    let remedy = "name at least one expectation, as in `- {from: shop/web, to: shop/orders, port: 8080, expect: allow}`";
    let nodes = reader
        .required(&spec, "tests", remedy)
        .and_then(|node| reader.list(node, "tests", remedy));
    for node in nodes.unwrap_or_default() {
        match expectation(reader, node) {
            Ok(expectation) => contents.expectations.push(expectation),
            Err(names) => contents.doubtful.extend(names.map(|names| *names)),
        }
    }
    contents
}

/// An expectation or, where something is wrong with it, whom it names; none where it has no fields.
fn expectation(reader: &mut Reader<'_>, node: &Node) -> Result<Expectation, Option<Box<Names>>> {
    let fields = reader.fields(node, "tests", &FIELDS).ok_or(None)?;
    let name = reader.optional(&fields, "name", |reader, node| {
        reader.text(node, "name").map(str::to_owned)
    });
    let from = required_who(reader, &fields, "from", "say who calls: `from: shop/web`");
    let to = required_who(
        reader,
        &fields,
        "to",
        "say who is called: `to: shop/orders`",
    );
    let labels = reader.optional(&fields, "labels", |reader, node| {
        reader.labels(node, "labels", Some("leave `labels` out"))
    });
    let ports = ports(reader, &fields);
    let expect = reader
        .required(&fields, "expect", "write `expect: allow` or `expect: deny`")
        .and_then(|node| reader.word(node, "expect", &EFFECTS));
    let rule = reader.optional(&fields, "rule", rule_name);
    let reason = reader.optional(&fields, "reason", |reader, node| {
        reader.word(node, "reason", &REASONS)
    });
    let shadow = reader.optional(&fields, "shadow", |reader, node| {
        reader.word(node, "shadow", &EFFECTS)
    });
    let names = Names {
        from: from.clone(),
        to: to.clone().filter(|_| labels.is_some()),
        labels: labels.clone().flatten().unwrap_or_default(),
        rule: rule.clone().flatten(),
    };
    let whole = || {
        Some(Expectation {
            place: node.at,
            name: name?,
            from: from?,
            to: to?,
            labels: labels?.unwrap_or_default(),
            ports: ports?,
            expect: expect?,
            rule: rule?,
            reason: reason?,
            shadow: shadow?,
        })
    };
    whole().ok_or_else(|| Some(Box::new(names)))
}

fn required_who(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    remedy: &str,
) -> Option<Placed<Who>> {
    let node = reader.required(fields, key, remedy)?;
    let text = reader.text(node, key)?;
    let value = if let Ok(addr) = text.parse::<IpAddr>() {
        Who::Address(addr.to_canonical())
    } else if text.contains("://") {
        rule::identity(reader, node, key).map(Who::Identity)?
    } else {
        let named = text
            .split_once('/')
            .filter(|(namespace, name)| Form::Label.fits(namespace) && Form::Subdomain.fits(name));
        let Some((namespace, name)) = named else {
            let message = format!("{} names nobody", quoted(text));
            let remedy = "write NAMESPACE/NAME as in shop/web, a whole SPIFFE ID, or an address for one without an identity";
            return reader.refuse(node.at, message, remedy);
        };
        Who::Named {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    };
    Some(Placed { value, at: node.at })
}

/// `port` or `ports`, which mean the same.
fn ports(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Vec<PortRange>> {
    let node = match (fields.find("port"), fields.find("ports")) {
        (Some(one), None) | (None, Some(one)) => &one.value,
        (Some(_), Some(second)) => {
            let message = "`port` and `ports` say the same";
            return reader.refuse(second.key_at, message, "write one of them");
        }
        (None, None) => return reader.required(fields, "port", PORT).and(None),
    };
    if matches!(node.value, Value::List(_)) {
        let nodes = reader.list(node, "ports", PORT)?;
        return reader.each(nodes, rule::port_range);
    }
    rule::port_range(reader, node).map(|range| vec![range])
}

fn rule_name(reader: &mut Reader<'_>, node: &Node) -> Option<Placed<String>> {
    let text = reader.text(node, "rule")?;
    let is_name = |part: &str| Form::Subdomain.fits(part);
    if text.split('/').count() > 3 || !text.split('/').all(is_name) {
        let message = format!("{} is no rule's name", quoted(text));
        let remedy =
            "write it as in shop/orders/web-places-orders, or only its end: web-places-orders";
        return reader.refuse(node.at, message, remedy);
    }
    let value = text.to_owned();
    Some(Placed { value, at: node.at })
}

fn moment(reader: &mut Reader<'_>, node: &Node) -> Option<OffsetDateTime> {
    let text = reader.text(node, "at")?;
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at);
    }
    let message = format!("{} is no moment", quoted(text));
    reader.refuse(node.at, message, "write it like 2026-12-01T00:00:00Z")
}

const DOCUMENT: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
pub(super) const KIND: &str = "PolicyTest";
const FIELDS: [&str; 10] = [
    "name", "from", "to", "labels", "port", "ports", "expect", "rule", "reason", "shadow",
];
const EFFECTS: [(&str, Effect); 2] = [("allow", Effect::Allow), ("deny", Effect::Deny)];
/// The words of [`AllowReason`](crate::policy::AllowReason) and [`DenyReason`](crate::policy::DenyReason).
const REASONS: [(&str, &str); 5] = [
    ("rule", "rule"),
    ("no_rule", "no_rule"),
    ("permissive", "permissive"),
    ("closing_in_shadow", "closing_in_shadow"),
    ("revoked", "revoked"),
];
const PORT: &str = "write `port: 8080`, `port: 9000-9010` or `ports: [8080, 9000-9010]`";
