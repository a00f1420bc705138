//! What the rest of the proxy holds of a session: who opens streams, who takes them, and the streams.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use tokio::time::Instant;

use super::code::Code;
use super::end::{OpenError, SessionEnd, StreamError};
use super::link::Link;
use super::open::{Open, Opening};
use super::session::Load;

/// The client's side of a session: opens streams. Dropping it retires the session.
pub struct Opener<F> {
    link: Arc<Link>,
    facts: Arc<F>,
}

impl<F> Opener<F> {
    pub(super) fn new(link: Arc<Link>, facts: Arc<F>) -> Self {
        Self { link, facts }
    }

    /// Opens a stream and waits until the peer takes it. Dropping the future cancels the stream.
    ///
    /// # Errors
    /// [`OpenError::nothing_was_delivered`] says whether another endpoint may be tried.
    pub async fn open(&self, opening: Opening) -> Result<Stream<F>, OpenError> {
        let id = self
            .link
            .with(|session| session.open(Instant::now(), opening))?;
        let stream = Stream {
            link: Arc::clone(&self.link),
            facts: Arc::clone(&self.facts),
            id,
        };
        poll_fn(|cx| {
            self.link
                .with(|session| session.poll_answer(id, cx.waker()))
        })
        .await?;
        Ok(stream)
    }

    /// What is known of the connection.
    pub fn facts(&self) -> &Arc<F> {
        &self.facts
    }

    /// The session, to end it and to look at it.
    pub fn handle(&self) -> SessionHandle {
        SessionHandle {
            link: Arc::clone(&self.link),
        }
    }
}

impl<F> Drop for Opener<F> {
    fn drop(&mut self) {
        self.link.with(|session| session.retire(Code::Draining));
    }
}

/// The server's side of a session: takes streams. Dropping it retires the session and refuses what nobody took.
pub struct Incoming<F> {
    link: Arc<Link>,
    facts: Arc<F>,
}

impl<F> Incoming<F> {
    pub(super) fn new(link: Arc<Link>, facts: Arc<F>) -> Self {
        Self { link, facts }
    }

    /// The next stream that the peer opened; `None` once the session ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Offered<F>> {
        let (id, open) =
            poll_fn(|cx| self.link.with(|session| session.poll_offered(cx.waker()))).await?;
        Some(Offered {
            open,
            stream: Stream {
                link: Arc::clone(&self.link),
                facts: Arc::clone(&self.facts),
                id,
            },
        })
    }

    /// What is known of the connection.
    pub fn facts(&self) -> &Arc<F> {
        &self.facts
    }

    /// The session, to end it and to look at it.
    pub fn handle(&self) -> SessionHandle {
        SessionHandle {
            link: Arc::clone(&self.link),
        }
    }
}

impl<F> Drop for Incoming<F> {
    fn drop(&mut self) {
        self.link.with(|session| {
            session.retire(Code::Draining);
            while let Some((id, _)) = session.offered.pop_front() {
                session.refuse(id, Code::Draining, None);
                session.release(id, Instant::now());
            }
        });
    }
}

/// A stream that the peer opened and that waits for a decision. Nothing of its data can be read before
/// [`Offered::accept`]; dropping it refuses the stream as cancelled.
pub struct Offered<F> {
    open: Open,
    stream: Stream<F>,
}

impl<F> Offered<F> {
    /// What the peer claims about the stream.
    pub fn open(&self) -> &Open {
        &self.open
    }

    /// The stream's number.
    pub fn id(&self) -> u32 {
        self.stream.id
    }

    /// What is known of the connection.
    pub fn facts(&self) -> &Arc<F> {
        &self.stream.facts
    }

    /// Takes the stream. Where the peer gave it up meanwhile, its first use tells.
    pub fn accept(self) -> Stream<F> {
        let Self { stream, .. } = self;
        stream.link.with(|session| session.accept(stream.id));
        stream
    }

    /// Refuses the stream, and names the rule that decided where the peer may know it.
    pub fn refuse(self, code: Code, rule: Option<&str>) {
        let Stream { link, id, .. } = &self.stream;
        link.with(|session| session.refuse(*id, code, rule));
    }
}

/// One application connection within a session. Both directions can be used at once through `&self`, each by one task
/// at a time. Dropping it before both directions are finished resets it as cancelled.
pub struct Stream<F> {
    link: Arc<Link>,
    facts: Arc<F>,
    id: u32,
}

impl<F> Stream<F> {
    /// The stream's number, unique within its session.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What is known of the connection.
    pub fn facts(&self) -> &Arc<F> {
        &self.facts
    }

