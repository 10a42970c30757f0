# SPDX-License-Identifier: BSD-3-Clause
# The switches that are compared, each started fresh for a scenario in a folder of its own: Strait,
# testpmd's io forwarding, OVS-DPDK's NORMAL. All poll on one worker CPU, everything else they do
# stays on the other one.

import json
import os
import pathlib
import re
import shutil
import signal
import time

from .machine import BenchError, Child, RunFolder, run, wait_until

OVS_DPDK = pathlib.Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
OVS_FLOW_LIMIT = 3_000_000
OVS_SCHEMA = pathlib.Path("/usr/share/openvswitch/vswitch.ovsschema")


class Settings:
    """What is the same for every switch of a comparison."""

    def __init__(self, worker_cpu, other_cpu, huge, programs):
        self.worker_cpu = worker_cpu
        self.other_cpu = other_cpu
        self.huge = huge
        self.programs = programs  # folder of straitd, straitctl, strait-generator


class Switch:
    """A running switch with two vhost-user ports. `server` tells whether the generator has to
    listen on `sockets`, because the switch connects."""

    name = ""
    title = ""
    server = False

    def __init__(self, settings):
        self.settings = settings
        self.folder = RunFolder()
        self.sockets = [str(self.folder.path / "vm1.sock"), str(self.folder.path / "vm2.sock")]

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def process(self):
        raise NotImplementedError

    def pid(self):
        return self.process().pid

    def freeze(self):
        """Stops it where it is, so that another switch may have the worker's CPU."""
        self.process().send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process().send_signal(signal.SIGCONT)

    def load_rules(self, text, count):
        """Makes `text`, a flow a line, all the rules there are. A switch without flows takes none:
        it is what others are compared with."""

    def warm_up(self, generator):
        """Called once all flows were sent, before turns count: what it takes until the switch is
        as fast as it gets."""

    def begin(self):
        """Called when the count begins, under load."""
        raise NotImplementedError

    def end(self):
        """Called when the count ends, under load: cycles a packet and what else is known."""
        raise NotImplementedError


class Testpmd(Switch):
    name = "testpmd"
    title = "testpmd io"

    @staticmethod
    def missing():
        return None if shutil.which("dpdk-testpmd") else \
            "dpdk-testpmd is not installed (Debian: apt-get install dpdk-dev)"

    def __init__(self, settings):
        super().__init__(settings)
        self.child = None

    def start(self):
        first, second = self.sockets
        cpus = sorted({self.settings.worker_cpu, self.settings.other_cpu})
        memory = ["--in-memory"] if self.settings.huge else ["--no-huge", "-m", "1024"]
        self.child = Child(
            ["dpdk-testpmd", "-l", ",".join(map(str, cpus)), "--main-lcore",
             str(self.settings.other_cpu), "--no-pci", "--file-prefix", self.folder.path.name,
             *memory, "--vdev", f"net_vhost0,iface={first},queues=1",
             "--vdev", f"net_vhost1,iface={second},queues=1",
             "--", "-i", "--nb-cores=1", "--forward-mode=io", "--record-core-cycles"],
            cpus=cpus)
        self.child.wait_for(r"testpmd> ", 30)
        self.child.ask("start", r"testpmd> ")

    def stop(self):
        if self.child:
            if self.child.running():
                try:
                    self.child.say("quit\n")
                except BenchError:
                    pass
                self.child.finish(5)
            else:
                self.child.finish(1)
        self.folder.cleanup()

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


