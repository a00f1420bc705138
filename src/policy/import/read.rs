//! Objects of Kubernetes in YAML, read field by field, with what keeps each of them from being converted.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::inject::tree::{Document, Entry, Kind, Node};
use crate::near::near;

use super::name::is_label;
use super::shown;
use super::{Origin, Reason};

/// An object, of whichever kind.
#[derive(Debug)]
pub(super) struct Object<'n> {
    pub(super) origin: Origin,
    /// What stands before the slash of `apiVersion`; empty where there is none.
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    /// That of its metadata, or the one that stands for none.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    root: Field<'n>,
    has_aliases: bool,
    /// What it says in the place of its group and version, where that is another than it was taken for.
    misnamed: Option<String>,
}

/// A value and the way to it from its object's root.
#[derive(Debug, Clone)]
pub(super) struct Field<'n> {
    path: String,
    /// Where it is named, which is easier found than where it begins.
    line: usize,
    node: &'n Node,
}

/// The fields of a mapping, but those that say null.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    pub(super) of: Field<'n>,
    fields: Vec<(&'n str, Field<'n>)>,
}

/// A field that is known and cannot be converted: its name, why, and what to do instead.
pub(super) type Unlike = (&'static str, &'static str, &'static str);

/// What keeps an object from being converted, collected so that one run tells all of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Reasons(pub(super) Vec<Reason>);

/// Every object of a file, also those in lists; `namespace` stands for the one that an object does not name.
pub(super) fn objects<'n>(
    file: &str,
    documents: &'n [Document],
    namespace: Option<&str>,
) -> Vec<Object<'n>> {
    let mut found = Vec::new();
    for document in documents {
        let Some(root) = &document.root else {
            continue;
        };
        let mut roots = Vec::new();
        unlist(root, &mut roots);
        for root in roots {
            let mut object = Object::new(file, root, namespace);
            object.has_aliases = document.has_aliases;
            found.push(object);
        }
    }
    found
}

/// The objects of a list, of lists in it too; else the one object.
fn unlist<'n>(root: &'n Node, into: &mut Vec<&'n Node>) {
    match root.field("items").map(|items| &items.kind) {
        Some(Kind::List(_, items)) if is_list(root) => {
            items.iter().for_each(|item| unlist(item, into));
        }
        _ => into.push(root),
    }
}

fn is_list(root: &Node) -> bool {
    let kind = root.field("kind").and_then(Node::text);
    kind.is_some_and(|kind| kind.ends_with("List"))
}

impl<'n> Object<'n> {
    fn new(file: &str, root: &'n Node, namespace: Option<&str>) -> Self {
        let text = |path: &[&str]| {
            let node = path
                .iter()
                .try_fold(root, |node, name| node.field(name))
                .and_then(Node::text);
            node.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let version = text(&["apiVersion"]).unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = text(&["kind"]).unwrap_or_default();
        let name = text(&["metadata", "name"]);
        let is_namespace = group.is_empty() && kind == "Namespace";
        let metadata = root.field("metadata");
        let named = metadata.and_then(|metadata| metadata.field("namespace"));
        let namespace = match named.filter(|node| !is_null(node)) {
            Some(_) => text(&["metadata", "namespace"]),
            None => namespace.map(str::to_owned),
        };
        let namespace = namespace.filter(|_| !is_namespace);
        let place = match (&namespace, &name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (_, Some(name)) => name.clone(),
            (_, None) => "without a name".to_owned(),
        };
        let what = if kind.is_empty() { "object" } else { &kind };
        Self {
            origin: Origin {
                file: file.to_owned(),
                line: root.line,
                object: shown(&format!("{what} {place}")),
            },
            group: group.to_owned(),
            version: version.to_owned(),
            namespace,
            name,
            root: Field {
                path: String::new(),
                line: root.line,
                node: root,
            },
            has_aliases: false,
            kind,
            misnamed: None,
        }
    }

    /// Takes it for one of a group where it has one of these kinds, and its group is missing or nearly that: whoever wrote
    /// it meant a rule, which must not be passed over. It is refused by [`Object::spec`].
    pub(super) fn or_of(mut self, group: &str, kinds: &[&str]) -> Self {
        let is_meant = self.group.is_empty()
            || (self.group != group && near(&self.group, [group.to_owned()].into_iter()).is_some());
        if is_meant && kinds.contains(&self.kind.as_str()) {
            let said = [&*self.group, &*self.version].join("/");
            self.misnamed = Some(said.trim_matches('/').to_owned());
            group.clone_into(&mut self.group);
        }
        self
    }

    /// For people who count what is passed over.
    pub(super) fn shown_kind(&self) -> String {
        match self.kind.as_str() {
            "" => "without a kind".to_owned(),
            kind => shown(kind),
        }
    }

    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        (self.group.as_str(), self.kind.as_str()) == (group, kind)
    }

