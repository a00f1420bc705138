//! Records as their consumer reads them.

use std::io::{self, BufRead, BufReader, PipeReader};

use palisade_api::policy::{
    AllowReason, Decision, DenyReason, Difference, Effect, NearMiss, RuleName, Verdict,
};
use palisade_api::spiffe::SpiffeId;
use palisade_api::workload::Workload;
use time::macros::datetime;

use super::*;
use crate::outcome::{CloseBy, Denied, Failure, RefusedReason};
use crate::tls::error::{HandshakeError, PeerError};
use crate::transport::Code;

/// A telemetry, and the far end of its writer.
struct Observed {
    telemetry: Arc<Telemetry>,
    lines: BufReader<PipeReader>,
}

impl Observed {
    fn with(settings: RecordSettings) -> Self {
        let (read, write) = io::pipe().unwrap();
        let metrics = Arc::new(Metrics::new());
        let writer = Writer::start(write, metrics.records_dropped().clone()).unwrap();
        Self {
            telemetry: Telemetry::new(settings, metrics, writer),
            lines: BufReader::new(read),
        }
    }

    fn new() -> Self {
        Self::with(RecordSettings::default())
    }

    fn inbound(&self) -> Record {
        let src = "10.0.0.1:40000".parse().unwrap();
        self.telemetry
            .open_record(Direction::Inbound, src, "10.0.0.2:8080".parse().unwrap())
    }

    /// Everything that was written, to the end.
    fn all(self) -> Vec<serde_json::Value> {
        assert!(self.telemetry.close(Duration::from_secs(10)));
        self.lines
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    }
}

fn id(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
        .parse()
        .unwrap()
}

fn workload(name: &str) -> Workload {
    Workload {
        namespace: "shop".into(),
        name: format!("{name}-0"),
        service_account: name.into(),
        labels: [].into(),
        addresses: vec![],
        meshed: true,
        identity: id(name),
        place: palisade_api::workload::Place::default(),
        excluded_ports: Vec::new(),
    }
}

fn rule(name: &str) -> RuleName {
    RuleName {
        namespace: Some("shop".into()),
        policy: "orders".into(),
        rule: name.into(),
    }
}

fn allowed() -> Decision {
    Decision {
        verdict: Verdict::Allow(AllowReason::Rule(rule("web-places-orders"))),
        shadow: Some((Effect::Deny, rule("no-web"))),
    }
}

fn no_rule() -> DenyReason {
    DenyReason::NoRule(Some(NearMiss {
        rule: rule("web-places-orders"),
        differs: Difference::Port,
    }))
}

/// A record of which everything is known.
fn full(observed: &Observed) -> Record {
    let record = observed.inbound();
    record.set_conn_id(ConnId([0xab; 16]));
    record.set_src_identity(&id("web"));
    record.set_dst_identity(&id("orders"));
    record.set_src_workload(&workload("web"));
    record.set_dst_workload(&workload("orders"));
    record.set_service("shop", "orders");
    record.set_claimed("10.0.0.9:1\n{\"event\":\"forged\"}");
    record.set_tls(TlsFacts {
        version: "TLSv1_3",
        group: "X25519MLKEM768",
        peer_serial: "0a1b".into(),
        peer_not_after: datetime!(2026-11-21 14:00:00 +1),
    });
    record.decided(&allowed(), 7);
    record
}

fn at(event: Event) -> Happening {
    Happening {
        event,
        at: datetime!(2026-11-21 12:44:16.123456 UTC),
        bytes_sent: 3,
        bytes_recv: 5,
        duration_ms: 1500,
        close_by: None,
        error: None,
        count: None,
    }
}

