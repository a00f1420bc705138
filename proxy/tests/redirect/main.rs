//! The redirect in real network namespaces, with real connections through it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod attacks;
mod churn;
mod lab;
mod passage;
mod table;
