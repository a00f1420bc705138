//! Recorded connections: who called whom at which port, how often, and what was decided.

mod cluster;
mod edges;
mod line;
mod names;
mod one;
mod read;
#[cfg(test)]
pub(crate) mod sample;
mod stranger;
#[cfg(test)]
mod tests;
mod whom;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use serde::Serializer;
use serde::ser::Error as _;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use self::edges::{Edges, Read};
use self::one::One;
use self::read::Take;
use crate::args::MeshArgs;
use crate::kubernetes::meant::{Meant, meant};
use crate::policy::rules::{Rules, UnreadError};

pub(crate) use edges::Edge;
pub(crate) use line::{REFUSED_BY_PEER, Was};
pub(crate) use one::{Connection, Unsaid};
pub(crate) use stranger::{Beside, Denials};
pub(crate) use whom::{Whom, Workloads};

/// Which records are meant.
#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    /// Records of a file, or of the files of a directory, instead of a running mesh's: lines as `palisade logs -o json` or
    /// a sidecar prints them; - is stdin; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Vec<PathBuf>,
    /// Only records that are younger, such as 90s or 2h [default on a cluster: 1h]
    #[arg(long, value_name = "TIME", value_parser = crate::args::span)]
    pub(crate) since: Option<Duration>,
}

impl TrafficArgs {
    /// The moment of the oldest record that is wanted.
    fn begin(&self) -> Option<OffsetDateTime> {
        let age = time::Duration::try_from(self.since?).ok()?;
        OffsetDateTime::now_utc().checked_sub(age)
    }
}

/// What was recorded.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// By caller, called workload and port.
    pub(crate) edges: Vec<Edge>,
    /// What no rule was asked about, as one of both was revoked.
    pub(crate) revoked: Vec<Edge>,
    /// What was left out, and why.
    pub(crate) warnings: Vec<String>,
}

impl Traffic {
    /// Leaves out calls into namespaces of which the rules were not read, or are not known for a fault that is to be mended;
    /// how many connections the latter were.
    pub(crate) fn leave_out_unread(&mut self, rules: &Rules) -> u64 {
        let mut unread: BTreeMap<String, (UnreadError, u64)> = BTreeMap::new();
        self.edges.retain(|edge| {
            let Err(error) = rules.reach(&edge.namespace) else {
                return true;
            };
            let unread = unread.entry(edge.namespace.to_string());
            let (_, connections) = unread.or_insert((error, 0));
            *connections += edge.count;
            false
        });
        let mut unknown = 0;
        for (namespace, (why, connections)) in unread {
            if let UnreadError::Unknown(_) = why {
                unknown += connections;
            }
            let counted = counted(connections, "connection");
            self.warnings.push(format!(
                "calls into {namespace} are left out ({counted}): {why}"
            ));
        }
        unknown
    }
}

/// Reads the records that are meant.
pub(crate) fn load(args: &TrafficArgs, mesh: &MeshArgs) -> anyhow::Result<Traffic> {
    let mut edges = Edges::new(edges::Most::default(), args.begin());
    let warnings = read_all(args, mesh, &mut |line| edges.take(line))?;
    Ok(finished(edges, warnings))
}

/// Reads the records of files, and of the files of directories.
pub(crate) fn of_files(paths: &[PathBuf]) -> anyhow::Result<Traffic> {
    let mut edges = Edges::new(edges::Most::default(), None);
    let skipped = read::files(paths, &mut |line| edges.take(line))?;
    Ok(finished(edges, skipped.told()))
}

/// What records say of one connection, by their `conn.id`.
pub(crate) fn connection(
    args: &TrafficArgs,
    mesh: &MeshArgs,
    id: u128,
) -> anyhow::Result<Connection> {
    let mut one = One::new(id, args.begin());
    read_all(args, mesh, &mut |line| one.take(line))?;
    Ok(one.finish())
}

/// Reads the records that are meant; what is to be said of those that were left out.
fn read_all(
    args: &TrafficArgs,
    mesh: &MeshArgs,
    take: &mut Take<'_>,
) -> anyhow::Result<Vec<String>> {
    if !args.records.is_empty() {
        return Ok(read::files(&args.records, take)?.told());
    }
    match meant(mesh)? {
        Meant::Local => Ok(read::local(mesh.name.as_deref(), take)?.told()),
        Meant::Cluster => cluster::read(mesh, args.since, take),
    }
}

fn finished(edges: Edges, mut warnings: Vec<String>) -> Traffic {
    let (edges, read) = edges.finish();
    warnings.extend(told(&read));
    let (revoked, edges) = edges.into_iter().partition(Edge::was_revoked);
    Traffic {
        edges,
        revoked,
        warnings,
    }
}

fn told(read: &Read) -> Vec<String> {
    let mut told = Vec::new();
    if read.beyond > 0 {
        told.push(format!(
            "{} records are left out: they are of more different edges than are kept; read fewer files at once, or only \
             younger records (--since)",
            read.beyond
        ));
    }
    told
}

impl Edge {
    /// The trust domain of the called side, which rules mean by a service account; `usual` where it is not known.
    pub(crate) fn trust_domain<'a>(&'a self, usual: &'a TrustDomain) -> &'a TrustDomain {
        self.identity.as_ref().map_or(usual, SpiffeId::trust_domain)
    }

    /// The service account that was called.
    pub(crate) fn account(&self) -> Option<&str> {
        let (_, name) = self.identity.as_ref()?.service_account()?;
        Some(name)
    }

    /// That of the service account that was called, else of the replica: each record has one of both.
    pub(crate) fn name(&self) -> &str {
        let replica = || self.workload.as_deref();
        self.account().or_else(replica).unwrap_or_default()
    }

    /// Whether it was let in and somebody was there.
    pub(crate) fn is_answered(&self) -> bool {
        self.was == Was::Allowed && self.unanswered < self.count
    }

    /// `conn.id`, as records have it.
    pub(crate) fn conn(&self) -> String {
        format!("{:032x}", self.conn)
    }
}

/// `3 connections`, `1 connection`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// `2026-11-22 02:23:12Z`.
pub(crate) fn moment(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    at.format(MOMENT)
        .unwrap_or_else(|_no_such_form| at.to_string())
}

const MOMENT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");

/// As records write it.
pub(crate) fn rfc3339<S: Serializer>(at: &OffsetDateTime, to: S) -> Result<S::Ok, S::Error> {
    let at = at.to_offset(time::UtcOffset::UTC);
    let text = at.format(&Rfc3339).map_err(S::Error::custom)?;
    to.serialize_str(&text)
}
