//! Watches of the API server, and the task that makes an index of what they tell.
//!
//! A watch never ends: after an outage it goes on where it was or, where the API server does not know that place any
//! more (410), lists anew, and the list replaces what was there. Until then the last good index stays.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::utils::{Backoff, WatchStreamExt};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::assembly::{
    ACCOUNTS, Assembly, Change, Heard, NAMESPACES, NODES, PODS, SERVICES, SLICES, Standing,
};
use super::facts::{Name, Namespace, Node, Pod, Service, Slice};
use super::leader::Selecting;
use super::policies::{Definition, Kind, Object};
use super::tell::tell;
use super::{Records, Shown};
use crate::identity::chain;
use crate::index::Index;

/// Starts every watch; each tells what it sees.
pub(super) fn start(
    client: &Client,
    served: [watch::Receiver<Option<String>>; 2],
    heard: &mpsc::Sender<Heard>,
    tasks: &mut JoinSet<()>,
) {
    let mut kind = Watches {
        client,
        heard,
        tasks,
    };
    kind.follow::<core::Pod, _>(PODS, Pod::keep, Heard::Pods);
    kind.follow::<core::Service, _>(SERVICES, Service::keep, Heard::Services);
    kind.follow::<EndpointSlice, _>(SLICES, Slice::keep, Heard::Slices);
    kind.follow::<core::Node, _>(NODES, Node::keep, Heard::Nodes);
    kind.follow::<PartialObjectMeta<core::Namespace>, _>(
        NAMESPACES,
        Namespace::keep,
        Heard::Namespaces,
    );
    kind.follow::<PartialObjectMeta<core::ServiceAccount>, _>(
        ACCOUNTS,
        |_| Some(()),
        Heard::Accounts,
    );
    for (kind, served) in Kind::ALL.into_iter().zip(served) {
        tasks.spawn(definition(client.clone(), kind, heard.clone()));
        tasks.spawn(policies(client.clone(), kind, served, heard.clone()));
    }
}

/// What all watches need.
struct Watches<'a> {
    client: &'a Client,
    heard: &'a mpsc::Sender<Heard>,
    tasks: &'a mut JoinSet<()>,
}

impl Watches<'_> {
    fn follow<K, T>(
        &mut self,
        what: &'static str,
        keep: fn(K) -> Option<T>,
        tell: fn(Change<T>) -> Heard,
    ) where
        K: Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
        T: Send + 'static,
    {
        let api = Api::<K>::all(self.client.clone());
        let heard = self.heard.clone();
        self.tasks.spawn(async move {
            let events = watcher::watcher(api, config()).backoff(Retry::default());
            follow(what, events, keep, tell, &heard).await;
        });
    }
}

/// Whether a kind of rules is defined.
async fn definition(client: Client, kind: Kind, heard: mpsc::Sender<Heard>) {
    let api = Api::<PartialObjectMeta<CustomResourceDefinition>>::all(client);
    let name = kind.definition();
    let config = config().fields(&format!("metadata.name={name}"));
    let events = watcher::watcher(api, config).backoff(Retry::default());
    let tell = move |change| Heard::Definitions(kind, change);
    follow("customresourcedefinitions", events, defined, tell, &heard).await;
}

fn defined(found: PartialObjectMeta<CustomResourceDefinition>) -> Option<Definition> {
    let created = found.metadata.creation_timestamp?.0;
    let age = Timestamp::now().duration_since(created);
    Some(Definition {
        uid: found.metadata.uid?,
        terminating: found.metadata.deletion_timestamp.is_some(),
        // By clocks that differ it may not have been made yet.
        age: age.try_into().unwrap_or_default(),
    })
}

