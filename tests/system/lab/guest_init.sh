#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# A guest's first program: loads the drivers, then runs the commands that come down its virtio port
# "strait"; where there is none, a Xen guest's console or the first serial port, the kernel's own.
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
# The console says no more, but for what ends a guest: it would break answers on the same line.
echo 1 > /proc/sys/kernel/printk
ip link set lo up
# What poweroff and reboot without -f send to the first program.
trap 'poweroff -f' USR1 USR2
trap 'reboot -f' TERM
for name in /sys/class/input/event*/device/name; do
    if [ "$(cat "$name" 2> /dev/null)" = "Power Button" ]; then
        event=${name%/device/name}
        # Its first event is that it was pressed, from when it was opened.
        [ -c "/dev/input/${event##*/}" ] || continue
        exec 4< "/dev/input/${event##*/}"
        (dd of=/dev/null bs=24 count=1 <&4 2> /dev/null && poweroff -f) &
        exec 4<&-
    fi
done
port=/dev/ttyS0
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
# Traps run while it waits for a command in the background, not for one in the foreground.
. /shell.sh &
wait $!
poweroff -f
