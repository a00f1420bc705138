//! Istio's objects, evaluated as Istio evaluates them: what conversions are held to.
//!
//! Its own reading of the objects, by patterns on text, which shares nothing with the converter. What is of HTTP requests
//! is read as on a TCP port: a denial holds whatever it asks of the request, and an allowance never does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

/// One policy.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) namespace: &'static str,
    pub(super) app: Option<&'static str>,
    pub(super) action: &'static str,
    pub(super) is_dry: bool,
    pub(super) rules: Vec<Rule>,
}

/// One rule: fields of sources, and of operations, by their names.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) from: Option<Vec<Fields>>,
    pub(super) to: Option<Vec<Fields>>,
    pub(super) when: Vec<(&'static str, Vec<&'static str>)>,
}

pub(super) type Fields = BTreeMap<&'static str, Vec<&'static str>>;

/// Who asks for what.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Trust domain, namespace and service account; none: no identity.
    pub(super) id: Option<(&'static str, &'static str, &'static str)>,
    pub(super) addr: IpAddr,
    pub(super) namespace: &'static str,
    pub(super) app: &'static str,
    pub(super) port: u16,
}

/// A mesh: its policies, its modes of mTLS and its trust domains.
#[derive(Debug, Clone)]
pub(super) struct Mesh {
    pub(super) policies: Vec<Policy>,
    /// By namespace; that of the root namespace is the mesh's.
    pub(super) modes: BTreeMap<&'static str, &'static str>,
    pub(super) domains: Vec<&'static str>,
}

pub(super) const ROOT: &str = "istio-system";

impl Mesh {
    /// Whether it lets in, where `unsaid` is the mode where no object says it.
    pub(super) fn allows(&self, asked: &Asked, unsaid: &str) -> bool {
        let mode = self.mode(asked.namespace).unwrap_or(unsaid);
        if asked.id.is_none() && mode == "STRICT" {
            return false;
        }
        let of = |action| {
            let of = self.over(asked);
            of.filter(move |policy| policy.action == action)
        };
        if of("DENY").any(|policy| self.matches(policy, asked)) {
            return false;
        }
        of("ALLOW").next().is_none() || of("ALLOW").any(|policy| self.matches(policy, asked))
    }

