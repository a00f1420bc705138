//! How long certificates last, and whether namespaces trust the right authority.

use std::collections::BTreeSet;

use kube::ResourceExt;
use palisade_api::cluster;
use time::{Duration, OffsetDateTime};
use x509_parser::pem::Pem;

use super::finding::{Finding, both, look};
use super::pod;
use super::snapshot::{Looked, Snapshot};

/// The authority, the webhook's certificate, and the trust of each namespace.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let certificates = &snapshot.certificates;
    let now = snapshot.now;
    let authority = Kept {
        check: "authority",
        secret: cluster::CA_SECRET,
        warn_at: Duration::days(90),
        remedy: NEW_AUTHORITY,
        missing: "restore the Secret from a backup; control makes one only where no namespace trusts one yet",
    };
    let webhook = Kept {
        check: "certificate",
        secret: cluster::WEBHOOK_SECRET,
        warn_at: Duration::days(10),
        remedy: "control's leader renews it at half its life: see that control runs, and what it logs",
        missing: "control makes it when it starts: see that control runs, and what it logs",
    };
    [
        lasting(&authority, &certificates.authority, snapshot, now),
        lasting(&webhook, &certificates.webhook, snapshot, now),
        trust(snapshot),
    ]
    .concat()
}

/// No command does it yet.
const NEW_AUTHORITY: &str = "before it ends, put another in its place: see \"The authority\" in the README; every pod \
     of the mesh has to be restarted then";

/// A certificate that is kept in a Secret.
struct Kept {
    check: &'static str,
    secret: &'static str,
    warn_at: Duration,
    remedy: &'static str,
    /// What to do where there is none.
    missing: &'static str,
}

fn lasting(
    kept: &Kept,
    found: &Looked<Option<Vec<u8>>>,
    snapshot: &Snapshot,
    now: OffsetDateTime,
) -> Vec<Finding> {
    let place = format!("Secret {}/{}", snapshot.system_namespace, kept.secret);
    let error = |what: String| vec![Finding::error(kept.check, place.clone(), what, kept.remedy)];
    look(kept.check, found, "", |pem| {
        let Some(pem) = pem else {
            return vec![Finding::error(
                kept.check,
                place.clone(),
                "there is no certificate",
                kept.missing,
            )];
        };
        let left = match ends(pem) {
            Ok(ends) => ends - now,
            Err(why) => return error(format!("the certificate cannot be read: {why}")),
        };
        if left <= Duration::ZERO {
            error(format!("it ended {} days ago", -left.whole_days()))
        } else if left < kept.warn_at {
            let what = format!("it ends in {} days", left.whole_days());
            vec![Finding::warning(
                kept.check,
                place.clone(),
                what,
                kept.remedy,
            )]
        } else {
            vec![Finding::ok(
                kept.check,
                format!("{} days left", left.whole_days()),
            )]
        }
    })
}

/// Whether each namespace's pods are given what authenticates control.
fn trust(snapshot: &Snapshot) -> Vec<Finding> {
    let Some(anchors) = anchors(snapshot) else {
        return Vec::new();
    };
    let looked = both(&snapshot.namespaces, &snapshot.certificates.trust);
    let fine = "the meshed namespaces trust the authority";
    look("trust", &looked, fine, |(namespaces, maps)| {
        let members = namespaces
            .iter()
            .filter(|namespace| pod::is_member(namespace));
        let wrong = members.filter_map(|namespace| {
            let name = namespace.name_any();
            let map = maps.iter().find(|(of, _)| *of == name);
            let what = match map.map(|(_, text)| parse(text.as_bytes())) {
                None => "it is not there: new pods cannot know control",
                Some(Err(_)) => "it cannot be read: new pods cannot know control",
                Some(Ok(trusted)) if trusted.is_disjoint(&anchors) => {
                    "it names another authority: new pods refuse control"
                }
                Some(Ok(_)) => return None,
            };
            let place = format!("ConfigMap {name}/{}", cluster::TRUST_CONFIG_MAP);
            let remedy = "control's leader writes it: see that control runs, and what it logs";
            Some(Finding::error("trust", place, what, remedy))
        });
        wrong.collect()
    })
}

/// The authority, or else, for those who may not read its Secret, what the namespaces are told of it.
pub(super) fn anchors(snapshot: &Snapshot) -> Option<BTreeSet<Vec<u8>>> {
    let certificates = &snapshot.certificates;
    if let Ok(Some(pem)) = &certificates.authority {
        return parse(pem).ok();
    }
    let (_, text) = certificates.trust.as_ref().ok()?.first()?;
    parse(text.as_bytes()).ok()
}

/// The certificates of a PEM text, whatever their order.
pub(super) fn parse(pem: &[u8]) -> Result<BTreeSet<Vec<u8>>, String> {
    let mut found = BTreeSet::new();
    for block in Pem::iter_from_buffer(pem) {
        found.insert(block.map_err(|error| error.to_string())?.contents);
    }
    if found.is_empty() {
        return Err("it holds no certificate".into());
    }
    Ok(found)
}

/// When the first certificate of a PEM text ends.
fn ends(pem: &[u8]) -> Result<OffsetDateTime, String> {
    let block = Pem::iter_from_buffer(pem).next();
    let block = block.ok_or("it holds no certificate")?;
    let block = block.map_err(|error| error.to_string())?;
    let certificate = block.parse_x509().map_err(|error| error.to_string())?;
    Ok(certificate.validity().not_after.to_datetime())
}
