//! `Mesh.Watch`: who may watch, and what it is told.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use palisade_api::wire::{
    Ack, Channel, Refusal, WatchResponse, address::At, object::Body, watch_request::Message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::client::{Watch, connect, csr, inventory, issue_over, join};
use crate::mesh::{Mesh, SHOP, rules};

pub(crate) const WEB_REVOKED: &str = "apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec: {identities: ['spiffe://cluster.local/ns/shop/sa/web']}
";

/// The port that the rule for orders allows now.
fn port(response: &WatchResponse) -> Option<u32> {
    response
        .changed
        .iter()
        .find_map(|object| match &object.body {
            Some(Body::Policy(policy)) => Some(policy.rules[0].ports[0].first),
            _ => None,
        })
}

fn names(response: &WatchResponse) -> Vec<&str> {
    response.changed.iter().map(|o| o.name.as_str()).collect()
}

async fn watch(mesh: &Mesh, service_account: &str) -> Watch {
    let addr = mesh.control.as_ref().unwrap().listen();
    let svid = join(addr, &mesh.token(service_account)).await.unwrap();
    let workload = format!("shop/{service_account}-0");
    Watch::open(addr, Some(&svid), &workload, Vec::new())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_proxy_is_told_what_concerns_it() {
    let mesh = Mesh::start().await;
    let mut orders = watch(&mesh, "orders").await;
    let first = orders.in_step().await;
    assert_eq!(names(&first[0]), ["cluster.local"]);
    assert_eq!(names(&first[1]), ["revocations"]);
    assert_eq!(
        names(&first[2]),
        ["self", "AuthorizationPolicy/shop/orders"]
    );
    assert_eq!(first[3].channel(), Channel::Addresses);
    assert!(first.iter().all(|r| r.base == 0 && r.revision > 0));

    let mut web = watch(&mesh, "web").await;
    assert_eq!(names(&web.in_step().await[2]), ["self"]);
    for (ip, expected) in [
        ("10.111.0.7", "workload"),
        ("10.112.0.2", "service"),
        ("10.111.0.99", "unknown"),
        ("192.0.2.1", "outside"),
    ] {
        web.look_up(ip).await;
        let answer = web.next().await.unwrap();
        assert_eq!(names(&answer), [ip]);
        let Some(Body::Address(address)) = &answer.changed[0].body else {
            panic!("no address");
        };
        let at = match address.at.as_ref().unwrap() {
            At::Workload(_) => "workload",
            At::Service(service) => {
                assert_eq!(
                    service.endpoints[0].workload.as_ref().unwrap().name,
                    "orders-0"
                );
                "service"
            }
            At::Unknown(_) => "unknown",
            At::Outside(_) => "outside",
        };
        assert_eq!(at, expected, "{ip}");
    }
}

#[tokio::test]
async fn nobody_watches_without_an_svid_or_as_somebody_else() {
    let mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let nobody = Watch::open(addr, None, "shop/web-0", Vec::new()).await;
    assert_eq!(nobody.err().unwrap().code(), Code::Unauthenticated);

    let web = join(addr, &mesh.token("web")).await.unwrap();
    let mut posing = Watch::open(addr, Some(&web), "shop/orders-0", Vec::new())
        .await
        .unwrap();
    let refused = posing.next().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_workload_that_comes_later_is_waited_for() {
    let mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let svid = join(addr, &mesh.token("web")).await.unwrap();
    let mut watch = Watch::open(addr, Some(&svid), "shop/web-1", Vec::new())
        .await
        .unwrap();
    let second = SHOP.split("---\n").nth(1).unwrap();
    let second = second.replace("web-0", "web-1").replace("0.8", "0.9");
    mesh.write("second.yaml", &second);
    assert_eq!(names(&watch.in_step().await[2]), ["self"]);
}

#[tokio::test]
async fn an_edit_reaches_a_watcher_and_a_bad_one_does_not() {
    let mesh = Mesh::start().await;
    let mut orders = watch(&mesh, "orders").await;
    let first = orders.in_step().await;
    assert_eq!(port(&first[2]), Some(8080));

    mesh.write("rules.yaml", &rules(9000));
    let edited = orders.next().await.unwrap();
    assert_eq!(names(&edited), ["AuthorizationPolicy/shop/orders"]);
    assert_eq!(
        (port(&edited), edited.base),
        (Some(9000), first[2].revision)
    );

    // The bad file keeps its last good version, while the others go on.
    mesh.write(
        "rules.yaml",
        &rules(9001).replace("effect: allow", "effect: perhaps"),
    );
    mesh.write("revoked.yaml", WEB_REVOKED);
    assert_eq!(names(&orders.next().await.unwrap()), ["revocations"]);
    assert!(
        metrics(&mesh)
            .await
            .contains("palisade_control_config_errors 1")
    );

    mesh.write("rules.yaml", &rules(9002));
    let mended = orders.next().await.unwrap();
    assert_eq!((port(&mended), mended.base), (Some(9002), edited.revision));

    fs::remove_file(mesh.files().join("rules.yaml")).unwrap();
    let gone = orders.next().await.unwrap();
    assert_eq!(gone.removed, ["AuthorizationPolicy/shop/orders"]);
    assert!(
        metrics(&mesh)
            .await
            .contains("palisade_control_config_errors 0")
    );
}

/// As the kubelet does it: `rules.yaml -> ..data/rules.yaml`, `..data -> ..1`, then `..data` is swapped.
#[tokio::test]
async fn a_config_map_swap_reaches_a_watcher() {
    let mesh = Mesh::start().await;
    let files = mesh.files();
    for (version, port) in [("..1", 8080), ("..2", 9000)] {
        fs::create_dir(files.join(version)).unwrap();
        fs::write(files.join(version).join("rules.yaml"), rules(port)).unwrap();
    }
    fs::remove_file(files.join("rules.yaml")).unwrap();
    symlink("..1", files.join("..data")).unwrap();
    symlink("..data/rules.yaml", files.join("rules.yaml")).unwrap();
    let mut orders = watch(&mesh, "orders").await;
    orders.in_step().await;

    symlink("..2", files.join("..data_tmp")).unwrap();
    fs::rename(files.join("..data_tmp"), files.join("..data")).unwrap();
    let mut swapped = orders.next().await.unwrap();
    while port(&swapped) != Some(9000) {
        swapped = orders.next().await.unwrap();
    }
}

#[tokio::test]
async fn a_restarted_control_sends_the_difference_only() {
    let mut mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let svid = join(addr, &mesh.token("orders")).await.unwrap();
    let mut orders = Watch::open(addr, Some(&svid), "shop/orders-0", Vec::new())
        .await
        .unwrap();
    let mut held = orders.in_step().await;
    orders.look_up("10.111.0.8").await;
    held[3] = orders.next().await.unwrap();

    mesh.end().await;
    assert_eq!(orders.next().await.unwrap_err().code(), Code::Unavailable);
    mesh.write("rules.yaml", &rules(9000));
    mesh.begin().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let mut resumed = Watch::open(addr, Some(&svid), "shop/orders-0", inventory(&held))
        .await
        .unwrap();
    let answers = resumed.in_step().await;
    let changed: Vec<_> = answers.iter().map(names).collect();
    let none: Vec<&str> = Vec::new();
    let rule = vec!["AuthorizationPolicy/shop/orders"];
    assert_eq!(changed, [none.clone(), none.clone(), rule, none]);
    for (answer, held) in answers.iter().zip(&held) {
        assert_eq!(answer.base, held.revision);
        assert!(answer.revision > held.revision && answer.removed.is_empty());
    }
    // What it held, it is still subscribed to.
    mesh.write("shop.yaml", &SHOP.replace("10.111.0.8", "10.111.0.10"));
    assert_eq!(names(&resumed.next().await.unwrap()), ["10.111.0.8"]);
}

#[tokio::test]
async fn a_revoked_proxy_is_cut_off() {
    let mesh = Mesh::start().await;
    let mut web = watch(&mesh, "web").await;
    web.in_step().await;
    mesh.write("revoked.yaml", WEB_REVOKED);
    let ended = web.next().await.unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_watch_ends_with_its_svid() {
    let mesh = Mesh::with_ttl(Duration::from_secs(2)).await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let svid = join(addr, &mesh.token("web")).await.unwrap();
    let channel = connect(addr, Some(&svid)).await.unwrap();
    let mut web = Watch::over(channel.clone(), "shop/web-0", Vec::new())
        .await
        .unwrap();
    web.in_step().await;
    let ended = web.next().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    // The connection stands, and proves nothing any more.
    let renewal = issue_over(channel, csr(&svid.key, &[]), None).await;
    assert_eq!(renewal.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn what_a_proxy_enforces_is_known() {
    let mesh = Mesh::start().await;
    let mut orders = watch(&mesh, "orders").await;
    let rules = orders.in_step().await.swap_remove(2);
    let own = rules.changed.iter().find(|one| one.name == "self").unwrap();
    let own: String = own
        .digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let refusal = Refusal {
        name: "AuthorizationPolicy/shop/orders".into(),
        reason: "unknown effect".into(),
    };
    orders
        .send(Message::Ack(Ack {
            channel: rules.channel,
            revision: rules.revision,
            refusals: vec![refusal],
        }))
        .await;
    // Requests are heard in their order, so the answer to this one says that the other was heard.
    orders.look_up("192.0.2.1").await;
    orders.next().await.unwrap();
    let proxies = get(&mesh, "/proxies").await;
    let expected = format!(
        r#"[{{"workload":"shop/orders-0","revisions":{{"rules":{}}},"refused":{{"rules":["AuthorizationPolicy/shop/orders"]}},"policies":{{}},"refused_policies":{{"AuthorizationPolicy/shop/orders":"unknown effect"}},"objects":{{"bundles":{{}},"revocations":{{}},"rules":{{"self":"{own}"}}}}}}]"#,
        rules.revision
    );
    assert!(proxies.ends_with(&expected), "{proxies}");
    assert!(metrics(&mesh).await.contains("palisade_control_proxies 1"));
    assert!(get(&mesh, "/ready").await.starts_with("HTTP/1.1 200"));
}

async fn metrics(mesh: &Mesh) -> String {
    get(mesh, "/metrics").await
}

async fn get(mesh: &Mesh, path: &str) -> String {
    let addr = mesh.control.as_ref().unwrap().telemetry().unwrap();
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
