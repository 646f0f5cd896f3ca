#!/bin/bash
# Does what systemctl does, on a machine whose process 1 is not systemd. What is
# run, as whom, where and with which environment is what the unit says.
#
#   systemctl enable [--now] | start | restart | reload NAME
set -e
verb=$1
name=${*: -1}
unit=/etc/systemd/system/$name.service
log=/var/log/$name.log
pidfile=/run/$name.pid

setting() { sed -n "s/^$1=//p" "$unit"; }

# as_service runs a command line of the unit.
as_service() {
	cd "$(setting WorkingDirectory)"
	# shellcheck disable=SC2046,SC2086 # words, as systemd makes them
	exec setpriv --reuid "$(setting User)" --regid "$(setting Group)" --clear-groups --no-new-privs \
		env -i PATH="$PATH" $(setting Environment) $1
}

start() {
	systemd-analyze verify "$unit"
	install -d -o "$(setting User)" -g "$(setting Group)" "/var/lib/$(setting StateDirectory)"
	(as_service "setsid $(setting ExecStart)") </dev/null >"$log" 2>&1 &
	echo $! >"$pidfile"
	# Type=notify: it returns when the service says that it is up.
	for _ in $(seq 100); do
		grep -q 'serving initial configuration' "$log" && return
		sleep 0.1
	done
	cat "$log" >&2
	exit 1
}

stop() {
	[ -e "$pidfile" ] || return 0
	kill "$(cat "$pidfile")"
	while kill -0 "$(cat "$pidfile")" 2>/dev/null; do sleep 0.05; done
}

case "$verb" in
enable)
	SYSTEMD_OFFLINE=1 /usr/bin/systemctl enable "$name"
	[ "$2" != --now ] || start
	;;
start) start ;;
restart)
	stop
	start
	;;
reload) as_service "$(setting ExecReload)" ;;
*)
	echo "$0 knows no $verb" >&2
	exit 1
	;;
esac
