//! The schedule, and what of control's answers is taken.

use super::*;
use std::sync::Arc;

use palisade_api::wire::Bundle;
use time::macros::datetime;
use tokio::net::TcpListener;

use super::control_double::{Double, Proof};
use crate::tls::fixture::{Authority, Leaf, now, pem, trust_domain};

const ISSUED: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn an_svid_is_renewed_at_its_half_life() {
    for (lifetime, jitter, after) in [
        (3600, 0.0, 1620.0),
        (3600, 0.5, 1800.0),
        (3600, 1.0, 1980.0),
        (10, 0.0, 4.5),
        (10, 1.0, 5.5),
        (0, 0.5, 0.0),
        (-60, 0.5, 0.0),
    ] {
        let due = renew_at(ISSUED, ISSUED + time::Duration::seconds(lifetime), jitter);
        let waited = (due - ISSUED).as_seconds_f64();
        assert!(
            (waited - after).abs() < 1e-6,
            "{lifetime} {jitter}: {waited}"
        );
    }
}

#[test]
fn retries_back_off_within_what_is_left() {
    for (failures, left, jitter, wait) in [
        (1, None, 0.0, 200),
        (1, None, 1.0, 100),
        (2, None, 0.0, 400),
        (5, None, 0.0, 3_200),
        (5, None, 1.0, 1_600),
        (9, None, 0.0, 30_000),
        (u32::MAX, None, 0.0, 30_000),
        (0, None, 0.0, 200),
        (9, Some(3_600_000), 0.0, 30_000),
        (9, Some(8_000), 0.0, 2_000),
        (9, Some(8_000), 1.0, 2_000),
        (1, Some(8_000), 0.0, 200),
        (9, Some(100), 0.0, 100),
        (9, Some(0), 0.0, 100),
    ] {
        assert_eq!(
            retry_after(failures, left.map(millis), jitter),
            millis(wait),
            "{failures} {left:?} {jitter}"
        );
    }
}

