//! The names that the parts of the mesh agree on in Kubernetes.

/// Where control and the injector run, unless the installation says otherwise.
pub const SYSTEM_NAMESPACE: &str = "palisade-system";
/// Control's Service, Deployment, ServiceAccount and Lease.
pub const CONTROL: &str = "palisade-control";
/// The injector's Service, Deployment and ServiceAccount, and its webhook configurations.
pub const INJECTOR: &str = "palisade-injector";

/// Namespace annotation or label by which a user asks for the mesh: `enabled`. On a pod `disabled` opts out, where
/// [`ALLOW_OPT_OUT`] allows that.
pub const INJECT: &str = "palisade.dev/inject";
/// The value of [`INJECT`] that asks for the mesh.
pub const ENABLED: &str = "enabled";
/// The value of [`INJECT`] by which a pod opts out.
pub const DISABLED: &str = "disabled";
/// Namespace annotation, `"true"`: pods may opt out, and may exclude ports and addresses.
pub const ALLOW_OPT_OUT: &str = "palisade.dev/allow-opt-out";
/// The label of rules that `palisade policy allow` made: control removes them once all that they say has expired.
pub const BREAK_GLASS_LABEL: &str = "palisade.dev/break-glass";
/// The label, derived from [`INJECT`] and nobody else's, by which webhooks select namespaces: [`ENABLED`] or absent.
pub const MEMBER_LABEL: &str = "mesh.palisade.dev/member";

/// Pod annotation: ports that are reached without the mesh, `"9090,9100"`.
pub const EXCLUDE_INBOUND_PORTS: &str = "palisade.dev/exclude-inbound-ports";
/// Pod annotation: ports anywhere that the pod reaches without the mesh.
pub const EXCLUDE_OUTBOUND_PORTS: &str = "palisade.dev/exclude-outbound-ports";
/// Pod annotation: addresses that the pod reaches without the mesh, `"10.9.0.0/16,fd09::/64"`.
pub const EXCLUDE_OUTBOUND_CIDRS: &str = "palisade.dev/exclude-outbound-cidrs";
/// Pod annotation: the sidecar's CPU request, a quantity.
pub const CPU_REQUEST: &str = "palisade.dev/proxy-cpu-request";
/// Pod annotation: the sidecar's CPU limit.
pub const CPU_LIMIT: &str = "palisade.dev/proxy-cpu-limit";
/// Pod annotation: the sidecar's memory request.
pub const MEMORY_REQUEST: &str = "palisade.dev/proxy-memory-request";
/// Pod annotation: the sidecar's memory limit.
pub const MEMORY_LIMIT: &str = "palisade.dev/proxy-memory-limit";
/// Pod annotation that the injector writes: the version that injected.
pub const INJECTED: &str = "palisade.dev/injected";

/// The sidecar container.
pub const PROXY_CONTAINER: &str = "palisade-proxy";
/// The init container that writes the redirect.
pub const REDIRECT_CONTAINER: &str = "palisade-redirect";
/// The program of either: a pod pays for its size, and so it is not the image's entry point, which can do all else.
pub const PROXY_COMMAND: [&str; 1] = ["/palisade-proxy"];
/// The sidecar's arguments.
pub const PROXY_ARGS: [&str; 1] = ["run"];
/// The redirect's arguments.
pub const REDIRECT_ARGS: [&str; 2] = ["redirect", "--apply"];
/// The projected volume with the token and the anchor.
pub const IDENTITY_VOLUME: &str = "palisade-identity";
/// Where it is mounted in the sidecar.
pub const IDENTITY_PATH: &str = "/var/run/secrets/palisade";
/// The service account's token, in [`IDENTITY_PATH`].
pub const TOKEN_FILE: &str = "token";
/// How long that token lives, in seconds; the kubelet renews it before.
pub const TOKEN_SECONDS: i64 = 3600;
/// The ConfigMap of every meshed namespace that says which authorities control's certificate comes from.
pub const TRUST_CONFIG_MAP: &str = "palisade-trust";
/// Its key, and the file in [`IDENTITY_PATH`]: PEM.
pub const TRUST_FILE: &str = "ca.crt";

