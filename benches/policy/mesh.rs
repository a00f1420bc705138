//! Rules as a large mesh has them, the same with some taken away, and records of calls under them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

/// Files of a mesh, as long as it lives.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) rules: PathBuf,
    /// The same without some of the rules.
    pub(crate) edited: PathBuf,
    pub(crate) records: PathBuf,
    pub(crate) record_bytes: u64,
    pub(crate) workloads: u32,
    /// How many rules the edited ones lack.
    pub(crate) edits: usize,
    /// How many of these admitted somebody who was recorded.
    pub(crate) edits_seen: usize,
    _folder: TempDir,
}

impl Mesh {
    /// Writes so many rules and records.
    pub(crate) fn write(rules: u32, records: u32) -> Result<Self> {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name);
        let workloads = rules.div_ceil(RULES_EACH);
        for name in ["rules", "edited"] {
            fs::create_dir(at(name))?;
            let namespaces = workloads.div_ceil(WORKLOADS_A_NAMESPACE);
            for namespace in 0..namespaces {
                let first = namespace * WORKLOADS_A_NAMESPACE;
                let of_it = first..workloads.min(first + WORKLOADS_A_NAMESPACE);
                let text: String = of_it.map(|one| documents(one, name == "edited")).collect();
                fs::write(at(name).join(format!("ns-{namespace}.yaml")), text)?;
            }
        }
        let mut file = BufWriter::new(File::create(at("records.jsonl"))?);
        let connections = records / 2;
        for number in 0..connections {
            file.write_all(record(number, workloads, "outbound").as_bytes())?;
            file.write_all(record(number, workloads, "inbound").as_bytes())?;
        }
        file.flush()?;
        let edited = (0..workloads).filter(|one| is_edited(*one)).count();
        // Every workload's first caller is among the first so many connections.
        let called = workloads.min(connections);
        Ok(Self {
            rules: at("rules"),
            edited: at("edited"),
            record_bytes: fs::metadata(at("records.jsonl"))?.len(),
            records: at("records.jsonl"),
            workloads,
            edits: edited,
            edits_seen: (0..called).filter(|one| is_edited(*one)).count(),
            _folder: folder,
        })
    }
}

fn is_edited(workload: u32) -> bool {
    workload.is_multiple_of(100)
}

/// A workload, its callers, and its policy; where it is edited, without the rule for its first caller.
fn documents(workload: u32, edited: bool) -> String {
    let namespace = namespace(workload);
    let mut text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: Workload\nmetadata: {{name: work-{workload}-0, namespace: {namespace}, \
         labels: {{app: work-{workload}}}}}\nspec: {{serviceAccount: work-{workload}, addresses: [\"{}\"]}}\n---\n",
        address(workload)
    );
    text.push_str(&format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: work-{workload}, namespace: \
         {namespace}}}\nspec:\n  target: {{labels: {{app: work-{workload}}}}}\n  rules:\n"
    ));
    let first = u32::from(edited && is_edited(workload));
    for caller in first..RULES_EACH {
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "  - {{name: caller-{caller}, effect: allow, from: [{{serviceAccount: {namespace}/caller-{workload}-{caller}}}], \
             ports: [8080]}}"
        );
    }
    text.push_str("---\n");
    text
}

/// One side's record of a connection. Callers take turns: first every workload's first, then every one's second.
fn record(number: u32, workloads: u32, direction: &str) -> String {
    let workload = number % workloads;
    let caller = number / workloads % RULES_EACH;
    let namespace = namespace(workload);
    let minute = number / 60 % 60;
    let second = number % 60;
    format!(
        "{{\"time\":\"2026-11-22T10:{minute:02}:{second:02}.123Z\",\"event\":\"close\",\"conn.id\":\"{number:032x}\",\
         \"direction\":\"{direction}\",\"workload\":\"{namespace}/work-{workload}-0\",\"src.addr\":\"10.9.0.1:41000\",\
         \"src.identity\":\"spiffe://cluster.local/ns/{namespace}/sa/caller-{workload}-{caller}\",\
         \"dst.addr\":\"{}:8080\",\"dst.identity\":\"spiffe://cluster.local/ns/{namespace}/sa/work-{workload}\",\
         \"dst.workload\":\"work-{workload}-0\",\"dst.namespace\":\"{namespace}\",\"dst.port\":8080,\
         \"policy.decision\":\"allow\",\"policy.reason\":\"rule\",\"policy.mode\":\"enforce\",\
         \"policy.rule\":\"{namespace}/work-{workload}/caller-{caller}\",\"policy.revision\":1763776000000,\
         \"tls.version\":\"1.3\",\"tls.cipher\":\"TLS13_AES_128_GCM_SHA256\",\"tls.group\":\"X25519MLKEM768\",\
         \"bytes_sent\":1234,\"bytes_recv\":5678,\"duration_ms\":12,\"close.by\":\"client\"}}\n",
        address(workload)
    )
}

fn namespace(workload: u32) -> String {
    format!("ns-{}", workload / WORKLOADS_A_NAMESPACE)
}

fn address(workload: u32) -> String {
    let [_, high, middle, low] = workload.to_be_bytes();
    format!("10.{high}.{middle}.{low}")
}

const RULES_EACH: u32 = 5;
const WORKLOADS_A_NAMESPACE: u32 = 20;
