//! The mesh on a real Kubernetes, which `tests/kubernetes/cluster` brings up on this machine.
//!
//! Run as root, with `cargo test --workspace --features cluster-tests --test kubernetes`. All tests share one cluster; each
//! has a namespace of its own. The cluster goes down when the tests end, however they end. With
//! `PALISADE_KEEP_CLUSTER` set it stays, and the next run takes it as it is.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod admission;
mod authority;
mod chart;
mod commands;
mod compacted;
mod debug;
mod definitions;
mod example;
mod ground;
mod harness;
mod identity;
mod install;
mod load;
mod outage;
mod pods;
mod rules;
mod scale;
mod shop;
mod traffic;
mod upgrade;
mod usage;
mod viewer;
