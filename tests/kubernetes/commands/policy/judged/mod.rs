//! Rules that are asked about before they are changed: of a cluster's own, and of files beside them.

mod refused;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use time::OffsetDateTime;

use crate::example::json_lines;
use crate::harness::{BOUND, Mesh, stdout, text, wait_for};
use crate::shop::Shop;

#[test]
fn rules_of_a_cluster_are_checked_tested_compared_and_suggested() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh, "judged", 1);
    shop.namespace.apply(&shop.rule(5432));
    shop.enforced_by(1);
    let now = OffsetDateTime::now_utc();
    shop.answered("client", now);
    assert!(shop.call_anew("client") && !shop.call_anew("stranger"));
    let asked = Asked::new(&mesh, &shop);
    asked.checks();
    asked.tests();
    asked.compares();
    let records = asked.records();
    asked.simulates(&records);
    asked.suggests(&records);
    asked.asks_about_what_was_read();
    asked.says_what_it_may_not_read();
}

/// Whose rules are asked about, and where the files are.
struct Asked<'a> {
    mesh: &'a Mesh,
    shop: &'a Shop,
    name: &'a str,
    folder: tempfile::TempDir,
}

impl<'a> Asked<'a> {
    fn new(mesh: &'a Mesh, shop: &'a Shop) -> Self {
        Self {
            mesh,
            shop,
            name: shop.namespace.name(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// `palisade policy …` in the namespace, for programs.
    fn policy(&self, arguments: &[&str]) -> Output {
        let scope = ["-n", self.name, "-o", "json"];
        self.mesh
            .palisade(&[&["policy"], arguments, &scope].concat())
    }

    /// What it printed, and the exit code.
    fn lines(&self, arguments: &[&str]) -> (Vec<Value>, i32) {
        let output = self.policy(arguments);
        let code = output.status.code().unwrap();
        assert!(code < 2, "{arguments:?}: {output:?}");
        (json_lines(&text(&output.stdout)), code)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The rule, but for the stranger.
    fn edited(&self) -> PathBuf {
        let rule = self.shop.rule(5432).replace("/client", "/stranger");
        let own = format!("{{name: servers, namespace: {}}}", self.name);
        self.file("edited/rule.yaml", &rule.replace("{name: servers}", &own));
        self.folder.path().join("edited")
    }

    /// Names are held against who is there, by the fields of objects.
    fn checks(&self) {
        assert_eq!(self.lines(&["check"]), (Vec::new(), 0));
        let late = self
            .shop
            .rule(5433)
            .replace("{name: servers}", "{name: late}");
        // Nobody runs as the first, which is there; the second is not; and of other namespaces nothing was asked.
        self.shop
            .namespace
            .kubectl(&["create", "serviceaccount", "nightly"]);
        let late = late.replace(
            &format!("{{serviceAccount: {}/client}}", self.name),
            &format!(
                "{{serviceAccount: {0}/nightly}}, {{serviceAccount: {0}/cleint}}, {{namespace: elsewhere}}",
                self.name
            ),
        );
        self.shop.namespace.apply(&late);
        let (found, code) = self.lines(&["check"]);
        let [finding] = &found[..] else {
            panic!("{found:?}");
        };
        let expected = [
            ("code", "unknown"),
            ("severity", "warning"),
            ("field", "spec.rules[0].from[1].serviceAccount"),
            ("remedy", "did you mean `client`?"),
        ];
        for (key, value) in expected {
            assert_eq!(finding[key], value, "{finding}");
        }
        let object = format!("AuthorizationPolicy {}/late", self.name);
        assert_eq!((&finding["object"], code), (&Value::from(object), 0));
        assert_eq!(self.lines(&["check", "--deny-warnings"]).1, 1);
        // Where all of the cluster is known, it is a mistake.
        let all = self.mesh.palisade(&["policy", "check", "-A", "-o", "json"]);
        let found = json_lines(&text(&all.stdout));
        let of_late = found.iter().find(|one| one["object"] == finding["object"]);
        assert_eq!(of_late.unwrap()["severity"], "error", "{found:?}");
        assert_eq!(all.status.code(), Some(1));
        let delete = ["delete", "authorizationpolicy", "late"];
        stdout(&self.shop.namespace.kubectl(&delete));
    }

    /// Expectations of files against the rules of the cluster.
    fn tests(&self) {
        let expectation = |from: &str, expect: &str| {
            let name = self.name;
            format!(
                "  - {{from: {name}/{from}, to: {name}/server, port: 5432, expect: {expect}}}\n"
            )
        };
        let head = "apiVersion: palisade.dev/v1alpha1\nkind: PolicyTest\nmetadata: {name: servers}\nspec:\n  tests:\n";
        let good = expectation("client", "allow, rule: callers") + &expectation("stranger", "deny");
        let file = self.file("tests.yaml", &format!("{head}{good}"));
        let junit = self.folder.path().join("report.xml");
        let asked = |file: &Path| {
            let (file, junit) = (file.to_str().unwrap(), junit.to_str().unwrap());
            self.lines(&["test", file, "--mesh", "--junit", junit])
        };
        let (lines, code) = asked(&file);
        let sum = lines.last().unwrap();
        assert_eq!((code, &sum["passed"]), (0, &Value::Bool(true)), "{lines:?}");
        assert_eq!((lines.len(), &sum["expectations"]), (3, &Value::from(2)));
        let wrong = expectation("stranger", "allow");
        let file = self.file("tests.yaml", &format!("{head}{good}{wrong}"));
        let (lines, code) = asked(&file);
        let failed = lines.iter().find(|one| one["passed"] == false).unwrap();
        assert_eq!(code, 1);
        assert_eq!(failed["answers"][0]["differs"], "expected allow, got deny");
        assert_eq!(lines.last().unwrap()["failed"], 1);
        let report = fs::read_to_string(&junit).unwrap();
        assert!(report.contains("failures=\"1\""), "{report}");
        // Where nothing can be asked, the report says that, too.
        let file = self.file("tests.yaml", &format!("{head}  - {{from: nobody}}\n"));
        let arguments = ["test", file.to_str().unwrap(), "--mesh", "--junit"];
        let output = self.policy(&[&arguments[..], &[junit.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let report = fs::read_to_string(&junit).unwrap();
        assert!(report.contains("errors=\"1\""), "{report}");
    }

    /// A directory beside the cluster's rules, in terms of who reaches whom.
    fn compares(&self) {
        let edited = self.edited();
        let edited = edited.to_str().unwrap();
        let (lines, code) = self.lines(&["diff", edited]);
        assert_eq!((lines.len(), code), (2, 1), "{lines:?}");
        for (becomes, who) in [("allow", "stranger"), ("deny", "client")] {
            let line = lines.iter().find(|one| one["becomes"] == becomes);
            let line = line.unwrap_or_else(|| panic!("{becomes}: {lines:?}"));
            let said = line.to_string();
            assert!(said.contains(&format!("{}/{who}", self.name)), "{line}");
            assert!(said.contains(&format!("{}/server", self.name)), "{line}");
            assert_eq!(line["ports"], serde_json::json!(["5432"]), "{line}");
        }
        // What is there already is no difference.
        let (rule, name) = (self.shop.rule(5432), "{name: servers");
        let same = rule.replace(name, &format!("{name}, namespace: {}", self.name));
        let same = self.file("same/rule.yaml", &same);
        assert_eq!(
            self.lines(&["diff", same.to_str().unwrap()]),
            (Vec::new(), 0)
        );
    }

    /// As `palisade logs` prints them.
    fn records(&self) -> PathBuf {
        let logs = ["logs", "-n", self.name, "-o", "json", "--since", "10m"];
        let said = wait_for("records of both callers", BOUND, || {
            let said = stdout(&self.mesh.palisade(&logs));
            let has = |event: &str, who: &str| {
                let who = format!("/sa/{who}\"");
                let mut lines = said.lines();
                lines.any(|line| line.contains(event) && line.contains(&who))
            };
            (has("\"close\"", "client") && has("\"denied\"", "stranger")).then(|| said.clone())
        });
        self.file("records.jsonl", &said)
    }

    /// From a file of records, and from what the cluster's nodes keep.
    fn simulates(&self, records: &Path) {
        let edited = self.edited();
        let edited = edited.to_str().unwrap();
        let of_file = ["simulate", edited, "--records", records.to_str().unwrap()];
        for arguments in [&of_file[..], &["simulate", edited]] {
            let (lines, code) = self.lines(arguments);
            assert_eq!(code, 1, "{lines:?}");
            for (who, was, becomes) in [("client", "allow", "deny"), ("stranger", "deny", "allow")]
            {
                let who = format!("{}/{who}", self.name);
                let flip = lines
                    .iter()
                    .find(|one| one["kind"] == "flip" && one["from"] == who);
                let flip = flip.unwrap_or_else(|| panic!("{who}: {lines:?}"));
                assert_eq!(
                    (&flip["was"], &flip["becomes"]),
                    (&was.into(), &becomes.into())
                );
                assert_eq!(flip["to"], format!("{}/server", self.name), "{flip}");
            }
            let sum = lines.last().unwrap();
            assert_eq!(sum["unknown"]["edges"], 0, "{lines:?}");
        }
    }

    /// What is suggested is what the API server takes, without a word.
    fn suggests(&self, records: &Path) {
        let records = records.to_str().unwrap();
        for source in [&["--records", records][..], &[]] {
            let suggest = ["policy", "suggest", "-n", self.name, "--include-denied"];
            let suggested = self.mesh.palisade(&[&suggest[..], source].concat());
            let rules = stdout(&suggested);
            let expected = format!("serviceAccount: {}/stranger", self.name);
            assert!(
                rules.contains(&expected) && rules.contains("shadow"),
                "{rules}"
            );
            // The client is let in already.
            let admitted = format!("serviceAccount: {}/client", self.name);
            assert!(!rules.contains(&admitted), "{rules}");
            let said = text(&suggested.stderr);
            assert!(said.contains("admitted by rules already"), "{said}");
            let dry = ["kubectl", "apply", "--dry-run=server", "-f", "-"];
            let tried = self.mesh.cluster().fed(&dry, &rules);
            assert!(
                stdout(&tried).contains("created (server dry run)"),
                "{tried:?}"
            );
            assert_eq!(text(&tried.stderr), "", "{rules}");
        }
    }
}
