#!/bin/sh
# Types every `xcaddy build` of the pages, with the real xcaddy, and asks what it
# built for its version and for firebreak's modules. Until firebreak is published
# there is nothing to download, so a module proxy of files has this checkout as
# its only version; all else comes from where Go has it from.
#
# A command that names no version of Caddy would take the newest. Here it takes
# the one that firebreak is made with, so that a release of Caddy fails nothing.
set -eu
usage='usage: build/xcaddy.sh XCADDY CADDY-VERSION'
xcaddy=${1:?$usage} caddy=${2:?$usage}
module=github.com/firebreak-proxy/firebreak version=v0.1.0
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT

# The checkout as it is, also what is not committed.
mkdir -p "$dir/proxy/$module/@v" "$dir/checkout"
git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$dir/checkout"
git init --quiet "$dir/checkout"
git -C "$dir/checkout" add --all --force
tree=$(git -C "$dir/checkout" write-tree)
cp go.mod "$dir/proxy/$module/@v/$version.mod"
echo "$version" >"$dir/proxy/$module/@v/list"
echo "{\"Version\": \"$version\"}" >"$dir/proxy/$module/@v/$version.info"
git -C "$dir/checkout" archive --format=zip --prefix="$module@$version/" -o "$dir/proxy/$module/@v/$version.zip" "$tree"

GOBIN=$dir/bin go install "$xcaddy"
PATH=$dir/bin:$PATH
# A cache of modules of its own: in the one of this machine no other checkout
# may find this one. What that has already is not downloaded again.
GOPROXY="file://$dir/proxy,file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
GOMODCACHE=$dir/modules
GONOSUMDB=$module,$(go env GONOSUMDB)
CADDY_VERSION=$caddy
export PATH GOPROXY GOMODCACHE GONOSUMDB CADDY_VERSION

sed -nE 's/^(\$ )?(xcaddy build .*)/\2/p' README.md CONTRIBUTING.md docs/*.md examples/*/README.md >"$dir/commands"
test -s "$dir/commands" || { echo "no page has a command of xcaddy" >&2; exit 1; }
cd "$dir"
while read -r command; do
	echo "$command"
	rm -f caddy
	sh -c "$command" </dev/null >log 2>&1 || { cat log >&2; exit 1; }
	case $(./caddy version) in
	"$caddy "*) ;;
	*) echo "it is Caddy $(./caddy version), not $caddy" >&2; exit 1 ;;
	esac
	./caddy list-modules >listed
	for want in firebreak http.handlers.firebreak http.reverse_proxy.transport.firebreak admin.api.firebreak \
		http.reverse_proxy.upstreams.firebreak firebreak.directories.inline firebreak.directories.file \
		firebreak.directories.hash firebreak.directories.http firebreak.directories.mysql firebreak.directories.postgres \
		firebreak.state.storage firebreak.state.redis events.handlers.firebreak_webhook; do
		grep -qx "$want" listed || { echo "list-modules lacks $want" >&2; exit 1; }
	done
	echo "list-modules has all of firebreak's modules"
done <commands
