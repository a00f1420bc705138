//! `Identity.Issue`: who gets which name.

use std::time::Duration;

use palisade_api::spiffe::TrustDomain;
use palisade_control::{ca, token};
use rcgen::KeyPair;
use time::OffsetDateTime;
use tonic::Code;

use crate::client::{Svid, chain, csr, issue, join, names};
use crate::mesh::{Mesh, id, token_for};

#[tokio::test]
async fn a_token_is_worth_its_name_for_one_key() {
    let mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let token = mesh.token("web");
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());

    // Twice: an answer can be lost.
    for _ in 0..2 {
        let issued = issue(addr, None, csr(&key, &[]), Some(&token))
            .await
            .unwrap();
        let bundle = issued.bundle.clone().unwrap();
        let chain = chain(issued);
        assert_eq!(names(&chain[0]), [id("web").as_str()]);
        assert_eq!(bundle.trust_domain, "cluster.local");
        assert_eq!(bundle.authorities, [chain[1].to_vec()]);
    }
    let replayed = issue(addr, None, csr(&other, &[]), Some(&token)).await;
    assert_eq!(replayed.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_request_gets_its_own_name_whatever_it_asks_for() {
    let mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let key = KeyPair::generate().unwrap();
    let wished = [
        "spiffe://cluster.local/palisade/control",
        "spiffe://cluster.local/ns/shop/sa/orders",
    ];
    let token = mesh.token("web");
    let issued = issue(addr, None, csr(&key, &wished), Some(&token));
    assert_eq!(
        names(&chain(issued.await.unwrap())[0]),
        [id("web").as_str()]
    );
}

#[tokio::test]
async fn a_caller_that_proves_nothing_gets_nothing() {
    let mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let elsewhere = tempfile::tempdir().unwrap();
    let trust_domain: TrustDomain = "cluster.local".parse().unwrap();
    ca::load_or_create(elsewhere.path(), &trust_domain).unwrap();
    let foreign = token_for(elsewhere.path(), "web", Duration::from_secs(60));
    let ttl = Duration::from_secs(1);
    let past = OffsetDateTime::now_utc() - Duration::from_secs(2);
    let expired = token::create(&mesh.store(), &id("web"), ttl, past).unwrap();
    // No 32 bytes end in this character.
    let token = mesh.token("web");
    let unknown = format!("{}B", token.split_at(token.len() - 1).0);

    let key = KeyPair::generate().unwrap();
    for token in [
        None,
        Some(foreign),
        Some(expired),
        Some(unknown),
        Some("x".into()),
    ] {
        let refused = issue(addr, None, csr(&key, &[]), token.as_deref()).await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::Unauthenticated,
            "{token:?}"
        );
    }
    let mut broken = csr(&key, &[]);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let refused = issue(addr, None, broken, Some(&mesh.token("web"))).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_live_svid_is_renewed_for_its_own_name() {
    let mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let svid = join(addr, &mesh.token("web")).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let renewed = issue(addr, Some(&svid), csr(&key, &[id("orders").as_str()]), None).await;
    let chain = chain(renewed.unwrap());
    assert_eq!(names(&chain[0]), [id("web").as_str()]);
    let renewed = Svid { key, chain };
    let key = KeyPair::generate().unwrap();
    assert!(
        issue(addr, Some(&renewed), csr(&key, &[]), None)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_svid_of_another_authority_is_refused_in_the_handshake() {
    let (ours, theirs) = (Mesh::start().await, Mesh::start().await);
    let elsewhere = theirs.control.as_ref().unwrap().listen();
    let foreign = join(elsewhere, &theirs.token("web")).await.unwrap();
    let addr = ours.control.as_ref().unwrap().listen();
    let request = csr(&foreign.key, &[]);
    assert!(
        issue(elsewhere, Some(&foreign), request.clone(), None)
            .await
            .is_ok()
    );
    assert!(issue(addr, Some(&foreign), request, None).await.is_err());
}

#[tokio::test]
async fn a_revoked_name_is_issued_nothing() {
    let mesh = Mesh::start().await;
    let addr = mesh.control.as_ref().unwrap().listen();
    let mut watch = {
        let orders = join(addr, &mesh.token("orders")).await.unwrap();
        crate::client::Watch::open(addr, Some(&orders), "shop/orders-0", Vec::new())
            .await
            .unwrap()
    };
    watch.in_step().await;
    mesh.write("revoked.yaml", crate::watch::WEB_REVOKED);
    // Once a proxy was told, control knows.
    watch.next().await.unwrap();
    let refused = join(addr, &mesh.token("web")).await;
    assert_eq!(refused.err().unwrap().code(), Code::PermissionDenied);
}
