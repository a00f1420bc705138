//! `PeerAuthentication`: whether callers without an identity get as far as the rules.

use std::collections::BTreeMap;

use palisade_api::policy::Effect;
use palisade_api::workload::Mtls;

use super::super::read::{Field, Object, Reasons};
use super::super::{Converted, Made, NamespaceSetting, Origin};
use super::VERSIONS;
use super::policy::{Policy, Scope};

/// Whether workloads take callers without an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plaintext {
    Allowed,
    Refused,
    /// The files do not say it, or not of all of them alike.
    Unknown,
}

/// One object.
#[derive(Debug)]
pub(super) struct Peer {
    origin: Origin,
    namespace: Option<String>,
    /// None where it inherits.
    mode: Option<Mode>,
    /// Whether it is about some workloads or ports only.
    is_partial: bool,
    reasons: Reasons,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Strict,
    Permissive,
    Disable,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Peers {
    root: String,
    of: BTreeMap<Option<String>, Vec<Peer>>,
}

impl Peer {
    pub(super) fn read(object: &Object<'_>) -> Self {
        let mut peer = Self {
            origin: object.origin.clone(),
            namespace: object.namespace.clone(),
            mode: None,
            is_partial: false,
            reasons: Reasons::default(),
        };
        let mut reasons = Reasons::default();
        if let Some(spec) = object.spec(&mut reasons, &VERSIONS) {
            peer.spec(&mut reasons, &spec);
        }
        peer.reasons = reasons;
        peer
    }

    fn spec(&mut self, reasons: &mut Reasons, spec: &Field<'_>) -> Option<()> {
        let fields = reasons.fields(spec, &["selector", "mtls", "portLevelMtls"], &[])?;
        if let Some(found) = fields.get("selector") {
            let selector = reasons.fields(found, &["matchLabels"], &[])?;
            let labels = match selector.get("matchLabels") {
                Some(found) => !reasons.mapping(found)?.is_empty(),
                None => false,
            };
            if labels {
                self.is_partial = true;
                let reason =
                    "it is about some workloads, and mTLS is set for whole namespaces here";
                let remedy = "annotate the namespace with palisade.dev/mtls, and name the callers without an identity in rules";
                reasons.refuse::<()>(found, reason, remedy);
            }
        }
        if let Some(found) = fields.get("portLevelMtls") {
            self.is_partial = true;
            let reason = "it is about some ports, and mTLS is set for whole namespaces here";
            let remedy = "allow `unauthenticated: {cidr: …}` on these ports in a rule";
            reasons.refuse::<()>(found, reason, remedy);
        }
        let Some(found) = fields.get("mtls") else {
            return Some(());
        };
        let mtls = reasons.fields(found, &["mode"], &[])?;
        let Some(found) = mtls.get("mode") else {
            return Some(());
        };
        self.mode = match reasons.text(found)?.as_str() {
            "UNSET" => None,
            "STRICT" => Some(Mode::Strict),
            "PERMISSIVE" => Some(Mode::Permissive),
            "DISABLE" => {
                let reason = "Palisade always speaks mTLS between its workloads";
                let remedy =
                    "remove it, or make it PERMISSIVE for callers that are not of the mesh";
                reasons.refuse::<()>(found, reason, remedy);
                Some(Mode::Disable)
            }
            _ => {
                return reasons.refuse(
                    found,
                    "this mode is not known",
                    "write STRICT or PERMISSIVE",
                );
            }
        };
        Some(())
    }
}

impl Peers {
    pub(super) fn new(peers: Vec<Peer>, root: &str) -> Self {
        let mut of: BTreeMap<_, Vec<Peer>> = BTreeMap::new();
        for peer in peers {
            of.entry(peer.namespace.clone()).or_default().push(peer);
        }
        for peers in of.values_mut() {
            let whole = peers.iter().filter(|peer| !peer.is_partial).count();
            for peer in peers
                .iter_mut()
                .filter(|peer| whole > 1 && !peer.is_partial)
            {
                peer.refuse("another one is about the same namespace; the oldest counts, which the files do not say", "keep one of them");
            }
        }
        let root = root.to_owned();
        Self { root, of }
    }

    /// Whether the workloads of a namespace, or of all, take callers without an identity.
    pub(super) fn plaintext(&self, namespace: Option<&str>) -> Plaintext {
        let mesh = self.of_mesh();
        let Some(namespace) = namespace else {
            let mut named = self.of.keys().flatten().filter(|name| **name != self.root);
            let is_uniform = named.all(|name| self.of_namespace(name, mesh) == mesh);
            return if is_uniform { mesh } else { Plaintext::Unknown };
        };
        self.of_namespace(namespace, mesh)
    }

