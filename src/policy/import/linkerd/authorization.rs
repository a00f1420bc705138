//! `ServerAuthorization` and `AuthorizationPolicy`: who is let in to which servers.

use palisade_api::policy::From;

use super::super::read::{Field, Fields, Object, Reasons};
use super::super::{Converted, Origin, Settings, object};
use super::authentication::{self, Authentications, Key, account};
use super::selector::Selector;
use super::server::{Server, anyone};
use super::{GROUP, of_object};

/// One of them.
#[derive(Debug)]
pub(super) struct Authorization {
    origin: Origin,
    namespace: Option<String>,
    servers: Servers,
    admits: Admits,
    reasons: Reasons,
}

/// The servers that it is about, of its namespace.
#[derive(Debug)]
enum Servers {
    Named(String),
    Selected(Selector),
    All,
}

/// Whom it lets in.
#[derive(Debug, Default)]
struct Admits {
    from: Vec<From>,
    /// Whether it names nobody, and so means everybody.
    is_anyone: bool,
    /// What it refers to.
    references: Vec<Key>,
    /// What everybody is.
    everybody: Vec<From>,
}

impl Authorization {
    /// `ServerAuthorization`.
    pub(super) fn of_servers(object: &Object<'_>, settings: &Settings) -> Self {
        let mut reasons = Reasons::default();
        let versions = ["v1beta1", "v1alpha1"];
        let read = object.spec(&mut reasons, &versions).and_then(|spec| {
            let fields = reasons.fields(&spec, &["server", "client"], &[])?;
            let servers = fields.get("server").unwrap_or(&fields.of);
            let servers = server(&mut reasons, servers);
            let found = fields.get("client").unwrap_or(&fields.of);
            let from = client(&mut reasons, found, (object, settings));
            servers.zip(from)
        });
        let (servers, from) = read.unwrap_or((Servers::All, Vec::new()));
        let admits = Admits {
            from,
            ..Admits::default()
        };
        Self::new(object, servers, admits, reasons)
    }

    /// `AuthorizationPolicy`.
    pub(super) fn of_policy(object: &Object<'_>, settings: &Settings) -> Self {
        let mut reasons = Reasons::default();
        let read = object.spec(&mut reasons, &["v1alpha1"]).and_then(|spec| {
            let takes = ["targetRef", "requiredAuthenticationRefs"];
            let fields = reasons.fields(&spec, &takes, &[])?;
            let found = fields.get("targetRef").unwrap_or(&fields.of);
            let servers = target(&mut reasons, found, object);
            let admits = required(&mut reasons, &fields, (object, settings));
            servers.zip(admits)
        });
        let (servers, admits) = read.unwrap_or_else(|| (Servers::All, Admits::default()));
        Self::new(object, servers, admits, reasons)
    }

    fn new(object: &Object<'_>, servers: Servers, admits: Admits, reasons: Reasons) -> Self {
        Self {
            origin: object.origin.clone(),
            namespace: object.namespace.clone(),
            servers,
            admits,
            reasons,
        }
    }

    /// Lets its callers in to its servers, or is refused.
    pub(super) fn give(
        mut self,
        servers: &mut [Server],
        authentications: &Authentications,
        into: &mut Converted,
    ) {
        let from = self.admits.resolve(authentications);
        let mut of: Vec<_> = servers
            .iter_mut()
            .filter(|server| server.namespace == self.namespace && self.servers.has(server))
            .collect();
        if self.reasons.0.is_empty() {
            self.check(&from, &of);
        }
        match from {
            Ok(from) if self.reasons.0.is_empty() => {
                for server in &mut of {
                    server.admitted.push((self.origin.clone(), from.clone()));
                }
            }
            Ok(_) | Err(_) => {
                of.iter_mut().for_each(|server| server.refused += 1);
                into.refuse(&self.origin, self.reasons);
            }
        }
    }

