#!/bin/sh
# Builds an OCI image from nothing but the program, the CA certificates and a user,
# without a daemon: crane pushes it to a registry in memory and pulls it again as a
# file, which "podman load", "skopeo copy oci-archive:" and newer Dockers read.
#
#   build/image.sh FILE VERSION ARCH=PROGRAM...
set -eu
usage='usage: build/image.sh FILE VERSION ARCH=PROGRAM...'
file=${1:?$usage} version=${2:?$usage}
shift 2
: "${CRANE:=go run github.com/google/go-containerregistry/cmd/crane@v0.22.1}"
: "${CA_CERTIFICATES:=/etc/ssl/certs/ca-certificates.crt}"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
: "${IMAGE_PORT:=5999}"
here=$(dirname "$0")
dir=$(mktemp -d)
trap 'kill "$registry" 2>/dev/null; chmod -R u+w "$dir"; rm -rf "$dir"' EXIT

# shellcheck disable=SC2086 # a command with arguments
$CRANE registry serve --address "127.0.0.1:$IMAGE_PORT" >"$dir/registry.log" 2>&1 &
registry=$!
image=127.0.0.1:$IMAGE_PORT/firebreak
tries=0
until $CRANE catalog "127.0.0.1:$IMAGE_PORT" >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ "$tries" -lt 600 ] || { cat "$dir/registry.log" >&2; exit 1; }
	sleep 0.2
done

manifests=
for each; do
	arch=${each%%=*} program=${each#*=}
	root=$dir/$arch
	mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/firebreak" "$root/data" "$root/config" "$root/tmp"
	install -m 755 "$program" "$root/usr/bin/firebreak"
	install -m 644 "$CA_CERTIFICATES" "$root/etc/ssl/certs/ca-certificates.crt"
	install -m 644 "$here/package/Caddyfile" "$here/package/stores.csv" "$root/etc/firebreak/"
	echo 'firebreak:x:65532:65532:firebreak:/data:/sbin/nologin' >"$root/etc/passwd"
	echo 'firebreak:x:65532:' >"$root/etc/group"
	chmod 1777 "$root/tmp"
	# Root owns everything but what the program writes.
	list() { (cd "$root" && find . -mindepth 1 "$@" | LC_ALL=C sort); }
	list -not -path ./data -not -path ./config | tar -C "$root" --no-recursion --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf "$dir/$arch.tar" --files-from=-
	list -path ./data -o -path ./config | tar -C "$root" --no-recursion --owner=65532 --group=65532 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -rf "$dir/$arch.tar" --files-from=-
	$CRANE append --insecure --oci-empty-base --new_layer "$dir/$arch.tar" --new_tag "$image:$arch" >/dev/null
	$CRANE mutate --insecure "$image:$arch" --tag "$image:$arch" --set-platform "linux/$arch" \
		--entrypoint /usr/bin/firebreak --cmd run,--config,/etc/firebreak/Caddyfile \
		--user 65532:65532 --workdir /etc/firebreak --exposed-ports 8080/tcp \
		--env XDG_DATA_HOME=/data --env XDG_CONFIG_HOME=/config --env HOME=/data \
		--env "FIREBREAK_BIND=0.0.0.0" \
		--label "org.opencontainers.image.title=firebreak" \
		--label "org.opencontainers.image.version=$version" \
		--label "org.opencontainers.image.licenses=Apache-2.0" \
		--label "org.opencontainers.image.source=https://github.com/firebreak-proxy/firebreak" >/dev/null
	manifests="$manifests --manifest $image:$arch"
done
# shellcheck disable=SC2086 # a list
$CRANE index append --insecure $manifests --tag "$image:$version" >/dev/null
$CRANE validate --insecure --remote "$image:$version"
$CRANE pull --insecure --format oci "$image:$version" "$dir/oci"
tar -C "$dir/oci" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf "$file" .
