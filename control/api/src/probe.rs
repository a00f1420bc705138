//! A probe that the kubelet asks of the sidecar, which asks the application: what the injector writes and the proxy
//! reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Rewritten probes by path on the telemetry port.
pub type Probes = BTreeMap<String, Probe>;

/// What to ask of the application, at the pod's own address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
    /// How long the answer may take, in seconds.
    pub timeout_seconds: u32,
}

/// The kinds of Kubernetes that come over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// `httpGet`: good is a status from 200 to 399.
    HttpGet(HttpGet),
    /// `tcpSocket`: good is a connection.
    TcpSocket {
        /// The port.
        port: u16,
    },
    /// `grpc`: good is SERVING, by the gRPC health checking protocol.
    Grpc {
        /// The port.
        port: u16,
        /// The service that is asked about; empty: the server as a whole.
        #[serde(default)]
        service: String,
    },
}

/// An HTTP probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGet {
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// HTTPS, whose certificate is not verified, as the kubelet does it.
    #[serde(default)]
    pub https: bool,
    /// Headers in their order; a `Host` replaces the address.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}
