//! Whether a TLS connection of the mesh may go on: both certificates live, the peer's identity stands.

use time::OffsetDateTime;

use crate::identity::Snapshot;
use crate::tls::Established;
use crate::tls::error::PeerError;
use crate::transport::Code;

/// Why the connection must end now, if it must.
pub fn ended(established: &Established, snapshot: &Snapshot, now: OffsetDateTime) -> Option<Code> {
    if now >= established.ends_at() {
        return Some(Code::Expired);
    }
    match established.peer.still_valid(snapshot, now) {
        Ok(()) => None,
        Err(PeerError::Expired) => Some(Code::Expired),
        // Revoked by name or number, or by taking its authority out of the bundle.
        Err(_) => Some(Code::Revoked),
    }
}
