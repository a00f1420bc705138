//! What is on the wire, who is let in, and what both sides write about it.

use crate::harness::{BOUND, Cluster, Mesh, Running, text, wait_for};

use super::{Shop, curl, recorded};

#[test]
fn pods_of_an_annotated_namespace_call_each_other_by_name_and_both_sides_record_who_they_are() {
    let mesh = Mesh::shared();
    let shop = Shop::meshed(&mesh, "by-name");
    for (pod, service) in [&shop.near, &shop.far] {
        for family in ["-4", "-6"] {
            let said = shop.answer(&[family, &format!("http://{service}/")]);
            assert_eq!(said.trim(), pod, "{service} {family}");
        }
        let long = format!(
            "http://{service}.{}.svc.cluster.local/",
            shop.namespace.name()
        );
        assert_eq!(shop.answer(&[&long]).trim(), pod);
    }
    let (client, web) = (shop.identity("client"), shop.identity("web"));
    for (pod, _) in [&shop.near, &shop.far] {
        for is_v6 in [false, true] {
            let what = format!("both sides' records of a call to {pod}, IPv6: {is_v6}");
            let version = recorded(&mesh, &shop.namespace, &what, |records| {
                let common = [
                    ("event", "close"),
                    ("src.identity", client.as_str()),
                    ("dst.identity", &web),
                    ("dst.namespace", shop.namespace.name()),
                    ("dst.workload", pod),
                ];
                let sides = |direction| {
                    let of = move |record: &&super::Record| {
                        record.has(&[("direction", direction)])
                            && record.text("dst.addr").starts_with('[') == is_v6
                    };
                    records
                        .iter()
                        .filter(move |record| record.has(&common))
                        .filter(of)
                };
                let inbound: Vec<_> = sides("inbound").collect();
                let both = sides("outbound").find(|out| {
                    let id = [("conn.id", out.text("conn.id"))];
                    inbound.iter().any(|inbound| inbound.has(&id))
                })?;
                Some(both.text("tls.version").to_owned())
            });
            assert!(version.contains("1.3"), "{version}");
        }
    }
}

#[test]
fn the_wire_has_a_calls_content_without_the_mesh_and_only_tls_with_it() {
    let mesh = Mesh::shared();
    let plain = Shop::plain("wire-off");
    let meshed = Shop::meshed(&mesh, "wire-on");
    for far in [true, false] {
        let seen = on_the_wire(&plain, far);
        assert!(
            has(&seen, CANARY.as_bytes()),
            "the capture cannot see: {}",
            seen.len()
        );
        let seen = on_the_wire(&meshed, far);
        assert!(!has(&seen, CANARY.as_bytes()), "clear text, far: {far}");
        // The server's hello may have been before: connections are kept. Its records are not.
        assert!(has(&seen, &[0x17, 3, 3]), "no TLS, far: {far}");
    }
}

/// What the client's node saw of a call with a body, to the server on the other node or on its own.
fn on_the_wire(shop: &Shop, far: bool) -> Vec<u8> {
    let (pod, service) = if far { &shop.far } else { &shop.near };
    let addrs = shop
        .namespace
        .words(&["pod", "client"], "{.status.podIPs[*].ip}");
    let filter: Vec<String> = addrs.iter().map(|addr| format!("host {addr}")).collect();
    let filter = filter.join(" or ");
    // Not with --immediate-mode: on all interfaces together that has room for eight packets, and misses what comes while
    // tcpdump waits for a core.
    let tcpdump = ["on", "node1", "tcpdump", "-i", "any", "-U", "-w", "-"];
    let capture = Running::start(
        Cluster::shared(),
        &[&tcpdump[..], &[filter.as_str()]].concat(),
    );
    capture.prints("listening on");
    let url = format!("http://{service}/cgi-bin/echo");
    let body = CANARY.repeat(LENGTH / CANARY.len());
    let said = shop.answer(&["--data-raw", &body, &url]);
    assert_eq!(said.trim(), format!("{pod}\n{body}"));
    // There and back.
    wait_for("the capture", BOUND, || {
        (capture.out().len() > 2 * LENGTH).then_some(())
    });
    capture.stopped()
}

#[test]
fn a_pod_outside_of_the_mesh_is_refused_and_the_application_never_hears_of_it() {
    let mesh = Mesh::shared();
    let outside = Shop::plain("outside");
    let shop = Shop::meshed(&mesh, "inside");
    let name = shop.namespace.name();
    for (pod, _) in [&shop.near, &shop.far] {
        // The server hears those whom it may hear: what is looked for below could be there.
        shop.answer(&[&format!("http://{pod}.each:8080/{CANARY}-in")]);
        for family in ["-4", "-6"] {
            let url = format!("http://{pod}.each.{name}:8080/{CANARY}-out");
            let output = curl(&outside.namespace, "client", &[family, &url]);
            assert!(!output.status.success(), "{}", text(&output.stdout));
            assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
        }
        let log = shop.namespace.kubectl(&["logs", pod, "-c", "web"]);
        let log = text(&log.stdout) + &text(&log.stderr);
        assert!(log.contains(&format!("{CANARY}-in")), "{log}");
        assert!(!log.contains(&format!("{CANARY}-out")), "{log}");
    }
    for client in outside
        .namespace
        .words(&["pod", "client"], "{.status.podIPs[*].ip}")
    {
        let reason = recorded(
            &mesh,
            &shop.namespace,
            &format!("the denial of {client}"),
            |records| {
                let denied = records.iter().find(|record| {
                    record.has(&[
                        ("event", "denied"),
                        ("direction", "inbound"),
                        ("src.identity", ""),
                    ]) && record.text("src.addr").contains(&client)
                });
                denied.map(|record| record.text("policy.reason").to_owned())
            },
        );
        println!("refused: {reason}");
        assert!(!reason.is_empty());
    }
}

fn has(seen: &[u8], what: &[u8]) -> bool {
    seen.windows(what.len()).any(|window| window == what)
}

const CANARY: &str = "a-canary-that-nothing-else-says";
/// Bytes of a body that no capture of something else would have.
const LENGTH: usize = 16 * 1024;