    /// The session that carries the stream.
    pub fn session(&self) -> SessionHandle {
        SessionHandle {
            link: Arc::clone(&self.link),
        }
    }

    /// The next bytes, at most [`PIECE_BYTES`](super::PIECE_BYTES); `None` only after the peer's FIN. Calling it says that
    /// the bytes returned before are done with, and lets the peer send more. Cancel safe: bytes are taken only as they are
    /// returned.
    ///
    /// # Errors
    /// Every end other than FIN, so that no cut looks like an end.
    pub async fn read(&self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| {
            self.link
                .with(|session| session.poll_read(self.id, cx.waker()))
        })
        .await
    }

    /// Waits until `write` would take bytes at once, so that a caller needs to hold none meanwhile. Cancel safe.
    ///
    /// # Errors
    /// When nothing can be written any more.
    pub async fn writable(&self) -> Result<(), StreamError> {
        poll_fn(|cx| {
            self.link
                .with(|session| session.poll_writable(self.id, cx.waker()))
        })
        .await
    }

    /// Waits until what was written before is sent and the peer gave credit, then takes `bytes` whole. When the future
    /// is dropped before it is ready, nothing of `bytes` is sent and they are lost: where that matters, wait for
    /// [`Stream::writable`] first.
    ///
    /// # Errors
    /// When nothing can be written any more.
    pub async fn write(&self, mut bytes: Bytes) -> Result<(), StreamError> {
        if bytes.is_empty() {
            return Ok(());
        }
        poll_fn(|cx| {
            self.link.with(|session| {
                ready!(session.poll_writable(self.id, cx.waker()))?;
                session.write(self.id, std::mem::take(&mut bytes));
                Poll::Ready(Ok(()))
            })
        })
        .await
    }

    /// Waits until the peer lets this side send a good piece, beyond what was written before, and says how many bytes.
    /// Credit for little is not used up in little pieces: more comes once the peer's application has read. Cancel safe.
    ///
    /// # Errors
    /// When nothing can be written any more.
    pub async fn room(&self) -> Result<usize, StreamError> {
        poll_fn(|cx| {
            self.link
                .with(|session| session.poll_room(self.id, cx.waker()))
        })
        .await
    }

    /// Waits for an end of the stream other than FIN in both directions, also while it is neither read nor written to.
    /// Cancel safe. One task may wait for it, beside those that read and write.
    pub async fn failed(&self) -> StreamError {
        poll_fn(|cx| {
            self.link
                .with(|session| session.poll_failed(self.id, cx.waker()))
        })
        .await
    }

    /// Ends this direction, after all that was written.
    pub fn finish(&self) {
        self.link.with(|session| session.finish(self.id));
    }

    /// Ends both directions at once; what is not yet sent is dropped.
    pub fn reset(&self, code: Code) {
        self.link.with(|session| session.reset(self.id, code));
    }
}

impl<F> Drop for Stream<F> {
    fn drop(&mut self) {
        let id = self.id;
        self.link
            .with(|session| session.release(id, Instant::now()));
    }
}

/// A session, to end it and to look at it; clones are the same session.
#[derive(Clone)]
pub struct SessionHandle {
    link: Arc<Link>,
}

impl SessionHandle {
    /// Takes no new streams from now on; the session ends when its last stream does.
    pub fn retire(&self, code: Code) {
        self.link.with(|session| session.retire(code));
    }

    /// Ends the session now: every stream is reset with the code. The peer is told, within a bound of time.
    pub fn close(&self, code: Code) {
        self.link
            .with(|session| session.close(code, Instant::now()));
    }

    /// How busy the session is.
    pub fn load(&self) -> Load {
        self.link.with(|session| session.load(Instant::now()))
    }

    /// How many streams are open.
    pub fn active_streams(&self) -> usize {
        self.load().streams
    }

    /// Whether no new streams are taken, by either side's will.
    pub fn is_retired(&self) -> bool {
        self.load().retired
    }

    /// Waits for the end of the session. Cancel safe.
    pub async fn ended(&self) -> SessionEnd {
        loop {
            let notified = self.link.ended.notified();
            if let Some(end) = self.link.with(|session| session.end.clone()) {
                return end;
            }
            notified.await;
        }
    }

    /// Whether both are the same session.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.link, &other.link)
    }
}

impl<F> fmt::Debug for Opener<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Incoming<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Offered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, stream } = self;
        f.debug_struct("Offered")
            .field("open", open)
            .field("stream", stream)
            .finish()
    }
}

impl<F> fmt::Debug for Stream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle").finish_non_exhaustive()
    }
}