    /// The mode that objects give a namespace.
    pub(super) fn mode(&self, namespace: &str) -> Option<&'static str> {
        self.modes
            .get(namespace)
            .or_else(|| self.modes.get(ROOT))
            .copied()
    }

    /// Whether it closes a workload to what nothing allows.
    pub(super) fn is_closed(&self, asked: &Asked) -> bool {
        self.over(asked).any(|policy| policy.action == "ALLOW")
    }

    fn over(&self, asked: &Asked) -> impl Iterator<Item = &Policy> {
        let (namespace, app) = (asked.namespace, asked.app);
        self.policies.iter().filter(move |policy| {
            let is_over = policy.namespace == ROOT || policy.namespace == namespace;
            is_over && !policy.is_dry && policy.app.is_none_or(|own| own == app)
        })
    }

    fn matches(&self, policy: &Policy, asked: &Asked) -> bool {
        policy.rules.iter().any(|rule| {
            let fits = |lists: &Option<Vec<Fields>>| {
                lists.as_ref().is_none_or(|lists| {
                    let mut lists = lists.iter();
                    lists.any(|fields| {
                        let mut fields = fields.iter();
                        fields.all(|(name, values)| self.fits(policy, (name, values), asked))
                    })
                })
            };
            let mut when = rule.when.iter();
            let is_when = when.all(|(key, values)| {
                let name = match *key {
                    "source.namespace" => "namespaces",
                    "source.principal" => "principals",
                    "source.trustDomain" => "trustDomains",
                    "destination.port" => "ports",
                    _ => "paths",
                };
                self.fits(policy, (name, values), asked)
            });
            fits(&rule.from) && fits(&rule.to) && is_when
        })
    }

    fn fits(&self, policy: &Policy, (name, values): (&str, &[&str]), asked: &Asked) -> bool {
        let mut values = values.iter();
        match name {
            "principals" => values.any(|value| self.is_principal(value, asked)),
            "notPrincipals" => !values.any(|value| self.is_principal(value, asked)),
            "namespaces" => values.any(|value| is_namespace(value, asked)),
            "notNamespaces" => !values.any(|value| is_namespace(value, asked)),
            "serviceAccounts" => values.any(|value| {
                let own = format!("{}/{value}", policy.namespace);
                let whole = if value.contains('/') {
                    value
                } else {
                    own.as_str()
                };
                asked
                    .id
                    .is_some_and(|(_, namespace, name)| format!("{namespace}/{name}") == *whole)
            }),
            "trustDomains" => values.any(|value| self.is_domain(value, asked)),
            "ipBlocks" => values.any(|value| {
                let network: IpNet = value.parse().unwrap();
                network.contains(&asked.addr)
            }),
            "ports" => values.any(|value| *value == asked.port.to_string()),
            "notPorts" => !values.any(|value| *value == asked.port.to_string()),
            _ => policy.action == "DENY",
        }
    }

    fn is_domain(&self, value: &str, asked: &Asked) -> bool {
        let is_own = self.domains.contains(&value);
        asked.id.is_some_and(|(domain, ..)| {
            is_like(value, domain) || is_own && self.domains.contains(&domain)
        })
    }

    fn is_principal(&self, value: &str, asked: &Asked) -> bool {
        let Some((domain, namespace, name)) = asked.id else {
            return false;
        };
        let principal = format!("{domain}/ns/{namespace}/sa/{name}");
        let parts: Vec<_> = value.split('/').collect();
        let is_own = parts.len() == 5
            && parts[0] != "*"
            && (parts[0] == "cluster.local" || self.domains.contains(&parts[0]));
        if !is_own {
            return is_like(value, &principal);
        }
        self.domains
            .iter()
            .any(|own| is_like(&format!("{own}/{}", parts[1..].join("/")), &principal))
    }
}

fn is_namespace(value: &str, asked: &Asked) -> bool {
    asked
        .id
        .is_some_and(|(_, namespace, _)| is_like(value, namespace))
}

fn is_like(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern == "*" => !text.is_empty(),
        (Some(end), _) => text.ends_with(end),
        (_, Some(start)) => text.starts_with(start),
        (None, None) => pattern == text,
    }
}

impl Mesh {
    /// The objects, one after the other.
    pub(super) fn yaml(&self) -> String {
        let policies = self.policies.iter().enumerate().map(|(index, policy)| {
            let mut spec = json!({"action": policy.action, "rules": policy.rules.iter().map(rule).collect::<Vec<_>>()});
            if let Some(app) = policy.app {
                spec["selector"] = json!({"matchLabels": {"app": app}});
            }
            let is_dry = policy.is_dry.to_string();
            json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {
                    "name": format!("policy-{index}"),
                    "namespace": policy.namespace,
                    "annotations": {"istio.io/dry-run": is_dry},
                },
                "spec": spec,
            })
        });
        let modes = self.modes.iter().map(|(namespace, mode)| {
            json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "PeerAuthentication",
                "metadata": {"name": "default", "namespace": namespace},
                "spec": {"mtls": {"mode": mode}},
            })
        });
        let objects: Vec<_> = policies
            .chain(modes)
            .map(|object| object.to_string())
            .collect();
        objects.join("\n---\n")
    }
}

fn rule(rule: &Rule) -> Value {
    let mut fields = json!({});
    let wrapped = |lists: &[Fields], name: &str| {
        lists
            .iter()
            .map(|one| json!({name: one}))
            .collect::<Vec<_>>()
    };
    if let Some(from) = &rule.from {
        fields["from"] = wrapped(from, "source").into();
    }
    if let Some(to) = &rule.to {
        fields["to"] = wrapped(to, "operation").into();
    }
    if !rule.when.is_empty() {
        let when = rule.when.iter();
        fields["when"] = when
            .map(|(key, values)| json!({"key": key, "values": values}))
            .collect();
    }
    fields
}
