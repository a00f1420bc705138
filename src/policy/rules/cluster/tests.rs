use super::super::sample::{in_shop, list, own_rules, pod, readable};
use super::super::{UnreadError, of_mesh, of_mesh_with};
use super::*;
use crate::kubernetes::served::Server;
use crate::policy::subject::{self, Subject};

fn named(text: &str) -> Subject {
    text.parse().unwrap()
}

fn identity(rules: &Rules, who: &str) -> String {
    let callers = subject::callers(rules, &named(who)).unwrap();
    callers[0].to_string()
}

#[test]
fn a_question_about_a_namespace_whose_rules_were_not_read_has_no_answer() {
    let server = readable()
        .has(&own_rules("other"), list(&[]))
        .has("/api/v1/namespaces/other/pods", list(&[]));
    let rules = of_mesh(&server.mesh(Some("other"))).unwrap();
    let called = |rules: &Rules, who| subject::called(rules, &named(who), &Default::default());
    for who in ["shop/orders", "spiffe://cluster.local/ns/shop/sa/orders"] {
        let refused = called(&rules, who).unwrap_err().to_string();
        let remedy = "the rules of shop were not read; ask with -n shop, or without -n";
        assert_eq!(refused, remedy);
    }
    // Of shop, all that is asked about is known.
    let rules = of_mesh(&server.mesh(Some("shop"))).unwrap();
    assert_eq!(called(&rules, "shop/orders").unwrap().len(), 1);
    assert!(called(&rules, "other/orders").is_err());
}

#[test]
fn namespaces_that_may_not_be_read_are_left_out_and_said() {
    let rules = of_mesh(&readable().mesh(None)).unwrap();
    assert_eq!(rules.policies.len(), 1);
    let said = rules.warnings.join("\n");
    assert!(
        said.contains("may not list the rules of jobs, other; they are left out"),
        "{said}"
    );
    assert_eq!(rules.reach("shop"), Ok(()));
    let unread = rules.reach("jobs").unwrap_err();
    assert_eq!(unread, UnreadError::Forbidden("jobs".to_owned()));
    assert!(!rules.known.is_complete);
}

#[test]
fn where_not_even_namespaces_may_be_listed_one_has_to_be_named() {
    let server = in_shop(Server::start());
    let said = of_mesh(&server.mesh(None)).unwrap_err().to_string();
    assert!(said.contains("name one with -n shop"), "{said}");
    assert_eq!(
        of_mesh(&server.mesh(Some("shop"))).unwrap().policies.len(),
        1
    );
}

#[test]
fn who_is_not_known_needs_other_credentials_and_no_rights() {
    let server = readable().refuses_credentials(&own_rules("shop"));
    let said = of_mesh(&server.mesh(Some("shop"))).unwrap_err().to_string();
    assert!(said.contains("log in again"), "{said}");
    assert!(!said.contains("clusterrolebinding"), "{said}");
    let server = Server::start().has(
        "/api/v1/namespaces/shop",
        json!({"metadata": {"name": "shop"}}),
    );
    let said = of_mesh(&server.mesh(Some("shop"))).unwrap_err().to_string();
    assert!(said.contains("clusterrolebinding"), "{said}");
    assert!(!said.contains("log in again"), "{said}");
}

#[test]
fn a_namespace_that_is_not_there_has_no_rules_to_ask() {
    let server = readable().has_none("/api/v1/namespaces/shpo");
    let said = of_mesh(&server.mesh(Some("shpo"))).unwrap_err().to_string();
    assert_eq!(said, "there is no namespace shpo; did you mean shop?");
}

