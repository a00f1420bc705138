//! What was written, and what is true.

use super::*;

fn config(rest: &[&str]) -> Result<Config, ConfigError> {
    let whole = ["palisade-control", "run", "--trust-domain", "a"];
    let cli = Cli::try_parse_from(whole.iter().chain(rest)).unwrap();
    match cli.command {
        Command::Run(args) => Config::try_from(args),
        Command::Token(_) | Command::Ca(_) => panic!("not run"),
    }
}

/// The flags that are wrong.
fn mistakes(rest: &[&str]) -> Vec<String> {
    let mistakes = config(rest).unwrap_err().mistakes;
    let flag = |mistake: &String| mistake.split(':').next().unwrap().to_owned();
    mistakes.iter().map(flag).collect()
}

#[test]
fn every_mistake_is_reported_at_once() {
    let flags = mistakes(&[
        "--store=s",
        "--config=/nowhere/at/all",
        "--listen=here",
        "--telemetry=there",
        "--svid-ttl=25h",
        "--mesh-cidr=10.0.0.0/8,ten",
        "--outside-cidr=nine",
    ]);
    assert_eq!(
        flags,
        [
            "--config",
            "--listen",
            "--telemetry",
            "--svid-ttl",
            "--mesh-cidr",
            "--outside-cidr",
        ]
    );
}

#[test]
fn one_of_the_two_modes_is_chosen() {
    let listen = "--listen=[::1]:0";
    assert_eq!(mistakes(&[]), ["--kubernetes", "--listen"]);
    assert_eq!(mistakes(&[listen]), ["--kubernetes"]);
    assert_eq!(mistakes(&[listen, "--store=s"]), ["--kubernetes"]);
    assert_eq!(mistakes(&[listen, "--config=/"]), ["--kubernetes"]);
    assert_eq!(
        mistakes(&["--kubernetes", "--store=s", "--config=/"]),
        ["--store", "--config"]
    );
}

#[test]
fn what_is_not_said_has_its_default() {
    let files = config(&["--store=s", "--config=/", "--listen=[::1]:0"]).unwrap();
    assert_eq!(files.svid_ttl, Duration::from_secs(3600));
    assert_eq!(files.telemetry, None);
    assert!(files.mesh_cidrs.is_empty());

    let cluster = config(&["--kubernetes", "--replica=one"]).unwrap();
    assert_eq!(cluster.svid_ttl, Duration::from_secs(24 * 3600));
    assert_eq!(cluster.listen, "[::]:15012".parse().unwrap());
    assert_eq!(cluster.telemetry, Some("[::]:15020".parse().unwrap()));
    let replica = Replica {
        name: "one".to_owned(),
        system_namespace: "palisade-system".to_owned(),
        attest_address: true,
        ask: "127.0.0.1:15013".parse().unwrap(),
    };
    assert_eq!(cluster.mode, Mode::Kubernetes(replica));
}

#[test]
fn questions_are_taken_on_loopback_and_in_a_cluster_only() {
    for ask in [
        "--ask=0.0.0.0:15013",
        "--ask=[::]:15013",
        "--ask=10.0.0.1:1",
        "--ask=here",
    ] {
        assert_eq!(mistakes(&["--kubernetes", ask]), ["--ask"], "{ask}");
    }
    assert!(config(&["--kubernetes", "--ask=[::1]:1"]).is_ok());
    assert_eq!(
        mistakes(&[
            "--store=s",
            "--config=/",
            "--listen=[::1]:0",
            "--ask=[::1]:1"
        ]),
        ["--ask"]
    );
    assert_eq!(
        mistakes(&["--kubernetes", "--telemetry-socket=s"]),
        ["--telemetry-socket"]
    );
}
