//! What the parts of a mesh tell the terminal: one JSON line per [`Event`].

use std::io::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::plan::Pod;

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// A pod's own network is there, and waits for its cable.
    Network,
    /// How a pod is now.
    Pod(PodStatus),
    /// A proxy's record of a connection.
    Record {
        /// `shop/orders-0`.
        workload: String,
        record: Map<String, Value>,
    },
    /// A line that control, a proxy or an application wrote.
    Output { source: String, line: String },
}

/// How a pod is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PodStatus {
    /// `shop/orders-0`.
    pub(crate) workload: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) spiffe_id: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) meshed: bool,
    #[serde(flatten)]
    pub(crate) state: State,
    pub(crate) restarts: Restarts,
    pub(crate) pids: Pids,
}

/// The state that people see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub(crate) enum State {
    Starting,
    Ready,
    NotReady(String),
    Restarting(String),
    /// The application ended, and is not to be started again.
    Ended(String),
}

/// How often its parts were started again.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Restarts {
    pub(crate) pod: u32,
    pub(crate) proxy: u32,
    pub(crate) app: u32,
}

/// Its processes. Written by the mesh as its own PID namespace counts, shown as the machine does.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Pids {
    pub(crate) pod: Option<u32>,
    pub(crate) proxy: Option<u32>,
    pub(crate) app: Option<u32>,
}

impl PodStatus {
    /// A pod of which nothing is known yet.
    pub(crate) fn starting(pod: &Pod) -> Self {
        Self {
            workload: pod.key(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            spiffe_id: pod.identity.clone(),
            addresses: pod.addresses.both().to_vec(),
            meshed: pod.meshed,
            state: State::Starting,
            restarts: Restarts::default(),
            pids: Pids::default(),
        }
    }

    /// Whether nothing more is waited for.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, State::Ready | State::Ended(_))
    }
}

impl State {
    /// One word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::NotReady(_) => "not ready",
            Self::Restarting(_) => "restarting",
            Self::Ended(_) => "ended",
        }
    }

    /// Why, where that is known.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Ready => None,
            Self::NotReady(reason) | Self::Restarting(reason) | Self::Ended(reason) => Some(reason),
        }
    }
}

/// Tells the parent, which reads this process's stdout.
pub(crate) fn tell(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        // A parent that is gone takes this process with it.
        let _gone = writeln!(std::io::stdout().lock(), "{line}");
    }
}
