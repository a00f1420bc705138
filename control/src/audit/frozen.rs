//! Rules that are in force and that the API server no longer lists.

use palisade_api::in_force::InForce;

use super::finding::{Finding, look};
use super::snapshot::Snapshot;

/// What control recorded.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "the API server lists every rule that is in force";
    look("frozen", &snapshot.in_force, fine, |kinds| {
        kinds.iter().filter_map(frozen).collect()
    })
}

fn frozen((definition, in_force): &(String, InForce)) -> Option<Finding> {
    let InForce {
        rules,
        missing,
        until,
        ..
    } = in_force;
    let until = match until {
        Some(until) => format!("until {until}"),
        None => "until ten minutes after it is there again".to_owned(),
    };
    (*missing > 0).then(|| {
        Finding::error(
            "frozen",
            format!("CustomResourceDefinition {definition}"),
            format!(
                "it went away, and {missing} of {rules} rules are in force that the API server no longer lists, {until}"
            ),
            "apply these rules again before that; then those go that are not there",
        )
    })
}
