//! An API server for tests: it answers what it was told, and forbids all else.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::client::{KubeArgs, ScopeArgs};
use crate::args::MeshArgs;

/// It lives as long as the test's process; its kubeconfig as long as this.
pub(crate) struct Server {
    answers: Answers,
    folder: tempfile::TempDir,
}

/// By path, without what follows a question mark.
type Answers = Arc<Mutex<BTreeMap<String, (u16, Value)>>>;

impl Server {
    /// One that says its version; its kubeconfig's namespace is `shop`.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Answers::default();
        let known = Arc::clone(&answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = Arc::clone(&known);
                std::thread::spawn(move || serve(&stream, &known));
            }
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "shop"}}],
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        let version = json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
        Self { answers, folder }.has("/version", version)
    }

    /// It has this at a path.
    pub(crate) fn has(self, path: &str, value: Value) -> Self {
        self.answers(path, 200, value)
    }

    /// It knows that there is nothing at a path.
    pub(crate) fn has_none(self, path: &str) -> Self {
        self.answers(path, 404, failure(404, path))
    }

    /// The same, by the name of what there is not, as API servers say it.
    pub(crate) fn has_none_named(self, path: &str, name: &str) -> Self {
        let mut failure = failure(404, path);
        failure["details"] = json!({"name": name});
        self.answers(path, 404, failure)
    }

    /// It knows no such kind of object, which API servers say in a text.
    pub(crate) fn knows_nothing_of(self, path: &str) -> Self {
        self.answers(path, 404, json!("404 page not found"))
    }

    /// It knows nobody by the credentials that come.
    pub(crate) fn refuses_credentials(self, path: &str) -> Self {
        self.answers(path, 401, failure(401, path))
    }

    fn answers(self, path: &str, status: u16, value: Value) -> Self {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(path.to_owned(), (status, value));
        drop(answers);
        self
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// As they are typed.
    pub(crate) fn args(&self) -> KubeArgs {
        KubeArgs {
            kubeconfig: Some(self.kubeconfig()),
            context: None,
        }
    }

    /// As they are typed, with `-n` or without.
    pub(crate) fn mesh(&self, namespace: Option<&str>) -> MeshArgs {
        MeshArgs {
            name: None,
            output: None,
            kube: self.args(),
            scope: ScopeArgs {
                namespace: namespace.map(str::to_owned),
                all_namespaces: false,
            },
        }
    }
}

fn serve(stream: &TcpStream, known: &Answers) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(1..) if line.trim().is_empty() => break,
            Ok(1..) => lines.push(line),
            Ok(0) | Err(_) => return,
        }
    }
    let asked = lines[0].split(' ').nth(1).unwrap();
    let path = asked.split('?').next().unwrap();
    let known = known.lock().unwrap().get(path).cloned();
    let (status, value) = known.unwrap_or_else(|| (403, failure(403, path)));
    let body = value.to_string();
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Who asked may be gone.
    let _written = { stream }.write_all(format!("{head}{body}").as_bytes());
}

fn failure(code: u16, path: &str) -> Value {
    let (reason, what) = match code {
        401 => ("Unauthorized", "is for those whom it knows"),
        404 => ("NotFound", "is not found"),
        _ => ("Forbidden", "is forbidden"),
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": format!("{path} {what}"),
        "reason": reason, "code": code})
}
