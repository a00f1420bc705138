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
    let cluster = args.names_a_cluster();
    let known = Known {
        named: args.name.is_some(),
        cluster,
        running: !cluster && ask::is_running(),
        kubeconfig: cluster || client::exists(),
    };
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
}
