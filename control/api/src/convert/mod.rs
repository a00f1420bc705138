//! Wire messages to types and back: the only place where a string from the wire becomes a type.
//!
//! What does not parse is refused whole, with the reason; nothing is guessed and nothing is left out.

mod usage;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use time::OffsetDateTime;

use crate::policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};
use crate::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
use crate::wire;
use crate::workload::{
    AtAddress, Closing, Endpoint, Mtls, NamespaceSettings, Place, Prefer, Scope, Service,
    ServicePort, Workload,
};

pub use usage::{Report, edge_to_wire, others_to_wire, usage_from_wire, use_to_wire};

/// Why a message has no meaning to this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is not, or has a value that this version does not know.
    #[error("{0} is missing, or of a kind that this version does not know")]
    Unknown(&'static str),
    /// An address of neither 4 nor 16 bytes.
    #[error("an address has 4 or 16 bytes, not {0}")]
    AddressLength(usize),
    /// A name that is none.
    #[error("not a name: {0}")]
    Name(#[from] SpiffeIdError),
    /// Not a CIDR.
    #[error("not a CIDR: {0:?}")]
    Cidr(String),
    /// Not `namespace/name`.
    #[error("not namespace/name: {0:?}")]
    ServiceAccount(String),
    /// Not a port from 1 to 65535, or a reversed range.
    #[error("not a port or a range of ports: {0}-{1}")]
    Ports(u32, u32),
    /// Not a moment in time.
    #[error("not a moment in time: {0}")]
    Time(i64),
    /// Parts that say nothing: a rule about nobody, a policy without rules.
    #[error("{0} is empty")]
    Empty(&'static str),
}

/// What a message means, or why it means nothing.
pub type Converted<T> = Result<T, ConvertError>;

/// An address of either family.
///
/// # Errors
///
/// Where it has neither 4 nor 16 bytes.
pub fn ip_from_wire(bytes: &[u8]) -> Converted<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(v4).into());
    }
    let v6: [u8; 16] = bytes
        .try_into()
        .map_err(|_error: std::array::TryFromSliceError| {
            ConvertError::AddressLength(bytes.len())
        })?;
    Ok(Ipv6Addr::from(v6).to_canonical())
}

