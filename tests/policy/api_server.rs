//! An API server on loopback that takes every object that is applied, and warns of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::{Value, json};

pub(super) struct ApiServer(SocketAddr);

impl ApiServer {
    /// `warnings` are the values of the headers that come with each answer about an object.
    pub(super) fn start(warnings: &'static [&'static str]) -> Self {
        Self::with(warnings, None)
    }

    /// One that takes each object on trial, and refuses that of this name when it is applied.
    pub(super) fn refusing(name: &'static str) -> Self {
        Self::with(&[], Some(name))
    }

    fn with(warnings: &'static [&'static str], refused: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), warnings, refused);
            }
        });
        Self(addr)
    }

    /// Makes a file that leads to it.
    pub(super) fn kubeconfig(&self, folder: &Path) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", self.0)}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let file = folder.join("kubeconfig");
        std::fs::write(&file, config.to_string()).unwrap();
        file
    }
}

fn answer(stream: TcpStream, warnings: &[&str], refused: Option<&str>) {
    let mut reader = BufReader::new(&stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let request = line();
    let headers: Vec<_> =
        std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty())).collect();
    let length = headers.iter().find_map(|header| {
        let (name, value) = header.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mut head = String::from("content-type: application/json\r\nconnection: close\r\n");
    let is_refused = refused
        .is_some_and(|name| request.contains(&format!("/{name}?")) && !request.contains("dryRun"));
    let (status, object) = if is_refused {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
            "reason": "Forbidden", "message": "exceeded quota",
        });
        ("403 Forbidden", status)
    } else if request.starts_with("PATCH ") {
        let mut object: Value = serde_json::from_slice(&body).unwrap();
        object["metadata"]["generation"] = 1.into();
        head.extend(warnings.iter().map(|value| format!("warning: {value}\r\n")));
        ("200 OK", object)
    } else {
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404});
        ("404 Not Found", status)
    };
    let object = object.to_string();
    let length = object.len();
    let answer = format!("HTTP/1.1 {status}\r\n{head}content-length: {length}\r\n\r\n{object}");
    (&stream).write_all(answer.as_bytes()).unwrap();
}
