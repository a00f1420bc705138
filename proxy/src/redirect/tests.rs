use clap::Parser as _;
use palisade_api::sidecar;

use super::netlink::read_attributes;
use super::{Bypass, Family, Redirect, RedirectArgs, table};
use crate::list::List;

fn redirect() -> Redirect {
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
fn the_ruleset_is_the_one_on_file() {
    let chains: Vec<_> = redirect()
        .chains()
        .iter()
        .map(ToString::to_string)
        .collect();
    let listing = format!(
        "table inet {} {{\n{}}}\n",
        sidecar::REDIRECT_TABLE,
        chains.join("\n")
    );
    assert_eq!(listing, include_str!("golden.nft"));
}

#[test]
fn the_transaction_makes_deletes_and_makes_the_table_then_each_chain_before_its_rules() {
    let chains = redirect().chains();
    let messages = table::replace(Family::Inet, &chains);
    let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
    let mut expected = vec![0, 2, 0];
    for chain in &chains {
        expected.push(3);
        expected.extend(chain.rules.iter().map(|_| 6));
    }
    assert_eq!(kinds, expected);
    assert!(messages.iter().all(|message| message.family == 1));
    for message in messages.iter().filter(|message| message.kind == 6) {
        let (kind, list) = message.attributes.iter().last().unwrap();
        assert_eq!(kind, table::RULE_EXPRESSIONS);
        assert!(read_attributes(list).count() > 1, "{}", message.purpose);
    }
}

#[test]
fn without_ipv6_no_rule_names_an_ipv6_address() {
    let chains = Family::Ipv4.fit(redirect().chains());
    let listing: String = chains.iter().map(ToString::to_string).collect();
    assert!(!listing.contains("ip6"));
    assert!(listing.contains("ip daddr 10.88.0.0/16"));
}

#[test]
fn the_mark_takes_the_place_of_the_user() {
    let redirect = Redirect {
        bypass: Bypass::Mark,
        ..redirect()
    };
    let listing: String = redirect.chains().iter().map(ToString::to_string).collect();
    assert!(listing.contains("meta mark 0x70616c69 ct mark set"));
    assert!(!listing.contains("skuid"));
}

#[test]
fn the_command_line_takes_exactly_one_mode() {
    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: RedirectArgs,
    }
    let parse = |line: &str| Program::try_parse_from(line.split(' '));
    let args = parse("x --apply --bypass mark --exclude-outbound-cidr 10.0.0.0/8,fd00::/8")
        .unwrap()
        .args;
    assert_eq!(args.bypass, Bypass::Mark);
    assert_eq!(List::all(&args.exclude_outbound_cidr).len(), 2);
    assert!(parse("x --bypass mark").is_err());
    assert!(parse("x --apply --remove").is_err());
    assert!(parse("x --check --exclude-outbound-cidr 10.0.0.0/33").is_err());
}

/// A kernel without IPv6 is not at hand; what it would be given is shown to one that has it.
#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_ipv4_table_is_taken_by_the_kernel_and_read_back_equal() {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let chains = Family::Ipv4.fit(redirect().chains());
        super::netlink::commit(&table::replace(Family::Ipv4, &chains)).unwrap();
        super::check::compare(Family::Ipv4, &chains).unwrap();
        super::netlink::commit(&table::remove(Family::Ipv4)).unwrap();
        super::check::compare(Family::Ipv4, &chains).unwrap_err();
    })
    .join()
    .unwrap();
}
