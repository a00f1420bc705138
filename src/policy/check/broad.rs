//! Allowances of more than anybody was seen to need.

use std::collections::BTreeSet;

use palisade_api::manifest::Position;
use palisade_api::policy::{Effect, From, PortRange};

use super::super::subject::Caller;
use super::super::traffic::counted;
use super::finding::{Code, Finding, Placed};
use super::lints::{Asked, some};
use super::seen::{Seen, network};

/// A warning for each source and each range of ports of which less was seen; and what is to be said of rules that were left
/// out.
pub(super) fn broad(asked: &Asked<'_>, seen: &Seen) -> (Vec<Finding>, Option<String>) {
    let all = asked.each();
    let rules = all.filter(|placed| placed.rule.acts(Effect::Allow, asked.now));
    let came = seen.admitted(asked.rules);
    let mut left_out = 0;
    let found = rules.flat_map(|placed| {
        let Some(admitted) = came.fitting(&placed) else {
            left_out += 1;
            return Vec::new();
        };
        if admitted.is_empty() {
            let own = &placed.rule.name;
            let message = format!("in these records nobody came whom the rule `{own}` admits");
            let remedy = "remove it, if they are of a time in which all that is needed happens";
            return vec![placed.warning(Code::Broad, placed.place.name, message, remedy)];
        }
        let sources = placed.rule.from.iter().zip(&placed.place.from);
        let sources = sources.filter_map(|(from, at)| {
            let (message, remedy) = source(asked, from, &admitted)?;
            Some(placed.warning(Code::Broad, *at, message, remedy))
        });
        sources.chain(ports(&placed, &admitted)).collect()
    });
    let found = found.collect();
    (found, unheld(left_out))
}

/// Labels are not guessed: a rule that took the calls of others for its own would be widened to them.
fn unheld(left_out: u64) -> Option<String> {
    let are = match left_out {
        0 => return None,
        1 => "is",
        _ => "are",
    };
    Some(format!(
        "{} {are} not held against the records: it is not known whether those that were called are those whom the target \
         selects; name a mesh file or manifests that say who has which labels",
        counted(left_out, "rule")
    ))
}

fn source(
    asked: &Asked<'_>,
    from: &From,
    admitted: &BTreeSet<(&Caller, u16)>,
) -> Option<(String, String)> {
    let callers: BTreeSet<&Caller> = admitted.iter().map(|(caller, _)| *caller).collect();
    let domain = &asked.rules.trust_domain;
    let came: Vec<&Caller> = callers
        .into_iter()
        .filter(|caller| from.fits(caller.source(), domain))
        .collect();
    let identities = || {
        came.iter()
            .map(|caller| caller.short(domain))
            .collect::<Vec<_>>()
    };
    match from {
        From::ServiceAccount { .. } | From::Identity(_) if !came.is_empty() => None,
        From::ServiceAccount { .. } | From::Identity(_) => Some((
            "nobody was seen to come as this one".to_owned(),
            "remove it from the rule, if it does not call".to_owned(),
        )),
        From::Namespace(_) | From::TrustDomain(_) if came.is_empty() => Some((
            "nobody of it was seen to come".to_owned(),
            "remove it from the rule, if nobody of it calls".to_owned(),
        )),
        From::Namespace(namespace) => {
            let accounts = asked.rules.known.accounts.iter();
            let all = accounts.filter(|(own, _)| own == namespace).count();
            (!asked.rules.known.is_complete || came.len() < all).then(|| only(&identities()))
        }
        From::TrustDomain(_) => Some(only(&identities())),
        From::Unauthenticated(range) => {
            let addrs: Vec<_> = came
                .iter()
                .filter_map(|caller| match caller {
                    Caller::Address(addr) => Some(*addr),
                    Caller::Identity(_) => None,
                })
                .collect();
            match network(&addrs) {
                None => Some((
                    "nobody was seen to come from there".to_owned(),
                    "remove it from the rule, if nobody there calls".to_owned(),
                )),
                Some(all) if all.prefix_len() > range.prefix_len() => Some((
                    format!("only addresses of {all} were seen"),
                    format!(
                        "narrow it to those that call, such as `unauthenticated: {{cidr: {all}}}`"
                    ),
                )),
                Some(_) => None,
            }
        }
    }
}

fn only(names: &[String]) -> (String, String) {
    (
        format!(
            "of all that it names, only these were seen: {}",
            some(names)
        ),
        "name those that call, each as a `serviceAccount` or `identity`".to_owned(),
    )
}

/// Ranges of ports of which some were seen, and single ones that were not.
fn ports(placed: &Placed<'_>, admitted: &BTreeSet<(&Caller, u16)>) -> Vec<Finding> {
    let used: BTreeSet<u16> = admitted.iter().map(|(_, port)| *port).collect();
    let warning = |at: Position, used: &[u16], what: &str| {
        let listed: Vec<_> = used.iter().map(ToString::to_string).collect();
        let (message, remedy) = match used {
            [] => (
                format!("nobody was seen to come to {what}"),
                "remove it from the rule, if it is not needed".to_owned(),
            ),
            _ => (
                format!("of {what}, only these were seen: {}", some(&listed)),
                format!(
                    "write `ports: [{}]`, if that is all that is needed",
                    listed.join(", ")
                ),
            ),
        };
        placed.warning(Code::Broad, at, message, remedy)
    };
    if placed.rule.ports.is_empty() {
        let used: Vec<_> = used.into_iter().collect();
        return vec![warning(placed.place.name, &used, "all ports")];
    }
    let ranges = placed.rule.ports.iter().zip(&placed.place.ports);
    let found = ranges.filter_map(|(range, at)| {
        let used: Vec<_> = used
            .iter()
            .copied()
            .filter(|port| range.contains(*port))
            .collect();
        let is_all = used.len() == usize::from(range.last - range.first) + 1;
        (!is_all).then(|| warning(*at, &used, &called(*range)))
    });
    found.collect()
}

fn called(range: PortRange) -> String {
    if range.first == range.last {
        format!("port {range}")
    } else {
        format!("ports {range}")
    }
}
