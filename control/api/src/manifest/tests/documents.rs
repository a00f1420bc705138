//! Mistakes in what surrounds the rules: version, kind, metadata, target.

use super::*;

#[test]
fn a_mistake_around_the_rules_is_refused_where_it_stands() {
    refuses(POLICY, AROUND);
}

/// What helm and kustomize read lies beside rules, and is not to be mended field by field.
#[test]
fn what_is_no_object_is_one_mistake() {
    let other = "apiVersion: v2\nname: shop\nversion: 0.1.0\n";
    assert_eq!(
        said(other),
        "f:1:1: `document` is no object: it has neither `kind` nor `metadata` nor `spec`; write `apiVersion: \
         palisade.dev/v1alpha1`, `kind:`, `metadata:` and `spec:`; of what helm or kustomize reads, check what they make of \
         it: `kustomize build . | palisade policy check -`"
    );
    let misspelt = said("apiVersion: palisade.dev/v1alpha1\nkimd: Namespace\n");
    assert!(misspelt.contains("did you mean `kind`?"), "{misspelt}");
}

/// Of a rule that is wrong, whatever is wrong around it.
#[test]
fn a_mistake_around_the_rules_hides_none_within() {
    let wrong = POLICY.replace("[8080]", "[0]");
    let within = "f:11:13: 0 is no port; write a number from 1 to 65535";
    for (good, bad, around) in [
        (
            "v1alpha1",
            "v1",
            "f:1:13: `apiVersion` cannot be \"palisade.dev/v1\"; write `apiVersion: palisade.dev/v1alpha1`",
        ),
        (
            "palisade.dev/v1alpha1",
            "1",
            "f:1:13: `apiVersion` is a number, not text; put it in quotes",
        ),
        (
            "apiVersion",
            "apiversion",
            "f:1:1: `document` has no field \"apiversion\"; did you mean `apiVersion`?",
        ),
        (
            "kind: AuthorizationPolicy",
            "kind: AuthorisationPolicy",
            "f:2:7: there is no kind \"AuthorisationPolicy\"; did you mean `AuthorizationPolicy`?",
        ),
        (
            "kind: AuthorizationPolicy",
            "kind: Policy",
            "f:2:7: there is no kind \"Policy\"; write `AuthorizationPolicy`, `ClusterAuthorizationPolicy`, `Workload`, `Service`, `Namespace`, `Revocations` or `TrustBundle`",
        ),
        (
            "spec:",
            "spek:",
            "f:4:1: `document` has no field \"spek\"; did you mean `spec`?",
        ),
        (
            "  rules:",
            "  rule:",
            "f:6:3: `spec` has no field \"rule\"; did you mean `rules`?",
        ),
    ] {
        assert_eq!(wrong.matches(good).count(), 1, "{good:?}");
        let expected = match bad {
            // Nobody can tell what it was meant to be.
            "kind: Policy" => around.to_owned(),
            _ => format!("{around}\n{within}"),
        };
        assert_eq!(said(&wrong.replace(good, bad)), expected, "{bad:?}");
    }
}

#[test]
fn expectations_of_a_kind_that_is_misspelt_are_read_as_such() {
    let text = "\
apiVersion: palisade.dev/v1
kind: PolicyTests
metadata: {name: a}
spec:
  tests:
  - {from: shop/web, to: shop/orders, port: 0, expect: allow}
";
    let expected = "\
f:1:13: `apiVersion` cannot be \"palisade.dev/v1\"; write `apiVersion: palisade.dev/v1alpha1`
f:2:7: there is no kind \"PolicyTests\"; did you mean `PolicyTest`?
f:6:45: 0 is no port; write a number from 1 to 65535";
    assert_eq!(said(text), expected);
    let right = text
        .replace("v1\n", "v1alpha1\n")
        .replace("port: 0", "port: 1");
    assert!(
        said(&right).starts_with("f:2:7: there is no kind"),
        "{right}"
    );
}

#[test]
fn others_documents_are_told_from_ours_by_what_was_most_likely_meant() {
    for (version, kind, expected) in [
        ("palisade.dev/v1alpha1", "AuthorizationPolicy", true),
        ("palisade.dev/v2", "Anything", true),
        ("palisade.io/v1alpha1", "AuthorizationPolicy", true),
        ("pallisade.dev/v1", "Workload", true),
        ("palisade/v1", "Namespace", true),
        ("v1alpha1", "AuthorizationPolicy", true),
        ("v1", "PolicyTest", true),
        ("v1", "Service", false),
        ("v1", "List", false),
        ("apps/v1", "Deployment", false),
        ("security.istio.io/v1", "AuthorizationPolicy", false),
        ("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", false),
        ("policy/v1", "PodDisruptionBudget", false),
    ] {
        assert_eq!(is_ours(version, kind), expected, "{version} {kind}");
    }
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
