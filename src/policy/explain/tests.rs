use clap::{Command, FromArgMatches};

use super::*;
use crate::kubernetes::served::Server;
use crate::policy::rules::sample::{list, pod, readable};

/// What is asked with these words of the cluster.
fn ask(server: &Server, words: &[&str]) -> anyhow::Result<Vec<Explained>> {
    let kubeconfig = server.args().kubeconfig.unwrap();
    let mut command = ExplainArgs::augment_args(Command::new("explain"));
    let with = ["explain", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let words = with.into_iter().chain(words.iter().copied());
    let matches = command.try_get_matches_from_mut(words).unwrap();
    let args = ExplainArgs::from_arg_matches(&matches).unwrap();
    let rules = load(&args)?;
    let (from, port) = (args.from.as_ref().unwrap(), args.port.unwrap());
    asked(&rules, &args, (from, port), OffsetDateTime::now_utc())
}

const SHOP: [&str; 4] = ["--port", "8080", "-n", "shop"];

#[test]
fn a_caller_of_another_namespace_is_judged_as_who_it_is_or_marked() {
    let from = |who| [&["--from", who, "--to", "shop/orders"], &SHOP[..]].concat();
    // Whose pods may not be read is taken for an account, and marked.
    let server = readable();
    for (who, decision, presumed) in [
        ("jobs/runner", "allow", true),
        ("jobs/cron", "deny", true),
        ("shop/orders", "deny", false),
    ] {
        let [answer] = &ask(&server, &from(who)).unwrap()[..] else {
            panic!("{who}");
        };
        assert_eq!(
            (&*answer.decision, answer.presumed),
            (decision, presumed),
            "{who}"
        );
        let json = serde_json::to_value(answer).unwrap();
        assert_eq!(json.get("presumed").is_some(), presumed, "{json}");
    }
    // The Deployment runs as the account that is let in.
    let pods = list(&[pod("jobs", "cron", "runner")]);
    let server = server.has("/api/v1/namespaces/jobs/pods", pods);
    let answers = ask(&server, &from("jobs/cron")).unwrap();
    assert_eq!(
        (&*answers[0].decision, answers[0].presumed),
        ("allow", false)
    );
}

#[test]
fn a_sidecar_that_is_not_there_is_told_with_those_that_are_near() {
    let server = readable();
    let proxy = |who| [&["--from", "shop/orders", "--proxy", who], &SHOP[..]].concat();
    for (who, said) in [
        ("shop/ordesr", "did you mean shop/orders?"),
        ("orders-1", "did you mean orders-0?"),
        ("shop/nosuch", "`palisade ps` lists who there is"),
    ] {
        let error = ask(&server, &proxy(who)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("there is no workload or replica {who}; ")),
            "{error}"
        );
        assert!(error.ends_with(said), "{error}");
    }
}

#[test]
fn who_may_not_forward_ports_is_told_which_right_it_takes() {
    let words = ["--from", "shop/orders", "--proxy", "shop/orders"];
    let error = ask(&readable(), &[&words[..], &SHOP].concat()).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("cannot forward a port to orders-0")
            && error.contains("on pods/portforward in shop"),
        "{error}"
    );
}

#[test]
fn a_sidecar_is_found_also_where_nobody_lists_what_it_enforces() {
    let of_cluster = "/apis/palisade.dev/v1alpha1/clusterauthorizationpolicies";
    let server = readable().knows_nothing_of(of_cluster);
    let call = ["--from", "shop/orders", "--port", "8080"];
    let said = |called: [&str; 2]| {
        let words = [&call[..], &called, &["-n", "shop"]].concat();
        ask(&server, &words).unwrap_err().to_string()
    };
    let refused = said(["--to", "shop/orders"]);
    assert!(refused.contains("are listed nowhere"), "{refused}");
    // It was looked for, and the API server knows no way to it.
    let asked = said(["--proxy", "shop/orders-0"]);
    assert!(!asked.contains("are listed nowhere"), "{asked}");
    assert!(asked.contains("orders-0"), "{asked}");
}
