# SPDX-License-Identifier: BSD-3-Clause
# Strait, and another build of it.

import json
import signal

from ..machine import BenchError, Child, first_line, listens, run, wait_until
from .base import TAP, USUAL_MTU, VHOST, XEN, Switch


# Drops because the far side did not take what it was given: the generator's own doing.
RECEIVER = {"receiver_full", "receiver_not_connected"}


class Strait(Switch):
    name = "strait"
    title = "Strait"
    kinds = (VHOST, XEN, TAP)
    stateful = True
    chains = True
    segments = True
    multiqueue = True
    tunnels = True

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.child = None
        self.simulator = None
        self.before = None

    @classmethod
    def programs_of(cls, settings):
        return settings.programs

    @classmethod
    def version(cls, settings):
        return first_line([str(cls.programs_of(settings).path("straitd")), "--version"], r"(\S.*)")

    def program(self, name):
        return str(self.programs_of(self.settings).path(name))

    def command(self, extra=()):
        memory = [] if self.settings.huge else ["--no-huge"]
        xen = ["--xen", f"simulated:{self._hypervisor()}"] if XEN in self.ends else []
        if "--config" not in extra:  # each run begins with nothing, of every version
            nothing = self.folder.path / "nothing"
            nothing.touch()
            extra = ["--config", str(nothing), *extra]
        return self.inside([self.program("straitd"), "--run-dir", str(self.folder.path),
                            "--workers", str(self.settings.worker_cpu),
                            "--main-cpu", str(self.settings.other_cpu), *memory, *xen, *extra])

    def _hypervisor(self):
        return self.folder.path / "xen"

    def _start_guests(self):
        """The simulated hypervisor with the domains that the generator then is."""
        self.simulator = Child([self.program("strait-xen-simulator"), "--socket",
                                str(self._hypervisor())], cpus=[self.settings.other_cpu])
        self.simulator.wait_for(r"listening on", 10)
        for number, end in enumerate(self.ends):
            if end == XEN:
                tools = [self.program("strait-xen-tools"), "--socket", str(self._hypervisor())]
                domain = str(number + 1)
                run([*tools, "create", domain])
                run([*tools, "attach", domain, "0", "--mac", f"00:16:3e:00:00:0{domain}",
                     "--bridge", "br0", "--mtu", str(self.mtu)])

    def place(self, number):
        if self.ends[number] == XEN:
            return f"xen:{number + 1}:{self._hypervisor()}"
        return super().place(number)

    def cpus(self):
        return sorted({self.settings.worker_cpu, self.settings.other_cpu})

    def ctl(self, *words, timeout=30):
        return run([self.program("straitctl"), "--run-dir", str(self.folder.path),
                    *words], cpus=[self.settings.other_cpu], timeout=timeout)

    def ctl_json(self, *words):
        return json.loads(self.ctl(*words, "--json"))

    def launch(self, extra=()):
        """Starts the daemon and returns when it answers."""
        self.child = Child(self.command(extra), cpus=self.cpus(), name="straitd")

        def answers():
            if not self.child.running():
                raise BenchError(f"straitd ended at once: {self.child.last_words()}")
            # A straitctl that asks in vain takes CPU time from the daemon that starts.
            if not listens(self.folder.path / "control.sock"):
                return False
            try:
                self.ctl("version")
                return True
            except BenchError:
                return False

        wait_until(answers, 15, "an answer of straitd")

    def start(self):
        if XEN in self.ends:
            self._start_guests()
        self.launch()
        self.ctl("bridge", "add", "br0")
        if XEN in self.ends:
            self.ctl("xen", "adopt", "--bridge", "br0")
        mtu = [] if self.mtu <= USUAL_MTU else ["--mtu", str(self.mtu)]
        for number, end in enumerate(self.ends):
            if end == VHOST:
                self.add_port(f"vm{number + 1}", self.sockets[number], *mtu)
            elif end == TAP:
                self.ctl("port", "add", f"vm{number + 1}", "--bridge", "br0", "--type", "nic",
                         "--device", f"net_af_packet{number},iface={self.taps[number]}", *mtu)
        more = len(self.ends)
        for number, socket in enumerate(self.sockets[more:], more + 1):
            self.add_port(f"vm{number}", socket, *mtu)

    def add_port(self, name, socket, *more):
        queues = ["--queues", str(self.queues)] if self.queues > 1 else []
        self.ctl("port", "add", name, "--bridge", "br0", "--type", "vhost-user", "--socket",
                 socket, *queues, *more)

    def load_rules(self, text, count):
        file = self.folder.path / "rules"
        file.write_text(text)
        self.ctl("flow", "replace", "--bridge", "br0", str(file), timeout=300)
        loaded = self.ctl_json("flow", "list", "--limit", "0")["total"]
        if loaded != count:
            raise BenchError(f"straitd has {loaded} rules of {count}")

    def end_processes(self):
        if self.child:
            self.child.end(signal.SIGTERM, 10)
        if self.simulator:
            self.simulator.end()

    def process(self):
        return self.child.process

    def worker(self):
        workers = self.ctl_json("worker", "list")["workers"]
        if len(workers) != 1:
            raise BenchError(f"straitd runs {len(workers)} workers where one was asked for")
        return workers[0]

    def begin(self):
        self.before = self.worker()

    def end(self):
        now = self.worker()
        change = {name: now[name] - self.before[name]
                  for name in ("busy_cycles", "idle_cycles", "rx_packets", "tx_packets")}
        return {"cycles": change["busy_cycles"] / max(1, change["tx_packets"]),
                "switch_received": change["rx_packets"],
                "switch_delivered": change["tx_packets"],
                "busy_cycles": change["busy_cycles"],
                "utilisation": change["busy_cycles"] /
                max(1, change["busy_cycles"] + change["idle_cycles"]),
                "longest_poll_gap_us": now["longest_gap_us"]}

    def dropped(self):
        return sum(self.drops().values())

    def own_drops(self):
        """Frames dropped since the start that the far side would have taken."""
        return sum(count for reason, count in self.drops().items() if reason not in RECEIVER)

    def drops(self):
        """Dropped packets of all ports by reason, since the start."""
        total = {}
        for port in self.ctl_json("stats")["ports"]:
            for reason, count in port.get("drops", {}).items():
                total[reason] = total.get(reason, 0) + count
        return total


class Before(Strait):
    """Another build of Strait: what a change cost or won, measured side by side."""

    name = "before"
    title = "Strait before"
    tunnels = False
    build = None

    @classmethod
    def programs_of(cls, settings):
        return cls.build