class Ovs(Switch):
    name = "ovs"
    title = "OVS-DPDK"
    server = True

    @staticmethod
    def missing():
        if not OVS_DPDK.exists() or not OVS_SCHEMA.exists():
            return "OVS-DPDK is not installed (Debian: apt-get install openvswitch-switch-dpdk)"
        return None

    def __init__(self, settings):
        super().__init__(settings)
        self.database = None
        self.daemon = None
        at = str(self.folder.path)
        self.env = {**os.environ, "OVS_RUNDIR": at, "OVS_LOGDIR": at, "OVS_DBDIR": at,
                    "OVS_SYSCONFDIR": at}

    def _vsctl(self, *words, wait=True):
        return run(["ovs-vsctl", f"--db=unix:{self.folder.path}/db.sock", "--timeout=20",
                    *([] if wait else ["--no-wait"]), *words], env=self.env)

    def _appctl(self, *words):
        return run(["ovs-appctl", "-t", f"{self.folder.path}/vswitchd.ctl", *words], env=self.env)

    def start(self):
        at = self.folder.path
        cpus = [self.settings.other_cpu]
        run(["ovsdb-tool", "create", f"{at}/conf.db", str(OVS_SCHEMA)], env=self.env)
        self.database = Child(
            ["ovsdb-server", f"{at}/conf.db", f"--remote=punix:{at}/db.sock",
             f"--unixctl={at}/ovsdb.ctl", f"--pidfile={at}/ovsdb.pid", "--no-chdir"],
            cpus=cpus, env=self.env)
        wait_until((at / "db.sock").is_socket, 10, "ovsdb-server's socket")
        self._vsctl("init", wait=False)
        # OVS adds --in-memory to what has neither, and that does not go with --no-huge.
        memory = "--in-memory" if self.settings.huge else "--no-huge --legacy-mem -m 2048"
        self._vsctl(
            "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
            f"other_config:pmd-cpu-mask={1 << self.settings.worker_cpu:#x}",
            f"other_config:dpdk-lcore-mask={1 << self.settings.other_cpu:#x}",
            f"other_config:dpdk-extra=\"--no-pci {memory} --file-prefix={at.name}\"",
            # Room for all flows, none of which idles out during a run or is dropped because looking
            # at all of them takes long, as it does where that has half a CPU.
            f"other_config:flow-limit={OVS_FLOW_LIMIT}", "other_config:max-idle=3600000",
            "other_config:min-revalidate-pps=0", "other_config:max-revalidator=10000",
            "other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1",
            wait=False)
        # It makes devices for its bridges, and leaves them behind.
        self.daemon = Child(
            ["unshare", "--net", str(OVS_DPDK), f"unix:{at}/db.sock",
             f"--unixctl={at}/vswitchd.ctl", f"--pidfile={at}/vswitchd.pid",
             f"--log-file={at}/vswitchd.log", "--no-chdir", "-vconsole:err"],
            # It pins its polling thread itself, but to a CPU it was started on only.
            cpus={self.settings.other_cpu, self.settings.worker_cpu}, env=self.env)
        wait_until((at / "vswitchd.ctl").is_socket, 20, "ovs-vswitchd's control socket")
        self._vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                    "other_config:mac-table-size=200000", "fail-mode=standalone")
        for number, socket in enumerate(self.sockets, 1):
            self._vsctl("add-port", "br0", f"vm{number}", "--", "set", "Interface", f"vm{number}",
                        "type=dpdkvhostuserclient", f"options:vhost-server-path={socket}",
                        f"ofport_request={number}")
        self._raise_limit()

    def _raise_limit(self):
        self._appctl("upcall/set-flow-limit", str(OVS_FLOW_LIMIT))

    def load_rules(self, text, count):
        bridge = f"unix:{self.folder.path}/br0.mgmt"
        file = self.folder.path / "rules"
        file.write_text(text)
        run(["ovs-ofctl", "del-flows", bridge], env=self.env)
        run(["ovs-ofctl", "add-flows", bridge, str(file)], env=self.env, timeout=300)
        told = run(["ovs-ofctl", "dump-aggregate", bridge], env=self.env)
        loaded = int(re.search(r"flow_count=(\d+)", told).group(1))
        if loaded != count:
            raise BenchError(f"OVS has {loaded} rules of {count}")

    def warm_up(self, generator):
        """Traffic until no more flows are installed."""
        patience = 300
        installed = -1
        steady = 0
        for _turn in range(patience):
            self._raise_limit()
            generator.measure()
            before, installed = installed, self._installed()
            steady = steady + 1 if installed <= before * 1.001 else 0
            if steady == 5:
                return

    def _installed(self):
        found = re.search(r"flows\s*: \(current (\d+)\)", self._appctl("upcall/show"))
        return int(found.group(1)) if found else None

    def stop(self):
        if self.daemon:
            self.daemon.end()
        if self.database:
            self.database.end()
        self.folder.cleanup()

    def process(self):
        return self.daemon.process

    def begin(self):
        # It takes the time it was stopped for a slow look at its flows, and then keeps fewer.
        self._raise_limit()
        self._appctl("dpif-netdev/pmd-stats-clear")

    def end(self):
        text = self._appctl("dpif-netdev/pmd-stats-show")
        polling = text[text.index("pmd thread"):]
        polling = polling[:polling.index("main thread")] if "main thread" in polling else polling

        def number(name):
            found = re.search(rf"{name}: (\d+)", polling)
            return int(found.group(1)) if found else 0

        busy = number("processing cycles")
        # OVS counts what it took in; what it could not deliver is not taken off.
        packets = number("packets received")
        return {"cycles": busy / max(1, packets), "switch_received": packets,
                "busy_cycles": busy, "flows": self._installed()}


