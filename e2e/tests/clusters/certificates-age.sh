#!/bin/bash
# Signs every leaf certificate on a node's disk anew, for the same key and the same names, with another begin and end, as
# `date` takes them: what a node is like on which they are as old as that. The fourth argument says whether it is off, and a
# fifth one where the authorities' keys are, when they are not on the node.
# Prints how many.
set -euo pipefail
disk=$1
begin=$2
end=$3
authorities=$disk/etc/kubernetes/kubestrap/authorities
keys=${5:-$authorities}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
touch "$work/index"
echo 01 >"$work/serial"
cat >"$work/config" <<END
[ca]
default_ca = aged
[aged]
database = $work/index
serial = $work/serial
new_certs_dir = $work
default_md = sha256
unique_subject = no
policy = any
copy_extensions = copy
[any]
organizationName = optional
commonName = supplied
END
at() { date --utc --date="$1" +%Y%m%d%H%M%SZ; }

# The certificate of a file, of that key, by that authority, into "$work/aged".
age() {
    openssl x509 -x509toreq -copy_extensions copy -in "$1" -signkey "$2" -out "$work/request"
    openssl ca -config "$work/config" -batch -notext -preserveDN \
        -cert "$authorities/$3.crt" -keyfile "$keys/$3.key" \
        -startdate "$(at "$begin")" -enddate "$(at "$end")" \
        -in "$work/request" -out "$work/aged"
    count=$((count + 1))
}

# In one step, owner and mode as they were: somebody may read it meanwhile.
put() {
    cp --preserve=all "$1" "$1.aged"
    cat "$2" >"$1.aged"
    mv "$1.aged" "$1"
}

count=0
while read -r file; do
    case $file in
    */ca.crt | *-ca.crt) continue ;;
    */etcd/* | *etcd-client.crt) by=etcd-ca ;;
    *front-proxy*) by=front-proxy-ca ;;
    *) by=ca ;;
    esac
    age "$file" "${file%.crt}.key" "$by"
    put "$file" "$work/aged"
done < <(find "$disk/etc/kubernetes/kubestrap" "$disk/etc/kubernetes/pki" -name '*.crt')

# A kubelet that runs has read its own, and renews it by itself.
if [ "$4" = off ]; then
    kubelet=$disk/var/lib/kubelet/pki/$(basename "$(readlink "$disk/var/lib/kubelet/pki/kubelet-client-current.pem")")
    openssl pkey -in "$kubelet" -out "$work/kubelet.key"
    age "$kubelet" "$work/kubelet.key" ca
    cat "$work/aged" "$work/kubelet.key" >"$work/kubelet"
    put "$kubelet" "$work/kubelet"
fi

guardian=$disk/etc/kubernetes/kubestrap/guardian/kubeconfig
field() { sed -n "s/^ *client-$1-data: *//p" "$guardian" | base64 --decode; }
field certificate >"$work/guardian.crt"
field key >"$work/guardian.key"
age "$work/guardian.crt" "$work/guardian.key" ca
sed "s|\(client-certificate-data: *\).*|\1$(base64 --wrap=0 "$work/aged")|" "$guardian" >"$work/guardian"
put "$guardian" "$work/guardian"
echo "$count"
