//! A mesh's rules, after others were applied to them.

use std::collections::BTreeSet;

use palisade_api::policy::AuthorizationPolicy;
use palisade_api::workload::NamespaceSettings;

use crate::policy::rules::{Rules, UnreadError};
use crate::policy::taken;

/// The rules of a mesh where those of files were added, or took the place of policies of the same kind and name; what is
/// revoked adds up. Who there
/// is stays as the mesh knows it; how namespaces are set is as the files say it, where they do.
pub(super) fn applied(mesh: &Rules, files: Rules) -> Rules {
    let new: BTreeSet<String> = files
        .policies
        .iter()
        .map(AuthorizationPolicy::title)
        .collect();
    let is_replaced = |policy: &AuthorizationPolicy| new.contains(&policy.title());
    let (gone, kept): (Vec<_>, Vec<_>) = mesh.policies.iter().cloned().partition(is_replaced);
    let own = files.known;
    let mut after = Rules {
        trust_domain: mesh.trust_domain.clone(),
        known: mesh.known.clone(),
        revoked: mesh.revoked.clone(),
        policies: files.policies,
        unknown: mesh.unknown.clone(),
        places: files.places,
        documents: files.documents,
        doubtful: Vec::new(),
        texts: files.texts,
        mistakes: files.mistakes,
        misset: files.misset,
        warnings: files.warnings,
    };
    // They add up: `apply` takes none away.
    after.revoked.add(&files.revoked);
    let gone: BTreeSet<_> = gone
        .iter()
        .flat_map(AuthorizationPolicy::rule_names)
        .collect();
    for (rule, place) in &mesh.places {
        if !gone.contains(rule) {
            after
                .places
                .entry(rule.clone())
                .or_insert_with(|| place.clone());
        }
    }
    for namespace in &own.told {
        let settings = own.settings(namespace);
        after.known.namespaces.insert(namespace.clone(), settings);
        after.known.told.insert(namespace.clone());
    }
    after.policies.extend(kept);
    after
}

/// Leaves out of files what a cluster does not take of them, and says so where it would change something.
pub(super) fn leave_out(files: &mut Rules, cluster: &Rules) {
    taken::leave_out_revocations(files);
    for name in std::mem::take(&mut files.known.told) {
        let settings = files
            .known
            .namespaces
            .insert(name.clone(), NamespaceSettings::default());
        let is_so =
            cluster.known.told.contains(&name) && settings == Some(cluster.known.settings(&name));
        if !is_so {
            let annotate = taken::annotate(&name, settings.unwrap_or_default());
            files.warnings.push(format!(
                "a cluster takes no Namespace from files of rules: how {name} would be set is left out; to set it so: \
                 {annotate}"
            ));
        }
    }
}

/// Whether all that files say is about namespaces of which the mesh's rules were read: where others decide, there is no
/// telling what theirs change.
///
/// # Errors
///
/// Where it is not: which namespace should be asked about, too.
pub(super) fn is_within(mesh: &mut Rules, files: &Rules) -> Result<(), UnreadError> {
    let own = files.policies.iter();
    let own = own.flat_map(|policy| policy.namespace.iter().chain(&policy.target.namespaces));
    own.chain(&files.known.told)
        .try_for_each(|namespace| mesh.reach(namespace))?;
    let is_everywhere = |policy: &AuthorizationPolicy| {
        policy.namespace.is_none() && policy.target.namespaces.is_empty()
    };
    if files.policies.iter().any(is_everywhere) {
        mesh.sure_in(None)?;
    }
    let mut all = mesh.policies.iter().chain(&files.policies);
    if !mesh.is_of_all() && all.any(is_everywhere) {
        mesh.warnings.push(PARTLY_READ.to_owned());
    }
    Ok(())
}

