//! A live connection ends when its permission ends, and begins to be possible when it begins.

use std::collections::BTreeSet;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::tools::answer;
use super::{CALLERS, ORDERS, RULES};
use crate::harness::{Mesh, allow, at, wait_until};

const TWO: &str = r#"
- {name: db, namespace: shop, command: [palisade, demo, db, --listen, "[::]:5432"], ports: [5432]}
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- {name: batch, namespace: shop, command: [palisade, demo, wait]}
"#;
const DB: &str = "db://db:5432";

/// So many connections from each of the two, kept open, each used once a round.
const EACH: usize = 50;

fn kept_open() -> Vec<&'static str> {
    let mut arguments = vec![DB; EACH];
    arguments.extend(["--keep", "--every", "100ms"]);
    arguments
}

#[test]
fn a_rule_edit_ends_the_connections_that_it_forbids_and_no_others() {
    let both = allow("db", "web") + &allow("db", "batch");
    let mesh = Mesh::up(TWO, &both);
    mesh.answers("web", &[DB]);
    let lives = mesh.calling("web", &kept_open());
    let ends = mesh.calling("batch", &kept_open());
    for clients in [&lives, &ends] {
        clients.says_more(3 * EACH);
        assert_eq!(clients.failures(), 0);
    }
    let written = OffsetDateTime::now_utc();
    mesh.write_rules(&allow("db", "web"));
    let ended = |direction: &'static str| {
        mesh.records_at_least("ended by policy", EACH, move |r| {
            r["event"] == "close"
                && r["close.by"] == "policy"
                && r["direction"] == direction
                && r["src.workload"] == "batch-0"
        })
    };
    let (inbound, outbound) = (ended("inbound"), ended("outbound"));
    let ids = |records: &[Value]| -> BTreeSet<String> {
        records.iter().map(|r| r["conn.id"].to_string()).collect()
    };
    assert_eq!(ids(&inbound).len(), EACH);
    assert_eq!(ids(&inbound), ids(&outbound));
    for record in &inbound {
        assert_eq!(record["policy.decision"], "deny");
        assert_eq!(record["policy.reason"], "no_rule");
        assert_eq!(
            record["policy.near_miss"],
            "shop/db-from-web/web-calls-db: from"
        );
    }
    let last = inbound.iter().chain(&outbound).map(|r| at(r, "time")).max();
    let took = last.unwrap() - written;
    eprintln!(
        "from the file's write to the last of {} closes: {} ms",
        EACH,
        took.whole_milliseconds()
    );
    assert!(took < time::Duration::SECOND, "{took}");

    // Those of the other go on, each on the connection that it had.
    lives.says_more(3 * EACH);
    assert_eq!(lives.failures(), 0);
    let closed = |r: &&Value| {
        r["event"] == "close" && r["src.workload"] == "web-0" && at(r, "time") > written
    };
    assert_eq!(mesh.records().iter().filter(closed).count(), 0);
    assert!(ends.failures() >= EACH);
}

#[test]
fn a_rule_edit_allows_within_a_second_and_a_bad_one_changes_nothing() {
    let mesh = Mesh::up(CALLERS, RULES);
    let stranger = mesh.calling("stranger", &[ORDERS, "--every", "20ms"]);
    stranger.says_more(2);
    let written = OffsetDateTime::now_utc();
    let good = RULES.to_owned() + &allow("orders", "stranger");
    mesh.write_rules(&good);
    let allowed = wait_until("a call that succeeds", || {
        let mut said = stranger.said().into_iter();
        said.find(|(_, line)| line.contains("200 OK"))
    });
    let took = allowed.0 - written;
    eprintln!(
        "from the file's write to the first answer: {} ms",
        took.whole_milliseconds()
    );
    assert!(took < time::Duration::SECOND, "{took}");

    let cut = good.replacen("rules:", "rules: [", 1);
    let unknown = good.replacen("effect: allow", "effects: allow", 1);
    let cases = [
        (&cut, "rules.yaml:8:3: ", "; write it as YAML 1.2"),
        (&unknown, "rules.yaml:9:5: ", "; did you mean `effect`?"),
    ];
    for (bad, place, remedy) in cases {
        mesh.write_rules(bad);
        let line = wait_until("the mistake to be told", || {
            let stderr = mesh.stderr();
            stderr
                .lines()
                .find(|l| l.contains(place))
                .map(str::to_owned)
        });
        for said in [remedy, "the last good version of the file stays in force"] {
            assert!(line.contains(said), "{line}");
        }
        let before = stranger.failures();
        stranger.says_more(10);
        assert_eq!(stranger.failures(), before);
        assert!(!mesh.call_once("elsewhere", ORDERS).status.success());
    }
    mesh.write_rules(RULES);
    wait_until("a good edit to be taken after bad ones", || {
        let last = stranger.lines().pop()?;
        last.contains("failed").then_some(())
    });
}

