# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=dash
# What machine.sh begins in dom0: what Xen's tools need.
PATH=/usr/lib/xen-4.17/bin:$PATH
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
hostname dom0
