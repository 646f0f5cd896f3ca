#!/bin/sh
# Builds what a release consists of into dist/: a static binary for each platform,
# packages for Debian and Red Hat, an OCI image, a bill of materials and checksums.
# Needs Go, git and the CA certificates of the machine (CA_CERTIFICATES); no daemon, no root.
#
#   build/dist.sh                          # the version that git describes
#   VERSION=v1.2.3 build/dist.sh
#   TARGETS=linux/amd64 build/dist.sh      # one platform
set -eu
cd "$(dirname "$0")/.."
: "${TARGETS:=linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64}"
: "${CYCLONEDX:=go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0}"

# Without a tag the version is v0.0.0, with the commit behind it.
described=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) ||
	described=v0.0.0-$(git log -1 --format=%cd --date=format:%Y%m%d%H%M%S)-$(git describe --always --dirty --abbrev=12)
VERSION=${VERSION:-$described}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export VERSION SOURCE_DATE_EPOCH
: "${CADDY_VERSION:=$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)}"

rm -rf dist
mkdir -p dist/build

# archive FILE DIR packs a directory of dist/build, the same way each time.
archive() {
	tar -C dist/build --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$2" | gzip -n9 >"dist/$1.tar.gz"
}

images=
for target in $TARGETS; do
	os=${target%/*} arch=${target#*/}
	name=firebreak_${VERSION}_${os}_$arch
	mkdir -p "dist/build/$name"
	program=dist/build/$name/firebreak
	[ "$os" != windows ] || program=$program.exe
	first=${first:-$program}
	echo "== $target, firebreak $VERSION, Caddy $CADDY_VERSION"
	CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath \
		-ldflags "-s -w -X github.com/firebreak-proxy/firebreak/internal/version.version=$VERSION" \
		-o "$program" ./cmd/firebreak
	cp README.md LICENSE CHANGELOG.md Caddyfile "dist/build/$name/"
	archive "$name" "$name"
	[ "$os" = linux ] || continue
	for packager in deb rpm; do
		build/package.sh "$packager" "$program" "$VERSION" "$arch" dist
	done
	images="$images $arch=$program"
done

# shellcheck disable=SC2086 # a list
[ -z "$images" ] || build/image.sh "dist/firebreak_${VERSION}_image.tar" "$VERSION" $images
# All platforms have the same modules, but for one or two of an operating system.
$CYCLONEDX bin -json -licenses -version "$VERSION" -output "dist/firebreak_${VERSION}_sbom.cdx.json" "$first"
rm -rf dist/build
cd dist
sha256sum ./*firebreak* | sed 's|\./||' >SHA256SUMS
ls -l
