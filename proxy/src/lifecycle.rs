//! Running, draining, stopping: told to every connection at once.

use std::sync::Arc;

use tokio::sync::watch;

/// Where the proxy is in its life. It only ever goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connections are taken.
    Running,
    /// No new inbound ones; outbound goes on until the application is gone; live ones may end by themselves.
    Draining,
    /// What is left is ended.
    Stopping,
}

/// Resolves once `phases` has reached `phase`. Cancel safe.
pub async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    if phases.wait_for(|now| *now >= phase).await.is_err() {
        // The proxy's owner is gone without a word: nothing will be told any more.
        std::future::pending::<()>().await;
    }
}

/// Counts what must end in good order: one for each clone, until it is dropped.
#[derive(Debug, Clone, Default)]
pub struct Alive(Arc<()>);

impl Alive {
    /// How many clones there are besides this one.
    pub fn others(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_no_longer_alive() {
        let alive = Alive::default();
        let (one, other) = (alive.clone(), alive.clone());
        assert_eq!(alive.others(), 2);
        drop((one, other));
        assert_eq!(alive.others(), 0);
    }
}
