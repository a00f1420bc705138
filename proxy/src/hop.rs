//! What mesh TLS runs over: a TCP connection between pods, or memory where a workload calls itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// One hop, with bytes that were already read from it and are read again first.
#[derive(Debug)]
pub struct Hop {
    read_again: Bytes,
    under: Under,
}

#[derive(Debug)]
enum Under {
    Tcp(TcpStream),
    Memory(DuplexStream),
}

impl Hop {
    /// A TCP connection of which `read_again` was read already.
    pub fn tcp(stream: TcpStream, read_again: Bytes) -> Self {
        Self {
            read_again,
            under: Under::Tcp(stream),
        }
    }

    /// Both ends of a hop within this process.
    pub fn memory() -> (Self, Self) {
        let (one, other) = tokio::io::duplex(MEMORY_BYTES);
        let hop = |stream| Self {
            read_again: Bytes::new(),
            under: Under::Memory(stream),
        };
        (hop(one), hop(other))
    }
}

impl AsyncRead for Hop {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_again.is_empty() {
            let n = self.read_again.len().min(buf.remaining());
            buf.put_slice(&self.read_again.split_to(n));
            return Poll::Ready(Ok(()));
        }
        match &mut self.under {
            Under::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Under::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Hop {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.under {
            Under::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Under::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.under {
            Under::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Under::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.under {
            Under::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Under::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.under {
            Under::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Under::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

const MEMORY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_was_read_is_read_again_first() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(b"world").await.unwrap();
        client.shutdown().await.unwrap();
        let mut hop = Hop::tcp(server, Bytes::from_static(b"hello, "));
        let mut all = String::new();
        hop.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "hello, world");
    }
}
