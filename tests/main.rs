//! The whole mesh, through its real programs, in real network namespaces.
//!
//! Tests that need nothing but the `palisade` program run with `cargo test`. Those that need root or other
//! programs are marked `#[ignore]` with the reason, and are run by CI with `--ignored`: there a program that
//! is missing is a failure.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod adversary;
mod cli;
mod contract;
mod control;
mod examples;
mod forbidden;
mod harness;
mod identity;
mod pair;
mod policy;
mod rules_asked;
mod rules_checked;
mod sandbox;
mod servers;
mod shop;
mod traffic;
mod transport;
mod up;
mod usage;
