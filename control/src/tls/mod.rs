//! Control's side of TLS: its own SVID, and who may connect.

mod peer;
mod server;

pub use peer::{PeerError, VerifiedPeer};
pub(crate) use server::Identity;
pub use server::TlsError;
