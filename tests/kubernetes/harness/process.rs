//! The processes of pods, which are this machine's own.

use super::{Cluster, stdout};

/// One of them.
#[derive(Debug)]
pub(crate) struct Process {
    cluster: &'static Cluster,
    /// Its id in the cluster's box.
    id: String,
}

/// What it uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Memory in KiB.
    pub(crate) resident: u64,
    /// In ticks, of which a second has a hundred.
    pub(crate) ticks: u64,
}

impl Process {
    /// The program of a pod whose command line begins like this.
    pub(crate) fn of_pod(cluster: &'static Cluster, uid: &str, begins: &str) -> Self {
        let script = r#"for p in /proc/[0-9]*; do
            grep -qs "pod$1" $p/cgroup || continue
            case $(tr '\0' ' ' < $p/cmdline) in "$2"*) echo ${p#/proc/};; esac
        done"#;
        let found = stdout(&cluster.run(&["exec", "bash", "-c", script, "of_pod", uid, begins]));
        let id = found.trim().to_owned();
        assert!(
            id.parse::<u32>().is_ok(),
            "one {begins} in pod {uid}: {id:?}"
        );
        Self { cluster, id }
    }

    /// Ends it, if it has not ended by itself.
    pub(crate) fn kill(&self) {
        self.cluster.run(&["exec", "kill", "-KILL", &self.id]);
    }

    pub(crate) fn usage(&self) -> Usage {
        let stat = self.shown("cat /proc/$1/stat");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let field = |n: usize| -> u64 {
            let field = fields.split_whitespace().nth(n).expect("as in proc(5)");
            field.parse().expect("a number")
        };
        Usage {
            resident: field(21) * 4,
            ticks: field(11) + field(12),
        }
    }

    /// How many bytes it has been sent on connections that it opened to this port and that are open now.
    pub(crate) fn received_from(&self, port: u16) -> u64 {
        let list = format!("nsenter --net=/proc/$1/ns/net ss -tinOH dport = :{port}");
        let connections = self.shown(&list);
        connections
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("bytes_received:")?.parse::<u64>().ok())
            .sum()
    }

    fn shown(&self, script: &str) -> String {
        stdout(
            &self
                .cluster
                .run(&["exec", "bash", "-c", script, "process", &self.id]),
        )
    }
}
