//! A session on a real connection: the only I/O of the transport.
//!
//! One future reads, writes and keeps time for all streams of a connection. It reads what the connection has buffered,
//! without a copy; what it writes is put together in a buffer that belongs to the thread and is lent only while bytes
//! move, so an idle session holds none.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use super::credit::Budget;
use super::end::{SessionEnd, Violation};
use super::frame::{Frame, MAX_PAYLOAD_BYTES};
use super::handle::{Incoming, Opener};
use super::link::Link;
use super::session::{Role, Session};
use super::settings::Settings;
use super::turns::{Company, Turn};
use crate::held;

/// Reads and writes in a row before other tasks get their turn.
const ROUNDS: usize = 8;
/// Pieces of the connection's buffer that are read before something is written.
const PIECES: usize = 8;

thread_local! {
    static WRITE_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Begins the client's side of a session on an authenticated connection. The future does all of its work and must be
/// polled until it ends; dropping it cuts the connection. `facts` is what every stream can say of its connection.
pub fn client<T, F>(
    io: T,
    facts: Arc<F>,
    settings: Settings,
    budget: Budget,
) -> (Opener<F>, impl Future<Output = SessionEnd> + Send)
where
    T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
    F: Send + Sync + 'static,
{
    let link = Link::new(Role::Client, settings, budget);
    (Opener::new(Arc::clone(&link), facts), drive(io, link))
}

/// Begins the server's side of a session; as [`client`].
pub fn server<T, F>(
    io: T,
    facts: Arc<F>,
    settings: Settings,
    budget: Budget,
) -> (Incoming<F>, impl Future<Output = SessionEnd> + Send)
where
    T: AsyncBufRead + AsyncWrite + Unpin + Send + 'static,
    F: Send + Sync + 'static,
{
    let link = Link::new(Role::Server, settings, budget);
    (Incoming::new(Arc::clone(&link), facts), drive(io, link))
}

async fn drive<T: AsyncBufRead + AsyncWrite + Unpin>(io: T, link: Arc<Link>) -> SessionEnd {
    let now = Instant::now();
    let mut driver = Driver {
        io,
        link,
        carry: Vec::new(),
        unsent: Vec::new(),
        held: held::Part::none(),
        is_unflushed: false,
        was_full: false,
        is_shut: false,
        is_at_end: false,
        has_let_others: false,
        turn: Turn::default(),
        read_bytes: 0,
        timer: Box::pin(sleep_until(now)),
        armed: now,
    };
    poll_fn(|cx| driver.poll(cx)).await
}

struct Driver<T> {
    io: T,
    link: Arc<Link>,
    /// The beginning of a frame.
    carry: Vec<u8>,
    /// What the connection did not take yet.
    unsent: Vec<u8>,
    /// Its part of what waits to be sent.
    held: held::Part,
    is_unflushed: bool,
    was_full: bool,
    is_shut: bool,
    is_at_end: bool,
    /// The other tasks had their turn since the last write.
    has_let_others: bool,
    turn: Turn,
    /// Read in this poll.
    read_bytes: usize,
    timer: Pin<Box<Sleep>>,
    /// When `timer` fires: never later than the session's deadline, but perhaps earlier, so that it is rarely set.
    armed: Instant,
}

/// A driver that is dropped leaves no stream waiting for ever.
impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        let error = io::Error::from(io::ErrorKind::ConnectionAborted);
        self.link.with(|session| session.cut(Instant::now(), error));
    }
}

