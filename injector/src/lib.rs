//! Puts the sidecar into pods, and keeps wrong rules out.
//!
//! - [`inject`]: a pod in, a decision out. Pure: the webhook and `palisade inject` call the same function.
//! - [`sidecar`]: the containers and the volume that are added.
//! - [`limits`]: quantities, and what a namespace demands of every container.
//! - [`patch`]: the difference of two objects as a JSON Patch.
//!
//! # What this crate never does
//!
//! It leaves no pod out without a reason, adds no capability to the sidecar, and never lets a pod decide by itself
//! that the mesh does not apply to it.

pub mod inject;
pub mod limits;
pub mod patch;
pub mod sidecar;
