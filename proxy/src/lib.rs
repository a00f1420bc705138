//! The sidecar: mutual TLS, authorization and one record for every connection of a pod.
//!
//! A connection's life: the kernel redirects it ([`redirect`]), it is accepted ([`listen`]) and asked where
//! it was going ([`original_dst`]). [`outbound`] resolves that to a workload ([`discovery`]) and opens a
//! stream to its proxy ([`transport`], over [`tls`]); there, [`inbound`] authorizes the stream
//! ([`authorize`]), connects to the application and relays ([`relay`]) for as long as it is permitted. Both
//! sides record how it ended ([`telemetry`], [`outcome`]).
//!
//! # What this crate never does
//!
//! It passes nothing in clear because something failed or was late. It delivers nothing before it was
//! authorized. It writes no key to disk. It knows nothing of Kubernetes.

pub mod admin;
pub mod authorize;
pub mod canary;
pub mod cli;
pub mod config;
pub mod dial;
pub mod discovery;
pub mod drain;
#[rustfmt::skip]
mod grpc;
mod held;
pub mod hop;
pub mod identity;
pub mod inbound;
pub mod lifecycle;
pub mod list;
pub mod listen;
pub mod original_dst;
pub mod outbound;
pub mod outcome;
pub mod pod;
pub mod probe;
mod random;
pub mod readiness;
pub mod redirect;
pub mod relay;
pub mod rpc;
pub mod run;
pub mod standing;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod usage;
