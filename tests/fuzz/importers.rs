//! Any text, as objects of other meshes: what the importers make of it.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/near.rs"]
mod near;
#[path = "../../src/inject/tree.rs"]
#[expect(dead_code, reason = "what is injected is not here")]
mod tree;

mod policy;

// Where the importers look for them.
mod inject {
    pub(crate) use crate::tree;
}

// What of the command the importers name, and nothing here asks for.
mod args {
    #[derive(Debug, Clone, Copy, clap::ValueEnum)]
    pub(crate) enum Output {
        Text,
        Json,
    }
}
mod records {
    pub(crate) const ERROR: anstyle::Style = anstyle::Style::new();
    pub(crate) const WAITING: anstyle::Style = ERROR;
    pub(crate) const DIM: anstyle::Style = ERROR;
}

fuzz_target!(|text: &str| policy::held(text));
