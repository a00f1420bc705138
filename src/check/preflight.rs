//! `palisade check --pre`: whether a mesh can be installed.

use super::finding::Finding;
use super::platform;
use super::snapshot::{Platform, Right};

/// The versions, and what the user may do.
pub(super) fn judge(cluster: &Platform) -> Vec<Finding> {
    let mut findings = platform::judge(cluster);
    let rights = cluster.rights.iter().filter_map(right);
    let before = findings.len();
    findings.extend(rights);
    if findings.len() == before {
        findings.push(Finding::ok(
            "rights",
            "you may create all that is installed",
        ));
    }
    findings
}

fn right(right: &Right) -> Option<Finding> {
    match &right.allowed {
        Ok(true) => None,
        Ok(false) => Some(Finding::error(
            "rights",
            "",
            format!("you may not {}", right.what),
            "install as a user who may, such as a member of cluster-admin",
        )),
        Err(why) => Some(Finding::unknown("rights", why)),
    }
}
