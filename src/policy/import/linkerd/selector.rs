//! Label selectors that are carried out here, and so may be of any kind.

use std::collections::BTreeMap;

use super::super::read::{Field, Reasons};

/// What labels must be like, all of it.
#[derive(Debug, Default)]
pub(super) struct Selector(Vec<Demand>);

#[derive(Debug)]
enum Demand {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

impl Selector {
    pub(super) fn read(reasons: &mut Reasons, field: &Field<'_>) -> Option<Self> {
        let fields = reasons.fields(field, &["matchLabels", "matchExpressions"], &[])?;
        let mut demands = Vec::new();
        if let Some(found) = fields.get("matchLabels") {
            for (key, value) in reasons.mapping(found)?.each() {
                demands.push(Demand::In(key.to_owned(), vec![reasons.text(value)?]));
            }
        }
        if let Some(found) = fields.get("matchExpressions") {
            for expression in reasons.items(found)? {
                demands.push(demand(reasons, &expression)?);
            }
        }
        Some(Self(demands))
    }

    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |key: &String, values: &Vec<String>| {
            labels.get(key).is_some_and(|value| values.contains(value))
        };
        self.0.iter().all(|demand| match demand {
            Demand::In(key, values) => has(key, values),
            Demand::NotIn(key, values) => !has(key, values),
            Demand::Exists(key) => labels.contains_key(key),
            Demand::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}

fn demand(reasons: &mut Reasons, field: &Field<'_>) -> Option<Demand> {
    let fields = reasons.fields(field, &["key", "operator", "values"], &[])?;
    let key = reasons.required(&fields, "key")?;
    let values = reasons.listed(&fields, "values")?;
    let values = values.into_iter().map(|(_, value)| value).collect();
    match reasons.required(&fields, "operator")?.as_str() {
        "In" => Some(Demand::In(key, values)),
        "NotIn" => Some(Demand::NotIn(key, values)),
        "Exists" => Some(Demand::Exists(key)),
        "DoesNotExist" => Some(Demand::DoesNotExist(key)),
        _ => reasons.refuse(
            field,
            "this operator is not known",
            "write In, NotIn, Exists or DoesNotExist",
        ),
    }
}