impl<T: AsyncBufRead + AsyncWrite + Unpin> Driver<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        self.read_bytes = 0;
        for _ in 0..ROUNDS {
            let now = Instant::now();
            let end = self.link.with(|session| {
                match &mut session.driver {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => session.driver = Some(cx.waker().clone()),
                }
                session.company = Company::at(now);
                session.tick(now);
                session.end.clone()
            });
            if let Some(end) = end {
                return self.poll_close(cx, now).map(|()| end);
            }
            let read = self.poll_receive(cx, now).is_ready();
            if self.lets_others(cx) {
                return Poll::Pending;
            }
            let wrote = self.poll_transmit(cx, now).is_ready();
            if !read && !wrote && self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
            // What was read is handed on while it is at hand, before more is.
            if self.read_bytes >= PIECES * MAX_PAYLOAD_BYTES {
                if self.turn.is_over(now, self.read_bytes) {
                    give_way(cx);
                    return Poll::Pending;
                }
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Before something is written, the tasks that are ready have their turn, once: what they say on other streams goes
    /// along, in one write and not in several. Where there is one stream, nobody is waited for.
    fn lets_others(&mut self, cx: &Context<'_>) -> bool {
        let would_write = self.link.with(|session| session.has_company());
        self.has_let_others = would_write && !self.has_let_others;
        if self.has_let_others {
            cx.waker().wake_by_ref();
        }
        self.has_let_others
    }

    /// Ready when the session's deadline has passed.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.link.with(|session| session.deadline());
        if deadline < self.armed {
            self.arm(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.armed >= deadline {
                return Poll::Ready(());
            }
            self.arm(deadline);
        }
        Poll::Pending
    }

    fn arm(&mut self, deadline: Instant) {
        self.timer.as_mut().reset(deadline);
        self.armed = deadline;
    }

    /// Ready when something came: bytes, the end or an error, which the session was told of.
    fn poll_receive(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let mut came = Poll::Pending;
        for _ in 0..PIECES {
            let error = match Pin::new(&mut self.io).poll_fill_buf(cx) {
                Poll::Pending => return came,
                Poll::Ready(Ok([])) => io::ErrorKind::UnexpectedEof.into(),
                Poll::Ready(Ok(bytes)) => {
                    let length = bytes.len();
                    self.read_bytes += length;
                    let is_over = self.link.with(|session| {
                        if let Err(violation) = receive(session, now, &mut self.carry, bytes) {
                            session.violated(violation, now);
                        }
                        session.end.is_some()
                    });
                    Pin::new(&mut self.io).consume(length);
                    came = Poll::Ready(());
                    if is_over {
                        return came;
                    }
                    continue;
                }
                Poll::Ready(Err(error)) => error,
            };
            self.link.with(|session| session.cut(now, error));
            return Poll::Ready(());
        }
        came
    }

    /// Ready when something was written, or the session ended.
    fn poll_transmit(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let mut buffer = WRITE_BUFFER.take();
        let wrote = self.poll_write(cx, now, &mut buffer);
        WRITE_BUFFER.set(buffer);
        match ready!(wrote) {
            Ok(true) => Poll::Ready(()),
            Ok(false) => self.link.with(|session| {
                if session.is_done() {
                    session.conclude_done(now);
                    return Poll::Ready(());
                }
                Poll::Pending
            }),
            Err(error) => {
                // A peer that gave up has perhaps said why: its TLS alert is worth more than our broken pipe.
                while self.poll_receive(cx, now).is_ready()
                    && self.link.with(|session| session.end.is_none())
                {}
                self.link.with(|session| session.cut(now, error));
                Poll::Ready(())
            }
        }
    }

    /// Writes what is unsent, or else what the session has to say; `false` when all is written and flushed.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<bool>> {
        buffer.clear();
        if self.unsent.is_empty() {
            let most = held::write_bytes();
            buffer.reserve(most);
            self.link
                .with(|session| session.transmit(now, most, buffer));
        } else {
            *buffer = std::mem::take(&mut self.unsent);
            self.held.set(0);
        }
        if buffer.is_empty() {
            if self.is_unflushed {
                ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                self.is_unflushed = false;
            }
            return Poll::Ready(Ok(false));
        }
        let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(cx, buffer) else {
            self.was_full = true;
            self.keep(buffer);
            return Poll::Pending;
        };
        let written = written?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.is_unflushed = true;
        if std::mem::take(&mut self.was_full) {
            self.link.with(|session| session.progressed(now));
        }
        buffer.drain(..written);
        self.keep(buffer);
        Poll::Ready(Ok(true))
    }

    /// Keeps what the connection did not take, in at most twice the memory that it fills.
    fn keep(&mut self, buffer: &mut Vec<u8>) {
        self.unsent = match buffer.len() < buffer.capacity() / 2 {
            true => buffer.as_slice().into(),
            false => std::mem::take(buffer),
        };
        self.held.set(self.unsent.capacity());
    }

    /// Says the last words, shuts the connection down and waits for the peer to do the same, all within a bound.
    /// Closing at once would make the kernel answer what is still on its way with a reset, and that would take our
    /// last words from the peer.
    fn poll_close(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let is_gone = self
            .link
            .with(|session| matches!(session.end, Some(SessionEnd::Cut(_) | SessionEnd::Dead)));
        if is_gone || self.poll_timer(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut buffer = WRITE_BUFFER.take();
        let shut = self.poll_shut(cx, now, &mut buffer);
        WRITE_BUFFER.set(buffer);
        let end = self.poll_end(cx);
        match (shut, end) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    fn poll_shut(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        if !self.is_shut {
            while ready!(self.poll_write(cx, now, buffer))? {}
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and drops until the peer's end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..ROUNDS * PIECES {
            if self.is_at_end {
                return Poll::Ready(Ok(()));
            }
            let length = ready!(Pin::new(&mut self.io).poll_fill_buf(cx))?.len();
            self.is_at_end = length == 0;
            Pin::new(&mut self.io).consume(length);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Lets all that is ready, and what events bring, go before the task whose turn is over. As `yield_now`, for one poll.
fn give_way(cx: &mut Context<'_>) {
    let woken_after_events = pin!(yield_now()).poll(cx);
    debug_assert!(woken_after_events.is_pending());
}

/// Takes in `bytes`, behind the beginning of a frame that was carried over, and carries over the beginning of the next.
fn receive(
    session: &mut Session,
    now: Instant,
    carry: &mut Vec<u8>,
    mut bytes: &[u8],
) -> Result<(), Violation> {
    while !carry.is_empty() && !bytes.is_empty() {
        // No more than the frame needs is moved: what follows it is read where it is.
        let missing = Frame::missing(carry).min(bytes.len());
        let (of_frame, rest) = bytes.split_at(missing);
        carry.extend_from_slice(of_frame);
        bytes = rest;
        let done = session.receive(now, carry)?;
        carry.drain(..done);
    }
    let done = session.receive(now, bytes)?;
    carry.extend_from_slice(bytes.get(done..).unwrap_or_default());
    if carry.is_empty() {
        *carry = Vec::new();
    }
    Ok(())
}
