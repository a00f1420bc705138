//! Puts the sidecar into pods, and keeps wrong rules out.
//!
//! - [`inject`]: a pod in, a decision out. Pure: the webhook and `palisade inject` call the same function.
//! - [`sidecar`]: the containers and the volume that are added.
//! - [`limits`]: quantities, and what a namespace demands of every container.
//! - [`patch`]: the difference of two objects as a JSON Patch.
//! - [`main`] is the program: `listen` accepts, `webhook` answers reviews, of what `namespaces`, `control` and `certs`
//!   learn from the cluster.
//!
//! # What this crate never does
//!
//! It leaves no pod out without a reason, adds no capability to the sidecar, and never lets a pod decide by itself
//! that the mesh does not apply to it. What it does not know yet, it refuses. It changes nothing in the cluster but by
//! its answers, and writes nothing but Events.

mod certs;
mod cli;
#[cfg(test)]
mod cluster_double;
mod config;
mod control;
mod event;
pub mod inject;
mod known;
pub mod limits;
mod listed;
mod listen;
mod namespaces;
pub mod patch;
mod readiness;
mod run;
mod settings;
pub mod sidecar;
mod telemetry;
mod webhook;

pub use cli::{Cli, Command, main};
pub use config::{Config, ConfigError, RunArgs};
pub use run::RunError;
