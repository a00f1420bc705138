//! What is read of a directory.

use std::os::unix::fs::symlink;

use super::*;

fn names(found: &Found) -> Vec<&str> {
    found
        .keys()
        .filter_map(|name| name.rsplit('/').next())
        .collect()
}

#[test]
fn yaml_files_are_read_through_links_and_hidden_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("..1")).unwrap();
    for name in ["..1/a.yaml", "b.yml", ".b.yaml.swp", ".c.yaml", "d.txt"] {
        fs::write(at(name), name).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    symlink("nowhere", at("dangling.yaml")).unwrap();
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    symlink(elsewhere.path(), at("outside.yaml")).unwrap();
    fs::create_dir(at("directory.yaml")).unwrap();
    let found = Directories::read(&[directory.path().into()]).unwrap();
    let all = [
        "a.yaml",
        "b.yml",
        "dangling.yaml",
        "directory.yaml",
        "outside.yaml",
    ];
    assert_eq!(names(&found), all);
    let of = |name: &str| found.get(&at(name).display().to_string()).unwrap();
    assert_eq!(of("a.yaml").as_deref(), Ok(b"..1/a.yaml".as_slice()));
    assert!(of("directory.yaml").is_err());
    assert!(
        of("dangling.yaml").is_err(),
        "what it said is not forgotten"
    );
    assert!(of("outside.yaml").is_err(), "nobody watches it there");
}

#[test]
fn a_directory_that_is_none_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let none = directory.path().join("none");
    let error = Directories::read(std::slice::from_ref(&none)).unwrap_err();
    assert!(error.to_string().contains(&none.display().to_string()));
}

#[tokio::test]
async fn a_change_is_seen_sooner_than_the_clock_would() {
    let directory = tempfile::tempdir().unwrap();
    let watched = Directories::watch(vec![directory.path().into()]);
    fs::write(directory.path().join("a.yaml"), "a").unwrap();
    let found = tokio::time::timeout(RESCAN / 2, watched.changed());
    assert_eq!(names(&found.await.unwrap().unwrap()), ["a.yaml"]);
}
