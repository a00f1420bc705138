//! Refusals of who was revoked, explained by the rules as they are now.

use time::macros::datetime;

use super::super::print;
use super::*;
use crate::policy::rules::sample::rules;
use crate::policy::traffic::sample::{edge, of_shop};

const RULES: &str = "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: web, effect: allow, from: [{serviceAccount: shop/web}], ports: [8080]}
---
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: web-0, namespace: shop}
spec: {serviceAccount: web, addresses: [10.0.0.7]}
";

const ORDERS: &str = "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
";

/// The called side's record of a refused certificate: of who is at the caller's address.
fn refused(replica: &str) -> Edge {
    let mut edge = edge("10.0.0.7", "orders-0", 8080, Was::Denied);
    edge.at = Some(("shop".into(), replica.into()));
    edge.reason = Some("revoked".into());
    edge
}

fn explained(text: &str, mut connection: Connection) -> anyhow::Result<Explained> {
    let now = datetime!(2026-11-22 03:00 UTC);
    let mut answers = decided(&rules(text), &mut connection, 0xa1, now)?;
    assert_eq!(answers.len(), 1, "{answers:?}");
    Ok(answers.remove(0))
}

fn of(edge: Edge) -> Connection {
    Connection {
        edge: Some(edge),
        ..Connection::default()
    }
}

fn with(text: &str, spec: &str) -> String {
    format!("{text}---\napiVersion: palisade.dev/v1alpha1\nkind: Revocations\nspec: {{{spec}}}\n")
}

fn revoked(text: &str, account: &str) -> String {
    with(text, &format!("identities: [{}]", of_shop(account)))
}

#[test]
fn who_is_revoked_is_named_and_where_with_labels_or_without() {
    for (text, account) in [
        (format!("{RULES}{ORDERS}"), "web"),
        (RULES.to_owned(), "web"),
        (RULES.to_owned(), "orders"),
    ] {
        let said = explained(&revoked(&text, account), of(refused("web-0"))).unwrap();
        assert_eq!((&*said.decision, &*said.reason), ("deny", "revoked"));
        let refused = said.revoked.as_ref().unwrap();
        assert_eq!(refused.identity, of_shop(account));
        assert!(refused.place.contains("rules.yaml:"), "{refused:?}");
        assert_eq!((&*said.from, said.presumed), (&*of_shop("web"), true));
        let recorded = said.recorded.as_ref().unwrap();
        assert_eq!(
            (recorded.reason.as_deref(), recorded.direction),
            (Some("revoked"), "inbound")
        );
        let shown = print::answers(&[said]);
        assert!(
            shown.contains("is revoked (") && !shown.contains("by now"),
            "{shown}"
        );
    }
}

#[test]
fn who_is_so_no_longer_is_told_what_would_be_decided() {
    let said = explained(&format!("{RULES}{ORDERS}"), of(refused("web-0"))).unwrap();
    assert_eq!((&*said.decision, said.revoked.as_ref()), ("allow", None));
    let shown = print::answers(&[said]);
    for part in ["recorded: denied: revoked", "neither is revoked by now"] {
        assert!(shown.contains(part), "{shown}");
    }
    let number = with(&format!("{RULES}{ORDERS}"), "serials: [0a1b]");
    let error = explained(&number, of(refused("web-0")))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("may have been by a serial number"),
        "{error}"
    );
    assert!(
        error.ends_with("--from shop/web --to shop/orders --port 8080"),
        "{error}"
    );
}

#[test]
fn what_is_said_to_be_typed_can_be() {
    let error = explained(RULES, of(refused("gone-0")))
        .unwrap_err()
        .to_string();
    assert!(error.contains("it is not known whose"), "{error}");
    assert!(
        error.ends_with("--from CALLER --to shop/orders --port 8080"),
        "{error}"
    );
    for (is_of_handshake, from) in [(true, "shop/web"), (false, "10.0.0.7")] {
        let unsaid = Unsaid {
            is_of_handshake,
            error: Some("untrusted".to_owned()),
            edge: Some(refused("web-0")),
        };
        let connection = Connection {
            unsaid: Some(unsaid),
            ..Connection::default()
        };
        let error = explained(RULES, connection).unwrap_err().to_string();
        assert!(
            error.contains(&format!("--from {from} --to shop/orders")),
            "{error}"
        );
    }
}

/// Who was refused is not told why: the other side is, or the rules tell.
#[test]
fn a_refused_certificate_is_explained_by_who_was_refused() {
    let own = || edge(&of_shop("web"), "orders-0", 8080, Was::Denied);
    let unsaid = || Unsaid {
        is_of_handshake: true,
        error: Some(REFUSED_BY_PEER.to_owned()),
        edge: Some(own()),
    };
    let alone = || Connection {
        is_by_caller: true,
        unsaid: Some(unsaid()),
        ..Connection::default()
    };
    let said = explained(&revoked(RULES, "web"), alone()).unwrap();
    assert_eq!((&*said.reason, said.presumed), ("revoked", false));
    assert_eq!(
        said.recorded.unwrap().reason.as_deref(),
        Some(REFUSED_BY_PEER)
    );
    // Nobody is revoked: it may have been for anything.
    let error = explained(RULES, alone()).unwrap_err().to_string();
    assert!(
        error.contains("(the other side refused the handshake)")
            && error.contains("--from shop/web"),
        "{error}"
    );
    let both = Connection {
        edge: Some(own()),
        among: Some(refused("web-0")),
        ..alone()
    };
    let said = explained(&format!("{RULES}{ORDERS}"), both).unwrap();
    assert_eq!((&*said.decision, said.presumed), ("allow", false));
    let recorded = said.recorded.as_ref().unwrap();
    assert_eq!(
        (recorded.reason.as_deref(), recorded.direction),
        (Some("revoked"), "outbound")
    );
    let shown = print::answers(&[said]);
    assert!(shown.contains("neither is revoked by now"), "{shown}");
}