/// The objects of one kind, for as long as that is defined: each definition's anew.
async fn policies(
    client: Client,
    kind: Kind,
    mut served: watch::Receiver<Option<String>>,
    heard: mpsc::Sender<Heard>,
) {
    while served.wait_for(Option::is_some).await.is_ok() {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        let events = watcher::watcher(api, config()).backoff(Retry::default());
        let tell = move |change| Heard::Policies(kind, change);
        tokio::select! {
            () = follow(kind.as_str(), events, Object::keep, tell, &heard) => return,
            changed = served.changed() => if changed.is_err() { return },
        }
    }
}

/// A watch's events to changes, until nobody hears them. A list is told as a whole, once it is whole.
async fn follow<K: Resource, T>(
    what: &'static str,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    keep: impl Fn(K) -> Option<T>,
    tell: impl Fn(Change<T>) -> Heard,
    heard: &mpsc::Sender<Heard>,
) {
    let mut events = pin!(events);
    let mut listing = BTreeMap::new();
    let mut failing = None;
    while let Some(event) = events.next().await {
        let change = match event {
            Err(error) => {
                let message = chain(&error);
                if failing.as_ref() != Some(&message) {
                    tracing::warn!(watch = what, error = %message, "the last good state stays in force");
                    failing = Some(message);
                }
                continue;
            }
            Ok(Event::Init) => {
                listing.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                let name = name(&object);
                listing.extend(keep(object).map(|kept| (name, kept)));
                continue;
            }
            Ok(Event::InitDone) => Change::All(std::mem::take(&mut listing)),
            Ok(Event::Apply(object)) => {
                let name = name(&object);
                match keep(object) {
                    Some(kept) => Change::Set(name, kept),
                    None => Change::Gone(name),
                }
            }
            Ok(Event::Delete(object)) => Change::Gone(name(&object)),
        };
        if failing.take().is_some() {
            tracing::info!(watch = what, "the API server answers again");
        }
        if heard.send(tell(change)).await.is_err() {
            return;
        }
    }
}

