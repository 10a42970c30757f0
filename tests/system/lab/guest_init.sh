#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# A guest's first program: loads the drivers, then runs the commands that come down its virtio port
# "strait"; where there is none, a Xen guest's console or the second serial port.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
$B --install -s /bin
export PATH=/bin HOME=/root
mount -t tmpfs tmpfs /tmp
mount -t tmpfs run /run
for module in /modules/*.ko; do
    insmod "$module" || echo "insmod $module failed"
done
echo 1 > /proc/sys/kernel/printk
ip link set lo up
port=/dev/ttyS1
[ -c /dev/hvc0 ] && port=/dev/hvc0
for name in /sys/class/virtio-ports/*/name; do
    if [ "$(cat "$name" 2>/dev/null)" = strait ]; then
        directory=${name%/name}
        port=/dev/${directory##*/}
    fi
done
cd /root || exit
case $port in /dev/vport*) ;; *) stty -F "$port" raw -echo ;; esac
exec 3<> "$port"
. /shell.sh
poweroff -f
