//! Where applications run: a user namespace below the pod's, without power over the pod's network.
//!
//! What must not be undone from inside is mounted before that namespace is made: mounts that come from a
//! more privileged mount namespace are locked. What the application may do is bounded by a list of
//! capabilities, all of which act inside its own namespace only; no_new_privs is set always.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use caps::{CapSet, CapsHashSet};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Uid, fchown, getppid, setgroups, setresgid, setresuid};
use palisade_api::sidecar::PROXY_UID;
use serde::{Deserialize, Serialize};

use super::enter;
use super::plan::App;
use super::stage::{self, Interrupts, Parent, Stage};

/// How a sandbox is made, and what runs in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxPlan {
    pub(crate) app: App,
    /// Directories that are not to be seen.
    pub(crate) masks: Vec<PathBuf>,
    /// Files and directories that are not to be changed.
    pub(crate) read_only: Vec<PathBuf>,
    /// Whether real root makes it.
    pub(crate) root: bool,
    /// Whether a terminal's interrupts reach the application by themselves.
    pub(crate) terminal: bool,
}

/// What is left to do as PID 1 of the application.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AppPlan {
    app: App,
    confinement: Confinement,
    terminal: bool,
}

/// What keeps an application from the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Confinement {
    /// A user namespace with ids of its own, made by root.
    Range,
    /// A user namespace with one id, made by an ordinary user.
    Single,
    /// No user namespace could be made: ids of the range, and no capability at all.
    Ids,
}

/// Which ids of the pod are which outside.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Mapping {
    outside: u32,
    count: u32,
}

impl Mapping {
    /// As the kernel reads it. The proxy's id is nobody's inside of a pod.
    fn lines(self) -> String {
        let Self { outside, count } = self;
        if count <= PROXY_UID {
            return format!("0 {outside} {count}");
        }
        let next = PROXY_UID + 1;
        let rest = count - next;
        format!("0 {outside} {PROXY_UID}\n{next} {} {rest}", outside + next)
    }
}

/// The first of the ids that nobody else has, and how many there are: the pods' 0 to 65535.
const RANGE: Mapping = Mapping {
    outside: 2_000_000,
    count: 65_536,
};
const SINGLE: Mapping = Mapping {
    outside: 0,
    count: 1,
};

/// Makes the sandbox and waits for its application.
pub(crate) fn run(plan: SandboxPlan, parent: &Parent) -> anyhow::Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    enter::nothing_leaves_this_mount_namespace()?;
    // What is not there cannot be changed; control holds what it was started with.
    for path in plan.read_only.iter().filter(|path| path.exists()) {
        make_read_only(path)?;
    }
    for path in plan.masks.iter().filter(|path| path.is_dir()) {
        mask(path)?;
    }
    mask_sys()?;
    if plan.root && !plan.terminal {
        // Programs that open /dev/stdout open the pipe anew, which only its owner may.
        let owner = RANGE.outside + plan.app.run_as_user;
        let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
        fchown(std::io::stdout(), Some(uid), Some(gid))?;
        fchown(std::io::stderr(), Some(uid), Some(gid))?;
    }
    let confinement = make_user_namespace(plan.root)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
        .context("cannot make the application's namespaces")?;
    parent.take_along()?;
    let interrupts = if plan.terminal {
        Interrupts::LeftToChild
    } else {
        Interrupts::PassedOn
    };
    let stage = Stage::AppInit(AppPlan {
        app: plan.app,
        confinement,
        terminal: plan.terminal,
    });
    let child = stage::command(&stage, &["app"])?.spawn()?;
    stage::wait_for(&child, interrupts)
}

fn mask(path: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        flags,
        Some("mode=755,size=4k"),
    )
    .with_context(|| format!("cannot hide {}", path.display()))
}

/// The machine's own `/sys` has devices and control groups, with which one user's programs end each other.
fn mask_sys() -> anyhow::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    match mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>) {
        Ok(()) => Ok(()),
        Err(_) if Path::new("/sys").is_dir() => mask(Path::new("/sys")),
        Err(_) => Ok(()),
    }
}

fn make_read_only(path: &Path) -> anyhow::Result<()> {
    let change = || -> nix::Result<()> {
        mount(
            Some(path),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(
            None::<&str>,
            path,
            None::<&str>,
            again | locked_flags(path)?,
            None::<&str>,
        )
    };
    change().with_context(|| format!("cannot make {} read-only", path.display()))
}

/// A user namespace must keep the flags that a mount came with.
fn locked_flags(path: &Path) -> nix::Result<MsFlags> {
    let found = statvfs(path)?.flags();
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let set = pairs
        .into_iter()
        .filter(|(there, _)| found.contains(*there));
    Ok(set.map(|(_, keep)| keep).collect())
}

/// Makes a user namespace for the application; its mapping is written by a child that stayed outside.
fn make_user_namespace(root: bool) -> anyhow::Result<Confinement> {
    let (mapping, made) = if root {
        (RANGE, Confinement::Range)
    } else {
        (SINGLE, Confinement::Single)
    };
    let mut writer = stage::command(&Stage::MapUsers(mapping), &["map-users"])?
        .stdin(Stdio::piped())
        .spawn()?;
    match unshare(CloneFlags::CLONE_NEWUSER) {
        Ok(()) => {
            if !tell_to_map(&mut writer)? {
                bail!(
                    "cannot map the pod's users: {}",
                    enter::forbidding_setting()
                );
            }
            if root {
                setgroups(&[])?;
                become_user(0)?;
            }
            Ok(made)
        }
        Err(_) if root => {
            // Closing its stdin ends it.
            drop(writer.stdin.take());
            writer.wait()?;
            Ok(Confinement::Ids)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot make a user namespace: {}",
                enter::forbidding_setting()
            )
        }),
    }
}

