//! What both directions know of the pod: its identity, its rules, its ways out.

use std::net::SocketAddr;
use std::sync::Arc;

use palisade_api::workload::AtAddress;
use tokio::sync::watch;

use crate::authorize::PolicyState;
use crate::config::Config;
use crate::dial::Dial;
use crate::discovery::addresses::AddressBook;
use crate::identity::Identity;
use crate::identity::rotate::RotationState;
use crate::lifecycle::{Alive, Phase};
use crate::outcome::RefusedReason;
use crate::readiness::Readiness;
use crate::telemetry::Telemetry;
use crate::transport::Budget;
use crate::usage::Usage;

/// Shared by every connection; nothing in it is written by one.
#[derive(Debug)]
pub struct Pod {
    /// As checked at start.
    pub config: Config,
    /// The own SVID, the bundles and the revocations.
    pub identity: Arc<Identity>,
    /// The rules in force.
    pub policy: watch::Receiver<PolicyState>,
    /// What is at an address.
    pub book: AddressBook,
    /// Records and metrics.
    pub telemetry: Arc<Telemetry>,
    /// Who reached the workload, and by which rules.
    pub usage: Arc<Usage>,
    /// Memory for the data of all streams.
    pub budget: Budget,
    /// How the proxy's own connections are made.
    pub dial: Dial,
    /// Whether connections may be taken.
    pub readiness: watch::Receiver<Readiness>,
    /// How the SVID's rotation goes.
    pub rotation: watch::Receiver<RotationState>,
    /// Why there is no stream from control, while there is none.
    pub trouble: watch::Receiver<Option<String>>,
    /// Running, draining, stopping.
    pub phases: watch::Receiver<Phase>,
    /// Inbound TLS connections of the mesh: each is told that the proxy goes before it goes.
    pub sessions: Alive,
}

impl Pod {
    /// Leave to take a connection: the proxy is ready.
    ///
    /// # Errors
    ///
    /// Where it is not: connections are refused then, never passed.
    pub fn ready(&self) -> Result<(), RefusedReason> {
        let readiness = self.readiness.borrow();
        if readiness.takes_connections() {
            Ok(())
        } else {
            Err(RefusedReason::NotReady)
        }
    }

    /// The workload at an address, if it is known already. Asks control for later, if nobody did.
    pub fn workload_at(&self, addr: SocketAddr) -> Option<Arc<AtAddress>> {
        self.book.known_or_asked(addr.ip())
    }
}
