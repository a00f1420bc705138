//! What the shop's servers have in common: they accept until they are asked to end, and then finish what is open.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Tells the connections of a server that it is ending.
#[derive(Debug, Clone)]
pub(super) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Whether it is.
    pub(super) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when it is.
    pub(super) async fn begun(&mut self) {
        // A server that is gone has ended, too.
        let _gone = self.0.wait_for(|ending| *ending).await;
    }
}

/// Lets `talk` have each connection until `asked_to_end` resolves; then those that are open have a moment.
pub(super) async fn serve<T>(
    listen: SocketAddr,
    asked_to_end: impl Future<Output = ()>,
    mut talk: impl FnMut(TcpStream, Ending) -> T,
) -> anyhow::Result<()>
where
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let (ends, ending) = watch::channel(false);
    let mut open = JoinSet::new();
    tokio::pin!(asked_to_end);
    loop {
        tokio::select! {
            () = &mut asked_to_end => break,
            accepted = listener.accept() => {
                let (connection, _) = accepted?;
                open.spawn(talk(connection, Ending(ending.clone())));
            }
            // Those that have ended are not kept.
            Some(_ended) = open.join_next() => {}
        }
    }
    drop(listener);
    ends.send_replace(true);
    // What takes longer is cut by the end of the program.
    let _cut = timeout(LAST_ANSWERS, open.join_all()).await;
    Ok(())
}

/// How long open connections have to end by themselves.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

#[cfg(test)]
pub(super) fn ending(has_begun: bool) -> Ending {
    Ending(watch::channel(has_begun).1)
}
