//! A file of rules with mistakes, beside others that are in force.

use super::tools::{QUESTION, allow, answer, policy};
use super::{CALLERS, ORDERS, RULES};
use crate::harness::{Mesh, json_lines, stdout, text};

/// The file counts as it was, in what is answered as in what is enforced; `check` alone reads it as it is.
#[test]
fn a_broken_file_counts_as_it_was_and_stops_no_command() {
    let mesh = Mesh::up(CALLERS, RULES);
    let rules = mesh.folder().join("rules");
    // In lines of its own, so that places would tell which version is answered from.
    let broken = format!("\n\n{}", RULES.replace("effect: allow", "effect: permit"));
    std::fs::write(rules.join("rules.yaml"), &broken).unwrap();

    let asked = policy(&mesh, &QUESTION);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let warned = text(&asked.stderr);
    assert!(
        warned.contains("rules.yaml has mistakes and counts as it was before"),
        "{warned}"
    );
    let (said, _) = answer(&mesh, &QUESTION);
    let place = said["rule"]["place"].as_str().unwrap();
    assert_eq!(place, format!("{}/rules.yaml:8", rules.display()));

    let check = policy(&mesh, &["check"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    for command in ["usage", "readiness", "suggest"] {
        let output = policy(&mesh, &[command]);
        assert_ne!(output.status.code(), Some(2), "{output:?}");
    }

    // The emergency is not made worse by somebody's mistake.
    let allowed = json_lines(&allow(&mesh, "shop/stranger", "10m").stdout);
    let place = allowed[0]["applied"][0]["place"].as_str().unwrap();
    assert!(place.starts_with(&*rules.to_string_lossy()), "{place}");
    stdout(&mesh.call_once("stranger", ORDERS));
    let more = mesh.folder().join("more.yaml");
    let text = RULES.replace("name: orders,", "name: more,");
    std::fs::write(&more, text.replace("shop/web", "shop/elsewhere")).unwrap();
    let (applied, code) = answer(&mesh, &["apply", more.to_str().unwrap(), "--wait"]);
    assert_eq!(code, 0, "{applied}");
    stdout(&mesh.call_once("elsewhere", ORDERS));
    assert_eq!(
        std::fs::read_to_string(rules.join("rules.yaml")).unwrap(),
        broken
    );
}

/// What is wrong with a file only beside the mesh's own is told at the file that somebody has before them.
#[test]
fn mistakes_are_told_where_people_can_mend_them() {
    let mesh = Mesh::up(CALLERS, RULES);
    let twice = mesh.folder().join("twice.yaml");
    let web = "\napiVersion: palisade.dev/v1alpha1\nkind: Workload\nmetadata: {name: web-0, namespace: shop}\n\
               spec: {serviceAccount: web, addresses: [10.9.9.9]}\n---\n";
    let rules = RULES.replace("name: orders,", "name: more,");
    std::fs::write(&twice, format!("{web}{}", rules.trim_start())).unwrap();
    let refused = policy(&mesh, &["apply", twice.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = text(&refused.stderr);
    let place = format!("{}:2:1: error: there are two of", twice.display());
    assert!(said.contains(&place), "{said}");
    assert!(
        said.contains("the other in what the mesh file says\n"),
        "{said}"
    );
}
