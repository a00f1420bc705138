//! The examples of the migration guide become what it says.

use super::super::Mesh;
use super::*;

const GUIDE: &str = include_str!("../../../../examples/policies/MIGRATION.md");

#[test]
fn the_guides_examples_become_what_it_says() {
    let parts = GUIDE.split("```yaml\n").skip(1);
    let blocks: Vec<_> = parts
        .map(|part| part.split("```").next().unwrap())
        .collect();
    let [istio, from_istio, linkerd, from_linkerd] = *blocks else {
        panic!("{} examples", blocks.len());
    };
    for (mesh, before, after) in [
        (Mesh::Istio, istio, from_istio),
        (Mesh::Linkerd, linkerd, from_linkerd),
    ] {
        let converted = convert(mesh, before, &settings(mesh)).unwrap();
        assert_sound(&converted);
        assert!(converted.refused.is_empty(), "{:?}", converted.refused);
        let printed = printed(&converted);
        let lines = printed.lines().filter(|line| !line.starts_with('#'));
        let without_comments: String = lines.map(|line| format!("{line}\n")).collect();
        assert_eq!(without_comments, after);
    }
}
