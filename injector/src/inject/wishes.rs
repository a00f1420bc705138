//! What a pod asks of the mesh by its annotations.

use std::str::FromStr;

use ipnet::IpNet;
use palisade_api::cluster;

use super::read::Pod;
use super::{NamespaceFacts, RefuseReason};
use crate::limits::Quantity;
use crate::sidecar::Excluded;

/// All that a pod asks for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) opts_out: bool,
    pub(super) excluded: Excluded,
    pub(super) cpu: Wish,
    pub(super) memory: Wish,
}

/// What it asks for of one resource.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) request: Option<Quantity>,
    pub(super) limit: Option<Quantity>,
}

/// Reads them; what cannot be understood or is not allowed is a reason.
pub(super) fn read(
    pod: &Pod,
    namespace: &NamespaceFacts,
    reasons: &mut Vec<RefuseReason>,
) -> Wishes {
    let allow = namespace.annotations.get(cluster::ALLOW_OPT_OUT);
    let mut reader = Reader {
        pod,
        allows_opt_out: allow.is_some_and(|value| value == "true"),
        namespace: &namespace.name,
        reasons,
    };
    Wishes {
        opts_out: reader.opts_out(),
        excluded: Excluded {
            inbound_ports: reader.excluded(cluster::EXCLUDE_INBOUND_PORTS, port, PORTS),
            outbound_ports: reader.excluded(cluster::EXCLUDE_OUTBOUND_PORTS, port, PORTS),
            outbound_cidrs: reader.excluded(cluster::EXCLUDE_OUTBOUND_CIDRS, cidr, CIDRS),
        },
        cpu: reader.wish(cluster::CPU_REQUEST, cluster::CPU_LIMIT),
        memory: reader.wish(cluster::MEMORY_REQUEST, cluster::MEMORY_LIMIT),
    }
}

struct Reader<'a> {
    pod: &'a Pod,
    allows_opt_out: bool,
    namespace: &'a str,
    reasons: &'a mut Vec<RefuseReason>,
}

impl Reader<'_> {
    fn opts_out(&mut self) -> bool {
        let mut opts_out = false;
        for (field, map) in [
            ("annotations", &self.pod.annotations),
            ("labels", &self.pod.labels),
        ] {
            let path = format!("metadata.{field}[{}]", cluster::INJECT);
            match map.get(cluster::INJECT).map(String::as_str) {
                None | Some(cluster::ENABLED) => {}
                Some(cluster::DISABLED) => {
                    opts_out = true;
                    if !self.allows_opt_out {
                        self.reasons.push(RefuseReason::OptOut {
                            path,
                            namespace: self.namespace.to_owned(),
                        });
                    }
                }
                // A mistyped "disabled" must not pass for a wish that was granted.
                Some(value) => self.reasons.push(RefuseReason::Annotation {
                    path,
                    value: value.to_owned(),
                    remedy: "write \"enabled\" or \"disabled\"".to_owned(),
                }),
            }
        }
        opts_out
    }

    /// A comma list that only some namespaces allow.
    fn excluded<T>(&mut self, key: &str, item: impl Fn(&str) -> Option<T>, remedy: &str) -> Vec<T> {
        let Some(value) = self.pod.annotations.get(key) else {
            return Vec::new();
        };
        let path = annotation(key);
        let items: Option<Vec<T>> = value.split(',').map(|text| item(text.trim())).collect();
        if !self.allows_opt_out {
            self.reasons.push(RefuseReason::OptOut {
                path: path.clone(),
                namespace: self.namespace.to_owned(),
            });
        }
        items.unwrap_or_else(|| {
            self.reasons.push(RefuseReason::Annotation {
                path,
                value: value.clone(),
                remedy: remedy.to_owned(),
            });
            Vec::new()
        })
    }

    fn wish(&mut self, request_key: &str, limit_key: &str) -> Wish {
        let wish = Wish {
            request: self.quantity(request_key),
            limit: self.quantity(limit_key),
        };
        if let (Some(request), Some(limit)) = (&wish.request, &wish.limit)
            && limit < request
        {
            self.reasons.push(RefuseReason::Annotation {
                path: annotation(limit_key),
                value: limit.to_string(),
                remedy: format!("write a limit of at least the request, {request}"),
            });
        }
        wish
    }

    fn quantity(&mut self, key: &str) -> Option<Quantity> {
        let value = self.pod.annotations.get(key)?;
        match Quantity::from_str(value) {
            Ok(quantity) => Some(quantity),
            Err(_) => {
                self.reasons.push(RefuseReason::Annotation {
                    path: annotation(key),
                    value: value.clone(),
                    remedy: "write a quantity as \"100m\" or \"64Mi\"".to_owned(),
                });
                None
            }
        }
    }
}

fn annotation(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// No sign and no zero: those are no ports, though numbers.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port > 0);
    port.filter(|_| is_plain)
}

/// A single address is a range of one.
fn cidr(text: &str) -> Option<IpNet> {
    let single = || text.parse().ok().map(|addr: std::net::IpAddr| addr.into());
    let range: IpNet = text.parse().ok().or_else(single)?;
    Some(range.trunc())
}

const PORTS: &str = "write ports from 1 to 65535 as \"9090,9100\"";
const CIDRS: &str = "write address ranges as \"10.9.0.0/16,fd09::/64\"";
