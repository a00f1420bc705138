//! Stages: what this program does when it starts itself again.
//!
//! Namespaces are entered by a process for itself, and some only take effect for its children. So a mesh
//! is a short chain of processes of this one program; each is told what to do by one [`Stage`] in its
//! environment, does its step while it has one thread, and starts the next.
//!
//! ```text
//! palisade up               in the terminal: prints, answers `ps`, `logs` and `exec`
//! └ enter                   makes the user (if not root), mount, network and PID namespaces
//!   └ init                  PID 1 of the mesh: when it ends, everything ends
//!     └ mesh                the fabric, control, one child for each pod
//!       └ pod               the pod's own network: redirect, sidecar, application
//!         ├ sidecar → palisade proxy run
//!         └ sandbox         the child user namespace
//!           └ app init      PID 1 of the application
//! ```
//!
//! Each dies with its [`Parent`], so killing any part leaves nothing behind; where `up` was
//! killed, `enter` removes the state directory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{enter, mesh, pod, sandbox, sidecar};
use crate::exec;

/// One step, with all that it needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Makes the mesh's namespaces. These three are told the file of the mesh's plan.
    Enter(PathBuf),
    /// PID 1 of the mesh.
    Init(PathBuf),
    /// Runs the mesh.
    Mesh(PathBuf),
    /// Runs one pod.
    Pod(pod::PodPlan),
    /// Becomes the proxy, with no power that it does not need.
    Sidecar(sidecar::SidecarPlan),
    /// Goes into a running pod, from outside the mesh.
    Exec(exec::EnterPod),
    /// Makes an application's user namespace.
    Sandbox(sandbox::SandboxPlan),
    /// Writes the user mapping of its parent, once told that it is time.
    MapUsers(sandbox::Mapping),
    /// PID 1 of an application.
    AppInit(sandbox::AppPlan),
}

/// The variable that carries the stage.
pub(crate) const VARIABLE: &str = "PALISADE_STAGE";
const PARENT: &str = "PALISADE_STAGE_PARENT";
const SELF: &str = "/proc/self/exe";

/// This program again, for a stage. The title is what `ps` shows.
pub(crate) fn command(stage: &Stage, title: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(SELF);
    command
        .arg("stage")
        .args(title)
        .env(PARENT, std::process::id().to_string())
        .env(VARIABLE, serde_json::to_string(stage)?);
    Ok(command)
}

/// This program again, as another of its programs.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(SELF);
    command
        .args(arguments)
        .env_remove(VARIABLE)
        .env_remove(PARENT);
    command
}

/// Does the stage of the environment.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let text =
        std::env::var(VARIABLE).context("`palisade stage` is started by `palisade up` alone")?;
    let stage: Stage = serde_json::from_str(&text).context("cannot read the stage")?;
    // Signals blocked by a parent that waits stay blocked in its children otherwise.
    SigSet::empty().thread_set_mask()?;
    let parent = Parent::of_this_process()?;
    match stage {
        Stage::Enter(plan) => enter::enter(plan, &parent),
        Stage::Init(plan) => enter::init(plan),
        Stage::Mesh(plan) => mesh::run(&plan),
        Stage::Pod(plan) => pod::run(plan),
        Stage::Sidecar(plan) => sidecar::become_proxy(&plan, &parent),
        Stage::Exec(plan) => exec::enter_pod(plan, &parent),
        Stage::Sandbox(plan) => sandbox::run(plan, &parent),
        Stage::MapUsers(mapping) => sandbox::map_users(mapping),
        Stage::AppInit(plan) => sandbox::app_init(plan, &parent),
    }
}

/// The process that started this stage. A stage ends with it (`PR_SET_PDEATHSIG`), which is to be said
/// anew after each change of credentials: the kernel forgets it then.
#[derive(Debug)]
pub(crate) struct Parent {
    pid: String,
    /// Opened at the start: later there may be another `/proc`, in which the parent is not seen.
    status: File,
}

impl Parent {
    fn of_this_process() -> anyhow::Result<Self> {
        let parent = Self {
            pid: std::env::var(PARENT).context("the stage has no parent")?,
            status: File::open("/proc/self/status").context("cannot see this process")?,
        };
        parent.take_along()?;
        Ok(parent)
    }

    /// This process is killed when its parent ends.
    pub(crate) fn take_along(&self) -> anyhow::Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        self.is_there()
    }

    /// This process is told when its parent ends, and then ends what it started and cleans up.
    pub(crate) fn tell(&self) -> anyhow::Result<()> {
        // Until it is waited for, the signal would only kill.
        let mut terminate = SigSet::empty();
        terminate.add(Signal::SIGTERM);
        terminate.thread_block()?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        self.is_there()
    }

    /// A parent that ended before it was said sends no signal any more.
    fn is_there(&self) -> anyhow::Result<()> {
        let mut text = String::new();
        (&self.status).seek(SeekFrom::Start(0))?;
        (&self.status).read_to_string(&mut text)?;
        let now = text.lines().find_map(|line| line.strip_prefix("PPid:"));
        anyhow::ensure!(
            now.is_some_and(|now| now.trim() == self.pid),
            "the parent has ended"
        );
        Ok(())
    }
}

/// What a waiting stage does with signals from a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupts {
    /// They are the child's own affair: it got them from the terminal too.
    LeftToChild,
    /// They are passed on, since the child is in no terminal's foreground.
    PassedOn,
}

/// Waits for a child and reaps whatever else is orphaned to this process.
pub(crate) fn wait_for(child: &Child, interrupts: Interrupts) -> anyhow::Result<ExitCode> {
    let child = Pid::from_raw(i32::try_from(child.id())?);
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ] {
        signals.add(signal);
    }
    signals.thread_block()?;
    loop {
        if let Some(code) = reap(child)? {
            return Ok(ExitCode::from(code));
        }
        let signal = signals.wait()?;
        let passes = if matches!(signal, Signal::SIGINT | Signal::SIGQUIT) {
            interrupts == Interrupts::PassedOn
        } else {
            signal != Signal::SIGCHLD
        };
        if passes && let Err(error) = kill(child, signal) {
            tracing::debug!(%error, "signal not passed on");
        }
    }
}

/// Reaps all that have ended; the child's exit code, once it is among them.
fn reap(child: Pid) -> nix::Result<Option<u8>> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(Some(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}
