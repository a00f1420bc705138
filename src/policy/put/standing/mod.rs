//! Where that goes which is applied to a local mesh: what stands in one of its files already is replaced there, as an
//! object of a cluster is, and all else comes in a file of its own name, or of another one beside it.

mod name;
mod part;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade_api::manifest::{self, Document, Manifest};

use super::NewFile;
pub(super) use name::usual;
use part::{instead, without};

/// A file of the mesh's directory of rules, as it is to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// Its name there.
    pub(super) name: String,
    pub(super) text: String,
    /// As it is; none where it is not there, or is no text.
    pub(super) former: Option<String>,
    /// Where people find the text, to put it right.
    pub(super) place: String,
}

/// Why something cannot be replaced where it stands.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{title} stands in {place} and cannot be replaced there, so nothing was applied: {why}")]
pub(super) struct ReplaceError {
    title: String,
    place: String,
    why: Why,
}

/// What is in the way, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error(
        "the file has mistakes; put them right first, as `palisade policy check` says, or take it out there"
    )]
    Broken,
    #[error("it stands in {0}, too; take it out of one of them first")]
    Twice(String),
    #[error("the file is a link; edit what it leads to, or take it out there")]
    Link,
    #[error("no line `---` parts it from what is around it; edit it there, or take it out there")]
    Entangled,
}

/// What the directory must hold so that it says what the files do. `held` are the texts of its files, by path, and
/// `in_force` is what control has of them: a file with mistakes counts as it was.
pub(super) fn placed(
    directory: &Path,
    held: &BTreeMap<String, String>,
    in_force: &[Document],
    files: &[NewFile],
) -> Result<Vec<Write>, ReplaceError> {
    let path = |name: &str| directory.join(name).display().to_string();
    let all: BTreeSet<_> = files
        .iter()
        .flat_map(|new| said(&read(&new.text)))
        .collect();
    // A file is replaced as a whole where nothing that it says would be gone.
    let is_free = |name: &str| match held.get_key_value(&path(name)) {
        Some((file, text)) => said(&known(file, text, in_force).0).is_subset(&all),
        None => !directory.join(name).exists(),
    };
    let mut names: Vec<String> = Vec::new();
    for new in files {
        let is_free = |name: &str| !names.iter().any(|own| own == name) && is_free(name);
        let name = name::of(&new.name, is_free);
        names.push(name);
    }
    let own: Vec<_> = names.iter().map(|name| path(name)).collect();
    let others = held.iter().filter(|(file, _)| !own.contains(file));
    let standing = Standing::of(others, in_force);
    // By file, and what each of its documents becomes.
    let mut replaced: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    let mut writes = Vec::new();
    for (new, name) in files.iter().zip(names) {
        let (mut rest, mut is_whole) = (String::new(), true);
        for (_, piece) in manifest::apart(&new.text) {
            let titles = titles(piece);
            let Some((title, file)) = standing.file_of(&titles)? else {
                rest.push_str(piece);
                continue;
            };
            let own = replaced.entry(file).or_default();
            own.insert(title.to_owned(), piece);
            rest.push_str(&without(piece));
            is_whole = false;
        }
        if !says_anything(&rest) {
            continue;
        }
        if let Some(first) = rest.strip_prefix("---\n").filter(|_| !is_whole) {
            rest = first.to_owned();
        }
        writes.push(Write {
            former: held.get(&path(&name)).cloned(),
            name,
            text: rest,
            place: new.place.clone(),
        });
    }
    for (file, pieces) in replaced {
        let former = held.get(file).map_or("", String::as_str);
        writes.extend(standing.replace(file, former, &pieces)?);
    }
    Ok(writes)
}

/// Everything that stands in some files, by what people call it.
#[derive(Debug)]
struct Standing<'a>(BTreeMap<String, Vec<Stands<'a>>>);

#[derive(Debug, Clone, Copy)]
struct Stands<'a> {
    file: &'a str,
    line: u64,
    is_broken: bool,
}

/// What people call it, and the file in which it stands.
type Found<'t, 'a> = (&'t str, &'a str);

impl<'a> Standing<'a> {
    fn of(files: impl Iterator<Item = (&'a String, &'a String)>, in_force: &[Document]) -> Self {
        let mut standing: BTreeMap<String, Vec<Stands<'_>>> = BTreeMap::new();
        for (file, text) in files {
            let (documents, is_broken) = known(file, text, in_force);
            for document in &documents {
                let Some(title) = document.manifest.title() else {
                    continue;
                };
                let stands = standing.entry(title).or_default();
                if stands.iter().all(|one| one.file != file) {
                    stands.push(Stands {
                        file,
                        line: document.line,
                        is_broken,
                    });
                }
            }
        }
        Self(standing)
    }

