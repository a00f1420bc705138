# The cluster's keys and certificates, and a kubeconfig for each of its programs.
# shellcheck shell=bash disable=SC2154

pki=$state/pki

write_certificates() {
    mkdir -p "$pki"
    authority ca
    authority front-proxy-ca
    certificate apiserver ca /CN=kube-apiserver "IP:127.0.0.1,IP:$host,IP:$host6,IP:10.96.0.1,IP:fd96::1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certificate front-proxy front-proxy-ca /CN=front-proxy-client
    certificate kubelet-client ca /O=system:masters/CN=kube-apiserver-kubelet-client
    user admin /O=system:masters/CN=admin
    local name n
    for name in kube-controller-manager kube-scheduler kube-proxy; do user $name /CN=system:$name; done
    for n in "${nodes[@]}"; do user "node$n" "/O=system:nodes/CN=system:node:node$n"; done
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$pki/service-account.key" 2> /dev/null
    openssl pkey -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub"
}

signed() { # NAME SUBJECT ARGUMENT...
    local name=$1 subject=$2; shift 2
    openssl req -config <(printf '[req]\ndistinguished_name=none\n[none]\n') -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
        -noenc -keyout "$pki/$name.key" -out "$pki/$name.crt" -days 365 -subj "$subject" "$@" 2> /dev/null
}

authority() { # NAME
    signed "$1" "/CN=$1" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -addext subjectKeyIdentifier=hash
}

certificate() { # NAME AUTHORITY SUBJECT [SUBJECT_ALTERNATIVE_NAMES]
    signed "$1" "$3" -CA "$pki/$2.crt" -CAkey "$pki/$2.key" -addext basicConstraints=CA:FALSE \
        -addext keyUsage=digitalSignature -addext extendedKeyUsage=serverAuth,clientAuth \
        -addext authorityKeyIdentifier=keyid ${4:+-addext "subjectAltName=$4"}
}

user() { # NAME SUBJECT
    certificate "$1" ca "$2"
    cat > "$pki/$1.kubeconfig" <<-Y
	apiVersion: v1
	kind: Config
	clusters: [{name: $cluster, cluster: {server: "https://$host:6443", certificate-authority: $pki/ca.crt}}]
	users: [{name: $1, user: {client-certificate: $pki/$1.crt, client-key: $pki/$1.key}}]
	contexts: [{name: $cluster, context: {cluster: $cluster, user: $1}}]
	current-context: $cluster
	Y
}
