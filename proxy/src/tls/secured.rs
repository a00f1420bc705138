//! A TLS connection after its handshake: rustls's records, over as few reads and writes as the socket allows.
//!
//! rustls by itself reads 4 KiB at a time. Here all that is there is read at once, into a buffer that belongs to the
//! thread and is lent only while bytes move, and rustls is fed from it.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io::{self, BufRead, IoSlice, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::held;
use crate::transport::{FRAME_BYTES, WRITE_BYTES};

/// Reads and writes the plaintext of a TLS connection.
///
/// An end without `close_notify` is an error (`UnexpectedEof`), never an end of data. Shutting down sends
/// `close_notify`; dropping does not.
pub struct Secured<T> {
    io: T,
    connection: Connection,
    /// Lent by the thread while it holds records that rustls was not fed yet: those from `fed` on.
    records: Vec<u8>,
    fed: usize,
    /// Plaintext that rustls holds.
    plaintext_bytes: usize,
    /// Records that rustls has made and the socket did not take; what it says by itself is not counted.
    unsent_bytes: usize,
    /// What of that waits for the socket, as a part of all that waits to be sent.
    held: held::Part,
    is_closed_by_peer: bool,
    is_shut: bool,
}

thread_local! {
    static RECORDS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is read from the socket at once: sixteen full records, as one write of the mesh makes them.
const READ_BYTES: usize = WRITE_BYTES / FRAME_BYTES * (FRAME_BYTES + RECORD_OVERHEAD_BYTES);
/// What rustls may hold that is not sent: one write of the mesh in records, and what it says by itself.
const UNSENT_BYTES: usize = 2 * WRITE_BYTES;
/// Less is not taken at a time, where it is not all there is.
const LEAST_BYTES: usize = FRAME_BYTES / 2;
/// What a record adds to its plaintext: header, content type and tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 16;

impl<T> fmt::Debug for Secured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").finish_non_exhaustive()
    }
}

impl<T> Secured<T> {
    /// Takes over after the handshake.
    ///
    /// # Errors
    ///
    /// Where what came with the handshake's last bytes is not in order.
    pub(super) fn new(stream: TlsStream<T>) -> io::Result<Self> {
        let (io, mut connection) = match stream {
            TlsStream::Client(stream) => {
                let (io, connection) = stream.into_inner();
                (io, Connection::Client(connection))
            }
            TlsStream::Server(stream) => {
                let (io, connection) = stream.into_inner();
                (io, Connection::Server(connection))
            }
        };
        connection.set_buffer_limit(Some(UNSENT_BYTES));
        let state = connection.process_new_packets().map_err(invalid)?;
        Ok(Self {
            io,
            connection,
            records: Vec::new(),
            fed: 0,
            plaintext_bytes: state.plaintext_bytes_to_read(),
            unsent_bytes: 0,
            held: held::Part::none(),
            is_closed_by_peer: state.peer_has_closed(),
            is_shut: false,
        })
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Secured<T> {
    /// Reads what the socket has.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut records = RECORDS.take();
        records.clear();
        records.reserve_exact(READ_BYTES);
        let polled = pin!(self.io.read_buf(&mut records)).poll(cx);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            (self.records, self.fed) = (records, 0);
            return Poll::Ready(Ok(()));
        }
        RECORDS.set(records);
        ready!(polled)?;
        // It was cut: an orderly end would have been announced.
        Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Gives rustls as much of the records as it takes at once.
    fn feed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut records = self.records.get(self.fed..).unwrap_or_default();
        self.fed += self.connection.read_tls(&mut records)?;
        match self.connection.process_new_packets() {
            Ok(state) => {
                self.plaintext_bytes = state.plaintext_bytes_to_read();
                self.is_closed_by_peer = state.peer_has_closed();
            }
            Err(error) => {
                // The peer should hear why, if that can be said at once.
                let _unsaid = self.poll_send(cx);
                return Err(invalid(error));
            }
        }
        if self.fed >= self.records.len() || self.is_closed_by_peer {
            RECORDS.set(std::mem::take(&mut self.records));
            self.fed = 0;
        }
        Ok(())
    }

    /// Gives rustls as much as may wait to be sent now, beside what does already; 0 where that is too little to be worth
    /// records of its own.
    fn seal(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        let room = held::write_bytes().saturating_sub(self.unsent_bytes);
        let most = plaintext.len().min(room);
        if most < plaintext.len().min(LEAST_BYTES) {
            return Ok(0);
        }
        let plaintext = plaintext.get(..most).unwrap_or_default();
        let taken = self.connection.writer().write(plaintext)?;
        self.unsent_bytes += taken + taken.div_ceil(FRAME_BYTES) * RECORD_OVERHEAD_BYTES;
        Ok(taken)
    }

    /// Sends the records that rustls has made.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            let mut socket = Socket {
                io: &mut self.io,
                cx,
            };
            match self.connection.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => self.unsent_bytes = self.unsent_bytes.saturating_sub(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.held.set(self.unsent_bytes);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.unsent_bytes = 0;
        self.held.set(0);
        Poll::Ready(Ok(()))
    }
}

/// Without a copy: the plaintext of a record as rustls holds it. Empty after the peer's `close_notify`.
impl<T: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for Secured<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.plaintext_bytes == 0 {
            if this.is_closed_by_peer {
                return Poll::Ready(Ok(&[]));
            }
            if this.fed >= this.records.len() {
                ready!(this.poll_records(cx))?;
            }
            this.feed(cx)?;
        }
        Poll::Ready(this.connection.reader().into_first_chunk())
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        let this = self.get_mut();
        this.connection.reader().consume(bytes);
        this.plaintext_bytes = this.plaintext_bytes.saturating_sub(bytes);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let plaintext = ready!(self.as_mut().poll_fill_buf(cx))?;
        let taken = plaintext.len().min(room.remaining());
        room.put_slice(plaintext.get(..taken).unwrap_or_default());
        self.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<T> {
    /// Takes what may wait to be sent, and sends it: what was taken is on its way, or is sent by the next call. Where the
    /// socket takes some of what waits, so much more is taken: a caller sees that it goes on.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plaintext: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut taken = 0;
        loop {
            let rest = plaintext.get(taken..).unwrap_or_default();
            taken += this.seal(rest)?;
            match this.poll_send(cx) {
                Poll::Ready(Ok(())) if taken == plaintext.len() => return Poll::Ready(Ok(taken)),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if taken > 0 => return Poll::Ready(Ok(taken)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.is_shut, true) {
            this.connection.send_close_notify();
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// The socket as rustls writes to it: what would wait is `WouldBlock`, and the task is woken.
struct Socket<'a, 'b, T> {
    io: &'a mut T,
    cx: &'a mut Context<'b>,
}

impl<T> Socket<'_, '_, T> {
    fn or_block<R>(poll: Poll<io::Result<R>>) -> io::Result<R> {
        match poll {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<T: AsyncWrite + Unpin> Write for Socket<'_, '_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::or_block(Pin::new(&mut *self.io).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::or_block(Pin::new(&mut *self.io).poll_write_vectored(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::or_block(Pin::new(&mut *self.io).poll_flush(self.cx))
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