    /// What it asks for; empty where it says nothing. Refuses what no object of its kind may be like, and gives it still
    /// where that can be understood, so that one run tells all that is wrong with it.
    pub(super) fn spec(&self, reasons: &mut Reasons, versions: &[&str]) -> Option<Field<'n>> {
        if let Some(said) = &self.misnamed {
            let reason = match said.as_str() {
                "" => "it has no apiVersion".to_owned(),
                said => format!("{} is no apiVersion of {}", shown(said), self.kind),
            };
            let remedy = format!("write `apiVersion: {}/{}`", self.group, versions.first()?);
            return reasons.refuse(&self.at("apiVersion"), reason, remedy);
        }
        if !versions.contains(&self.version.as_str()) {
            let reason = format!(
                "{} is no known version of {}",
                shown(&self.version),
                self.kind
            );
            let remedy = format!("write it as {}/{}", self.group, versions.first()?);
            return reasons.refuse(&self.at("apiVersion"), reason, remedy);
        }
        if self.has_aliases {
            let reason =
                "its document has aliases (*name), which stand for what is written elsewhere";
            reasons.refuse::<()>(&self.root, reason, "write the values out");
        }
        if self.name.is_none() {
            let reason = "it has no name";
            reasons.refuse::<()>(&self.at("metadata"), reason, "give it one");
        }
        match self.namespace.as_deref() {
            None => {
                let remedy = "write `metadata.namespace`, or say -n NAMESPACE";
                reasons.refuse::<()>(&self.at("metadata"), "it names no namespace", remedy);
            }
            Some(namespace) if !is_label(namespace) => {
                let reason = format!("\"{}\" is no namespace", shown(namespace));
                reasons.refuse::<()>(&self.at("metadata"), reason, "write its name");
            }
            Some(_) => {}
        }
        Some(self.at("spec"))
    }

    /// A field of the object itself; the object where there is none.
    fn at(&self, name: &str) -> Field<'n> {
        let entry = entries(self.root.node).find(|entry| entry.name == name);
        let found = entry.map(|entry| self.root.below(name, entry));
        found.unwrap_or_else(|| Field {
            path: name.to_owned(),
            ..self.root.clone()
        })
    }

    /// Annotations or labels, of those that are text.
    pub(super) fn metadata(&self, name: &str) -> BTreeMap<&'n str, &'n str> {
        self.texts(&["metadata", name])
    }

    /// The mapping at a path, of those of its values that are text.
    pub(super) fn texts(&self, path: &[&str]) -> BTreeMap<&'n str, &'n str> {
        let found = path
            .iter()
            .try_fold(self.root.node, |node, name| node.field(name));
        let entries = found.into_iter().flat_map(entries);
        entries
            .filter_map(|entry| Some((entry.name.as_str(), entry.value.text()?)))
            .collect()
    }

    pub(super) fn root(&self) -> &Field<'n> {
        &self.root
    }
}

impl<'n> Field<'n> {
    /// Whether a number stands there, and not one in quotes.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.node.kind, Kind::Scalar(_, Value::Number(_)))
    }

    fn below(&self, name: &str, entry: &'n Entry) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            path: format!("{}{dot}{}", self.path, shown(name)),
            line: entry.key.line,
            node: &entry.value,
        }
    }
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&Field<'n>> {
        let found = self.fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, field)| field)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&'n str, &Field<'n>)> {
        self.fields.iter().map(|(name, field)| (*name, field))
    }
}