    /// Which of what stands together in a piece of text stands in one of the files, and in which.
    fn file_of<'t>(&self, titles: &'t [String]) -> Result<Option<Found<'t, 'a>>, ReplaceError> {
        let mut known = titles
            .iter()
            .filter_map(|title| Some((title, self.0.get(title)?.split_first()?)));
        let Some((title, (one, others))) = known.next() else {
            return Ok(None);
        };
        let why = match others.first() {
            Some(other) => Why::Twice(other.place()),
            None if one.is_broken => Why::Broken,
            None if Path::new(one.file).is_symlink() => Why::Link,
            None if titles.len() > 1 => Why::Entangled,
            None => return Ok(Some((title, one.file))),
        };
        Err(one.error(title, why))
    }

    /// A file in which some documents are others.
    fn replace(
        &self,
        file: &str,
        former: &str,
        pieces: &BTreeMap<String, &str>,
    ) -> Result<Option<Write>, ReplaceError> {
        let mut found = pieces
            .keys()
            .filter_map(|title| Some((title, self.0.get(title)?.first()?)));
        let Some((title, stands)) = found.next() else {
            return Ok(None);
        };
        let text = replaced(former, pieces).ok_or_else(|| stands.error(title, Why::Entangled))?;
        let name = Path::new(file).file_name().and_then(|name| name.to_str());
        Ok(name.map(|name| Write {
            name: name.to_owned(),
            text,
            former: Some(former.to_owned()),
            place: file.to_owned(),
        }))
    }
}

impl Stands<'_> {
    /// For people.
    fn place(&self) -> String {
        format!("{}:{}", manifest::without_controls(self.file), self.line)
    }

    fn error(&self, title: &str, why: Why) -> ReplaceError {
        ReplaceError {
            title: title.to_owned(),
            place: self.place(),
            why,
        }
    }
}

/// A file's text with other documents in the place of those of the same name; none where that would change more.
fn replaced(text: &str, pieces: &BTreeMap<String, &str>) -> Option<String> {
    let mut after = String::new();
    for (_, piece) in manifest::apart(text) {
        let titles = titles(piece);
        let new = titles.iter().find_map(|title| pieces.get(title));
        match new {
            Some(new) => after.push_str(&instead(piece, new)),
            None => after.push_str(piece),
        }
    }
    // Whatever was made of the text: it must say what it did, and the new ones.
    let mut expected = manifests(text)?;
    for manifest in &mut expected {
        if let Some(piece) = manifest.title().and_then(|title| pieces.get(&title)) {
            *manifest = manifests(piece)?.pop()?;
        }
    }
    (manifests(&after)? == expected).then_some(after)
}

fn manifests(text: &str) -> Option<Vec<Manifest>> {
    manifest::parse("", text).ok()
}

fn titles(piece: &str) -> Vec<String> {
    let documents = read(piece);
    let titles = documents.iter().filter_map(|one| one.manifest.title());
    titles.collect()
}

/// Every document of a text, also where it has mistakes.
fn read(text: &str) -> Vec<Document> {
    known("", text, &[]).0
}

/// The same of a file of the mesh, and whether it has mistakes: then also what is in force of it.
fn known(file: &str, text: &str, in_force: &[Document]) -> (Vec<Document>, bool) {
    let read = manifest::read_all(file, text);
    let is_broken = !read.mistakes.is_empty();
    let was = in_force.iter();
    let was = was.filter(|one| is_broken && *one.file == *file).cloned();
    let documents = read.documents.into_iter().chain(read.doubtful);
    (documents.chain(was).collect(), is_broken)
}

/// Everything that documents say, by name.
fn said(documents: &[Document]) -> BTreeSet<String> {
    let said = documents.iter().flat_map(|document| {
        if let Manifest::Revocations(revoked) = &document.manifest {
            let identities = revoked.identities.iter().map(ToString::to_string);
            return identities.chain(revoked.serials.iter().cloned()).collect();
        }
        Vec::from_iter(document.manifest.title())
    });
    said.collect()
}

/// Whether a text says anything to a mesh.
fn says_anything(text: &str) -> bool {
    let read = manifest::read_all("", text);
    !(read.documents.is_empty() && read.doubtful.is_empty() && read.mistakes.is_empty())
}
