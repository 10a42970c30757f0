# SPDX-License-Identifier: BSD-3-Clause
# Linux's bridge in a network namespace of its own, with two taps: what guests of QEMU's without
# vhost-net have. What a frame costs the kernel beyond its tap is moved to the worker's CPU (RPS).

import json
import pathlib
import shutil

from ..machine import BenchError
from .base import TAP, VHOST, Switch

BRIDGE = "bridge"


class LinuxBridge(Switch):
    name = "bridge"
    title = "Linux bridge, taps"
    kinds = (TAP,)
    instead = {VHOST: TAP}
    packages = ("iproute2",)

    @classmethod
    def missing(cls):
        if not shutil.which("ip"):
            return "ip is not installed (Debian: apt-get install iproute2)"
        if not pathlib.Path("/dev/net/tun").exists():
            return "there is no /dev/net/tun here"
        return None

    @classmethod
    def version(cls, _settings):
        return "Linux " + pathlib.Path("/proc/sys/kernel/osrelease").read_text().strip()

    @classmethod
    def cannot(cls, scenario):
        if scenario.half_cpu:
            return "the kernel's work is not one thread that could be held to half a CPU"
        if scenario.generator != "strait":
            return "flowgen has no taps"
        if scenario.traffic.get("rules"):
            return "Linux's bridge has no rules here"
        return super().cannot(scenario)

    def start(self):
        self.namespace.ip("link", "add", BRIDGE, "mtu", self.mtu, "type", "bridge",
                          "stp_state", "0", "mcast_snooping", "0")
        for tap in self.taps:
            self.namespace.ip("link", "set", tap, "master", BRIDGE)
        self.namespace.ip("link", "set", BRIDGE, "up")
        mask = f"{1 << self.settings.worker_cpu:x}"
        for tap in self.taps:
            try:
                self.namespace.run(["sh", "-c", f"echo {mask} > "
                                    f"/sys/class/net/{tap}/queues/rx-0/rps_cpus"])
            except BenchError:
                pass  # a kernel without it: the sender's CPU does all

    def end_processes(self):
        pass  # all it has is in the namespace

    def process(self):
        return None

    def dropped(self):
        # A tap's queue was full, or, of what came by one, the CPU's backlog.
        return sum(link["stats64"][way]["dropped"] for way in ("rx", "tx") for link in
                   json.loads(self.namespace.ip("-s", "-j", "link", "show"))
                   if link["ifname"] in self.taps)
