#!/bin/bash
# fetch.sh [tests]: everything that the lab runs, into MOORLINE_LAB; nothing is installed on the system. Does only what is missing, so that it
# can be broken off and called again. `tests` leaves out kwok and kube-router, which no test of the fast tier needs.
# Debian's packages are verified by apt's signatures, Go modules by Go's checksum database.
. "$(dirname "$0")/lab.sh"
KUBERNETES=v1.36.4
COREDNS=v1.14.7
KWOK=v0.8.0
KUBE_ROUTER=v2.1.0
HELM=v4.2.4
# The Kubernetes of this version asks for it.
GO=1.26

mkdir -p "$MOORLINE_LAB"/{bin,img,root,tools,versions,labs}
cd "$MOORLINE_LAB"
exec 9>lock
flock -n 9 || {
    log "another fetch runs: waiting for it"
    flock 9
}
have() { [ "$(cat "versions/$1" 2>/dev/null)" = "$2" ]; }
got() { echo "$2" >"versions/$1"; }

# --- Debian packages. Those of sid run on Debian 12, but for runc, which wants a newer libc.

packages() { # NAME SUITE PACKAGE...: downloaded through an apt root of our own and unpacked
    local name=$1 suite=$2 root=$MOORLINE_LAB/apt options
    shift 2
    if have "packages-$name" "$*"; then return; fi
    log "packages of $suite: $name"
    # shellcheck disable=SC2016 # apt's variables
    : "${DEBIAN_MIRROR:=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's|^Debian \(.*[^/]\)/*$|\1|p' | head -1)}"
    [ -n "$DEBIAN_MIRROR" ] || die "apt names no Debian mirror: set DEBIAN_MIRROR"
    rm -rf "$root"
    mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
    # An empty status, or apt looks for the versions that are installed on the system.
    : >"$root/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $DEBIAN_MIRROR $suite main" >"$root/sources.list"
    options=(-q -o "Dir::Etc::sourcelist=$root/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$root/lists"
        -o "Dir::State::status=$root/status" -o "Dir::Cache=$root/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update >/dev/null
    (cd "$root/cache" && apt-get "${options[@]}" download "$@" >/dev/null)
    for file in "$root/cache"/*.deb; do
        dpkg-deb -x "$file" root
        log "  $(basename "$file" .deb)"
    done
    rm -rf "$root"
    got "packages-$name" "$*"
}

packages cluster sid etcd-server containerd containernetworking-plugins kubectl
packages node bookworm runc iptables nftables busybox-static libxtables12 libip4tc2 libip6tc2 libnftnl11 libnftables1 libmnl0 \
    libnfnetlink0 libnetfilter-conntrack3 libjansson4 libedit2 libgmp10 ipset libipset13

# The unpacked nft, ipset and iptables want their own libraries: wrappers, with the paths of a node.
if ! have tools 2; then
    libraries=usr/lib/$(gcc -print-multiarch)
    for tool in nft ipset iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        program="usr/sbin/xtables-nft-multi $tool"
        case $tool in nft | ipset) program=usr/sbin/$tool ;; esac
        cat >"tools/$tool" <<END
#!/bin/sh
export LD_LIBRARY_PATH=/srv/root/$libraries XTABLES_LIBDIR=/srv/root/$libraries/xtables
exec /srv/root/$program "\$@"
END
        chmod +x "tools/$tool"
    done
    got tools 2
fi

# --- Images for pods, from an unpacked tree: an OCI layout in a tar, with the annotation from which containerd takes the name.

image() { # FILE REFERENCE TREE ENTRYPOINT
    local out=$PWD/$1 work layer config manifest
    work=$(mktemp -d -p "$MOORLINE_LAB")
    mkdir -p "$work/blobs/sha256"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$3" -cf "$work/layer" .
    put() { # prints digest and size, as descriptors have them
        local digest
        digest=$(sha256sum "$work/$1" | cut -d' ' -f1)
        mv "$work/$1" "$work/blobs/sha256/$digest"
        printf '"digest":"sha256:%s","size":%d' "$digest" "$(stat -c %s "$work/blobs/sha256/$digest")"
    }
    layer=$(put layer)
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["%s"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
        "$(dpkg --print-architecture)" "$4" "$(cut -d'"' -f4 <<<"$layer")" >"$work/config"
    config=$(put config)
    printf '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",%s}]}' \
        "$config" "$layer" >"$work/manifest"
    manifest=$(put manifest)
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
        "$manifest" "$2" >"$work/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
    tar -C "$work" -cf "$out.part" oci-layout index.json blobs
    mv "$out.part" "$out"
    rm -rf "$work"
}

if ! have images 1; then
    log "images"
    gcc -Os -static -s -o img/pause "$HERE/images/pause.c"
    tree=$(mktemp -d -p "$MOORLINE_LAB")
    chmod 755 "$tree" # it becomes the root of the file system
    cp img/pause "$tree/"
    image img/pause.tar localhost/lab/pause:1 "$tree" /pause
    rm "$tree/pause"
    mkdir -p "$tree"/{bin,etc,tmp}
    chmod 1777 "$tree/tmp"
    cp root/bin/busybox "$tree/bin/"
    for name in $("$tree/bin/busybox" --list); do [ "$name" = busybox ] || ln -s busybox "$tree/bin/$name"; done
    echo 'root:x:0:0::/:/bin/sh' >"$tree/etc/passwd"
    image img/busybox.tar localhost/lab/busybox:1 "$tree" /bin/sh
    rm -rf "$tree"
    got images 1
fi

# --- Go programs

use_go() { # the installed Go if it is new enough, else Debian's
    export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-mod=mod -modcacherw -trimpath" GOBIN=$MOORLINE_LAB/bin
    export GOMODCACHE=$MOORLINE_LAB/go/mod GOCACHE=$MOORLINE_LAB/go/build
    local version
    version=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
    if [ "$(printf '%s\n' "$GO" "${version:-0}" | sort -V | head -1)" = "$GO" ]; then return; fi
    packages go sid "golang-$GO-go" "golang-$GO-src"
    export GOROOT=$MOORLINE_LAB/root/usr/lib/go-$GO
    PATH=$GOROOT/bin:$PATH
}

# The module k8s.io/kubernetes asks for its parts at v0.0.0 and replaces them by directories, which `go install` refuses. So a
# module of our own, made from the list in its go.mod, replaces them by their releases: v0.X.Y goes with v1.X.Y.
kubernetes() { # PROGRAM
    if have "$1" "$KUBERNETES"; then return; fi
    use_go
    log "build $1 $KUBERNETES"
    mkdir -p go/kubernetes
    cd go/kubernetes
    if [ ! -s go.mod ]; then
        local its_go_mod
        its_go_mod=$(go mod download -json "k8s.io/kubernetes@$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
        {
            printf 'module lab\n\ngo %s.0\n\nrequire k8s.io/kubernetes %s\n\nreplace (\n' "$GO" "$KUBERNETES"
            awk -v version="v0.${KUBERNETES#v1.}" '$2 == "v0.0.0" { print "\t" $1 " => " $1 " " version }' "$its_go_mod"
            echo ')'
        } >go.mod.part
        mv go.mod.part go.mod
    fi
    local package=k8s.io/component-base/version minor=${KUBERNETES#v1.}
    go build -o "$GOBIN/$1" -ldflags "-s -w -X $package.gitVersion=$KUBERNETES -X $package.gitMajor=1 \
        -X $package.gitMinor=${minor%%.*} -X k8s.io/client-go/pkg/version.gitVersion=$KUBERNETES" "k8s.io/kubernetes/cmd/$1"
    cd "$MOORLINE_LAB"
    got "$1" "$KUBERNETES"
}

program() { # PACKAGE VERSION
    local name=${1##*/}
    if have "$name" "$2"; then return; fi
    use_go
    log "build $name $2"
    rm -f "$GOBIN/$name"
    go install -ldflags "-s -w" "$1@$2"
    got "$name" "$2"
}

for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do kubernetes "$name"; done
program github.com/coredns/coredns "$COREDNS"
program helm.sh/helm/v4/cmd/helm "$HELM"
if [ "${1:-}" != tests ]; then
    program sigs.k8s.io/kwok/cmd/kwok "$KWOK"
    program github.com/cloudnativelabs/kube-router/v2/cmd/kube-router "$KUBE_ROUTER"
fi
if [ "${1:-}" != tests ] && ! have kwok-stages "$KWOK"; then
    use_go
    rm -rf kwok
    cp -r "$(go mod download -json "sigs.k8s.io/kwok@$KWOK" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/kustomize/stage" kwok
    chmod -R u+w kwok
    got kwok-stages "$KWOK"
fi
# Sources and half-built packages, some gigabytes, are of no more use.
rm -rf go
log "everything is in $MOORLINE_LAB"
