//! `Server`: workloads, and a port of them.

use std::collections::BTreeMap;

use palisade_api::policy::{From, PortRange};

use super::super::read::{Fields, Object, Reasons, Unlike};
use super::super::who::{Domains, unidentified};
use super::super::{Converted, Origin};
use super::{GROUP, of_object};

/// A server, and who is let in to it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) origin: Origin,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// Its own labels, by which a `ServerAuthorization` selects it.
    pub(super) labels: BTreeMap<String, String>,
    /// Those of its workloads; empty: all of the namespace.
    pub(super) pods: BTreeMap<String, String>,
    pub(super) port: Option<PortRange>,
    pub(super) by_default: ByDefault,
    pub(super) reasons: Reasons,
    /// Who is let in, and by what.
    pub(super) admitted: Vec<(Origin, Vec<From>)>,
    /// How many that would let somebody in are refused.
    pub(super) refused: usize,
}

/// Who may do what no authorization is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByDefault {
    Nobody,
    Identified,
    Anyone,
    /// Anyone, and it is written down.
    Audited,
}

impl ByDefault {
    /// By the word for it; the error says why it cannot be converted, and what to do instead.
    pub(super) fn parse(word: &str) -> Result<Self, (&'static str, &'static str)> {
        match word {
            "deny" => Ok(Self::Nobody),
            "all-authenticated" => Ok(Self::Identified),
            "all-unauthenticated" => Ok(Self::Anyone),
            "audit" => Ok(Self::Audited),
            "cluster-authenticated" => Err((
                "it is about the addresses of callers with an identity, which Palisade does not ask for",
                "write all-authenticated, if callers of other clusters have identities that may come too",
            )),
            "cluster-unauthenticated" => Err((
                "it is about the addresses of a cluster, which these files do not name",
                "name them in a rule: `unauthenticated: {cidr: …}`, and `trustDomain: …` for callers with an identity",
            )),
            _ => Err((
                "this default is not known",
                "write deny, all-authenticated or all-unauthenticated",
            )),
        }
    }

    /// Whom it lets in.
    pub(super) fn from(self, domains: &Domains) -> Option<Vec<From>> {
        match self {
            Self::Nobody | Self::Audited => None,
            Self::Identified => Some(domains.everyone()),
            Self::Anyone => Some(anyone(domains)),
        }
    }
}

/// Everybody, with an identity or without.
pub(super) fn anyone(domains: &Domains) -> Vec<From> {
    let mut from = domains.everyone();
    from.extend(unidentified());
    from
}

impl Server {
    pub(super) fn read(object: &Object<'_>) -> Self {
        let mut server = Self {
            origin: object.origin.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            labels: owned(object.metadata("labels")),
            pods: BTreeMap::new(),
            port: None,
            by_default: ByDefault::Nobody,
            reasons: Reasons::default(),
            admitted: Vec::new(),
            refused: 0,
        };
        let mut reasons = Reasons::default();
        let versions = ["v1beta3", "v1beta2", "v1beta1"];
        if let Some(spec) = object.spec(&mut reasons, &versions) {
            let takes = ["podSelector", "port", "proxyProtocol", "accessPolicy"];
            if let Some(fields) = reasons.fields(&spec, &takes, &UNLIKE) {
                server.spec(&mut reasons, &fields);
            }
        }
        server.reasons = reasons;
        server
    }

    fn spec(&mut self, reasons: &mut Reasons, fields: &Fields<'_>) {
        match fields.get("podSelector") {
            Some(found) => self.pods = reasons.selector(found).unwrap_or_default(),
            None if fields.get("externalWorkloadSelector").is_some() => {}
            None => {
                let remedy = "write `podSelector`; an empty one selects all";
                reasons.refuse::<()>(&fields.of, "`podSelector` is missing", remedy);
            }
        }
        self.port = self.number(reasons, fields);
        if let Some(found) = fields.get("accessPolicy")
            && let Some(word) = reasons.text(found)
        {
            match ByDefault::parse(&word) {
                Ok(ByDefault::Audited) => {
                    let reason = "audit lets in whoever is not authorized, of this port alone";
                    let remedy = "remove it; palisade.dev/authorization: shadow does so for a whole namespace";
                    reasons.refuse::<()>(found, reason, remedy);
                }
                Ok(by_default) => self.by_default = by_default,
                Err((reason, remedy)) => {
                    reasons.refuse::<()>(found, reason, remedy);
                }
            }
        }
    }

