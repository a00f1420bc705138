//! The text of one document of a file, which may be that of another.

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
pub(super) fn instead(old: &str, new: &str) -> String {
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
pub(super) fn without(piece: &str) -> String {
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
