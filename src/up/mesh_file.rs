//! The mesh file: what was written, and the checked [`Mesh`] that it means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_api::manifest::{Diagnostic, Severity};
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::mesh_check::Check;

/// A checked mesh file.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// The mesh's name.
    pub(crate) name: String,
    pub(crate) trust_domain: TrustDomain,
    /// The file itself, absolute.
    pub(crate) file: PathBuf,
    /// The directory of rules, absolute.
    pub(crate) rules: PathBuf,
    pub(crate) svid_ttl: Duration,
    pub(crate) namespaces: Vec<NamespaceEntry>,
    pub(crate) workloads: Vec<WorkloadEntry>,
}

/// A namespace that has settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamespaceEntry {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A checked workload: one application in one or more pods.
#[derive(Debug)]
pub(crate) struct WorkloadEntry {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) identity: SpiffeId,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) replicas: usize,
    pub(crate) command: Vec<String>,
    /// Of the service: what callers use, and where the application listens.
    pub(crate) ports: Vec<(u16, u16)>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) run_as_user: u32,
    pub(crate) meshed: bool,
    pub(crate) restart: Restart,
}

/// What happens when the application ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Restart {
    /// It is started again, after a growing pause.
    #[default]
    Always,
    /// It stays ended.
    Never,
}

/// Something wrong in a mesh file, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            remedy,
        } = self;
        write!(f, "{file}:{line}:{column}: {message}; {remedy}")
    }
}

/// Why a mesh file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadMeshError {
    #[error("cannot read the mesh file {}", file.display())]
    Read {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("the mesh file has mistakes:\n{}", list(.0))]
    Mistakes(Vec<Mistake>),
}

impl LoadMeshError {
    /// As of any other file.
    pub(super) fn diagnostics(self) -> Vec<Diagnostic> {
        let of = |mistake: Mistake| Diagnostic {
            file: mistake.file,
            line: mistake.line,
            column: mistake.column,
            width: 0,
            severity: Severity::Error,
            message: mistake.message,
            remedy: mistake.remedy,
        };
        match self {
            Self::Mistakes(mistakes) => mistakes.into_iter().map(of).collect(),
            Self::Read { file, source } => vec![of(Mistake {
                file: file.display().to_string(),
                line: 0,
                column: 0,
                message: source.to_string(),
                remedy: "make it readable for this user".to_owned(),
            })],
        }
    }
}

fn list(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(|m| format!("  {m}")).collect();
    lines.join("\n")
}

/// Reads and checks a mesh file.
pub(crate) fn load(file: &Path) -> Result<Mesh, LoadMeshError> {
    let read = |source| LoadMeshError::Read {
        file: file.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(file).map_err(read)?;
    of_text(file, &text)
}

/// Checks the text of a mesh file. What it names lies beside it; what a pipe names, in the current directory.
pub(crate) fn of_text(file: &Path, text: &str) -> Result<Mesh, LoadMeshError> {
    let here = |_it_has_no_path| {
        let name = file.file_name().unwrap_or(file.as_os_str());
        std::path::absolute(name)
    };
    let absolute = file.canonicalize().or_else(here);
    let absolute = absolute.map_err(|source| LoadMeshError::Read {
        file: file.to_owned(),
        source,
    })?;
    parse(&file.display().to_string(), absolute, text).map_err(LoadMeshError::Mistakes)
}

fn parse(shown: &str, file: PathBuf, text: &str) -> Result<Mesh, Vec<Mistake>> {
    let written: Written = serde_saphyr::from_str(text).map_err(|e| {
        let (line, column) = e.location().map_or((1, 1), |l| (l.line(), l.column()));
        let message = first_line(&e.without_snippet().to_string());
        let (message, remedy) = if message.contains("from_str_multiple") {
            (
                "a second document begins here".to_owned(),
                "write one mesh a file",
            )
        } else {
            (message, "see examples/local/shop.yaml for every field")
        };
        vec![Mistake {
            file: shown.to_owned(),
            line,
            column,
            message,
            remedy: remedy.to_owned(),
        }]
    })?;
    let mut check = Check::of(shown);
    let mesh = check.mesh(written, file);
    match mesh {
        Some(mesh) if check.mistakes.is_empty() => Ok(mesh),
        _ => Err(check.mistakes),
    }
}

/// The parser's message without the place, which stands in front already.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match line.rfind(" at line ") {
        Some(end) => line.get(..end).unwrap_or(line).to_owned(),
        None => line.to_owned(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Written {
    pub(super) api_version: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) metadata: WrittenMetadata,
    pub(super) spec: WrittenSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenMetadata {
    pub(super) name: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenSpec {
    pub(super) trust_domain: Option<Spanned<String>>,
    pub(super) rules: Spanned<String>,
    pub(super) svid_ttl: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) namespaces: Vec<Spanned<NamespaceEntry>>,
    pub(super) workloads: Vec<Spanned<WrittenWorkload>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenWorkload {
    pub(super) name: Spanned<String>,
    pub(super) namespace: Option<Spanned<String>>,
    pub(super) service_account: Option<Spanned<String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) replicas: Option<Spanned<u32>>,
    pub(super) command: Spanned<Vec<String>>,
    #[serde(default)]
    pub(super) ports: Vec<Spanned<WrittenPort>>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, Spanned<String>>,
    pub(super) working_directory: Option<Spanned<String>>,
    pub(super) run_as_user: Option<Spanned<u32>>,
    pub(super) meshed: Option<bool>,
    #[serde(default)]
    pub(super) restart: Restart,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[serde(expecting = "a port is a number from 0 to 65535, or {port: 80, targetPort: 8080}")]
pub(super) enum WrittenPort {
    Same(u16),
    #[serde(rename_all = "camelCase")]
    Mapped {
        port: u16,
        target_port: u16,
    },
}

/// Whether a name can be a DNS label.
pub(crate) fn is_label(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.chars().all(|c| alphanumeric(c) || c == '-')
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
}

#[cfg(test)]
#[path = "mesh_file_tests.rs"]
mod tests;