    fn check(&mut self, from: &Result<Vec<From>, String>, servers: &[&mut Server]) {
        let mut refuse = |reason: String, remedy: &str| {
            self.reasons.0.push(of_object(&self.origin, reason, remedy));
        };
        match from {
            Ok(from) => {
                if let Some((reason, remedy)) = object::objection_to_sources(from) {
                    refuse(reason, &remedy);
                }
            }
            Err(why) => refuse(why.clone(), "give it too, or name the callers here"),
        }
        if servers.is_empty() {
            let reason = "none of the servers in these files is meant";
            refuse(
                reason.to_owned(),
                "give them too: they say which workloads and ports are protected",
            );
        }
        let refused = servers.iter().find(|server| !server.reasons.0.is_empty());
        if let Some(server) = refused {
            let Origin { file, line, object } = &server.origin;
            let reason = format!("{object} ({file}:{line}), which it is about, is refused");
            refuse(reason, "convert the two by hand");
        }
    }
}

impl Servers {
    fn has(&self, server: &Server) -> bool {
        match self {
            Self::Named(name) => server.name.as_ref() == Some(name),
            Self::Selected(selector) => selector.selects(&server.labels),
            Self::All => true,
        }
    }
}

impl Admits {
    /// Whom it lets in; the error says what is missing.
    fn resolve(&self, authentications: &Authentications) -> Result<Vec<From>, String> {
        let mut from = self.from.clone();
        for key in &self.references {
            let kind = match key.is_network {
                true => "NetworkAuthentication",
                false => "MeshTLSAuthentication",
            };
            let found = authentications.get(key).map_err(|why| {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                let name = key.name.as_deref().unwrap_or_default();
                let name = super::super::shown(&format!("{kind} {namespace}/{name}"));
                format!("it refers to {name}: {why}")
            })?;
            from.extend(found.iter().cloned());
        }
        if self.is_anyone {
            from.extend(self.everybody.iter().cloned());
        }
        Ok(from)
    }
}

/// The servers of a `ServerAuthorization`.
fn server(reasons: &mut Reasons, field: &Field<'_>) -> Option<Servers> {
    let fields = reasons.fields(field, &["name", "selector"], &[])?;
    match (fields.get("name"), fields.get("selector")) {
        (Some(name), None) => reasons.text(name).map(Servers::Named),
        (None, Some(found)) => Selector::read(reasons, found).map(Servers::Selected),
        _ => reasons.refuse(
            field,
            "it has not exactly one of `name` and `selector`",
            "write one of them",
        ),
    }
}

