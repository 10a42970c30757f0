#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# The first program of an emulated machine: its root file system is that of the machine that runs
# QEMU, under a layer in memory that takes what is written. machine.sh goes on there.
# The kernel gives its own arguments on: LAB (this folder), BUSYBOX, KERNEL (the unpacked package),
# LAYER (the tag of a folder with further files, if there is one) and what machine.sh reads.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    $B insmod "$module" || $B echo "insmod $module failed"
done
share() { # TAG FOLDER MODE
    $B mkdir -p "$2"
    $B mount -t 9p -o "trans=virtio,version=9p2000.L,msize=262144,$3" "$1" "$2"
}
lower=/host
share host /host ro,cache=loose
if [ -n "$LAYER" ]; then
    share "$LAYER" /more ro,cache=loose
    lower=/more:/host
fi
$B mkdir /layer /new
$B mount -t tmpfs -o size=60% layer /layer
$B mkdir /layer/upper /layer/work
$B mount -t overlay -o "lowerdir=$lower,upperdir=/layer/upper,workdir=/layer/work" root /new
for folder in proc sys dev; do
    $B mount --move /$folder /new/$folder
done
$B mkdir -p /new/run /new/tmp /new/dev/shm /new/dev/pts /new/lab /new/lib/modules
$B mount -t tmpfs run /new/run
$B mount -t tmpfs tmp /new/tmp
$B mount -t tmpfs shm /new/dev/shm
$B mount -t devpts -o ptmxmode=666 pts /new/dev/pts
# Logs, for whoever looks when the machine is gone.
share out /new/lab rw
$B mount -o bind "/new$KERNEL/lib/modules" /new/lib/modules
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:${BUSYBOX%/*} HOME=/root
exec $B switch_root /new /bin/sh "$LAB/machine.sh" < /new/dev/console > /new/dev/console 2>&1
