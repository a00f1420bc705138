//! A server that is not who must answer at its address.

use std::io::{Read, Write};

use super::certificate::{Authority, Certified, id};
use super::spot::Application;
use super::tls::MESH;
use super::{Scene, knock, nothing_comes, tls};
use crate::harness::{Mesh, wait_until};

const SECRET: &[u8] = b"for outlaw's eyes only";

#[test]
#[ignore = "needs root"]
fn a_server_that_proves_another_name_or_none_hears_nothing() {
    let scene = Scene::usual();
    let authority = Authority::stolen_from(&scene.mesh);
    let server = in_place_of_outlaw(&scene);
    let mut impostors = authority.evil();
    impostors.push((authority.svid("orders"), "unexpected_identity"));
    for (certified, reason) in impostors {
        assert_hears_nothing(&scene, &server, certified, MESH, reason);
    }
    // The right name, and another protocol: a TLS library would accept it.
    assert_hears_nothing(&scene, &server, authority.svid("outlaw"), &[], "not_mesh");
}

#[test]
#[ignore = "needs root"]
fn a_real_pod_at_an_address_that_is_anothers_hears_nothing() {
    let scene = Scene::usual();
    // Control says that bandit, another service account, is where orders is; and orders' proxy is what answers.
    let (orders, bandit) = (scene.orders.at(0).ip(), scene.bandit.at(0).ip());
    change_mesh(&scene.mesh, |workload| {
        let moved = match workload["metadata"]["name"].as_str() {
            Some("orders-0") => bandit.to_string(),
            Some("bandit-0") => {
                workload["spec"]["meshed"] = true.into();
                orders.to_string()
            }
            _ => return,
        };
        workload["spec"]["addresses"] = serde_json::json!([moved]);
    });
    let record = wait_until("control to say so", || {
        let client = knock(scene.web, scene.orders.at(8080))?.to_string();
        let record = scene.mesh.record("the end of the call", |r| {
            r["direction"] == "outbound" && r["src.addr"] == client
        });
        (record["error"] == "unexpected_identity").then_some(record)
    });
    assert_eq!(record["event"], "tls_failed");
    assert_eq!(record["dst.identity"], id("bandit"), "who must answer");
    // Orders' side knows that it was refused.
    let inbound = scene.mesh.record("the other side", |r| {
        r["direction"] == "inbound" && r["event"] == "tls_failed" && r["dst.workload"] == "orders-0"
    });
    assert_eq!(inbound["error"], "refused_by_peer");
    let application = scene.orders.application(8080);
    knock(scene.web, scene.orders.at(8080));
    application.nobody_waits();
}

fn assert_hears_nothing(
    scene: &Scene,
    server: &Application,
    own: Certified,
    alpn: &[&[u8]],
    reason: &str,
) {
    let mut call = scene.web.connect(scene.outlaw.at(8080));
    call.write_all(SECRET).unwrap();
    let client = call.local_addr().unwrap().to_string();
    if let Ok(mut tls) = tls::server(server.accept(), own, alpn) {
        let mut heard = Vec::new();
        let _ended_by_alert = tls.read_to_end(&mut heard);
        assert_eq!(heard, b"", "{reason}");
    }
    nothing_comes(call);
    let record = scene.mesh.record(reason, |r| {
        r["direction"] == "outbound" && r["event"] == "tls_failed" && r["src.addr"] == client
    });
    assert_eq!(record["error"], reason);
    assert_eq!(record["dst.identity"], id("outlaw"), "who must answer");
}

/// Makes control believe that outlaw has a sidecar, and waits until web does: there the attacker listens.
pub(crate) fn in_place_of_outlaw(scene: &Scene) -> Application {
    change_mesh(&scene.mesh, |workload| {
        if workload["metadata"]["name"] == "outlaw-0" {
            workload["spec"]["meshed"] = true.into();
        }
    });
    let server = scene.outlaw.application(8080);
    wait_until("web to know outlaw as meshed", || {
        let mut call = scene.web.connect(scene.outlaw.at(8080));
        call.write_all(b"plain").unwrap();
        let mut first = [0];
        let read = server.accept().read(&mut first);
        (read.is_ok_and(|read| read == 1) && first == [TLS_HANDSHAKE]).then_some(())
    });
    server
}

/// Edits the workloads that control reads.
fn change_mesh(mesh: &Mesh, change: impl Fn(&mut serde_json::Value)) {
    let file = mesh.state().join("config/mesh.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed: Vec<String> = text
        .split("---\n")
        .map(|document| {
            let mut document = serde_json::from_str(document).unwrap();
            change(&mut document);
            format!("{document:#}\n")
        })
        .collect();
    let new = file.with_extension("new");
    std::fs::write(&new, changed.join("---\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

const TLS_HANDSHAKE: u8 = 22;
