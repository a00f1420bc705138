//! Mistakes in the other kinds.

use super::*;

#[test]
fn a_mistake_in_any_kind_is_refused_where_it_stands() {
    refuses(CLUSTER, OF_CLUSTER);
    refuses(WORKLOAD, OF_WORKLOAD);
    refuses(SERVICE, OF_SERVICE);
    refuses(NAMESPACE, OF_NAMESPACE);
    refuses(REVOCATIONS, OF_REVOCATIONS);
    refuses(BUNDLE, OF_BUNDLE);
}

pub(super) const OF_CLUSTER: &[Mistake] = &[
    (
        "{name: baseline}",
        "{name: baseline, namespace: shop}",
        "f:3:28: this kind belongs to no namespace; remove it and name the namespaces in `target`, or make it an AuthorizationPolicy",
    ),
    (
        "[shop]",
        "[]",
        "f:5:24: `namespaces` is an empty list; leave `namespaces` out to protect all",
    ),
    (
        "[shop]",
        "[\"*\"]",
        "f:5:25: `namespaces` cannot be \"*\"; write the whole name: there are no wildcards within a name",
    ),
    (
        "[shop]",
        "shop",
        "f:5:24: `namespaces` is text, not a list; write `namespaces: [ … ]`, or each entry after a dash",
    ),
    (
        "[{namespace: batch}]",
        "[]",
        "f:7:42: `from` is an empty list; say whom the rule is about, as in `- serviceAccount: shop/web`",
    ),
    (
        "  rules:\n  - {name: no-batch, effect: deny, from: [{namespace: batch}]}",
        "  rules: []",
        "f:6:10: `rules` is an empty list; name at least one rule, or remove the policy: a workload without any rule is closed",
    ),
];

const OF_WORKLOAD: &[Mistake] = &[
    (
        "name: orders-0, ",
        "",
        "f:3:11: `name` is missing; write `name: …`",
    ),
    (
        "  serviceAccount: orders\n",
        "",
        "f:5:3: `serviceAccount` is missing; write the service account that it runs as",
    ),
    (
        "serviceAccount: orders",
        "serviceAccount: shop/orders",
        "f:5:19: `serviceAccount` cannot be \"shop/orders\"; write at most 253 lower-case letters, digits, dashes and dots, a letter or digit at both ends and around each dot",
    ),
    (
        "  addresses: [10.111.0.7, \"fd70::7\"]\n",
        "",
        "f:5:3: `addresses` is missing; write `addresses: [10.111.0.7, \"fd70::7\"]`",
    ),
    (
        "[10.111.0.7, \"fd70::7\"]",
        "[]",
        "f:6:14: `addresses` is an empty list; name at least one address",
    ),
    (
        "\"fd70::7\"",
        "10.111.0.7",
        "f:6:27: the address 10.111.0.7 is listed twice; list each address once",
    ),
    (
        "\"fd70::7\"",
        "\"::ffff:10.111.0.7\"",
        "f:6:27: ::ffff:10.111.0.7 is not an address that one workload or service can have; write a unicast address, IPv4 as IPv4, and no loopback",
    ),
    (
        "10.111.0.7",
        "127.0.0.1",
        "f:6:15: 127.0.0.1 is not an address that one workload or service can have; write a unicast address, IPv4 as IPv4, and no loopback",
    ),
    (
        "10.111.0.7",
        "0.0.0.0",
        "f:6:15: 0.0.0.0 is not an address that one workload or service can have; write a unicast address, IPv4 as IPv4, and no loopback",
    ),
    (
        "10.111.0.7",
        "10.111.0.0/24",
        "f:6:15: \"10.111.0.0/24\" is no IP address; write one like 10.111.0.7 or fd70::7",
    ),
    (
        "10.111.0.7",
        "7",
        "f:6:15: `addresses` is a number, not text; put it in quotes",
    ),
    (
        "meshed: false",
        "meshed: no",
        "f:7:11: `meshed` is text; write true or false",
    ),
    (
        "meshed: false",
        "mesh: false",
        "f:7:3: `spec` has no field \"mesh\"; its fields are `serviceAccount`, `addresses` or `meshed`",
    ),
    (
        "{app: orders}",
        "[app]",
        "f:3:53: `labels` is a list, not labels; write `labels: {app: orders}`",
    ),
];

