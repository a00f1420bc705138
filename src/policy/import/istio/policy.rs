//! One `AuthorizationPolicy`.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::policy::{AuthorizationPolicy, Effect, Mode, Target};
use palisade_api::spiffe::TrustDomain;

use super::super::read::{Fields, Object, Reasons, Unlike};
use super::super::{Converted, Made, Origin, Settings, name, object};
use super::VERSIONS;
use super::peer::{Peers, Plaintext};
use super::rule::{self, Sentence};

/// A policy, as far as it was understood.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) origin: Origin,
    pub(super) name: Option<String>,
    pub(super) scope: Scope,
    /// Whether it may keep callers out: true unless it is known not to.
    pub(super) can_deny: bool,
    /// Why it cannot be converted; empty where it can.
    pub(super) reasons: Reasons,
    /// Whether it names every identity, whatever its trust domain; known once it is converted.
    is_everyone: bool,
    effect: Effect,
    mode: Mode,
    sentences: Vec<Sentence>,
    notes: Vec<String>,
}

/// Which workloads a policy is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// None where it is about all of them, or not known.
    pub(super) namespace: Option<String>,
    /// Empty where it is about all of the namespace, or not known.
    pub(super) labels: BTreeMap<String, String>,
}

impl Scope {
    /// Whether a workload can be of both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let are_apart = self
            .namespace
            .as_ref()
            .zip(other.namespace.as_ref())
            .is_some_and(|(one, other)| one != other);
        let mut labels = self.labels.iter();
        let differ = labels.any(|(key, value)| {
            let others = other.labels.get(key);
            others.is_some_and(|other| other != value)
        });
        !are_apart && !differ
    }
}

impl Policy {
    /// Reads one; `foreign` are the trust domains that any of the policies names beside the mesh's.
    pub(super) fn read(
        object: &Object<'_>,
        settings: &Settings,
        foreign: &BTreeSet<TrustDomain>,
    ) -> Self {
        let is_root = object.namespace.as_ref() == Some(&settings.mesh_namespace);
        let mut policy = Self {
            origin: object.origin.clone(),
            name: object.name.clone(),
            scope: Scope {
                namespace: object.namespace.clone().filter(|_| !is_root),
                labels: BTreeMap::new(),
            },
            can_deny: true,
            reasons: Reasons::default(),
            is_everyone: false,
            effect: Effect::Allow,
            mode: Mode::Enforce,
            sentences: Vec::new(),
            notes: Vec::new(),
        };
        let mut reasons = Reasons::default();
        policy.dry_run(object, &mut reasons);
        if let Some(spec) = object.spec(&mut reasons, &VERSIONS) {
            let takes = ["selector", "rules", "action"];
            if let Some(fields) = reasons.fields(&spec, &takes, &UNLIKE) {
                let own = object.namespace.as_deref().unwrap_or_default();
                policy.spec(&mut reasons, &fields, (own, settings, foreign));
            }
        }
        policy.reasons = reasons;
        policy
    }

    /// Whether its effect is felt: not that of one in dry run.
    pub(super) fn acts(&self, effect: Effect) -> bool {
        let is_known = effect == Effect::Deny || !self.can_deny;
        is_known && (self.effect, self.mode) == (effect, Mode::Enforce)
    }

    fn dry_run(&mut self, object: &Object<'_>, reasons: &mut Reasons) {
        match object.metadata("annotations").get("istio.io/dry-run") {
            None | Some(&"false") => {}
            Some(&"true") => {
                self.mode = Mode::Shadow;
                self.can_deny = false;
            }
            Some(_) => {
                let reason = "the annotation istio.io/dry-run is neither \"true\" nor \"false\"";
                reasons.refuse::<()>(object.root(), reason, "write one of them");
            }
        }
    }

    fn spec(
        &mut self,
        reasons: &mut Reasons,
        fields: &Fields<'_>,
        (own, settings, foreign): (&str, &Settings, &BTreeSet<TrustDomain>),
    ) {
        if let Some(found) = fields.get("selector")
            && let Some(labels) = reasons
                .fields(found, &["matchLabels"], &[])
                .and_then(|_| reasons.selector(found))
        {
            self.scope.labels = labels;
        }
        self.action(reasons, fields);
        let Some(found) = fields.get("rules") else {
            return;
        };
        for found in reasons.items(found).unwrap_or_default() {
            let context = rule::Context {
                domains: &settings.domains,
                foreign,
                namespace: own,
                effect: self.effect,
            };
            self.sentences.extend(rule::read(reasons, &found, &context));
        }
    }

