//! What control records of the rules in force, in the ConfigMap [`RULES_CONFIG_MAP`](crate::cluster::RULES_CONFIG_MAP):
//! under the name of each `CustomResourceDefinition` one of these, as JSON. A control that starts reads it, and so does
//! `palisade check`.

use serde::{Deserialize, Serialize};

/// The rules of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The unique id of the definition under which all of them were there.
    pub definition: String,
    /// How many are in force.
    pub rules: usize,
    /// How many of these the API server does not list, since their definition went away.
    pub missing: usize,
    /// When control lets go of the missing ones, RFC 3339; none while the definition is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}
