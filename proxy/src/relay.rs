//! Moves bytes both ways between two ends, with half-close, until both ended or one failed.
//!
//! An end is a TCP connection to an application, or a stream of the mesh. Whatever ends otherwise than by
//! an end of data on both sides resets both: a cut never looks like an end.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::held;
use crate::outcome::{CloseBy, Failure, RefusedReason, Side};
use crate::telemetry::ByteCounts;
use crate::tls::Established;
use crate::transport::{
    Code, Kind, MIN_CREDIT, PIECE_BYTES, SHORT_PIECE_BYTES, SessionEnd, Stream, StreamError, Turn,
    piece_bytes,
};

/// One end of a relay. Both directions use it at once.
pub trait End {
    /// The next bytes, `most` of them at most; none at the end of data. Cancel safe.
    fn read(&self, most: usize) -> impl Future<Output = Result<Option<Bytes>, EndError>> + Send;
    /// Waits until bytes may be brought, and says how many: what is read for a write is no more. Cancel safe.
    fn room(&self) -> impl Future<Output = Result<usize, EndError>> + Send;
    /// Waits for a failure of this end while it is not read: what it said before would be lost with it. Cancel safe.
    fn failed(&self) -> impl Future<Output = EndError> + Send;
    /// Waits for an end of the whole that voids what was said before: nothing of it is delivered any more, however long
    /// the other end takes for what it was brought. Cancel safe.
    fn aborted(&self) -> impl Future<Output = EndError> + Send;
    /// Takes all of `bytes`, waiting for room.
    fn write(&self, bytes: Bytes) -> impl Future<Output = Result<(), EndError>> + Send;
    /// No more is written. The other direction lives on, unless it `has_ended`: then the caller drops this end next.
    fn finish(&self, has_ended: bool) -> Result<(), EndError>;
    /// Ends both directions at once, as no end of data.
    fn reset(&self, code: Code);
}

/// How an end failed.
#[derive(Debug)]
pub enum EndError {
    /// A connection's error.
    Io(io::Error),
    /// A stream's.
    Stream(StreamError),
    /// A client without an identity began, late, a mesh handshake.
    BelatedHello,
}

/// Moves bytes between `client` and `server` until both ended, and says who ended first.
///
/// Dropped before its end, it leaves both ends to be reset by the caller.
///
/// # Errors
///
/// The first failure of either end; both are reset then.
pub async fn relay(
    client: &impl End,
    server: &impl End,
    bytes: ByteCounts,
) -> Result<CloseBy, Failure> {
    let first = OnceLock::new();
    let kind = Kind::default();
    let mut sent = pin!(async {
        pump(client, server, &kind, |n| bytes.sent(n)).await?;
        let has_ended = first.set(CloseBy::Client).is_err();
        bytes.client_ended();
        server.finish(has_ended).map_err(Failed::server)
    });
    let mut received = pin!(async {
        pump(server, client, &kind, |n| bytes.received(n))
            .await
            .map_err(Failed::mirrored)?;
        let has_ended = first.set(CloseBy::Server).is_err();
        bytes.server_ended();
        client.finish(has_ended).map_err(Failed::client)
    });
    let mut aborted = pin!(aborted(client, server));
    // Where they are, and not moved into a joined future: they are most of what an idle connection holds.
    let (mut has_sent, mut has_received) = (false, false);
    let moved = poll_fn(|cx| {
        if !has_sent {
            has_sent = is_over(sent.as_mut().poll(cx))?;
        }
        if !has_received {
            has_received = is_over(received.as_mut().poll(cx))?;
        }
        match (has_sent, has_received) {
            (true, true) => Poll::Ready(Ok(())),
            // Each hears of a failure of the end that it reads.
            (false, false) => Poll::Pending,
            // Nobody reads the other any more.
            (true, false) | (false, true) => aborted.as_mut().poll(cx).map(Err),
        }
    })
    .await;
    match moved {
        Ok(()) => Ok(first.get().copied().unwrap_or(CloseBy::Client)),
        Err(failed) => {
            let failure = Failure::from(failed);
            let code = code_for(&failure);
            client.reset(code);
            server.reset(code);
            Err(failure)
        }
    }
}

