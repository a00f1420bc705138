//! Definitions of rules that went away: the mesh keeps its rules in force, and the API server lists none of them.

use kube::Client;
use palisade_api::cluster::SYSTEM_NAMESPACE;
use palisade_control::audit;

/// Why rules that are in force may not be among those that are listed, and what to do, as far as that may be read.
/// `undefined` are the definitions that are not there: where no mesh is installed, that is as it should be.
pub(crate) async fn unlisted(client: &Client, undefined: &[String]) -> Option<String> {
    match undefined {
        [] => went_and_came(client).await,
        [one] => Some(gone(&format!("{}: rules", is_missing(one)))),
        [one, ..] => missing(client, one).await,
    }
}

/// What is wrong where a definition is not there; none where no mesh is installed. Who may not see whether one is gets the
/// cautious answer.
pub(crate) async fn missing(client: &Client, name: &str) -> Option<String> {
    let is = is_missing(name);
    match audit::is_installed(client, SYSTEM_NAMESPACE).await {
        Ok(true) => Some(gone(&format!("{is}: rules"))),
        Ok(false) => None,
        Err(why) => Some(gone(&format!(
            "{is}, and whether a mesh is installed cannot be told ({why}): if one is, rules"
        ))),
    }
}

fn is_missing(name: &str) -> String {
    format!("the definition {name} is missing")
}

fn gone(rules: &str) -> String {
    format!(
        "{rules} that are in force are listed nowhere; apply `{INSTALL}` again, then the rules; {ASK_A_SIDECAR}"
    )
}

/// The rules went with a former definition, and control lets go of them later.
async fn went_and_came(client: &Client) -> Option<String> {
    let recorded = audit::in_force(client, SYSTEM_NAMESPACE).await.ok()?;
    let (name, held) = recorded.into_iter().find(|(_, held)| held.missing > 0)?;
    let until = held.until.map(|until| format!(" until {until}"));
    let until = until.unwrap_or_default();
    let (missing, rules) = (held.missing, held.rules);
    Some(format!(
        "the definition {name} went away, and {missing} of {rules} rules are in force{until} that the API server no longer \
         lists; apply these rules again; {ASK_A_SIDECAR}"
    ))
}

/// How a mesh is installed.
pub(crate) const INSTALL: &str = "palisade install --mesh-cidr PODS,SERVICES | kubectl apply -f -";
/// What to do meanwhile.
pub(crate) const ASK_A_SIDECAR: &str =
    "`palisade policy explain --proxy` asks a sidecar what it enforces";
