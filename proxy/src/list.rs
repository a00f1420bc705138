//! Comma-separated values of a flag or a variable, of which an empty one is none: clap would take it for one empty value.

use std::fmt;
use std::str::FromStr;

/// Some values: `80,443`, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(Vec<T>);

impl<T: Clone> List<T> {
    /// All values of all times that a flag was given.
    pub fn all(lists: &[Self]) -> Vec<T> {
        lists.iter().flat_map(|list| list.0.clone()).collect()
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T: FromStr> FromStr for List<T>
where
    T::Err: fmt::Display,
{
    type Err = ListError<T::Err>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let values = text.split(',').map(str::trim);
        let values = values.filter(|value| !value.is_empty()).map(|value| {
            let parsed = value.parse();
            parsed.map_err(|error| ListError {
                value: value.to_owned(),
                error,
            })
        });
        Ok(Self(values.collect::<Result<_, _>>()?))
    }
}

/// One of the values is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?}: {error}")]
pub struct ListError<E: fmt::Display> {
    /// Which.
    pub value: String,
    /// Why.
    pub error: E,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_separated_by_commas_and_may_be_none() {
        for (text, values) in [
            ("", vec![]),
            (" ", vec![]),
            ("80", vec![80]),
            ("80,443", vec![80, 443]),
            ("80, 443,", vec![80, 443]),
        ] {
            let list: List<u16> = text.parse().unwrap();
            assert_eq!(List::all(&[list]), values, "{text:?}");
        }
        let error = "80,http".parse::<List<u16>>().unwrap_err().to_string();
        assert_eq!(error, "\"http\": invalid digit found in string");
    }
}
