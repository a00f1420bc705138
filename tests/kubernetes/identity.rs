//! What control takes for a proof of who a pod is: the token that the kubelet gave that very pod, from its address.

use std::fmt::Write as _;

use crate::harness::{BOUND, Cluster, Mesh, Namespace, stdout, wait_for};

/// A pod that claims to be another, by what proof, and why control refuses it: the metric's label and words of the log.
struct Liar {
    name: &'static str,
    /// Its own where there is none.
    token: Option<String>,
    account: &'static str,
    reason: &'static str,
    says: Vec<String>,
}

#[test]
fn nobody_is_taken_for_another() {
    let mesh = Mesh::shared();
    // Outside of the mesh, where nothing is injected: each pod runs the proxy itself, with what it has stolen.
    let den = mesh.cluster().namespace("identity");
    den.apply(&format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: victim}}}}\n---\n{}---\n{}",
        waiting(&mesh, "victim"),
        waiting(&mesh, "gone"),
    ));
    let victim = wait_for("the address of the victim", BOUND, || {
        den.words(&["pod", "victim"], "{.status.podIP}").pop()
    });
    let anchor = mesh.system(&[
        "get",
        "secret",
        "palisade-ca",
        "-o",
        "jsonpath={.data.tls\\.crt}",
    ]);
    let before = refusals(&mesh);
    let liars = liars(&den, &victim);
    stdout(&den.kubectl(&["delete", "pod", "gone", "--force", "--wait"]));
    den.apply(&stolen(&liars, &stdout(&anchor)));
    let pods: Vec<_> = liars
        .iter()
        .map(|liar| impostor(&mesh, &den, liar))
        .collect();
    den.apply(&pods.join("---\n"));
    for liar in &liars {
        let line = refusal(&mesh, &den, liar);
        for words in &liar.says {
            assert!(
                line.contains(words.as_str()),
                "{}: {words}: {line}",
                liar.name
            );
        }
    }
    let after = refusals(&mesh);
    for liar in &liars {
        let of = |counts: &[(String, u64)]| -> u64 {
            let ours = counts.iter().filter(|(reason, _)| reason == liar.reason);
            ours.map(|(_, count)| count).sum()
        };
        assert!(
            of(&after) > of(&before),
            "{}: {before:?} {after:?}",
            liar.name
        );
    }
}

/// Control's line about it.
fn refusal(mesh: &Mesh, den: &Namespace, liar: &Liar) -> String {
    let from: Vec<String> = match &liar.token {
        Some(_) => wait_for(&format!("the addresses of {}", liar.name), BOUND, || {
            let addrs = den.words(&["pod", liar.name], "{.status.podIPs[*].ip}");
            (!addrs.is_empty()).then_some(addrs)
        })
        .iter()
        .flat_map(|addr| [format!("\"{addr}:"), format!("[{addr}]:")])
        .collect(),
        // A token that is true brings an SVID, which names its pod.
        None => vec![format!("{}/{}/", den.name(), liar.name)],
    };
    wait_for(&format!("control to refuse {}", liar.name), BOUND, || {
        let log = mesh.system(&["logs", "-l", CONTROL, "--tail=-1"]);
        // For a moment control does not know of a pod that has just started, and says so.
        let is_it = |line: &&str| {
            line.contains("refused")
                && !line.contains("not_visible_yet")
                && from.iter().any(|from| line.contains(from))
        };
        stdout(&log).lines().find(is_it).map(str::to_owned)
    })
}

fn liars(den: &Namespace, victim: &str) -> Vec<Liar> {
    let token = |more: &[&str]| {
        let create = ["create", "token", "victim"];
        stdout(&den.kubectl(&[&create[..], more].concat()))
            .trim()
            .to_owned()
    };
    let bound = |pod| ["--bound-object-kind", "Pod", "--bound-object-name", pod];
    let ours = ["--audience", "palisade"];
    let stolen = token(&[&ours[..], &bound("victim")].concat());
    let forged = forged(&stolen);
    // What the API server would have signed, but for its times: the first shows that it takes such a token.
    let [minted, expired] = [600, -60].map(|left| minted(den.cluster(), &stolen, left));
    let liar = |name, token, reason, says: &[&str]| Liar {
        name,
        token: Some(token),
        account: "default",
        reason,
        says: says.iter().map(|words| (*words).to_owned()).collect(),
    };
    let pod = format!("{}/victim", den.name());
    let honest_at_first = |name, account| Liar {
        name,
        token: None,
        account,
        reason: "denied",
        says: vec!["a watch was refused".to_owned(), pod.clone()],
    };
    vec![
        honest_at_first("twin", "victim"),
        honest_at_first("namesake", "default"),
        liar("thief", stolen, "address", &[victim, &pod]),
        liar("minter", minted, "address", &[victim, &pod]),
        liar(
            "latecomer",
            expired,
            "not_authenticated",
            &["service account token has expired"],
        ),
        liar("forger", forged, "not_authenticated", &[]),
        liar(
            "ghost",
            token(&[&ours[..], &bound("gone")].concat()),
            "not_authenticated",
            &["its pod is gone"],
        ),
        liar(
            "vault",
            token(&[&["--audience", "vault"][..], &bound("victim")].concat()),
            "not_authenticated",
            &["another audience"],
        ),
        liar("unbound", token(&ours), "unbound", &["is bound to no pod"]),
        liar(
            "nonsense",
            "a-password".to_owned(),
            "malformed",
            &["no service-account token"],
        ),
    ]
}

