//! What is read, what is refused, and where.

mod against;
mod documents;
mod expectations;
mod fuzz;
mod good;
mod held;
mod kinds;
mod lists;
mod objects;
mod places;
mod printed;
mod reading;
mod rules;
mod snippets;
mod sources;
mod text;
mod together;
mod unreachable;

use super::*;

/// A policy that is good; tables change one thing in it.
const POLICY: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - name: web
    effect: allow
    from:
    - serviceAccount: shop/web
    ports: [8080]
    reason: orders
";

const CLUSTER: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: {name: baseline}
spec:
  target: {namespaces: [shop]}
  rules:
  - {name: no-batch, effect: deny, from: [{namespace: batch}]}
";

const WORKLOAD: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {name: orders-0, namespace: shop, labels: {app: orders}}
spec:
  serviceAccount: orders
  addresses: [10.111.0.7, \"fd70::7\"]
  meshed: false
";

const SERVICE: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: Service
metadata: {name: orders, namespace: shop}
spec:
  addresses: [10.112.0.2, \"fd71::2\"]
  selector: {app: orders}
  ports: [{port: 80, targetPort: 8080}]
";

const NAMESPACE: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: Namespace
metadata:
  name: shop
  annotations:
    palisade.dev/mtls: permissive
    palisade.dev/authorization: shadow
    example.com/team: 7
";

const REVOCATIONS: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: Revocations
spec:
  identities: [spiffe://cluster.local/ns/shop/sa/web]
  serials: [\"0a1b\"]
";

const BUNDLE: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: TrustBundle
spec:
  trustDomain: partner.example
  authorities: |
    -----BEGIN CERTIFICATE-----
    AAAA
    -----END CERTIFICATE-----
";

/// What is good, what is written instead, and what is then said, a line each.
type Mistake = (&'static str, &'static str, &'static str);

/// Every mistake is refused, where it stands, and nothing else is said.
fn refuses(text: &str, mistakes: &[Mistake]) {
    assert!(parse("f", text).is_ok(), "{:?}", parse("f", text));
    for (good, bad, expected) in mistakes {
        assert_eq!(text.matches(good).count(), 1, "{good:?}");
        assert_eq!(said(&text.replace(good, bad)), *expected, "{bad:?}");
    }
}

/// What is said of a text, a line each.
fn said(text: &str) -> String {
    match parse("f", text) {
        Ok(manifests) => format!("good: {manifests:?}"),
        Err(diagnostics) => shown(&diagnostics),
    }
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<_> = diagnostics.iter().map(Diagnostic::to_string).collect();
    lines.join("\n")
}
