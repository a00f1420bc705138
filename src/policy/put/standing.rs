//! Where that goes which is applied to a local mesh: what stands in one of its files already is replaced there, as an
//! object of a cluster is, and all else comes in a file of its own name.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use palisade_api::manifest::{self, Document, Manifest};

use super::NewFile;

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
pub(super) enum ReplaceError {
    #[error(
        "{title} stands in {place}, a file with mistakes, and nothing was applied; put that file right first, which \
         `palisade policy check` helps with, or take it out there"
    )]
    Broken { title: String, place: String },
    #[error(
        "{title} stands both in {place} and in {other}, and nothing was applied; take it out of one of them first"
    )]
    Twice {
        title: String,
        place: String,
        other: String,
    },
    #[error(
        "{title} stands in {place}, which is a link, and nothing was applied; edit the file that it leads to, or take it \
         out there"
    )]
    Link { title: String, place: String },
    #[error(
        "{title} stands in {place} and cannot be told apart from what is around it, and nothing was applied; edit it \
         there, or take it out there"
    )]
    Entangled { title: String, place: String },
}

/// What the directory must hold so that it says what the files do; `held` are the texts of its files, by path.
pub(super) fn placed(
    directory: &Path,
    held: &BTreeMap<String, String>,
    files: &[NewFile],
) -> Result<Vec<Write>, ReplaceError> {
    let path = |name: &str| directory.join(name).display().to_string();
    let own: Vec<_> = files.iter().map(|new| path(&new.name)).collect();
    let others = held.iter().filter(|(file, _)| !own.contains(file));
    let standing = Standing::of(others);
    // By file, and what each of its documents becomes.
    let mut replaced: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    let mut writes = Vec::new();
    for new in files {
        let mut rest = String::new();
        for (_, piece) in manifest::apart(&new.text) {
            let titles = titles(piece);
            let Some((title, file)) = standing.file_of(&titles)? else {
                rest.push_str(piece);
                continue;
            };
            let own = replaced.entry(file).or_default();
            own.insert(title.to_owned(), piece);
            rest.push_str(&without(piece));
        }
        if !says_anything(&rest) {
            continue;
        }
        writes.push(Write {
            name: new.name.clone(),
            text: rest,
            former: held.get(&path(&new.name)).cloned(),
            place: new.place.clone(),
        });
    }
    for (file, pieces) in replaced {
        writes.extend(standing.replace(file, held, &pieces)?);
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

impl<'a> Standing<'a> {
    fn of(files: impl Iterator<Item = (&'a String, &'a String)>) -> Self {
        let mut standing: BTreeMap<String, Vec<Stands<'_>>> = BTreeMap::new();
        for (file, text) in files {
            let read = manifest::read_all(file, text);
            let is_broken = !read.mistakes.is_empty();
            for document in read.documents.iter().chain(&read.doubtful) {
                let Some(title) = document.manifest.title() else {
                    continue;
                };
                standing.entry(title).or_default().push(Stands {
                    file,
                    line: document.line,
                    is_broken,
                });
            }
        }
        Self(standing)
    }

    /// Which of what stands together in a piece of text stands in one of the files, and in which.
    fn file_of<'t>(
        &self,
        titles: &'t [String],
    ) -> Result<Option<(&'t str, &'a str)>, ReplaceError> {
        let mut known = titles
            .iter()
            .filter_map(|title| Some((title, self.0.get(title)?.as_slice())));
        let Some((title, stands)) = known.next() else {
            return Ok(None);
        };
        let own = |title: &String| title.clone();
        let error = match stands {
            [one, other, ..] => ReplaceError::Twice {
                title: own(title),
                place: one.place(),
                other: other.place(),
            },
            [one] if one.is_broken => ReplaceError::Broken {
                title: own(title),
                place: one.place(),
            },
            [one] if Path::new(one.file).is_symlink() => ReplaceError::Link {
                title: own(title),
                place: one.place(),
            },
            [one] if titles.len() > 1 => ReplaceError::Entangled {
                title: own(title),
                place: one.place(),
            },
            [one] => return Ok(Some((title, one.file))),
            [] => return Ok(None),
        };
        Err(error)
    }

    /// A file in which some documents are others.
    fn replace(
        &self,
        file: &str,
        held: &BTreeMap<String, String>,
        pieces: &BTreeMap<String, &str>,
    ) -> Result<Option<Write>, ReplaceError> {
        let name = Path::new(file).file_name().and_then(|name| name.to_str());
        let (Some(former), Some(name)) = (held.get(file), name) else {
            return Ok(None);
        };
        let Some(text) = replaced(former, pieces) else {
            let title = pieces.keys().next().cloned().unwrap_or_default();
            let stands = self.0.get(&title).and_then(|stands| stands.first());
            let place = stands.map_or_else(|| file.to_owned(), Stands::place);
            return Err(ReplaceError::Entangled { title, place });
        };
        Ok(Some(Write {
            name: name.to_owned(),
            text,
            former: Some(former.clone()),
            place: file.to_owned(),
        }))
    }
}

impl Stands<'_> {
    /// For people.
    fn place(&self) -> String {
        format!("{}:{}", manifest::without_controls(self.file), self.line)
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
    let read = manifest::read_all("", piece);
    let documents = read.documents.iter().chain(&read.doubtful);
    let title = |document: &Document| document.manifest.title();
    documents.filter_map(title).collect()
}

/// Whether a text says anything to a mesh.
fn says_anything(text: &str) -> bool {
    let read = manifest::read_all("", text);
    !(read.documents.is_empty() && read.doubtful.is_empty() && read.mistakes.is_empty())
}

/// A document's text: what stands around it, and the document.
#[derive(Debug)]
struct Part<'a> {
    /// `---`, where it begins with that.
    marker: &'a str,
    /// Comments that are not its own: a blank line parts them from it.
    header: &'a str,
    /// The comment directly above it.
    comment: &'a str,
    body: &'a str,
    /// Blank lines and comments at the margin.
    tail: &'a str,
}

