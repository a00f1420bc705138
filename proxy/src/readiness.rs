//! Whether the proxy may take connections, and what it waits for.

use std::borrow::Cow;

/// What must hold before the proxy is ready. Each part is written by whoever knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// An SVID that is valid now.
    pub svid: Condition,
    /// The rules that select this workload.
    pub policy: Condition,
    /// The set of revoked names and serials.
    pub revocations: Condition,
    /// A connection through the IPv4 redirect came back to this proxy.
    pub redirect_v4: Condition,
    /// The same for IPv6; [`Condition::Met`] too where the pod has no such family.
    pub redirect_v6: Condition,
    /// Not stopping.
    pub running: Condition,
}

/// One thing that readiness waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It holds.
    Met,
    /// It does not (or no longer), and why.
    NotYet(Cow<'static, str>),
}

impl Readiness {
    /// A proxy that has just begun: nothing holds but that it runs.
    pub fn starting() -> Self {
        Self {
            svid: Condition::not_yet("no SVID was issued yet"),
            policy: Condition::not_yet("no policy was received yet"),
            revocations: Condition::not_yet("no revocations were received yet"),
            redirect_v4: Condition::not_yet("the redirect was not verified yet"),
            redirect_v6: Condition::not_yet("the redirect was not verified yet"),
            running: Condition::Met,
        }
    }

    /// Whether connections may be taken.
    pub fn is_ready(&self) -> bool {
        self.reasons().next().is_none()
    }

    /// Whether live parts suffice to take connections: all but running, for outbound ones go on while the proxy
    /// stops.
    pub fn takes_connections(&self) -> bool {
        Self {
            running: Condition::Met,
            ..self.clone()
        }
        .is_ready()
    }

    /// Whether the redirect was proved, in both families.
    pub fn is_redirected(&self) -> bool {
        self.redirect_v4 == Condition::Met && self.redirect_v6 == Condition::Met
    }

    /// What does not hold, each as `condition: reason`, in a fixed order.
    pub fn reasons(&self) -> impl Iterator<Item = String> + '_ {
        [
            ("svid", &self.svid),
            ("policy", &self.policy),
            ("revocations", &self.revocations),
            ("redirect_v4", &self.redirect_v4),
            ("redirect_v6", &self.redirect_v6),
            ("running", &self.running),
        ]
        .into_iter()
        .filter_map(|(name, condition)| match condition {
            Condition::Met => None,
            Condition::NotYet(reason) => Some(format!("{name}: {reason}")),
        })
    }
}

impl Condition {
    /// Not met, and why.
    pub fn not_yet(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NotYet(reason.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Readiness {
        Readiness {
            svid: Condition::Met,
            policy: Condition::Met,
            revocations: Condition::Met,
            redirect_v4: Condition::Met,
            redirect_v6: Condition::Met,
            running: Condition::Met,
        }
    }

    #[test]
    fn each_condition_alone_holds_readiness_up() {
        assert!(ready().is_ready());
        let missing = || Condition::not_yet("why");
        for (readiness, reason) in [
            (
                Readiness {
                    svid: missing(),
                    ..ready()
                },
                "svid: why",
            ),
            (
                Readiness {
                    policy: missing(),
                    ..ready()
                },
                "policy: why",
            ),
            (
                Readiness {
                    revocations: missing(),
                    ..ready()
                },
                "revocations: why",
            ),
            (
                Readiness {
                    redirect_v4: missing(),
                    ..ready()
                },
                "redirect_v4: why",
            ),
            (
                Readiness {
                    redirect_v6: missing(),
                    ..ready()
                },
                "redirect_v6: why",
            ),
            (
                Readiness {
                    running: missing(),
                    ..ready()
                },
                "running: why",
            ),
        ] {
            assert!(!readiness.is_ready());
            assert_eq!(readiness.reasons().collect::<Vec<_>>(), [reason]);
        }
    }

    #[test]
    fn a_proxy_that_begins_is_not_ready_for_five_reasons() {
        assert_eq!(Readiness::starting().reasons().count(), 5);
    }
}
