//! What control does in a cluster.

mod acks;
mod attest;
mod authority;
mod leader;
mod lease;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use authority::AuthorityError;

pub(crate) use attest::{Refusal, ReviewError, Reviewed, ServiceAccounts};

/// The label of every object that control writes, by which it knows what it may delete.
pub(crate) fn managed_by_us() -> BTreeMap<String, String> {
    [(MANAGED_BY.to_owned(), MANAGED_BY_US.to_owned())].into()
}

/// Whether an object carries it.
pub(crate) fn is_managed_by_us(object: &ObjectMeta) -> bool {
    let labels = object.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY))
        .map(String::as_str)
        == Some(MANAGED_BY_US)
}

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const MANAGED_BY_US: &str = "palisade";

#[cfg(test)]
mod tests;
