//! What is in force and is not among the rules that were read.

use serde_json::Value;

use super::super::sample::{in_shop, list, mistaken, own_rules, readable, rule};
use super::super::{LoadRulesError, Rules, all_of_mesh, of_mesh, of_mesh_as_listed};
use super::*;
use crate::kubernetes::served::Server;
use crate::policy::subject;

const OF_CLUSTER: &str = "/apis/palisade.dev/v1alpha1/clusterauthorizationpolicies";
const CONTROL: &str = "/apis/apps/v1/namespaces/palisade-system/deployments/palisade-control";
const RECORDED: &str = "/api/v1/namespaces/palisade-system/configmaps/palisade-rules";

fn refused(server: &Server) -> String {
    match of_mesh(&server.mesh(Some("shop"))) {
        Err(LoadRulesError::Other(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_whose_definition_is_gone_are_not_taken_for_none() {
    let undefined = || {
        let shop = in_shop(Server::start()).knows_nothing_of(&own_rules("shop"));
        shop.knows_nothing_of(OF_CLUSTER)
    };
    let installed = undefined().has(CONTROL, json!({"metadata": {}}));
    let said = refused(&installed);
    for part in [
        "the definition authorizationpolicies.palisade.dev is missing: rules that are in force are listed nowhere; ",
        "`palisade install --mesh-cidr PODS,SERVICES | kubectl apply -f -` again",
        "`palisade policy explain --proxy` asks a sidecar",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(all_of_mesh(&installed.mesh(Some("shop"))).is_err());
    // Of every namespace, too.
    let all = readable()
        .knows_nothing_of("/apis/palisade.dev/v1alpha1/authorizationpolicies")
        .knows_nothing_of(OF_CLUSTER)
        .has(CONTROL, json!({"metadata": {}}));
    assert!(of_mesh(&all.mesh(None)).is_err());
    // Who looks for a sidecar, to ask that, finds it.
    let found = of_mesh_as_listed(&installed.mesh(Some("shop")), &BTreeSet::new()).unwrap();
    assert_eq!(found.known.workloads.len(), 1);
    assert!(called(&found).is_err());

    let none = undefined().has_none_named(CONTROL, "palisade-control");
    let none = of_mesh(&none.mesh(Some("shop"))).unwrap();
    assert_eq!((none.policies.len(), none.warnings), (0, vec![]));

    // Nothing tells a user who may not look there that no mesh is.
    let said = refused(&undefined());
    assert!(
        said.contains("whether a mesh is installed cannot be told"),
        "{said}"
    );
}

#[test]
fn one_definition_without_the_other_is_half_a_mesh_whoever_asks() {
    let said = refused(&in_shop(Server::start()).knows_nothing_of(OF_CLUSTER));
    assert!(
        said.starts_with(
            "the definition clusterauthorizationpolicies.palisade.dev is missing: rules that are in force"
        ),
        "{said}"
    );
}

#[test]
fn rules_that_are_in_force_until_they_are_applied_again_are_not_taken_for_none() {
    let recorded = |missing: u64| {
        let said = json!({"definition": "u", "rules": 3, "missing": missing, "until": "2026-11-22T10:00:00Z"});
        json!({"metadata": {}, "data": {"authorizationpolicies.palisade.dev": said.to_string()}})
    };
    let said = refused(&readable().has(RECORDED, recorded(2)));
    let expected =
        "2 of 3 rules are in force until 2026-11-22T10:00:00Z that the API server no longer lists";
    assert!(said.contains(expected), "{said}");
    let all_there = readable().has(RECORDED, recorded(0));
    assert!(of_mesh(&all_there.mesh(Some("shop"))).is_ok());
}

fn with(object: Value) -> Rules {
    let other = json!({
        "metadata": {"namespace": "shop", "name": "other"},
        "spec": rule("shop")["spec"].clone(),
    });
    let server = readable().has(&own_rules("shop"), list(&[object, other]));
    of_mesh(&server.mesh(None)).unwrap()
}

fn called(rules: &Rules) -> Result<usize, String> {
    let orders = "shop/orders".parse().unwrap();
    let called = subject::called(rules, &orders, &Default::default());
    called
        .map(|them| them.len())
        .map_err(|error| error.to_string())
}

#[test]
fn nothing_is_told_of_what_an_object_with_mistakes_may_decide() {
    let said = "generation 3 stays in force: spec.rules[0]: no";
    let rules = with(mistaken(said, Some(3)));
    assert_eq!(rules.policies.len(), 1);
    let refused = called(&rules).unwrap_err();
    for part in [
        "AuthorizationPolicy shop/orders has mistakes: generation 3 stays in force: spec.rules[0]: no; put it right",
        "`palisade policy explain --proxy` asks a sidecar",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(rules.reach("shop").is_err());
    assert_eq!(rules.sure_in(Some("jobs")), Ok(()));
    assert_eq!(rules.sure_in(None), Ok(()));
    assert!(rules.sure_of_all().is_err());
    let warned = rules.warnings.join("\n");
    assert!(
        warned.contains("what it may decide in shop, only `palisade policy explain --proxy` tells"),
        "{warned}"
    );
    // The mistakes themselves are still what `check` is for.
    assert_eq!(rules.mistakes.len(), 1);
}

#[test]
fn what_control_does_not_take_is_not_known_though_the_command_reads_it() {
    let mut newer = mistaken("generation 3 stays in force: what is this", Some(3));
    newer["spec"] = rule("shop")["spec"].clone();
    assert!(called(&with(newer.clone())).is_err());
    // What it says of an older one is not said of this one.
    newer["metadata"]["generation"] = json!(5);
    assert_eq!(called(&with(newer)), Ok(1));
}

#[test]
fn what_closes_is_about_whom_it_selects_and_what_is_in_force_may_be_about_others() {
    let closed = "proxies stay with what it said before";
    let selecting = |account: &str, good| {
        let mut object = mistaken(closed, good);
        object["spec"]["target"] = json!({"serviceAccount": account});
        with(object)
    };
    assert!(called(&selecting("orders", None)).is_err());
    assert_eq!(called(&selecting("web", None)), Ok(1));
    assert!(called(&selecting("web", Some(3))).is_err());
    // Not even whom it selects can be read: control closes all that it may.
    assert!(called(&selecting("Not A Name", None)).is_err());
    for (good, is_over) in [(None, false), (Some(3), true)] {
        let mut rules = selecting("orders", good);
        let passed = rules.pass_over_what_is_in_force();
        assert_eq!(passed.iter().any(|one| one.is_in("shop")), is_over);
        assert_eq!(called(&rules).is_ok(), is_over);
    }
    // Control has not looked at it: no version is known to be good.
    let mut unseen = mistaken(closed, None);
    unseen["metadata"]["generation"] = json!(5);
    let refused = called(&with(unseen)).unwrap_err();
    assert!(refused.contains("control has not said yet"), "{refused}");
}

#[test]
fn a_rule_of_the_cluster_with_mistakes_may_decide_anywhere() {
    let mut object = mistaken("generation 3 stays in force: no", Some(3));
    object["metadata"] = json!({"name": "all", "generation": 4});
    let server = readable().has(OF_CLUSTER, list(&[object]));
    let rules = of_mesh(&server.mesh(None)).unwrap();
    let refused = rules.sure_in(None).unwrap_err().to_string();
    assert!(
        refused.contains("ClusterAuthorizationPolicy all has mistakes"),
        "{refused}"
    );
    assert!(called(&rules).is_err());
    let [all] = rules.unknown.as_slice() else {
        panic!("{:?}", rules.unknown);
    };
    let may_have =
        ["cluster/all/r", "cluster/all-of-it/r", "shop/all/r"].map(|name| all.may_have(name));
    assert_eq!(may_have, [true, false, false]);
}

#[test]
fn files_that_only_ask_who_there_is_are_not_told_of_rules() {
    let mesh = with(mistaken("generation 3 stays in force: no", Some(3)));
    let mut files = super::super::sample::rules("");
    let warned = mesh.warnings.len();
    files.know(mesh);
    assert!(warned > files.warnings.len());
    let told: Vec<_> = files
        .warnings
        .iter()
        .filter(|one| one.contains("mistakes"))
        .collect();
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(called(&files), Ok(1));
}
