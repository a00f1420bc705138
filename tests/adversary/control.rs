//! Attacks on control, and by what poses as control.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::certificate::{Authority, Certified, id};
use super::spot::Spot;
use super::{Scene, tls};
use crate::harness::{stdout, wait_until};

#[test]
#[ignore = "needs root"]
fn a_proxy_tells_its_token_to_no_control_but_the_one_that_the_token_names() {
    let scene = Scene::usual();
    let token = token(&scene.mesh.state().join("control"), "outlaw", "10m");
    let bandit = scene.bandit.at(CONTROL_PORT).to_string();

    // Another control, a real one, with an authority of its own.
    let other = tempfile::tempdir().unwrap();
    let _authority = store(other.path());
    let config = tempfile::tempdir().unwrap();
    let mut control = palisade(&["control", "run", "--trust-domain", "cluster.local"]);
    control.arg("--store").arg(other.path());
    control.arg("--config").arg(config.path());
    control.args(["--listen", &bandit]);
    let control = Running::start(scene.bandit, control);
    let proxy = Sidecar::start(&scene, "shop/outlaw-0", &bandit, &token);
    proxy.never_ready(&format!("svid: no SVID was issued yet: no connection to control: {bandit}: not the control service that the token names"));
    drop((control, proxy));

    // A workload that poses as control: the right authority, another name.
    let posing = scene.bandit.application(CONTROL_PORT);
    let stolen = Authority::stolen_from(&scene.mesh);
    let proxy = Sidecar::start(&scene, "shop/outlaw-0", &bandit, &token);
    let hears = |tcp| {
        let mut heard = Vec::new();
        if let Ok(mut tls) = tls::server(tcp, stolen.svid("web"), &[b"h2"]) {
            let _ended_by_alert = tls.read_to_end(&mut heard);
        }
        heard
    };
    assert_eq!(hears(posing.accept()), b"");
    proxy.never_ready(&format!("this is not control but {}", id("web")));
    drop((proxy, posing));

    // Nobody has heard the token: it is good still, and for its own control.
    let proxy = Sidecar::start(&scene, "shop/outlaw-0", CONTROL, &token);
    proxy.has_svid();
}

#[test]
#[ignore = "needs root"]
fn a_token_that_is_replayed_foreign_or_expired_is_worth_nothing() {
    let scene = Scene::usual();
    let own = scene.mesh.state().join("control");
    let good = token(&own, "outlaw", "10m");
    let first = Sidecar::start(&scene, "shop/outlaw-0", CONTROL, &good);
    first.has_svid();
    drop(first);

    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = token(&store(elsewhere.path()), "outlaw", "10m");
    // The secret of another mesh, under the name of this one's root.
    let (root, secret) = (good.split('.').nth(1), foreign.split('.').nth(2));
    let unknown = format!("palisade1.{}.{}", root.unwrap(), secret.unwrap());
    let brief = token(&own, "outlaw", "1s");
    for (token, why) in [
        (good, "it was redeemed already, for another key"),
        (unknown, "it is unknown"),
        (foreign, "not the control service that the token names"),
    ] {
        Sidecar::start(&scene, "shop/outlaw-0", CONTROL, &token).never_ready(why);
    }
    for why in ["it was redeemed already, for another key", "it is unknown"] {
        scene.wait_for_control(&format!("the join token is refused: {why}"));
    }
    wait_until("the token to expire", || {
        let issued = issue(scene.outlaw, &brief, &KeyPair::generate().unwrap(), &[]);
        (issued.err()? == format!("{UNAUTHENTICATED} the join token is refused: it has expired"))
            .then_some(())
    });
    scene.wait_for_control("it has expired");
}

#[test]
#[ignore = "needs root"]
fn a_request_for_anothers_name_gets_its_own() {
    let scene = Scene::usual();
    let token = token(&scene.mesh.state().join("control"), "outlaw", "10m");
    let wished = [
        "spiffe://cluster.local/palisade/control",
        &id("web"),
        "spiffe://other.example/ns/shop/sa/web",
    ];
    let leaf = issue(scene.outlaw, &token, &KeyPair::generate().unwrap(), &wished).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let own = id("outlaw");
    assert!(
        matches!(names.value.general_names.as_slice(), [GeneralName::URI(name)] if *name == own),
        "{names:?}"
    );
    assert!(!leaf.is_ca());
}

#[test]
#[ignore = "needs root"]
fn what_a_workload_is_told_is_told_to_nobody_else() {
    let scene = Scene::usual();
    // A proxy whose SVID is outlaw's says that it runs orders.
    let token = token(&scene.mesh.state().join("control"), "outlaw", "10m");
    let proxy = Sidecar::start(&scene, "shop/orders-0", CONTROL, &token);
    scene.wait_for_control("has another service account than the SVID");
    proxy.has_svid();
    proxy.never_ready("policy: control sent no policy yet");

    // The same by hand, and with no certificate at all, or one of a homemade authority.
    let hello = message(&[(1, &message(&[(1, b"shop/orders-0"), (2, b"test")]))]);
    let watch = |own| call(scene.outlaw, own, "/palisade.v1.Mesh/Watch", hello.clone());
    let stolen = Authority::stolen_from(&scene.mesh);
    let refused = watch(Some(stolen.svid("outlaw"))).unwrap_err();
    assert!(refused.starts_with(PERMISSION_DENIED), "{refused}");
    let refused = watch(None).unwrap_err();
    assert!(refused.starts_with(UNAUTHENTICATED), "{refused}");
    for (certified, _) in stolen.evil() {
        let refused = watch(Some(certified)).unwrap_err();
        assert!(refused.starts_with("the connection:"), "{refused}");
    }
    scene.wait_for_control("a client certificate was refused");
}

