//! What is wrong with a mesh in a cluster, and what to do about it: for `palisade check`, which prints it, and for the
//! elected replica, which makes Events and a metric of it.
//!
//! One function gathers a [`Snapshot`] of the cluster; every judgement is a pure function of it. Nothing is changed.

mod about;
mod backoff;
mod certificate;
mod fetch;
mod finding;
mod frozen;
mod installed;
pub mod list;
mod meshed;
mod network;
mod nodes;
mod platform;
pub mod pod;
pub mod rules;
mod selector;
pub(crate) mod sidecars;
mod slim;
mod snapshot;
#[cfg(test)]
mod tests;
mod webhook;

pub(crate) use about::about;
pub use fetch::{
    Policies, everything, in_force, is_down, is_installed, namespaces, platform, policies,
};
pub use finding::{Finding, Severity, look};
pub use installed::REINSTALL;
pub use list::Scope;
pub use platform::judge as judge_platform;
pub use snapshot::{Looked, Platform, Snapshot};

/// All that there is to say about a mesh.
pub fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    [
        platform::judge(&snapshot.platform),
        installed::judge(snapshot),
        webhook::judge(snapshot),
        certificate::judge(snapshot),
        meshed::judge(snapshot),
        backoff::judge(snapshot),
        sidecars::judge(snapshot),
        rules::judge(snapshot),
        frozen::judge(snapshot),
        nodes::judge(snapshot),
        network::judge(snapshot),
    ]
    .concat()
}
