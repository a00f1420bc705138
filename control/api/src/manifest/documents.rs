//! The documents of a file: those between its markers, and the items of lists, as `kubectl get -o yaml` prints them.

use super::node::{self, Node, Value};
use super::read::{Fields, Places, Reader, describe};
use super::resource::VERSION;
use super::{Diagnostic, object};

/// Every document, and what is wrong with those that cannot be read and with lists.
///
/// A list that cannot be taken apart is a mistake: no rule may be passed over without a word.
pub(super) fn of(file: &str, text: &str) -> (Vec<Node>, Vec<Diagnostic>) {
    let (nodes, mut mistakes) = node::documents(file, text);
    let mut reader = Reader::new(Places::Lines);
    let mut documents = Vec::new();
    for node in nodes {
        match list(&node) {
            Some(version) => documents.extend(items(&mut reader, node, version)),
            None => documents.push(node),
        }
    }
    documents.iter_mut().for_each(object::keep_what_a_file_says);
    let found = reader.into_found().into_iter();
    mistakes.extend(found.map(|found| found.in_file(file)));
    (documents, mistakes)
}

/// The `apiVersion` of a list of this one's kind; none where it is no list.
fn list(document: &Node) -> Option<&'static str> {
    let Value::Text(kind) = &field(document, "kind")?.value else {
        return None;
    };
    let mut lists = LISTS.iter();
    lists.find_map(|(list, version)| (list == kind).then_some(*version))
}

fn items(reader: &mut Reader<'_>, list: Node, version: &'static str) -> Vec<Node> {
    if let Some(fields) = reader.fields(&list, "list", &FIELDS) {
        check(reader, &fields, version);
    }
    let Value::Map(fields) = list.value else {
        return Vec::new();
    };
    let items = fields.into_iter().find(|field| field.key == ITEMS);
    let Some(Value::List(mut items)) = items.map(|items| items.value.value) else {
        return Vec::new();
    };
    items.retain(|item| self::list(item).is_none());
    items
}

/// Refuses what is wrong with the list, and nothing of its items but lists.
fn check(reader: &mut Reader<'_>, fields: &Fields<'_>, version: &'static str) {
    let remedy = format!("write `apiVersion: {version}`");
    if let Some(node) = reader.required(fields, "apiVersion", &remedy) {
        reader.word(node, "apiVersion", &[(version, ())]);
    }
    let metadata = fields.find("metadata");
    let more = metadata.and_then(|entry| field(&entry.value, "continue"));
    if let Some(more) =
        more.filter(|more| matches!(&more.value, Value::Text(text) if !text.is_empty()))
    {
        let message = "the list is not all of it: `continue` says that there is more";
        reader.refuse::<()>(more.at, message, "ask for the whole list, without a limit");
    }
    let Some(node) = reader.required(fields, ITEMS, NO_ITEMS) else {
        return;
    };
    let Value::List(items) = &node.value else {
        let message = format!("`items` is {}, not a list", describe(&node.value));
        reader.refuse::<()>(node.at, message, NO_ITEMS);
        return;
    };
    for item in items.iter().filter(|item| list(item).is_some()) {
        let at = field(item, "kind").map_or(item.at, |kind| kind.at);
        let remedy = "write its items as documents of their own, with `---` before each";
        reader.refuse::<()>(at, "a list cannot be in another", remedy);
    }
}

fn field<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(fields) = &node.value else {
        return None;
    };
    let entry = fields.iter().find(|entry| entry.key == key)?;
    Some(&entry.value)
}

/// Kinds of lists, and of which version each is: what `kubectl` prints, and what the API server answers.
const LISTS: [(&str, &str); 3] = [
    ("List", "v1"),
    ("AuthorizationPolicyList", VERSION),
    ("ClusterAuthorizationPolicyList", VERSION),
];
const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", ITEMS];
const ITEMS: &str = "items";
const NO_ITEMS: &str = "write each object after a dash, or `items: []` where there are none";
