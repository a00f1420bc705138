//! Who was let in at one workload, by what rules can call them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use palisade_api::policy::From;
use palisade_api::spiffe::{SpiffeId, TrustDomain};

use crate::policy::counted::Edge;
use crate::policy::subject::{Called, Caller};

/// The ports at which somebody was let in, each with the rules that did.
pub(super) type Ports<'a> = BTreeMap<u16, BTreeSet<&'a str>>;

/// Those who were let in at one workload.
#[derive(Debug, Default)]
pub(super) struct Callers<'a> {
    by_name: HashMap<Name<'a>, Ports<'a>>,
    in_clear: BTreeMap<IpAddr, Ports<'a>>,
    none: Ports<'a>,
}

/// A source of a rule that means a caller with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name<'a> {
    Account(&'a str, &'a str),
    Identity(&'a SpiffeId),
    Namespace(&'a str),
    TrustDomain(&'a TrustDomain),
}

/// The callers of each workload. `own` is its trust domain, which accounts and namespaces are of.
pub(super) fn by_called<'a>(
    edges: &'a [Edge],
    own: &TrustDomain,
) -> BTreeMap<&'a Called, Callers<'a>> {
    let mut by_called = BTreeMap::<_, Callers<'_>>::new();
    for edge in edges.iter().filter(|edge| edge.decided.is_allowed()) {
        by_called.entry(&edge.called).or_default().take(edge, own);
    }
    by_called
}

impl<'a> Callers<'a> {
    fn take(&mut self, edge: &'a Edge, own: &TrustDomain) {
        let id = match &edge.caller {
            Caller::Identity(id) => id,
            Caller::Address(addr) => {
                let ports = self.in_clear.entry(*addr).or_default();
                return add(ports, edge);
            }
        };
        let domain = id.trust_domain();
        let mut names = vec![Name::Identity(id), Name::TrustDomain(domain)];
        if let Some((namespace, name)) = id.service_account().filter(|_| domain == own) {
            names.extend([Name::Account(namespace, name), Name::Namespace(namespace)]);
        }
        for name in names {
            add(self.by_name.entry(name).or_default(), edge);
        }
    }

    /// Where a source of a rule was let in.
    pub(super) fn at<'b>(&'b self, from: &'b From) -> Cow<'b, Ports<'b>> {
        let by_name: &HashMap<Name<'b>, Ports<'b>> = &self.by_name;
        let name = match from {
            From::ServiceAccount { namespace, name } => Name::Account(namespace, name),
            From::Identity(id) => Name::Identity(id),
            From::Namespace(namespace) => Name::Namespace(namespace),
            From::TrustDomain(domain) => Name::TrustDomain(domain),
            From::Unauthenticated(network) => {
                let mut ports = Ports::new();
                for (addr, at) in &self.in_clear {
                    if network.contains(addr) {
                        for (port, rules) in at {
                            ports.entry(*port).or_default().extend(rules);
                        }
                    }
                }
                return Cow::Owned(ports);
            }
        };
        Cow::Borrowed(by_name.get(&name).unwrap_or(&self.none))
    }
}

fn add<'a>(ports: &mut Ports<'a>, edge: &'a Edge) {
    let rules = ports.entry(edge.port).or_default();
    rules.extend(edge.rule.as_deref());
}