#[test]
fn a_live_connection_ends_when_its_rule_expires() {
    let mesh = Mesh::up(TWO, &allow("db", "web"));
    let expires = (OffsetDateTime::now_utc() + time::Duration::seconds(4))
        .replace_nanosecond(0)
        .unwrap();
    let until = expires.format(&Rfc3339).unwrap();
    let rule = allow("db", "batch").trim_end().to_owned();
    mesh.write_rules(&format!(
        "{rule}\n    expires: {until}\n    reason: INC-2\n"
    ));
    wait_until("the rule to be there", || {
        let answer = mesh.call("batch", &[DB, "--count", "1"]);
        answer.status.success().then_some(())
    });
    let batch = mesh.calling("batch", &[DB, "--keep", "--every", "50ms"]);
    let (outbound, inbound) = mesh.both_sides("close", |r| r["close.by"] == "policy");
    assert_eq!(inbound["close.by"], "policy");
    assert_eq!(inbound["policy.decision"], "deny");
    assert_eq!(
        inbound["policy.near_miss"],
        "shop/db-from-batch/batch-calls-db: expires"
    );
    for record in [&outbound, &inbound] {
        let late = at(record, "time") - expires;
        assert!(late >= time::Duration::ZERO, "{late} early");
        assert!(late < time::Duration::SECOND, "{late} late");
    }
    wait_until("its application to see it", || {
        (batch.failures() > 1).then_some(())
    });
}

#[test]
fn a_revoked_identity_loses_its_connections_and_gets_no_new_ones() {
    let both = allow("db", "web") + &allow("db", "batch");
    let mesh = Mesh::up(TWO, &both);
    mesh.answers("web", &[DB]);
    let lives = mesh.calling("web", &[DB, "--keep", "--every", "50ms"]);
    let ends = mesh.calling("batch", &[DB, "--keep", "--every", "50ms"]);
    lives.says_more(3);
    ends.says_more(3);
    let written = OffsetDateTime::now_utc();
    let revoke = "apiVersion: palisade.dev/v1alpha1\nkind: Revocations\nmetadata: {name: stolen}\n\
         spec: {identities: [spiffe://cluster.local/ns/shop/sa/batch]}\n";
    std::fs::write(mesh.folder().join("rules/revocations.yaml"), revoke).unwrap();
    let (outbound, inbound) = mesh.both_sides("close", |r| r["src.workload"] == "batch-0");
    for record in [&outbound, &inbound] {
        assert_eq!(record["close.by"], "revoked", "{record}");
    }
    let took = at(&inbound, "time").max(at(&outbound, "time")) - written;
    eprintln!(
        "from the revocation's write to the last close: {} ms",
        took.whole_milliseconds()
    );
    assert!(took < time::Duration::milliseconds(1500), "{took}");
    assert!(!mesh.call("batch", &[DB, "--count", "1"]).status.success());
    let refused = mesh.record("a refusal", |r| {
        r["src.workload"] == "batch-0"
            && matches!(r["event"].as_str(), Some("denied" | "tls_failed"))
    });
    assert_eq!(refused["bytes_recv"], 0);
    let asked = ["explain", "--from", "shop/batch", "--port", "5432"];
    let (said, code) = answer(&mesh, &[&asked[..], &["--proxy", "shop/db-0"]].concat());
    assert_eq!((&said["reason"], code), (&"revoked".into(), 1), "{said}");
    lives.says_more(5);
    assert_eq!(lives.failures(), 0);
}
