//! What operators see of control: metrics, readiness, logs.

pub(crate) mod admin;
mod log;
pub(crate) mod metrics;

pub(crate) use log::start;