impl Scene {
    /// Waits for control to have written something.
    fn wait_for_control(&self, words: &str) {
        wait_until(words, || self.mesh.stderr().contains(words).then_some(()));
    }
}

/// A program that was started from a spot, and ends with the test.
struct Running(Child);

impl Running {
    fn start(spot: Spot, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(spot.within(|| command.stderr(Stdio::null()).spawn().unwrap()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A real proxy in outlaw's network, where the mesh runs none.
struct Sidecar {
    spot: Spot,
    _token: tempfile::NamedTempFile,
    _running: Running,
}

impl Sidecar {
    fn start(scene: &Scene, workload: &str, control: &str, token: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), token).unwrap();
        let mut proxy = palisade(&["proxy", "run", "--workload", workload, "--control", control]);
        proxy.arg("--join-token").arg(file.path());
        Self {
            spot: scene.outlaw,
            _token: file,
            _running: Running::start(scene.outlaw, proxy),
        }
    }

    /// It says why it is not ready.
    fn never_ready(&self, why: &str) {
        self.waits_for_page(why, |page| page.contains(why));
    }

    fn has_svid(&self) {
        self.waits_for_page("an SVID", |page| !page.contains("svid:"));
    }

    #[expect(clippy::print_stdout, reason = "shown where the wait is in vain")]
    fn waits_for_page(&self, what: &str, fits: impl Fn(&str) -> bool) {
        let mut last = String::new();
        wait_until(what, || {
            let loopback = ([127, 0, 0, 1], 15021).into();
            let page = self.spot.page(loopback, "/ready").ok()?;
            assert!(page.starts_with("HTTP/1.1 503"), "it is ready: {page}");
            let reasons = page.split("\r\n\r\n").nth(1).unwrap_or_default();
            if reasons != last {
                // Shown where the wait is in vain.
                println!("{reasons}");
                last = reasons.to_owned();
            }
            fits(reasons).then_some(())
        });
    }
}

fn palisade(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(arguments);
    command
}

/// Makes an authority.
fn store(directory: &Path) -> PathBuf {
    let mut init = palisade(&["control", "ca", "init", "--trust-domain", "cluster.local"]);
    stdout(&init.arg("--store").arg(directory).output().unwrap());
    directory.to_owned()
}

fn token(store: &Path, account: &str, ttl: &str) -> String {
    let mut create = palisade(&["control", "token", "create", "--namespace", "shop"]);
    create.args([
        "--trust-domain",
        "cluster.local",
        "--service-account",
        account,
    ]);
    create.args(["--ttl", ttl]).arg("--store").arg(store);
    stdout(&create.output().unwrap()).trim().to_owned()
}

/// Asks for an SVID that is called `names`; the leaf.
fn issue(
    from: Spot,
    token: &str,
    key: &KeyPair,
    names: &[&str],
) -> Result<CertificateDer<'static>, String> {
    let mut params = CertificateParams::default();
    let names = names
        .iter()
        .map(|name| SanType::URI((*name).try_into().unwrap()));
    params.subject_alt_names = names.collect();
    let csr = params.serialize_request(key).unwrap();
    let request = message(&[(1, csr.der()), (2, token.as_bytes())]);
    let answer = call(from, None, "/palisade.v1.Identity/Issue", request)?;
    // The frame's five bytes; the first field, `chain`, is the leaf: a DER sequence, which says its own length.
    let start = answer
        .windows(2)
        .position(|pair| pair == [0x30, 0x82])
        .unwrap();
    let length = usize::from(u16::from_be_bytes([answer[start + 2], answer[start + 3]]));
    Ok(answer.slice(start..start + 4 + length).to_vec().into())
}

/// One gRPC call with one message; the first message of the answer, or the status.
fn call(from: Spot, own: Option<Certified>, path: &str, message: Vec<u8>) -> Result<Bytes, String> {
    let tcp = from.connect(CONTROL.parse().unwrap());
    tcp.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let broken = |error: &dyn std::error::Error| format!("the connection: {error}");
        let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
        let connector = TlsConnector::from(Arc::clone(&tls::client_config(own, &[b"h2"])));
        let tls = connector.connect(tls::no_name(), tcp).await;
        let tls = TokioIo::new(tls.map_err(|error| broken(&error))?);
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), tls).await;
        let (mut sender, connection) = shaken.map_err(|error| broken(&error))?;
        tokio::spawn(connection);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let framed = [&[0][..], &length, &message].concat();
        let request = Request::post(format!("http://control{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(framed)))
            .unwrap();
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let headers = answer.headers().clone();
        let body = answer
            .into_body()
            .collect()
            .await
            .map_err(|error| broken(&error))?;
        let trailers = body.trailers().unwrap_or(&headers);
        match trailers.get("grpc-status").unwrap().to_str().unwrap() {
            "0" => Ok(body.to_bytes()),
            code => {
                let message = trailers
                    .get("grpc-message")
                    .map(|text| text.to_str().unwrap());
                let message = message
                    .unwrap_or_default()
                    .replace("%20", " ")
                    .replace("%2C", ",");
                Err(format!("{code} {message}"))
            }
        }
    })
}

/// A protobuf message of fields of bytes.
fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, value) in fields {
        bytes.push(number << 3 | 2);
        let mut length = value.len();
        while length >= 0x80 {
            bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap());
        bytes.extend_from_slice(value);
    }
    bytes
}

const CONTROL_PORT: u16 = 15012;
const CONTROL: &str = "10.111.0.1:15012";
const PERMISSION_DENIED: &str = "7";
const UNAUTHENTICATED: &str = "16";