fn tell_to_map(writer: &mut Child) -> anyhow::Result<bool> {
    let mut stdin = writer.stdin.take().context("the mapping has no stdin")?;
    stdin.write_all(b"go")?;
    drop(stdin);
    Ok(writer.wait()?.success())
}

/// Writes the mapping of the parent, once it says that its user namespace is there.
pub(crate) fn map_users(mapping: Mapping) -> anyhow::Result<ExitCode> {
    let mut word = String::new();
    std::io::stdin().read_to_string(&mut word)?;
    if word != "go" {
        return Ok(ExitCode::FAILURE);
    }
    let lines = mapping.lines();
    let parent = PathBuf::from(format!("/proc/{}", getppid()));
    for file in ["uid_map", "gid_map"] {
        std::fs::write(parent.join(file), &lines)
            .with_context(|| format!("cannot write {file} for ids {} and up", mapping.outside))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// PID 1 of the application: mounts its `/proc`, gives up what it still can do, starts it.
pub(crate) fn app_init(plan: AppPlan, parent: &Parent) -> anyhow::Result<ExitCode> {
    enter::mount_proc().context("cannot mount the application's /proc")?;
    confine(plan.confinement, plan.app.run_as_user)?;
    prctl::set_no_new_privs()?;
    parent.take_along()?;
    let child = match start(&plan.app) {
        Ok(child) => child,
        Err(Start { code, message }) => {
            anstream::eprintln!("palisade: {message}");
            return Ok(ExitCode::from(code));
        }
    };
    let interrupts = if plan.terminal {
        Interrupts::LeftToChild
    } else {
        Interrupts::PassedOn
    };
    stage::wait_for(&child, interrupts)
}

/// Takes every capability away, for good: even those over its own user namespace alone would let an application
/// unmount what is mounted for it.
fn confine(confinement: Confinement, user: u32) -> anyhow::Result<()> {
    let none = CapsHashSet::new();
    if confinement == Confinement::Single && user != 0 {
        // First, for a new user namespace comes with all capabilities.
        rename_only_user(user)?;
    }
    keep_capabilities_within(&none)?;
    match confinement {
        Confinement::Range if user != 0 => become_user(user)?,
        Confinement::Ids => {
            setgroups(&[])?;
            become_user(RANGE.outside + user)?;
        }
        Confinement::Range | Confinement::Single => {}
    }
    give_up_capabilities_but(&none)
}

/// Only these can ever be had again, whatever is executed.
pub(crate) fn keep_capabilities_within(kept: &CapsHashSet) -> anyhow::Result<()> {
    for capability in caps::read(None, CapSet::Bounding)? {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    Ok(())
}

/// Only these are had now.
pub(crate) fn give_up_capabilities_but(kept: &CapsHashSet) -> anyhow::Result<()> {
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, kept)?;
    caps::set(None, CapSet::Permitted, kept)?;
    Ok(())
}

fn become_user(user: u32) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid).with_context(|| format!("cannot become user {user}"))
}

/// Another user namespace, in which the only user has another number.
fn rename_only_user(user: u32) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .context("cannot make a user namespace for runAsUser")?;
    std::fs::write("/proc/self/uid_map", format!("{user} 0 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{user} 0 1"))
        .with_context(|| format!("cannot map user {user}"))
}

/// Why an application was not started, with the exit code that shells give for it.
struct Start {
    code: u8,
    message: String,
}

fn start(app: &App) -> Result<Child, Start> {
    let (program, arguments) = match app.command.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("", [].as_slice()),
    };
    let directory = app
        .working_directory
        .as_deref()
        .unwrap_or_else(|| Path::new("/"));
    if let Err(error) = std::env::set_current_dir(directory) {
        return Err(Start {
            code: 126,
            message: format!("cannot work in {}: {error}", directory.display()),
        });
    }
    // "palisade" is this very program, which may lie where the application's user cannot look.
    let file = if program == "palisade" {
        "/proc/self/exe"
    } else {
        program
    };
    let mut command = Command::new(file);
    command
        .arg0(program)
        .args(arguments)
        .env_clear()
        .envs(&app.environment);
    command.spawn().map_err(|error| {
        let path = app.environment.get("PATH").map_or("", String::as_str);
        // Directories of the path into which this user may not look say "permission denied" for everything.
        let is_nowhere = error.kind() == ErrorKind::NotFound
            || (!program.contains('/')
                && !path.split(':').any(|it| Path::new(it).join(file).exists()));
        if is_nowhere {
            let message = format!("cannot find the program {program}");
            return Start { code: 127, message };
        }
        let message = format!("cannot start {program}: {error}");
        Start { code: 126, message }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_id_is_not_mapped() {
        assert_eq!(RANGE.lines(), "0 2000000 1337\n1338 2001338 64198");
        assert_eq!(SINGLE.lines(), "0 0 1");
    }
}
