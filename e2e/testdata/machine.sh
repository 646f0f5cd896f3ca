# Makes a machine of its own out of namespaces: a network, processes, and the
# directories that an administrator changes. Nothing of it is seen outside.
#
#   unshare --net --mount --pid --fork --mount-proc sh machine.sh EMPTY-DIR HOME
#
# Its user alice lives in HOME and may do everything by sudo. There is no way out
# of the network, so apt-get only says what it would do.
set -e
changed=$1 home=$2
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs "$changed"
for dir in etc usr/local var/lib var/log; do
	mkdir -p "$changed/upper/$dir" "$changed/work/$dir"
	mount -t overlay -o "lowerdir=/$dir,upperdir=$changed/upper/$dir,workdir=$changed/work/$dir" overlay "/$dir"
done
mount -t tmpfs -o mode=755 tmpfs /run
echo "127.0.0.1 localhost $(hostname)" >/etc/hosts
useradd --home-dir "$home" --no-create-home --shell /bin/bash alice
chown -R alice: "$home"
echo 'alice ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/alice
echo 'APT::Get::Simulate "true";' >/etc/apt/apt.conf.d/99-simulate
install -m 755 "$(dirname "$0")/systemctl.sh" /usr/local/sbin/systemctl
touch /run/furnished
# Process 1, which looks after those that lost their parents.
sleep infinity
