//! Control that is started on a store which is not good: a clear error, and nothing is overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::harness::{palisade, stdout, text};

/// A store, and control that is started on it.
struct Store {
    folder: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Self { folder };
        let made = store.run("cluster.local", &["ca", "init"]);
        stdout(&made);
        store
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("store").join(name)
    }

    fn run(&self, trust_domain: &str, program: &[&str]) -> Output {
        control(&self.folder.path().join("store"), trust_domain, program)
    }

    /// Control ends at once, with an error of so many words, and leaves the authority as it is.
    fn refuses(&self, trust_domain: &str, words: &[&str]) {
        let before = (self.read("ca.key"), self.read("ca.crt"));
        let listen = ["run", "--listen", "127.0.0.1:0", "--config"];
        let config = self.folder.path().display().to_string();
        for program in [&["ca", "init"][..], &[&listen[..], &[&config]].concat()] {
            let output = self.run(trust_domain, program);
            assert!(!output.status.success(), "{program:?}");
            let said = text(&output.stderr);
            for word in words {
                assert!(said.contains(word), "{program:?} says {said}");
            }
            assert!(said.lines().count() < 5, "{said}");
            assert!(!text(&output.stdout).contains("ready"), "{program:?}");
            assert_eq!((self.read("ca.key"), self.read("ca.crt")), before);
        }
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.file(name)).ok()
    }
}

fn control(store: &Path, trust_domain: &str, program: &[&str]) -> Output {
    let mut command = palisade(Path::new("/"));
    command
        .arg("control")
        .args(program)
        .arg("--store")
        .arg(store)
        .args(["--trust-domain", trust_domain])
        .stdin(Stdio::null())
        .output()
        .expect("palisade runs")
}

#[test]
fn a_store_that_is_half_written_is_an_error_and_stays_as_it_is() {
    for (lost, left) in [("ca.key", "ca.crt"), ("ca.crt", "ca.key")] {
        let store = Store::new();
        fs::remove_file(store.file(lost)).unwrap();
        store.refuses("cluster.local", &["half-written", "backup", lost, left]);
    }
    // Cut off within a file.
    let store = Store::new();
    let key = store.read("ca.key").unwrap();
    fs::write(store.file("ca.key"), &key[..key.len() / 2]).unwrap();
    store.refuses("cluster.local", &["ca.key", "no private key", "backup"]);
    let store = Store::new();
    fs::write(store.file("ca.crt"), b"").unwrap();
    store.refuses("cluster.local", &["ca.crt", "no certificate", "backup"]);
    // Of two authorities.
    let (one, other) = (Store::new(), Store::new());
    fs::copy(other.file("ca.key"), one.file("ca.key")).unwrap();
    one.refuses("cluster.local", &["is not the key of", "backup"]);
}

#[test]
fn a_key_that_others_may_read_is_an_error() {
    for mode in [0o640, 0o604, 0o666] {
        let store = Store::new();
        fs::set_permissions(store.file("ca.key"), PermissionsExt::from_mode(mode)).unwrap();
        store.refuses("cluster.local", &["may be read by others", "chmod 600"]);
    }
}

#[test]
fn the_store_of_another_trust_domain_is_an_error() {
    let store = Store::new();
    store.refuses(
        "partner.example",
        &["not the authority of trust domain partner.example"],
    );
}

#[test]
fn a_store_that_cannot_be_written_is_an_error() {
    // Where nobody may write, root neither.
    for (store, words) in [
        (
            "/proc/palisade",
            "choose a directory that this user may write",
        ),
        ("/proc/sys", "make the store writable for this user"),
    ] {
        let output = control(Path::new(store), "cluster.local", &["ca", "init"]);
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(said.contains(store) && said.contains(words), "{said}");
    }
}

#[test]
fn a_new_key_is_for_its_owner_alone_and_is_kept() {
    let store = Store::new();
    let mode = fs::metadata(store.file("ca.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = store.read("ca.key");
    stdout(&store.run("cluster.local", &["ca", "init"]));
    assert_eq!(store.read("ca.key"), key);
}
