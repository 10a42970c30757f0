#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# container.sh FOLDER: becomes systemd, with no service but its own, on a copy of this machine's
# files: what it and its services change is in memory, and gone with it. To be run in namespaces of
# its own, all but the user's. What is common to the machine (/proc/sys, /sys, /dev, /tmp) it does not
# have, or not to write to: at its start systemd empties /tmp and sets what /etc/sysctl.d says.
set -e
top=$1
mount --make-rprivate /
mount -t tmpfs -o mode=0755 strait-container "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$top/root"
cd "$top/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup sys/fs/cgroup
for name in run tmp; do mount -t tmpfs "$name" "$name"; done
mount -t tmpfs -o mode=0755 dev dev
mkdir dev/pts dev/shm dev/net
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mknod -m 0666 dev/null c 1 3
mknod -m 0666 dev/zero c 1 5
mknod -m 0666 dev/full c 1 7
mknod -m 0666 dev/random c 1 8
mknod -m 0666 dev/urandom c 1 9
mknod -m 0666 dev/tty c 5 0
mknod -m 0666 dev/net/tun c 10 200
: > etc/machine-id
: > etc/fstab
rm -f usr/sbin/policy-rc.d # of machines that are to start no service
mkdir .outside
pivot_root . .outside
umount -l /.outside
rmdir /.outside
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=basic.target < /dev/null
