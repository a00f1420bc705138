//! Who is control and who is not, and which place is asked.

use super::*;
use crate::tls::fixture::{Authority, Certified, TRUST_DOMAIN, now, trust_domain};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::TlsAcceptor;

fn control(authority: &Authority) -> Certified {
    let name = format!("spiffe://{TRUST_DOMAIN}/palisade/control");
    authority.custom(|leaf| leaf.uris = vec![name])
}

fn root_of(authority: &Authority) -> ControlTrust {
    let root = authority.certificate();
    let parsed = crate::identity::leaf::parse(&root).unwrap();
    let hash = digest(&SHA256, parsed.public_key().raw);
    ControlTrust::Root(hash.as_ref().try_into().unwrap())
}

fn bundle_of(authority: &Authority) -> ControlTrust {
    let bundles = TrustBundles::new(trust_domain(), authority.bundle());
    ControlTrust::Bundles(Arc::new(bundles), Arc::default())
}

fn anchor_of(authority: &Authority) -> ControlTrust {
    let bundles = TrustBundles::new(trust_domain(), authority.bundle());
    ControlTrust::Anchor(Arc::new(bundles), Arc::default())
}

/// A handshake with a server that has `leaf`, and presents `root` behind it.
async fn meet(
    leaf: Certified,
    root: &Authority,
    alpn: &[u8],
    trust: ControlTrust,
) -> Result<(), ControlError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der, root.certificate()], leaf.key)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let (near, far) = tokio::io::duplex(1 << 16);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let domain = trust_domain();
    let (met, served) = tokio::join!(
        handshake(&domain, trust, None, near, now()),
        acceptor.accept(far)
    );
    // A server may not see that it was refused; it never sees an acceptance that was none.
    assert!(met.is_err() || served.is_ok());
    met.map(|_| ())
}

#[tokio::test]
async fn control_proves_itself_by_the_tokens_root_or_an_anchor_and_later_by_the_bundle() {
    let ours = Authority::new();
    for trust in [root_of(&ours), anchor_of(&ours), bundle_of(&ours)] {
        meet(control(&ours), &ours, HTTP2, trust).await.unwrap();
    }
}

#[tokio::test]
async fn another_root_than_the_tokens_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    // The second presents our root, which did not sign its leaf.
    for (leaf, root) in [(control(&other), &other), (control(&other), &ours)] {
        let met = meet(leaf, root, HTTP2, root_of(&ours)).await;
        assert!(matches!(met, Err(ControlError::WrongRoot)), "{met:?}");
    }
    let met = meet(control(&other), &other, HTTP2, anchor_of(&ours)).await;
    assert!(matches!(met, Err(ControlError::NotByAnchor)), "{met:?}");
    let met = meet(control(&other), &other, HTTP2, bundle_of(&ours)).await;
    assert!(
        matches!(met, Err(ControlError::Peer(PeerError::UnknownAuthority))),
        "{met:?}"
    );
}

#[tokio::test]
async fn a_workload_cannot_pose_as_control() {
    let ours = Authority::new();
    for trust in [root_of(&ours), anchor_of(&ours), bundle_of(&ours)] {
        let met = meet(ours.leaf("web"), &ours, HTTP2, trust).await;
        assert!(
            matches!(&met, Err(ControlError::NotControl { found })
                if found.as_str() == "spiffe://cluster.local/ns/shop/sa/web"),
            "{met:?}"
        );
    }
}

#[tokio::test]
async fn a_leaf_that_breaks_the_standard_is_not_control() {
    let ours = Authority::new();
    let name = trust_domain().control().to_string();
    let two = ours.custom(|leaf| leaf.uris = vec![name, "spiffe://cluster.local/a".into()]);
    let met = meet(two, &ours, HTTP2, root_of(&ours)).await;
    assert!(
        matches!(met, Err(ControlError::Peer(PeerError::ManyUriNames))),
        "{met:?}"
    );
    let foreign = ours.custom(|leaf| leaf.uris = vec!["spiffe://other/palisade/control".into()]);
    let met = meet(foreign, &ours, HTTP2, root_of(&ours)).await;
    assert!(
        matches!(
            met,
            Err(ControlError::Peer(PeerError::UnknownTrustDomain(_)))
        ),
        "{met:?}"
    );
}

#[test]
fn every_place_is_tried_once_beginning_with_any() {
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let order: Vec<_> = from_any(&["a", "b", "c"]).collect();
        firsts.insert(order[0].0);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [(0, &"a"), (1, &"b"), (2, &"c")]);
    }
    assert_eq!(firsts.len(), 3);
    assert_eq!(from_any::<u8>(&[]).count(), 0);
}

#[tokio::test]
async fn where_no_place_answers_each_is_named() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = free.local_addr().unwrap();
    drop(free);
    let control = ControlAddr {
        places: vec![dead.into(), "no-such-name.invalid:15012".parse().unwrap()],
        trust_domain: trust_domain(),
        mark: None,
    };
    let error = dial(&control, anchor_of(&Authority::new()), None, now()).await;
    let error = error.unwrap_err();
    assert!(!error.is_refusal());
    let text = error.to_string();
    let expected = format!("{dead}: control is not reached: Connection refused");
    assert!(text.starts_with(&expected), "{text}");
    assert!(
        text.contains("; no-such-name.invalid:15012: the name is not resolved: "),
        "{text}"
    );
}

#[tokio::test]
async fn a_mesh_peer_is_not_control() {
    let ours = Authority::new();
    let alpn = palisade_api::sidecar::ALPN;
    let met = meet(control(&ours), &ours, alpn, root_of(&ours)).await;
    assert!(matches!(met, Err(ControlError::Protocol)), "{met:?}");
}
