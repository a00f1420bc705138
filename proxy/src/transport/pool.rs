//! Which connection a new stream takes, and the connections.
//!
//! Streams to one key share a connection until it is backlogged or carries bulk; only then another is opened, up to a
//! bound. Sharing lets one read and one write serve many streams, and a newcomer keeps clear of bulk.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::sync::watch;

use super::code::Code;
use super::credit::Budget;
use super::drive::client;
use super::end::OpenError;
use super::handle::{Opener, SessionHandle, Stream};
use super::open::Opening;
use super::session::Load;
use super::settings::Settings;

/// How often a stream that was certainly not delivered is tried on another connection of the same key.
const ATTEMPTS: usize = 4;

/// Sessions by key, shared by the streams of each key; clones are the same pool.
///
/// The pool spawns the driver of each session with `tokio::spawn`, and nothing else. A session stays known, and can be
/// closed, until it ended, but takes streams only until it is retired.
pub struct Pool<K, F, E> {
    shared: Arc<Shared<K, F, E>>,
}

struct Shared<K, F, E> {
    settings: Settings,
    budget: Budget,
    most: usize,
    state: Mutex<State<K, F, E>>,
}

struct State<K, F, E> {
    entries: HashMap<K, Entry<F, E>>,
    reused: u64,
}

struct Entry<F, E> {
    sessions: Vec<Arc<Opener<F>>>,
    /// A handshake under way, that everyone who needs another connection waits for.
    flight: Option<watch::Receiver<Flight<E>>>,
}

enum Flight<E> {
    Flying,
    Landed,
    Failed(Arc<E>),
}

/// Why a pool gave no stream.
#[derive(Debug, Error)]
pub enum PoolError<E: std::error::Error + 'static, F> {
    /// No connection could be made; nothing was delivered. Everyone who waited for it shares the error.
    #[error("no connection could be made")]
    Connect(#[source] Arc<E>),
    /// The stream was not opened.
    #[error("the stream was not opened")]
    Open {
        /// What is known of the connection that it was tried on.
        facts: Arc<F>,
        /// Why.
        #[source]
        error: OpenError,
    },
}

impl<E: std::error::Error + 'static, F> PoolError<E, F> {
    /// Whether it is certain that nothing of the stream was delivered, so that another endpoint may be tried.
    pub fn nothing_was_delivered(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Open { error, .. } => error.nothing_was_delivered(),
        }
    }
}

/// How many of what a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sessions that are not retired.
    pub open_sessions: usize,
    /// Those of them that carry no stream.
    pub idle_sessions: usize,
    /// Sessions that wait for their last stream.
    pub retired_sessions: usize,
    /// Streams on all of them.
    pub streams: usize,
    /// How many times so far a stream was begun on a session that others had used or made.
    pub reused: u64,
}

/// Where a new stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Use(usize),
    Connect,
}

/// The first session that is free takes the stream, so that the others fall idle and end. Where none is, another is
/// opened; where there are enough, the stream goes where the fewest are.
pub(super) fn choose(sessions: &[Load], most: usize) -> Choice {
    let usable = || {
        let numbered = sessions.iter().enumerate();
        numbered.filter(|(_, load)| !load.retired)
    };
    let is_free = |load: &Load| !load.full && !load.backlogged && !load.bulk;
    if let Some((index, _)) = usable().find(|(_, load)| is_free(load)) {
        return Choice::Use(index);
    }
    if usable().count() < most {
        return Choice::Connect;
    }
    least_loaded(sessions).map_or(Choice::Connect, Choice::Use)
}

/// The session that suffers least from one more stream, however busy all are.
fn least_loaded(sessions: &[Load]) -> Option<usize> {
    let usable = sessions
        .iter()
        .enumerate()
        .filter(|(_, load)| !load.retired);
    let busy = |load: &Load| (load.full, load.bulk, load.backlogged, load.streams);
    let least = usable.min_by_key(|(_, load)| busy(load));
    least.map(|(index, _)| index)
}

