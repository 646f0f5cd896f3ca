# Makes a root of its own out of this machine's and of namespaces: what is changed
# there is seen nowhere else, and its network has no way out.
#
#   unshare --net --mount --pid --fork --mount-proc sh root.sh EMPTY-DIR
set -e
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs -o mode=755 tmpfs root/run
mount -t tmpfs -o mode=1777 tmpfs root/tmp
touch root/run/furnished
# Process 1, which looks after those that lost their parents.
sleep infinity
