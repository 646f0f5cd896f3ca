#!/bin/sh
# "remove" is Debian's word, "0" is that of RPM: not before an upgrade.
set -e
case "$1" in
remove | 0)
	[ ! -d /run/systemd/system ] || systemctl disable --now firebreak.service
	;;
esac