/// What the state of a key says to one who wants a stream.
enum Step<F, E> {
    Use(Arc<Opener<F>>),
    Lead(watch::Sender<Flight<E>>),
    Follow(watch::Receiver<Flight<E>>),
}

impl<K, F, E> Pool<K, F, E>
where
    K: Eq + Hash + Clone + Send + 'static,
    F: Send + Sync + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    /// An empty pool that opens up to `most` connections for a key (4 is a good number; at least 1).
    pub fn new(settings: Settings, budget: Budget, most: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                budget,
                most: most.max(1),
                state: Mutex::new(State {
                    entries: HashMap::new(),
                    reused: 0,
                }),
            }),
        }
    }

    /// Opens a stream on a connection of `key`, which `connect` makes where none serves. Handshakes of one key are
    /// flown once at a time; who comes meanwhile waits for the same one.
    ///
    /// A stream that met the end of its session's service (GOAWAY, no stream left) is begun again on another
    /// connection: the peer took nothing of it. After a bare cut it is not.
    ///
    /// # Errors
    /// [`PoolError::nothing_was_delivered`] says whether another endpoint may be tried.
    pub async fn open<T, C, P>(
        &self,
        key: &K,
        connect: C,
        opening: Opening,
    ) -> Result<Stream<F>, PoolError<E, F>>
    where
        T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
        C: Fn() -> P,
        P: Future<Output = Result<(T, Arc<F>), E>> + Send,
    {
        let mut attempt = 1;
        loop {
            let opener = self.session(key, &connect).await?;
            match opener.open(opening.clone()).await {
                Ok(stream) => return Ok(stream),
                Err(OpenError::Retired | OpenError::Full) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => {
                    let facts = Arc::clone(opener.facts());
                    return Err(PoolError::Open { facts, error });
                }
            }
        }
    }

    async fn session<T, C, P>(
        &self,
        key: &K,
        connect: &C,
    ) -> Result<Arc<Opener<F>>, PoolError<E, F>>
    where
        T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
        C: Fn() -> P,
        P: Future<Output = Result<(T, Arc<F>), E>> + Send,
    {
        loop {
            let error = match self.step(key) {
                Step::Use(opener) => return Ok(opener),
                Step::Lead(flight) => match connect().await {
                    Ok((io, facts)) => {
                        let opener = self.add(key, io, facts);
                        flight.send_replace(Flight::Landed);
                        return Ok(opener);
                    }
                    Err(error) => {
                        let error = Arc::new(error);
                        if let Some(entry) = self.shared.lock().entries.get_mut(key) {
                            entry.flight = None;
                        }
                        flight.send_replace(Flight::Failed(Arc::clone(&error)));
                        error
                    }
                },
                Step::Follow(mut flight) => {
                    // A leader that was cancelled leaves an error here: somebody else leads.
                    let landed = flight
                        .wait_for(|flight| !matches!(flight, Flight::Flying))
                        .await;
                    match landed.as_deref() {
                        Ok(Flight::Failed(error)) => Arc::clone(error),
                        Ok(Flight::Flying | Flight::Landed) | Err(_) => continue,
                    }
                }
            };
            // A connection that is busy is better than none.
            return self.any(key).ok_or(PoolError::Connect(error));
        }
    }

    fn step(&self, key: &K) -> Step<F, E> {
        let mut state = self.shared.lock();
        let entry = state.entries.entry(key.clone()).or_insert_with(|| Entry {
            sessions: Vec::new(),
            flight: None,
        });
        let loads: Vec<Load> = entry.loads();
        if let Choice::Use(index) = choose(&loads, self.shared.most)
            && let Some(opener) = entry.sessions.get(index)
        {
            let opener = Arc::clone(opener);
            state.reused += 1;
            return Step::Use(opener);
        }
        match &entry.flight {
            // An error: the leader was cancelled.
            Some(flight) if flight.has_changed().is_ok() => Step::Follow(flight.clone()),
            _ => {
                let (leader, follower) = watch::channel(Flight::Flying);
                entry.flight = Some(follower);
                Step::Lead(leader)
            }
        }
    }

    fn any(&self, key: &K) -> Option<Arc<Opener<F>>> {
        let mut state = self.shared.lock();
        let entry = state.entries.get(key)?;
        let opener = least_loaded(&entry.loads()).and_then(|index| entry.sessions.get(index));
        let opener = opener.map(Arc::clone);
        match &opener {
            Some(_) => state.reused += 1,
            None => state.forget_empty(key),
        }
        opener
    }

    fn add<T>(&self, key: &K, io: T, facts: Arc<F>) -> Arc<Opener<F>>
    where
        T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Shared {
            settings, budget, ..
        } = &*self.shared;
        let (opener, driver) = client(io, facts, settings.clone(), budget.clone());
        let opener = Arc::new(opener);
        let session = opener.handle();
        {
            let mut state = self.shared.lock();
            let entry = state.entries.entry(key.clone()).or_insert_with(|| Entry {
                sessions: Vec::new(),
                flight: None,
            });
            entry.sessions.push(Arc::clone(&opener));
            entry.flight = None;
        }
        let (shared, key) = (Arc::downgrade(&self.shared), key.clone());
        tokio::spawn(async move {
            driver.await;
            if let Some(shared) = shared.upgrade() {
                shared.lock().forget(&key, &session);
            }
        });
        opener
    }

    /// Retires the sessions for which `is_meant` is true, as [`SessionHandle::retire`]. A handshake that is under way
    /// is not seen: a key that says what may change (the own SVID's generation) keeps newcomers from it.
    pub fn retire_where(&self, is_meant: impl Fn(&K, &F) -> bool, code: Code) {
        for session in self.sessions_where(is_meant) {
            session.retire(code);
        }
    }

    /// Closes the sessions for which `is_meant` is true, retired ones too, as [`SessionHandle::close`].
    pub fn close_where(&self, is_meant: impl Fn(&K, &F) -> bool, code: Code) {
        for session in self.sessions_where(is_meant) {
            session.close(code);
        }
    }

    /// `is_meant` is called under the pool's lock; what is done to the sessions is not.
    fn sessions_where(&self, is_meant: impl Fn(&K, &F) -> bool) -> Vec<SessionHandle> {
        let state = self.shared.lock();
        let mut meant = Vec::new();
        for (key, entry) in &state.entries {
            let sessions = entry.sessions.iter();
            let sessions = sessions.filter(|opener| is_meant(key, opener.facts()));
            meant.extend(sessions.map(|opener| opener.handle()));
        }
        meant
    }

    /// Counts for the metrics.
    pub fn counts(&self) -> Counts {
        let state = self.shared.lock();
        let mut counts = Counts {
            reused: state.reused,
            ..Counts::default()
        };
        for load in state.entries.values().flat_map(Entry::loads) {
            counts.streams += load.streams;
            counts.retired_sessions += usize::from(load.retired);
            counts.open_sessions += usize::from(!load.retired);
            counts.idle_sessions += usize::from(!load.retired && load.streams == 0);
        }
        counts
    }
}

impl<K, F, E> Shared<K, F, E> {
    fn lock(&self) -> MutexGuard<'_, State<K, F, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, F, E> State<K, F, E> {
    fn forget(&mut self, key: &K, session: &SessionHandle) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.sessions.retain(|opener| !opener.handle().is(session));
        }
        self.forget_empty(key);
    }

    fn forget_empty(&mut self, key: &K) {
        let is_empty = |entry: &Entry<F, E>| entry.sessions.is_empty() && entry.flight.is_none();
        if self.entries.get(key).is_some_and(is_empty) {
            self.entries.remove(key);
        }
    }
}

impl<F, E> Entry<F, E> {
    fn loads(&self) -> Vec<Load> {
        let sessions = self.sessions.iter();
        sessions.map(|opener| opener.handle().load()).collect()
    }
}

impl<K, F, E> Clone for Pool<K, F, E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K, F, E> fmt::Debug for Pool<K, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
