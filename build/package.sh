#!/bin/sh
# Makes a package of a firebreak for Linux. Needs Go; no root.
#
#   build/package.sh deb bin/firebreak v1.2.3 amd64 dist/   # or rpm
set -eu
: "${NFPM:=go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4}"
[ $# = 5 ] || { echo "usage: build/package.sh deb|rpm PROGRAM VERSION ARCH TARGET" >&2; exit 2; }
PROGRAM=$(realpath "$2") VERSION=$3 ARCH=$4 target=$(realpath "$5")
# Debian's versions begin with a digit; a tilde comes before a release, a plus after it.
PACKAGE_VERSION=$(echo "${VERSION#v}" | sed -E 's/-([0-9]+)-g/+\1.g/; s/-/~/; s/-/./g')
export PROGRAM ARCH PACKAGE_VERSION
cd "$(dirname "$0")/.."
$NFPM package --config build/package/nfpm.yaml --packager "$1" --target "$target/"
