use super::*;

fn policy(name: &str, account: &str) -> String {
    format!(
        "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  rules:
  # Its own.
  - {{name: r, effect: allow, from: [{{serviceAccount: shop/{account}}}]}}
"
    )
}

/// Revocations, which have no name.
const REVOKED: &str = "apiVersion: palisade.dev/v1alpha1
kind: Revocations
metadata: {name: stolen}
spec: {identities: [spiffe://cluster.local/ns/shop/sa/web]}
";

fn new(name: &str, text: &str) -> NewFile {
    NewFile {
        name: name.to_owned(),
        text: text.to_owned(),
        place: format!("mine/{name}"),
    }
}

/// What is written where the mesh has these files and others are applied.
fn written(
    held: &[(&str, &str)],
    files: &[NewFile],
) -> Result<Vec<(String, String)>, ReplaceError> {
    let held = held
        .iter()
        .map(|(name, text)| (format!("/rules/{name}"), (*text).to_owned()));
    let writes = placed(Path::new("/rules"), &held.collect(), &[], files)?;
    let writes = writes.into_iter().map(|one| (one.name, one.text));
    Ok(writes.collect())
}

fn one(name: &str, text: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), text.to_owned())]
}

#[test]
fn what_stands_elsewhere_is_replaced_there_and_all_around_it_stays() {
    let around = |orders: &str| {
        format!(
            "# Of the shop. Ask ann.\n\n# Orders.\n{orders}\n# The end of it.\n--- # and\n{REVOKED}---\n\n{}",
            policy("db", "orders")
        )
    };
    let held = around(&policy("orders", "web"));
    let edited = policy("orders", "batch");
    let after = written(&[("a.yaml", &held)], &[new("b.yaml", &edited)]).unwrap();
    assert_eq!(after, one("a.yaml", &around(&edited)));
    // With a comment of its own, and without a line break at its end.
    let commented = format!("# My file.\n\n# Batch calls, too.\n{}", edited.trim_end());
    let after = written(&[("a.yaml", &held)], &[new("b.yaml", &commented)]).unwrap();
    let expected = around(&edited).replace("# Orders.", "# Batch calls, too.");
    assert_eq!(after, one("a.yaml", &expected));
    // The last of a file, and carriage returns.
    let edited = policy("db", "batch").replace('\n', "\r\n");
    let after = written(&[("a.yaml", &held)], &[new("b.yaml", &edited)]).unwrap();
    let (before, _) = held.rsplit_once("apiVersion").unwrap();
    let edited = edited.trim_end();
    assert_eq!(after, one("a.yaml", &format!("{before}{edited}\n")));
}

#[test]
fn what_stands_nowhere_comes_in_the_file_of_its_name() {
    let held = policy("orders", "web");
    let (edited, db) = (policy("orders", "batch"), policy("db", "orders"));
    let both = format!("# Mine.\n\n{edited}---\n# The database.\n{db}");
    let after = written(&[("a.yaml", &held)], &[new("b.yaml", &both)]).unwrap();
    let rest = format!("# Mine.\n\n---\n# The database.\n{db}");
    assert_eq!(
        after,
        [one("b.yaml", &rest), one("a.yaml", &edited)].concat()
    );
    // The file of the same name is replaced as a whole, comments and all.
    let after = written(&[("a.yaml", &held)], &[new("a.yaml", &both)]).unwrap();
    assert_eq!(after, one("a.yaml", &both));
    // One that moves from a file to another of those that are applied.
    let files = [new("a.yaml", &db), new("b.yaml", &edited)];
    let after = written(&[("a.yaml", &held)], &files).unwrap();
    assert_eq!(after, [one("a.yaml", &db), one("b.yaml", &edited)].concat());
}

#[test]
fn where_it_cannot_be_replaced_its_place_and_what_to_do_is_said() {
    let own = policy("orders", "web");
    let broken = format!("{own}---\na: [\n");
    let entangled = format!("{own}...\n{}", policy("db", "orders"));
    let edited = policy("orders", "batch");
    let cases = [
        (vec![("a.yaml", &broken)], Why::Broken),
        (
            vec![("a.yaml", &own), ("c.yaml", &own)],
            Why::Twice("/rules/c.yaml:1".to_owned()),
        ),
        (vec![("a.yaml", &entangled)], Why::Entangled),
    ];
    for (held, why) in cases {
        let held: Vec<_> = held
            .into_iter()
            .map(|(name, text)| (name, &**text))
            .collect();
        let error = written(&held, &[new("b.yaml", &edited)]).unwrap_err();
        let title = "AuthorizationPolicy shop/orders".to_owned();
        let place = "/rules/a.yaml:1".to_owned();
        assert_eq!(error, ReplaceError { title, place, why });
    }
    // Of what cannot be read nothing is known but what it was.
    let held = BTreeMap::from([("/rules/a.yaml".to_owned(), format!("{own}a: [\n"))]);
    let was = manifest::read("/rules/a.yaml", &own).unwrap();
    let error = placed(Path::new("/rules"), &held, &was, &[new("b.yaml", &edited)]).unwrap_err();
    assert_eq!(error.why, Why::Broken);
    // The same with what is applied.
    let error = written(&[("a.yaml", &own)], &[new("b.yaml", &entangled)]).unwrap_err();
    assert_eq!(error.why, Why::Entangled);
}

#[test]
fn the_file_that_a_link_leads_to_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("a"), folder.path().join("a.yaml"));
    std::fs::write(&file, policy("orders", "web")).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let held = [(link.display().to_string(), policy("orders", "web"))];
    let edited = policy("orders", "batch");
    let error = placed(folder.path(), &held.into(), &[], &[new("b.yaml", &edited)]).unwrap_err();
    assert_eq!(error.why, Why::Link);
}
