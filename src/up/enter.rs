//! The namespaces of the mesh: made by [`enter`], held by [`init`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, getegid, geteuid};

use super::stage::{self, Interrupts, Parent, Stage};
use super::state::StateDir;

/// Makes the mesh's namespaces and its PID 1 in them.
pub(crate) fn enter(plan: PathBuf, parent: &Parent) -> anyhow::Result<ExitCode> {
    if !Uid::effective().is_root() {
        become_root_of_a_user_namespace()?;
    }
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC;
    unshare(flags).with_context(|| format!("cannot make namespaces: {}", forbidding_setting()))?;
    nothing_leaves_this_mount_namespace()?;
    // After the user namespace, for a change of credentials forgets it.
    parent.tell()?;
    let state = plan.parent().map(Path::to_owned);
    let child = stage::command(&Stage::Init(plan), &["init"])?.spawn()?;
    let code = stage::wait_for(&child, Interrupts::PassedOn)?;
    // The one in the terminal cleans up, unless it was killed.
    if let Some(state) = state
        && let Err(error) = StateDir::remove_abandoned(&state)
    {
        tracing::warn!(state = %state.display(), %error, "state directory not removed");
    }
    Ok(code)
}

/// PID 1 of the mesh: gives it a `/proc` of its own, and ends when the mesh ends.
pub(crate) fn init(plan: PathBuf) -> anyhow::Result<ExitCode> {
    mount_proc()
        .context("cannot mount /proc for the mesh (a container must not mask parts of its own)")?;
    let child = stage::command(&Stage::Mesh(plan), &["mesh"])?.spawn()?;
    stage::wait_for(&child, Interrupts::PassedOn)
}

/// A `/proc` of the PID namespace of this process.
pub(crate) fn mount_proc() -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
}

/// Keeps mounts of a new mount namespace to itself; mounts of the machine still come in.
pub(crate) fn nothing_leaves_this_mount_namespace() -> anyhow::Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("cannot make mounts private")
}

/// An ordinary user is root of a namespace that has this one user.
fn become_root_of_a_user_namespace() -> anyhow::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)
        .with_context(|| format!("cannot make a user namespace: {}", forbidding_setting()))?;
    let map = || -> std::io::Result<()> {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
    };
    map().with_context(|| format!("cannot map this user: {}", forbidding_setting()))?;
    if caps::has_cap(
        None,
        caps::CapSet::Effective,
        caps::Capability::CAP_SYS_ADMIN,
    )? {
        return Ok(());
    }
    bail!("the user namespace has no power: {}", forbidding_setting())
}

/// Which of the kernel's settings stands against user namespaces.
pub(crate) fn forbidding_setting() -> String {
    forbidding_setting_in(Path::new("/proc/sys"))
}

fn forbidding_setting_in(sysctls: &Path) -> String {
    let settings = [
        (
            "user/max_user_namespaces",
            "0",
            "user.max_user_namespaces=15000",
        ),
        (
            "kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    for (file, forbidding, remedy) in settings {
        if fs::read_to_string(sysctls.join(file)).is_ok_and(|v| v.trim() == forbidding) {
            return format!("the kernel forbids it; as root: sysctl -w {remedy}");
        }
    }
    "the kernel or a container forbids it; see user.max_user_namespaces, \
     kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or run as root"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_is_named() {
        let cases = [
            (
                "user/max_user_namespaces",
                "0\n",
                "user.max_user_namespaces=15000",
            ),
            (
                "kernel/unprivileged_userns_clone",
                "0\n",
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                "apparmor_restrict_unprivileged_userns=0",
            ),
            ("user/max_user_namespaces", "1000\n", "or run as root"),
        ];
        for (file, value, expected) in cases {
            let sysctls = tempfile::tempdir().unwrap();
            let path = sysctls.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
            let said = forbidding_setting_in(sysctls.path());
            assert!(said.contains(expected), "{said}");
        }
    }
}
