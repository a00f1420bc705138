//! `palisade policy import`: the rules of other meshes as ours, or why they cannot be.
//!
//! What is converted allows what it allowed and denies what it denied. What cannot be said here in the same sense is
//! refused as a whole object, with each field that is in the way. [`mod@read`] knows YAML, [`istio`] and [`linkerd`] know
//! what their objects mean, and this module what to do with what they make.

mod istio;
mod linkerd;
mod name;
mod object;
mod ports;
pub(crate) mod print;
mod read;
#[cfg(test)]
mod tests;
mod who;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use palisade_api::policy::AuthorizationPolicy;
use palisade_api::spiffe::TrustDomain;
use palisade_api::workload::{Closing, Mtls};

use super::named;
use crate::args::Output;
use crate::inject::tree::{self, Document};
pub(crate) use who::Domains;

/// `palisade policy import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The mesh that the objects are written for
    mesh: Mesh,
    /// Files of YAML documents, or - for standard input; give all of a mesh at once
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The namespace of objects that name none
    #[arg(short, long)]
    namespace: Option<String>,
    /// The mesh's trust domain
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// Another trust domain that the mesh takes for its own; may be repeated
    #[arg(long, value_name = "NAME")]
    trust_domain_alias: Vec<TrustDomain>,
    /// Istio's root namespace, or Linkerd's own [default: istio-system, linkerd]
    #[arg(long, value_name = "NAMESPACE")]
    mesh_namespace: Option<String>,
    /// YAML, or JSON lines of what was converted, noted and refused
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mesh {
    /// AuthorizationPolicy and PeerAuthentication of security.istio.io
    Istio,
    /// The objects of policy.linkerd.io, and default-inbound-policy of namespaces
    Linkerd,
}

/// What `--help` says at its end.
pub(crate) const AFTER_HELP: &str = "\
Example:
  kubectl get authorizationpolicies.security.istio.io,peerauthentications -A -o yaml > istio.yaml
  palisade policy import istio istio.yaml > rules.yaml

What is printed allows and denies what the objects do. An object with a field that has no such counterpart is refused as a
whole, on standard error, with the field, the reason and what to do instead; so is an allowance that depends on a denial
that was refused. Give all files of a mesh at once: what an object means depends on the others.

Exit status: 0 when all was converted, 1 when something was refused, 2 when a file could not be read or nothing in the
files is of that mesh.";

/// What was made of some files.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    pub(crate) policies: Vec<Made<AuthorizationPolicy>>,
    pub(crate) namespaces: Vec<Made<NamespaceSetting>>,
    pub(crate) notes: Vec<Note>,
    pub(crate) refused: Vec<Refusal>,
}

/// Something that was made, and what it was made of.
#[derive(Debug)]
pub(crate) struct Made<T> {
    pub(crate) of: Vec<Origin>,
    pub(crate) made: T,
}

/// How a namespace is to be annotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamespaceSetting {
    pub(crate) name: String,
    pub(crate) mtls: Option<Mtls>,
    pub(crate) closing: Option<Closing>,
}

/// Where an object stands, and what it is: `AuthorizationPolicy shop/orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) object: String,
}

/// What is converted, and yet needs saying.
#[derive(Debug)]
pub(crate) struct Note {
    /// None where it is about all of them.
    pub(crate) of: Option<Origin>,
    pub(crate) text: String,
}

/// An object that was not converted.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) of: Origin,
    /// At least one.
    pub(crate) reasons: Vec<Reason>,
}

/// What keeps an object from being converted.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    pub(crate) line: usize,
    /// The way to the field, as in `spec.rules[0].from`; empty where the object is meant.
    pub(crate) field: String,
    pub(crate) reason: String,
    /// What to do instead.
    pub(crate) remedy: String,
}

/// What the objects do not say of their mesh.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) domains: Domains,
    /// The namespace of objects that name none.
    pub(crate) namespace: Option<String>,
    /// The namespace of the mesh itself.
    pub(crate) mesh_namespace: String,
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct File {
    name: String,
    documents: Vec<Document>,
}

impl Converted {
    /// Whether the files hold nothing of the mesh: nothing was made of any object, and nothing said of one.
    pub(crate) fn is_nothing(&self) -> bool {
        let made = self.policies.len() + self.namespaces.len();
        let is_said = self.notes.iter().any(|note| note.of.is_some());
        made == 0 && self.refused.is_empty() && !is_said
    }

    /// Says something of all that was converted.
    fn note_all(&mut self, text: &str) {
        self.notes.push(Note {
            of: None,
            text: text.to_owned(),
        });
    }

    /// Says something of one object.
    fn note(&mut self, of: &Origin, text: impl Into<String>) {
        self.notes.push(Note {
            of: Some(of.clone()),
            text: text.into(),
        });
    }

    /// Says whom the other mesh means by everybody.
    fn note_everyone(&mut self, settings: &Settings) {
        let domains: Vec<_> = settings
            .domains
            .each()
            .map(|domain| format!("`{domain}`"))
            .collect();
        self.note_all(&format!(
            "whoever has an identity is written as `trustDomain` with {}, which is whom this mesh accepts, by \
             --trust-domain and --trust-domain-alias",
            domains.join(", ")
        ));
    }

