//! A session as its driver and its handles share it.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::credit::Budget;
use super::session::{Role, Session};
use super::settings::Settings;

thread_local! {
    /// An empty list, lent to sessions in turn, so that not each of them allocates one for every frame.
    static WOKEN: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

/// A session as its driver and its handles share it.
#[derive(Debug)]
pub(super) struct Link {
    session: Mutex<Session>,
    /// Told when the session ended.
    pub(super) ended: Notify,
}

impl Link {
    pub(super) fn new(role: Role, settings: Settings, budget: Budget) -> Arc<Self> {
        Arc::new(Self {
            session: Mutex::new(Session::new(role, settings, budget, Instant::now())),
            ended: Notify::new(),
        })
    }

    /// Does something with the session, then wakes whom that concerns.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Session) -> R) -> R {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut session);
        let mut woken = std::mem::replace(&mut session.woken, WOKEN.take());
        let is_ended = session.end.is_some();
        drop(session);
        for waker in woken.drain(..) {
            waker.wake();
        }
        WOKEN.set(woken);
        if is_ended {
            self.ended.notify_waiters();
        }
        result
    }
}
