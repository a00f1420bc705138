//! Calls that reached nobody.

use super::*;

/// As one that looks for open ports leaves it behind.
#[test]
fn what_reached_nobody_is_no_rule() {
    let silent = |from: &str, to: &str, port: u16| Edge {
        unanswered: 10,
        ..edge(&of_shop(from), to, port, Was::Allowed)
    };
    let found = suggested(
        "",
        vec![
            edge(&of_shop("web"), "orders-0", 8080, Was::Allowed),
            // Another replica is down.
            silent("web", "orders-1", 8080),
            silent("web", "orders-0", 9000),
            silent("scanner", "orders-0", 8080),
            silent("scanner", "orders-0", 8081),
            silent("scanner", "orders-1", 8082),
            silent("scanner", "db-0", 5432),
        ],
        LEAST,
    );
    let policies = read(&found);
    let [orders] = policies.as_slice() else {
        panic!("{policies:?}");
    };
    let ports: Vec<_> = orders.rules.iter().map(|rule| rule.ports.clone()).collect();
    let port = PortRange {
        first: 8080,
        last: 8080,
    };
    assert_eq!(ports, [[port], [port]]);
    let evidence: Vec<_> = found.targets[1]
        .evidence
        .iter()
        .map(|one| (&*one.rule, one.count, one.unsure.join("; ")))
        .collect();
    let doubt = "nothing answered this caller at port 8080".to_owned();
    let expected = [("from-scanner", 10, doubt), ("from-web", 20, String::new())];
    assert_eq!(evidence, expected);
    let text = print::yaml(&found);
    for part in [
        "# left out, as nothing answered: shop/scanner at ports 8081-8082, 20 times, last 2026-11-22 02:30:00Z\n",
        "# left out, as nothing answered: shop/web at port 9000, 10 times,",
        "# shop/db: nothing was answered\n# left out, as nothing answered: shop/scanner at port 5432, 10 times,",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let summary = print::summary(&found);
    let told = "40 connections left out, as nothing answered at their ports";
    assert!(summary.contains(told), "{summary}");
    let json: serde_json::Value = print::json(&found)
        .unwrap()
        .lines()
        .next()
        .map(|line| serde_json::from_str(line).unwrap())
        .unwrap();
    assert_eq!(json["unanswered"][0]["ports"], serde_json::json!([5432]));
}

#[test]
fn what_was_denied_where_nobody_was_answered_is_marked() {
    let edges = || {
        vec![
            edge(&of_shop("web"), "orders-0", 8080, Was::Allowed),
            edge(&of_shop("intruder"), "orders-0", 8080, Was::Denied),
            edge(&of_shop("intruder"), "orders-0", 9999, Was::Denied),
        ]
    };
    let text = print::yaml(&suggested("", edges(), LEAST));
    let [known, silent] = [8080, 9999].map(|port| {
        let at = format!("shop/intruder at port {port},");
        let line = text.lines().find(|line| line.contains(&at));
        line.unwrap_or_else(|| panic!("{text}"))
            .ends_with("nobody was seen to be answered there")
    });
    assert_eq!((known, silent), (false, true), "{text}");
    let wanted = Wanted {
        include_denied: true,
        ..LEAST
    };
    let all = suggested("", edges(), wanted);
    let unsure = all.targets[0].evidence[0].unsure.join("; ");
    assert!(
        unsure.ends_with("nobody was seen to be answered at port 9999"),
        "{unsure}"
    );
}
