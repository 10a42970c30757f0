#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Becomes systemd, with no service but its own, in namespaces that its caller has made: its /run and
# its control groups are its own, the files are the machine's.
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs run /run
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup /sys/fs/cgroup
exec env -i container=lab PATH="$PATH" /lib/systemd/systemd --unit=basic.target
