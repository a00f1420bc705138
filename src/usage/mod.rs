//! What a mesh has counted: who reached which workload, and by which rules.

mod cluster;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use palisade_api::usage::Usage;

use crate::args::MeshArgs;
use crate::ask::{self, Question};
use crate::kubernetes;
use crate::kubernetes::meant::{Meant, meant};

/// `palisade policy counters`.
#[derive(Debug, Args)]
pub(crate) struct CountersArgs {
    #[command(flatten)]
    mesh: MeshArgs,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
One JSON object: `workloads`, each with its `edges` (who reached which of its ports, what was decided, how often, when) and
`rules` (how often each decided), and `rules_in_force`. Times are seconds since 1970 UTC. On a cluster this needs the Role
palisade-ask in palisade-system, and about a namespace that you may view the Role palisade-reach. For example, what was
denied, most first:
    palisade policy counters | jq -c '[.workloads[] | .edges[] | select(.decided | startswith(\"denied\"))] | sort_by(-.count)[]'";

/// Prints all of it.
pub(crate) fn run(args: &CountersArgs) -> anyhow::Result<ExitCode> {
    let usage = usage(&args.mesh)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&usage)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What a mesh has counted.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Put together: one entry for each workload.
    pub(crate) usage: Usage,
    /// Why some of it may be missing for the moment; nothing where all replicas of control have answered.
    pub(crate) doubts: Vec<String>,
}

/// What the mesh that is meant has counted, of all of it or of the namespace that is named; says what may be missing.
///
/// # Errors
///
/// Where there is no such mesh, it does not answer, or whoever asks may not know.
pub(crate) fn usage(mesh: &MeshArgs) -> anyhow::Result<Usage> {
    let heard = heard(mesh)?;
    heard
        .doubts
        .iter()
        .for_each(|doubt| kubernetes::warn(doubt));
    Ok(heard.usage)
}

/// The same, and why some of it may be missing.
///
/// # Errors
///
/// As [`usage`].
pub(crate) fn heard(mesh: &MeshArgs) -> anyhow::Result<Heard> {
    match meant(mesh)? {
        Meant::Local => {
            let answer: Usage = ask::one(mesh.name.as_deref(), &Question::Usage)?;
            Ok(Heard {
                usage: Usage::merge([answer]),
                doubts: Vec::new(),
            })
        }
        Meant::Cluster => kubernetes::complete(cluster::heard(mesh)),
    }
}
