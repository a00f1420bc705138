//! One outbound connection, top to bottom: where it goes, which endpoint serves it, and what was relayed.

mod endpoints;
mod mesh;
mod plain;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use palisade_api::sidecar::{CANARY_V4, CANARY_V6};
use palisade_api::workload::{AtAddress, Workload};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::canary::Canary;
use crate::hop::Hop;
use crate::listen::{Accepted, reset};
use crate::original_dst::{OriginalDst, OriginalDstError};
use crate::outcome::{Failure, Outcome, RefusedReason};
use crate::pod::Pod;
use crate::telemetry::{Direction, Record};

pub use endpoints::Endpoints;
pub use mesh::{PeerKey, Peers, sweep};

/// What outbound connections share.
#[derive(Debug)]
pub struct Outbound {
    /// The pod.
    pub pod: Arc<Pod>,
    /// TLS connections to other pods.
    pub peers: Peers,
    /// What is known of endpoints from using them.
    pub endpoints: Endpoints,
    /// Proves the redirect.
    pub canary: Canary,
    /// Calls to the own workload go to the own inbound side, in memory.
    pub own: mpsc::Sender<OwnCall>,
}

/// A call of the workload to itself.
#[derive(Debug)]
pub struct OwnCall {
    /// The server's end of the hop.
    pub hop: Hop,
    /// Where the call comes from.
    pub client: SocketAddr,
    /// The own address and port that it is for.
    pub dst: SocketAddr,
}

/// Serves one outbound connection and records how it ended, once.
pub async fn serve(outbound: Arc<Outbound>, accepted: Accepted) {
    let Accepted {
        stream,
        client,
        place,
    } = accepted;
    let dst = OriginalDst::of(&stream);
    if let Ok(dst) = &dst
        && is_canary(dst.addr().ip())
    {
        return outbound.canary.answer(stream).await;
    }
    let addr = match &dst {
        Ok(dst) => dst.addr(),
        Err(OriginalDstError::OwnPort(dst)) => *dst,
        Err(OriginalDstError::NotRedirected | OriginalDstError::Unknown(_)) => client,
    };
    let record = outbound
        .pod
        .telemetry
        .open_record(Direction::Outbound, client, addr);
    if let Some(own) = outbound.pod.own() {
        record.set_src_workload(&own);
        record.set_src_identity(&own.identity);
    }
    let outcome = match (place, dst) {
        (None, _) => Err(RefusedReason::TooManyConnections.into()),
        (Some(_), Err(error)) => Err(misdirected(&error).into()),
        (Some(_place), Ok(dst)) => proxy(&outbound, &stream, dst.addr(), &record).await,
    };
    if outcome.is_err() {
        reset(stream);
    }
    record.close(&outcome);
}

async fn proxy(
    outbound: &Outbound,
    stream: &TcpStream,
    dst: SocketAddr,
    record: &Record,
) -> Outcome {
    outbound.pod.ready()?;
    match resolve(&outbound.pod, dst, record).await? {
        Destination::Mesh(candidates) => mesh::proxy(outbound, stream, candidates, record).await,
        Destination::Plain(addrs) => plain::proxy(&outbound.pod, stream, &addrs, record).await,
    }
}

/// Where a connection goes.
enum Destination {
    /// One of these workloads, over mutual TLS, each expected to be who control says it is.
    Mesh(Vec<Endpoint>),
    /// Not of the mesh: passed as it is.
    Plain(Vec<SocketAddr>),
}

/// A workload, and the address and port to reach it at.
#[derive(Debug, Clone)]
struct Endpoint {
    addr: SocketAddr,
    workload: Workload,
}

async fn resolve(pod: &Pod, dst: SocketAddr, record: &Record) -> Result<Destination, Failure> {
    let at = pod
        .book
        .lookup(dst.ip(), pod.config.args.lookup_timeout)
        .await;
    match at.as_deref() {
        None | Some(AtAddress::Unknown) => Err(RefusedReason::UnknownAddress.into()),
        Some(AtAddress::Outside) => Ok(Destination::Plain(vec![dst])),
        Some(AtAddress::Workload(workload)) => Ok(by_meshed(vec![Endpoint {
            addr: dst,
            workload: workload.clone(),
        }])),
        Some(AtAddress::Service(service)) => {
            record.set_service(&service.namespace, &service.name);
            if !service.ports.iter().any(|p| p.port == dst.port()) {
                return Err(RefusedReason::NoSuchPort.into());
            }
            let found: Vec<_> = service
                .endpoints
                .iter()
                .filter_map(|endpoint| {
                    let port = service.target_port(endpoint, dst.port())?;
                    reachable(&endpoint.workload, dst.ip(), port)
                })
                .collect();
            if found.is_empty() {
                Err(RefusedReason::NoEndpoint.into())
            } else {
                Ok(by_meshed(found))
            }
        }
    }
}

/// The workload's address of the caller's family; of the other, where it has none of that.
fn reachable(workload: &Workload, like: IpAddr, port: u16) -> Option<Endpoint> {
    let same = workload
        .addresses
        .iter()
        .find(|ip| ip.is_ipv4() == like.is_ipv4());
    let ip = same.or_else(|| workload.addresses.first())?;
    Some(Endpoint {
        addr: SocketAddr::new(*ip, port),
        workload: workload.clone(),
    })
}

/// Meshed endpoints only, where there is one: a service is never reached in clear while it can be reached
/// over the mesh.
fn by_meshed(endpoints: Vec<Endpoint>) -> Destination {
    let (meshed, plain): (Vec<_>, Vec<_>) = endpoints
        .into_iter()
        .partition(|endpoint| endpoint.workload.meshed);
    if meshed.is_empty() {
        Destination::Plain(plain.into_iter().map(|endpoint| endpoint.addr).collect())
    } else {
        Destination::Mesh(meshed)
    }
}

fn is_canary(ip: IpAddr) -> bool {
    ip == IpAddr::from(CANARY_V4) || ip == IpAddr::from(CANARY_V6)
}

fn misdirected(error: &OriginalDstError) -> RefusedReason {
    match error {
        OriginalDstError::OwnPort(_) => RefusedReason::OwnPort,
        OriginalDstError::Unknown(_) | OriginalDstError::NotRedirected => {
            RefusedReason::NotOurAddress
        }
    }
}
