//! Reads the kernel's table back and says where it is not what `apply` writes.

use std::fmt;

use palisade_api::sidecar;

use super::RedirectError;
use super::netlink::{Object, dump, find_attribute, read_attributes};
use super::rule::{Expression, Rule};
use super::rules::Chain;
use super::table::{self, Family};

/// A place where the kernel's table is not what `apply` writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// There is no table.
    NoTable,
    /// The table is switched off (`dormant`), or has another flag.
    TableFlags,
    /// A chain is missing.
    NoChain(String),
    /// A chain that `apply` does not write.
    UnknownChain(String),
    /// A chain of another type, at another hook or priority, or with another policy.
    ChainChanged(String),
    /// A rule is missing or another stands in its place. Later ones of its chain were not compared.
    Rule {
        /// The chain.
        chain: String,
        /// The rule's place in it, from 1.
        place: usize,
        /// The rule that belongs there; none where the chain should have ended.
        expected: Option<String>,
    },
}

/// Compares the kernel's table with these chains.
pub(super) fn compare(family: Family, chains: &[Chain]) -> Result<(), RedirectError> {
    let list = |kind| dump(&table::list(family, kind));
    let ours = |attribute: u16| {
        move |object: &Object| text(object, attribute) == Some(sidecar::REDIRECT_TABLE)
    };
    let mut tables = list(table::NFT_MSG_GETTABLE)?;
    tables.retain(ours(table::TABLE_NAME));
    let Some(found) = tables.first() else {
        return Err(RedirectError::Differs(vec![Difference::NoTable]));
    };
    let mut found_chains = list(table::NFT_MSG_GETCHAIN)?;
    found_chains.retain(ours(table::CHAIN_TABLE));
    let mut found_rules = list(table::NFT_MSG_GETRULE)?;
    found_rules.retain(ours(table::RULE_TABLE));

    let mut differences = Vec::new();
    if !is_zero(find_attribute(found, table::TABLE_FLAGS).unwrap_or_default()) {
        differences.push(Difference::TableFlags);
    }
    differences.extend(compare_chains(chains, &found_chains));
    differences.extend(
        chains
            .iter()
            .filter_map(|chain| compare_rules(chain, &found_rules)),
    );
    if differences.is_empty() {
        return Ok(());
    }
    Err(RedirectError::Differs(differences))
}

fn compare_chains(chains: &[Chain], found: &[Object]) -> Vec<Difference> {
    let named = |object: &Object, name: &str| text(object, table::CHAIN_NAME) == Some(name);
    let mut differences = Vec::new();
    for chain in chains {
        match found.iter().find(|object| named(object, chain.name)) {
            None => differences.push(Difference::NoChain(chain.name.to_owned())),
            Some(object) if !is_chain(object, chain) => {
                differences.push(Difference::ChainChanged(chain.name.to_owned()));
            }
            Some(_) => {}
        }
    }
    let unknown = found
        .iter()
        .filter(|object| !chains.iter().any(|chain| named(object, chain.name)));
    differences.extend(unknown.map(|object| {
        let name = text(object, table::CHAIN_NAME).unwrap_or_default();
        Difference::UnknownChain(name.to_owned())
    }));
    differences
}

fn is_chain(object: &[u8], chain: &Chain) -> bool {
    let hook = find_attribute(object, table::CHAIN_HOOK).unwrap_or_default();
    let policy = find_attribute(object, table::CHAIN_POLICY);
    read_attributes(hook).eq(table::hook(chain).iter())
        && policy == Some(&(chain.policy as u32).to_be_bytes())
        && text(object, table::CHAIN_TYPE) == Some(chain.kind)
}

fn compare_rules(chain: &Chain, found: &[Object]) -> Option<Difference> {
    let in_chain = |object: &&Object| text(object, table::RULE_CHAIN) == Some(chain.name);
    let found: Vec<_> = found.iter().filter(in_chain).collect();
    let places = 0..chain.rules.len().max(found.len());
    let wrong = places.into_iter().find(|&place| {
        let pair = chain.rules.get(place).zip(found.get(place));
        !pair.is_some_and(|(rule, object)| is_rule(object, rule))
    })?;
    Some(Difference::Rule {
        chain: chain.name.to_owned(),
        place: wrong + 1,
        expected: chain.rules.get(wrong).map(ToString::to_string),
    })
}

fn is_rule(object: &[u8], rule: &Rule) -> bool {
    let list = find_attribute(object, table::RULE_EXPRESSIONS).unwrap_or_default();
    let found: Vec<_> = read_attributes(list).map(|element| element.1).collect();
    let expected = rule.expressions();
    found.len() == expected.len()
        && expected
            .iter()
            .zip(found)
            .all(|(expression, object)| is_expression(object, expression))
}

/// Whether it is the expression with the attributes that we write. A newer kernel may list more; those must be zero, which is what
/// leaving an attribute out means. A counter's attributes are what it has counted.
fn is_expression(object: &[u8], expression: &Expression) -> bool {
    if text(object, table::EXPRESSION_NAME) != Some(expression.name) {
        return false;
    }
    if expression.name == "counter" {
        return true;
    }
    let found = find_attribute(object, table::EXPRESSION_DATA).unwrap_or_default();
    let ours = &expression.attributes;
    ours.iter()
        .all(|(kind, value)| find_attribute(found, kind) == Some(value))
        && read_attributes(found)
            .all(|(kind, value)| ours.iter().any(|ours| ours.0 == kind) || is_zero(value))
}

fn text(object: &[u8], kind: u16) -> Option<&str> {
    let value = find_attribute(object, kind)?;
    std::str::from_utf8(value.strip_suffix(&[0])?).ok()
}

fn is_zero(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == 0)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => write!(f, "there is no table `{}`", sidecar::REDIRECT_TABLE),
            Self::TableFlags => {
                f.write_str("the table is switched off, or has a flag that is not ours")
            }
            Self::NoChain(chain) => write!(f, "there is no chain `{chain}`"),
            Self::UnknownChain(chain) => write!(f, "the chain `{chain}` is not ours"),
            Self::ChainChanged(chain) => write!(
                f,
                "the chain `{chain}` has another hook, priority, type or policy"
            ),
            Self::Rule {
                chain,
                place,
                expected: Some(expected),
            } => {
                write!(f, "rule {place} of the chain `{chain}` is not `{expected}`")
            }
            Self::Rule {
                chain,
                place,
                expected: None,
            } => {
                write!(f, "rule {place} of the chain `{chain}` is not ours")
            }
        }
    }
}