/// The same, the other way.
pub fn ip_to_wire(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A workload.
///
/// # Errors
///
/// Where a name or an address does not parse.
pub fn workload_from_wire(workload: wire::Workload) -> Converted<Workload> {
    let trust_domain: TrustDomain = workload.trust_domain.parse()?;
    let identity = Workload::identity_of(
        &trust_domain,
        &workload.namespace,
        &workload.service_account,
    )?;
    let addresses = workload
        .addresses
        .iter()
        .map(|bytes| ip_from_wire(bytes))
        .collect::<Result<_, _>>()?;
    Ok(Workload {
        namespace: workload.namespace,
        name: workload.name,
        service_account: workload.service_account,
        labels: workload.labels,
        addresses,
        meshed: workload.meshed,
        identity,
        place: Place {
            node: workload.node,
            zone: workload.zone,
        },
        excluded_ports: workload
            .excluded_ports
            .iter()
            .map(|port| port_from_wire(*port))
            .collect::<Result<_, _>>()?,
    })
}

/// The same, the other way.
pub fn workload_to_wire(workload: &Workload) -> wire::Workload {
    wire::Workload {
        namespace: workload.namespace.clone(),
        name: workload.name.clone(),
        service_account: workload.service_account.clone(),
        labels: workload.labels.clone(),
        addresses: workload
            .addresses
            .iter()
            .map(|ip| ip_to_wire(*ip))
            .collect(),
        meshed: workload.meshed,
        trust_domain: workload.identity.trust_domain().to_string(),
        node: workload.place.node.clone(),
        zone: workload.place.zone.clone(),
        excluded_ports: workload
            .excluded_ports
            .iter()
            .map(|p| (*p).into())
            .collect(),
    }
}

/// What is at an address.
///
/// # Errors
///
/// Where a part does not parse, or says what this version does not know.
pub fn address_from_wire(address: wire::Address) -> Converted<(IpAddr, AtAddress)> {
    let ip = ip_from_wire(&address.address)?;
    let at = match address
        .at
        .ok_or(ConvertError::Unknown("what is at an address"))?
    {
        wire::address::At::Workload(workload) => {
            AtAddress::Workload(workload_from_wire(workload)?.into())
        }
        wire::address::At::Service(service) => {
            AtAddress::Service(service_from_wire(service)?.into())
        }
        wire::address::At::Outside(wire::Outside {}) => AtAddress::Outside,
        wire::address::At::Unknown(wire::Unknown {}) => AtAddress::Unknown,
    };
    Ok((ip, at))
}

/// The same, the other way.
pub fn address_to_wire(ip: IpAddr, at: &AtAddress) -> wire::Address {
    let at = match at {
        AtAddress::Workload(workload) => wire::address::At::Workload(workload_to_wire(workload)),
        AtAddress::Service(service) => wire::address::At::Service(service_to_wire(service)),
        AtAddress::Outside => wire::address::At::Outside(wire::Outside {}),
        AtAddress::Unknown => wire::address::At::Unknown(wire::Unknown {}),
    };
    wire::Address {
        address: ip_to_wire(ip),
        at: Some(at),
    }
}

fn service_from_wire(service: wire::Service) -> Converted<Service> {
    let scope = match service.scope() {
        wire::Scope::Cluster => Scope::Cluster,
        wire::Scope::Node => Scope::Node,
        wire::Scope::Unspecified => return Err(ConvertError::Unknown("scope")),
    };
    let prefer = match service.prefer() {
        wire::Prefer::None => Prefer::None,
        wire::Prefer::Zone => Prefer::Zone,
        wire::Prefer::Node => Prefer::Node,
        wire::Prefer::Unspecified => return Err(ConvertError::Unknown("prefer")),
    };
    let endpoints = service
        .endpoints
        .into_iter()
        .map(endpoint_from_wire)
        .collect::<Result<_, _>>()?;
    let affinity = service.affinity_seconds;
    Ok(Service {
        namespace: service.namespace,
        name: service.name,
        ports: service_ports_from_wire(&service.ports)?,
        endpoints,
        scope,
        prefer,
        affinity: (affinity > 0).then(|| Duration::from_secs(affinity.into())),
    })
}

fn endpoint_from_wire(endpoint: wire::Endpoint) -> Converted<Endpoint> {
    let workload = endpoint.workload.ok_or(ConvertError::Unknown("workload"))?;
    Ok(Endpoint {
        workload: workload_from_wire(workload)?.into(),
        ports: service_ports_from_wire(&endpoint.ports)?,
        terminating: endpoint.terminating,
    })
}

fn service_ports_from_wire(ports: &[wire::ServicePort]) -> Converted<Vec<ServicePort>> {
    let port = |p: &wire::ServicePort| {
        Ok(ServicePort {
            port: port_from_wire(p.port)?,
            target_port: port_from_wire(p.target_port)?,
        })
    };
    ports.iter().map(port).collect()
}

fn service_to_wire(service: &Service) -> wire::Service {
    let scope = match service.scope {
        Scope::Cluster => wire::Scope::Cluster,
        Scope::Node => wire::Scope::Node,
    };
    let prefer = match service.prefer {
        Prefer::None => wire::Prefer::None,
        Prefer::Zone => wire::Prefer::Zone,
        Prefer::Node => wire::Prefer::Node,
    };
    let affinity = service.affinity.unwrap_or_default().as_secs();
    wire::Service {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        ports: service_ports_to_wire(&service.ports),
        endpoints: service.endpoints.iter().map(endpoint_to_wire).collect(),
        scope: scope.into(),
        prefer: prefer.into(),
        affinity_seconds: u32::try_from(affinity).unwrap_or(u32::MAX),
    }
}

fn endpoint_to_wire(endpoint: &Endpoint) -> wire::Endpoint {
    wire::Endpoint {
        workload: Some(workload_to_wire(&endpoint.workload)),
        ports: service_ports_to_wire(&endpoint.ports),
        terminating: endpoint.terminating,
    }
}

fn service_ports_to_wire(ports: &[ServicePort]) -> Vec<wire::ServicePort> {
    let port = |p: &ServicePort| wire::ServicePort {
        port: p.port.into(),
        target_port: p.target_port.into(),
    };
    ports.iter().map(port).collect()
}

fn port_from_wire(port: u32) -> Converted<u16> {
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(ConvertError::Ports(port, port)),
    }
}

