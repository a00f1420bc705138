# The programs of the cluster: Debian's packages, and what Go builds from programs/.
# shellcheck shell=bash disable=SC2154

packages=(busybox-static conntrack containerd containernetworking-plugins curl iproute2 iptables nftables openssl python3 runc)
kubernetes_programs=(etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet)
module_version() { sed -n "s#^.*$1 \(v[0-9.]*\).*#\1#p" "$here/programs/$2" | head -1; }
kubernetes_version=$(module_version k8s.io/kubernetes go.mod)
helm_version=$(module_version helm.sh/helm/v4 helm/go.mod)
programs=$cache/programs-$(cd "$here/programs" && cat go.mod go.sum ./*/*.go ./*/go.mod ./*/go.sum "$here/parts/programs.sh" | sha256sum | cut -c1-12)

get() {
    install_packages
    [ -d "$programs" ] || build_programs
}

install_packages() {
    # It fails where it has never heard of a package, which is one that is missing.
    local states
    states=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>&1 || true)
    grep -qvx installed <<< "$states" || return 0
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}" > /dev/null
}

build_programs() {
    command -v go > /dev/null || die "needs Go ($(sed -n 's/^go //p' "$here/programs/go.mod") or later) to build Kubernetes"
    local new program version=$kubernetes_version numbers
    IFS=. read -r -a numbers <<< "${version#v}"
    new=$(mktemp -d "$cache/building-XXXXXX")
    # API server and kubelet refuse each other when they do not know their versions.
    local flags="-s -w" package
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitMajor=${numbers[0]} -X $package.gitMinor=${numbers[1]} -X $package.gitVersion=$version -X $package.gitTreeState=clean"
    done
    (cd "$here/programs" && CGO_ENABLED=0 go build -mod=readonly -trimpath -tags providerless,netgo,osusergo -ldflags "$flags" -o "$new/" ./...)
    (cd "$here/programs/helm" && CGO_ENABLED=0 go build -mod=readonly -trimpath -o "$new/helm" \
        -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$helm_version" helm.sh/helm/v4/cmd/helm)
    for program in "${kubernetes_programs[@]}"; do ln -s kubernetes "$new/$program"; done
    chmod 755 "$new"
    mv "$new" "$programs"
}
