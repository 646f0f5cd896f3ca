#!/bin/sh
# Builds Caddy with firebreak the way xcaddy does it: a module of its own that
# imports Caddy, the standard modules and this checkout by a replace. It then
# asks the binary for firebreak's modules.
set -eu
caddy=${1:?usage: build/xcaddy.sh CADDY-VERSION}
module=github.com/firebreak-proxy/firebreak
repo=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<EOF
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "$module"
)

func main() { caddycmd.Main() }
EOF
go mod init caddy
# The requirement is written down, since an unpublished module cannot be asked
# for; -replace makes it this checkout.
go mod edit -require="$module@v0.0.0-00010101000000-000000000000" -replace="$module=$repo" -require="github.com/caddyserver/caddy/v2@$caddy"
go mod tidy -e
CGO_ENABLED=0 go build -o caddy -ldflags '-w -s' -trimpath -tags nobadger,nomysql,nopgx
./caddy version
./caddy list-modules >modules
for want in firebreak http.handlers.firebreak http.reverse_proxy.transport.firebreak admin.api.firebreak \
	http.reverse_proxy.upstreams.firebreak firebreak.directories.inline firebreak.directories.file \
	firebreak.directories.hash firebreak.directories.http firebreak.directories.postgres; do
	grep -qx "$want" modules || { echo "list-modules lacks $want" >&2; exit 1; }
done
echo "list-modules has all of firebreak's modules"
