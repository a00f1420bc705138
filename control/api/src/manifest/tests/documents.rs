//! Mistakes in what surrounds the rules: version, kind, metadata, target.

use super::*;

#[test]
fn a_mistake_around_the_rules_is_refused_where_it_stands() {
    refuses(POLICY, AROUND);
}

pub(super) const AROUND: &[Mistake] = &[
    (
        "apiVersion: palisade.dev/v1alpha1\n",
        "",
        "f:1:1: `apiVersion` is missing; write `apiVersion: palisade.dev/v1alpha1`",
    ),
    (
        "v1alpha1",
        "v1",
        "f:1:13: `apiVersion` cannot be \"palisade.dev/v1\"; write `apiVersion: palisade.dev/v1alpha1`",
    ),
    (
        "kind: AuthorizationPolicy\n",
        "",
        "f:1:1: `kind` is missing; write `AuthorizationPolicy`, `ClusterAuthorizationPolicy`, `Workload`, `Service`, `Namespace`, `Revocations` or `TrustBundle`",
    ),
    (
        "kind: AuthorizationPolicy",
        "kind: AuthorisationPolicy",
        "f:2:7: there is no kind \"AuthorisationPolicy\"; did you mean `AuthorizationPolicy`?",
    ),
    (
        "kind: AuthorizationPolicy",
        "kind: 7",
        "f:2:7: `kind` is a number, not text; put it in quotes",
    ),
    (
        "kind: AuthorizationPolicy",
        "kind: AuthorizationPolicy\nstate: {}",
        "f:3:1: `document` has no field \"state\"; its fields are `apiVersion`, `kind`, `metadata` or `spec`",
    ),
    (
        "metadata: {name: orders, namespace: shop}\n",
        "",
        "f:1:1: `metadata` is missing; write `metadata: {name: …, namespace: …}`",
    ),
    (
        "{name: orders, namespace: shop}",
        "{name: orders}",
        "f:3:11: `namespace` is missing; write the namespace that it belongs to: none is the default",
    ),
    (
        "{name: orders, namespace: shop}",
        "{namespace: shop}",
        "f:3:11: `name` is missing; write `name: …`",
    ),
    (
        "{name: orders, namespace: shop}",
        "{name: Orders, namespace: shop}",
        "f:3:18: `name` cannot be \"Orders\"; write at most 253 lower-case letters, digits, dashes and dots, a letter or digit at both ends and around each dot",
    ),
    (
        "{name: orders, namespace: shop}",
        "{name: orders, namespace: a.b}",
        "f:3:37: `namespace` cannot be \"a.b\"; write at most 63 lower-case letters, digits and dashes, a letter or digit at both ends",
    ),
    (
        "{name: orders, namespace: shop}",
        "{name: orders, namespace: 7}",
        "f:3:37: `namespace` is a number, not text; put it in quotes",
    ),
    (
        "{name: orders, namespace: shop}",
        "{name: orders, namespace: shop, owner: a}",
        "f:3:43: `metadata` has no field \"owner\"; its fields are `name`, `namespace`, `labels` or `annotations`",
    ),
    (
        "{name: orders, namespace: shop}",
        "orders",
        "f:3:11: `metadata` is text, not fields; write `name:`, `namespace:`, `labels:` or `annotations:`",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {}",
        "f:5:11: `target` selects by nothing; leave it out to protect every workload",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {labels: {}}",
        "f:5:20: `labels` is empty; leave it out to protect every workload",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {label: {app: orders}}",
        "f:5:12: `target` has no field \"label\"; did you mean `labels`?",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {labels: {app: 1.10}}",
        "f:5:26: `app` is a number, not text; put it in quotes",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {labels: {app: a b}}",
        "f:5:26: `app` cannot be \"a b\"; write at most 63 letters, digits, dashes, underscores and dots, a letter or digit at both ends",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {labels: {a/b/c: orders}}",
        "f:5:21: `labels` has no label \"a/b/c\"; write at most 63 letters, digits, dashes, underscores and dots, a letter or digit at both ends; a DNS name and a slash may stand before",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {namespaces: [shop]}",
        "f:5:12: this policy protects its own namespace, `shop`, and names no others; remove `namespaces`, or make it a ClusterAuthorizationPolicy",
    ),
    (
        "target: {labels: {app: orders}}",
        "target: {serviceAccount: shop/orders}",
        "f:5:28: a target's `serviceAccount` has no namespace: that is said elsewhere; write its name only, as in `serviceAccount: orders`",
    ),
    (
        "target: {labels: {app: orders}}",
        "target:",
        "f:5:9: `target` is empty, not fields; write `labels:`, `serviceAccount:` or `namespaces:`",
    ),
    (
        "apiVersion: palisade.dev/v1alpha1\n",
        "apiVersion: palisade.dev/v1alpha1\nspec: {}\n",
        "f:5:1: duplicate mapping key `spec` is not allowed here; write each field once",
    ),
    (
        "spec:\n",
        "specs:\n",
        "f:4:1: `document` has no field \"specs\"; did you mean `spec`?",
    ),
];