fn rendered(format: Format, record: &Record, happening: &Happening) -> String {
    let mut bytes = Vec::new();
    line::render(format, &record.connection().facts(), happening, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

const FULL: &str = concat!(
    r#""conn.id":"abababababababababababababababab","direction":"inbound","src.addr":"10.0.0.1:40000","#,
    r#""src.identity":"spiffe://cluster.local/ns/shop/sa/web","src.workload":"web-0","src.namespace":"shop","#,
    r#""src.claimed":"10.0.0.9:1{\"event\":\"forged\"}","dst.addr":"10.0.0.2:8080","#,
    r#""dst.identity":"spiffe://cluster.local/ns/shop/sa/orders","dst.workload":"orders-0","dst.namespace":"shop","#,
    r#""dst.service":"shop/orders","dst.port":8080,"tls.version":"TLSv1_3","tls.group":"X25519MLKEM768","#,
    r#""tls.peer_serial":"0a1b","tls.peer_not_after":"2026-11-21T13:00:00.000Z","policy.decision":"allow","#,
    r#""policy.mode":"enforce","policy.rule":"shop/orders/web-places-orders","policy.revision":7,"#,
    r#""policy.reason":"rule","policy.shadow":"deny shop/orders/no-web","#,
    r#""bytes_sent":3,"bytes_recv":5,"duration_ms":1500"#,
);

#[test]
fn the_lines_of_each_event_are_exactly_these() {
    let observed = Observed::new();
    let record = full(&observed);
    for (event, close_by, error, end) in [
        (Event::Open, None, None, ""),
        (Event::Progress, None, None, ""),
        (
            Event::Close,
            Some("client"),
            None,
            r#","close.by":"client""#,
        ),
        (
            Event::Close,
            Some("policy"),
            Some("rule"),
            r#","close.by":"policy","error":"rule""#,
        ),
    ] {
        let happening = Happening {
            close_by,
            error,
            ..at(event)
        };
        let line = format!(
            "{{\"time\":\"2026-11-21T12:44:16.123Z\",\"event\":\"{}\",{FULL}{end}}}\n",
            event.as_str()
        );
        assert_eq!(rendered(Format::Json, &record, &happening), line);
    }
}

#[test]
fn what_is_not_known_is_not_there() {
    let observed = Observed::new();
    let record = observed.inbound();
    record.set_conn_id(ConnId([0; 16]));
    let refused = Happening {
        close_by: Some("error"),
        error: Some("not_mesh"),
        count: Some(4),
        ..at(Event::TlsFailed)
    };
    assert_eq!(
        rendered(Format::Json, &record, &refused),
        concat!(
            r#"{"time":"2026-11-21T12:44:16.123Z","event":"tls_failed","conn.id":"00000000000000000000000000000000","#,
            r#""direction":"inbound","src.addr":"10.0.0.1:40000","dst.addr":"10.0.0.2:8080","dst.port":8080,"#,
            r#""bytes_sent":3,"bytes_recv":5,"duration_ms":1500,"close.by":"error","error":"not_mesh","count":4}"#,
            "\n"
        )
    );
}

#[test]
fn text_is_one_aligned_line() {
    let observed = Observed::new();
    let record = full(&observed);
    let happening = Happening {
        close_by: Some("client"),
        ..at(Event::Close)
    };
    assert_eq!(
        rendered(Format::Text, &record, &happening),
        "2026-11-21T12:44:16.123Z close      inbound  shop/web-0               -> shop/orders:8080         \
         policy=allow rule=shop/orders/web-places-orders shadow=deny shop/orders/no-web close.by=client \
         sent=3 recv=5 ms=1500 id=abababababababababababababababab\n"
    );
}

#[test]
fn a_denial_says_why_on_the_server_and_the_code_on_the_client() {
    let observed = Observed::new();
    let server = observed.inbound();
    let denial = Decision {
        verdict: Verdict::Deny(no_rule()),
        shadow: None,
    };
    server.decided(&denial, 7);
    server.close(&Err(Failure::Denied(no_rule().into())));
    let dst = "10.0.0.3:8080".parse().unwrap();
    let src = "10.0.0.2:40000".parse().unwrap();
    let client = observed
        .telemetry
        .open_record(Direction::Outbound, src, dst);
    client.close(&Err(Failure::PeerRefused {
        code: Code::Denied,
        rule: Some("shop/x/y\u{1b}[2J".into()),
    }));
    let live = full(&observed);
    let denied = Denied::Rule(rule("no-web"));
    live.close(&Err(Failure::Policy {
        revision: 8,
        denied,
    }));
    observed.inbound().close(&Err(RefusedReason::NoSvid.into()));

    let all = observed.all();
    assert_eq!(all.len(), 4, "{all:#?}");
    assert_eq!(all[0]["policy.decision"], "deny");
    assert_eq!(
        all[0]["policy.near_miss"],
        "shop/orders/web-places-orders: ports"
    );
    assert_eq!(all[0]["policy.revision"], 7);
    assert_eq!(all[1]["event"], "denied");
    assert_eq!(all[1]["policy.reason"], "denied");
    assert_eq!(all[1]["policy.rule"], "shop/x/y[2J");
    assert!(all[1].get("policy.near_miss").is_none());
    assert_eq!(all[2]["event"], "close");
    assert_eq!(all[2]["policy.rule"], "shop/orders/no-web");
    assert_eq!(all[2]["policy.revision"], 8);
    assert_eq!(all[3]["event"], "denied");
    assert_eq!(all[3]["error"], "no_svid");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_dropped_is_closed_as_cancelled_with_its_bytes() {
    let observed = Observed::new();
    let record = observed.inbound();
    let bytes = record.bytes();
    bytes.sent(10);
    bytes.received(20);
    drop(record);
    bytes.sent(1);
    let text = observed.telemetry.metrics().text();
    assert!(text.contains("palisade_connections_open 0"), "{text}");
    assert!(text.contains("palisade_bytes_total{direction=\"inbound\",flow=\"sent\"} 11"));
    let all = observed.all();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["error"], "cancelled");
    assert_eq!(
        (&all[0]["bytes_sent"], &all[0]["bytes_recv"]),
        (&10.into(), &20.into())
    );
}

#[test]
fn what_applications_left_behind_is_counted_only_where_they_left_all() {
    let observed = Observed::new();
    let left = || observed.telemetry.left_behind();
    assert_eq!(left(), Some(0));
    let (one, other) = (observed.inbound(), observed.inbound());
    one.established();
    one.bytes().received(3);
    one.bytes().client_ended();
    assert_eq!(
        left(),
        None,
        "the other side has ended its half, not the application"
    );
    one.bytes().server_ended();
    assert_eq!(left(), None, "one is still being made");
    other.established();
    other.bytes().sent(4);
    assert_eq!(left(), None, "one may still speak");
    other.bytes().server_ended();
    assert_eq!(left(), Some(7));
    one.close(&Ok(CloseBy::Server));
    assert_eq!(left(), Some(4));
}

#[test]
fn a_record_is_closed_once() {
    let observed = Observed::new();
    observed.inbound().close(&Ok(CloseBy::Server));
    let all = observed.all();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["close.by"], "server");
    assert!(all[0].get("error").is_none());
}

/// Runs the sweep, as `run` does, until `seconds` have passed.
async fn pass(telemetry: &Arc<Telemetry>, seconds: u64) {
    let sweep = Arc::clone(telemetry).sweep();
    let over = tokio::time::timeout(Duration::from_millis(seconds * 1000 + 500), sweep).await;
    assert!(over.is_err(), "it never ends by itself");
}

#[tokio::test(start_paused = true)]
async fn a_long_connection_says_open_once_and_then_how_it_goes() {
    let observed = Observed::new();
    let short = observed.inbound();
    short.established();
    let long = observed.inbound();
    long.established();
    short.close(&Ok(CloseBy::Client));
    pass(&observed.telemetry, 130).await;
    long.bytes().received(4);
    long.close(&Ok(CloseBy::Client));
    let events: Vec<_> = observed
        .all()
        .into_iter()
        .map(|line| line["event"].clone())
        .collect();
    assert_eq!(events, ["close", "open", "progress", "progress", "close"]);
}

#[tokio::test(start_paused = true)]
async fn open_can_be_written_at_once() {
    let observed = Observed::with(RecordSettings {
        open_after: Duration::ZERO,
        ..RecordSettings::default()
    });
    let record = observed.inbound();
    record.established();
    record.established();
    record.close(&Ok(CloseBy::Client));
    let events: Vec<_> = observed
        .all()
        .into_iter()
        .map(|line| line["event"].clone())
        .collect();
    assert_eq!(events, ["open", "close"]);
}

#[tokio::test(start_paused = true)]
async fn repeated_refusals_of_one_source_become_one_line_with_a_count() {
    let observed = Observed::new();
    let failed = || Err(HandshakeError::Peer(PeerError::Expired).into());
    for _ in 0..5 {
        observed.inbound().close(&failed());
    }
    let other = observed.inbound();
    other.set_src_identity(&id("batch"));
    other.close(&failed());
    pass(&observed.telemetry, 10).await;
    observed.inbound().close(&failed());
    observed.inbound().close(&failed());
    let closed = observed.telemetry.metrics().text();
    assert!(
        closed.contains("palisade_connections_closed_total{by=\"error\"} 8"),
        "{closed}"
    );
    let counts: Vec<_> = observed
        .all()
        .into_iter()
        .map(|line| line["count"].as_u64())
        .collect();
    assert_eq!(
        counts,
        [None, None, Some(4), None, Some(1)],
        "and what is open at the end is written"
    );
}

#[test]
fn a_record_is_small() {
    assert_eq!(size_of::<Record>(), size_of::<usize>());
    assert_eq!(size_of::<ByteCounts>(), size_of::<usize>());
    assert!(
        size_of::<Connection>() <= 384,
        "{}",
        size_of::<Connection>()
    );
}

#[test]
fn names_and_mapped_addresses_are_written_one_way() {
    let observed = Observed::new();
    let mapped = "[::ffff:10.0.0.1]:1".parse().unwrap();
    let six = "[fd70::7]:8080".parse().unwrap();
    let outbound = || {
        observed
            .telemetry
            .open_record(Direction::Outbound, mapped, six)
    };
    let record = outbound();
    record.set_src_identity(&id("web"));
    record.set_endpoint("[fd70::8]:80".parse().unwrap());
    record.close(&Ok(CloseBy::Client));
    outbound().close(&Ok(CloseBy::Client));
    let all = observed.all();
    assert_eq!(all[0]["src.addr"], "10.0.0.1:1");
    assert_eq!(all[0]["src.namespace"], "shop", "from the identity");
    assert_eq!(all[0]["dst.addr"], "[fd70::8]:80");
    assert_eq!(all[0]["dst.port"], 80);
    assert_eq!(all[1]["dst.addr"], "[fd70::7]:8080");
    assert_ne!(all[0]["conn.id"], all[1]["conn.id"]);
}
