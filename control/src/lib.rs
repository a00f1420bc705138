//! Stub.

#[rustfmt::skip]
pub mod grpc;
