//! Mistakes in whom a rule is about.

use super::*;

#[test]
fn a_mistake_in_a_source_is_refused_where_it_stands() {
    refuses(POLICY, IN_A_SOURCE);
}

pub(super) const IN_A_SOURCE: &[Mistake] = &[
    (
        "- serviceAccount: shop/web",
        "- shop/web",
        "f:10:7: a source is text, which does not say what it names; write `serviceAccount:`, `identity:`, `namespace:`, `trustDomain:` or `unauthenticated:` and whom",
    ),
    (
        "- serviceAccount: shop/web",
        "- {}",
        "f:10:7: a source names nobody; write `serviceAccount:`, `identity:`, `namespace:`, `trustDomain:` or `unauthenticated:` and whom",
    ),
    (
        "- serviceAccount: shop/web",
        "- serviceAccount: shop/web\n      namespace: shop",
        "f:11:7: a source has exactly one key, not also \"namespace\"; begin a new entry with `- namespace:`; a rule is about any one of its entries, never about two at once",
    ),
    (
        "- serviceAccount: shop/web",
        "- serviceaccount: shop/web",
        "f:10:7: there is no source \"serviceaccount\"; did you mean `serviceAccount`?",
    ),
    (
        "- serviceAccount: shop/web",
        "- serviceAccount: web",
        "f:10:23: \"web\" is no service account of a namespace; write NAMESPACE/NAME, as in `serviceAccount: shop/web`",
    ),
    (
        "- serviceAccount: shop/web",
        "- serviceAccount: shop/*",
        "f:10:23: `serviceAccount` takes no wildcards, as in \"shop/*\"; name each one as NAMESPACE/NAME, or write `namespace: …` for all of a namespace",
    ),
    (
        "- serviceAccount: shop/web",
        "- identity: spiffe://cluster.local/ns/*/sa/web",
        "f:10:17: `identity` takes no wildcards, as in \"spiffe://cluster.local/ns/*/sa/web\"; name each identity, or write `namespace: …` for all of a namespace or `trustDomain: …` for all of a trust domain",
    ),
    (
        "- serviceAccount: shop/web",
        "- identity: \"spiffe://cluster.local/ns/.*/sa/web\"",
        "f:10:17: `identity` takes no regular expressions, as in \"spiffe://cluster.local/ns/.*/sa/web\"; name each identity, or write `namespace: …` for all of a namespace or `trustDomain: …` for all of a trust domain",
    ),
    (
        "- serviceAccount: shop/web",
        "- identity: \"^spiffe://cluster.local/ns/a/sa/web$\"",
        "f:10:17: `identity` takes no regular expressions, as in \"^spiffe://cluster.local/ns/a/sa/web$\"; name each identity, or write `namespace: …` for all of a namespace or `trustDomain: …` for all of a trust domain",
    ),
    (
        "- serviceAccount: shop/web",
        "- identity: cluster.local/ns/shop/sa/web",
        "f:10:17: \"cluster.local/ns/shop/sa/web\" is no SPIFFE ID: a SPIFFE ID begins with spiffe:// in lower case; write it like spiffe://cluster.local/ns/shop/sa/web",
    ),
    (
        "- serviceAccount: shop/web",
        "- identity: spiffe://cluster.local",
        "f:10:17: \"spiffe://cluster.local\" is no SPIFFE ID: the path is missing; a workload's name is like spiffe://cluster.local/ns/shop/sa/web; write it like spiffe://cluster.local/ns/shop/sa/web",
    ),
    (
        "- serviceAccount: shop/web",
        "- namespace: \"*\"",
        "f:10:18: `namespace` takes no wildcards, as in \"*\"; name each namespace, or write `trustDomain: …` for every identity of a trust domain",
    ),
    (
        "- serviceAccount: shop/web",
        "- namespace: Shop",
        "f:10:18: `namespace` cannot be \"Shop\"; write at most 63 lower-case letters, digits and dashes, a letter or digit at both ends",
    ),
    (
        "- serviceAccount: shop/web",
        "- trustDomain: \"*\"",
        "f:10:20: `trustDomain` takes no wildcards, as in \"*\"; name each trust domain",
    ),
    (
        "- serviceAccount: shop/web",
        "- trustDomain: spiffe://partner.example",
        "f:10:20: \"spiffe://partner.example\" is no trust domain: a trust domain has only lower-case letters, digits, dots, dashes and underscores; write it like cluster.local, without spiffe://",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {}",
        "f:10:24: `cidr` is missing; write `unauthenticated: {cidr: 10.2.0.0/16}`",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: 10.0.0.0/8",
        "f:10:24: `unauthenticated` is text, not fields; write `cidr:`",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {cidr: 10.2.3.4/16}",
        "f:10:31: \"10.2.3.4/16\" has bits set after its prefix; write 10.2.0.0/16 for the network or 10.2.3.4/32 for the address",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {cidr: 10.2.3.4}",
        "f:10:31: \"10.2.3.4\" is no network; write 10.2.3.4/32 for this one address",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {cidr: \"fd70::1\"}",
        "f:10:31: \"fd70::1\" is no network; write fd70::1/128 for this one address",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {cidr: 10.2.0.0/33}",
        "f:10:31: \"10.2.0.0/33\" is no network; write one like 10.2.0.0/16 or fd70::/64",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {cidr: \"::ffff:10.2.0.0/112\"}",
        "f:10:31: \"::ffff:10.2.0.0/112\" is an IPv4 network in IPv6's form, which no source has; write it as IPv4",
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {cidr: 10.0.0.0/8, except: 10.1.0.0/16}",
        "f:10:43: `unauthenticated` has no field \"except\"; its fields are `cidr`",
    ),
];
