//! The places of rules: lines of files, or fields of objects, which have no lines.

use palisade_api::manifest::{Document, Manifest, Position, RulePlace, TargetPlace};
use palisade_api::policy::{AuthorizationPolicy, From, Rule};

use super::super::rules::Rules;
use super::finding::Finding;

/// Documents, of which every place means something.
#[derive(Debug)]
pub(super) struct Sheets {
    pub(super) documents: Vec<Document>,
    /// The fields of objects, which the lines of their places are the numbers of; empty where there are files.
    fields: Vec<String>,
}

impl Sheets {
    /// Those that the rules were read from, or some that stand for objects.
    pub(super) fn of(rules: &Rules) -> Self {
        let mut sheets = Self {
            documents: rules.documents.clone(),
            fields: Vec::new(),
        };
        if rules.documents.is_empty() {
            for policy in &rules.policies {
                let document = sheets.object(policy);
                sheets.documents.push(document);
            }
        }
        sheets
    }

    /// Says which field of which object is meant, where there are no lines.
    pub(super) fn place(&self, finding: &mut Finding) {
        let diagnostic = &mut finding.diagnostic;
        let number = usize::try_from(diagnostic.line).ok();
        let field = number.and_then(|number| self.fields.get(number.checked_sub(1)?));
        if let Some(field) = field {
            finding.field = Some(field.clone());
            (diagnostic.line, diagnostic.column, diagnostic.width) = (0, 0, 0);
        }
    }

    fn object(&mut self, policy: &AuthorizationPolicy) -> Document {
        let namespaces = policy.target.namespaces.iter().enumerate();
        let namespaces = namespaces.map(|(at, _)| format!("spec.target.namespaces[{at}]"));
        let namespaces: Vec<_> = namespaces.map(|field| self.field(field)).collect();
        let labels = policy.target.labels.keys();
        let labels = labels.map(|key| {
            (
                key.clone(),
                self.field(format!("spec.target.labels[{key}]")),
            )
        });
        let target = TargetPlace {
            labels: labels.collect(),
            at: self.field("spec.target".to_owned()),
            service_account: self.field("spec.target.serviceAccount".to_owned()),
            namespaces,
        };
        let rules = policy.rules.iter().enumerate();
        let rules = rules.map(|(index, rule)| self.rule(&format!("spec.rules[{index}]"), rule));
        Document {
            file: policy.title().into(),
            line: 0,
            manifest: Manifest::Policy(policy.clone()),
            rules: rules.collect(),
            name: self.field("metadata.name".to_owned()),
            namespace: self.field("metadata.namespace".to_owned()),
            target,
        }
    }

    /// With the paths by which the API server is told of what is refused.
    fn rule(&mut self, rule_at: &str, rule: &Rule) -> RulePlace {
        let from = rule.from.iter().enumerate();
        let ports = 0..rule.ports.len();
        RulePlace {
            name: self.field(format!("{rule_at}.name")),
            from: from
                .map(|(at, from)| self.field(format!("{rule_at}.from[{at}].{}", key(from))))
                .collect(),
            ports: ports
                .map(|at| self.field(format!("{rule_at}.ports[{at}]")))
                .collect(),
            expires: self.field(format!("{rule_at}.expires")),
        }
    }

    fn field(&mut self, field: String) -> Position {
        self.fields.push(field);
        Position {
            line: u64::try_from(self.fields.len()).unwrap_or(u64::MAX),
            ..Position::default()
        }
    }
}

/// Where a source says whom it names.
fn key(from: &From) -> &'static str {
    match from {
        From::ServiceAccount { .. } => "serviceAccount",
        From::Identity(_) => "identity",
        From::Namespace(_) => "namespace",
        From::TrustDomain(_) => "trustDomain",
        From::Unauthenticated(_) => "unauthenticated.cidr",
    }
}
