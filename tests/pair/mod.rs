//! The pure parts of the pair benchmark. A benchmark has no tests of its own.

#[path = "../../benches/pair/figures/mod.rs"]
mod figures;
mod table;
mod words;