impl Reasons {
    /// Says what does not map. Always `None`, so that a refusal can be a value's end.
    pub(super) fn refuse<T>(
        &mut self,
        field: &Field<'_>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        self.0.push(Reason {
            line: field.line,
            field: field.path.clone(),
            reason: reason.into(),
            remedy: remedy.into(),
        });
        None
    }

    /// A mapping, of whose fields only those that are taken may be there.
    pub(super) fn fields<'n>(
        &mut self,
        field: &Field<'n>,
        takes: &[&str],
        unlike: &[Unlike],
    ) -> Option<Fields<'n>> {
        let fields = self.mapping(field)?;
        for (name, found) in fields.each().filter(|(name, _)| !takes.contains(name)) {
            match unlike.iter().find(|(known, ..)| *known == name) {
                Some((_, reason, remedy)) => self.refuse::<()>(found, *reason, *remedy),
                None => self.refuse(
                    found,
                    "this field is not known",
                    "remove it, if it does nothing",
                ),
            };
        }
        Some(fields)
    }

    /// A mapping, whatever its fields are; nothing is an empty one.
    pub(super) fn mapping<'n>(&mut self, field: &Field<'n>) -> Option<Fields<'n>> {
        if !matches!(field.node.kind, Kind::Map(..)) && !is_null(field.node) {
            return self.refuse(field, "this is no mapping", "write fields");
        }
        let fields = entries(field.node)
            .filter(|entry| !is_null(&entry.value))
            .map(|entry| (entry.name.as_str(), field.below(&entry.name, entry)));
        Some(Fields {
            of: field.clone(),
            fields: fields.collect(),
        })
    }

    pub(super) fn items<'n>(&mut self, field: &Field<'n>) -> Option<Vec<Field<'n>>> {
        let Kind::List(_, items) = &field.node.kind else {
            return self.refuse(field, "this is no list", "write a list");
        };
        let items = items.iter().enumerate().map(|(index, node)| Field {
            path: format!("{}[{index}]", field.path),
            line: node.line,
            node,
        });
        Some(items.collect())
    }

    /// Text; a number is what it is written as.
    pub(super) fn text(&mut self, field: &Field<'_>) -> Option<String> {
        match &field.node.kind {
            Kind::Scalar(_, Value::String(text)) => Some(text.clone()),
            Kind::Scalar(_, Value::Number(number)) => Some(number.to_string()),
            Kind::Scalar(..) | Kind::Alias | Kind::List(..) | Kind::Map(..) => {
                self.refuse(field, "this is no text", "write text")
            }
        }
    }

    pub(super) fn boolean(&mut self, field: &Field<'_>) -> Option<bool> {
        match &field.node.kind {
            Kind::Scalar(_, Value::Bool(value)) => Some(*value),
            Kind::Scalar(..) | Kind::Alias | Kind::List(..) | Kind::Map(..) => {
                self.refuse(field, "this is neither true nor false", "write one of them")
            }
        }
    }

    /// Text in a list, each with its place; an empty list says nothing, as none does.
    pub(super) fn listed<'n>(
        &mut self,
        fields: &Fields<'n>,
        name: &str,
    ) -> Option<Vec<(Field<'n>, String)>> {
        let Some(field) = fields.get(name) else {
            return Some(Vec::new());
        };
        let mut all = Some(Vec::new());
        for item in self.items(field)? {
            let text = self.text(&item);
            all = all.zip(text).map(|(mut all, text)| {
                all.push((item, text));
                all
            });
        }
        all
    }

    /// `matchLabels` as labels, and of `matchExpressions` those that say the same.
    pub(super) fn selector(&mut self, field: &Field<'_>) -> Option<BTreeMap<String, String>> {
        let fields = self.fields(field, &["matchLabels", "matchExpressions"], &[])?;
        let mut labels = BTreeMap::new();
        if let Some(found) = fields.get("matchLabels") {
            for (name, value) in self.mapping(found)?.each() {
                labels.insert(name.to_owned(), self.text(value)?);
            }
        }
        let expressions = match fields.get("matchExpressions") {
            Some(found) => self.items(found)?,
            None => Vec::new(),
        };
        for expression in &expressions {
            let (key, value) = self.equality(expression)?;
            if labels.get(&key).is_some_and(|known| *known != value) {
                let reason = format!(
                    "{} cannot have two values: this selects nothing",
                    shown(&key)
                );
                return self.refuse(expression, reason, "remove one of them");
            }
            labels.insert(key, value);
        }
        Some(labels)
    }

    /// An expression that asks for one value of a label.
    fn equality(&mut self, expression: &Field<'_>) -> Option<(String, String)> {
        let fields = self.fields(expression, &["key", "operator", "values"], &[])?;
        let key = self.required(&fields, "key")?;
        let operator = self.required(&fields, "operator")?;
        let mut values = self.listed(&fields, "values")?;
        match (operator.as_str(), values.pop()) {
            ("In", Some((_, value))) if values.is_empty() => Some((key, value)),
            _ => self.refuse(
                expression,
                "rules choose workloads by labels that have one value",
                "give these workloads a label of their own and select by it, or write one object for each value",
            ),
        }
    }

    /// The text of a field that must be there.
    pub(super) fn required(&mut self, fields: &Fields<'_>, name: &str) -> Option<String> {
        match fields.get(name) {
            Some(field) => self.text(field),
            None => self.refuse(
                &fields.of,
                format!("`{name}` is missing"),
                format!("write `{name}`"),
            ),
        }
    }
}

fn entries(node: &Node) -> impl Iterator<Item = &Entry> {
    match &node.kind {
        Kind::Map(_, entries) => entries.iter(),
        Kind::Alias | Kind::Scalar(..) | Kind::List(..) => [].iter(),
    }
}

fn is_null(node: &Node) -> bool {
    matches!(node.kind, Kind::Scalar(_, Value::Null))
}
