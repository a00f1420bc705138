//! Palisade's control service: issues SVIDs, serves workloads and rules to proxies.
//!
//! Two flows, each read from the top of one file:
//!
//! - `Identity.Issue` (`identity`): a caller proves who it is ([`attest`]: a join token, in a cluster a
//!   service-account token, or the SVID that it still has), and the authority ([`ca`]) signs for that name and for the
//!   key of the request.
//! - `Mesh.Watch` (`mesh`): [`file`](mod@file) reads directories of YAML, [`source`] keeps the last good version of each file,
//!   [`index`] makes objects of them, and every proxy is sent the difference between what it holds and what concerns
//!   it, on four channels that do not wait for each other.
//!
//! Proxies say on their watch who reached them, and by which rules: `usage` keeps that beyond their ends, and `ask`
//! answers with it whoever may know.
//!
//! [`run`](run()) is the program; [`Control`] is the same inside another program.
//!
//! In a cluster the API server is the only store: `kubernetes` watches what runs there and its rules, attests by
//! service-account tokens, and the elected one of the replicas writes what others need.
//!
//! # Files
//!
//! A file that does not validate never replaces a good state: its last good version stays in force, and the error is
//! logged with file, line, column and remedy. At the start there is no good state, so control refuses to start: to
//! serve the other files would mean to serve without a denial that somebody wrote. A deleted file's objects are gone.
//! Replace files by renaming: a writer that pauses for longer than some 15 ms in the middle of a file is taken at its
//! word.
//!
//! # Revisions
//!
//! Each message on a channel has a revision greater than its base, the base being the one that the proxy is at. The
//! first message of a stream on each channel comes even where nothing changed: it says that the proxy is in step.
//! Long differences are several messages; each of them is a state that is safe to be in.
//!
//! # What this crate never does
//!
//! It never signs for a name that a request asks for; never overwrites a key, prints one, or lets a key of its own
//! SVID reach a disk; never issues control's own name; never resumes a TLS session; never believes what a proxy says
//! about who it is; never changes the files that it reads.

mod ask;
pub mod attest;
pub mod audit;
pub mod ca;
mod config;
pub mod digest;
pub mod file;
#[rustfmt::skip]
mod grpc;
mod http;
mod identity;
pub mod index;
mod kubernetes;
mod listen;
mod mesh;
mod run;
pub mod source;
mod telemetry;
mod tls;
pub mod token;
mod usage;

pub use config::{
    CaArgs, CaCommand, Cli, Command, Config, ConfigError, Files, Mode, Replica, RunArgs, TokenArgs,
    TokenCommand,
};
pub use kubernetes::ConnectError;
pub use run::{Control, RunError, run};
pub use tls::{PeerError, TlsError, VerifiedPeer};
