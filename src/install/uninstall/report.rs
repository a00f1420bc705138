//! What `palisade uninstall` says: lines for people, or JSON.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::meshed::Workload;
use crate::args::Output;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    /// This still has pods in the mesh.
    Meshed(&'a Workload),
    /// A command that helps to take pods out of the mesh.
    Remedy { command: &'a str },
    /// It is gone.
    Removed {
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        name: &'a str,
        /// How many policies went with it.
        #[serde(skip_serializing_if = "Option::is_none")]
        rules: Option<usize>,
    },
    /// A namespace no longer has the label of meshed ones.
    Unlabelled { namespace: &'a str },
    /// The system namespace holds what is not ours.
    Kept { namespace: &'a str, holds: &'a str },
    /// Everything is gone.
    Done { removed: usize },
}

/// Where it says that.
#[derive(Debug)]
pub(super) struct Report {
    output: Output,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self { output }
    }

    pub(super) fn say(&mut self, event: &Event<'_>) -> io::Result<()> {
        let mut out = anstream::AutoStream::auto(io::stdout()).lock();
        match self.output {
            Output::Text => writeln!(out, "{event}")?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(event)?)?,
        }
        out.flush()
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meshed(workload) => {
                let Workload {
                    namespace,
                    kind,
                    name,
                    pods,
                    ..
                } = workload;
                let pods = counted(*pods, "pod", "pods");
                write!(f, "in the mesh: {kind} {namespace}/{name}, {pods}")
            }
            Self::Remedy { command } => write!(f, "  {command}"),
            Self::Removed {
                kind,
                namespace,
                name,
                rules,
            } => {
                let namespace = namespace
                    .map(|namespace| format!("{namespace}/"))
                    .unwrap_or_default();
                write!(f, "removed {kind} {namespace}{name}")?;
                match rules {
                    Some(rules) => write!(f, ", with {}", counted(*rules, "policy", "policies")),
                    None => Ok(()),
                }
            }
            Self::Unlabelled { namespace } => write!(f, "unlabelled Namespace {namespace}"),
            Self::Kept { namespace, holds } => {
                write!(
                    f,
                    "kept Namespace {namespace}: it holds {holds}, which is not of the mesh"
                )
            }
            Self::Done { removed: 0 } => f.write_str("nothing of Palisade is in this cluster"),
            Self::Done { .. } => f.write_str(
                "Palisade is gone; palisade.dev/… keys on namespaces are yours, and were left",
            ),
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_for_people_and_for_programs() {
        let workload = Workload {
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            pods: 1,
            restart: "kubectl …".into(),
        };
        for (event, text, object) in [
            (
                Event::Meshed(&workload),
                "in the mesh: Deployment shop/web, 1 pod",
                json!({"event": "meshed", "namespace": "shop", "kind": "Deployment", "name": "web", "pods": 1,
                    "restart": "kubectl …"}),
            ),
            (
                Event::Removed {
                    kind: "ConfigMap",
                    namespace: Some("shop"),
                    name: "palisade-trust",
                    rules: None,
                },
                "removed ConfigMap shop/palisade-trust",
                json!({"event": "removed", "kind": "ConfigMap", "namespace": "shop", "name": "palisade-trust"}),
            ),
            (
                Event::Removed {
                    kind: "CustomResourceDefinition",
                    namespace: None,
                    name: "a",
                    rules: Some(2),
                },
                "removed CustomResourceDefinition a, with 2 policies",
                json!({"event": "removed", "kind": "CustomResourceDefinition", "name": "a", "rules": 2}),
            ),
            (
                Event::Done { removed: 0 },
                "nothing of Palisade is in this cluster",
                json!({"event": "done", "removed": 0}),
            ),
        ] {
            assert_eq!(event.to_string(), text);
            assert_eq!(serde_json::to_value(&event).unwrap(), object);
        }
    }
}
