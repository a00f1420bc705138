//! What only several documents together can get wrong.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use super::{Diagnostic, Document, Manifest, Position};

/// Checks what was read from all files together: two objects of one name, two policies whose rules have one name, two
/// owners of one address.
///
/// Each comes with the name of its file. Lines are not known any more; the objects are named instead.
pub fn check(manifests: &[(String, Manifest)]) -> Vec<Diagnostic> {
    let placed = manifests
        .iter()
        .map(|(file, manifest)| (file.as_str(), Position::default(), manifest));
    conflicts(&placed.collect::<Vec<_>>())
}

/// The same for documents, of which the places are known. What [`read`](super::read()) read of one file is not in conflict
/// with itself.
pub fn together<'a>(documents: impl IntoIterator<Item = &'a Document>) -> Vec<Diagnostic> {
    let placed = documents.into_iter().map(|document| {
        let at = Position {
            line: document.line,
            column: 1,
            width: 0,
        };
        (&*document.file, at, &document.manifest)
    });
    conflicts(&placed.collect::<Vec<_>>())
}

/// A manifest and where it stands.
type Placed<'a> = (&'a str, Position, &'a Manifest);

fn conflicts(manifests: &[Placed<'_>]) -> Vec<Diagnostic> {
    let mut names = HashMap::new();
    let mut policies = HashMap::new();
    let mut addresses: HashMap<IpAddr, Placed<'_>> = HashMap::new();
    let mut found = Vec::new();
    for &placed in manifests {
        let (_, _, manifest) = placed;
        let own = manifest.title();
        if let Some(first) = own.clone().and_then(|own| claim(&mut names, own, placed)) {
            let own = own.unwrap_or_default();
            let message = format!("there are two of {own}, the other {}", place(first, placed));
            found.push(diagnostic(placed, message, "remove or rename one of them"));
        } else if let Some(own) = manifest.policy()
            && let Some(first) = claim(&mut policies, own.called(), placed)
        {
            let (_, _, other) = first;
            let message = format!(
                "rules of {} are called as those of {} are, {}: {}/…",
                own.title(),
                other.title().unwrap_or_default(),
                place(first, placed),
                own.called(),
            );
            found.push(diagnostic(
                placed,
                message,
                "rename one of them: records could not tell them apart",
            ));
        }
        for &addr in addresses_of(manifest) {
            if let Some(first) = claim(&mut addresses, addr, placed) {
                let (_, _, owner) = first;
                let message = format!(
                    "{} has the address {addr}, which {} has too, {}",
                    manifest.title().unwrap_or_default(),
                    owner.title().unwrap_or_default(),
                    place(first, placed),
                );
                found.push(diagnostic(
                    placed,
                    message,
                    "give each workload and service its own",
                ));
            }
        }
    }
    found
}

/// Takes a key, or tells who has it.
fn claim<'a, K: Eq + Hash>(
    taken: &mut HashMap<K, Placed<'a>>,
    key: K,
    by: Placed<'a>,
) -> Option<Placed<'a>> {
    let first = *taken.entry(key).or_insert(by);
    (!std::ptr::eq(first.2, by.2)).then_some(first)
}

fn addresses_of(manifest: &Manifest) -> &[IpAddr] {
    match manifest {
        Manifest::Workload(workload) => &workload.addresses,
        Manifest::Service(service) => &service.addresses,
        Manifest::Policy(_)
        | Manifest::Namespace { .. }
        | Manifest::Revocations(_)
        | Manifest::TrustBundle { .. } => &[],
    }
}

fn place((file, at, _): Placed<'_>, (other_file, ..): Placed<'_>) -> String {
    match (file == other_file, at.line) {
        (true, 0) => "in this file".to_owned(),
        (true, line) => format!("in line {line}"),
        (false, 0) => format!("in {file}"),
        (false, line) => format!("in {file}, line {line}"),
    }
}

fn diagnostic((file, at, _): Placed<'_>, message: String, remedy: &str) -> Diagnostic {
    Diagnostic::error(file, at, message, remedy)
}