const PARTLY_READ: &str = "not the rules of every namespace were read: what rules for every namespace change in others is \
                           told as if those had no rules of their own";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::sample::{rules, rules_of};

    fn policy(name: &str, account: &str) -> String {
        format!(
            "---
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  rules:
  - {{name: r, effect: allow, from: [{{serviceAccount: shop/{account}}}]}}
"
        )
    }

    #[test]
    fn policies_are_added_or_replaced_by_name_and_all_else_stays() {
        let permissive = "---
apiVersion: palisade.dev/v1alpha1
kind: Namespace
metadata: {name: shop, annotations: {palisade.dev/mtls: permissive}}
";
        let mut mesh = rules(&(policy("orders", "web") + &policy("db", "orders") + permissive));
        mesh.known.is_complete = true;
        let after = applied(
            &mesh,
            rules(&(policy("orders", "batch") + &policy("new", "x"))),
        );
        let mut said: Vec<_> = after
            .policies
            .iter()
            .map(|policy| format!("{}: {:?}", policy.name, policy.rules[0].from))
            .collect();
        said.sort();
        assert_eq!(said.len(), 3);
        for (said, part) in said.iter().zip(["orders", "x", "batch"]) {
            assert!(said.contains(&format!("name: \"{part}\"")), "{said}");
        }
        assert_eq!(after.places.len(), 3);
        assert_eq!(after.known, mesh.known, "nothing is said of namespaces");
        let strict = permissive.replace("permissive", "strict");
        let after = applied(&mesh, rules(&strict));
        assert_ne!(after.known.settings("shop"), mesh.known.settings("shop"));
    }

    /// As `apply` does, which tells a cluster of rules only.
    #[test]
    fn how_files_set_a_namespace_changes_nothing_of_a_cluster() {
        let namespace = |name: &str, mtls: &str| {
            format!(
                "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, annotations: {{palisade.dev/mtls: {mtls}}}}}\n"
            )
        };
        let rule = policy("orders", "web");
        let mut cluster = rules_of("shop", &(rule.clone() + &namespace("shop", "permissive")));
        let mut same = rules(&(rule.clone() + &namespace("shop", "permissive")));
        leave_out(&mut same, &cluster);
        assert!(same.warnings.is_empty(), "{:?}", same.warnings);
        // Of the other one, nothing was read, and nothing is compared.
        let both = namespace("shop", "strict") + &namespace("other", "permissive");
        let mut files = rules(&(rule + &both));
        leave_out(&mut files, &cluster);
        let said = files.warnings.join("\n");
        for part in [
            "kubectl annotate --overwrite namespace shop palisade.dev/mtls=strict palisade.dev/authorization=enforce",
            "kubectl annotate --overwrite namespace other palisade.dev/mtls=permissive",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(is_within(&mut cluster, &files), Ok(()));
        let after = applied(&cluster, files);
        assert_eq!(after.known, cluster.known);
    }

    #[test]
    fn what_is_about_namespaces_that_were_not_read_is_not_compared() {
        let text = policy("orders", "web");
        let mut shop = rules_of("shop", &text);
        assert_eq!(is_within(&mut shop, &rules(&text)), Ok(()));
        assert!(shop.warnings.is_empty());
        let mut other = rules_of("other", &text.replace("shop", "other"));
        let unread = is_within(&mut other, &rules(&text)).unwrap_err();
        assert!(unread.to_string().contains("ask with -n shop"), "{unread}");
        let everywhere = text
            .replace("kind: Auth", "kind: ClusterAuth")
            .replace(", namespace: shop", "");
        assert_eq!(is_within(&mut shop, &rules(&everywhere)), Ok(()));
        assert_eq!(shop.warnings, [PARTLY_READ]);
    }

    #[test]
    fn beside_an_object_with_mistakes_nothing_is_compared() {
        use crate::policy::rules::{of_mesh, sample};

        let server = |path: &str, mut object: serde_json::Value, namespace: Option<&str>| {
            object["metadata"]["namespace"] = namespace.into();
            sample::readable().has(path, sample::list(&[object]))
        };
        let bad = || sample::mistaken("generation 3 stays in force: no", Some(3));
        let of_cluster = "/apis/palisade.dev/v1alpha1/clusterauthorizationpolicies";
        let own = server(&sample::own_rules("shop"), bad(), Some("shop"));
        let all = server(of_cluster, bad(), None);
        let in_shop = rules(&policy("new", "web"));
        let everywhere = policy("new", "web")
            .replace("kind: Auth", "kind: ClusterAuth")
            .replace(", namespace: shop", "");
        let everywhere = rules(&everywhere);
        for (mesh, files, is_told) in [
            (&own, &in_shop, false),
            // Of all others.
            (&own, &everywhere, true),
            (&all, &in_shop, false),
            (&all, &everywhere, false),
        ] {
            let mut mesh = of_mesh(&mesh.mesh(None)).unwrap();
            assert_eq!(is_within(&mut mesh, files).is_ok(), is_told, "{files:?}");
        }
    }
}