    fn number(&self, reasons: &mut Reasons, fields: &Fields<'_>) -> Option<PortRange> {
        let text = reasons.required(fields, "port")?;
        let found = fields.get("port").unwrap_or(&fields.of);
        if !found.is_number() {
            let reason = "it is a port's name, and rules here have numbers only";
            return reasons.refuse(found, reason, "write the number that the pods give it");
        }
        match text.parse().ok().filter(|port| *port > 0) {
            Some(port) => Some(PortRange {
                first: port,
                last: port,
            }),
            None => reasons.refuse(found, "this is no port", "write a number from 1 to 65535"),
        }
    }
}

/// A route that is attached to a server, of which it takes a part of the requests.
#[derive(Debug)]
pub(super) struct Route {
    namespace: Option<String>,
    /// None where that could not be read.
    server: Option<String>,
    place: String,
}

impl Route {
    /// Refuses a route that is attached to servers. Nothing of others, which are about the callers' side.
    pub(super) fn read(object: &Object<'_>, into: &mut Converted) -> Option<Vec<Self>> {
        let mut unread = Reasons::default();
        let mut parents = parents(object, &mut unread).unwrap_or_default();
        if !unread.0.is_empty() {
            parents = vec![None];
        }
        if parents.is_empty() {
            return None;
        }
        let mut reasons = Reasons::default();
        let reason = "it takes HTTP requests of a server by path, header or method, and Palisade authorizes connections";
        reasons.refuse::<()>(object.root(), reason, KEEP);
        into.refuse(&object.origin, reasons);
        let Origin {
            file,
            line,
            object: name,
        } = &object.origin;
        let place = format!("{name} ({file}:{line})");
        let route = |server| Self {
            namespace: object.namespace.clone(),
            server,
            place: place.clone(),
        };
        Some(parents.into_iter().map(route).collect())
    }
}

/// The servers that a route is attached to.
fn parents(object: &Object<'_>, reasons: &mut Reasons) -> Option<Vec<Option<String>>> {
    let root = reasons.mapping(object.root())?;
    let spec = reasons.mapping(root.get("spec")?)?;
    let mut servers = Vec::new();
    for parent in reasons.items(spec.get("parentRefs")?)? {
        let fields = reasons.mapping(&parent)?;
        let kind = fields.get("kind").map(|found| reasons.text(found));
        let group = fields.get("group").map(|found| reasons.text(found));
        let name = reasons.required(&fields, "name")?;
        if (group.flatten().as_deref(), kind.flatten().as_deref()) == (Some(GROUP), Some("Server"))
        {
            servers.push(Some(name));
        }
    }
    Some(servers)
}

/// Refuses the servers that a route is attached to: their authorizations mean less than they say.
pub(super) fn narrow(servers: &mut [Server], route: &Route) {
    let of = servers.iter_mut().filter(|server| {
        let is_meant = route.server.is_none() || server.name == route.server;
        server.namespace == route.namespace && is_meant
    });
    for server in of {
        let reason = format!(
            "{} lets in only those of its HTTP requests that match",
            route.place
        );
        server
            .reasons
            .0
            .push(of_object(&server.origin, reason, KEEP));
    }
}

pub(super) fn owned(texts: BTreeMap<&str, &str>) -> BTreeMap<String, String> {
    let owned = texts.into_iter();
    owned
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

const KEEP: &str =
    "keep this in the application or a gateway, and write a rule here about who may connect";
const UNLIKE: [Unlike; 1] = [(
    "externalWorkloadSelector",
    "it is about workloads outside of the cluster",
    "write rules for them by their labels, where Palisade runs beside them",
)];
