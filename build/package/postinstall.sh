#!/bin/sh
# The service is not started: its configuration names no API server yet.
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers firebreak.conf
elif ! getent passwd firebreak >/dev/null; then
	useradd --system --user-group --home-dir /var/lib/firebreak --shell /usr/sbin/nologin firebreak
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# After an upgrade the new program takes over.
	systemctl try-restart firebreak.service
fi
