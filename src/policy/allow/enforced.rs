//! Whether a rule would be enforced at those who are called.

use anyhow::ensure;

use crate::policy::rules::Rules;
use crate::policy::subject::{self, Called};
use crate::policy::{excluded, warn};

/// The called replicas where no rule is asked, as they have no sidecar, beside others that have one; it warns of them.
///
/// # Errors
///
/// Where no sidecar of them all sees the port: nothing denies it there.
pub(super) fn enforced(rules: &Rules, called: &[Called], port: u16) -> anyhow::Result<Vec<String>> {
    let replicas = called
        .iter()
        .flat_map(|one| subject::replicated(rules, one));
    let replicas: Vec<_> = replicas.collect();
    let without = subject::without_sidecar(&replicas);
    ensure!(
        without.is_empty() || replicas.iter().any(|one| one.meshed),
        "there is no sidecar at {}, so no rule holds there and nothing denies it; nothing was done",
        without.join(", ")
    );
    if !without.is_empty() {
        warn(&[format!(
            "not enforced at {}: without a sidecar, nothing is denied there",
            without.join(", ")
        )]);
    }
    excluded::refuse(rules, called, port)?;
    Ok(without)
}
