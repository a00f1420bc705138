//! Clients without an identity: in clear, with TLS of their own, silent, and late.

use std::io::{Read, Write};
use std::net::SocketAddr;

use serde_json::Value;

use super::certificate::Authority;
use super::tls::MESH;
use super::{EVIL, Scene, frame, is_reset_after, nothing_comes, tls};
use crate::harness::{allow, wait_until};

#[test]
#[ignore = "needs root"]
fn a_client_without_a_sidecar_is_denied_in_clear_and_with_its_own_tls() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    // Each on a port of its own, for what repeats is put together.
    let mut plain = scene.outlaw.connect(scene.orders.at(8080));
    plain.write_all(EVIL).unwrap();
    assert_denied(&scene, plain.local_addr().unwrap(), "no_rule");
    nothing_comes(plain);

    // Its own TLS, with a stolen SVID even: without our protocol it is the application's, and proves nothing.
    let stolen = Authority::stolen_from(&scene.mesh);
    for (port, own, alpn) in [
        (8081, None, &[][..]),
        (8082, None, &[b"h2".as_slice()][..]),
        (8083, Some(stolen.svid("web")), &[][..]),
        (
            8084,
            Some(stolen.svid("web")),
            &[b"palisade/2".as_slice()][..],
        ),
    ] {
        let tcp = scene.outlaw.connect(scene.orders.at(port));
        let client = tcp.local_addr().unwrap();
        assert!(tls::client(tcp, own, alpn).is_err(), "nobody answers");
        assert_denied(&scene, client, "no_rule");
    }
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn a_rule_admits_plaintext_by_address_and_a_denied_identity_cannot_shed_its_name() {
    let scene = Scene::usual();
    let outlaw = scene.outlaw.at(0).ip();
    let admit = format!(
        "{}{}",
        allow("orders", "web"),
        admit_in_clear(&format!("{outlaw}/32"))
    );
    scene.mesh.write_rules(&admit);
    let application = scene.orders.application(8080);
    let (mut call, mut arrived) = wait_until("the rule to be in force", || {
        let mut call = scene.outlaw.connect(scene.orders.at(8080));
        let _reset_already = call.write_all(EVIL);
        let mut echo = [0; EVIL.len()];
        let mut arrived = wait_until("an answer", || match application.waiting() {
            Some(arrived) => Some(Some(arrived)),
            None => was_reset(&call).then_some(None),
        })?;
        arrived.read_exact(&mut echo).unwrap();
        Some((call, arrived))
    });
    arrived.write_all(b"welcome").unwrap();
    let mut welcome = [0; 7];
    call.read_exact(&mut welcome).unwrap();
    let client = call.local_addr().unwrap();
    let open = scene.inbound("open", client);
    assert_eq!(open["policy.rule"], "shop/in-clear/in-clear");
    assert_eq!(open["src.identity"], Value::Null);
    assert_eq!(open["src.workload"], "outlaw-0");

    // Another address is not in the range.
    let mut bandit = scene.bandit.connect(scene.orders.at(8080));
    bandit.write_all(EVIL).unwrap();
    assert_denied(&scene, bandit.local_addr().unwrap(), "no_rule");
    nothing_comes(bandit);

    // A denial of the identity that is known at the address ends what lives, and what comes.
    scene
        .mesh
        .write_rules(&format!("{admit}{}", deny("outlaw")));
    let record = scene.inbound("close", client);
    assert_eq!(record["close.by"], "policy");
    assert_eq!(record["error"], "rule");
    is_reset_after(&call, b"");
    is_reset_after(&arrived, b"");
    let mut again = scene.outlaw.connect(scene.orders.at(8080));
    again.write_all(EVIL).unwrap();
    let record = assert_denied(&scene, again.local_addr().unwrap(), "rule");
    assert_eq!(record["policy.rule"], "shop/deny-outlaw/no-outlaw");
    nothing_comes(again);
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn a_mesh_handshake_that_comes_after_a_silence_is_not_delivered() {
    let rules = format!(
        "{}{}",
        allow("orders", "web"),
        admit_in_clear("10.111.0.0/16")
    );
    let scene = Scene::set(&rules);
    let application = scene.orders.application(8080);
    let mut late = scene.outlaw.connect(scene.orders.at(8080));
    // It said nothing for so long that a server which speaks first was asked.
    let mut asked = application.accept();
    asked.write_all(b"220 ready").unwrap();
    let mut greeting = [0; 9];
    late.read_exact(&mut greeting).unwrap();
    // In two pieces, the first of which could still be anything.
    let hello = tls::client_hello(MESH);
    late.write_all(&hello[..3]).unwrap();
    late.write_all(&hello[3..]).unwrap();
    is_reset_after(&asked, b"");
    let record = scene.inbound("denied", late.local_addr().unwrap());
    assert_eq!(record["error"], "not_mesh_peer");
    assert_eq!(record["bytes_sent"], 0);
    is_reset_after(&late, b"");

    // A source that is known as meshed is not taken for a silent one, whatever the rule says: its first word may be late.
    let known = Authority::stolen_from(&scene.mesh);
    let tcp = scene.web.within(|| proxy_socket(scene.orders.at(8080)));
    let client = tcp.local_addr().unwrap();
    let quiet = tcp.try_clone().unwrap();
    quiet
        .set_read_timeout(Some(std::time::Duration::from_millis(2500)))
        .unwrap();
    let waited = (&quiet).read(&mut [0]);
    assert!(
        waited.is_err_and(|error| super::is_timeout(&error)),
        "it is waited for"
    );
    application.nobody_waits();
    quiet.set_read_timeout(Some(crate::harness::BOUND)).unwrap();
    let mut tls = tls::client(tcp, Some(known.svid("web")), MESH).unwrap();
    tls.write_all(&frame::opening(EVIL)).unwrap();
    let mut arrived = application.accept();
    let mut said = [0; EVIL.len()];
    arrived.read_exact(&mut said).unwrap();
    drop(arrived);
    assert_eq!(
        scene.inbound("close", client)["src.identity"],
        super::certificate::id("web")
    );
}

/// A connection as only the pod's own proxy can make it: its user's.
fn proxy_socket(to: SocketAddr) -> std::net::TcpStream {
    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(1337));
    std::net::TcpStream::connect(to).unwrap()
}

fn was_reset(stream: &std::net::TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let ended = match stream.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => !super::is_timeout(&error),
    };
    stream.set_nonblocking(false).unwrap();
    ended
}

fn assert_denied(scene: &Scene, client: SocketAddr, error: &str) -> Value {
    let record = scene.inbound("denied", client);
    assert_eq!(record["error"], error);
    assert_eq!(record["policy.decision"], "deny");
    assert_eq!(record["src.identity"], Value::Null);
    assert_eq!(record["bytes_sent"], 0);
    record
}

fn admit_in_clear(cidr: &str) -> String {
    rule(
        "in-clear",
        "allow",
        &format!("unauthenticated: {{cidr: {cidr}}}"),
    )
}

fn deny(account: &str) -> String {
    rule(
        &format!("deny-{account}"),
        "deny",
        &format!("serviceAccount: shop/{account}"),
    )
    .replace("name: deny-outlaw\n", "name: no-outlaw\n")
}

fn rule(name: &str, effect: &str, from: &str) -> String {
    format!(
        "---\napiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  target: {{labels: {{app: orders}}}}\n  rules:\n  - name: {name}\n    effect: {effect}\n    from: [{{{from}}}]\n"
    )
}
