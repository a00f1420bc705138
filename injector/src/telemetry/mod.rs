//! What operators see of the injector: metrics, readiness, logs.

pub(crate) mod admin;
mod log;
pub(crate) mod metrics;

pub(crate) use log::{chain, start};