    fn action(&mut self, reasons: &mut Reasons, fields: &Fields<'_>) -> Option<()> {
        let action = match fields.get("action") {
            Some(found) => reasons.text(found)?,
            None => "ALLOW".to_owned(),
        };
        let found = fields.get("action").unwrap_or(&fields.of);
        match action.as_str() {
            "ALLOW" => self.can_deny = false,
            "DENY" => self.effect = Effect::Deny,
            "AUDIT" => {
                self.can_deny = false;
                self.mode = Mode::Shadow;
                let reason =
                    "AUDIT marks requests, and Palisade has no marks: it records every connection";
                return reasons.refuse(found, reason, "remove it, and read `palisade logs`");
            }
            "CUSTOM" => {
                let reason =
                    "CUSTOM asks a service of yours about each request, and Palisade asks nobody";
                return reasons.refuse(found, reason, "keep it in the application or a gateway");
            }
            _ => {
                let reason = "this action is not known";
                return reasons.refuse(found, reason, "write ALLOW or DENY");
            }
        }
        Some(())
    }

    /// Adds what it becomes, or why it becomes nothing; gives whether it names every identity.
    pub(super) fn convert(mut self, peers: &Peers, into: &mut Converted) -> bool {
        let made = self.made(peers);
        if let Some((reason, remedy)) = made.as_ref().and_then(object::objection) {
            self.refuse(&reason, &remedy);
        }
        if !self.reasons.0.is_empty() {
            into.refuse(&self.origin, self.reasons);
            return false;
        }
        for note in &self.notes {
            into.note(&self.origin, note.as_str());
        }
        into.policies.extend(made.map(|made| Made {
            of: vec![self.origin],
            made,
        }));
        self.is_everyone
    }

    fn made(&mut self, peers: &Peers) -> Option<AuthorizationPolicy> {
        let plaintext = peers.plaintext(self.scope.namespace.as_deref());
        let (mut rules, mut taken) = (Vec::new(), BTreeSet::new());
        let (mut is_everyone, mut is_unsure) = (false, false);
        for sentence in &self.sentences {
            is_everyone |= sentence.is_everyone;
            is_unsure |= sentence.is_unidentified && plaintext == Plaintext::Unknown;
            if let Some(mut rule) = sentence.rule(self.effect, self.mode, plaintext) {
                rule.name = name::unique(&rule.name, &mut taken);
                rules.push(rule);
            }
        }
        self.is_everyone = is_everyone;
        if is_unsure && self.effect == Effect::Allow {
            let note = "it also allows callers without an identity where mTLS is PERMISSIVE; no PeerAuthentication in \
                        these files says so of all that it protects, so they are left out: add \
                        `unauthenticated: {cidr: …}` where they are meant";
            self.notes.push(note.to_owned());
        }
        if self.sentences.is_empty() {
            let note = match self.effect {
                Effect::Allow => {
                    "it allows nothing, which is what Palisade does without a rule: nothing to write"
                }
                Effect::Deny => "it has no rules and denies nothing: nothing to write",
            };
            self.notes.push(note.to_owned());
        }
        let name = self.name.clone().filter(|_| !rules.is_empty())?;
        Some(AuthorizationPolicy {
            namespace: self.scope.namespace.clone(),
            name,
            target: Target {
                labels: self.scope.labels.clone(),
                ..Target::default()
            },
            rules,
        })
    }
}

const UNLIKE: [Unlike; 3] = [
    ("targetRef", ATTACHED, SELECT),
    ("targetRefs", ATTACHED, SELECT),
    (
        "provider",
        "it names a service to ask, and Palisade asks nobody",
        "keep it in the application or a gateway",
    ),
];
const ATTACHED: &str =
    "it is attached to a gateway, waypoint or service, and rules here protect workloads";
const SELECT: &str = "select the workloads by `selector.matchLabels`";
