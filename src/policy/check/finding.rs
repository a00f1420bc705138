//! What was found: where, how grave, and what to do.

use clap::ValueEnum;
use palisade_api::manifest::{Diagnostic, Document, Position, RulePlace, Severity};
use palisade_api::policy::{AuthorizationPolicy, Rule, RuleName};

use crate::policy::rules::Misset;

/// Something that is wrong, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) diagnostic: Diagnostic,
    /// The rule that it is about, where it is about one.
    pub(super) rule: Option<RuleName>,
    /// The field, of an object that is in no file.
    pub(super) field: Option<String>,
}

/// What kind of finding it is. These words are an interface: scripts have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Code {
    /// A mistake, for which the file is refused
    #[value(hide = true)]
    Invalid,
    /// A name of nobody, where only Kubernetes manifests say who there is; else it is an error
    Unknown,
    /// An annotation of a namespace that is not understood, and counts as closed
    Annotation,
    /// A target that selects nothing, or nobody who has a sidecar
    SelectsNothing,
    /// A rule that allows only what is denied
    Unreachable,
    /// A rule of which another says all
    Repeated,
    /// An allowance of more than the records have seen
    Broad,
    /// An allowance of an account that several workloads have
    SharedAccount,
    /// An allowance of an account that workloads have without asking
    DefaultAccount,
    /// A denial of an identity in a namespace where some may come without
    PermissiveDenial,
    /// A rule that has expired: that is a mistake too
    #[value(hide = true)]
    Expired,
    /// A rule that will soon
    ExpiresSoon,
}

impl Code {
    /// As `--allow` and JSON have it.
    pub(super) fn as_str(self) -> String {
        let value = self.to_possible_value();
        value
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// A rule, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) document: &'a Document,
    pub(super) policy: &'a AuthorizationPolicy,
    pub(super) rule: &'a Rule,
    pub(super) place: &'a RulePlace,
}

impl Placed<'_> {
    pub(super) fn name(&self) -> RuleName {
        RuleName {
            namespace: self.policy.namespace.clone(),
            policy: self.policy.name.clone(),
            rule: self.rule.name.clone(),
        }
    }

    /// Where it says something.
    pub(super) fn places(&self) -> impl Iterator<Item = Position> {
        let RulePlace {
            name,
            from,
            ports,
            expires,
        } = self.place;
        let places = [name, expires].into_iter().chain(from).chain(ports);
        places.copied().filter(|at| at.is_known())
    }

    /// A warning about it.
    pub(super) fn warning(
        &self,
        code: Code,
        at: Position,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            code,
            diagnostic: Diagnostic {
                file: self.document.file.to_string(),
                line: at.line,
                column: at.column,
                width: at.width,
                severity: Severity::Warning,
                message: message.into(),
                remedy: remedy.into(),
            },
            rule: Some(self.name()),
            field: None,
        }
    }
}

impl Finding {
    /// A file's, or an object's, for which it is refused.
    pub(super) fn mistake(diagnostic: Diagnostic) -> Self {
        Self {
            code: Code::Invalid,
            diagnostic,
            rule: None,
            field: None,
        }
    }

    /// A namespace's, that is not set as it is meant.
    pub(super) fn misset(misset: &Misset) -> Self {
        let field = misset.is_of_object();
        Self {
            code: Code::Annotation,
            diagnostic: misset.diagnostic(),
            rule: None,
            field: field.then(|| "metadata.annotations".to_owned()),
        }
    }

    /// File, line and column.
    pub(super) fn place(&self) -> (&str, u64, u64) {
        let at = &self.diagnostic;
        (&at.file, at.line, at.column)
    }

    pub(super) fn is_error(&self) -> bool {
        self.diagnostic.severity == Severity::Error
    }
}