impl<'a> Part<'a> {
    fn of(piece: &'a str) -> Self {
        let is_blank = |line: &str| line.trim().is_empty();
        let is_comment = |line: &str| line.trim_start().starts_with('#');
        let marker = piece.split_inclusive('\n').next().filter(|line| {
            let rest = line.strip_prefix("---");
            rest.is_some_and(|rest| is_blank(rest) || is_comment(rest))
        });
        let (marker, rest) = piece.split_at(marker.map_or(0, str::len));
        let lines = rest.split_inclusive('\n');
        let above = lines
            .take_while(|line| is_blank(line) || is_comment(line))
            .map(str::len)
            .sum();
        let (above, rest) = rest.split_at(above);
        let lines = above.split_inclusive('\n').rev();
        let own: usize = lines
            .take_while(|line| is_comment(line))
            .map(str::len)
            .sum();
        let (header, comment) = above.split_at(above.len() - own);
        let lines = rest.split_inclusive('\n').rev();
        let tail: usize = lines
            .take_while(|line| is_blank(line) || line.starts_with('#'))
            .map(str::len)
            .sum();
        let (body, tail) = rest.split_at(rest.len() - tail);
        Self {
            marker,
            header,
            comment,
            body,
            tail,
        }
    }
}

/// A document in the place of another: with its own comment above it, or else the other's, and among what stood around that.
fn instead(old: &str, new: &str) -> String {
    let (old, new) = (Part::of(old), Part::of(new));
    let comment = match new.comment {
        "" => old.comment,
        own => own,
    };
    let Part {
        marker,
        header,
        tail,
        ..
    } = old;
    let body = new.body.trim_end_matches(['\n', '\r']);
    format!("{marker}{header}{comment}{body}\n{tail}")
}

/// What is left of a document's text without it.
fn without(piece: &str) -> String {
    let Part {
        marker,
        header,
        tail,
        ..
    } = Part::of(piece);
    if header.trim().is_empty() && tail.trim().is_empty() {
        return String::new();
    }
    format!("{marker}{header}{tail}")
}
