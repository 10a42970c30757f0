# SPDX-License-Identifier: BSD-3-Clause
# testpmd between two ports: io moves packets and looks at none, DPDK's own ceiling; macswap reads
# and writes each packet's first line.

import re
import shutil

from ..machine import BenchError, Child, first_line
from .base import TAP, USUAL_MTU, VHOST, Switch

ETHERNET = 18  # bytes beside the MTU, a VLAN tag included


class Testpmd(Switch):
    name = "testpmd"
    title = "testpmd io"
    mode = "io"
    kinds = (VHOST, TAP)
    switches = False
    packages = ("dpdk-dev",)

    @classmethod
    def missing(cls):
        return None if shutil.which("dpdk-testpmd") else \
            "dpdk-testpmd is not installed (Debian: apt-get install dpdk-dev)"

    @classmethod
    def version(cls, _settings):
        return first_line(["dpdk-testpmd", "--version"], r"RTE Version: '([^']*)'")

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.child = None

    def _devices(self):
        words = []
        for number, end in enumerate(self.ends):
            words += ["--vdev", f"net_af_packet{number},iface={self.taps[number]},framecnt=512"
                      if end == TAP else
                      f"net_vhost{number},iface={self.sockets[number]},queues=1"]
        return words

    def start(self):
        cpus = sorted({self.settings.worker_cpu, self.settings.other_cpu})
        memory = ["--in-memory"] if self.settings.huge else ["--no-huge", "-m", "1024"]
        jumbo = [] if self.mtu <= USUAL_MTU else [
            f"--max-pkt-len={self.mtu + ETHERNET}", f"--mbuf-size={self.mtu + ETHERNET + 256}",
            "--total-num-mbufs=16384"]  # as many as usual would not fit its memory
        self.child = Child(
            self.inside(["dpdk-testpmd", "-l", ",".join(map(str, cpus)), "--main-lcore",
                         str(self.settings.other_cpu), "--no-pci",
                         "--file-prefix", self.folder.path.name, *memory, *self._devices(),
                         "--", "-i", "--nb-cores=1", f"--forward-mode={self.mode}",
                         "--record-core-cycles", *jumbo]),
            cpus=cpus, name="dpdk-testpmd")
        self.child.wait_for(r"testpmd> ", 30)
        self.child.ask("start", r"testpmd> ")

    def end_processes(self):
        if self.child:
            if self.child.running():
                try:
                    self.child.say("quit\n")
                except BenchError:
                    pass
                self.child.finish(5)
            else:
                self.child.finish(1)

    def process(self):
        return self.child.process

    def begin(self):
        self.child.ask("clear fwd stats all", r"testpmd> ")

    def end(self):
        text = self.child.ask("show fwd stats all", r"(?s)CPU cycles/packet.*testpmd> ")
        total = text[text.index("Accumulated forward statistics"):]
        received = int(re.search(r"RX-packets: (\d+)", total).group(1))
        delivered = int(re.search(r"TX-packets: (\d+)", total).group(1))
        cycles = int(re.search(r"total cycles=(\d+)", text).group(1))
        return {"cycles": cycles / max(1, delivered), "switch_received": received,
                "switch_delivered": delivered, "busy_cycles": cycles}


class Macswap(Testpmd):
    name = "macswap"
    title = "testpmd macswap"
    mode = "macswap"
    turns = True

    @classmethod
    def cannot(cls, scenario):
        if scenario.generator != "strait":
            return "macswap sends frames back to their senders, which flowgen does not count"
        return super().cannot(scenario)
