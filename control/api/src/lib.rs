//! What the programs of the mesh agree on.
//!
//! - [`spiffe`]: names. One idea of what an identity is, for every program.
//! - [`policy`]: who may reach what, and the one function that decides it.
//! - [`manifest`]: the YAML that people write, and what is wrong with it.
//! - [`workload`]: what runs where.
//! - [`sidecar`]: the ports, paths, names and marks that injector, proxy and redirect share.
//! - [`cluster`]: the names that injector, control and command share in Kubernetes; [`probe`]: the probes that the
//!   sidecar asks for the kubelet; [`in_force`]: what control records of the rules.
//! - [`usage`]: who reached what, by which rules: what proxies count, control keeps and the command asks for.
//! - [`log`]: which lines a program logs.
//! - [`wire`]: the protobuf messages between proxy and control; [`convert`] is the only place where a
//!   string from the wire becomes a type.
//!
//! # What this crate never does
//!
//! It opens no socket, starts no task, reads no file and no clock: time is an argument. It has no TLS and
//! no Kubernetes client. It proves nothing about a peer: a parsed name says nothing about who holds it.

pub mod cluster;
pub mod convert;
pub mod in_force;
pub mod log;
pub mod manifest;
pub mod policy;
pub mod probe;
pub mod sidecar;
pub mod spiffe;
pub mod usage;
#[rustfmt::skip]
pub mod wire;
pub mod workload;
