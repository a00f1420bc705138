//! What is in force, edit by edit.

use super::*;

fn source() -> Source {
    Source::new(Ground {
        trust_domain: "cluster.local".parse().unwrap(),
        authorities: Vec::new(),
        mesh: Vec::new(),
        outside: Vec::new(),
    })
}

fn workload(name: &str, ip: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: shop}}
spec: {{serviceAccount: web, addresses: [{ip}]}}
"
    )
}

fn found(files: &[(&str, &str)]) -> Found {
    files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Ok(text.as_bytes().to_vec())))
        .collect()
}

fn known(update: &Update, names: &[&str]) -> Vec<bool> {
    let index = update.index.as_ref().unwrap();
    let known = |name: &&str| index.workload(&format!("shop/{name}")).is_some();
    names.iter().map(known).collect()
}

#[test]
fn a_bad_file_keeps_its_last_good_version_and_the_others_go_on() {
    let mut source = source();
    let (a, b, c) = (
        workload("a", "10.0.0.1"),
        workload("b", "10.0.0.2"),
        workload("c", "10.0.0.3"),
    );
    let first = source.update(&found(&[("a.yaml", &a), ("b.yaml", &b)]));
    assert_eq!(known(&first, &["a", "b"]), [true, true]);

    let bad = a.replace("kind: Workload", "kind: Wrokload");
    let edited = found(&[("a.yaml", &bad), ("b.yaml", &c)]);
    let second = source.update(&edited);
    assert_eq!(known(&second, &["a", "b", "c"]), [true, false, true]);
    assert_eq!((second.errors, second.new_errors.len()), (1, 1));
    assert!(second.new_errors[0].starts_with("a.yaml:2:"), "{second:?}");

    // The same again says nothing again.
    let third = source.update(&edited);
    assert_eq!((third.errors, third.new_errors.len()), (1, 0));
    assert!(third.index.is_none());

    let mended = source.update(&found(&[("a.yaml", &a)]));
    assert_eq!(known(&mended, &["a", "b", "c"]), [true, false, false]);
    assert_eq!(mended.errors, 0);
}

#[test]
fn what_cannot_be_read_keeps_its_last_good_version() {
    let mut source = source();
    let a = workload("a", "10.0.0.1");
    source.update(&found(&[("a.yaml", &a)]));
    for content in [Err("permission denied".into()), Ok(vec![b'\n', 0xff])] {
        let update = source.update(&Found::from([("a.yaml".into(), content)]));
        assert_eq!(known(&update, &["a"]), [true]);
        assert_eq!(update.errors, 1);
    }
}

#[test]
fn an_object_moves_between_files_in_any_order() {
    for (from, to) in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")] {
        let mut source = source();
        let (x, y) = (workload("x", "10.0.0.1"), workload("y", "10.0.0.2"));
        let both = format!("{x}---\n{y}");
        source.update(&found(&[(from, &both), (to, "")]));
        let moved = source.update(&found(&[(from, &y), (to, &x)]));
        assert_eq!(known(&moved, &["x", "y"]), [true, true]);
        assert_eq!(moved.errors, 0);
    }
}

#[test]
fn a_name_that_two_files_claim_stays_with_the_first_until_it_is_free() {
    let mut source = source();
    let (mine, yours) = (workload("x", "10.0.0.1"), workload("x", "10.0.0.2"));
    let other = workload("y", "10.0.0.3");
    source.update(&found(&[("b.yaml", &mine)]));
    let clash = source.update(&found(&[
        ("a.yaml", &yours),
        ("b.yaml", &mine),
        ("c.yaml", &other),
    ]));
    assert_eq!(clash.errors, 1, "{clash:?}");
    let index = clash.index.as_ref().unwrap();
    let address = |index: &Index| index.workload("shop/x").unwrap().addresses[0].to_string();
    assert_eq!(address(index), "10.0.0.1");
    assert_eq!(known(&clash, &["y"]), [true]);

    let freed = source.update(&found(&[("a.yaml", &yours), ("c.yaml", &other)]));
    assert_eq!(freed.errors, 0);
    assert_eq!(address(freed.index.as_ref().unwrap()), "10.0.0.2");
}

#[test]
fn no_files_are_a_mesh_without_workloads() {
    let mut source = source();
    assert!(source.update(&Found::new()).index.is_some());
}

#[test]
fn the_texts_in_force_are_those_that_were_good_last() {
    let mut source = source();
    let (a, b) = (workload("a", "10.0.0.1"), workload("b", "10.0.0.2"));
    let texts = |source: &Source| -> Vec<(String, String)> {
        source.in_force().files.into_iter().collect()
    };
    let of = |files: &[(&str, &str)]| -> Vec<(String, String)> {
        files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
            .collect()
    };
    source.update(&found(&[("a.yaml", &a), ("b.yaml", &b)]));
    assert_eq!(texts(&source), of(&[("a.yaml", &a), ("b.yaml", &b)]));

    // One is broken, and one takes the other's name.
    let clash = workload("a", "10.0.0.3");
    source.update(&found(&[
        ("a.yaml", "a: ["),
        ("b.yaml", &b),
        ("c.yaml", &clash),
    ]));
    assert_eq!(texts(&source), of(&[("a.yaml", &a), ("b.yaml", &b)]));

    source.update(&found(&[("b.yaml", &b), ("c.yaml", &clash)]));
    assert_eq!(texts(&source), of(&[("b.yaml", &b), ("c.yaml", &clash)]));
}