/// The proxy's own workload, and how its namespace is set.
///
/// # Errors
///
/// Where a part does not parse, or says what this version does not know.
pub fn self_from_wire(own: wire::Self_) -> Converted<(Workload, NamespaceSettings)> {
    let mtls = match own.mtls() {
        wire::Mtls::Strict => Mtls::Strict,
        wire::Mtls::Permissive => Mtls::Permissive,
        wire::Mtls::Unspecified => return Err(ConvertError::Unknown("mtls")),
    };
    let closing = match own.closing() {
        wire::Closing::Enforce => Closing::Enforce,
        wire::Closing::Shadow => Closing::Shadow,
        wire::Closing::Unspecified => return Err(ConvertError::Unknown("closing")),
    };
    let workload = own.workload.ok_or(ConvertError::Unknown("workload"))?;
    Ok((
        workload_from_wire(workload)?,
        NamespaceSettings { mtls, closing },
    ))
}

/// The same, the other way.
pub fn self_to_wire(workload: &Workload, settings: NamespaceSettings) -> wire::Self_ {
    let mtls = match settings.mtls {
        Mtls::Strict => wire::Mtls::Strict,
        Mtls::Permissive => wire::Mtls::Permissive,
    };
    let closing = match settings.closing {
        Closing::Enforce => wire::Closing::Enforce,
        Closing::Shadow => wire::Closing::Shadow,
    };
    wire::Self_ {
        workload: Some(workload_to_wire(workload)),
        mtls: mtls.into(),
        closing: closing.into(),
    }
}

/// Revoked names, and revoked serial numbers in lower-case hex.
pub type Revoked = (Vec<SpiffeId>, Vec<String>);

/// What is revoked.
///
/// # Errors
///
/// Where a name does not parse: a revocation must not be lost.
pub fn revocations_from_wire(revocations: wire::Revocations) -> Converted<Revoked> {
    let identities = revocations
        .identities
        .iter()
        .map(|id| id.parse())
        .collect::<Result<_, _>>()?;
    Ok((identities, revocations.serials))
}

/// The same, the other way.
pub fn revocations_to_wire(identities: &[SpiffeId], serials: &[String]) -> wire::Revocations {
    wire::Revocations {
        identities: identities.iter().map(ToString::to_string).collect(),
        serials: serials.to_vec(),
    }
}

/// A policy object.
///
/// # Errors
///
/// Where any part of it does not parse or says what this version does not know: it is refused whole.
pub fn policy_from_wire(policy: wire::Policy) -> Converted<AuthorizationPolicy> {
    if policy.rules.is_empty() {
        return Err(ConvertError::Empty("rules"));
    }
    let target = policy.target.unwrap_or_default();
    Ok(AuthorizationPolicy {
        namespace: policy.namespace,
        name: policy.name,
        target: Target {
            namespaces: target.namespaces,
            service_account: target.service_account,
            labels: target.labels,
        },
        rules: policy
            .rules
            .into_iter()
            .map(rule_from_wire)
            .collect::<Result<_, _>>()?,
    })
}

/// The same, the other way.
pub fn policy_to_wire(policy: &AuthorizationPolicy) -> wire::Policy {
    wire::Policy {
        namespace: policy.namespace.clone(),
        name: policy.name.clone(),
        target: Some(wire::Target {
            namespaces: policy.target.namespaces.clone(),
            service_account: policy.target.service_account.clone(),
            labels: policy.target.labels.clone(),
        }),
        rules: policy.rules.iter().map(rule_to_wire).collect(),
    }
}

