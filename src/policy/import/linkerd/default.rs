//! `config.linkerd.io/default-inbound-policy`: what holds for ports that no server names.

use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, Rule, Target};
use palisade_api::workload::Closing;

use super::super::name::is_label;
use super::super::read::{Object, Reasons};
use super::super::{Converted, Made, NamespaceSetting, Origin, Settings};
use super::Found;
use super::server::{ByDefault, Server};

/// That of a namespace.
#[derive(Debug)]
pub(super) struct InboundDefault {
    origin: Origin,
    namespace: String,
    word: Result<ByDefault, (&'static str, &'static str)>,
}

impl InboundDefault {
    /// Nothing where a namespace says nothing.
    pub(super) fn read(object: &Object<'_>) -> Option<Self> {
        let annotations = object.metadata("annotations");
        let word = annotations.get(ANNOTATION)?;
        Some(Self {
            origin: object.origin.clone(),
            namespace: object.name.clone()?,
            word: ByDefault::parse(word),
        })
    }

    pub(super) fn convert(self, found: &Found, settings: &Settings, into: &mut Converted) {
        let by_default = match self.word {
            Ok(by_default) => by_default,
            Err((reason, remedy)) => return self.refuse(reason, remedy, into),
        };
        if by_default == ByDefault::Nobody {
            let note = "deny is what Palisade does without a rule: nothing to write";
            return into.note(&self.origin, note);
        }
        if let Some((reason, remedy)) = self.obstacle(found) {
            return self.refuse(&reason, remedy, into);
        }
        match by_default.from(&settings.domains) {
            Some(from) => self.allow(from, into),
            None => into.namespaces.push(Made {
                of: vec![self.origin],
                made: NamespaceSetting {
                    name: self.namespace,
                    mtls: None,
                    closing: Some(Closing::Shadow),
                },
            }),
        }
    }

    /// Why no rule for a whole namespace can stand for it, and what to do instead.
    fn obstacle(&self, found: &Found) -> Option<(String, &'static str)> {
        let names = found.namespaces.iter();
        if !is_label(&self.namespace) || names.filter(|name| **name == self.namespace).count() > 1 {
            let reason = "there is no namespace of that name, or another object has it too";
            return Some((reason.to_owned(), "write one object for each namespace"));
        }
        if found.with_defaults.contains(&Some(self.namespace.clone())) {
            let reason =
                "workloads of it have defaults of their own, and rules would be about all of them";
            let remedy = "write a rule for the others, by labels that they have";
            return Some((reason.to_owned(), remedy));
        }
        let is_of = |server: &&Server| server.namespace.as_ref() == Some(&self.namespace);
        let server = found.servers.iter().find(is_of)?;
        let reason = format!(
            "it is about all ports but those that servers name, as {} does, and rules here are about the ports that they \
             name",
            server.origin.object
        );
        Some((
            reason,
            "write a rule for each workload with the ports that no server names",
        ))
    }

    fn allow(self, from: Vec<From>, into: &mut Converted) {
        let note = "it is about every workload: narrow it by `target.labels`, if some that are not in these files say \
                    otherwise of themselves";
        into.note(&self.origin, note);
        into.policies.push(Made {
            of: vec![self.origin],
            made: AuthorizationPolicy {
                namespace: Some(self.namespace),
                name: NAME.to_owned(),
                target: Target::default(),
                rules: vec![Rule {
                    name: NAME.to_owned(),
                    effect: Effect::Allow,
                    from,
                    ports: Vec::new(),
                    mode: Mode::Enforce,
                    expires: None,
                    reason: String::new(),
                }],
            },
        });
    }

    fn refuse(&self, reason: &str, remedy: &str, into: &mut Converted) {
        let mut reasons = Reasons::default();
        reasons.0.push(super::Reason {
            field: FIELD.to_owned(),
            ..super::of_object(&self.origin, reason, remedy)
        });
        into.refuse(&self.origin, reasons);
    }
}

/// Whether it is a workload that sets a default for itself, which is refused.
pub(super) fn is_set_by_workload(object: &Object<'_>, into: &mut Converted) -> bool {
    let own = object.metadata("annotations");
    let pods = object.texts(&["spec", "template", "metadata", "annotations"]);
    if own.contains_key(ANNOTATION) || pods.contains_key(ANNOTATION) {
        let mut reasons = Reasons::default();
        let reason = "it sets config.linkerd.io/default-inbound-policy for itself";
        let remedy = "write a rule for it, with the ports that no server names";
        reasons.refuse::<()>(object.root(), reason, remedy);
        into.refuse(&object.origin, reasons);
        return true;
    }
    false
}

const ANNOTATION: &str = "config.linkerd.io/default-inbound-policy";
const FIELD: &str = "metadata.annotations[config.linkerd.io/default-inbound-policy]";
const NAME: &str = "default-inbound-policy";