    fn of_mesh(&self) -> Plaintext {
        let peers = self.of.get(&Some(self.root.clone()));
        // Those with a selector are without effect in the root namespace.
        let mut whole = peers.into_iter().flatten().filter(|peer| !peer.is_partial);
        match (whole.next(), whole.next()) {
            (Some(one), None) => one.plaintext(Plaintext::Allowed),
            _ => Plaintext::Unknown,
        }
    }

    fn of_namespace(&self, namespace: &str, mesh: Plaintext) -> Plaintext {
        if namespace == self.root {
            return mesh;
        }
        // What names no namespace may be about this one.
        if self.of.contains_key(&None) {
            return Plaintext::Unknown;
        }
        let peers = self.of.get(&Some(namespace.to_owned()));
        match peers.map_or(&[][..], Vec::as_slice) {
            [] => mesh,
            [one] if !one.is_partial => one.plaintext(mesh),
            _ => Plaintext::Unknown,
        }
    }

    /// Adds the annotations that they become, or why they become none.
    pub(super) fn convert(&self, policies: &[Policy], into: &mut Converted) {
        for peer in self.of.values().flatten() {
            if !peer.reasons.0.is_empty() {
                into.refuse(&peer.origin, peer.reasons.clone());
            } else if peer.namespace.as_ref() == Some(&self.root) {
                peer.of_mesh(into);
            } else if let Some(namespace) = &peer.namespace {
                self.annotate(peer, namespace, (policies, into));
            }
        }
    }

    fn annotate(
        &self,
        peer: &Peer,
        namespace: &str,
        (policies, into): (&[Policy], &mut Converted),
    ) {
        let mtls = match peer.mode {
            Some(Mode::Strict) => Mtls::Strict,
            Some(Mode::Permissive) => match self.narrows(namespace, policies) {
                None => Mtls::Permissive,
                Some(note) => return into.note(&peer.origin, note),
            },
            Some(Mode::Disable) | None => {
                return into.note(&peer.origin, "it inherits its mode: nothing to write");
            }
        };
        into.namespaces.push(Made {
            of: vec![peer.origin.clone()],
            made: NamespaceSetting {
                name: namespace.to_owned(),
                mtls: Some(mtls),
                closing: None,
            },
        });
    }

    /// Why a permissive namespace must not become one here, where that lets in whoever has no identity.
    fn narrows(&self, namespace: &str, policies: &[Policy]) -> Option<String> {
        let scope = Scope {
            namespace: Some(namespace.to_owned()),
            labels: BTreeMap::new(),
        };
        let of = policies.iter().filter(|policy| policy.scope.meets(&scope));
        let mut of = of.filter(|policy| {
            let is_lost = policy.can_deny && !policy.reasons.0.is_empty();
            policy.acts(Effect::Allow) || is_lost
        });
        if self.plaintext(Some(namespace)) != Plaintext::Allowed {
            return Some("some of its workloads are set otherwise, so palisade.dev/mtls: permissive is not written: it would open them too".to_owned());
        }
        let first = of.next()?;
        Some(format!(
            "palisade.dev/mtls: permissive is not written: it would let callers without an identity past {}; rules that \
             allow them say so",
            first.origin.object
        ))
    }
}

impl Peer {
    fn plaintext(&self, inherited: Plaintext) -> Plaintext {
        match self.mode {
            _ if !self.reasons.0.is_empty() => Plaintext::Unknown,
            None => inherited,
            Some(Mode::Strict) => Plaintext::Refused,
            Some(Mode::Permissive) => Plaintext::Allowed,
            Some(Mode::Disable) => Plaintext::Unknown,
        }
    }

    fn of_mesh(&self, into: &mut Converted) {
        match self.mode {
            Some(Mode::Strict) => into.note(
                &self.origin,
                "STRICT is what namespaces are here: nothing to write",
            ),
            Some(Mode::Permissive | Mode::Disable) | None => {
                let mut reasons = Reasons::default();
                reasons.0.push(super::Reason {
                    line: self.origin.line,
                    field: "spec.mtls.mode".to_owned(),
                    reason: "PERMISSIVE cannot be said of a whole mesh here".to_owned(),
                    remedy: "annotate each namespace that needs it with palisade.dev/mtls: permissive; rules that were \
                             converted allow callers without an identity where they did"
                        .to_owned(),
                });
                into.refuse(&self.origin, reasons);
            }
        }
    }

    fn refuse(&mut self, reason: &str, remedy: &str) {
        self.reasons.0.push(super::Reason {
            line: self.origin.line,
            field: String::new(),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}
