//! The table as messages: a transaction that writes it, one that removes it, requests that list it.

use palisade_api::sidecar;

use super::netlink::{Attributes, Message, NLM_F_APPEND, NLM_F_CREATE};
use super::rule::{Expression, Rule};
use super::rules::Chain;

/// A family of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4 and IPv6 in one.
    Inet,
    /// IPv4 alone: kernels that are built without IPv6 have no `inet`.
    Ipv4,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ipv4 => 2,
        }
    }

    /// The chains without what this family cannot match.
    pub(super) fn fit(self, mut chains: Vec<Chain>) -> Vec<Chain> {
        if self == Self::Ipv4 {
            for chain in &mut chains {
                chain.rules.retain(|rule| !rule.is_ipv6_only());
            }
        }
        chains
    }
}

/// What replaces the table, whether it was there or not.
pub(super) fn replace(family: Family, chains: &[Chain]) -> Vec<Message> {
    let mut messages = remove(family);
    messages.push(table(family, NFT_MSG_NEWTABLE, "create"));
    for chain in chains {
        messages.push(new_chain(family, chain));
        let rules = chain.rules.iter();
        messages.extend(rules.map(|rule| new_rule(family, chain, rule)));
    }
    messages
}

/// What removes the table, whether it was there or not: deleting is an error where there is none, so one is made first.
pub(super) fn remove(family: Family) -> Vec<Message> {
    vec![
        table(family, NFT_MSG_NEWTABLE, "create"),
        table(family, NFT_MSG_DELTABLE, "delete"),
    ]
}

/// Asks for the tables, chains or rules of a family.
pub(super) fn list(family: Family, kind: u16) -> Message {
    Message {
        purpose: "list its rules".to_owned(),
        kind,
        flags: 0,
        family: family.number(),
        attributes: Attributes::default(),
    }
}

fn table(family: Family, kind: u16, verb: &str) -> Message {
    let create = if kind == NFT_MSG_NEWTABLE {
        NLM_F_CREATE
    } else {
        0
    };
    Message {
        purpose: format!("{verb} the table `{}`", sidecar::REDIRECT_TABLE),
        kind,
        flags: create,
        family: family.number(),
        attributes: Attributes::default().text(TABLE_NAME, sidecar::REDIRECT_TABLE),
    }
}

fn new_chain(family: Family, chain: &Chain) -> Message {
    let attributes = Attributes::default()
        .text(CHAIN_TABLE, sidecar::REDIRECT_TABLE)
        .text(CHAIN_NAME, chain.name)
        .nested(CHAIN_HOOK, &hook(chain))
        .number(CHAIN_POLICY, chain.policy as u32)
        .text(CHAIN_TYPE, chain.kind);
    Message {
        purpose: format!("create the {} chain `{}`", chain.kind, chain.name),
        kind: NFT_MSG_NEWCHAIN,
        flags: NLM_F_CREATE,
        family: family.number(),
        attributes,
    }
}

/// Where a chain stands, as its attribute holds it.
pub(super) fn hook(chain: &Chain) -> Attributes {
    Attributes::default()
        .number(1, chain.hook as u32)
        .number(2, chain.priority.cast_unsigned())
}

fn new_rule(family: Family, chain: &Chain, rule: &Rule) -> Message {
    let mut list = Attributes::default();
    for Expression { name, attributes } in rule.expressions() {
        let expression = Attributes::default()
            .text(EXPRESSION_NAME, name)
            .nested(EXPRESSION_DATA, &attributes);
        list = list.nested(LIST_ELEMENT, &expression);
    }
    let attributes = Attributes::default()
        .text(RULE_TABLE, sidecar::REDIRECT_TABLE)
        .text(RULE_CHAIN, chain.name)
        .nested(RULE_EXPRESSIONS, &list);
    Message {
        purpose: format!("add the rule `{rule}` to the chain `{}`", chain.name),
        kind: NFT_MSG_NEWRULE,
        flags: NLM_F_CREATE | NLM_F_APPEND,
        family: family.number(),
        attributes,
    }
}

/// Asks for tables.
pub(super) const NFT_MSG_GETTABLE: u16 = 1;
/// Asks for chains.
pub(super) const NFT_MSG_GETCHAIN: u16 = 4;
/// Asks for rules.
pub(super) const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const LIST_ELEMENT: u16 = 1;
pub(super) const EXPRESSION_NAME: u16 = 1;
pub(super) const EXPRESSION_DATA: u16 = 2;
