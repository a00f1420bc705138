//! Which mesh a command means: the one that runs on this machine, or a cluster's.

use anyhow::bail;

use crate::args::MeshArgs;
use crate::ask;
use crate::kubernetes::client;

/// Where the mesh is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    Local,
    Cluster,
}

/// What is known before anything is asked.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// `--name` was given.
    named: bool,
    /// A flag was given that only a cluster has.
    cluster: bool,
    /// A mesh runs on this machine.
    running: bool,
    /// There is a kubeconfig.
    kubeconfig: bool,
}

/// Which one is meant.
pub(crate) fn meant(args: &MeshArgs) -> anyhow::Result<Meant> {
    chosen(Known::of(args))
}

/// The same for what changes something: nobody learns by what it did that the other one was there, too.
pub(crate) fn meant_to_change(args: &MeshArgs) -> anyhow::Result<Meant> {
    let known = Known::of(args);
    if let Some(doubt) = doubt(known) {
        super::warn(doubt);
    }
    chosen(known)
}

impl Known {
    fn of(args: &MeshArgs) -> Self {
        let cluster = args.names_a_cluster();
        Self {
            named: args.name.is_some(),
            cluster,
            running: !cluster && ask::is_running(),
            kubeconfig: cluster || client::exists(),
        }
    }
}

fn doubt(known: Known) -> Option<&'static str> {
    let is_said = known.named || known.cluster;
    (!is_said && known.running && known.kubeconfig).then_some(
        "this is about the mesh that runs on this machine, though there is a kubeconfig, too; say which you mean: the \
         cluster with -n, -A or --kubeconfig, this one with --name",
    )
}

fn chosen(known: Known) -> anyhow::Result<Meant> {
    match choose(known) {
        Some(meant) => Ok(meant),
        None => bail!(
            "no mesh of this user is running, and there is no kubeconfig; start a mesh with \
             `palisade up FILE`, or name a cluster with --kubeconfig"
        ),
    }
}

fn choose(known: Known) -> Option<Meant> {
    if known.cluster {
        return Some(Meant::Cluster);
    }
    if known.named || known.running {
        return Some(Meant::Local);
    }
    known.kubeconfig.then_some(Meant::Cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_comes_before_what_runs_before_what_is_configured() {
        let known = |named, cluster, running, kubeconfig| Known {
            named,
            cluster,
            running,
            kubeconfig,
        };
        for (known, expected) in [
            (known(false, true, true, true), Some(Meant::Cluster)),
            (known(true, true, true, true), Some(Meant::Cluster)),
            (known(true, false, false, true), Some(Meant::Local)),
            (known(false, false, true, true), Some(Meant::Local)),
            (known(false, false, false, true), Some(Meant::Cluster)),
            (known(false, false, false, false), None),
        ] {
            assert_eq!(choose(known), expected, "{known:?}");
        }
    }

    #[test]
    fn it_is_in_doubt_where_both_are_there_and_neither_was_said() {
        for (named, cluster, running, kubeconfig, expected) in [
            (false, false, true, true, true),
            (true, false, true, true, false),
            (false, true, false, true, false),
            (false, false, true, false, false),
            (false, false, false, true, false),
        ] {
            let known = Known {
                named,
                cluster,
                running,
                kubeconfig,
            };
            assert_eq!(doubt(known).is_some(), expected, "{known:?}");
        }
    }
}
