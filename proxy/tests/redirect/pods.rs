//! Pods as clusters make them: of one family or of both, and with no more power than they need.

use std::env;
use std::fs;
use std::time::Duration;

use palisade_api::sidecar;
use palisade_proxy::canary::Canary;
use palisade_proxy::dial::Dial;
use palisade_proxy::listen::Listener;
use palisade_proxy::readiness::{Condition, Readiness};
use palisade_proxy::redirect::{Bypass, Redirect};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::lab::{Lab, Namespace, PART, V4, V6, redirect};

#[test]
#[ignore = "needs root: makes network namespaces"]
fn net_admin_alone_writes_the_redirect() {
    let lab = Lab::new();
    lab.pod
        .run_part_as_init("pods::the_part_of_an_init_container", "yes");
    assert!(lab.listing().contains("chain outbound"));
}

#[test]
#[ignore = "only a part of another test; does nothing by itself"]
fn the_part_of_an_init_container() {
    if env::var(PART).is_err() {
        return;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let powers = status.lines().find(|line| line.starts_with("CapEff:"));
    assert_eq!(powers.unwrap(), "CapEff:\t0000000000001000", "NET_ADMIN");
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap_err();
    let all = Redirect {
        exclude_inbound_ports: vec![9090],
        exclude_outbound_ports: vec![5432],
        exclude_outbound: vec!["10.88.0.0/16".parse().unwrap()],
        drop_datagrams: true,
        ..redirect(Bypass::Uid)
    };
    all.apply().unwrap();
    all.check().unwrap();
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_redirect_is_proved_in_whichever_families_a_pod_has() {
    for (families, disabled) in [
        (&[V4, V6][..], false),
        (&[V4], false),
        (&[V4], true),
        (&[V6], false),
    ] {
        let lab = Lab::of(families);
        if disabled {
            lab.pod.set("ipv6/conf/all/disable_ipv6", "1");
        }
        lab.pod.enter(|| redirect(Bypass::Uid).apply().unwrap());
        let proved = prove(&lab.pod, Duration::from_secs(10));
        assert!(
            proved.is_redirected(),
            "{families:?} {disabled}: {proved:?}"
        );
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_pod_without_the_redirect_or_a_route_is_told_what_it_lacks() {
    let lab = Lab::new();
    lab.pod.run("ip -6 route del default");
    lab.pod.enter(|| redirect(Bypass::Uid).apply().unwrap());
    let proved = prove(&lab.pod, Duration::from_secs(1));
    assert_eq!(proved.redirect_v4, Condition::Met);
    assert!(says(&proved.redirect_v6, "give the pod a default route"));

    lab.pod.enter(|| Redirect::remove().unwrap());
    let proved = prove(&lab.pod, Duration::from_secs(3));
    assert!(says(&proved.redirect_v4, "palisade proxy redirect --apply"));
}

fn says(condition: &Condition, part: &str) -> bool {
    matches!(condition, Condition::NotYet(reason) if reason.contains(part))
}

/// What a proxy in this namespace finds out of its redirect: both families, or what it has by the end of its patience.
fn prove(pod: &Namespace, patience: Duration) -> Readiness {
    pod.enter(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let listener = Listener::bind(sidecar::OUTBOUND_PORT, 16).unwrap();
            let canary = Canary::new().unwrap();
            let (readiness, mut readinesses) = watch::channel(Readiness::starting());
            let dial = Dial {
                mark: None,
                timeout: patience,
            };
            tokio::spawn(canary.clone().probe(dial, readiness));
            tokio::spawn(async move {
                loop {
                    canary.answer(listener.accept().await.stream).await;
                }
            });
            let proved = readinesses.wait_for(Readiness::is_redirected);
            drop(timeout(patience, proved).await);
            readinesses.borrow().clone()
        })
    })
}
