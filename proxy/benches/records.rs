//! What a record costs the connection that it is about: `cargo bench --workspace --bench records`.
//!
//! Opened, filled and closed as an inbound connection does it, by the public surface alone: so the counters, the table of
//! live connections and the folding of refusals are in it, as is the line, up to where the writer's thread has it. The
//! sweep runs beside it.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot begin may panic"
)]

use std::hint::black_box;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use criterion::Criterion;
use palisade_api::policy::{
    AllowReason, Decision, DenyReason, Difference, NearMiss, RuleName, Verdict,
};
use palisade_api::workload::{Place, Workload};
use palisade_proxy::outcome::{CloseBy, Denied, Failure};
use palisade_proxy::telemetry::{
    ConnId, Direction, Metrics, Record, RecordSettings, Telemetry, TlsFacts, Writer,
};
use time::macros::datetime;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let [web, orders] = ["web", "orders"].map(workload);
    let allow = decided(Verdict::Allow(AllowReason::Rule(rule())));
    let no_rule = DenyReason::NoRule(Some(NearMiss {
        rule: rule(),
        differs: Difference::Port,
    }));
    let deny = decided(Verdict::Deny(no_rule.clone()));
    let one = SocketAddr::from(([10, 244, 3, 17], 8080));

    let of_allowed = telemetry();
    criterion.bench_function("record/allowed", |bencher| {
        bencher.iter(|| {
            let record = open(&of_allowed, one, &web, &orders);
            record.decided(&allow, 7);
            record.established();
            let bytes = record.bytes();
            bytes.sent(512);
            bytes.received(1024);
            record.close(&Ok(CloseBy::Client));
        });
    });
    let denied = |telemetry, dst| {
        let record = open(telemetry, dst, &web, &orders);
        record.decided(&deny, 7);
        record.close(&Err(Failure::Denied(Denied::from(no_rule.clone()))));
    };
    // Never the same place twice, so that each has a line of its own.
    let of_denied = telemetry();
    let mut places = 0_u32;
    criterion.bench_function("record/denied", |bencher| {
        bencher.iter(|| {
            places = places.wrapping_add(1);
            denied(&of_denied, (Ipv4Addr::from_bits(places), 8080).into());
        });
    });
    // One of its own: the other's table of what repeats is full.
    let of_repeated = telemetry();
    criterion.bench_function("record/denied again and again", |bencher| {
        bencher.iter(|| denied(&of_repeated, one));
    });
    criterion.final_summary();
}

/// A sidecar's, whose lines nobody keeps.
fn telemetry() -> Arc<Telemetry> {
    let metrics = Arc::new(Metrics::new());
    metrics.policy_applied(7, [rule()]);
    let writer = Writer::start(io::sink(), metrics.records_dropped().clone()).unwrap();
    let telemetry = Telemetry::new(RecordSettings::default(), metrics, writer);
    let swept = Arc::clone(&telemetry);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    thread::spawn(move || runtime.block_on(swept.sweep()));
    telemetry
}

/// What is known of a stream before it is decided.
fn open(telemetry: &Arc<Telemetry>, dst: SocketAddr, web: &Workload, orders: &Workload) -> Record {
    let src = SocketAddr::from(([10, 244, 1, 9], 40_112));
    let record = telemetry.open_record(Direction::Inbound, src, black_box(dst));
    record.set_dst_workload(orders);
    record.set_dst_identity(&orders.identity);
    record.set_conn_id(ConnId([0xab; 16]));
    record.set_tls(TlsFacts {
        version: "TLSv1_3",
        group: "X25519MLKEM768",
        peer_serial: "5be49a1f0c7d3e2288aa41c60d9b7f35".into(),
        peer_not_after: datetime!(2026-11-22 12:00 UTC),
    });
    record.set_src_identity(&web.identity);
    record.set_claimed(&src.to_string());
    record.set_src_workload(web);
    record
}

fn decided(verdict: Verdict) -> Decision {
    Decision {
        verdict,
        shadow: None,
    }
}

fn rule() -> RuleName {
    RuleName {
        namespace: Some("shop".to_owned()),
        policy: "orders".to_owned(),
        rule: "web-places-orders".to_owned(),
    }
}

fn workload(account: &str) -> Workload {
    Workload {
        namespace: "shop".to_owned(),
        name: format!("{account}-6d4cf56db6-x7k2p"),
        service_account: account.to_owned(),
        labels: [].into(),
        addresses: Vec::new(),
        meshed: true,
        identity: format!("spiffe://cluster.local/ns/shop/sa/{account}")
            .parse()
            .unwrap(),
        place: Place::default(),
        excluded_ports: Vec::new(),
    }
}
