//! `palisade exec`: a command in a running pod, confined as its application is.

use std::fs::File;
use std::process::ExitCode;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use crate::args::{ExecArgs, Output};
use crate::ask::{self, Question};
use crate::up::sandbox::{self, SandboxPlan};
use crate::up::stage::{self, Interrupts, Parent, Stage};

/// The way into a pod.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EnterPod {
    /// The process that holds the mesh's namespaces, as this machine numbers it.
    pub(crate) mesh_pid: u32,
    /// The pod's process, as the mesh numbers it.
    pub(crate) pod_pid: u32,
    /// `shop/web-0`.
    pub(crate) workload: String,
    pub(crate) sandbox: SandboxPlan,
}

/// Runs a command in a pod; its exit code is the command's.
pub(crate) fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let question = Question::Exec {
        workload: args.workload.clone(),
    };
    let mut way: EnterPod = ask::one(args.mesh.name.as_deref(), &question)?;
    way.sandbox.app.command.clone_from(&args.command);
    way.sandbox.terminal = true;
    for name in ["TERM", "COLORTERM", "LANG", "LC_ALL", "TZ"] {
        if let Ok(value) = std::env::var(name) {
            let environment = &mut way.sandbox.app.environment;
            environment.entry(name.to_owned()).or_insert(value);
        }
    }
    let (as_json, workload) = (args.mesh.output == Some(Output::Json), way.workload.clone());
    let code = enter_mesh(way)?;
    if as_json {
        // On stderr, since stdout is the command's.
        let result = serde_json::json!({"workload": workload, "exit_code": code_of(code)});
        anstream::eprintln!("{result}");
    }
    Ok(code)
}

/// The number in an exit code, which the standard library does not give.
fn code_of(code: ExitCode) -> u8 {
    (0..=u8::MAX)
        .find(|number| ExitCode::from(*number) == code)
        .unwrap_or(u8::MAX)
}

/// Goes as far as this process can: only a child will be in the mesh's PID namespace.
fn enter_mesh(way: EnterPod) -> anyhow::Result<ExitCode> {
    let open = |name: &str| open_namespace(way.mesh_pid, name);
    let pids = open("pid_for_children")?;
    if !way.sandbox.root {
        setns(open("user")?, CloneFlags::CLONE_NEWUSER).context("cannot enter the mesh's users")?;
    }
    setns(pids, CloneFlags::CLONE_NEWPID).context("cannot enter the mesh's processes")?;
    let title = way.workload.clone();
    let child = stage::command(&Stage::Exec(way), &["exec", &title])?.spawn()?;
    stage::wait_for(&child, Interrupts::LeftToChild)
}

/// Goes on into the pod, and makes the same sandbox there as its application's.
pub(crate) fn enter_pod(way: EnterPod, parent: &Parent) -> anyhow::Result<ExitCode> {
    let mounts = open_namespace(way.mesh_pid, "mnt")?;
    setns(mounts, CloneFlags::CLONE_NEWNS).context("cannot enter the mesh's mounts")?;
    // From here on /proc is the mesh's own.
    let namespaces = [
        ("net", CloneFlags::CLONE_NEWNET),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let files = namespaces.map(|(name, kind)| (open_namespace(way.pod_pid, name), kind));
    for (file, kind) in files {
        setns(file?, kind).with_context(|| format!("cannot enter the pod {}", way.workload))?;
    }
    sandbox::run(way.sandbox, parent)
}

fn open_namespace(pid: u32, name: &str) -> anyhow::Result<File> {
    let path = format!("/proc/{pid}/ns/{name}");
    File::open(&path).with_context(|| format!("cannot open {path}; is the mesh still running?"))
}
