//! Stub.

#[rustfmt::skip]
pub mod grpc;
pub mod tls;
