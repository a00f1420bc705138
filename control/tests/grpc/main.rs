//! Control as proxies meet it: real certificates, real TLS, real gRPC over loopback.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod client;
mod issue;
mod mesh;
mod usage;
mod watch;