class Strait(Switch):
    name = "strait"
    title = "Strait"

    def __init__(self, settings):
        super().__init__(settings)
        self.child = None
        self.before = None

    def programs(self):
        return self.settings.programs

    def command(self, extra=()):
        memory = [] if self.settings.huge else ["--no-huge"]
        return [str(self.programs() / "straitd"), "--run-dir", str(self.folder.path),
                "--workers", str(self.settings.worker_cpu),
                "--main-cpu", str(self.settings.other_cpu), *memory, *extra]

    def cpus(self):
        return sorted({self.settings.worker_cpu, self.settings.other_cpu})

    def ctl(self, *words, timeout=30):
        return run([str(self.programs() / "straitctl"), "--run-dir", str(self.folder.path),
                    *words], cpus=[self.settings.other_cpu], timeout=timeout)

    def ctl_json(self, *words):
        return json.loads(self.ctl(*words, "--json"))

    def launch(self, extra=()):
        """Starts the daemon and returns when it answers."""
        self.child = Child(self.command(extra), cpus=self.cpus())

        def answers():
            if not self.child.running():
                raise BenchError(f"straitd ended at once: {self.child.last_words()}")
            try:
                self.ctl("version")
                return True
            except BenchError:
                return False

        wait_until(answers, 15, "an answer of straitd")

    def start(self):
        self.launch()
        self.ctl("bridge", "add", "br0")
        for number, socket in enumerate(self.sockets, 1):
            self.add_port(f"vm{number}", socket)

    def add_port(self, name, socket):
        self.ctl("port", "add", name, "--bridge", "br0", "--type", "vhost-user", "--socket",
                 socket)

    def load_rules(self, text, count):
        file = self.folder.path / "rules"
        file.write_text(text)
        self.ctl("flow", "replace", "--bridge", "br0", str(file), timeout=300)
        loaded = self.ctl_json("flow", "list", "--limit", "0")["total"]
        if loaded != count:
            raise BenchError(f"straitd has {loaded} rules of {count}")

    def stop(self):
        if self.child:
            self.child.end(signal.SIGTERM, 10)
        self.folder.cleanup()

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
    build = None

    def programs(self):
        return self.build


def vpp_missing():
    if shutil.which("vpp"):
        return "VPP is installed, but this benchmark does not drive it"
    return "VPP is not installed (Debian 12 has no package of it)"


PEERS = {Testpmd.name: Testpmd, Ovs.name: Ovs}


def settle():
    """Between two runs: a moment for the kernel to take back memory and sockets."""
    time.sleep(0.1)