/// The Secret of the authority, in the system namespace: `tls.crt` and `tls.key`, PEM.
pub const CA_SECRET: &str = "palisade-ca";
/// The Secret of the webhook's serving certificate, made and renewed by control.
pub const WEBHOOK_SECRET: &str = "palisade-webhook-tls";
/// The ConfigMap, in the system namespace, of which rules are in force: what control finds when it starts, and what
/// `palisade check` reads.
pub const RULES_CONFIG_MAP: &str = "palisade-rules";

/// Where each replica of control answers `GET /usage`, on loopback: reached by forwarding to its pod.
pub const ASK_PORT: u16 = 15013;
/// The audience of a token that asks there.
pub const ASK_AUDIENCE: &str = "palisade-ask";
/// The resource of [`GROUP`], which has no objects, that whoever asks must be allowed to read.
pub const ASK_RESOURCE: &str = "usages";
/// The verb by which.
pub const ASK_VERB: &str = "get";
/// The service account, in the system namespace, as which the command asks.
pub const READER: &str = "palisade-reader";
/// The service account of a namespace, as which the command asks about that namespace alone where whoever asks may not ask
/// as [`READER`]; also the ClusterRole with its one right. Whoever may view the namespace may ask as it.
pub const VIEWER: &str = "palisade-viewer";
/// The label of the pods of control and of the injector, with [`CONTROL`] or [`INJECTOR`].
pub const NAME_LABEL: &str = "app.kubernetes.io/name";

/// The webhook's path for pods (mutating).
pub const PODS_PATH: &str = "/pods";
/// Its path for ephemeral containers (validating).
pub const EPHEMERAL_PATH: &str = "/ephemeral-containers";
/// Its path for namespaces (mutating).
pub const NAMESPACES_PATH: &str = "/namespaces";
/// Its path for rules (validating).
pub const RULES_PATH: &str = "/rules";

/// The API group of the rules.
pub const GROUP: &str = "palisade.dev";
/// The version of the rules.
pub const VERSION: &str = "v1alpha1";
/// The custom resource of a namespace's rules: plural, and its CRD with [`GROUP`] after it.
pub const POLICIES: &str = "authorizationpolicies";
/// The custom resource of the cluster's rules.
pub const CLUSTER_POLICIES: &str = "clusterauthorizationpolicies";
/// The reason in a rule's condition `Ready` where its newest version has mistakes: control writes it, and `palisade
/// check` reads it.
pub const INVALID: &str = "Invalid";

/// The prefix of a rewritten probe's path on the telemetry port: `/probe/<container>/<kind>`, the kind being one of
/// `liveness`, `readiness`, `startup`, `postStart`, `preStop`.
pub const PROBE_PATH: &str = "/probe/";
/// The redirect's and the sidecar's variable with the ports that are reached without the mesh, `9090,9100`.
pub const EXCLUDED_PORTS_VARIABLE: &str = "PALISADE_EXCLUDE_INBOUND_PORT";
/// The sidecar's variable with all rewritten probes: a JSON object of path to [`Probe`](crate::probe::Probe).
pub const PROBES_VARIABLE: &str = "PALISADE_PROBES";

/// The ports of a list such as `9090,9100`. What is no port excludes nothing: what it would be is reached over the mesh, and
/// fails closed.
pub fn excluded_ports(list: &str) -> impl Iterator<Item = u16> {
    let ports = list.split(',').filter_map(|port| port.trim().parse().ok());
    ports.filter(|port| *port != 0)
}

/// Whether a namespace can never be in the mesh: a cluster whose own parts wait for the mesh, which waits for them,
/// never starts again.
pub fn is_exempt(namespace: &str, system_namespace: &str) -> bool {
    namespace == system_namespace
        || ["kube-system", "kube-public", "kube-node-lease"].contains(&namespace)
}

/// Whether an init container of this name, restart policy, command and arguments is our sidecar: a native one that runs
/// the proxy, as the injector writes it.
pub fn is_sidecar(
    name: &str,
    restart_policy: Option<&str>,
    command: &[String],
    args: &[String],
) -> bool {
    (name, restart_policy) == (PROXY_CONTAINER, Some("Always"))
        && command == PROXY_COMMAND
        && args == PROXY_ARGS
}
