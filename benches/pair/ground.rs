//! The ground of one pair: new pods, and the applications in them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::ask::CANARY;
use crate::pods::{APP_USER, PROXY_USER, Pods, ROLES, Role};
use crate::program::Program;

/// New pods with nginx and iperf3 in the server's. Dropped, all is gone.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) apps: [Program; 2],
    pub(crate) pods: Pods,
    /// Of this pair alone: certificates, configurations, records, logs.
    folder: tempfile::TempDir,
}

impl Ground {
    /// Makes it, in a folder of its own within this one.
    pub(crate) async fn new(within: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(within)?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        for role in ROLES {
            own(&folder.path().join(role.name()), PROXY_USER)?;
        }
        let app = folder.path().join("app");
        own(&app, APP_USER)?;
        let www = app.join("www");
        fs::create_dir(&www)?;
        fs::write(www.join("1k"), "x".repeat(1024))?;
        fs::write(www.join("canary"), format!("{CANARY:.<1024}"))?;
        let conf = app.join("nginx.conf");
        let run = app.display().to_string();
        fs::write(&conf, include_str!("nginx.conf").replace("@RUN@", &run))?;

        let pods = Pods::new()?;
        let mut nginx = pods.command(Role::Server, APP_USER, "nginx");
        nginx.arg("-c").arg(&conf);
        let mut nginx = Program::start(nginx, folder.path(), "nginx")?;
        let mut iperf = pods.command(Role::Server, APP_USER, "iperf3");
        iperf.args(["--server", "--port", &BULK.to_string()]);
        let mut iperf = Program::start(iperf, folder.path(), "iperf3")?;
        nginx
            .wait_for_port(&pods, Role::Server, HTTP)
            .await
            .context("nginx")?;
        iperf
            .wait_for_port(&pods, Role::Server, BULK)
            .await
            .context("iperf3")?;
        Ok(Self {
            apps: [nginx, iperf],
            pods,
            folder,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As it is written in a configuration.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Makes a folder for this user alone.
pub(crate) fn own(folder: &Path, user: u32) -> Result<()> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    Ok(chown(folder, Some(user), Some(user))?)
}

/// Where nginx listens.
pub(crate) const HTTP: u16 = 8080;
/// Where `iperf3` listens.
pub(crate) const BULK: u16 = 5201;
/// Where the reader that stops listens.
pub(crate) const STALLED: u16 = 5202;