fn is_over(polled: Poll<Result<(), Failed>>) -> Result<bool, Failed> {
    match polled {
        Poll::Ready(ended) => ended.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

async fn aborted(client: &impl End, server: &impl End) -> Failed {
    tokio::select! {
        error = client.aborted() => Failed::client(error),
        error = server.aborted() => Failed::server(error),
    }
}

async fn pump(
    from: &impl End,
    to: &impl End,
    kind: &Kind,
    count: impl Fn(u64),
) -> Result<(), Failed> {
    let mut turn = Turn::default();
    loop {
        let room = tokio::select! {
            biased;
            room = to.room() => room.map_err(Failed::server)?,
            error = from.failed() => return Err(Failed::client(error)),
        };
        let most = room.min(piece_bytes(Instant::now()));
        let Some(bytes) = from.read(most).await.map_err(Failed::client)? else {
            return Ok(());
        };
        let n = bytes.len();
        tokio::select! {
            biased;
            written = to.write(bytes) => written.map_err(Failed::server)?,
            error = from.aborted() => return Err(Failed::client(error)),
        }
        count(n as u64);
        let now = Instant::now();
        kind.moved(now, n);
        if turn.is_over(now, n) {
            yield_now().await;
        }
    }
}

/// Which end failed, and how. In a pump, the one that is read is the client.
#[derive(Debug)]
struct Failed {
    side: Side,
    error: EndError,
}

impl Failed {
    fn client(error: EndError) -> Self {
        Self {
            side: Side::Client,
            error,
        }
    }

    fn server(error: EndError) -> Self {
        Self {
            side: Side::Server,
            error,
        }
    }

    /// The same, where the pump went from server to client.
    fn mirrored(self) -> Self {
        let side = match self.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
            Side::Peer => Side::Peer,
        };
        Self { side, ..self }
    }
}

impl From<Failed> for Failure {
    fn from(Failed { side, error }: Failed) -> Self {
        match (error, side) {
            (EndError::Stream(StreamError::Reset(Code::AppReset)), Side::Client) => {
                Self::ResetByClient
            }
            (EndError::Stream(StreamError::Reset(Code::AppReset)), _) => Self::ResetByServer,
            (EndError::Stream(StreamError::Reset(code)), _) => Self::PeerEnded(code),
            (EndError::Stream(StreamError::SessionEnded(end)), _) => session_ended(&end),
            (EndError::Stream(StreamError::Finished), _) => Self::Cancelled,
            (EndError::BelatedHello, _) => RefusedReason::NotMeshPeer.into(),
            (EndError::Io(error), Side::Client) if is_reset(&error) => Self::ResetByClient,
            (EndError::Io(error), Side::Server) if is_reset(&error) => Self::ResetByServer,
            (EndError::Io(error), side) => Self::Relay { side, error },
        }
    }
}

/// What the end of a whole session is for each of its streams.
pub fn session_ended(end: &SessionEnd) -> Failure {
    match end {
        SessionEnd::Closed(Code::Expired) => Failure::Expiry,
        SessionEnd::Closed(Code::Revoked) => Failure::Revoked,
        SessionEnd::Closed(Code::Draining) => Failure::Drain,
        SessionEnd::Closed(code) | SessionEnd::PeerClosed(code) => Failure::PeerEnded(*code),
        SessionEnd::Protocol(violation) => Failure::Protocol(violation.to_string()),
        SessionEnd::Dead => Failure::Timeout,
        SessionEnd::Clean | SessionEnd::Cut(_) => Failure::SessionCut,
    }
}

/// What the other proxy is told of a failure here.
pub fn code_for(failure: &Failure) -> Code {
    match failure {
        Failure::ResetByClient | Failure::ResetByServer => Code::AppReset,
        Failure::Policy { .. } => Code::PolicyChanged,
        Failure::Expiry => Code::Expired,
        Failure::Revoked => Code::Revoked,
        Failure::Drain => Code::Draining,
        Failure::Timeout => Code::Timeout,
        Failure::Connect(_) => Code::Connect,
        Failure::PeerEnded(code) => *code,
        Failure::Cancelled
        | Failure::Handshake(_)
        | Failure::Denied(_)
        | Failure::Refused(_)
        | Failure::Relay { .. }
        | Failure::PeerRefused { .. }
        | Failure::SessionCut
        | Failure::Protocol(_) => Code::Cancelled,
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

impl End for TcpStream {
    async fn read(&self, most: usize) -> Result<Option<Bytes>, EndError> {
        loop {
            self.readable().await.map_err(EndError::Io)?;
            match read_at_once(self, most.min(held::piece_bytes())) {
                Ok(bytes) if bytes.is_empty() => return Ok(None),
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(EndError::Io(error)),
            }
        }
    }

    async fn room(&self) -> Result<usize, EndError> {
        Ok(READ_BYTES)
    }

    async fn failed(&self) -> EndError {
        let failed = match self.ready(Interest::ERROR).await {
            Ok(_failed) => self.take_error(),
            Err(error) => Err(error),
        };
        let unknown = || io::ErrorKind::ConnectionReset.into();
        EndError::Io(failed.map_or_else(|error| error, |error| error.unwrap_or_else(unknown)))
    }

    /// What came before a reset is read before that is told.
    async fn aborted(&self) -> EndError {
        std::future::pending().await
    }

    async fn write(&self, mut bytes: Bytes) -> Result<(), EndError> {
        while !bytes.is_empty() {
            match self.try_write(&bytes) {
                Ok(written) => drop(bytes.split_to(written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await.map_err(EndError::Io)?;
                }
                Err(error) => return Err(EndError::Io(error)),
            }
        }
        Ok(())
    }

    fn finish(&self, has_ended: bool) -> Result<(), EndError> {
        if has_ended {
            // All that it sent was read, so closing it says the same.
            return Ok(());
        }
        SockRef::from(self)
            .shutdown(std::net::Shutdown::Write)
            .map_err(EndError::Io)
    }

    fn reset(&self, _code: Code) {
        if let Err(error) = SockRef::from(self).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "linger could not be set");
        }
    }
}

impl End for Stream<Established> {
    /// What has come is bounded by the credit that was given for it.
    async fn read(&self, _most: usize) -> Result<Option<Bytes>, EndError> {
        Self::read(self).await.map_err(EndError::Stream)
    }

    /// Nothing is held for a stream without credit, however many such streams there are.
    async fn room(&self) -> Result<usize, EndError> {
        let room = Self::room(self).await.map_err(EndError::Stream)?;
        Ok(room.min(READ_BYTES))
    }

    /// Every failure of a stream aborts it.
    async fn failed(&self) -> EndError {
        std::future::pending().await
    }

    async fn aborted(&self) -> EndError {
        EndError::Stream(Self::failed(self).await)
    }

    async fn write(&self, bytes: Bytes) -> Result<(), EndError> {
        Self::write(self, bytes).await.map_err(EndError::Stream)
    }

    fn finish(&self, _has_ended: bool) -> Result<(), EndError> {
        Self::finish(self);
        Ok(())
    }

    fn reset(&self, code: Code) {
        Self::reset(self, code);
    }
}

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What the application has said by now, up to 16 KiB; nothing at its end, `WouldBlock` where it has said nothing. The
/// kernel is asked, and not the runtime, which has not heard of a new connection's bytes yet.
///
/// # Errors
///
/// The kernel's.
pub fn said(socket: &SockRef<'_>) -> io::Result<Bytes> {
    read_some(&**socket, SAID_BYTES)
}

/// As [`said`], where the runtime has heard of bytes. A read that leaves room has emptied the socket: the runtime is told,
/// so that the next one is not tried in vain.
fn read_at_once(stream: &TcpStream, most: usize) -> io::Result<Bytes> {
    let mut read = None;
    let tried = stream.try_io(Interest::READABLE, || {
        let bytes = read_some(stream, most)?;
        let has_emptied_it = !bytes.is_empty() && bytes.len() < most.min(buffer_bytes(most));
        read = Some(bytes);
        if has_emptied_it {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Bytes::new())
    });
    read.map_or(tried, Ok)
}

/// The buffer belongs to the thread and is lent only while bytes move: an idle connection holds none. It is as large as
/// a piece may be now. What fills half of it is handed on in it, and the thread gets another; less is copied, so that it
/// is held in no more memory than it fills.
fn read_some(socket: impl AsFd, most: usize) -> io::Result<Bytes> {
    let mut buffer = BUFFER.take();
    let buffer_bytes = buffer_bytes(most);
    if buffer.capacity() != buffer_bytes {
        buffer = Vec::with_capacity(buffer_bytes);
    }
    let read = if most < buffer_bytes {
        let room = buffer.spare_capacity_mut().get_mut(..most);
        let read = rustix::io::read(socket, room.unwrap_or_default());
        read.map(|(said, _rest)| held::copied(said))
    } else {
        let read = rustix::io::read(socket, spare_capacity(&mut buffer));
        read.map(|n| match n < buffer_bytes / 2 {
            true => held::copied(&buffer),
            false => held::whole(std::mem::take(&mut buffer)),
        })
    };
    buffer.clear();
    BUFFER.set(buffer);
    Ok(read?)
}

/// The buffer for a read of `most` bytes.
fn buffer_bytes(most: usize) -> usize {
    match most {
        READ_BYTES.. => READ_BYTES,
        ..READ_BYTES => SHORT_PIECE_BYTES,
    }
}

/// Read from an application at a time, at most: what one write of the mesh takes.
const READ_BYTES: usize = PIECE_BYTES;
/// Read at most before a stream is opened: the credit that every stream begins with.
const SAID_BYTES: usize = MIN_CREDIT as usize;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    /// An end that takes nothing and says nothing.
    struct Stalled;

    impl End for Stalled {
        async fn read(&self, _most: usize) -> Result<Option<Bytes>, EndError> {
            std::future::pending().await
        }

        async fn room(&self) -> Result<usize, EndError> {
            std::future::pending().await
        }

        async fn failed(&self) -> EndError {
            std::future::pending().await
        }

        async fn aborted(&self) -> EndError {
            std::future::pending().await
        }

        async fn write(&self, _bytes: Bytes) -> Result<(), EndError> {
            std::future::pending().await
        }

        fn finish(&self, _has_ended: bool) -> Result<(), EndError> {
            Ok(())
        }

        fn reset(&self, _code: Code) {}
    }

    /// An end that always has more to say, up to so many pieces, and takes all at once.
    struct Ready(AtomicUsize);

    impl End for Ready {
        async fn read(&self, most: usize) -> Result<Option<Bytes>, EndError> {
            let left = self.0.fetch_sub(1, Ordering::Relaxed);
            Ok((left > 0).then(|| Bytes::from(vec![0; most])))
        }

        async fn room(&self) -> Result<usize, EndError> {
            Ok(READ_BYTES)
        }

        async fn failed(&self) -> EndError {
            std::future::pending().await
        }

        async fn aborted(&self) -> EndError {
            std::future::pending().await
        }

        async fn write(&self, _bytes: Bytes) -> Result<(), EndError> {
            Ok(())
        }

        fn finish(&self, _has_ended: bool) -> Result<(), EndError> {
            Ok(())
        }

        fn reset(&self, _code: Code) {}
    }

    #[tokio::test(start_paused = true)]
    async fn others_have_their_turn_while_bulk_is_moved_and_after_each_piece_beside_small_messages()
    {
        for (has_small, turns) in [(false, 64 / 8), (true, 64)] {
            if has_small {
                Kind::default().moved(Instant::now(), 100);
            }
            let kind = Kind::default();
            // Known for bulk.
            kind.moved(Instant::now(), READ_BYTES);
            let (from, to) = (Ready(AtomicUsize::new(64)), Ready(AtomicUsize::new(0)));
            let mut pumped = pin!(pump(&from, &to, &kind, |_| {}));
            let mut had = 0;
            while timeout(Duration::ZERO, &mut pumped).await.is_err() {
                had += 1;
            }
            assert_eq!(had, turns, "small messages: {has_small}");
        }
    }

    #[tokio::test]
    async fn a_reset_is_seen_while_nothing_can_be_delivered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let pumped = async { pump(&stream, &Stalled, &Kind::default(), |_| {}).await };
        let reset = async {
            client.try_write(b"what is never read").unwrap();
            crate::listen::reset(client);
        };
        let (pumped, ()) = tokio::join!(timeout(Duration::from_secs(10), pumped), reset);
        let failed = pumped.expect("within its time").unwrap_err();
        assert!(matches!(Failure::from(failed), Failure::ResetByClient));
    }
}
