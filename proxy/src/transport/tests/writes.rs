//! How many writes a session makes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, DuplexStream, ReadBuf, duplex};

use crate::transport::{Budget, Opening, Settings, client, server};

/// Counts writes.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, room)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_ready_tasks_say_goes_out_in_one_write() {
    let (near, far) = duplex(64 * 1024);
    let writes = Arc::new(AtomicUsize::new(0));
    let io = Counted {
        io: near,
        writes: Arc::clone(&writes),
    };
    let (facts, settings, budget) = (Arc::new(()), Settings::default(), Budget::default());
    let (opener, driver) = client(
        BufReader::new(io),
        Arc::clone(&facts),
        settings.clone(),
        budget.clone(),
    );
    tokio::spawn(driver);
    let (mut incoming, driver) = server(BufReader::new(far), facts, settings, budget);
    tokio::spawn(driver);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let accept = async { incoming.next().await.unwrap().accept() };
        let (near, far) = tokio::join!(opener.open(Opening::default()), accept);
        streams.push((near.unwrap(), far));
    }
    let [(first, of_first), (second, of_second)] = streams.try_into().unwrap();
    let before = writes.load(Ordering::Relaxed);

    // The driver is woken by the first, and comes before the task of the second.
    first.write(Bytes::from_static(b"one")).await.unwrap();
    let second = tokio::spawn(async move {
        second.write(Bytes::from_static(b"two")).await.unwrap();
        of_second.read().await.unwrap();
        (second, of_second)
    });
    let _held = second.await.unwrap();
    of_first.read().await.unwrap();
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
}