/// A token with another's claims, and a signature that is nobody's.
fn forged(like: &str) -> String {
    let mut forged = like.to_owned();
    // The signature's first character: its last one has bits that mean nothing.
    let signature = forged.rfind('.').unwrap() + 1;
    let other = if forged[signature..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    forged.replace_range(signature..=signature, other);
    forged
}

/// A token with the claims of another, signed by the API server's own key, that ends in so many seconds.
///
/// The API server makes none that lives for less than ten minutes.
fn minted(cluster: &Cluster, like: &str, left: i32) -> String {
    let left = left.to_string();
    let python = ["exec", "/usr/bin/python3", "-c", MINT, like, &left];
    stdout(&cluster.run(&python)).trim().to_owned()
}

const MINT: &str = r#"
import base64, json, os, subprocess, sys, time

def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

header, claims, _ = sys.argv[1].split(".")
claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
now = int(time.time())
claims.update(iat=now - 3600, nbf=now - 3600, exp=now + int(sys.argv[2]))
signed = header + "." + encoded(json.dumps(claims).encode())
key = os.path.dirname(os.environ["KUBECONFIG"]) + "/service-account.key"
sign = ["openssl", "dgst", "-sha256", "-sign", key]
print(signed + "." + encoded(subprocess.run(sign, input=signed.encode(), check=True, capture_output=True).stdout))
"#;

/// What the liars have: their tokens, and what control is known by.
fn stolen(liars: &[Liar], anchor: &str) -> String {
    let mut secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: stolen}}\ndata: {{ca.crt: {anchor}}}\nstringData:\n"
    );
    for liar in liars {
        if let Some(token) = &liar.token {
            writeln!(secret, "  {}: {token}", liar.name).unwrap();
        }
    }
    secret
}

fn impostor(mesh: &Mesh, den: &Namespace, liar: &Liar) -> String {
    let image = mesh.cluster().palisade_image();
    let Liar { name, account, .. } = liar;
    let (den, token) = (
        den.name(),
        liar.token
            .as_ref()
            .map_or_else(|| "/own/token".to_owned(), |_| format!("/stolen/{name}")),
    );
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  serviceAccountName: {account}
  containers:
  - name: proxy
    image: "{image}"
    imagePullPolicy: Never
    args: [proxy, run]
    env:
    - {{name: PALISADE_WORKLOAD, value: {den}/victim}}
    - {{name: PALISADE_CONTROL, value: "{CONTROL_ADDR}"}}
    - {{name: PALISADE_SERVICE_ACCOUNT_TOKEN, value: {token}}}
    - {{name: PALISADE_TRUST_ANCHOR, value: /stolen/ca.crt}}
    volumeMounts: [{{name: stolen, mountPath: /stolen}}, {{name: own, mountPath: /own}}]
  volumes:
  - {{name: stolen, secret: {{secretName: stolen}}}}
  - {{name: own, projected: {{sources: [{{serviceAccountToken: {{audience: palisade, path: token}}}}]}}}}
"#
    )
}

fn waiting(mesh: &Mesh, name: &str) -> String {
    let image = mesh.cluster().palisade_image();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  serviceAccountName: victim
  securityContext: {{runAsUser: 1000}}
  containers:
  - {{name: app, image: "{image}", imagePullPolicy: Never, args: [demo, wait]}}
"#
    )
}

/// Of both replicas: by reason, how many were refused.
fn refusals(mesh: &Mesh) -> Vec<(String, u64)> {
    let pods = [
        "get",
        "pods",
        "-l",
        CONTROL,
        "-o",
        "jsonpath={.items[*].status.podIP}",
    ];
    let mut counts = Vec::new();
    for addr in stdout(&mesh.system(&pods)).split_whitespace() {
        let url = format!("http://{addr}:15020/metrics");
        let metrics = mesh
            .cluster()
            .run(&["exec", "curl", "-sS", "--max-time", "10", &url]);
        for line in stdout(&metrics).lines() {
            let refused = line
                .split_once("_refused_total{reason=\"")
                .filter(|(of, _)| of.starts_with("palisade_control_"));
            let counted = refused
                .map(|(_, rest)| rest)
                .and_then(|rest| rest.split_once("\"} "));
            counts
                .extend(counted.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap())));
        }
    }
    counts
}

const CONTROL: &str = "app.kubernetes.io/name=palisade-control";
const CONTROL_ADDR: &str = "palisade-control.palisade-system.svc:15012";
