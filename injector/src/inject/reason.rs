//! Why a pod is left outside or refused, and what to do instead.

use std::fmt;

use palisade_api::{cluster, sidecar};

/// Why a pod stays outside of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// It shares its node's network, which the mesh must not redirect.
    HostNetwork,
    /// It is the API's image of a static pod, which only its node's file can change.
    Mirror,
    /// It asked to, and its namespace allows that.
    OptedOut,
    /// There is no redirect for Windows.
    Windows,
}

impl SkipReason {
    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network",
            Self::Mirror => "mirror",
            Self::OptedOut => "opted_out",
            Self::Windows => "windows",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostNetwork => {
                "spec.hostNetwork: the pod stays outside of the mesh, because it shares its node's network; \
                 remove hostNetwork to mesh it"
            }
            Self::Mirror => {
                "the pod stays outside of the mesh, because a static pod is changed by its file on the node only; \
                 run it by a DaemonSet to mesh it"
            }
            Self::OptedOut => {
                "the pod stays outside of the mesh, because it is marked palisade.dev/inject: disabled; \
                 remove that to mesh it"
            }
            Self::Windows => {
                "the pod stays outside of the mesh, because it asks for Windows, which has no redirect; \
                 run it on Linux to mesh it"
            }
        })
    }
}

/// Why a pod must not run in the mesh. Every path is relative to the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefuseReason {
    /// It cannot be read.
    NotAPod {
        /// What is wrong.
        problem: String,
    },
    /// Something runs as the proxy's uid, whose connections are not redirected.
    Uid {
        /// The field.
        path: String,
    },
    /// Something uses a port that the sidecar listens on.
    Port {
        /// The field.
        path: String,
        /// The port.
        port: u16,
    },
    /// Something of the user's has one of our names.
    Name {
        /// The field.
        path: String,
        /// The name.
        name: String,
    },
    /// A container of the user's mounts the sidecar's proof of identity.
    IdentityMount {
        /// The field.
        path: String,
    },
    /// A debug container would share the processes of ours, and so could read the keys in their memory.
    Target {
        /// The field.
        path: String,
        /// The container that it names.
        name: String,
    },
    /// A probe or hook asks a port that its container does not name, or that is no port.
    UnknownPort {
        /// The field.
        path: String,
        /// What is written there.
        port: String,
    },
    /// An annotation's value cannot be understood.
    Annotation {
        /// The field.
        path: String,
        /// What is written there.
        value: String,
        /// What to write instead.
        remedy: String,
    },
    /// The pod keeps itself, a port or an address out of the mesh, which its namespace does not allow.
    OptOut {
        /// The field.
        path: String,
        /// The namespace.
        namespace: String,
    },
}

impl RefuseReason {
    /// The field that is wrong, such as `spec.containers[0].ports[1].containerPort`; empty where it is the whole pod.
    pub fn path(&self) -> &str {
        match self {
            Self::NotAPod { .. } => "",
            Self::Uid { path }
            | Self::Port { path, .. }
            | Self::Name { path, .. }
            | Self::IdentityMount { path }
            | Self::Target { path, .. }
            | Self::UnknownPort { path, .. }
            | Self::Annotation { path, .. }
            | Self::OptOut { path, .. } => path,
        }
    }

    /// One word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotAPod { .. } => "not_a_pod",
            Self::Uid { .. } => "uid",
            Self::Port { .. } => "port",
            Self::Name { .. } => "name",
            Self::IdentityMount { .. } => "identity_mount",
            Self::Target { .. } => "target",
            Self::UnknownPort { .. } => "unknown_port",
            Self::Annotation { .. } => "annotation",
            Self::OptOut { .. } => "opt_out",
        }
    }
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPod { problem } => {
                write!(f, "the pod cannot be read: {problem}; correct that field")
            }
            Self::Uid { path } => write!(
                f,
                "{path}: uid {} is the sidecar's, and what runs as it would pass by the mesh; choose another uid",
                sidecar::PROXY_UID
            ),
            Self::Port { path, port } => write!(
                f,
                "{path}: the sidecar listens on port {port} itself; let the application use another port than {}",
                sidecar::PROXY_PORTS.map(|port| port.to_string()).join(", ")
            ),
            Self::Name { path, name } => write!(
                f,
                "{path}: the name {name} is kept for what the mesh adds; choose another name"
            ),
            Self::IdentityMount { path } => write!(
                f,
                "{path}: the volume {} is the sidecar's alone; mount a token volume of your own",
                cluster::IDENTITY_VOLUME
            ),
            Self::Target { path, name } => write!(
                f,
                "{path}: who shares the processes of {name} can read the pod's private key; target a container of the \
                 application, and see the sidecar's state by `palisade ps` and its logs"
            ),
            Self::UnknownPort { path, port } => write!(
                f,
                "{path}: \"{port}\" is no port of this container; write a number from 1 to 65535, or a name from its ports"
            ),
            Self::Annotation {
                path,
                value,
                remedy,
            } => write!(f, "{path}: \"{value}\" cannot be understood; {remedy}"),
            Self::OptOut { path, namespace } => write!(
                f,
                "{path}: a pod may keep out of the mesh, or keep ports and addresses out of it, only where its namespace \
                 carries {}: \"true\"; remove it, or ask whoever owns the platform to annotate the namespace {namespace}",
                cluster::ALLOW_OPT_OUT
            ),
        }
    }
}
