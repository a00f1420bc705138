//! Names that were mistyped.

/// The one of these names that was most likely meant, if any is near enough.
pub(crate) fn near(asked: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let near = names.map(|name| (strsim::damerau_levenshtein(&name, asked), name));
    let near = near.filter(|(distance, _)| *distance <= NEAR).min();
    near.map(|(_, name)| name)
}

/// So many letters may be wrong, left out, too many or exchanged.
const NEAR: usize = 2;
