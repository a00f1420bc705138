//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::peers::Kind;
use crate::work::Work;

/// Measures pairs of sidecars, Palisade's and others, in network namespaces of their own. Needs root.
#[derive(Debug, Parser)]
#[command(name = "pair")]
pub(crate) struct Args {
    /// Only these, with commas between them: it fails where one is missing. Otherwise all that are there
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…")]
    pub(crate) peers: Vec<Kind>,
    /// Only these kinds of work, with commas between them
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORK,…")]
    pub(crate) work: Vec<Work>,
    /// How often every peer takes its turn
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Of each measurement
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Other builds of Palisade in place of this one: each is a peer, so that they can be compared. Of a folder both
    /// programs, as the image has them; of a file that one alone, which is then the sidecar, too
    #[arg(long, value_delimiter = ',', value_name = "PATH,…")]
    pub(crate) palisade: Vec<PathBuf>,
    /// Where Envoy is, if not in PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) envoy: Option<PathBuf>,
    /// Where HAProxy is, if not in PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) haproxy: Option<PathBuf>,
    /// Where ztunnel is, if not in PATH: built with its feature `testing`
    #[arg(long, value_name = "PATH")]
    pub(crate) ztunnel: Option<PathBuf>,
    /// Keeps all results in this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Measures nothing, and prints the table of these results, taken together
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = MEASURING)]
    pub(crate) table: Vec<PathBuf>,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What says nothing where nothing is measured.
const MEASURING: [&str; 9] = [
    "peers", "work", "rounds", "seconds", "palisade", "envoy", "haproxy", "ztunnel", "out",
];
