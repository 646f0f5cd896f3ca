#!/bin/sh
# Reads an image back from its file, checks it, and runs it in namespaces as its
# configuration says: its own root, user and working directory. Needs root.
#
#   build/try-image.sh dist/firebreak_v1.2.3_image.tar
set -eu
file=${1:?usage: build/try-image.sh FILE}
: "${CRANE:=go run github.com/google/go-containerregistry/cmd/crane@v0.22.1}"
: "${IMAGE_PORT:=5998}"
arch=$(go env GOARCH)
dir=$(mktemp -d)
program=
trap 'kill $registry $program 2>/dev/null; rm -rf "$dir"' EXIT
$CRANE registry serve --address "127.0.0.1:$IMAGE_PORT" >"$dir/registry.log" 2>&1 &
registry=$!
until $CRANE catalog "127.0.0.1:$IMAGE_PORT" >/dev/null 2>&1; do sleep 0.2; done
mkdir "$dir/oci" "$dir/root"
tar -C "$dir/oci" -xf "$file"
image=127.0.0.1:$IMAGE_PORT/firebreak:try
$CRANE push --index --insecure "$dir/oci" "$image" >/dev/null
$CRANE validate --insecure --remote "$image"
$CRANE config --insecure --platform "linux/$arch" "$image" >"$dir/config.json"
cat "$dir/config.json"
echo
$CRANE export --insecure --platform "linux/$arch" "$image" - | tar -C "$dir/root" -xpf -
find "$dir/root" -type f | sed "s|^$dir/root||" | sort

# What a container runtime does, in short.
mkdir -p "$dir/root/proc" "$dir/root/etc"
echo '127.0.0.1 localhost' >"$dir/root/etc/hosts"
began=$(date +%s%N)
unshare --mount --net --pid --fork --kill-child sh -c '
	ip link set lo up
	mount -t proc proc "$1/proc"
	cd "$1/etc/firebreak"
	exec env -i XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config HOME=/data FIREBREAK_BIND=0.0.0.0 \
		"$(command -v chroot)" --userspec=65532:65532 "$1" /usr/bin/firebreak run --config /etc/firebreak/Caddyfile
' sh "$dir/root" >"$dir/log" 2>&1 &
program=$!
inside() { nsenter --target "$(pgrep -P "$program" | head -n 1)" --net "$@"; }
tries=0
until inside curl -sf http://localhost:2019/firebreak/status >"$dir/status" 2>/dev/null; do
	tries=$((tries + 1))
	[ "$tries" -lt 100 ] || { cat "$dir/log" >&2; exit 1; }
	sleep 0.1
done
echo "it answers after $((($(date +%s%N) - began) / 1000000)) ms"
inside curl -s 'http://localhost:2019/firebreak/explain?url=/?key=example-store'
code=$(inside curl -s -o /dev/null -w '%{http_code}' 'http://localhost:8080/?key=example-store')
[ "$code" = 502 ] || { echo "a request got $code, want 502: there is no API server" >&2; exit 1; }
[ -n "$(find "$dir/root/data" -name 'memory-*.json' -o -path '*firebreak*' | head -n 1)" ] || { echo "nothing was kept in /data" >&2; exit 1; }
