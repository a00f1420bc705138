//! The sidecar: mutual TLS, authorization and one record for every connection of a pod.

pub mod admin;
#[rustfmt::skip]
pub mod grpc;
pub mod identity;
pub mod outcome;
pub mod readiness;
pub mod redirect;
pub mod telemetry;
pub mod tls;
pub mod transport;
