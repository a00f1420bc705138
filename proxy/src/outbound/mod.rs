//! One outbound connection, top to bottom: where it goes, which endpoint serves it, and what was relayed.

mod affinity;
mod choose;
mod endpoints;
mod mesh;
mod plain;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use palisade_api::sidecar::{CANARY_V4, CANARY_V6};
use palisade_api::workload::{AtAddress, Service};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::canary::Canary;
use crate::hop::Hop;
use crate::listen::{Accepted, Arrival};
use crate::original_dst::{OriginalDst, OriginalDstError};
use crate::outcome::{Failure, Outcome, RefusedReason, Side};
use crate::pod::Pod;
use crate::random;
use crate::telemetry::{Direction, Record};

use affinity::Stay;
use choose::{Distance, Endpoint, choose};

pub use affinity::Affinity;
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
    /// Which of them it stays with.
    pub affinity: Affinity,
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
        mut stream,
        client,
        place,
    } = accepted;
    let dst = stream
        .socket()
        .map_err(OriginalDstError::Unknown)
        .and_then(|socket| OriginalDst::of(&socket, client));
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
    if let Some(rules) = outbound.pod.policy.borrow().rules() {
        record.set_src_workload(&rules.own);
        record.set_src_identity(&rules.own.identity);
    }
    let outcome = match (place, dst) {
        (None, _) => Err(RefusedReason::TooManyConnections.into()),
        (Some(_), Err(error)) => Err(misdirected(&error).into()),
        (Some(_place), Ok(dst)) => proxy(&outbound, &mut stream, client, dst.addr(), &record).await,
    };
    if outcome.is_err() {
        stream.reset();
    }
    record.close(&outcome);
}

async fn proxy(
    outbound: &Outbound,
    stream: &mut Arrival,
    client: SocketAddr,
    dst: SocketAddr,
    record: &Record,
) -> Outcome {
    outbound.pod.ready()?;
    match resolve(&outbound.pod, dst, record).await? {
        Destination::Mesh(candidates) => {
            mesh::proxy(outbound, stream, client, &candidates, record).await
        }
        Destination::Plain(candidates) => {
            let stream = stream.watch().map_err(of_client)?;
            plain::proxy(outbound, stream, &candidates, record).await
        }
        Destination::Outside => {
            let stream = stream.watch().map_err(of_client)?;
            plain::pass(&outbound.pod, stream, dst, record).await
        }
    }
}

/// Where a connection goes.
enum Destination {
    /// One of these workloads, over mutual TLS, each expected to be who control says it is.
    Mesh(Candidates),
    /// One of these workloads, none of which is meshed: passed in clear.
    Plain(Candidates),
    /// Not of the mesh: passed as it is.
    Outside,
}

/// Workloads of which one is enough.
struct Candidates {
    endpoints: Vec<Endpoint>,
    /// Where the client stays with the one that it took.
    stay: Option<Stay>,
}

async fn resolve(pod: &Pod, dst: SocketAddr, record: &Record) -> Result<Destination, Failure> {
    let at = pod
        .book
        .lookup(dst.ip(), pod.config.args.lookup_timeout)
        .await;
    let candidates = match at.as_deref() {
        None | Some(AtAddress::Unknown) => return Err(RefusedReason::UnknownAddress.into()),
        Some(AtAddress::Outside) => return Ok(Destination::Outside),
        Some(AtAddress::Workload(workload)) => Candidates {
            endpoints: vec![Endpoint {
                addr: dst,
                workload: Arc::clone(workload),
                distance: Distance::Nearest,
            }],
            stay: None,
        },
        Some(AtAddress::Service(service)) => {
            record.set_service(&service.namespace, &service.name);
            of_service(pod, service, dst)?
        }
    };
    // A service's endpoints are all of the one kind or all of the other.
    match candidates.endpoints.first() {
        None => Err(RefusedReason::NoEndpoint.into()),
        Some(endpoint) if endpoint.is_meshed() => Ok(Destination::Mesh(candidates)),
        Some(_) => Ok(Destination::Plain(candidates)),
    }
}

fn of_service(pod: &Pod, service: &Service, dst: SocketAddr) -> Result<Candidates, Failure> {
    if !service.ports.iter().any(|p| p.port == dst.port()) {
        return Err(RefusedReason::NoSuchPort.into());
    }
    let own = pod.policy.borrow().rules().map(|it| it.own.place.clone());
    Ok(Candidates {
        endpoints: choose(service, &own.unwrap_or_default(), dst.port(), dst.ip()),
        stay: service.affinity.map(|time| Stay {
            service: format!("{}/{}", service.namespace, service.name),
            time,
        }),
    })
}

impl Outbound {
    /// The candidates in the order in which they are tried.
    fn order<'a>(&self, candidates: &'a Candidates) -> Vec<&'a Endpoint> {
        let now = Instant::now();
        let addrs: Vec<_> = candidates
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.addr, endpoint.distance))
            .collect();
        let order = self.endpoints.order(&addrs, now, random::below);
        let mut order: Vec<_> = order
            .into_iter()
            .filter_map(|index| candidates.endpoints.get(index))
            .collect();
        if let Some(stay) = &candidates.stay
            && let Some(held) = self.affinity.workload(&stay.service, now)
            && let Some(place) = order.iter().position(|it| it.workload.key() == held)
            && let Some(endpoint) = order.get(place)
            && !self.endpoints.is_shunned(endpoint.addr, now)
            && let Some(first) = order.get_mut(..=place)
        {
            first.rotate_right(1);
        }
        order
    }

    /// A connection to one of the candidates came to be.
    fn stay_with(&self, candidates: &Candidates, endpoint: &Endpoint) {
        self.endpoints.answered(endpoint.addr);
        if let Some(stay) = &candidates.stay {
            self.affinity
                .begin(stay, endpoint.workload.key(), Instant::now());
        }
    }

    /// A connection to one of the candidates has ended.
    fn ended_with(&self, candidates: &Candidates, endpoint: &Endpoint) {
        if let Some(stay) = &candidates.stay {
            self.affinity
                .end(stay, &endpoint.workload.key(), Instant::now());
        }
    }
}

fn of_client(error: io::Error) -> Failure {
    Failure::Relay {
        side: Side::Client,
        error,
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
