# shellcheck shell=bash disable=SC2154 # variables of lab.sh
# The control plane: certificates, and how each part is started. Sourced by up.sh and part.sh.

certificate() { # NAME SUBJECT [ALTERNATIVE NAMES]
    [ ! -s "$PKI/$1.crt" ] || return 0
    local extensions="keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=serverAuth,clientAuth
${3:+subjectAltName=$3}"
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"
    openssl req -new -key "$PKI/$1.key" -subj "$2" -out "$PKI/$1.csr"
    openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
        -days 30 -extfile <(echo "$extensions") -out "$PKI/$1.crt"
} 2>>"$LOGS/openssl.log"

kubeconfig() { # NAME SUBJECT: a certificate and a file that uses it
    certificate "$1" "$2"
    [ ! -s "$STATE/$1.kubeconfig" ] || return 0
    (umask 077 && cat >"$STATE/$1.kubeconfig") <<END
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "$API", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: user, user: {client-certificate-data: $(base64 -w0 "$PKI/$1.crt"), client-key-data: $(base64 -w0 "$PKI/$1.key")}}]
contexts: [{name: lab, context: {cluster: lab, user: user}}]
current-context: lab
END
}

make_certificates() {
    if [ ! -s "$PKI/ca.crt" ]; then
        openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/ca.key"
        openssl req -x509 -new -key "$PKI/ca.key" -subj "/CN=lab ca" -days 30 -out "$PKI/ca.crt" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
        openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/accounts.key"
        openssl ec -in "$PKI/accounts.key" -pubout -out "$PKI/accounts.pub"
    fi 2>>"$LOGS/openssl.log"
    local service=kubernetes.default.svc i
    certificate apiserver /CN=kube-apiserver \
        "DNS:kubernetes,DNS:kubernetes.default,DNS:$service,DNS:$service.cluster.local,IP:$LAN.1,IP:$SERVICES.1"
    certificate kubelet-client /CN=kube-apiserver-kubelet-client
    kubeconfig admin /O=system:masters/CN=admin
    kubeconfig controller-manager /CN=system:kube-controller-manager
    kubeconfig scheduler /CN=system:kube-scheduler
    kubeconfig proxy /CN=system:kube-proxy
    kubeconfig coredns /CN=coredns
    kubeconfig policies /CN=policies
    for ((i = 1; i <= LAB_NODES; i++)); do kubeconfig "n$i" "/O=system:nodes/CN=system:node:n$i"; done
}

start_etcd() {
    daemon etcd etcd --name lab --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
        --auto-compaction-retention=1 --quota-backend-bytes=4294967296 \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster lab=http://127.0.0.1:2380
}

# Without the preferred address type, logs and exec would look the node's name up in the machine's own DNS.
start_apiserver() {
    daemon apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address="$LAN.1" --advertise-address="$LAN.1" \
        --secure-port=6443 --service-cluster-ip-range="$SERVICES.0/20" --authorization-mode=Node,RBAC \
        --enable-admission-plugins=NodeRestriction --allow-privileged=true --anonymous-auth=false --profiling=false \
        --audit-policy-file="$HERE/conf/audit.yaml" --audit-log-path="$STATE/audit.log" \
        --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
        --kubelet-preferred-address-types=InternalIP --kubelet-client-certificate="$PKI/kubelet-client.crt" \
        --kubelet-client-key="$PKI/kubelet-client.key" \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file="$PKI/accounts.pub" --service-account-signing-key-file="$PKI/accounts.key"
}

# With its default rates of calls, to see what a managed cluster does.
start_controller_manager() {
    daemon controller-manager kube-controller-manager --kubeconfig="$STATE/controller-manager.kubeconfig" \
        --bind-address=127.0.0.1 --leader-elect=false --allocate-node-cidrs=false --use-service-account-credentials=true \
        --root-ca-file="$PKI/ca.crt" --service-account-private-key-file="$PKI/accounts.key" \
        --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
        --node-monitor-period=2s --node-monitor-grace-period="$LAB_GRACE"
}

start_scheduler() {
    daemon scheduler kube-scheduler --kubeconfig="$STATE/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
}

start_coredns() {
    sed -e "s|@LAN@|$LAN|; s|@STATE@|$STATE|" "$HERE/conf/Corefile.in" >"$STATE/Corefile"
    daemon coredns coredns -conf "$STATE/Corefile"
}
