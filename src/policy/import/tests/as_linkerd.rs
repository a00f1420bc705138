//! Linkerd's objects, evaluated as Linkerd evaluates them, and what conversions of them let in.
//!
//! Identities are compared as the text that they are there, which the converter never makes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_api::policy::{Destination, Policy, Source, Verdict};
use palisade_api::spiffe::SpiffeId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::Mesh;

/// A namespace: at most one server for each workload and port, as Linkerd demands.
#[derive(Debug, Clone)]
struct Namespace {
    servers: Vec<Server>,
    authorizations: Vec<Authorization>,
}

#[derive(Debug, Clone)]
struct Server {
    app: &'static str,
    port: u16,
    access: &'static str,
}

#[derive(Debug, Clone)]
struct Authorization {
    /// The index of its server, as far as there is one; none: all of the namespace.
    server: Option<usize>,
    is_policy: bool,
    client: Client,
    networks: Vec<&'static str>,
}

#[derive(Debug, Clone)]
enum Client {
    Anyone,
    Accounts(Vec<(&'static str, &'static str)>),
    Identities(Vec<&'static str>),
}

/// Service accounts that ask; none has no identity.
const CALLERS: [Option<(&str, &str)>; 5] = [
    None,
    Some(("shop", "web")),
    Some(("shop", "db")),
    Some(("batch", "job")),
    Some(("web", "shop")),
];
const IDENTITIES: [&str; 6] = [
    "*",
    "*.shop.serviceaccount.identity.linkerd.cluster.local",
    "web.shop.serviceaccount.identity.linkerd.cluster.local",
    "job.batch.serviceaccount.identity.linkerd.cluster.local",
    "*.serviceaccount.identity.linkerd.cluster.local",
    "web.shop.serviceaccount.identity.other.cluster.local",
];
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

impl Namespace {
    /// What holds; none where no server names the port.
    fn allows(
        &self,
        caller: Option<(&str, &str)>,
        addr: IpAddr,
        (app, port): (&str, u16),
    ) -> Option<bool> {
        let of = |server: &Server| (server.app, server.port) == (app, port);
        let index = self.servers.iter().position(of)?;
        let by_access = match self.servers[index].access {
            "all-unauthenticated" => true,
            "all-authenticated" => caller.is_some(),
            _ => false,
        };
        let is_let_in = |one: &Authorization| {
            let is_its = one
                .server
                .is_none_or(|server| server % self.servers.len() == index);
            let mut networks = one.networks.iter();
            let is_near = one.networks.is_empty()
                || networks.any(|network| network.parse::<IpNet>().unwrap().contains(&addr));
            is_its && is_near && one.client.is(caller)
        };
        Some(by_access || self.authorizations.iter().any(is_let_in))
    }

    fn yaml(&self) -> String {
        let servers = self.servers.iter().enumerate().map(|(index, server)| {
            let spec = json!({
                "podSelector": {"matchLabels": {"app": server.app}},
                "port": server.port,
                "accessPolicy": server.access,
            });
            object(("v1beta3", "Server"), &format!("server-{index}"), &spec)
        });
        let authorizations = self.authorizations.iter().enumerate();
        let authorizations = authorizations
            .filter(|_| !self.servers.is_empty())
            .flat_map(|(index, one)| {
                let server = one
                    .server
                    .map(|server| format!("server-{}", server % self.servers.len()));
                match one.is_policy {
                    true => one.policy(index, server),
                    false => one.of_server(index, server),
                }
            });
        let objects: Vec<_> = servers
            .chain(authorizations)
            .map(|object| object.to_string())
            .collect();
        objects.join("\n---\n")
    }
}

impl Client {
    fn is(&self, caller: Option<(&str, &str)>) -> bool {
        let name = caller.map(|(namespace, name)| {
            format!("{name}.{namespace}.serviceaccount.identity.linkerd.cluster.local")
        });
        match self {
            Self::Anyone => true,
            Self::Accounts(accounts) => caller.is_some_and(|caller| accounts.contains(&caller)),
            Self::Identities(identities) => name.is_some_and(|name| {
                let mut identities = identities.iter();
                identities.any(|identity| match identity.strip_prefix('*') {
                    Some(end) => name.ends_with(end),
                    None => *identity == name,
                })
            }),
        }
    }
}

impl Authorization {
    fn networks(&self) -> Vec<Value> {
        self.networks
            .iter()
            .map(|cidr| json!({"cidr": cidr}))
            .collect()
    }

    fn of_server(&self, index: usize, server: Option<String>) -> Vec<Value> {
        let server = match server {
            Some(name) => json!({"name": name}),
            None => json!({"selector": {}}),
        };
        let mut client = match &self.client {
            Client::Anyone => json!({"unauthenticated": true}),
            Client::Accounts(accounts) => {
                json!({"meshTLS": {"serviceAccounts": references(accounts, false)}})
            }
            Client::Identities(identities) => json!({"meshTLS": {"identities": identities}}),
        };
        if !self.networks.is_empty() {
            client["networks"] = self.networks().into();
        }
        let spec = json!({"server": server, "client": client});
        vec![object(
            ("v1beta1", "ServerAuthorization"),
            &format!("authz-{index}"),
            &spec,
        )]
    }

