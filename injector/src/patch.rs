//! The difference of two objects as a JSON Patch (RFC 6902), its paths escaped by RFC 6901.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The operations that make `after` of `before`: as few and as small as a comparison field by field finds.
pub fn between(before: &Value, after: &Value) -> Vec<PatchOp> {
    let mut operations = Vec::new();
    compare(before, after, "", &mut operations);
    operations
}

/// One operation. They are applied in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum PatchOp {
    /// Adds a field, or an item before the one that has this index.
    Add {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// Removes a field or an item.
    Remove {
        /// Which.
        path: String,
    },
    /// Replaces a value.
    Replace {
        /// Which.
        path: String,
        /// By what.
        value: Value,
    },
}

/// What becomes of a list, from its first item to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The item at the first index is the item at the second afterwards, changed or not.
    Keep(usize, usize),
    /// The item at this index afterwards is new.
    Add(usize),
    /// The item at this index before is gone.
    Remove(usize),
}

/// How one list becomes another. Items with a `name` are the same item if they have the same; others if they are
/// equal.
pub fn align(before: &[Value], after: &[Value]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = before.iter().enumerate();
    for (to, item) in after.iter().enumerate() {
        if rest.clone().any(|(_, old)| is_same(old, item)) {
            for (from, old) in rest.by_ref() {
                if is_same(old, item) {
                    steps.push(Step::Keep(from, to));
                    break;
                }
                steps.push(Step::Remove(from));
            }
        } else {
            steps.push(Step::Add(to));
        }
    }
    steps.extend(rest.map(|(from, _)| Step::Remove(from)));
    steps
}

/// Escapes one segment of a path.
pub fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn is_same(before: &Value, after: &Value) -> bool {
    match (before.get("name"), after.get("name")) {
        (Some(before), Some(after)) => before == after,
        (None, None) => before == after,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn compare(before: &Value, after: &Value, path: &str, operations: &mut Vec<PatchOp>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => fields(before, after, path, operations),
        (Value::Array(before), Value::Array(after)) => items(before, after, path, operations),
        (before, after) if before == after => {}
        (_, after) => operations.push(PatchOp::Replace {
            path: path.to_owned(),
            value: after.clone(),
        }),
    }
}

fn fields(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    path: &str,
    operations: &mut Vec<PatchOp>,
) {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        let path = format!("{path}/{}", escape(key));
        operations.push(PatchOp::Remove { path });
    }
    for (key, value) in after {
        let path = format!("{path}/{}", escape(key));
        match before.get(key) {
            Some(before) => compare(before, value, &path, operations),
            None => operations.push(PatchOp::Add {
                path,
                value: value.clone(),
            }),
        }
    }
}

fn items(before: &[Value], after: &[Value], path: &str, operations: &mut Vec<PatchOp>) {
    // The index in the list as it is once the operations so far are applied.
    let mut index = 0;
    for step in align(before, after) {
        let path = format!("{path}/{index}");
        match step {
            Step::Keep(from, to) => {
                if let (Some(before), Some(after)) = (before.get(from), after.get(to)) {
                    compare(before, after, &path, operations);
                }
                index += 1;
            }
            Step::Add(to) => {
                let value = after.get(to).cloned().unwrap_or_default();
                operations.push(PatchOp::Add { path, value });
                index += 1;
            }
            Step::Remove(_) => operations.push(PatchOp::Remove { path }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn apply(value: &Value, operations: &[PatchOp]) -> Value {
        let text = serde_json::to_value(operations).unwrap();
        let patch: json_patch::Patch = serde_json::from_value(text).unwrap();
        let mut value = value.clone();
        json_patch::patch(&mut value, &patch).unwrap();
        value
    }

    #[test]
    fn a_patch_is_minimal_and_escaped() {
        let before = json!({"a/b": {"~": 1, "x": 2}, "l": [{"name": "u", "v": 1}, {"name": "w"}]});
        let after = json!({"a/b": {"~": 2, "x": 2},
            "l": [{"name": "new"}, {"name": "u", "v": 2}, {"name": "w"}]});
        let operations = between(&before, &after);
        let expected = json!([
            {"op": "replace", "path": "/a~1b/~0", "value": 2},
            {"op": "add", "path": "/l/0", "value": {"name": "new"}},
            {"op": "replace", "path": "/l/1/v", "value": 2},
        ]);
        assert_eq!(serde_json::to_value(&operations).unwrap(), expected);
        assert_eq!(apply(&before, &operations), after);
        assert_eq!(between(&after, &after), []);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4_i64).prop_map(Value::from),
            "[a-c/~]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("(name|[a-c/~]{0,2})", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_makes_the_one_of_the_other(before in any_value(), after in any_value()) {
            prop_assert_eq!(apply(&before, &between(&before, &after)), after);
        }
    }
}
