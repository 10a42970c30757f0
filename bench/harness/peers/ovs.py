# SPDX-License-Identifier: BSD-3-Clause
# OVS-DPDK with a database and a daemon of its own: as a learning switch (NORMAL), and with one rule
# a port.

import os
import pathlib
import re

from ..machine import BenchError, Child, first_line, run, wait_until
from .base import TAP, USUAL_MTU, VHOST, Switch

DAEMON = pathlib.Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
SCHEMA = pathlib.Path("/usr/share/openvswitch/vswitch.ovsschema")
FLOW_LIMIT = 3_000_000


class Ovs(Switch):
    name = "ovs"
    title = "OVS-DPDK"
    server = True
    kinds = (VHOST, TAP)
    stateful = True
    chains = True
    packages = ("openvswitch-switch-dpdk",)

    @classmethod
    def missing(cls):
        if not DAEMON.exists() or not SCHEMA.exists():
            return "OVS-DPDK is not installed (Debian: apt-get install openvswitch-switch-dpdk)"
        return None

    @classmethod
    def version(cls, _settings):
        return first_line([str(DAEMON), "--version"], r"(Open vSwitch\) \S+|DPDK \S+)").replace(
            "Open vSwitch) ", "")

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
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
        run(["ovsdb-tool", "create", f"{at}/conf.db", str(SCHEMA)], env=self.env)
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
            f"other_config:flow-limit={FLOW_LIMIT}", "other_config:max-idle=3600000",
            "other_config:min-revalidate-pps=0", "other_config:max-revalidator=10000",
            "other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1",
            wait=False)
        # It makes devices for its bridges, and leaves them behind.
        aside = self.inside([]) or ["unshare", "--net"]
        self.daemon = Child(
            [*aside, str(DAEMON), f"unix:{at}/db.sock",
             f"--unixctl={at}/vswitchd.ctl", f"--pidfile={at}/vswitchd.pid",
             f"--log-file={at}/vswitchd.log", "--no-chdir", "-vconsole:err"],
            # It pins its polling thread itself, but to a CPU it was started on only.
            cpus={self.settings.other_cpu, self.settings.worker_cpu}, env=self.env,
            name="ovs-vswitchd")
        wait_until((at / "vswitchd.ctl").is_socket, 20, "ovs-vswitchd's control socket")
        self._vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                    "other_config:mac-table-size=200000", "fail-mode=standalone")
        for number in range(len(self.sockets)):
            self._add_port(number)
        self._raise_limit()

    def _add_port(self, number):
        name = f"vm{number + 1}"
        kind = ["type=dpdk",
                f"options:dpdk-devargs=net_af_packet{number},iface={self.taps[number]}"] \
            if self.ends[number:number + 1] == (TAP,) else \
            ["type=dpdkvhostuserclient", f"options:vhost-server-path={self.sockets[number]}"]
        self._vsctl("add-port", "br0", name, "--", "set", "Interface", name, *kind,
                    f"ofport_request={number + 1}",
                    *([] if self.mtu <= USUAL_MTU else [f"mtu_request={self.mtu}"]))
        wrong = self._vsctl("get", "Interface", name, "error").strip()
        if wrong not in ("[]", '""'):
            raise BenchError(f"OVS cannot have port {name}: {wrong}")

    def _raise_limit(self):
        self._appctl("upcall/set-flow-limit", str(FLOW_LIMIT))

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

    def end_processes(self):
        if self.daemon:
            self.daemon.end()
        if self.database:
            self.database.end()

    def process(self):
        return self.daemon.process

    def dropped(self):
        # At the port that they were to leave by.
        return sum(int(count) for count in re.findall(
            r"TX packets:\d+ errors:\S+ dropped:(\d+)", self._appctl("dpctl/show", "-s")))

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
                "busy_cycles": busy, "cached_flows": self._installed()}


class OvsRules(Ovs):
    name = "ovs-rules"
    title = "OVS-DPDK, rules"

    @classmethod
    def cannot(cls, scenario):
        if scenario.traffic.get("rules") or scenario.loops:
            return "the scenario has rules of its own, which the peer ovs is given"
        if len(scenario.ends) > 2:
            return "its two rules are of two ports"
        return super().cannot(scenario)

    def start(self):
        super().start()
        # As flow_rules.by_port() has them: no table of addresses is looked at.
        self.load_rules("in_port=1,actions=output:2\nin_port=2,actions=output:1\n", 2)
