//! The chart, rendered by the real Helm, gives the very objects that `palisade install` prints.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Compares object by object, for defaults and for other values; `helm` is the program.
pub(crate) fn same_as_helm(helm: &Path) {
    for (flags, sets) in CASES {
        let ours = rendered(
            Command::new(env!("CARGO_BIN_EXE_palisade"))
                .arg("install")
                .args(flags),
        );
        let mut command = Command::new(helm);
        command
            .args(["template", "palisade"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("injector/chart/palisade"))
            .args(["--set", "createNamespace=true"]);
        if !sets.contains(&"--namespace") {
            command.args(["--namespace", "palisade-system"]);
        }
        let helms = rendered(command.args(sets));
        let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&helms), "{flags:?}");
        for (name, object) in &ours {
            assert_eq!(Some(object), helms.get(name), "{name:?} with {flags:?}");
        }
    }
}

/// By kind, namespace and name: Helm has an order of its own.
type Objects = BTreeMap<[String; 3], Value>;

fn rendered(command: &mut Command) -> Objects {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    let stream = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&stream).unwrap();
    let text = |object: &Value, pointer: &str| {
        let found = object.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let mut objects = Objects::new();
    for object in documents.into_iter().filter(|object| !object.is_null()) {
        let key = ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text(&object, at));
        assert_eq!(
            objects.insert(key.clone(), object),
            None,
            "{key:?} is there twice"
        );
    }
    assert!(!objects.is_empty(), "{command:?} rendered nothing");
    objects
}

/// Our arguments, and Helm's for the same.
type Arguments = &'static [&'static str];

const CASES: [(Arguments, Arguments); 2] = [
    (&[], &[]),
    (
        &[
            "--namespace=mesh",
            "--image=registry.example/palisade:2",
            "--trust-domain=example.org",
            "--mesh-cidr=10.244.0.0/16,fd00::/64",
            "--outside-cidr=10.244.9.0/24",
            "--replicas=3",
            "--attest-address=off",
            "--svid-ttl=12h",
            "--set=priorityClassName=",
            "--set=controlResources.requests.cpu=200m",
            r#"--set=tolerations=[{"operator":"Exists"}]"#,
            r#"--set=imagePullSecrets=[{"name":"registry"}]"#,
        ],
        &[
            "--namespace",
            "mesh",
            "--set=image=registry.example/palisade:2",
            "--set=trustDomain=example.org",
            r"--set=meshCidr=10.244.0.0/16\,fd00::/64",
            "--set=outsideCidr=10.244.9.0/24",
            "--set=replicas=3",
            "--set=attestAddress=false",
            "--set=svidTtl=12h",
            "--set=priorityClassName=",
            "--set=controlResources.requests.cpu=200m",
            r#"--set-json=tolerations=[{"operator":"Exists"}]"#,
            r#"--set-json=imagePullSecrets=[{"name":"registry"}]"#,
        ],
    ),
];