    /// What was noted and refused in the order of the files, what is about all of them at its end.
    fn in_order(mut self) -> Self {
        let place = |of: &Origin| (of.file.clone(), of.line);
        self.notes
            .sort_by_key(|note| (note.of.is_none(), note.of.as_ref().map(place)));
        self.refused.sort_by_key(|refusal| place(&refusal.of));
        self
    }

    /// An object that is refused, if anything is in its way.
    fn refuse(&mut self, of: &Origin, mut reasons: read::Reasons) {
        reasons.0.sort_by_key(|reason| reason.line);
        if !reasons.0.is_empty() {
            self.refused.push(Refusal {
                of: of.clone(),
                reasons: reasons.0,
            });
        }
    }
}

impl File {
    /// Reads YAML; `name` is for messages. The error is one line.
    pub(crate) fn new(name: &str, text: &str) -> Result<Self, String> {
        let documents = tree::parse(text)
            .map_err(|error| format!("{name}:{}: {}", error.line, shown(&error.problem)))?;
        Ok(Self {
            name: name.to_owned(),
            documents,
        })
    }
}

/// Prints what the files become.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    let mut is_readable = true;
    for path in &args.files {
        match read(path).and_then(|(name, text)| File::new(&name, &text)) {
            Ok(file) => files.push(file),
            Err(why) => {
                is_readable = false;
                print::error(&why);
            }
        }
    }
    if !is_readable {
        return Ok(ExitCode::from(UNREADABLE));
    }
    let converted = args.mesh.convert(&files, &args.settings(args.mesh));
    print::print(&converted, args.output)?;
    if converted.is_nothing() {
        let other = args.mesh.other();
        let others = other.convert(&files, &args.settings(other));
        print::error(&args.nothing(&others));
        return Ok(ExitCode::from(UNREADABLE));
    }
    Ok(match converted.refused.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

impl Mesh {
    pub(crate) fn convert(self, files: &[File], settings: &Settings) -> Converted {
        match self {
            Self::Istio => istio::convert(files, settings),
            Self::Linkerd => linkerd::convert(files, settings),
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Istio => Self::Linkerd,
            Self::Linkerd => Self::Istio,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Istio => "Istio",
            Self::Linkerd => "Linkerd",
        }
    }

    /// The API group of its rules.
    fn group(self) -> &'static str {
        match self {
            Self::Istio => istio::GROUP,
            Self::Linkerd => linkerd::GROUP,
        }
    }
}

impl ImportArgs {
    /// Why there is nothing to print.
    fn nothing(&self, others: &Converted) -> String {
        let (name, group) = (self.mesh.name(), self.mesh.group());
        let files: Vec<_> = self.files.iter().map(|path| named(path)).collect();
        let files = files.join(", ");
        let other = self.mesh.other();
        let instead = match others.is_nothing() {
            true => "--help shows how its objects are had from a cluster".to_owned(),
            false => {
                let name = other.name();
                let command = name.to_ascii_lowercase();
                format!(
                    "there are objects of {name}'s: give them to palisade policy import {command}"
                )
            }
        };
        format!("there is no rule of {name}'s ({group}) in {files}; {instead}")
    }

    fn settings(&self, mesh: Mesh) -> Settings {
        let default = match mesh {
            Mesh::Istio => "istio-system",
            Mesh::Linkerd => "linkerd",
        };
        Settings {
            domains: Domains {
                own: self.trust_domain.clone(),
                others: self.trust_domain_alias.clone(),
            },
            namespace: self.namespace.clone(),
            mesh_namespace: self.mesh_namespace.as_deref().unwrap_or(default).to_owned(),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file, as messages name it.
fn named(path: &Path) -> String {
    match is_stdin(path) {
        true => "<stdin>".to_owned(),
        false => shown(&path.display().to_string()),
    }
}

/// A file's name and its text.
fn read(path: &Path) -> Result<(String, String), String> {
    let (is_stdin, name) = (is_stdin(path), named(path));
    let mut text = String::new();
    let read = if is_stdin {
        let mut input = std::io::stdin().lock().take(MAX_BYTES + 1);
        input.read_to_string(&mut text)
    } else {
        let file = named::open(path).map_err(std::io::Error::other);
        file.and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    let count = read.map_err(|why| format!("cannot read {name}: {why}"))?;
    if u64::try_from(count).is_ok_and(|count| count > MAX_BYTES) {
        return Err(format!(
            "{name} is longer than {} MiB: give it in parts",
            MAX_BYTES >> 20
        ));
    }
    Ok((name, text))
}

/// The objects that no other kind of them is of, counted, so that nobody thinks that they were converted.
fn passed_over(kinds: &BTreeMap<String, usize>) -> Option<Note> {
    if kinds.is_empty() {
        return None;
    }
    let counted: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    Some(Note {
        of: None,
        text: format!(
            "passed over, being no rules of this mesh: {}",
            counted.join(", ")
        ),
    })
}

/// What somebody wrote, fit for a terminal.
fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MOST_SHOWN)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(MOST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// What no file of rules is longer than.
const MAX_BYTES: u64 = 32 << 20;
const MOST_SHOWN: usize = 200;
/// The exit status for files that cannot be read, or have nothing of the mesh.
const UNREADABLE: u8 = 2;
