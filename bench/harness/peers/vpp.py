# SPDX-License-Identifier: BSD-3-Clause
# VPP's vhost-user interfaces in a layer 2 bridge domain, one worker.

import re
import shutil

from ..machine import Child, first_line, run, wait_until
from .base import VHOST, Switch


class Vpp(Switch):
    name = "vpp"
    title = "VPP"
    kinds = (VHOST,)

    @classmethod
    def missing(cls):
        if shutil.which("vpp") and shutil.which("vppctl"):
            return None
        return "VPP is not installed (Debian 12 has no package of it)"

    @classmethod
    def version(cls, _settings):
        return first_line(["vpp", "--version"], r"(vpp v?\S+)")

    @classmethod
    def cannot(cls, scenario):
        if scenario.traffic.get("rules"):
            return "VPP has no rules here"
        return super().cannot(scenario)

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.child = None

    def _ctl(self, *words):
        return run(["vppctl", "-s", f"{self.folder.path}/cli.sock", *words])

    def start(self):
        at = self.folder.path
        file = at / "startup.conf"
        file.write_text(
            f"unix {{ nodaemon nosyslog cli-listen {at}/cli.sock runtime-dir {at} }}\n"
            f"api-segment {{ prefix {at.name} }}\nstatseg {{ socket-name {at}/stats.sock }}\n"
            f"cpu {{ main-core {self.settings.other_cpu} "
            f"corelist-workers {self.settings.worker_cpu} }}\n"
            "plugins { plugin dpdk_plugin.so { disable } }\n")
        self.child = Child(["vpp", "-c", str(file)], name="vpp",
                           cpus=sorted({self.settings.worker_cpu, self.settings.other_cpu}))
        wait_until((at / "cli.sock").is_socket, 20, "VPP's socket")
        for socket in self.sockets:
            interface = self._ctl("create", "vhost-user", "socket", socket, "server").split()[-1]
            self._ctl("set", "interface", "l2", "bridge", interface, "1")
            self._ctl("set", "interface", "state", interface, "up")

    def end_processes(self):
        if self.child:
            self.child.end()

    def process(self):
        return self.child.process

    def begin(self):
        self._ctl("clear", "runtime")

    def end(self):
        """Of each node on the worker: vectors, and cycles for each. Packets enter by an input node,
        and what idle polls take is none of theirs."""
        worker = self._ctl("show", "runtime").split("Thread 1", 1)[-1]
        nodes = re.findall(r"^(\S+)\s+(?:active|polling|any wait|interrupt wait)\s+(\d+)\s+(\d+)"
                           r"\s+\d+\s+([\d.e+-]+)", worker, re.M)
        packets = max((int(vectors) for name, _calls, vectors, _clocks in nodes
                       if name == "vhost-user-input"), default=0)
        cycles = sum(int(vectors) * float(clocks) for _name, _calls, vectors, clocks in nodes)
        if not packets:
            return {}
        return {"cycles": cycles / packets, "switch_received": packets, "busy_cycles": cycles}
