#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# dom0 from its root file system on: what Xen's tools need, then the commands that come down the
# virtio port "dom0". Nothing of the network is set up here.
for module in xen-gntdev xen-gntalloc xen-evtchn xen-privcmd xenfs tun; do
    modprobe "$module" || echo "no module $module"
done
mkdir -p /proc/xen
mount -t xenfs xenfs /proc/xen
mkdir -p /run/xen /run/xenstored /run/lock /var/lib/xen /var/lib/xenstored /lab/guests /var/log/xen
echo 1 > /proc/sys/kernel/printk
xenstored --pid-file /run/xen/xenstored.pid
until xenstore-read -s / > /dev/null 2>&1; do
    busybox usleep 50000
done
xen-init-dom0
xenconsoled --pid-file /run/xen/xenconsoled.pid --log=guest --log-dir=/lab/guests
ip link set lo up
hostname dom0
# Each virtio port is found by its name.
mkdir /run/port
for name in /sys/class/virtio-ports/*/name; do
    directory=${name%/name}
    ln -s "/dev/${directory##*/}" "/run/port/$(cat "$name")"
done
cd /root || exit
exec 3<> /run/port/dom0
# shellcheck source=tests/system/lab/shell.sh
. "${0%/*}/shell.sh"
busybox poweroff -f
