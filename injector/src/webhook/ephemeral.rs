//! Ephemeral containers: `kubectl debug` must not pass by the mesh either.

use super::pods;
use super::review::{Change, Verdict};
use crate::inject::ephemeral;

/// Checks the containers that a running pod would have.
pub(crate) fn review(change: &Change) -> Verdict {
    let (Change::Create(pod) | Change::Update { new: pod, .. }) = change else {
        return Verdict::allow();
    };
    match ephemeral(pod) {
        Ok(()) => Verdict::allow(),
        Err(reasons) => pods::refuse(&reasons),
    }
}
