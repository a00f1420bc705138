//! Inbound handshakes that prove no name, or do not end.

use std::io::Write;

use super::certificate::{Authority, Certified};
use super::tls::MESH;
use super::{EVIL, Scene, frame, nothing_comes, tls};

#[test]
#[ignore = "needs root"]
fn a_client_that_proves_no_name_is_refused_and_recorded_with_the_reason() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    let authority = Authority::stolen_from(&scene.mesh);
    for (certified, reason) in authority.evil() {
        assert_refused(&scene, Some(certified), reason);
    }
    assert_refused(&scene, None, "no_certificate");
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn tls_1_2_is_refused_and_recorded() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    let mut tcp = scene.outlaw.connect(scene.orders.at(8080));
    let client = tcp.local_addr().unwrap();
    tcp.write_all(&tls::client_hello_of_tls_1_2()).unwrap();
    let record = scene.inbound("tls_failed", client);
    assert_eq!(record["error"], "protocol");
    assert_eq!(record["src.workload"], "outlaw-0");
    // An alert, protocol_version, in clear: all that such a client can be told.
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut tcp, &mut said).unwrap_or_default();
    assert_eq!(said, [21, 3, 3, 0, 2, 2, 70]);
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn what_never_ends_is_ended_and_recorded() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    let authority = Authority::stolen_from(&scene.mesh);
    let hello = tls::client_hello(MESH);

    // The same failure from the same source is recorded once for each port.
    let mut half_a_hello = scene.outlaw.connect(scene.orders.at(8081));
    half_a_hello.write_all(&hello[..hello.len() / 2]).unwrap();
    let mut no_finished = scene.outlaw.connect(scene.orders.at(8082));
    no_finished.write_all(&hello).unwrap();
    let nothing = scene.outlaw.connect(scene.orders.at(8083));
    let no_frame = scene.outlaw.connect(scene.orders.at(8080));
    let no_frame = tls::client(no_frame, Some(authority.svid("web")), MESH).unwrap();

    for tcp in [&half_a_hello, &no_finished, &nothing] {
        let record = scene.inbound("tls_failed", tcp.local_addr().unwrap());
        assert_eq!(record["error"], "timeout");
        assert_eq!(record["close.by"], "timeout");
        assert!(record["duration_ms"].as_u64() < Some(15_000), "{record}");
    }
    nothing_comes(half_a_hello);
    nothing_comes(nothing);
    let record = scene.inbound("close", no_frame.sock.local_addr().unwrap());
    assert_eq!(record["error"], "mesh_protocol");
    assert_eq!(record["src.identity"], super::certificate::id("web"));
    scene.only_a_good_call_arrives(&application);
}

fn assert_refused(scene: &Scene, own: Option<Certified>, reason: &str) {
    let tcp = scene.outlaw.connect(scene.orders.at(8080));
    let client = tcp.local_addr().unwrap();
    // It says all that it wants delivered, before it can know that it is refused.
    if let Ok(mut tls) = tls::client(tcp, own, MESH) {
        let _refused_already = tls.write_all(&frame::opening(EVIL));
        nothing_comes(tls);
    }
    let record = scene.inbound("tls_failed", client);
    assert_eq!(record["error"], reason);
    assert_eq!(record["dst.workload"], "orders-0");
    assert_eq!(record["src.workload"], "outlaw-0", "by control's table");
    assert_eq!(record["src.identity"], serde_json::Value::Null);
    assert_eq!(record["bytes_sent"], 0);
}
