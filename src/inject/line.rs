//! Where lines begin and end.

/// Where the line begins.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// Behind the line's end.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

/// Whether a line ends before this.
pub(super) fn ends_line(text: &str, at: usize) -> bool {
    text.get(..at).is_none_or(|before| before.ends_with('\n'))
}
