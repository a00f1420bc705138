//! Mutual TLS between proxies.

pub mod error;
