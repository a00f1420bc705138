//! What the targets of one namespace ask of a workload, and which of them fit one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use palisade_api::policy::Target;

use super::TooManyError;
use crate::policy::subject::Called;

/// What a target asks of a workload, beside its namespace; or what a workload has.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked(BTreeMap<Field, String>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Field {
    Account,
    Label(String),
}

impl Asked {
    fn new(account: Option<&str>, labels: &BTreeMap<String, String>) -> Self {
        let account = account.map(|account| (Field::Account, account.to_owned()));
        let labels = labels
            .iter()
            .map(|(key, value)| (Field::Label(key.clone()), value.clone()));
        Self(account.into_iter().chain(labels).collect())
    }

    fn of(target: &Target) -> Self {
        Self::new(target.service_account.as_deref(), &target.labels)
    }

    /// That it has this account.
    pub(super) fn of_account(account: &str) -> Self {
        Self::new(Some(account), &BTreeMap::new())
    }

    /// All that a workload has.
    pub(super) fn had_by(called: &Called) -> Self {
        Self::new(Some(&called.service_account), &called.labels)
    }

    pub(super) fn account(&self) -> Option<&str> {
        self.0.get(&Field::Account).map(String::as_str)
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.0.iter().filter_map(|(field, value)| match field {
            Field::Label(key) => Some((key.clone(), value.clone())),
            Field::Account => None,
        });
        labels.collect()
    }

    /// How much is asked.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Both, of two that do not exclude each other.
    fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.extend(other.0.clone());
        both
    }

    /// The values of these fields; none where it says nothing of one of them.
    fn values(&self, fields: &[Field]) -> Option<Vec<&str>> {
        let values = fields.iter().map(|field| self.0.get(field));
        values.map(|value| value.map(String::as_str)).collect()
    }

    /// As people call those who have it; where these are not the `whole`, some of them are called otherwise.
    pub(super) fn shown(&self, namespace: &str, is_whole: bool) -> String {
        if self.is_nothing() {
            return format!("any other workload of {namespace}");
        }
        let account = self.account().map(|name| format!(" of account {name}"));
        let labels: Vec<_> = self
            .labels()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!(" labelled {}", labels.join(", ")),
        };
        let account = account.unwrap_or_default();
        let other = if is_whole { "" } else { "other " };
        format!("any {other}workload of {namespace}{account}{labels}")
    }
}

/// Things by what is asked of a workload, found by all that one has.
#[derive(Debug)]
pub(super) struct Parts<'a, T> {
    shapes: BTreeMap<Vec<&'a Field>, Valued<'a, T>>,
}

/// By the values of the fields of one shape.
type Valued<'a, T> = HashMap<Vec<&'a str>, T>;

impl<T> Default for Parts<'_, T> {
    fn default() -> Self {
        Self {
            shapes: BTreeMap::new(),
        }
    }
}

impl<'a, T: Copy> Parts<'a, T> {
    pub(super) fn add(&mut self, asked: &'a Asked, thing: T) {
        let fields = asked.0.keys().collect();
        let values = asked.0.values().map(String::as_str).collect();
        self.shapes.entry(fields).or_default().insert(values, thing);
    }

    /// Those of which all that is asked is among this.
    pub(super) fn of(&self, had: &Asked) -> Vec<T> {
        let found = self.shapes.iter().filter_map(|(fields, things)| {
            let values = fields.iter().map(|field| had.0.get(*field));
            let values: Option<Vec<&str>> = values.map(|value| value.map(String::as_str)).collect();
            things.get(&values?).copied()
        });
        found.collect()
    }
}

/// The targets of one namespace, each once. Those that ask for the same fields are found by the values.
#[derive(Debug, Default)]
pub(super) struct Targets {
    all: Vec<Asked>,
    numbers: BTreeMap<Asked, usize>,
    shapes: BTreeMap<Vec<Field>, Vec<usize>>,
}

impl Targets {
    /// The number of a target.
    pub(super) fn number(&mut self, target: &Target) -> usize {
        let asked = Asked::of(target);
        if let Some(number) = self.numbers.get(&asked) {
            return *number;
        }
        let number = self.all.len();
        let shape = asked.0.keys().cloned().collect();
        self.shapes.entry(shape).or_default().push(number);
        self.numbers.insert(asked.clone(), number);
        self.all.push(asked);
        number
    }

    pub(super) fn at(&self, number: usize) -> Option<&Asked> {
        self.all.get(number)
    }

    pub(super) fn has_account(&self, name: &str) -> bool {
        self.all.iter().any(|one| one.account() == Some(name))
    }

    /// The targets that one who has all of this fits.
    pub(super) fn fitting(&self, had: &Asked) -> BTreeSet<usize> {
        let of_shape = self.shapes.keys().filter_map(|shape| {
            let values = had.values(shape)?;
            let fields = shape.iter().cloned();
            let asked = Asked(fields.zip(values.into_iter().map(str::to_owned)).collect());
            self.numbers.get(&asked).copied()
        });
        of_shape.collect()
    }

    /// All that workloads can have at once who fit one of these at least. Whoever fits some targets has all that these
    /// ask for; so what is asked by each set of targets that do not exclude each other stands for everybody.
    ///
    /// # Errors
    ///
    /// Where there are more than `most`.
    pub(super) fn together(
        &self,
        seeds: BTreeSet<Asked>,
        most: u64,
    ) -> Result<BTreeSet<Asked>, TooManyError> {
        let mut beside = Beside::default();
        let mut left: Vec<Asked> = seeds.iter().cloned().collect();
        let mut all = seeds;
        while let Some(asked) = left.pop() {
            for shape in self.shapes.keys() {
                for number in beside.of(self, shape, &asked) {
                    let Some(other) = self.all.get(*number) else {
                        continue;
                    };
                    let both = asked.and(other);
                    if all.insert(both.clone()) {
                        left.push(both);
                    }
                }
            }
            let needed = u64::try_from(all.len()).unwrap_or(u64::MAX);
            if needed > most {
                return Err(TooManyError { needed, most });
            }
        }
        Ok(all)
    }
}

/// Targets by the values of some of their fields, as far as anybody asked.
#[derive(Debug, Default)]
struct Beside<'a> {
    by_fields: HashMap<Fields<'a>, ByValues<'a>>,
}

/// A shape, and those of its fields that are asked for.
type Fields<'a> = (&'a [Field], Vec<&'a Field>);
type ByValues<'a> = HashMap<Vec<&'a str>, Vec<usize>>;

impl<'a> Beside<'a> {
    /// The targets of a shape that do not exclude what is asked: in the fields that both have, they have the same.
    fn of<'s>(
        &'s mut self,
        targets: &'a Targets,
        shape: &'a [Field],
        asked: &'s Asked,
    ) -> &'s [usize] {
        let shared: Vec<&Field> = shape
            .iter()
            .filter(|field| asked.0.contains_key(*field))
            .collect();
        let fields: Vec<Field> = shared.iter().map(|field| (*field).clone()).collect();
        let by_fields = self.by_fields.entry((shape, shared));
        let by_values: &ByValues<'_> = by_fields.or_insert_with(|| {
            let mut by_values = ByValues::new();
            for number in targets.shapes.get(shape).into_iter().flatten() {
                let values = targets.all.get(*number).and_then(|one| one.values(&fields));
                if let Some(values) = values {
                    by_values.entry(values).or_default().push(*number);
                }
            }
            by_values
        });
        let found = asked.values(&fields);
        let found = found.and_then(|values| by_values.get(&values));
        found.map_or(&[], Vec::as_slice)
    }
}