/// What control answers to a request for `key`, with the leaf's names as given.
fn answer(authority: &Authority, key: &KeyPair, uri: &str) -> IssueResponse {
    let leaf = Leaf {
        uris: vec![uri.to_owned()],
        ..Leaf::default()
    };
    IssueResponse {
        chain: vec![authority.certify(leaf, key).to_vec()],
        bundle: Some(Bundle {
            trust_domain: trust_domain().to_string(),
            authorities: vec![authority.certificate().to_vec()],
        }),
    }
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

#[test]
fn an_answer_that_fits_becomes_the_svid_and_the_first_one_brings_the_bundle() {
    let (authority, next) = (Authority::new(), Authority::new());
    let identity = Identity::new(trust_domain());
    let key = KeyPair::generate().unwrap();
    accept(&identity, answer(&authority, &key, WEB), &key, true, now()).unwrap();
    let first = identity.snapshot();
    assert_eq!(first.live_svid(now()).unwrap().id().as_str(), WEB);
    assert_eq!((first.svid_generation, first.trust_generation), (1, 1));

    let key = KeyPair::generate().unwrap();
    accept(&identity, answer(&next, &key, WEB), &key, false, now()).unwrap();
    let renewed = identity.snapshot();
    assert_eq!((renewed.svid_generation, renewed.trust_generation), (2, 1));
}

#[test]
fn an_answer_that_does_not_fit_changes_nothing() {
    let authority = Authority::new();
    let identity = Identity::new(trust_domain());
    let key = KeyPair::generate().unwrap();
    accept(&identity, answer(&authority, &key, WEB), &key, true, now()).unwrap();

    let other_name = answer(&authority, &key, "spiffe://cluster.local/ns/shop/sa/db");
    let refused = accept(&identity, other_name, &key, false, now());
    assert!(matches!(refused, Err(RotateError::OtherName { .. })));

    let foreign = answer(&authority, &key, "spiffe://other/ns/shop/sa/web");
    let refused = accept(&identity, foreign, &key, false, now());
    assert!(matches!(
        refused,
        Err(RotateError::Svid(SvidError::TrustDomain(_)))
    ));

    let other_key = KeyPair::generate().unwrap();
    let mismatched = answer(&authority, &other_key, WEB);
    let refused = accept(&identity, mismatched, &key, false, now());
    assert!(matches!(
        refused,
        Err(RotateError::Svid(SvidError::Mismatch(_)))
    ));

    let bare = IssueResponse {
        bundle: None,
        ..answer(&authority, &key, WEB)
    };
    let refused = accept(&identity, bare, &key, true, now());
    assert!(matches!(refused, Err(RotateError::NoBundle)));
    assert_eq!(identity.snapshot().svid_generation, 1);
}

#[test]
fn the_wait_grows_with_what_is_alike_and_is_short_for_what_comes_soon() {
    let mut row = Row::default();
    let mut wait = |met| {
        row.add(met);
        (row.failures, row.wait(None, 0.0))
    };
    use Obstacle::{Files, NotYet, Other};
    for (met, failures, waited) in [
        (Some(Other), 1, 200),
        (Some(Other), 2, 400),
        (Some(Other), 3, 800),
        (Some(Files), 4, 200),
        (Some(Files), 5, 400),
        (Some(Files), 6, 800),
        (Some(Files), 7, 1_000),
        (Some(Files), 8, 1_000),
        (Some(NotYet), 9, 200),
        (Some(NotYet), 10, 400),
        (None, 0, 200),
        (Some(NotYet), 1, 200),
    ] {
        assert_eq!(wait(met), (failures, millis(waited)), "{met:?}");
    }
    for _ in 0..20 {
        row.add(Some(NotYet));
    }
    assert_eq!(row.wait(None, 0.0), millis(5_000));
    assert_eq!(row.wait(Some(millis(800)), 0.0), millis(200));
}

#[tokio::test]
async fn the_first_svid_comes_for_a_token_and_the_next_for_the_svid() {
    let authority = Arc::new(Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let join_token = directory.path().join("token");
    let token = token_of(&authority);
    std::fs::write(&join_token, &token).unwrap();
    let (listener, addr) = control_double::listen().await;
    let (double, mut proved) = Double::new(&authority, time::Duration::seconds(3));
    let rotation = rotation(addr, Credential::JoinToken(join_token));
    let identity = Identity::new(trust_domain());
    let (state, mut states) = watch::channel(RotationState::default());
    let seen = async {
        let mut snapshots = identity.subscribe();
        let first = snapshots.wait_for(|known| known.svid_generation == 1).await;
        let first = first.unwrap().svid.clone().unwrap();
        let second = snapshots.wait_for(|known| known.svid_generation == 2).await;
        assert_ne!(
            second.unwrap().svid.as_ref().unwrap().serial(),
            first.serial()
        );
        let state = states.wait_for(|state| state.due.is_some()).await.unwrap();
        assert_eq!((&state.last_error, state.failures), (&None, 0));
    };
    tokio::select! {
        never = control_double::serve(listener, double) => match never {},
        () = run(rotation, &identity, &state) => panic!("rotation never ends"),
        () = seen => {}
    }
    assert_eq!(proved.recv().await, Some(Proof::JoinToken(token)));
    assert!(matches!(proved.recv().await, Some(Proof::Certificate(_))));
}

#[tokio::test]
async fn a_service_account_waits_for_its_files_and_for_what_control_does_not_see_yet() {
    let authority = Arc::new(Authority::new());
    let pod = Mounted::new();
    let (listener, addr) = control_double::listen().await;
    let (mut double, mut proved) = Double::new(&authority, time::Duration::seconds(60));
    double.refuse = |_, before| (before < 2).then_some(Code::Unavailable);
    let rotation = rotation(addr, pod.credential());
    let identity = Identity::new(trust_domain());
    let (state, mut states) = watch::channel(RotationState::default());
    let seen = async {
        let mut last_error = async |part: &str| {
            let named = |error: &String| error.contains(part);
            let found = states.wait_for(|state| state.last_error.as_ref().is_some_and(named));
            found.await.unwrap().last_error.clone().unwrap()
        };
        last_error("ca.crt is not there yet: is the namespace's palisade-trust ConfigMap").await;
        pod.write("ca.crt", &pem(&authority.certificate()));
        last_error("token is not there yet").await;
        pod.write("token", "first\n");
        last_error("control refused to issue: refused by the double").await;
        pod.write("token", "second\n");
        let mut snapshots = identity.subscribe();
        let issued = snapshots.wait_for(|known| known.svid_generation == 1).await;
        assert_eq!(issued.unwrap().svid.as_ref().unwrap().id().as_str(), WEB);
    };
    tokio::select! {
        never = control_double::serve(listener, double) => match never {},
        () = run(rotation, &identity, &state) => panic!("rotation never ends"),
        () = seen => {}
    }
    let token = |text: &str| Some(Proof::ServiceAccountToken(text.to_owned()));
    assert_eq!(proved.recv().await, token("first"));
    proved.recv().await.unwrap();
    assert_eq!(proved.recv().await, token("second"));
}

#[tokio::test]
async fn an_svid_that_is_not_renewed_is_replaced_by_a_new_attestation() {
    let authority = Arc::new(Authority::new());
    let pod = Mounted::new();
    pod.write("ca.crt", &pem(&authority.certificate()));
    pod.write("token", "a.b.c");
    let (listener, addr) = control_double::listen().await;
    let (mut double, mut proved) = Double::new(&authority, time::Duration::seconds(3));
    double.refuse = |proof, _| match proof {
        Proof::Certificate(_) => Some(Code::PermissionDenied),
        Proof::JoinToken(_) | Proof::ServiceAccountToken(_) => None,
    };
    issued_twice(listener, double, rotation(addr, pod.credential())).await;
    let token = || Some(Proof::ServiceAccountToken("a.b.c".to_owned()));
    assert_eq!(proved.recv().await, token());
    assert!(matches!(proved.recv().await, Some(Proof::Certificate(_))));
    assert_eq!(proved.recv().await, token());
}

#[tokio::test]
async fn a_control_that_the_anchor_does_not_vouch_for_is_told_no_token() {
    let (authority, other) = (Arc::new(Authority::new()), Authority::new());
    let pod = Mounted::new();
    pod.write("ca.crt", &pem(&other.certificate()));
    pod.write("token", "a.b.c");
    let (listener, addr) = control_double::listen().await;
    let (double, mut proved) = Double::new(&authority, time::Duration::seconds(60));
    let rotation = rotation(addr, pod.credential());
    let identity = Identity::new(trust_domain());
    let mut key = None;
    let refused = tokio::select! {
        never = control_double::serve(listener, double) => match never {},
        issued = issue(&rotation, &identity, &mut key) => issued.unwrap_err(),
    };
    assert!(
        causes(&refused).contains("no authority of the trust anchor vouches"),
        "{refused:?}"
    );
    assert!(proved.try_recv().is_err(), "told nothing");
}

#[tokio::test]
async fn a_dead_replica_is_passed_by() {
    let authority = Arc::new(Authority::new());
    let pod = Mounted::new();
    pod.write("ca.crt", &pem(&authority.certificate()));
    pod.write("token", "a.b.c");
    let (dead, dead_addr) = control_double::listen().await;
    drop(dead);
    let (listener, addr) = control_double::listen().await;
    let (double, _proved) = Double::new(&authority, time::Duration::seconds(60));
    let mut rotation = rotation(addr, pod.credential());
    rotation.control.places = vec![dead_addr.into(), addr.into(), dead_addr.into()];
    let issued = async {
        for _ in 0..8 {
            let identity = Identity::new(trust_domain());
            issue(&rotation, &identity, &mut None).await.unwrap();
        }
    };
    tokio::select! {
        never = control_double::serve(listener, double) => match never {},
        () = issued => {}
    }
}

/// Rotates until a second SVID was issued.
async fn issued_twice(listener: TcpListener, double: Double, rotation: Rotation) {
    let identity = Identity::new(trust_domain());
    let (state, _states) = watch::channel(RotationState::default());
    let mut snapshots = identity.subscribe();
    tokio::select! {
        never = control_double::serve(listener, double) => match never {},
        () = run(rotation, &identity, &state) => panic!("rotation never ends"),
        second = snapshots.wait_for(|known| known.svid_generation == 2) => drop(second.unwrap()),
    }
}

fn rotation(addr: std::net::SocketAddr, credential: Credential) -> Rotation {
    Rotation {
        control: ControlAddr {
            places: vec![addr.into()],
            trust_domain: trust_domain(),
            mark: None,
        },
        credential,
    }
}

/// What a pod has of its service account.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn credential(&self) -> Credential {
        Credential::ServiceAccount {
            token: self.0.path().join("token"),
            anchor: self.0.path().join("ca.crt"),
        }
    }

    /// Puts a file there at once, as the kubelet does.
    fn write(&self, name: &str, content: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, self.0.path().join(name)).unwrap();
    }
}

/// A token that names the authority; its secret is one that this control does not look at.
fn token_of(authority: &Authority) -> String {
    let root = authority.certificate();
    let parsed = crate::identity::leaf::parse(&root).unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parsed.public_key().raw);
    format!("palisade1.{}.{}", encode(hash.as_ref()), encode(&[7; 32]))
}

fn encode(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits = format!("{bits:0<258}");
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..43)
        .map(|at| usize::from_str_radix(&digits[at * 6..at * 6 + 6], 2).unwrap())
        .map(|digit| char::from(alphabet[digit]))
        .collect()
}
