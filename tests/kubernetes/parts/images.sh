# Images, made of directories without a container engine, and loaded into both nodes.
# shellcheck shell=bash disable=SC2154

own_images=$state/images
archive=$here/../../injector/image/archive

load_on() { # NODE IMAGE.tar
    inside ctr --address "$(containerd_socket "$1")" --namespace k8s.io images import "$2" > /dev/null
}

load() { # IMAGE.tar
    [ -f "$1" ] || die "there is no $1"
    local n
    for n in "${nodes[@]}"; do load_on "$n" "$1"; done
}

make_image() { # NAME DIR ENTRYPOINT...
    [ $# -ge 3 ] || die "image NAME DIR ENTRYPOINT..."
    local file=$state/images/made.tar
    "$archive" --env PATH=/bin:/usr/bin:/sbin "$1" "$2" "$file" "${@:3}"
    load "$file"
    rm "$file"
}

# A shell with its tools, and the container that holds a pod's namespaces.
make_own_images() {
    local root applet
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,dev,etc,proc,run,sys,tmp,var}
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
    echo 'root:x:0:0::/:/bin/sh' > "$root/etc/passwd"
    "$archive" --env PATH=/bin kube.local/busybox:1 "$root" "$own_images/busybox.tar" /bin/sh
    "$archive" --env PATH=/bin kube.local/pause:1 "$root" "$own_images/pause.tar" \
        /bin/sh -c 'trap exit TERM INT; while :; do sleep 3600 & wait $!; done'
    rm -r "$root"
}
