//! Probes as they are written, checked once.

use std::collections::BTreeMap;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use palisade_api::cluster::PROBE_PATH;
use palisade_api::probe::{Ask, HttpGet, Probe};

/// All probes of a pod's applications.
#[derive(Debug, Clone, Default)]
pub struct Probes(Questions);

#[derive(Debug, Clone, Default)]
pub(super) struct Questions(pub(super) BTreeMap<String, (Question, Duration)>);

/// What to ask, in a form that cannot fail to be sent.
#[derive(Debug, Clone)]
pub(super) enum Question {
    Http(Get),
    Tcp { port: u16 },
    Grpc { port: u16, service: String },
}

#[derive(Debug, Clone)]
pub(super) struct Get {
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
    pub(super) https: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Question {
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Http(get) => get.port,
            Self::Tcp { port } | Self::Grpc { port, .. } => *port,
        }
    }
}

/// Why a text is no set of probes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbesError {
    /// Not an object of JSON.
    #[error("not a JSON object of probes by path: {0}")]
    Json(String),
    /// One of them is not what it must be.
    #[error("{path}: {reason}")]
    Probe {
        /// Under which path.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Probes {
    /// Reads `{"/probe/app/liveness": {…}, …}`; an empty text is none.
    ///
    /// # Errors
    ///
    /// At the first probe that cannot be asked, with its path.
    pub fn parse(text: &str) -> Result<Self, ProbesError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let all: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| ProbesError::Json(error.to_string()))?;
        let mut questions = BTreeMap::new();
        for (path, probe) in all {
            let read = serde_json::from_value::<Probe>(probe);
            let checked = read.map_err(|error| error.to_string());
            match checked.and_then(|probe| check(&path, probe)) {
                Ok(question) => questions.insert(path, question),
                Err(reason) => return Err(ProbesError::Probe { path, reason }),
            };
        }
        Ok(Self(Questions(questions)))
    }

    pub(super) fn questions(&self) -> &Questions {
        &self.0
    }
}

fn check(path: &str, probe: Probe) -> Result<(Question, Duration), String> {
    let named = path
        .strip_prefix(PROBE_PATH)
        .and_then(|rest| rest.split_once('/'));
    if !matches!(named, Some((container, kind)) if !container.is_empty() && KINDS.contains(&kind)) {
        return Err(format!(
            "not {PROBE_PATH}<container>/<kind>, the kind being one of {}",
            KINDS.join(", ")
        ));
    }
    if probe.timeout_seconds == 0 {
        return Err("timeout_seconds: no answer comes in no time; give at least 1".to_owned());
    }
    let question = match probe.ask {
        Ask::HttpGet(get) => Question::Http(check_get(get)?),
        Ask::TcpSocket { port } => Question::Tcp { port },
        Ask::Grpc { port, service } => Question::Grpc { port, service },
    };
    if question.port() == 0 {
        return Err("port: 0 is no port".to_owned());
    }
    Ok((question, Duration::from_secs(probe.timeout_seconds.into())))
}

fn check_get(get: HttpGet) -> Result<Get, String> {
    // As the kubelet has it: a path without its slash gets one, and what stands behind a `#` is not sent.
    let path = get.path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{path}").parse();
    let path = path.map_err(|error| format!("httpGet.path: {:?}: {error}", get.path))?;
    let headers = get.headers.into_iter().map(|(name, value)| {
        let wrong = |error: &dyn std::fmt::Display| format!("httpGet.headers: {name:?}: {error}");
        let name_ = name
            .parse()
            .map_err(|error: http::header::InvalidHeaderName| wrong(&error))?;
        let value = value.parse();
        let value = value.map_err(|error: http::header::InvalidHeaderValue| wrong(&error))?;
        Ok::<_, String>((name_, value))
    });
    Ok(Get {
        port: get.port,
        path,
        https: get.https,
        headers: headers.collect::<Result<_, _>>()?,
    })
}

const KINDS: [&str; 5] = ["liveness", "readiness", "startup", "postStart", "preStop"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_injector_writes_is_read() {
        let text = r#"{
            "/probe/app/liveness": {"httpGet": {"port": 8080, "path": "/healthz?a=b", "headers": [["X", "y"]]}, "timeout_seconds": 1},
            "/probe/app/preStop": {"httpGet": {"port": 8443, "path": "stop#now", "https": true}, "timeout_seconds": 30},
            "/probe/db/readiness": {"tcpSocket": {"port": 5432}, "timeout_seconds": 2},
            "/probe/rpc/startup": {"grpc": {"port": 9000}, "timeout_seconds": 3}
        }"#;
        let probes = Probes::parse(text).unwrap();
        let Questions(questions) = probes.questions();
        let seconds = questions.values().map(|(_, timeout)| timeout.as_secs());
        assert_eq!(seconds.collect::<Vec<_>>(), [1, 30, 2, 3]);
        let paths = questions
            .values()
            .filter_map(|(question, _)| match question {
                Question::Http(get) => Some(get.path.as_str()),
                Question::Tcp { .. } | Question::Grpc { .. } => None,
            });
        assert_eq!(paths.collect::<Vec<_>>(), ["/healthz?a=b", "/stop"]);
        assert!(Probes::parse(" ").unwrap().questions().0.is_empty());
    }

    #[test]
    fn what_the_contract_writes_is_what_is_read() {
        let probe = Probe {
            ask: Ask::HttpGet(HttpGet {
                port: 80,
                path: "/".into(),
                https: false,
                headers: vec![("Host".into(), "a.example".into())],
            }),
            timeout_seconds: 1,
        };
        let all: palisade_api::probe::Probes = [("/probe/a/startup".to_owned(), probe)].into();
        Probes::parse(&serde_json::to_string(&all).unwrap()).unwrap();
    }

    #[test]
    fn mistakes_say_where() {
        let tcp = |port: u16, seconds: u32| {
            format!(r#"{{"tcpSocket":{{"port":{port}}},"timeout_seconds":{seconds}}}"#)
        };
        let http = |path: &str, name: &str| {
            format!(
                r#"{{"httpGet":{{"port":1,"path":"{path}","headers":[["{name}","v"]]}},"timeout_seconds":1}}"#
            )
        };
        for (path, probe, reason) in [
            (
                "/probe/app/ready",
                tcp(1, 1),
                "not /probe/<container>/<kind>",
            ),
            (
                "/probe//liveness",
                tcp(1, 1),
                "not /probe/<container>/<kind>",
            ),
            ("/metrics", tcp(1, 1), "not /probe/<container>/<kind>"),
            ("/probe/app/liveness", tcp(0, 1), "port: 0 is no port"),
            ("/probe/app/liveness", tcp(1, 0), "timeout_seconds: "),
            ("/probe/app/liveness", http("/a b", "x"), "httpGet.path: "),
            (
                "/probe/app/liveness",
                http("/", "x y"),
                "httpGet.headers: \"x y\": ",
            ),
            ("/probe/app/liveness", r#"{"exec":{}}"#.to_owned(), ""),
        ] {
            let text = format!(r#"{{"{path}": {probe}}}"#);
            let error = Probes::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{path}: {reason}")), "{error}");
        }
        for text in ["[]", "{", "null"] {
            let error = Probes::parse(text).unwrap_err();
            assert!(matches!(error, ProbesError::Json(_)), "{error}");
        }
    }
}
