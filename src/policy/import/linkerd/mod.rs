//! Linkerd's `Server`, `ServerAuthorization`, `AuthorizationPolicy` and the authentications that it refers to.
//!
//! A server becomes a policy, for it says which workloads and which port; each authorization of it becomes a rule.
//! Linkerd has no denials: what is missing narrows, and never widens.

mod authentication;
mod authorization;
mod default;
mod identity;
mod selector;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, Rule, Target};

use super::read::{self, Object, Reasons};
use super::{Converted, File, Made, Origin, Reason, Settings, name, object, passed_over};
use authentication::{Authentication, Authentications};
use authorization::Authorization;
use default::InboundDefault;
use server::Server;

/// Converts what the files hold.
pub(crate) fn convert(files: &[File], settings: &Settings) -> Converted {
    let mut found = Found::default();
    let mut into = Converted::default();
    for file in files {
        let objects = read::objects(&file.name, &file.documents, settings.namespace.as_deref());
        for object in objects.into_iter().map(|one| one.or_of(GROUP, &KINDS)) {
            found.take(&object, (settings, &mut into));
        }
    }
    found.refuse_twice();
    for route in &found.routes {
        server::narrow(&mut found.servers, route);
    }
    for server in &mut found.servers {
        server.object();
    }
    for default in std::mem::take(&mut found.defaults) {
        default.convert(&found, settings, &mut into);
    }
    for authorization in std::mem::take(&mut found.authorizations) {
        authorization.give(&mut found.servers, &found.authentications, &mut into);
    }
    found.authentications.refuse(&mut into);
    for server in found.servers {
        convert_server(server, settings, &mut into);
    }
    let mut made = into.policies.iter();
    if made.any(|policy| policy.made.rules.iter().any(is_everyone)) {
        into.note_everyone(settings);
    }
    if !into.policies.is_empty() {
        into.note_all(
            "Linkerd decides about ports that no Server names by default-inbound-policy, which lets everybody in unless \
             it is set; Palisade closes every workload of the mesh to what no rule allows. Until rules are written for \
             the others, the annotation palisade.dev/authorization: shadow keeps a namespace open",
        );
    }
    into.notes.extend(passed_over(&found.others));
    into.in_order()
}

#[derive(Debug, Default)]
struct Found {
    servers: Vec<Server>,
    authorizations: Vec<Authorization>,
    authentications: Authentications,
    defaults: Vec<InboundDefault>,
    routes: Vec<server::Route>,
    /// The namespaces that are objects of the files.
    namespaces: Vec<String>,
    /// The namespaces in which workloads have defaults of their own.
    with_defaults: BTreeSet<Option<String>>,
    others: BTreeMap<String, usize>,
}

impl Found {
    fn take(&mut self, object: &Object<'_>, (settings, into): (&Settings, &mut Converted)) {
        match (object.group.as_str(), object.kind.as_str()) {
            (GROUP, "Server") => self.servers.push(Server::read(object)),
            (GROUP, "ServerAuthorization") => {
                let read = Authorization::of_servers(object, settings);
                self.authorizations.push(read);
            }
            (GROUP, "AuthorizationPolicy") => {
                self.authorizations
                    .push(Authorization::of_policy(object, settings));
            }
            (GROUP, "MeshTLSAuthentication" | "NetworkAuthentication") => {
                let read = Authentication::read(object, settings);
                self.authentications.add(read);
            }
            (GROUP | "gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => {
                match server::Route::read(object, into) {
                    Some(routes) => self.routes.extend(routes),
                    None => self.pass_over(object),
                }
            }
            (GROUP, _) => {
                let mut reasons = Reasons::default();
                let (reason, remedy) = match object.kind.as_str() {
                    "HTTPLocalRateLimitPolicy" => (
                        "it limits HTTP requests, and Palisade authorizes connections",
                        "keep the limit in the application or a gateway",
                    ),
                    _ => (
                        "there is nothing here that does what this kind does",
                        "keep it elsewhere",
                    ),
                };
                reasons.refuse::<()>(object.root(), reason, remedy);
                into.refuse(&object.origin, reasons);
            }
            ("", "Namespace") => {
                self.namespaces.extend(object.name.clone());
                self.defaults.extend(InboundDefault::read(object));
            }
            _ if default::is_set_by_workload(object, into) => {
                self.with_defaults.insert(object.namespace.clone());
            }
            _ => self.pass_over(object),
        }
    }

    fn pass_over(&mut self, object: &Object<'_>) {
        *self.others.entry(object.shown_kind()).or_insert(0) += 1;
    }

