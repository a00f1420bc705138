//! Lists, as `kubectl get -o yaml` prints them, of which some items are not for us.

use std::ops::Range;

use serde_json::Value;

use crate::inject::tree::{self, Kind, Node, Style};

/// The text of a list with blanks for some of its items, each character where it was; none where they cannot be told from
/// what is around them, by their text.
pub(super) fn without(list: &str, is_out: fn(&Value) -> bool) -> Option<String> {
    let root = root(list)?;
    let (style, items) = items(&root)?;
    let mut left = list.to_owned();
    let mut expected = Vec::new();
    // From the end: a blank may be shorter than what it stands for.
    for item in items.iter().rev() {
        let value = item.value();
        if is_out(&value) {
            let range = with_its_mark(list, style, &item.range)?;
            let blanks = blanks(list.get(range.clone())?);
            left.replace_range(range, &blanks);
        } else {
            expected.push(value);
        }
    }
    // Whatever the text looked like: what is left says what it did.
    let root = self::root(&left)?;
    let (_, items) = self::items(&root)?;
    let said = items.iter().rev().map(Node::value);
    said.eq(expected).then_some(left)
}

/// None where the text is not one document, or a value of it stands in two places.
fn root(text: &str) -> Option<Node> {
    let [document] = <[_; 1]>::try_from(tree::parse(text).ok()?).ok()?;
    document.root.filter(|_| !document.has_aliases)
}

fn items(root: &Node) -> Option<(Style, &[Node])> {
    match &root.field("items")?.kind {
        Kind::List(style, items) => Some((*style, items)),
        Kind::Alias | Kind::Scalar(..) | Kind::Map(..) => None,
    }
}

/// An item with the dash before it or the comma behind it, if there is one.
fn with_its_mark(text: &str, style: Style, item: &Range<usize>) -> Option<Range<usize>> {
    match style {
        Style::Block => {
            let before = text.get(..item.start)?.trim_end();
            before
                .strip_suffix('-')
                .map(|before| before.len()..item.end)
        }
        Style::Flow => {
            let after = text.get(item.end..)?;
            let mark = after.trim_start();
            let end = match mark.strip_prefix(',') {
                Some(rest) => text.len() - rest.len(),
                None => item.end,
            };
            Some(item.start..end)
        }
    }
}

fn blanks(text: &str) -> String {
    let is_kept = |c: char| matches!(c, '\n' | '\r');
    text.chars()
        .map(|c| if is_kept(c) { c } else { ' ' })
        .collect()
}
