//! The probe by gRPC: the health checking protocol, `grpc.health.v1`.

use std::net::SocketAddr;

use http::Uri;
use http::uri::PathAndQuery;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::Unwell;
use crate::rpc::Channel;

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
    let origin = Uri::try_from(format!("http://{address}")).or(Err(Unwell::NoAddress))?;
    // It ends soon, and servers take it ill where somebody pings them often.
    let channel = Channel::open(stream, None).await;
    let channel = channel.or(Err(Unwell::Protocol))?;
    let mut client =
        Grpc::with_origin(channel, origin).max_decoding_message_size(MOST_ANSWER_BYTES);
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
