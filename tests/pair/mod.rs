//! The pure parts of the pair benchmark. A benchmark has no tests of its own.

#[path = "../../benches/pair/figures/mod.rs"]
#[expect(dead_code, reason = "the benchmark uses all of it")]
mod figures;
mod table;
mod words;