const OF_SERVICE: &[Mistake] = &[
    (
        "  selector: {app: orders}\n",
        "",
        "f:5:3: `selector` is missing; write `selector: {app: orders}`",
    ),
    (
        "{app: orders}",
        "{}",
        "f:6:13: `selector` is empty; name at least one label of its workloads",
    ),
    (
        "[{port: 80, targetPort: 8080}]",
        "[]",
        "f:7:10: `ports` is an empty list; name at least one port: one that is not listed leads nowhere",
    ),
    (
        "[{port: 80, targetPort: 8080}]",
        "[80]",
        "f:7:11: `ports` is a number, not fields; write `port:` or `targetPort:`",
    ),
    (
        "port: 80, ",
        "",
        "f:7:11: `port` is missing; write `port: 8080`",
    ),
    (
        "targetPort: 8080",
        "targetPort: http",
        "f:7:34: \"http\" is no port; write a number from 1 to 65535",
    ),
    (
        "targetPort: 8080",
        "nodePort: 8080",
        "f:7:22: `ports` has no field \"nodePort\"; its fields are `port` or `targetPort`",
    ),
    (
        "{port: 80, targetPort: 8080}",
        "{port: 80}, {port: 80, targetPort: 81}",
        "f:7:30: port 80 is listed twice; list each port once",
    ),
    (
        "name: orders",
        "name: orders.x",
        "f:3:18: `name` cannot be \"orders.x\"; write at most 63 lower-case letters, digits and dashes, a letter or digit at both ends",
    ),
];

const OF_NAMESPACE: &[Mistake] = &[
    (
        "permissive",
        "Permissive",
        "f:6:24: `palisade.dev/mtls` cannot be \"Permissive\"; did you mean `permissive`?",
    ),
    (
        ": shadow",
        ": true",
        "f:7:33: `palisade.dev/authorization` is a boolean, not text; put it in quotes",
    ),
    (
        "palisade.dev/mtls",
        "palisade.dev/mTLS",
        "f:6:5: there is no annotation \"palisade.dev/mTLS\"; did you mean `palisade.dev/mtls`?",
    ),
    (
        "  name: shop",
        "  name: shop.x",
        "f:4:9: `name` cannot be \"shop.x\"; write at most 63 lower-case letters, digits and dashes, a letter or digit at both ends",
    ),
    (
        "  name: shop",
        "  name: shop\n  namespace: shop",
        "f:5:3: this kind belongs to no namespace; remove `namespace`; the name of a Namespace is its `name`",
    ),
    (
        "kind: Namespace",
        "kind: Namespace\nspec: {mtls: permissive}",
        "f:3:1: a namespace has no `spec`; set it by its annotations",
    ),
];

const OF_REVOCATIONS: &[Mistake] = &[
    (
        "[spiffe://cluster.local/ns/shop/sa/web]",
        "[]",
        "f:4:15: `identities` is an empty list; name at least one, or leave the field out",
    ),
    (
        "spiffe://cluster.local/ns/shop/sa/web",
        "shop/web",
        "f:4:16: \"shop/web\" is no SPIFFE ID: a SPIFFE ID begins with spiffe:// in lower case; write it like spiffe://cluster.local/ns/shop/sa/web",
    ),
    (
        "\"0a1b\"",
        "\"0A1B\"",
        "f:5:13: \"0A1B\" is no serial number; write lower-case hex, two digits a byte, at most 20 bytes, as `peer_serial` in the records",
    ),
    (
        "\"0a1b\"",
        "\"a1b\"",
        "f:5:13: \"a1b\" is no serial number; write lower-case hex, two digits a byte, at most 20 bytes, as `peer_serial` in the records",
    ),
    (
        "\"0a1b\"",
        "1010",
        "f:5:13: `serials` is a number, not text; put it in quotes",
    ),
    (
        "\"0a1b\"",
        "\"000102030405060708090a0b0c0d0e0f1011121314\"",
        "f:5:13: \"000102030405060708090a0b0c0d0e0f1011121314\" is no serial number; write lower-case hex, two digits a byte, at most 20 bytes, as `peer_serial` in the records",
    ),
    (
        "  identities: [spiffe://cluster.local/ns/shop/sa/web]\n  serials: [\"0a1b\"]",
        "  {}",
        "f:4:3: nothing is revoked; name identities or serials, or remove the document",
    ),
];

const OF_BUNDLE: &[Mistake] = &[
    (
        "partner.example",
        "Partner.example",
        "f:4:16: \"Partner.example\" is no trust domain: a trust domain has only lower-case letters, digits, dots, dashes and underscores; write it like cluster.local, without spiffe://",
    ),
    (
        "  trustDomain: partner.example\n",
        "",
        "f:4:3: `trustDomain` is missing; write the foreign trust domain",
    ),
    (
        "BEGIN CERTIFICATE",
        "BEGIN X",
        "f:6:5: `authorities` holds no certificate; write the certificates of its authorities, PEM, after `authorities: |`",
    ),
    (
        "BEGIN CERTIFICATE",
        "BEGIN PRIVATE KEY",
        "f:6:5: `authorities` holds a private key; remove it, and take it for known to others from now on",
    ),
];
