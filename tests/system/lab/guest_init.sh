#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# A guest's first program: loads the virtio drivers, then runs the commands that come down the
# second serial port or the virtio port "strait". A command is a line "number seconds base64"; its
# answer is a line "@number status base64-of-output".
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
for name in /sys/class/virtio-ports/*/name; do
    if [ "$(cat "$name" 2>/dev/null)" = strait ]; then
        directory=${name%/name}
        port=/dev/${directory##*/}
    fi
done
cd /root || exit
[ "$port" = /dev/ttyS1 ] && stty -F "$port" raw -echo
exec 3<> "$port"
echo "@0 0 " >&3
while read -r number seconds command <&3; do
    echo "$command" | base64 -d > /run/command."$number"
    (
        timeout -k 1 "$seconds" sh /run/command."$number" > /run/output."$number" 2>&1 < /dev/null 3>&-
        status=$?
        until mkdir /run/answering 2> /dev/null; do
            usleep 1000
        done
        printf '@%s %s %s\n' "$number" "$status" "$(base64 -w0 < /run/output."$number")" >&3
        rmdir /run/answering
        rm -f /run/command."$number" /run/output."$number"
    ) &
done
poweroff -f