#[test]
fn a_caller_of_another_namespace_is_looked_up_there() {
    let server = readable().has(
        "/api/v1/namespaces/jobs/pods",
        list(&[pod("jobs", "cron", "runner")]),
    );
    let jobs = BTreeSet::from([Sought::Namespace("jobs".to_owned())]);
    let rules = of_mesh_with(&server.mesh(Some("shop")), &jobs).unwrap();
    let runner = "spiffe://cluster.local/ns/jobs/sa/runner";
    assert_eq!(identity(&rules, "jobs/cron"), runner);
    assert_eq!(subject::doubt(&rules, &named("jobs/cron")), None);
    // Their rules were not read for that.
    assert!(rules.reach("jobs").is_err());
    // Accounts may not be listed: it may be one.
    assert!(subject::callers(&rules, &named("jobs/nobody")).is_ok());
    let server = server.has("/api/v1/namespaces/jobs/serviceaccounts", list(&[]));
    let rules = of_mesh_with(&server.mesh(Some("shop")), &jobs).unwrap();
    let nobody = subject::callers(&rules, &named("jobs/crn")).unwrap_err();
    assert!(
        nobody.to_string().ends_with("did you mean jobs/cron?"),
        "{nobody}"
    );
}

/// By what the sidecar was told, whatever the annotation says by now.
#[test]
fn ports_that_the_sidecar_does_not_see_are_known() {
    let mut orders = pod("shop", "orders", "orders");
    orders["metadata"]["annotations"] = json!({"palisade.dev/exclude-inbound-ports": "7"});
    orders["spec"]["initContainers"][0]["env"] =
        json!([{"name": "PALISADE_EXCLUDE_INBOUND_PORT", "value": "9090, 9100,none,0"}]);
    let server = readable().has("/api/v1/namespaces/shop/pods", list(&[orders]));
    let rules = of_mesh(&server.mesh(Some("shop"))).unwrap();
    let excluded = &rules.known.workloads[0].excluded_ports;
    assert_eq!(*excluded, BTreeSet::from([9090, 9100]));
}

#[test]
fn a_caller_who_may_not_be_looked_up_is_presumed_and_that_is_said() {
    let jobs = BTreeSet::from([Sought::Namespace("jobs".to_owned())]);
    let rules = of_mesh_with(&readable().mesh(Some("shop")), &jobs).unwrap();
    let cron = "spiffe://cluster.local/ns/jobs/sa/cron";
    assert_eq!(identity(&rules, "jobs/cron"), cron);
    let said = subject::doubt(&rules, &named("jobs/cron")).unwrap();
    assert!(
        said.starts_with(
            "you may not list the pods of jobs: jobs/cron is taken for the service account"
        ),
        "{said}"
    );
    for sure in [cron, "10.0.0.1", "shop/orders"] {
        assert_eq!(subject::doubt(&rules, &named(sure)), None, "{sure}");
    }
}

#[test]
fn who_has_a_callers_address_is_looked_up_in_every_namespace_whose_pods_may_be_listed() {
    let addr = "10.0.0.9";
    let sought = subject::sought([&named(addr)]);
    let mut cron = pod("jobs", "cron", "runner");
    cron["status"]["podIPs"] = serde_json::json!([{"ip": "10.0.0.8"}, {"ip": addr}]);
    let jobs = |server: Server| {
        let pods = list(&[cron.clone(), pod("jobs", "other", "other")]);
        server.has("/api/v1/namespaces/jobs/pods", pods)
    };
    let known = |server: &Server| {
        let rules = of_mesh_with(&server.mesh(Some("shop")), &sought).unwrap();
        let caller = subject::callers(&rules, &named(addr)).unwrap().remove(0);
        let beside = crate::policy::beside::of(&rules, &caller);
        let names = beside.iter().map(ToString::to_string).collect::<Vec<_>>();
        (names.join(" "), subject::doubt(&rules, &named(addr)))
    };
    let runner = "spiffe://cluster.local/ns/jobs/sa/runner".to_owned();
    // Found is found, whatever else may not be listed; and no more is taken than who has it.
    assert_eq!(known(&jobs(readable())), (runner, None));
    let (nobody, doubt) = known(&readable());
    assert_eq!(nobody, "");
    let said = doubt.unwrap();
    assert!(
        said.starts_with(
            "you may not list the pods of jobs, other: 10.0.0.9 is taken for nobody's there"
        ),
        "{said}"
    );
    let (_, doubt) = known(&in_shop(Server::start()));
    assert!(
        doubt
            .unwrap()
            .contains("the pods of other namespaces than shop: ")
    );
    // Where all may be listed, that nobody has it is sure.
    let all = readable().has("/api/v1/pods", list(&[pod("shop", "orders", "orders")]));
    assert_eq!(known(&all), (String::new(), None));
}
