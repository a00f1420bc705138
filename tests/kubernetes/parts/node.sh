# One node: containerd, the kubelet and kube-proxy, in a network of its own.
# shellcheck shell=bash disable=SC2154

containerd_socket() { echo "/run/containerd/node$1.sock"; }

start_node() { # N
    local n=$1 home=$state/node$1
    mkdir -p "$home"/{addresses,cni,kubelet,logs,root,run,static}
    containerd_configuration "$n" > "$home/containerd.toml"
    pod_network "$n" > "$home/cni/10-bridge.conflist"
    kubelet_configuration "$n" > "$home/kubelet.yaml"
    proxy_configuration "$n" > "$home/proxy.yaml"
    echo "nameserver $host" > "$home/resolv.conf"
    cgroup_of_node "$n"
    run_program "containerd$n" "$n" containerd --config "$home/containerd.toml"
    wait_for 30 "containerd on node$n" inside ctr --address "$(containerd_socket "$n")" version
    local image
    for image in "$own_images"/*.tar; do load_on "$n" "$image"; done
    # Sockets have short paths only, and volumes belong on the disk.
    inside mkdir -p "/var/lib/kubelet/node$n"
    inside mount --bind "$home/kubelet" "/var/lib/kubelet/node$n"
    run_program "kubelet$n" "$n" kubelet --config="$home/kubelet.yaml" --kubeconfig="$pki/node$n.kubeconfig" \
        --root-dir="/var/lib/kubelet/node$n" --cert-dir="$pki/kubelet$n" --hostname-override="node$n" \
        --node-ip="$(node_address "$n"),$(node_address6 "$n")" --node-labels="topology.kubernetes.io/zone=zone-$n"
    run_program "kube-proxy$n" "$n" kube-proxy --config="$home/proxy.yaml"
    wait_for 60 "registration of node$n" inside kubectl get node "node$n"
    inside kubectl patch node "node$n" --patch \
        "{\"spec\": {\"podCIDR\": \"$(pod_range "$n")\", \"podCIDRs\": [\"$(pod_range "$n")\", \"$(pod_range6 "$n")\"]}}" > /dev/null
}

# Each node starts in a process of its own: the first that fails, fails the whole.
wait_for_all() { local job; for job in $(jobs -p); do wait "$job" || exit 1; done; }

# Some machines give root no CAP_SYS_RESOURCE, without which runc cannot lower a score for the OOM killer.
containerd_configuration() { # N
    cat <<-Y
	version = 2
	root = "$state/node$1/root"
	state = "$state/node$1/run"
	[grpc]
	  address = "$(containerd_socket "$1")"
	[plugins."io.containerd.grpc.v1.cri"]
	  sandbox_image = "kube.local/pause:1"
	  restrict_oom_score_adj = true
	[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
	  runtime_type = "io.containerd.runc.v2"
	[plugins."io.containerd.grpc.v1.cri".cni]
	  bin_dir = "/usr/lib/cni"
	  conf_dir = "$state/node$1/cni"
	Y
}

pod_network() { # N
    cat <<-Y
	{"cniVersion": "0.4.0", "name": "bridge", "plugins": [
	  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
	   "ipam": {"type": "host-local", "dataDir": "$state/node$1/addresses",
	            "ranges": [[{"subnet": "$(pod_range "$1")"}], [{"subnet": "$(pod_range6 "$1")"}]],
	            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
	  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	Y
}

# Images are only ever loaded, so none may be collected. A node that stops is seen to within 20 s.
kubelet_configuration() { # N
    cat <<-Y
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	address: $(node_address "$1")
	authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
	authorization: {mode: Webhook}
	cgroupDriver: cgroupfs
	cgroupRoot: /palisade-$cluster/node$1
	failCgroupV1: false
	clusterDNS: [$dns]
	clusterDomain: cluster.local
	resolvConf: $state/node$1/resolv.conf
	containerRuntimeEndpoint: unix://$(containerd_socket "$1")
	enforceNodeAllocatable: [pods]
	evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
	failSwapOn: false
	imageGCHighThresholdPercent: 100
	imageMaximumGCAge: 0s
	maxPods: 110
	nodeLeaseDurationSeconds: 12
	nodeStatusUpdateFrequency: 2s
	podLogsDir: $state/node$1/logs
	staticPodPath: $state/node$1/static
	fileCheckFrequency: 2s
	syncFrequency: 10s
	Y
}

# Connection tracking's sysctls cannot be written in here; zeros leave them alone.
proxy_configuration() { # N
    cat <<-Y
	apiVersion: kubeproxy.config.k8s.io/v1alpha1
	kind: KubeProxyConfiguration
	mode: nftables
	clusterCIDR: 10.88.0.0/16,fd88::/48
	hostnameOverride: node$1
	clientConnection: {kubeconfig: $pki/kube-proxy.kubeconfig}
	conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	Y
}
