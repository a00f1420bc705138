//! One line of a file as a terminal shows it, and where to underline it.

use super::read::is_hidden;

/// As much of a line as there is room for, and the columns to underline.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Underlined {
    /// Fit for a terminal: without tabs and control characters.
    pub(super) line: String,
    /// How many columns stand before what is underlined.
    pub(super) before: usize,
    /// How many columns that is wide, at least 1.
    pub(super) width: usize,
}

impl Underlined {
    /// Underlines `width` characters of a line after the first `skipped`, or all that are left of it where `width` is 0.
    /// At most `room` columns are shown, those around the place.
    pub(super) fn new(line: &str, skipped: usize, width: usize, room: usize) -> Self {
        let (before, rest) = split_after(line, skipped);
        let width = match width {
            0 => without_comment(rest).chars().count(),
            width => width,
        };
        let (meant, after) = split_after(rest, width);
        let [all_before, all_meant, all_after] = [before, meant, after].map(cells);
        let whole = columns(&all_before) + columns(&all_meant).max(1) + columns(&all_after);
        let room = if whole <= room {
            whole
        } else {
            room.saturating_sub(2 * ELLIPSIS_COLUMNS)
        };
        let meant = first_of(&all_meant, room);
        let width = columns(meant).max(1);
        let left = room.saturating_sub(width);
        let least = left.saturating_sub(columns(&all_after));
        let before = last_of(&all_before, least.max(left / 2));
        let after = first_of(&all_after, left.saturating_sub(columns(before)));
        let ellipsis = |is_cut: bool| if is_cut { "…" } else { "" };
        let opening = ellipsis(before.len() < all_before.len());
        let is_cut = meant.len() < all_meant.len() || after.len() < all_after.len();
        let shown = [before, meant, after].concat();
        let shown: String = shown.iter().map(|cell| cell.shown).collect();
        Self {
            line: format!("{opening}{shown}{}", ellipsis(is_cut)),
            before: opening.chars().count() + columns(before),
            width,
        }
    }
}

/// A character and the columns that it takes.
#[derive(Debug, Clone, Copy)]
struct Cell {
    shown: char,
    columns: usize,
}

/// A tab is some spaces; what would not be seen, or would move what is, is a sign for that.
fn cells(text: &str) -> Vec<Cell> {
    let mut cells = Vec::new();
    for c in text.chars() {
        let (shown, columns, times) = match c {
            '\t' => (' ', 1, TAB_COLUMNS),
            hidden if is_hidden(hidden) => (char::REPLACEMENT_CHARACTER, 1, 1),
            c => (c, columns_of(c), 1),
        };
        cells.extend([Cell { shown, columns }].repeat(times));
    }
    cells
}

fn columns(cells: &[Cell]) -> usize {
    cells.iter().map(|cell| cell.columns).sum()
}

/// As many from the front as there is room for.
fn first_of(cells: &[Cell], room: usize) -> &[Cell] {
    let count = fitting(cells.iter(), room);
    cells.get(..count).unwrap_or_default()
}

/// As many from the end as there is room for.
fn last_of(cells: &[Cell], room: usize) -> &[Cell] {
    let count = fitting(cells.iter().rev(), room);
    cells.get(cells.len() - count..).unwrap_or_default()
}

fn fitting<'a>(cells: impl Iterator<Item = &'a Cell>, room: usize) -> usize {
    let used = cells.scan(0, |used, cell| {
        *used += cell.columns;
        Some(*used)
    });
    used.take_while(|used| *used <= room).count()
}

/// Two parts of a text, the first of so many characters.
fn split_after(text: &str, characters: usize) -> (&str, &str) {
    let end = text.char_indices().nth(characters);
    text.split_at(end.map_or(text.len(), |(end, _)| end))
}

fn without_comment(text: &str) -> &str {
    let end = text.find(" #").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().trim_end()
}

/// How many columns of a terminal a character takes, by the blocks that it may stand in: those of East Asian scripts and
/// of pictures are wide, marks on another character take none.
pub(super) fn columns_of(c: char) -> usize {
    let is_in = |blocks: &[(char, char)]| {
        let mut blocks = blocks.iter();
        blocks.any(|(first, last)| (*first..=*last).contains(&c))
    };
    match c {
        c if c < FIRST_UNUSUAL => 1,
        _ if is_in(&MARKS) => 0,
        _ if is_in(&WIDE) => 2,
        _ => 1,
    }
}

/// No character before it is a mark or wide.
const FIRST_UNUSUAL: char = '\u{300}';
const MARKS: [(char, char); 8] = [
    ('\u{300}', '\u{36f}'),
    ('\u{483}', '\u{489}'),
    ('\u{591}', '\u{5bd}'),
    ('\u{610}', '\u{61a}'),
    ('\u{64b}', '\u{65f}'),
    ('\u{1ab0}', '\u{1aff}'),
    ('\u{20d0}', '\u{20ff}'),
    ('\u{fe00}', '\u{fe2f}'),
];
const WIDE: [(char, char); 12] = [
    ('\u{1100}', '\u{115f}'),
    ('\u{2e80}', '\u{303e}'),
    ('\u{3041}', '\u{a4cf}'),
    ('\u{a960}', '\u{a97f}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{fe30}', '\u{fe6f}'),
    ('\u{ff00}', '\u{ff60}'),
    ('\u{ffe0}', '\u{ffe6}'),
    ('\u{1f300}', '\u{1f64f}'),
    ('\u{1f680}', '\u{1faff}'),
    ('\u{20000}', '\u{3fffd}'),
];
const TAB_COLUMNS: usize = 4;
const ELLIPSIS_COLUMNS: usize = 1;
