//! The chart's values, with what was asked for in place of their defaults.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Value, json};

use super::{InstallArgs, Switch, chart};

/// One `--set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    key: String,
    value: String,
}

impl FromStr for Setting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Why the values are no good.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValuesError {
    /// The chart's own file.
    #[error("the chart's values cannot be read")]
    Chart(#[source] Box<serde_saphyr::Error>),
    /// A key that the chart does not have.
    #[error("the chart has no value `{key}`; it has {known}")]
    Unknown {
        /// As it was written.
        key: String,
        /// Those of the mapping where it was looked for.
        known: String,
    },
    /// A value of another type than its default.
    #[error("`{key}` cannot be `{value}`; write {wanted}")]
    Type {
        /// The whole key.
        key: String,
        /// As it was written.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
}

/// The values for these arguments; a flag of its own wins over `--set`.
pub(super) fn of(args: &InstallArgs) -> Result<Value, ValuesError> {
    let mut values = complete()?;
    for Setting { key, value } in &args.set {
        set(&mut values, key, value)?;
    }
    let flags = [
        ("image", args.image.as_deref().map(Value::from)),
        (
            "trustDomain",
            args.trust_domain
                .as_ref()
                .map(|name| json!(name.to_string())),
        ),
        ("meshCidr", listed(&args.mesh_cidr)),
        ("outsideCidr", listed(&args.outside_cidr)),
        ("replicas", args.replicas.map(Value::from)),
        (
            "attestAddress",
            args.attest_address
                .map(|switch| json!(switch == Switch::On)),
        ),
        ("svidTtl", args.svid_ttl.as_deref().map(Value::from)),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            *find(&mut values, key)? = value;
        }
    }
    Ok(values)
}

/// The defaults, with the Namespace: what `palisade install` prints by itself.
pub(super) fn complete() -> Result<Value, ValuesError> {
    let mut values = defaults()?;
    *find(&mut values, "createNamespace")? = json!(true);
    Ok(values)
}

/// The chart's own values.
pub(super) fn defaults() -> Result<Value, ValuesError> {
    serde_saphyr::from_str(chart::VALUES).map_err(|error| ValuesError::Chart(Box::new(error)))
}

fn listed(items: &[impl Display]) -> Option<Value> {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    (!items.is_empty()).then(|| json!(items.join(",")))
}

fn set(values: &mut Value, key: &str, text: &str) -> Result<(), ValuesError> {
    let place = find(values, key)?;
    let json = || serde_json::from_str::<Value>(text).ok();
    let (value, wanted) = match place {
        Value::String(_) => (Some(json!(text)), "text"),
        Value::Bool(_) => (json().filter(Value::is_boolean), "true or false"),
        Value::Number(_) => (json().filter(Value::is_u64), "a number"),
        Value::Array(_) => (json().filter(Value::is_array), "a list in JSON"),
        Value::Object(_) => (json().filter(Value::is_object), "a mapping in JSON"),
        Value::Null => (json(), "JSON"),
    };
    *place = value.ok_or_else(|| ValuesError::Type {
        key: key.to_owned(),
        value: text.to_owned(),
        wanted,
    })?;
    Ok(())
}

/// Where a dotted key stands. A mistyped key would set nothing, so it must be there already.
fn find<'v>(values: &'v mut Value, key: &str) -> Result<&'v mut Value, ValuesError> {
    let mut place = values;
    for part in key.split('.') {
        let keys = place
            .as_object()
            .map(|map| map.keys().cloned().collect::<Vec<_>>());
        let known = keys.unwrap_or_default().join(", ");
        place = place.get_mut(part).ok_or_else(|| ValuesError::Unknown {
            key: key.to_owned(),
            known: if known.is_empty() {
                "nothing there".to_owned()
            } else {
                known
            },
        })?;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(settings: &[(&str, &str)]) -> Result<Value, String> {
        let mut values = defaults().unwrap();
        for (key, value) in settings {
            set(&mut values, key, value).map_err(|error| error.to_string())?;
        }
        Ok(values)
    }

    #[test]
    fn a_setting_has_the_type_of_its_default() {
        let values = after(&[
            ("priorityClassName", ""),
            ("replicas", "3"),
            ("attestAddress", "false"),
            ("controlResources.requests.cpu", "200m"),
            ("injectorResources", r#"{"limits":{"memory":"64Mi"}}"#),
            ("tolerations", r#"[{"operator":"Exists"}]"#),
        ])
        .unwrap();
        assert_eq!(values["priorityClassName"], "");
        assert_eq!(values["replicas"], 3);
        assert_eq!(values["attestAddress"], false);
        assert_eq!(
            values["controlResources"],
            json!({"requests": {"cpu": "200m", "memory": "64Mi"}})
        );
        assert_eq!(
            values["injectorResources"],
            json!({"limits": {"memory": "64Mi"}})
        );
        assert_eq!(values["tolerations"], json!([{"operator": "Exists"}]));
    }

    #[test]
    fn what_the_chart_does_not_have_or_take_is_refused() {
        for (key, value, expected) in [
            ("replica", "3", "no value `replica`; it has attestAddress, "),
            (
                "image.tag",
                "1",
                "no value `image.tag`; it has nothing there",
            ),
            ("controlResources.limits.cpu", "1", "it has requests"),
            (
                "replicas",
                "many",
                "`replicas` cannot be `many`; write a number",
            ),
            ("attestAddress", "on", "write true or false"),
            ("nodeSelector", "linux", "write a mapping in JSON"),
            ("tolerations", "{}", "write a list in JSON"),
        ] {
            let error = after(&[(key, value)]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_value_is_documented() {
        let mut is_documented = false;
        for line in chart::VALUES.lines() {
            let is_key = line.starts_with(|c: char| c.is_ascii_alphabetic());
            assert!(!is_key || is_documented, "{line} has no comment above it");
            is_documented = line.starts_with('#');
        }
    }
}
