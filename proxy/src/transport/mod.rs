//! The mesh transport, `palisade/1`: many application connections as streams over few mutual TLS connections.
//!
//! It runs over any established, authenticated byte stream and knows nothing of TLS, policy or records. [`client`] and
//! [`server`] put a session on a connection, [`Pool`] shares sessions; what they give are [`Stream`]s.
//!
//! ```text
//! pool      which session a new stream takes; single flight of handshakes
//! handle    Opener, Incoming, Stream: what the rest of the proxy holds
//! drive     a session on a real connection: the only I/O
//! session   the protocol as a state machine: bytes in, bytes out, time an argument
//!   input     what it hears, checked
//!   output    what it says, and when
//!   calls     what the owners of streams ask of it
//!   stream    one stream of it
//!   credit    what a peer may send, and the memory that is reserved for it
//! turns     how bulk makes room for small messages
//! frame     frames and bytes; `open` and `code` are what some of them carry
//! ```
//!
//! What goes over the wire is written down in `wire.md`, beside this file, from which another implementation can be
//! made; `vectors/` has the test vectors for it, and `tests/` holds document, vectors and code to each other.
//!
//! # What this module never does
//! - It never takes anything but a FIN frame for the end of data.
//! - It never stops reading: a reader who stops blocks only its own stream, and what is received stays within the [`Budget`].
//! - It never lets what an OPEN frame claims take part in a decision, and delivers nothing before a stream is accepted.
//! - It never tries a stream again that may have been delivered.

mod calls;
mod code;
mod credit;
mod drive;
mod end;
mod frame;
mod handle;
mod input;
mod link;
mod open;
mod output;
mod pool;
mod session;
mod settings;
mod stream;
mod turns;

#[cfg(test)]
mod tests;

pub use code::Code;
pub use credit::{Budget, MIN_CREDIT};
pub use drive::{client, server};
pub use end::{OpenError, SessionEnd, StreamError, Violation};
pub use frame::{FRAME_BYTES, FrameError, MAX_PAYLOAD_BYTES, MAX_RULE_BYTES};
pub use handle::{Incoming, Offered, Opener, SessionHandle, Stream};
pub use open::{MAX_NAME_BYTES, MAX_OPEN_BYTES, Open, OpenFormatError, Opening};
pub use output::WRITE_BYTES;
pub use pool::{Counts, Pool, PoolError};
pub use session::Load;
pub use settings::{MIN_STREAMS, Settings};
pub use turns::{Kind, PIECE_BYTES, SHORT_PIECE_BYTES, Turn, piece_bytes};
