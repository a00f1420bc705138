//! Where pages are served.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::{RunError, bind, local_addr};
use crate::ask::{self, Ask};
use crate::config::{Config, Mode};
use crate::http::Listener;
use crate::telemetry::admin::{self, Admin};

/// Serves telemetry, where it is to be served; says where in the network that is.
pub(super) async fn show(
    config: &Config,
    admin: Admin,
    tasks: &mut JoinSet<()>,
) -> Result<Option<SocketAddr>, RunError> {
    if let Mode::Files(files) = &config.mode
        && let Some(path) = &files.telemetry_socket
    {
        let listener = socket(path).map_err(|source| RunError::Socket(path.clone(), source))?;
        tasks.spawn(admin::serve(Listener::Unix(listener), admin.clone()));
    }
    let Some(addr) = config.telemetry else {
        return Ok(None);
    };
    let listener = bind("--telemetry", addr).await?;
    let addr = local_addr(&listener, addr)?;
    tasks.spawn(admin::serve(Listener::Tcp(listener), admin));
    Ok(Some(addr))
}

/// Answers who may know.
pub(super) async fn answer(
    addr: SocketAddr,
    ask: Ask,
    tasks: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let listener = bind("--ask", addr).await?;
    tasks.spawn(ask::serve(Listener::Tcp(listener), ask));
    Ok(())
}

/// A socket for this user alone, in the place of one that nobody listens on any more.
fn socket(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}