    fn policy(&self, index: usize, server: Option<String>) -> Vec<Value> {
        let target = match server {
            Some(name) => json!({"group": "policy.linkerd.io", "kind": "Server", "name": name}),
            None => json!({"kind": "Namespace", "name": "shop"}),
        };
        let name = format!("authz-{index}");
        let (mut objects, mut required) = (Vec::new(), Vec::new());
        let mesh = match &self.client {
            Client::Anyone => None,
            Client::Accounts(accounts) => Some(json!({"identityRefs": references(accounts, true)})),
            Client::Identities(identities) => Some(json!({"identities": identities})),
        };
        let networks = (!self.networks.is_empty()).then(|| json!({"networks": self.networks()}));
        for (kind, spec) in [
            ("MeshTLSAuthentication", mesh),
            ("NetworkAuthentication", networks),
        ] {
            if let Some(spec) = spec {
                objects.push(object(("v1alpha1", kind), &name, &spec));
                required.push(json!({"group": "policy.linkerd.io", "kind": kind, "name": name}));
            }
        }
        let spec = json!({"targetRef": target, "requiredAuthenticationRefs": required});
        objects.push(object(("v1alpha1", "AuthorizationPolicy"), &name, &spec));
        objects
    }
}

fn references(accounts: &[(&str, &str)], have_kinds: bool) -> Vec<Value> {
    let accounts = accounts.iter().map(|(namespace, name)| match have_kinds {
        true => json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}),
        false => json!({"namespace": namespace, "name": name}),
    });
    accounts.collect()
}

fn object((version, kind): (&str, &str), name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("policy.linkerd.io/{version}"),
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    })
}

fn namespace() -> impl Strategy<Value = Namespace> {
    let places = [("orders", 80), ("orders", 8080), ("db", 80), ("db", 5432)];
    let access = select(
        &[
            "deny",
            "deny",
            "deny",
            "all-authenticated",
            "all-unauthenticated",
            "audit",
        ][..],
    );
    let servers =
        (subsequence(places.to_vec(), 0..4), vec(access, 4)).prop_map(|(places, access)| {
            let servers = places.into_iter().zip(access);
            servers
                .map(|((app, port), access)| Server { app, port, access })
                .collect()
        });
    let accounts = vec![("shop", "web"), ("shop", "db"), ("batch", "job")];
    let client = prop_oneof![
        Just(Client::Anyone),
        subsequence(accounts, 1..3).prop_map(Client::Accounts),
        vec(select(&IDENTITIES[..]), 1..3).prop_map(Client::Identities),
    ];
    let networks = prop_oneof![
        4 => Just(Vec::new()),
        2 => Just(ALL.to_vec()),
        1 => Just(vec!["10.0.0.0/8"]),
    ];
    let authorization = (
        proptest::option::of(any::<usize>()),
        any::<bool>(),
        client,
        networks,
    );
    let authorization =
        authorization.prop_map(|(server, is_policy, client, networks)| Authorization {
            server,
            is_policy,
            client,
            networks,
        });
    (servers, vec(authorization, 0..4)).prop_map(|(servers, authorizations)| Namespace {
        servers,
        authorizations,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_conversion_allows_what_linkerd_allows_and_nothing_else(namespace in namespace()) {
        let settings = super::settings(Mesh::Linkerd);
        let text = namespace.yaml();
        let converted = super::convert(Mesh::Linkerd, &text, &settings).unwrap();
        super::assert_sound(&converted);
        let policies = converted.policies.iter().map(|one| one.made.clone());
        let policy = Policy::new(policies.collect());
        for caller in CALLERS {
            for (addr, app, port) in [("10.1.1.1", "orders", 80), ("192.0.2.1", "orders", 80), ("10.1.1.1", "orders", 8080),
                ("192.0.2.1", "db", 80), ("10.1.1.1", "db", 5432), ("192.0.2.1", "db", 5432), ("10.1.1.1", "db", 1)] {
                let addr: IpAddr = addr.parse().unwrap();
                let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
                let destination = Destination {
                    namespace: "shop",
                    service_account: "default",
                    labels: &labels,
                    trust_domain: &settings.domains.own,
                    settings: Default::default(),
                };
                let id: Option<SpiffeId> = caller
                    .map(|(namespace, name)| format!("spiffe://cluster.local/ns/{namespace}/sa/{name}").parse().unwrap());
                let unauthenticated = Source::Unauthenticated(addr);
                let source = id.as_ref().map_or(unauthenticated, Source::Authenticated);
                let decision = policy.decide(source, &destination, port, OffsetDateTime::UNIX_EPOCH);
                let ours = matches!(decision.verdict, Verdict::Allow(_));
                // Where no server names the port, nothing is open here.
                let theirs = namespace.allows(caller, addr, (app, port)).unwrap_or(false);
                prop_assert!(!ours || theirs, "{caller:?} {app}:{port}\n{}of\n{text}", super::printed(&converted));
                if converted.refused.is_empty() {
                    prop_assert_eq!(ours, theirs, "{:?} {}:{}\n{}of\n{}", caller, app, port, super::printed(&converted), text);
                }
            }
        }
    }
}
