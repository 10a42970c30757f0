#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# An emulated machine from its root file system on: what SETUP, a file of this folder, begins if it
# is named, then the commands that come down the virtio port "machine". Nothing of the network is
# set up here.
lab=${0%/*}
# shellcheck source=tests/system/lab/xen_dom0.sh
[ -z "$SETUP" ] || . "$lab/$SETUP"
echo 1 > /proc/sys/kernel/printk
ip link set lo up
# Each virtio port is found by its name.
mkdir /run/port
for name in /sys/class/virtio-ports/*/name; do
    directory=${name%/name}
    ln -s "/dev/${directory##*/}" "/run/port/$(cat "$name")"
done
cd /root || exit
exec 3<> /run/port/machine
# shellcheck source=tests/system/lab/shell.sh
. "$lab/shell.sh"
busybox poweroff -f
