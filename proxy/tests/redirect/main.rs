//! The redirect in real network namespaces, with real connections through it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attacks;
mod churn;
mod lab;
mod passage;
mod pods;
mod sidecar_program;
mod table;
