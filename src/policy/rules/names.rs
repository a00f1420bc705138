//! Names that rules have: whose they are is known as far as it was read.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::manifest::{self, KnownWorkload};

use super::Rules;
use super::extent::Namespaces;

impl Rules {
    /// Who there is, as the validator asks for it.
    pub(crate) fn known_to_the_validator(&self) -> manifest::Known {
        if self.known.is_cut {
            return manifest::Known::default();
        }
        let mut accounts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for namespace in self.known.namespaces.keys() {
            accounts.entry(namespace.clone()).or_default();
        }
        for (namespace, name) in &self.known.accounts {
            let own = accounts.entry(namespace.clone()).or_default();
            own.insert(name.clone());
        }
        let workloads = self.known.workloads.iter().map(|one| KnownWorkload {
            namespace: one.namespace.clone(),
            name: one.name.clone(),
            service_account: one.service_account.clone(),
            labels: one.labels.clone(),
        });
        manifest::Known {
            service_accounts: accounts,
            workloads: workloads.collect(),
            trust_domain: Some(self.trust_domain.clone()),
            complete: self.known.is_complete,
        }
    }

    /// Takes what rules name of namespaces that were not read to be there: nobody can say that it is not. The namespaces.
    pub(crate) fn presume(&mut self) -> BTreeSet<String> {
        let Some(extent) = &self.known.extent else {
            return BTreeSet::new();
        };
        let doubtful = self.doubtful.iter().filter_map(|one| one.manifest.policy());
        let named = self.policies.iter().chain(doubtful).flat_map(|policy| {
            let own = policy.namespace.iter().chain(&policy.target.namespaces);
            let from = policy.rules.iter().flat_map(|rule| &rule.from);
            own.map(|name| (&**name, None))
                .chain(from.filter_map(|from| from.in_mesh(Some(&self.trust_domain))))
        });
        let named =
            named.filter(|(namespace, _)| extent.has_unnamed || !extent.accounts.has(namespace));
        let owned = |(namespace, account): (&str, Option<&str>)| {
            (namespace.to_owned(), account.map(str::to_owned))
        };
        let named: Vec<_> = named.map(owned).collect();
        let mut namespaces = BTreeSet::new();
        for (namespace, account) in named {
            let accounts = account.map(|name| (namespace.clone(), name));
            self.known.accounts.extend(accounts);
            self.known.namespaces.entry(namespace.clone()).or_default();
            namespaces.insert(namespace);
        }
        namespaces
    }

    /// Of which namespaces names are taken to be there without being looked up, and how they would be, in words.
    pub(crate) fn presumed(&mut self) -> Option<String> {
        let namespaces = Vec::from_iter(self.presume());
        if namespaces.is_empty() {
            return None;
        }
        let extent = self.known.extent.as_ref()?;
        let remedy = match extent.accounts {
            _ if extent.has_unnamed => "ask for `list` on namespaces",
            Namespaces::Only(_) => "ask without -n, or for `list` on service accounts there",
            Namespaces::AllBut(_) => "ask for `list` on service accounts there",
        };
        Some(format!(
            "names of {} were not looked up, and are taken to be there; {remedy}",
            namespaces.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;

    #[test]
    fn what_rules_name_of_namespaces_that_were_not_read_is_taken_to_be_there() {
        let mut rules = sample::rules_of(
            "shop",
            "apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
  - name: callers
    effect: allow
    from:
    - serviceAccount: shop/wbe
    - serviceAccount: other/cron
    - identity: spiffe://cluster.local/ns/another/sa/job
    - identity: spiffe://b.test/ns/far/sa/job
    - namespace: monitoring
",
        );
        rules
            .known
            .accounts
            .insert(("shop".to_owned(), "web".to_owned()));
        let said = rules.presumed().unwrap();
        assert!(
            said.starts_with("names of another, monitoring, other were not looked up"),
            "{said}"
        );
        assert!(said.contains("ask without -n"), "{said}");
        let accounts: Vec<_> = rules
            .known
            .accounts
            .iter()
            .map(|(at, name)| format!("{at}/{name}"))
            .collect();
        assert_eq!(accounts, ["another/job", "other/cron", "shop/web"]);
        let namespaces: Vec<_> = rules.known.namespaces.keys().collect();
        assert_eq!(namespaces, ["another", "monitoring", "other"]);
        // Of files and of a local mesh, all is read.
        rules.known.extent = None;
        assert_eq!(rules.presumed(), None);
    }
}
