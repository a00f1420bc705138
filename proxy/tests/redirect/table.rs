//! The table as an object: written twice, looked at, tampered with, removed.

use std::env;

use palisade_proxy::redirect::{Bypass, Difference, Redirect, RedirectError};

use crate::lab::{Lab, PART, redirect};

fn full() -> Redirect {
    Redirect {
        bypass: Bypass::Uid,
        exclude_inbound_ports: vec![2222],
        exclude_outbound_ports: vec![5432],
        exclude_outbound: vec![
            "10.88.0.0/16".parse().unwrap(),
            "fd88::1/128".parse().unwrap(),
        ],
        drop_datagrams: true,
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn nft_lists_what_we_say_and_applying_twice_changes_nothing() {
    let lab = Lab::new();
    for _ in 0..2 {
        lab.pod.enter(|| full().apply().unwrap());
        assert_eq!(lab.listing(), include_str!("../../src/redirect/golden.nft"));
        lab.pod.enter(|| full().check().unwrap());
    }
    lab.pod.enter(|| redirect(Bypass::Mark).apply().unwrap());
    lab.pod.enter(|| redirect(Bypass::Mark).check().unwrap());
    lab.pod.enter(|| full().check().unwrap_err());
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn removing_leaves_nothing_and_can_be_done_twice() {
    let lab = Lab::new();
    lab.pod.enter(|| full().apply().unwrap());
    for _ in 0..2 {
        lab.pod.enter(|| Redirect::remove().unwrap());
        assert_eq!(lab.pod.run("nft list ruleset"), "");
    }
    assert_eq!(differences(&lab), [Difference::NoTable]);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_check_says_what_was_tampered_with() {
    let lab = Lab::new();
    let rule = |chain: &str, place, expected: Option<&str>| Difference::Rule {
        chain: chain.to_owned(),
        place,
        expected: expected.map(str::to_owned),
    };
    let cases = [
        (
            "flush chain inet palisade output",
            rule("output", 1, Some("oif \"lo\" accept")),
        ),
        (
            "insert rule inet palisade input accept",
            rule("input", 1, Some("iif \"lo\" accept")),
        ),
        (
            "add rule inet palisade guard accept",
            rule("guard", 5, None),
        ),
        (
            "add chain inet palisade input { policy drop ; }",
            Difference::ChainChanged("input".to_owned()),
        ),
        (
            "add chain inet palisade more",
            Difference::UnknownChain("more".to_owned()),
        ),
        (
            "delete chain inet palisade forward",
            Difference::NoChain("forward".to_owned()),
        ),
        (
            "add table inet palisade { flags dormant ; }",
            Difference::TableFlags,
        ),
    ];
    for (tampering, difference) in cases {
        lab.pod.enter(|| full().apply().unwrap());
        lab.pod.run(&format!("nft {tampering}"));
        assert_eq!(differences(&lab), [difference], "{tampering}");
    }

    lab.pod.enter(|| full().apply().unwrap());
    let listing = lab.pod.run("nft -a list chain inet palisade inbound");
    let last = listing.lines().find(|line| line.contains("15006")).unwrap();
    let handle = last.split_once("# handle ").unwrap().1;
    lab.pod.run(&format!(
        "nft delete rule inet palisade inbound handle {handle}"
    ));
    let expected = "meta l4proto tcp redirect to :15006";
    assert_eq!(differences(&lab), [rule("inbound", 5, Some(expected))]);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn hundreds_of_exclusions_fit_and_too_many_change_nothing() {
    let lab = Lab::new();
    let with = |ports| Redirect {
        exclude_inbound_ports: ports,
        ..full()
    };
    let many = with((1000..1300).collect());
    lab.pod.enter(|| many.apply().unwrap());
    lab.pod.enter(|| many.check().unwrap());
    let too_many = with((1000..60000).collect());
    let refusal = lab.pod.enter(|| too_many.apply().unwrap_err());
    assert!(matches!(refusal, RedirectError::Send(_)), "{refusal}");
    lab.pod.enter(|| many.check().unwrap());
}

/// A user without power over the network namespace is told what it takes.
#[test]
#[ignore = "needs root: makes network namespaces"]
fn without_net_admin_the_error_says_so() {
    let lab = Lab::new();
    lab.pod
        .run_part_as_proxy("table::the_part_of_a_user_without_power", "yes");
}

#[test]
#[ignore = "only a part of another test; does nothing by itself"]
fn the_part_of_a_user_without_power() {
    if env::var(PART).is_ok() {
        let attempts = [full().apply(), Redirect::remove(), full().check()];
        for refusal in attempts.map(Result::unwrap_err) {
            assert!(refusal.to_string().contains("NET_ADMIN"), "{refusal}");
        }
    }
}

/// What a check reports; nothing where it fails for another reason.
fn differences(lab: &Lab) -> Vec<Difference> {
    let failure = lab.pod.enter(|| full().check().unwrap_err());
    let RedirectError::Differs(differences) = failure else {
        return Vec::new();
    };
    differences
}
