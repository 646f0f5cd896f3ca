#!/bin/sh
# Installs a .deb in a clean Debian, boots systemd there, starts the service, and
# wants a request guarded and the service gone after the removal.
# Needs root, debootstrap and systemd-nspawn; the network for debootstrap.
#
#   build/try-package.sh dist/firebreak_1.2.3_amd64.deb [ROOT]   # ROOT: of an earlier debootstrap
set -eu
deb=${1:?usage: build/try-package.sh DEB [ROOT]}
root=${2:-$(mktemp -d)}
[ -x "$root/usr/bin/dpkg" ] || debootstrap --variant=minbase --include=systemd,systemd-sysv,ca-certificates bookworm "$root"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -a "$root/." "$copy/"
echo '127.0.0.1 localhost' >"$copy/etc/hosts"
cp "$deb" "$copy/root/firebreak.deb"
cat >"$copy/root/try.sh" <<'TRY'
#!/bin/bash
# ask prints the answer to a request for the path, with its status line.
ask() {
	exec 3<>"/dev/tcp/127.0.0.1/$1"
	printf 'GET %s HTTP/1.1\r\nHost: localhost:%s\r\nConnection: close\r\n\r\n' "$2" "$1" >&3
	cat <&3
}
set -ex
began=$SECONDS
dpkg -i /root/firebreak.deb
getent passwd firebreak
firebreak version
systemctl start firebreak
systemctl is-active firebreak || { systemctl status firebreak; journalctl -u firebreak | tail; }
systemctl status firebreak
test "$(stat -c %U "/proc/$(systemctl show --value -p MainPID firebreak)")" = firebreak
ask 8080 '/?key=example-store' | tee /root/answer | head -n 1
grep -q '^HTTP/1.1 502' /root/answer # there is no API server
firebreak explain '/?key=example-store' | tee /root/explained
grep -q 'example-store in zone example-zone' /root/explained
systemctl reload firebreak
firebreak status
systemctl show --value -p NRestarts firebreak
test -d /var/lib/firebreak/caddy/firebreak
echo '# changed' >>/etc/firebreak/Caddyfile
dpkg -i /root/firebreak.deb # an upgrade keeps what was changed, and restarts
tail -n 1 /etc/firebreak/Caddyfile | grep -q changed
systemctl is-active firebreak
dpkg -r firebreak
! systemctl is-active firebreak
test -e /etc/firebreak/Caddyfile
dpkg -P firebreak
test ! -e /etc/firebreak/Caddyfile
echo "all is well after $((SECONDS - began)) s" >/root/result
TRY
cat >"$copy/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/try.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/root/try.log
StandardError=inherit
[Install]
WantedBy=multi-user.target
UNIT
ln -sf /etc/systemd/system/try.service "$copy/etc/systemd/system/multi-user.target.wants/try.service"
# --keep-unit: also where the machine itself has no systemd.
timeout 120 systemd-nspawn --quiet --register=no --keep-unit --private-network -D "$copy" --boot >"$copy/root/boot.log" 2>&1 || true
cat "$copy/root/try.log" 2>/dev/null || tail -n 30 "$copy/root/boot.log"
cat "$copy/root/result"