fn name<K: Resource>(object: &K) -> Name {
    let metadata = object.meta();
    Name {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

/// Where an assembled picture goes.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) index: watch::Sender<Arc<Index>>,
    pub(super) standing: watch::Sender<Arc<Standing>>,
    pub(super) selecting: watch::Sender<Arc<Vec<Selecting>>>,
    /// True once everything was listed.
    pub(super) ready: watch::Sender<bool>,
    pub(super) records: watch::Sender<Records>,
    /// The definition whose objects are to be watched.
    pub(super) served: [watch::Sender<Option<String>>; 2],
    pub(super) shown: Shown,
}

type Asked = Pin<Box<dyn Future<Output = Heard> + Send>>;

/// What the watches tell to an index, for as long as control lives.
pub(super) async fn assemble(
    client: Client,
    mut assembly: Assembly,
    mut heard: mpsc::Receiver<Heard>,
    publish: Publish,
) {
    let mut said = Said::default();
    let mut asking = BTreeSet::new();
    let mut asked = FuturesUnordered::<Asked>::new();
    loop {
        let due = assembly.due();
        let first = tokio::select! {
            first = heard.recv() => match first {
                Some(first) => Some(first),
                None => return,
            },
            Some(answer) = asked.next() => Some(answer),
            () = until(due) => None,
        };
        if let Some(first) = first {
            hear(&mut assembly, first, &mut asking);
        }
        // More may be on its way, and one index is made of all of it.
        let rest = Instant::now() + SETTLE;
        while let Ok(Some(more)) = timeout_at(rest, heard.recv()).await {
            hear(&mut assembly, more, &mut asking);
        }
        while let Some((kind, notice)) = assembly.settle(Instant::now()) {
            tell(kind, notice);
        }
        for (kind, served) in Kind::ALL.into_iter().zip(&publish.served) {
            let rules = assembly.rules(kind);
            served.send_if_modified(|last| {
                let is_other = last.as_deref() != rules.served();
                *last = rules.served().map(str::to_owned);
                is_other
            });
            if let Some(doubts) = rules.doubts()
                && asking.insert(kind)
            {
                asked.push(Box::pin(ask(client.clone(), kind, doubts)));
            }
        }
        show(&mut assembly, &publish, &mut said);
    }
}

fn hear(assembly: &mut Assembly, heard: Heard, asking: &mut BTreeSet<Kind>) {
    if let Heard::Asked(kind, ..) = &heard {
        asking.remove(kind);
    }
    if let Some((kind, notice)) = assembly.hear(heard, Instant::now()) {
        tell(kind, notice);
    }
}

/// Asks for the definition, until there is an answer: without one nobody knows what a deletion means.
async fn ask(client: Client, kind: Kind, doubts: BTreeSet<Name>) -> Heard {
    let api = Api::<CustomResourceDefinition>::all(client);
    let mut retry = Retry::default();
    loop {
        match api.get_metadata_opt(&kind.definition()).await {
            Ok(found) => return Heard::Asked(kind, doubts, found.and_then(defined)),
            Err(error) => {
                tracing::warn!(definition = kind.definition(), error = %chain(&error), "a deletion waits");
                sleep(retry.next().unwrap_or(MAX_PAUSE)).await;
            }
        }
    }
}

/// What was said last, so that it is not said again.
#[derive(Debug, Default)]
struct Said {
    awaited: Option<Vec<String>>,
    warnings: BTreeSet<String>,
    remarks: BTreeSet<String>,
}

#[expect(
    clippy::cognitive_complexity,
    reason = "logging macros count as branches"
)]
fn show(assembly: &mut Assembly, publish: &Publish, said: &mut Said) {
    let awaited = assembly.awaited();
    if said.awaited.as_ref() != Some(&awaited) && !awaited.is_empty() {
        tracing::info!(awaited = %awaited.join(", "), "not everything is known yet");
    }
    publish.shown.awaited.send_replace(awaited.join(", "));
    said.awaited = Some(awaited);
    record(assembly, publish);
    let Some(assembled) = assembly.assemble() else {
        return;
    };
    for warning in assembled.warnings.difference(&said.warnings) {
        tracing::warn!("{warning}");
    }
    for remark in assembled.remarks.difference(&said.remarks) {
        tracing::info!("{remark}");
    }
    publish
        .shown
        .metrics
        .config_errors(assembled.warnings.len());
    said.warnings = assembled.warnings;
    said.remarks = assembled.remarks;
    send_new(&publish.standing, assembled.standing);
    send_new(&publish.selecting, assembled.policies);
    if let Some(index) = assembled.index {
        publish.index.send_replace(index);
    }
    publish
        .ready
        .send_if_modified(|ready| !std::mem::replace(ready, true));
}

fn record(assembly: &Assembly, publish: &Publish) {
    let records = assembly.records();
    for (kind, record) in Kind::ALL.into_iter().zip(&records) {
        let missing = record.as_ref().map_or(0, |record| record.missing);
        publish.shown.metrics.rules_missing(kind.as_str(), missing);
    }
    publish.records.send_if_modified(|last| {
        let is_other = *last != records;
        *last = records;
        is_other
    });
}

fn send_new<T: PartialEq>(to: &watch::Sender<Arc<T>>, new: T) {
    to.send_if_modified(|last| {
        let is_other = **last != new;
        if is_other {
            *last = Arc::new(new);
        }
        is_other
    });
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A connection that is dead without a word is noticed soon after this.
fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// From a fifth of a second to five: after an outage rules are to be in force soon, and the watches are few.
#[derive(Debug, Default)]
struct Retry {
    failed: u32,
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = MIN_PAUSE.saturating_mul(2_u32.saturating_pow(self.failed));
        self.failed = self.failed.saturating_add(1);
        Some(pause.min(MAX_PAUSE))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.failed = 0;
    }
}

/// For how long changes are collected.
const SETTLE: Duration = Duration::from_millis(20);
const WATCH_SECONDS: u32 = 60;
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);
