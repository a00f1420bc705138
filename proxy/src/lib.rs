//! The sidecar: mutual TLS, authorization and one record for every connection of a pod.

#[rustfmt::skip]
pub mod grpc;
pub mod identity;
pub mod redirect;
pub mod tls;
pub mod transport;
