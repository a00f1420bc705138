//! Any text, as rules: what the validator says of it, and what it takes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../control/api/src/manifest/tests/held.rs"]
mod held;

// As the module names them.
use palisade_api::{manifest, policy, spiffe, workload};

fuzz_target!(|text: &str| held::held(text));
