//! Allowances that a denial of the same policy always overrules.

use crate::policy::{Effect, From, Mode, PortRange, Rule};

/// Whether `denial` denies, for as long as `allowance` stands, everything that it allows.
///
/// A `true` is certain; some that would need several denials, or a trust domain's name, are not found.
pub(super) fn covers(denial: &Rule, allowance: &Rule) -> bool {
    let lasts = denial
        .expires
        .is_none_or(|end| allowance.expires.is_some_and(|other| other <= end));
    (denial.effect, denial.mode, allowance.effect) == (Effect::Deny, Mode::Enforce, Effect::Allow)
        && lasts
        && includes_ports(&denial.ports, &allowance.ports)
        && allowance
            .from
            .iter()
            .all(|from| denial.from.iter().any(|wide| includes(wide, from)))
}

fn includes_ports(wide: &[PortRange], narrow: &[PortRange]) -> bool {
    let is_included = |narrow: &PortRange| {
        wide.iter()
            .any(|wide| wide.first <= narrow.first && narrow.last <= wide.last)
    };
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(is_included))
}

fn includes(wide: &From, narrow: &From) -> bool {
    match (wide, narrow) {
        (From::Namespace(wide), From::ServiceAccount { namespace, .. }) => wide == namespace,
        (From::TrustDomain(wide), From::Identity(id)) => wide == id.trust_domain(),
        (From::Unauthenticated(wide), From::Unauthenticated(narrow)) => wide.contains(narrow),
        (
            From::ServiceAccount { .. }
            | From::Identity(_)
            | From::Namespace(_)
            | From::TrustDomain(_)
            | From::Unauthenticated(_),
            _,
        ) => wide == narrow,
    }
}
