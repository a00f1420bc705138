//! The importers, where their own modules expect them to be.

#[path = "../../src/policy/import/mod.rs"]
#[expect(dead_code, reason = "the command that asks them is not here")]
mod import;
#[path = "../../src/policy/import/tests/sound.rs"]
mod sound;

mod named {
    use std::{fs, io, path};

    pub(super) fn open(path: &path::Path) -> io::Result<fs::File> {
        fs::File::open(path)
    }
}

/// What is converted is good and the same twice, and what is refused has reasons in the text.
pub(crate) fn held(text: &str) {
    for mesh in [import::Mesh::Istio, import::Mesh::Linkerd] {
        let settings = sound::settings(mesh);
        let Some(converted) = sound::convert(mesh, text, &settings) else {
            continue;
        };
        sound::assert_sound(&converted);
        are_told(&converted.refused, text);
        let again = sound::convert(mesh, text, &settings).map(|again| sound::printed(&again));
        assert_eq!(Some(sound::printed(&converted)), again);
    }
}

fn are_told(refused: &[import::Refusal], text: &str) {
    let lines = text.split(['\n', '\r']).count();
    for import::Refusal { of, reasons } in refused {
        let mut places = reasons.iter().map(|reason| reason.line).chain([of.line]);
        assert!(
            places.all(|line| (1..=lines).contains(&line)),
            "{of:?}, {reasons:?}"
        );
        let said = reasons
            .iter()
            .flat_map(|one| [&one.field, &one.reason, &one.remedy]);
        for said in said.chain([&of.object]) {
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }
}