    /// Of two servers of one name only the one that was applied last counts, which the files do not say.
    fn refuse_twice(&mut self) {
        let mut seen: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, server) in self.servers.iter().enumerate() {
            let place = (server.namespace.clone(), server.name.clone());
            seen.entry(place).or_default().push(index);
        }
        for index in seen.into_values().filter(|of| of.len() > 1).flatten() {
            if let Some(server) = self.servers.get_mut(index) {
                let reason = of_object(
                    &server.origin,
                    "another object has its namespace and name",
                    "keep one of them",
                );
                server.reasons.0.push(reason);
            }
        }
    }
}

impl Server {
    /// Refuses a server whose workloads or name no policy can have, before anything is let in to it.
    fn object(&mut self) {
        let somebody = From::Namespace("default".to_owned());
        let probe = AuthorizationPolicy {
            namespace: self.namespace.clone(),
            name: self.name.clone().unwrap_or_default(),
            target: self.target(),
            rules: vec![self.rule("default".to_owned(), vec![somebody])],
        };
        if self.reasons.0.is_empty()
            && let Some((reason, remedy)) = object::objection(&probe)
        {
            let reason = of_object(&self.origin, reason, &remedy);
            self.reasons.0.push(reason);
        }
    }

    fn target(&self) -> Target {
        Target {
            labels: self.pods.clone(),
            ..Target::default()
        }
    }

    fn rule(&self, name: String, from: Vec<From>) -> Rule {
        Rule {
            name,
            effect: Effect::Allow,
            from,
            ports: self.port.into_iter().collect(),
            mode: Mode::Enforce,
            expires: None,
            reason: String::new(),
        }
    }
}

/// A reason that is about an object as a whole.
fn of_object(origin: &Origin, reason: impl Into<String>, remedy: &str) -> Reason {
    Reason {
        line: origin.line,
        field: String::new(),
        reason: reason.into(),
        remedy: remedy.to_owned(),
    }
}

fn convert_server(mut server: Server, settings: &Settings, into: &mut Converted) {
    let policy = made(&server, settings);
    if let Some((reason, remedy)) = policy.as_ref().and_then(object::objection) {
        let reason = of_object(&server.origin, reason, &remedy);
        server.reasons.0.push(reason);
        for (origin, _) in &server.admitted {
            let mut reasons = Reasons::default();
            reasons.0.push(of_object(
                origin,
                "its server is refused",
                "convert the two by hand",
            ));
            into.refuse(origin, reasons);
        }
    }
    if !server.reasons.0.is_empty() {
        return into.refuse(&server.origin, server.reasons);
    }
    let Some(made) = policy else {
        let note = match server.refused {
            0 => {
                "nothing in these files may reach it, which is what Palisade does without a rule: nothing to write"
            }
            _ => {
                "what lets somebody in to it is refused, and nobody may reach it until that is written by hand: Palisade \
                 closes what no rule allows"
            }
        };
        return into.note(&server.origin, note);
    };
    let mut of = vec![server.origin];
    of.extend(server.admitted.into_iter().map(|(origin, _)| origin));
    into.policies.push(Made { of, made });
}

fn is_everyone(rule: &Rule) -> bool {
    rule.from
        .iter()
        .any(|from| matches!(from, From::TrustDomain(_)))
}

/// A server with those that are let in; nothing where nobody is.
fn made(server: &Server, settings: &Settings) -> Option<AuthorizationPolicy> {
    let mut taken = BTreeSet::new();
    let by_name = server
        .admitted
        .iter()
        .map(|(origin, from)| (name::label(origin.name()), from.clone()));
    let by_default = server
        .by_default
        .from(&settings.domains)
        .map(|from| ("access-policy".to_owned(), from));
    let rules: Vec<_> = by_name
        .chain(by_default)
        .map(|(name, from)| server.rule(name::unique(&name, &mut taken), from))
        .collect();
    let name = server.name.clone().filter(|_| !rules.is_empty())?;
    Some(AuthorizationPolicy {
        namespace: server.namespace.clone(),
        name,
        target: server.target(),
        rules,
    })
}

impl Origin {
    /// The name of the object, without its kind and namespace.
    fn name(&self) -> &str {
        let name = self.object.rsplit(' ').next().unwrap_or_default();
        name.rsplit('/').next().unwrap_or_default()
    }
}

pub(super) const GROUP: &str = "policy.linkerd.io";
/// Those that say who may reach whom, but for routes, which are not its own.
const KINDS: [&str; 5] = [
    "Server",
    "ServerAuthorization",
    "AuthorizationPolicy",
    "MeshTLSAuthentication",
    "NetworkAuthentication",
];
