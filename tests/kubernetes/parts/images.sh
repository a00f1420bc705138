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

make_own_images() {
    local root
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,dev,etc,proc,run,sys,tmp,var}
    chmod 1777 "$root/tmp"
    echo 'root:x:0:0::/:/bin/sh' > "$root/etc/passwd"
    add_busybox "$root"
    "$archive" --env PATH=/bin kube.local/busybox:1 "$root" "$own_images/busybox.tar" /bin/sh
    "$archive" --env PATH=/bin kube.local/pause:1 "$root" "$own_images/pause.tar" \
        /bin/sh -c 'trap exit TERM INT; while :; do sleep 3600 & wait $!; done'
    add_curl "$root"
    "$archive" --env PATH=/bin kube.local/curl:1 "$root" "$own_images/curl.tar" /bin/sh
    rm -r "$root"
}

add_busybox() { # ROOT
    local applet
    cp "$(command -v busybox)" "$1/bin/busybox"
    # Debian's static busybox crashes in wget: curl is there instead.
    for applet in $(busybox --list | grep -vx -e busybox -e wget); do ln -s busybox "$1/bin/$applet"; done
}

# The machine's own, with its loader and libraries.
add_curl() { # ROOT
    local library
    cp "$(command -v curl)" "$1/bin/curl"
    for library in $(ldd "$(command -v curl)" | grep -o '/[^ ]*'); do install -D "$library" "$1$library"; done
}