fn rule_from_wire(rule: wire::Rule) -> Converted<Rule> {
    let effect = match rule.effect() {
        wire::Effect::Allow => Effect::Allow,
        wire::Effect::Deny => Effect::Deny,
        wire::Effect::Unspecified => return Err(ConvertError::Unknown("effect")),
    };
    let mode = match rule.mode() {
        wire::Mode::Enforce => Mode::Enforce,
        wire::Mode::Shadow => Mode::Shadow,
        wire::Mode::Unspecified => return Err(ConvertError::Unknown("mode")),
    };
    if rule.from.is_empty() {
        return Err(ConvertError::Empty("from"));
    }
    let expires = rule.expires.map(|seconds| {
        OffsetDateTime::from_unix_timestamp(seconds)
            .map_err(|_error: time::error::ComponentRange| ConvertError::Time(seconds))
    });
    Ok(Rule {
        name: rule.name,
        effect,
        from: rule
            .from
            .into_iter()
            .map(source_from_wire)
            .collect::<Result<_, _>>()?,
        ports: rule
            .ports
            .iter()
            .map(|p| ports_from_wire(*p))
            .collect::<Result<_, _>>()?,
        mode,
        expires: expires.transpose()?,
        reason: rule.reason,
    })
}

fn rule_to_wire(rule: &Rule) -> wire::Rule {
    let effect = match rule.effect {
        Effect::Allow => wire::Effect::Allow,
        Effect::Deny => wire::Effect::Deny,
    };
    let mode = match rule.mode {
        Mode::Enforce => wire::Mode::Enforce,
        Mode::Shadow => wire::Mode::Shadow,
    };
    wire::Rule {
        name: rule.name.clone(),
        effect: effect.into(),
        from: rule.from.iter().map(source_to_wire).collect(),
        ports: rule
            .ports
            .iter()
            .map(|p| wire::PortRange {
                first: p.first.into(),
                last: p.last.into(),
            })
            .collect(),
        mode: mode.into(),
        expires: rule.expires.map(OffsetDateTime::unix_timestamp),
        reason: rule.reason.clone(),
    }
}

fn ports_from_wire(range: wire::PortRange) -> Converted<PortRange> {
    let (first, last) = (port_from_wire(range.first)?, port_from_wire(range.last)?);
    if first > last {
        return Err(ConvertError::Ports(range.first, range.last));
    }
    Ok(PortRange { first, last })
}

fn source_from_wire(from: wire::From) -> Converted<From> {
    use wire::from::Source;
    Ok(match from.source.ok_or(ConvertError::Unknown("from"))? {
        Source::ServiceAccount(account) => match account.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                From::ServiceAccount {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                }
            }
            Some(_) | None => return Err(ConvertError::ServiceAccount(account)),
        },
        Source::Identity(id) => From::Identity(id.parse()?),
        Source::Namespace(namespace) if namespace.is_empty() => {
            return Err(ConvertError::Empty("namespace"));
        }
        Source::Namespace(namespace) => From::Namespace(namespace),
        Source::TrustDomain(domain) => From::TrustDomain(domain.parse()?),
        Source::Unauthenticated(cidr) => From::Unauthenticated(
            cidr.parse()
                .map_err(|_error: ipnet::AddrParseError| ConvertError::Cidr(cidr))?,
        ),
    })
}

fn source_to_wire(from: &From) -> wire::From {
    use wire::from::Source;
    let source = match from {
        From::ServiceAccount { namespace, name } => {
            Source::ServiceAccount(format!("{namespace}/{name}"))
        }
        From::Identity(id) => Source::Identity(id.to_string()),
        From::Namespace(namespace) => Source::Namespace(namespace.clone()),
        From::TrustDomain(domain) => Source::TrustDomain(domain.to_string()),
        From::Unauthenticated(cidr) => Source::Unauthenticated(cidr.to_string()),
    };
    wire::From {
        source: Some(source),
    }
}

#[cfg(test)]
mod tests;
