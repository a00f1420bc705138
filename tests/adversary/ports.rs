//! The proxy's own ports as a destination.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use super::{Scene, knock};

#[test]
#[ignore = "needs root"]
fn the_proxys_own_ports_lead_nowhere_from_outside() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    // Where redirected connections arrive, none arrives that was not redirected.
    let inbound = scene.orders.at(15006);
    let second = Duration::from_secs(1);
    let answered = (scene.outlaw).within(|| TcpStream::connect_timeout(&inbound, second));
    assert_eq!(answered.unwrap_err().kind(), ErrorKind::TimedOut);
    for port in [15000, 15001] {
        knock(scene.outlaw, scene.orders.at(port));
        let record = scene.mesh.record("the refusal", |r| {
            r["direction"] == "inbound" && r["dst.port"] == port
        });
        assert_eq!(record["event"], "denied");
        assert_eq!(record["error"], "own_port");
        assert_eq!(record["dst.addr"], scene.orders.at(port).to_string());
    }
    // Telemetry and probes are for the network, and say nothing of what only loopback is told.
    for port in [15020, 15021] {
        let page = scene.outlaw.page(scene.orders.at(port), "/ready").unwrap();
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        let page = scene.outlaw.page(scene.orders.at(port), "/config").unwrap();
        assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    }
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn the_proxys_own_ports_lead_nowhere_from_an_application() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    let (orders, web) = (scene.orders, scene.web);
    for (dst, direction) in [
        (orders.at(15000), "outbound"),
        (orders.at(15001), "outbound"),
        (orders.at(15006), "outbound"),
        (orders.at(15020), "outbound"),
        // Past the redirect, on the pod's own loopback.
        (web.at(15001), "outbound"),
        (web.at(15006), "inbound"),
    ] {
        knock(web, dst);
        let record = scene.mesh.record("the refusal", |r| {
            r["direction"] == direction && r["dst.addr"] == dst.to_string()
        });
        assert_eq!(record["event"], "denied", "{record}");
        assert_eq!(record["error"], "own_port", "{record}");
    }
    scene.only_a_good_call_arrives(&application);
}
