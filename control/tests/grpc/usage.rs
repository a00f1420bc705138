//! What proxies count, and who may know it.

use std::net::SocketAddr;

use palisade_api::usage::Usage;
use palisade_api::wire::{
    self, Decided, Edge, RuleUse, WatchRequest, edge::Source, watch_request::Message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Watch, join};
use crate::mesh::Mesh;

async fn orders(mesh: &Mesh) -> Watch {
    let addr = mesh.control.as_ref().unwrap().listen();
    let svid = join(addr, &mesh.token("orders")).await.unwrap();
    let mut watch = Watch::open(addr, Some(&svid), "shop/orders-0", Vec::new())
        .await
        .unwrap();
    watch.in_step().await;
    watch
}

fn report(epoch: &str, count: u64) -> Message {
    let identity = "spiffe://cluster.local/ns/shop/sa/web".to_owned();
    Message::Usage(wire::Usage {
        epoch: epoch.to_owned(),
        started: 1,
        edges: vec![Edge {
            source: Some(Source::Identity(identity)),
            port: 8080,
            decided: Decided::AllowedByRule.into(),
            rule: "shop/orders/web-places-orders".to_owned(),
            count,
            ..Edge::default()
        }],
        rules: vec![RuleUse {
            rule: "shop/orders/web-places-orders".to_owned(),
            count,
            ..RuleUse::default()
        }],
        others: Vec::new(),
    })
}

/// What comes after it is read after it: once this is answered, all before it was heard.
async fn heard(watch: &mut Watch, ip: &str) {
    watch.look_up(ip).await;
    watch.next().await.unwrap();
}

async fn page(telemetry: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(telemetry).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

async fn usage(mesh: &Mesh) -> Usage {
    let telemetry = mesh.control.as_ref().unwrap().telemetry().unwrap();
    serde_json::from_str(&page(telemetry, "/usage").await).unwrap()
}

/// How often the one rule decided, by all that is known.
async fn count(mesh: &Mesh) -> u64 {
    let merged = Usage::merge([usage(mesh).await]);
    assert_eq!(merged.workloads.len(), 1);
    merged.workloads[0].totals.rules["shop/orders/web-places-orders"].count
}

#[tokio::test]
async fn counts_are_kept_beyond_streams_processes_and_control() {
    let mut mesh = Mesh::start().await;
    let mut first = orders(&mesh).await;
    assert!(first.takes_usage);
    first.send(report("aa", 3)).await;
    heard(&mut first, "10.111.0.8").await;
    assert_eq!(count(&mesh).await, 3);
    drop(first);
    // The same process over another stream, and then its successor.
    let mut second = orders(&mesh).await;
    second.send(report("aa", 5)).await;
    second.send(report("bb", 1)).await;
    heard(&mut second, "10.111.0.8").await;
    assert_eq!(count(&mesh).await, 6);
    let known = usage(&mesh).await;
    assert_eq!(known.workloads[0].service_account, "orders");
    assert_eq!(
        known.rules_in_force[0].name,
        "shop/orders/web-places-orders"
    );

    mesh.end().await;
    mesh.begin().await;
    assert_eq!(count(&mesh).await, 6);
    assert_eq!(usage(&mesh).await.since, known.since);
}

#[tokio::test]
async fn what_is_not_understood_ends_no_stream() {
    let mesh = Mesh::start().await;
    let mut watch = orders(&mesh).await;
    watch.say(WatchRequest { message: None }).await;
    watch.send(report("no epoch at all", 1)).await;
    let mut strange = report("aa", 1);
    if let Message::Usage(usage) = &mut strange {
        usage.edges[0].decided = 99;
    }
    watch.send(strange).await;
    heard(&mut watch, "10.111.0.8").await;
    let known = usage(&mesh).await;
    assert_eq!(known.workloads.len(), 1);
    assert!(known.workloads[0].totals.edges.is_empty());
    let telemetry = mesh.control.as_ref().unwrap().telemetry().unwrap();
    let metrics = page(telemetry, "/metrics").await;
    let left_out = "palisade_control_usage_left_out_total{reason=\"not_understood\"} 2";
    assert!(metrics.contains(left_out), "{metrics}");
}
