//! One admitted proxy: every change of the index becomes a difference on each channel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use palisade_api::convert;
use palisade_api::wire::{self, WatchRequest, WatchResponse, watch_request};

use super::channel::Channel;
use super::roster::Entry;
use super::{MeshService, admit, printable, unknown_workload};
use crate::index::Index;
use crate::tls::VerifiedPeer;

/// What control knows of one proxy while its stream lives.
pub(super) struct Session<'a> {
    service: MeshService,
    peer: &'a VerifiedPeer,
    workload: String,
    bundles: Channel,
    revocations: Channel,
    rules: Channel,
    addresses: Channel,
    subscribed: BTreeSet<IpAddr>,
    responses: &'a mpsc::Sender<Result<WatchResponse, Status>>,
    entry: Entry,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        service: MeshService,
        peer: &'a VerifiedPeer,
        hello: wire::Hello,
        responses: &'a mpsc::Sender<Result<WatchResponse, Status>>,
    ) -> Result<Self, Status> {
        let channel = |channel| Channel::new(channel, &hello.inventory);
        let addresses = channel(wire::Channel::Addresses);
        // What it holds, it asked for.
        let subscribed: BTreeSet<IpAddr> = addresses
            .names()
            .filter_map(|name| name.parse().ok())
            .collect();
        bounded(&subscribed)?;
        Ok(Self {
            bundles: channel(wire::Channel::Bundles),
            revocations: channel(wire::Channel::Revocations),
            rules: channel(wire::Channel::Rules),
            addresses,
            subscribed,
            entry: service.roster.enter(&hello, Arc::clone(&service.metrics)),
            workload: hello.workload,
            service,
            peer,
            responses,
        })
    }

    /// Until the proxy ends the stream, or may not have it any longer.
    pub(super) async fn run(
        mut self,
        requests: &mut Streaming<WatchRequest>,
    ) -> Result<(), Status> {
        loop {
            let index = Arc::clone(&self.service.index.borrow_and_update());
            self.send_all(&index).await?;
            // Requests in between need no new look at the whole index.
            loop {
                tokio::select! {
                    changed = self.service.index.changed() => {
                        changed.map_err(|_closed| super::stopped())?;
                        break;
                    }
                    request = requests.next() => match request {
                        None => return Ok(()),
                        Some(request) => self.hear(request?, &index).await?,
                    },
                }
            }
        }
    }

    /// Bundles and revocations first: no rule holds them up.
    async fn send_all(&mut self, index: &Index) -> Result<(), Status> {
        let now_ms = now_ms();
        let mut differences = self.bundles.difference(index.bundles(), now_ms);
        let revocations = [Arc::clone(index.revocations())];
        differences.extend(self.revocations.difference(&revocations, now_ms));
        self.send(differences).await?;

        let workload = index
            .workload(&self.workload)
            .ok_or_else(unknown_workload)?;
        admit(index, workload, self.peer)?;
        let rules = self.rules.difference(&index.rules(workload), now_ms);
        self.send(rules).await?;
        let wanted: Vec<_> = self
            .subscribed
            .iter()
            .map(|ip| index.address(*ip))
            .collect();
        let addresses = self.addresses.difference(&wanted, now_ms);
        self.send(addresses).await
    }

    async fn send(&self, differences: Vec<WatchResponse>) -> Result<(), Status> {
        for difference in differences {
            self.service
                .metrics
                .revision(difference.channel(), difference.revision);
            self.entry.sent(&difference);
            // Nobody reads any more: the stream's own end says why.
            if self.responses.send(Ok(difference)).await.is_err() {
                return Err(Status::cancelled("the proxy went away"));
            }
        }
        Ok(())
    }

    async fn hear(&mut self, request: WatchRequest, index: &Index) -> Result<(), Status> {
        match request.message {
            Some(watch_request::Message::Lookup(lookup)) => {
                let new = self.subscribe(&lookup)?;
                let asked: Vec<_> = new.into_iter().map(|ip| index.address(ip)).collect();
                let answer = self.addresses.addition(&asked, now_ms());
                self.send(answer).await
            }
            Some(watch_request::Message::Ack(ack)) => {
                self.acknowledge(&ack);
                Ok(())
            }
            Some(watch_request::Message::Usage(usage)) => {
                self.count(usage, index);
                Ok(())
            }
            // A newer proxy may say what is not known here.
            None => Ok(()),
            Some(watch_request::Message::Hello(_)) => {
                Err(Status::invalid_argument("a proxy says hello once"))
            }
        }
    }

    /// Counts decide nothing: what is wrong with them costs no proxy its rules.
    fn count(&self, usage: wire::Usage, index: &Index) {
        match (
            convert::usage_from_wire(usage),
            index.workload(&self.workload),
        ) {
            (Ok(report), Some(workload)) => self.service.usage.hear(workload, report, index),
            (Err(error), _) => {
                self.service.metrics.usage_left_out("not_understood", 1);
                tracing::debug!(workload = %self.workload, %error, "a report is not understood");
            }
            // The stream is about to end for that.
            (Ok(_), None) => {}
        }
    }

    /// The addresses that were not subscribed to before.
    fn subscribe(&mut self, lookup: &wire::Lookup) -> Result<Vec<IpAddr>, Status> {
        let parse = |bytes: &Vec<u8>| {
            convert::ip_from_wire(bytes)
                .map_err(|error| Status::invalid_argument(error.to_string()))
        };
        for ip in &lookup.drop {
            let ip = parse(ip)?;
            self.subscribed.remove(&ip);
            self.addresses.forget(&ip.to_string());
        }
        let mut new = Vec::new();
        for ip in &lookup.subscribe {
            let ip = parse(ip)?;
            if self.subscribed.insert(ip) {
                new.push(ip);
            }
        }
        bounded(&self.subscribed)?;
        Ok(new)
    }

    fn acknowledge(&self, ack: &wire::Ack) {
        let sent = match ack.channel() {
            wire::Channel::Bundles => self.bundles.revision(),
            wire::Channel::Revocations => self.revocations.revision(),
            wire::Channel::Rules => self.rules.revision(),
            wire::Channel::Addresses => self.addresses.revision(),
            wire::Channel::Unspecified => return,
        };
        for refusal in ack.refusals.iter().take(MAX_LOGGED_REFUSALS) {
            tracing::warn!(
                workload = %self.workload,
                object = %printable(&refusal.name),
                reason = %printable(&refusal.reason),
                "a proxy refuses an object"
            );
        }
        // Nobody enforces what was never sent.
        self.entry.acknowledge(ack, sent);
    }
}

fn bounded(subscribed: &BTreeSet<IpAddr>) -> Result<(), Status> {
    if subscribed.len() > MAX_SUBSCRIPTIONS {
        return Err(Status::resource_exhausted(
            "a proxy subscribes to at most 65536 addresses",
        ));
    }
    Ok(())
}

fn now_ms() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

const MAX_SUBSCRIPTIONS: usize = 65_536;
const MAX_LOGGED_REFUSALS: usize = 16;
