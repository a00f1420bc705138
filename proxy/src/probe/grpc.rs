//! The probe by gRPC: the health checking protocol, `grpc.health.v1`.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::Unwell;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

pub(super) async fn check(
    stream: TcpStream,
    address: SocketAddr,
    service: &str,
) -> Result<(), Unwell> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    // Only for the name of the authority: the connection is there.
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint
        .or(Err(Unwell::NoAddress))?
        .connect_with_connector(service_fn(move |_| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        }))
        .await
        .or(Err(Unwell::Protocol))?;
    let mut client = Grpc::new(channel).max_decoding_message_size(MOST_ANSWER_BYTES);
    client.ready().await.or(Err(Unwell::Protocol))?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = client
        .unary(
            tonic::Request::new(request),
            PathAndQuery::from_static(CHECK),
            codec,
        )
        .await
        .or(Err(Unwell::Status))?;
    if answer.into_inner().status == SERVING {
        Ok(())
    } else {
        Err(Unwell::NotServing)
    }
}

pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";
pub(super) const SERVING: i32 = 1;
const MOST_ANSWER_BYTES: usize = 4 << 10;
