# etcd, API server, controller manager, scheduler and DNS, on a host that is no node.
# shellcheck shell=bash disable=SC2154

start_control_plane() {
    run_program etcd control etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster default=http://127.0.0.1:2380
    start_api_server
    wait_for 120 "API server" inside kubectl get --raw /readyz
    local as=$pki/kube-controller-manager.kubeconfig
    run_program kube-controller-manager control kube-controller-manager \
        --kubeconfig="$as" --authentication-kubeconfig="$as" --authorization-kubeconfig="$as" \
        --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt" \
        --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
        --use-service-account-credentials=true --node-monitor-grace-period=20s --node-monitor-period=2s \
        --leader-elect=false --bind-address=127.0.0.1
    as=$pki/kube-scheduler.kubeconfig
    run_program kube-scheduler control kube-scheduler \
        --kubeconfig="$as" --authentication-kubeconfig="$as" --authorization-kubeconfig="$as" \
        --leader-elect=false --bind-address=127.0.0.1
}

# No kube-proxy runs beside it: aggregator routing makes it reach webhooks at the addresses of their pods.
start_api_server() {
    local issuer=https://kubernetes.default.svc.cluster.local
    run_program kube-apiserver control kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
        --bind-address="$host" --advertise-address="$host" --secure-port=6443 \
        --allow-privileged=true --enable-aggregator-routing=true \
        --service-cluster-ip-range="$service_range" \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
        --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --service-account-issuer=$issuer --api-audiences=$issuer \
        --service-account-key-file="$pki/service-account.pub" --service-account-signing-key-file="$pki/service-account.key" \
        --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
        --kubelet-preferred-address-types=InternalIP \
        --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
        --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
        --requestheader-username-headers=X-Remote-User \
        --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key"
}

# CoreDNS, beside the API server and behind the Service that pods expect.
start_dns() {
    cat > "$state/Corefile" <<-Y
	.:53 {
	    bind $host $host6
	    errors
	    kubernetes cluster.local in-addr.arpa ip6.arpa {
	        kubeconfig $KUBECONFIG
	        pods insecure
	    }
	    cache 5
	    loadbalance
	}
	Y
    run_program coredns control coredns -conf "$state/Corefile"
    { dns_service; dns_endpoints IPv4 "$host"; dns_endpoints IPv6 "$host6"; } | inside kubectl apply -f - > /dev/null
}

dns_service() {
    cat <<-Y
	apiVersion: v1
	kind: Service
	metadata: {name: kube-dns, namespace: kube-system}
	spec:
	  clusterIP: $dns
	  clusterIPs: [$dns, "$dns6"]
	  ipFamilyPolicy: RequireDualStack
	  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
	Y
}

dns_endpoints() { # FAMILY ADDRESS
    cat <<-Y
	---
	apiVersion: discovery.k8s.io/v1
	kind: EndpointSlice
	metadata: {name: kube-dns-${1,,}, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
	addressType: $1
	ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
	endpoints: [{addresses: ["$2"], conditions: {ready: true}}]
	Y
}

dns_answers() {
    local n
    for n in "${nodes[@]}"; do inside_node "$n" busybox nslookup kubernetes.default.svc.cluster.local "$dns" || return; done
}
