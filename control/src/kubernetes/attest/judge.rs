//! The decision about a token: what the API server said of it, the pod as it stands, and where the caller is.

use std::net::IpAddr;

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use k8s_openapi::api::core::v1::Pod;

use palisade_api::sidecar::TOKEN_AUDIENCE as AUDIENCE;
use palisade_api::spiffe::SpiffeIdError;

use crate::attest::BoundPod;
use crate::audit::sidecars::ADDRESS;

/// What a reviewed token says, before anybody looked at the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) account: String,
    pub(super) pod: BoundPod,
}

impl Claim {
    /// Reads a review. A token that is bound to no pod could be used from anywhere, and anybody who may edit a
    /// namespace can mint one.
    pub(super) fn read(status: &TokenReviewStatus) -> Result<Self, Refusal> {
        if status.authenticated != Some(true) {
            let said = status.error.clone().unwrap_or_default();
            return Err(Refusal::NotAuthenticated(said));
        }
        let ours = |audience: &String| audience == AUDIENCE;
        if !status.audiences.iter().flatten().any(ours) {
            return Err(Refusal::Audience);
        }
        let user = status.user.clone().unwrap_or_default();
        let name = user.username.clone().unwrap_or_default();
        let Some((namespace, account)) = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
        else {
            return Err(Refusal::NotServiceAccount(name));
        };
        let (Some(pod), Some(uid)) = (only(&user, POD_NAME), only(&user, POD_UID)) else {
            return Err(Refusal::Unbound {
                account: format!("{namespace}/{account}"),
            });
        };
        let pod = format!("{namespace}/{pod}/{uid}");
        Ok(Self {
            account: account.to_owned(),
            pod: pod
                .parse()
                .map_err(|_error| Refusal::PodName(pod.clone()))?,
        })
    }
}

/// The one value of an extra field.
fn only<'a>(user: &'a UserInfo, key: &str) -> Option<&'a str> {
    match user.extra.as_ref()?.get(key)?.as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

/// What counts of a pod as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PodSeen {
    pub(super) uid: String,
    pub(super) service_account: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Succeeded or Failed: its addresses may be another pod's by now.
    pub(super) ended: bool,
    /// It has the node's addresses, which it shares.
    pub(super) host_network: bool,
}

impl PodSeen {
    pub(super) fn read(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            service_account: spec
                .and_then(|spec| spec.service_account_name.clone())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            addresses: status
                .and_then(|status| status.pod_ips.as_ref())
                .into_iter()
                .flatten()
                .filter_map(|address| address.ip.parse::<IpAddr>().ok())
                .map(|address| address.to_canonical())
                .collect(),
            ended: matches!(phase, Some("Succeeded" | "Failed")),
            host_network: spec.and_then(|spec| spec.host_network) == Some(true),
        }
    }
}

/// Whether a token counts only from an address of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressCheck {
    On,
    /// For networks that hide the addresses of pods.
    Off,
}

/// Whether the pod that a token names may have an SVID, asking from `caller`.
pub(super) fn judge(
    claim: &Claim,
    caller: IpAddr,
    pod: Option<&PodSeen>,
    check: AddressCheck,
) -> Result<(), Refusal> {
    let named = || claim.pod.to_string();
    let Some(pod) = pod else {
        return Err(Refusal::PodGone(named()));
    };
    if pod.uid != claim.pod.uid {
        return Err(Refusal::PodReplaced(named()));
    }
    if pod.service_account != claim.account {
        return Err(Refusal::Account {
            pod: named(),
            token: claim.account.clone(),
            runs_as: pod.service_account.clone(),
        });
    }
    if pod.ended {
        return Err(Refusal::PodEnded(named()));
    }
    if pod.host_network {
        return Err(Refusal::HostNetwork(named()));
    }
    if check == AddressCheck::Off || pod.addresses.contains(&caller) {
        return Ok(());
    }
    if pod.addresses.is_empty() {
        return Err(Refusal::NotVisibleYet(named()));
    }
    Err(Refusal::Address {
        pod: named(),
        caller,
        addresses: pod.addresses.clone(),
    })
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it is no service-account token")]
    Malformed,
    #[error(
        "the API server does not accept the token for audience `{AUDIENCE}` ({0}): it has expired, was made for \
         another audience, or its pod is gone"
    )]
    NotAuthenticated(String),
    #[error("the token is not for audience `{AUDIENCE}`; project one that is")]
    Audience,
    #[error("the token is {0:?}'s, who is no service account")]
    NotServiceAccount(String),
    #[error(
        "the token of service account {account} is bound to no pod; only the token that the kubelet projects into \
         the sidecar counts"
    )]
    Unbound { account: String },
    #[error("{0:?} is no pod")]
    PodName(String),
    #[error("the account is no part of a SPIFFE ID")]
    Name(#[source] SpiffeIdError),
    #[error("the token's pod {0} is gone")]
    PodGone(String),
    #[error("the token's pod {0} is gone; another of its name runs now")]
    PodReplaced(String),
    #[error("the token's pod {0} has ended")]
    PodEnded(String),
    #[error("the token's pod {0} uses its node's network, and so is not in the mesh")]
    HostNetwork(String),
    #[error("the token is service account {token}'s, and its pod {pod} runs as {runs_as}")]
    Account {
        pod: String,
        token: String,
        runs_as: String,
    },
    #[error(
        "the caller's address {caller} is none of pod {pod}'s, which has {}; where the network hides the addresses \
         of pods, run control with --attest-address=off",
        listed(addresses)
    )]
    Address {
        pod: String,
        caller: IpAddr,
        addresses: Vec<IpAddr>,
    },
    #[error("the addresses of pod {0} are not known yet; ask again")]
    NotVisibleYet(String),
}

impl Refusal {
    /// The reason in one word, for a metric.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAuthenticated(_) => "not_authenticated",
            Self::Audience => "audience",
            Self::NotServiceAccount(_) => "not_service_account",
            Self::Unbound { .. } => "unbound",
            Self::PodName(_) | Self::Name(_) => "name",
            Self::PodGone(_) | Self::PodReplaced(_) => "pod_gone",
            Self::PodEnded(_) => "pod_ended",
            Self::HostNetwork(_) => "host_network",
            Self::Account { .. } => "account",
            Self::Address { .. } => ADDRESS,
            Self::NotVisibleYet(_) => "not_visible_yet",
        }
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
