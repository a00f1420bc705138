//! The ports, ids, names and paths that the parts of the mesh agree on.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Redirected outbound connections arrive here.
pub const OUTBOUND_PORT: u16 = 15001;
/// Redirected inbound connections arrive here.
pub const INBOUND_PORT: u16 = 15006;
/// Admin, on loopback only.
pub const ADMIN_PORT: u16 = 15000;
/// Control's gRPC.
pub const CONTROL_PORT: u16 = 15012;
/// The injector's webhook.
pub const WEBHOOK_PORT: u16 = 15017;
/// Metrics and rewritten probes.
pub const TELEMETRY_PORT: u16 = 15020;
/// Readiness.
pub const READINESS_PORT: u16 = 15021;

/// The ports that the proxy itself listens on, which no application of the pod can have.
pub const PROXY_PORTS: [u16; 5] = [
    ADMIN_PORT,
    OUTBOUND_PORT,
    INBOUND_PORT,
    TELEMETRY_PORT,
    READINESS_PORT,
];

/// The proxy's user and group id, whose connections are not redirected.
pub const PROXY_UID: u32 = 1337;

/// The socket mark of the proxy's own connections, where the user namespace has one uid only.
pub const PROXY_MARK: u32 = 0x7061_6c69;

/// An address that is redirected whoever asks, so that the proxy can prove the redirect (TEST-NET-1, RFC 5737).
pub const CANARY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 153);
/// The same for IPv6 (documentation prefix, RFC 3849).
pub const CANARY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0x7061, 0x6c69, 0x7361, 0x6465);

/// The port that is asked for at the canary's addresses; any that is not the proxy's own would do.
pub const CANARY_PORT: u16 = 80;

/// The nftables table of the redirect, family `inet`.
pub const REDIRECT_TABLE: &str = "palisade";

/// The protocol of the mesh hop, as negotiated by ALPN.
pub const ALPN: &[u8] = b"palisade/1";

/// The audience of a service-account token that is meant for control.
pub const TOKEN_AUDIENCE: &str = "palisade";

/// The API group and version of what people write.
pub const API_VERSION: &str = "palisade.dev/v1alpha1";
/// Namespace annotation: `strict` (default) or `permissive`.
pub const MTLS_ANNOTATION: &str = "palisade.dev/mtls";
/// Namespace annotation: `enforce` (default) or `shadow`.
pub const AUTHORIZATION_ANNOTATION: &str = "palisade.dev/authorization";
