//! NetworkPolicies as YAML, with the comments that they need.

use std::fmt::{self, Write};

use super::convert::{Document, Ingress};

/// All of them, as one stream.
pub(super) fn render(documents: &[Document]) -> String {
    let mut text = HEADER.to_owned();
    for one in documents {
        // Writing to a string cannot fail.
        let written = document(&mut text, one);
        debug_assert!(written.is_ok(), "{written:?}");
    }
    text
}

fn document(text: &mut String, one: &Document) -> fmt::Result {
    let namespace = one.namespace.as_deref();
    if one.ingress.is_empty() {
        let place = namespace.map(|name| format!("{name}/")).unwrap_or_default();
        writeln!(
            text,
            "---\n# {place}{}: there is no NetworkPolicy for it.",
            one.name
        )?;
        return notes(text, &one.notes, "");
    }
    text.push_str("---\n");
    notes(text, &one.notes, "")?;
    writeln!(
        text,
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:"
    )?;
    writeln!(text, "  name: {}", one.name)?;
    writeln!(text, "  namespace: {}", namespace.unwrap_or_default())?;
    writeln!(text, "  labels: {{app.kubernetes.io/managed-by: palisade}}")?;
    text.push_str("spec:\n  policyTypes: [Ingress]\n");
    if one.labels.is_empty() {
        text.push_str("  podSelector: {}\n");
    } else {
        text.push_str("  podSelector:\n    matchLabels:\n");
        for (key, value) in &one.labels {
            writeln!(text, "      {key}: {}", quoted(value))?;
        }
    }
    text.push_str("  ingress:\n");
    for entry in &one.ingress {
        ingress(text, entry)?;
    }
    Ok(())
}

fn ingress(text: &mut String, entry: &Ingress) -> fmt::Result {
    writeln!(text, "    # rule {}", entry.rule)?;
    notes(text, &entry.notes, "    ")?;
    text.push_str("    - from:\n");
    for namespace in &entry.namespaces {
        writeln!(
            text,
            "        - namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}",
            quoted(namespace)
        )?;
    }
    for network in &entry.networks {
        writeln!(text, "        - ipBlock: {{cidr: {}}}", quoted(network))?;
    }
    if entry.ports.is_empty() {
        return Ok(());
    }
    text.push_str("      ports:\n");
    for ports in &entry.ports {
        let last = if ports.last > ports.first {
            format!(", endPort: {}", ports.last)
        } else {
            String::new()
        };
        writeln!(
            text,
            "        - {{protocol: TCP, port: {}{last}}}",
            ports.first
        )?;
    }
    Ok(())
}

fn notes(text: &mut String, notes: &[String], indent: &str) -> fmt::Result {
    notes
        .iter()
        .try_for_each(|note| writeln!(text, "{indent}# {note}"))
}

/// In quotes, so that `1` and `true` stay text.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const HEADER: &str = "\
# Made by `palisade policy networkpolicies`. They stand beside the mesh, which enforces the rules themselves.
# A pod that one of them selects, meshed or not, is reached by what they allow only. Networks let the kubelet of a pod's
# own node through, and with it probes (15020, 15021); who scrapes metrics on 15020 needs a NetworkPolicy of its own.
# A namespace whose authorization is `shadow` or whose mtls is `permissive` is open in the mesh, and would be closed here.
";
