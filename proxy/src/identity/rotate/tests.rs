//! The schedule, and what of control's answers is taken.

use super::*;
use std::sync::Arc;

use palisade_api::wire::Bundle;
use time::macros::datetime;
use tokio::sync::mpsc;

use super::control_double::Proof;
use crate::tls::fixture::{Authority, Leaf, now, trust_domain};

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

#[tokio::test]
async fn the_first_svid_comes_for_a_token_and_the_next_for_the_svid() {
    let authority = Arc::new(Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let join_token = directory.path().join("token");
    let token = token_of(&authority);
    std::fs::write(&join_token, &token).unwrap();
    let (listener, addr) = control_double::listen().await;
    let (proofs, mut proved) = mpsc::unbounded_channel();
    let ttl = time::Duration::seconds(3);
    let rotation = Rotation {
        control: ControlAddr {
            addr,
            trust_domain: trust_domain(),
            mark: None,
        },
        join_token,
    };
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
        never = control_double::serve(listener, Arc::clone(&authority), ttl, proofs) => match never {},
        () = run(rotation, &identity, &state) => panic!("rotation never ends"),
        () = seen => {}
    }
    assert_eq!(proved.recv().await, Some(Proof::Token(token)));
    assert!(matches!(proved.recv().await, Some(Proof::Certificate(_))));
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