/// The callers of a `ServerAuthorization`.
fn client(
    reasons: &mut Reasons,
    field: &Field<'_>,
    (object, settings): (&Object<'_>, &Settings),
) -> Option<Vec<From>> {
    let fields = reasons.fields(field, &["networks", "unauthenticated", "meshTLS"], &[])?;
    let networks = authentication::networks(reasons, &fields);
    let unauthenticated = match fields.get("unauthenticated") {
        Some(found) => reasons.boolean(found)?,
        None => false,
    };
    let from = match (unauthenticated, fields.get("meshTLS")) {
        (true, None) => Some(anyone(&settings.domains)),
        (false, Some(found)) => mesh_tls(reasons, found, (object, settings)),
        (true, Some(_)) | (false, None) => {
            let reason = "it has not exactly one of `unauthenticated: true` and `meshTLS`";
            reasons.refuse(field, reason, "write one of them")
        }
    };
    networks.and(from)
}

fn mesh_tls(
    reasons: &mut Reasons,
    field: &Field<'_>,
    (object, settings): (&Object<'_>, &Settings),
) -> Option<Vec<From>> {
    let takes = ["unauthenticatedTLS", "identities", "serviceAccounts"];
    let fields = reasons.fields(field, &takes, &[])?;
    if let Some(found) = fields.get("unauthenticatedTLS")
        && reasons.boolean(found)?
    {
        let reason =
            "it lets in callers that speak TLS without an identity, of which Palisade knows none";
        let remedy = "write `unauthenticated: {cidr: …}` for callers without an identity";
        return reasons.refuse(found, reason, remedy);
    }
    let mut from = authentication::identities(reasons, &fields, settings)?;
    if let Some(found) = fields.get("serviceAccounts") {
        for item in reasons.items(found)? {
            let fields = reasons.fields(&item, &["name", "namespace"], &[])?;
            let name = reasons.required(&fields, "name")?;
            let namespace = match fields.get("namespace") {
                Some(found) => reasons.text(found)?,
                None => object.namespace.clone()?,
            };
            from.extend(account(reasons, &item, (&namespace, &name, settings))?);
        }
    }
    if from.is_empty() {
        return reasons.refuse(field, "it lets nobody in", "name identities, or remove it");
    }
    Some(from)
}

/// The servers of an `AuthorizationPolicy`.
fn target(reasons: &mut Reasons, field: &Field<'_>, object: &Object<'_>) -> Option<Servers> {
    let fields = reasons.fields(field, &["group", "kind", "name"], &[])?;
    let group = match fields.get("group") {
        Some(found) => reasons.text(found)?,
        None => String::new(),
    };
    let kind = reasons.required(&fields, "kind")?;
    let name = reasons.required(&fields, "name")?;
    match (group.as_str(), kind.as_str()) {
        (GROUP, "Server") => Some(Servers::Named(name)),
        ("" | "core", "Namespace") if object.namespace.as_ref() == Some(&name) => {
            Some(Servers::All)
        }
        ("" | "core", "Namespace") => reasons.refuse(
            field,
            "it is about another namespace than its own, which Linkerd refuses too",
            "write it in that namespace",
        ),
        (_, "HTTPRoute" | "GRPCRoute") => reasons.refuse(
            field,
            "routes are of HTTP requests, and Palisade authorizes connections",
            "keep this in the application or a gateway, and write a rule here about who may connect",
        ),
        _ => reasons.refuse(field, "this target is not known", "refer to a Server, or to its namespace"),
    }
}

/// What a caller must be, all of it.
fn required(
    reasons: &mut Reasons,
    fields: &Fields<'_>,
    (object, settings): (&Object<'_>, &Settings),
) -> Option<Admits> {
    let Some(found) = fields.get("requiredAuthenticationRefs") else {
        let remedy = "write it; an empty list lets everybody in";
        return reasons.refuse(
            &fields.of,
            "`requiredAuthenticationRefs` is missing",
            remedy,
        );
    };
    let mut admits = Admits {
        is_anyone: true,
        everybody: anyone(&settings.domains),
        ..Admits::default()
    };
    let mut networks = 0_usize;
    for item in reasons.items(found)? {
        let fields = reasons.fields(&item, &["group", "kind", "name", "namespace"], &[])?;
        let group = match fields.get("group") {
            Some(found) => reasons.text(found)?,
            None => String::new(),
        };
        let kind = reasons.required(&fields, "kind")?;
        let name = reasons.required(&fields, "name")?;
        let namespace = match fields.get("namespace") {
            Some(found) => Some(reasons.text(found)?),
            None => object.namespace.clone(),
        };
        let is_network = kind == "NetworkAuthentication";
        if (is_network && networks > 0) || (!is_network && !admits.is_anyone) {
            let reason = "two of one sort must both fit the caller, which Linkerd refuses too";
            return reasons.refuse(&item, reason, "name those that fit both");
        }
        match (group.as_str(), kind.as_str()) {
            (GROUP, "MeshTLSAuthentication" | "NetworkAuthentication") => {
                admits.references.push(Key {
                    is_network,
                    namespace,
                    name: Some(name),
                });
            }
            ("" | "core", "ServiceAccount") => {
                let namespace = namespace.unwrap_or_default();
                let found = account(reasons, &item, (&namespace, &name, settings))?;
                admits.from.extend(found);
            }
            _ => {
                let remedy =
                    "refer to a MeshTLSAuthentication, NetworkAuthentication or ServiceAccount";
                return reasons.refuse(&item, "this kind is not known", remedy);
            }
        }
        networks += usize::from(is_network);
        admits.is_anyone &= is_network;
    }
    Some(admits)
}
