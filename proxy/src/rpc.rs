//! gRPC over a connection that is there: one HTTP/2 connection, and never another behind its caller's back.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tower::Service;

/// Calls over one connection. It closes when all clones are gone, and the calls that they made have ended.
#[derive(Debug, Clone)]
pub struct Channel {
    requests: SendRequest<Body>,
}

impl Channel {
    /// Speaks HTTP/2 over `io`, and where `keep_alive` says so, ends with a peer that was silent for twice that long.
    ///
    /// # Errors
    ///
    /// Where the connection breaks at once.
    pub async fn open(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        keep_alive: Option<Duration>,
    ) -> hyper::Result<Self> {
        // One type for all of them: HTTP/2 is large, and would be in the program once for each.
        let io: Box<dyn Io> = Box::new(io);
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive)
            .keep_alive_while_idle(true);
        if let Some(keep_alive) = keep_alive {
            builder.keep_alive_timeout(keep_alive);
        }
        let (requests, connection) = builder.handshake(TokioIo::new(io)).await?;
        tokio::spawn(async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of calls broke");
            }
        });
        Ok(Self { requests })
    }
}

type Answer = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        Box::pin(self.requests.send_request(request))
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
