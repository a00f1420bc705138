//! Where the parts of a policy stand, for messages about what shows only after it was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Manifest;
use super::node::{Entry, Node, Value};

/// One document of a file, and where it and its parts stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// The line in which it begins, from 1.
    pub line: u64,
    /// What it says.
    pub manifest: Manifest,
    /// Where `metadata.name` stands.
    pub name: Position,
    /// Where `metadata.namespace` stands.
    pub namespace: Position,
    /// Where a policy's `target` stands; unknown where it has none.
    pub target: TargetPlace,
    /// Where each rule of a policy stands, in the order of its rules; none of other kinds.
    pub rules: Vec<RulePlace>,
}

/// Where a policy's target stands, and what it selects by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetPlace {
    /// The target itself.
    pub at: Position,
    /// Its `serviceAccount`.
    pub service_account: Position,
    /// The values of its `labels`, by their keys.
    pub labels: BTreeMap<String, Position>,
    /// Each of its `namespaces`.
    pub namespaces: Vec<Position>,
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RulePlace {
    /// Its name.
    pub name: Position,
    /// What each entry of `from` names: `shop/web` in `serviceAccount: shop/web`.
    pub from: Vec<Position>,
    /// Each of its `ports`; none where they are left out.
    pub ports: Vec<Position>,
    /// Its `expires`; unknown where it has none.
    pub expires: Position,
}

/// A place in a text. All is 0 where it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// How many characters stand there; 0 for mappings and lists, of which only the beginning is known.
    pub width: u64,
}

impl Position {
    /// Whether it is a place at all.
    pub fn is_known(self) -> bool {
        self.line > 0
    }
}

impl Document {
    /// `node` is what the manifest was read from.
    pub(super) fn new(file: &Arc<str>, node: &Node, manifest: Manifest) -> Self {
        let metadata = field(node, "metadata");
        let in_metadata = |key| metadata.and_then(|node| field(node, key));
        let (target, rules) = match manifest {
            Manifest::Policy(_) => policy(field(node, "spec")),
            Manifest::Workload(_)
            | Manifest::Service(_)
            | Manifest::Namespace { .. }
            | Manifest::Revocations(_)
            | Manifest::TrustBundle { .. } => Default::default(),
        };
        Self {
            file: Arc::clone(file),
            line: node.at.line,
            manifest,
            name: at(in_metadata("name")),
            namespace: at(in_metadata("namespace")),
            target,
            rules,
        }
    }
}

fn policy(spec: Option<&Node>) -> (TargetPlace, Vec<RulePlace>) {
    let in_spec = |key| spec.and_then(|node| field(node, key));
    let target = in_spec("target").map(target).unwrap_or_default();
    (target, entries(in_spec("rules")).iter().map(rule).collect())
}

fn target(node: &Node) -> TargetPlace {
    let labels = field(node, "labels").map(fields).unwrap_or_default();
    let labels = labels.iter();
    TargetPlace {
        at: node.at,
        service_account: at(field(node, "serviceAccount")),
        labels: labels
            .map(|label| (label.key.clone(), label.value.at))
            .collect(),
        namespaces: places(field(node, "namespaces")),
    }
}

fn rule(node: &Node) -> RulePlace {
    RulePlace {
        name: at(field(node, "name")),
        from: entries(field(node, "from")).iter().map(source).collect(),
        ports: places(field(node, "ports")),
        expires: at(field(node, "expires")),
    }
}

/// What the one key of a source names; the network itself of peers without an identity.
fn source(node: &Node) -> Position {
    match fields(node).first() {
        Some(entry) => field(&entry.value, "cidr").map_or(entry.value.at, |cidr| cidr.at),
        None => node.at,
    }
}

fn field<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let entry = fields(node).iter().find(|entry| entry.key == key)?;
    Some(&entry.value)
}

fn fields(node: &Node) -> &[Entry] {
    let Value::Map(fields) = &node.value else {
        return &[];
    };
    fields
}

fn entries(node: Option<&Node>) -> &[Node] {
    let Some(Value::List(nodes)) = node.map(|node| &node.value) else {
        return &[];
    };
    nodes
}

fn places(node: Option<&Node>) -> Vec<Position> {
    entries(node).iter().map(|node| node.at).collect()
}

fn at(node: Option<&Node>) -> Position {
    node.map(|node| node.at).unwrap_or_default()
}
