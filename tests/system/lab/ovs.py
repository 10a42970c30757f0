# SPDX-License-Identifier: BSD-3-Clause
"""OVS-DPDK in a machine: what a VMM's back end is where it is not straitd. OVS without machine and
devices, that tells what flows do, is dummy_ovs.py's."""

import re
import shlex

from .assets import assets
from .errors import LabError

_PROGRAMS = {"ovs-vswitchd": "usr/lib/openvswitch-switch",
             "ovs-vswitchd-dpdk": "usr/lib/openvswitch-switch-dpdk", "ovsdb-server": "usr/sbin"}


def ovs_schema():
    return assets().ovs / "usr/share/openvswitch/vswitch.ovsschema"


def ovs_command(folder, program, *words):
    """The command that runs a program of OVS's, with its files in a folder."""
    root = assets().ovs
    environment = [f"LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu"] + [
        f"OVS_{kind}DIR={folder}" for kind in ("RUN", "LOG", "DB", "SYSCONF")]
    path = root / _PROGRAMS.get(program, "usr/bin") / program
    return [str(word) for word in ("env", *environment, path, *words)]


class MachineOvs:
    """One bridge that learns addresses, with a vhost-user port for each socket: the VMMs listen
    there. It polls on the machine's first CPU, and sleeps there when there is little to do."""

    _FOLDER = "/run/ovs"

    def __init__(self, machine, sockets):
        self.machine = machine
        self._sockets = list(sockets)
        self.pid = None
        machine.sh(f"mkdir -p {self._FOLDER}")
        self._run("ovsdb-tool", "create", f"{self._FOLDER}/conf.db", ovs_schema())
        self._database = machine.spawn(self._command(
            "ovsdb-server", f"{self._FOLDER}/conf.db", f"--remote=punix:{self._FOLDER}/db.sock",
            "--no-chdir"), "ovsdb.log")
        self._wait(f"{self._FOLDER}/db.sock")
        self._vsctl("--no-wait", "init")
        self._vsctl(
            "--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
            "other_config:pmd-cpu-mask=0x1", "other_config:dpdk-lcore-mask=0x1",
            "other_config:pmd-maxsleep=100",
            # A pool for all ports has 262,144 packets at once, one a port what its rings need.
            "other_config:per-port-memory=true",
            'other_config:dpdk-extra="--no-pci --no-huge --legacy-mem -m 512"')
        self.start()
        self._vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                    "fail-mode=standalone")
        for number, socket in enumerate(self._sockets, 1):
            self._vsctl("add-port", "br0", f"vm{number}", "--", "set", "Interface", f"vm{number}",
                        "type=dpdkvhostuserclient", f"options:vhost-server-path={socket}")

    def start(self):
        """Starts the switch, with the ports that it had."""
        self.machine.sh(f"rm -f {self._FOLDER}/vswitchd.ctl")
        self.pid = self.machine.spawn(self._command(
            "ovs-vswitchd-dpdk", f"unix:{self._FOLDER}/db.sock",
            f"--unixctl={self._FOLDER}/vswitchd.ctl", "--no-chdir", "-vconsole:warn"), "ovs.log")
        self._wait(f"{self._FOLDER}/vswitchd.ctl")

    def statistics(self, number):
        """What the port of a socket has counted, by name; the sockets' numbers begin with 1."""
        text = self._vsctl("get", "Interface", f"vm{number}", "statistics")
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", text)}

    def kill(self):
        """SIGKILL; start() brings it back."""
        self.machine.kill(self.pid)

    def close(self):
        for pid in (self.pid, self._database):
            if pid and self.machine.alive(pid):
                self.machine.kill(pid)
        self.machine.sh(f"rm -rf {self._FOLDER}")

    def _command(self, program, *words):
        return shlex.join(ovs_command(self._FOLDER, program, *words))

    def _run(self, *words):
        return self.machine.sh(self._command(*words), 120)

    def _vsctl(self, *words):
        return self._run("ovs-vsctl", f"--db=unix:{self._FOLDER}/db.sock", "--timeout=90", *words)

    def _wait(self, socket):
        if self.machine.run(f"i=0; until [ -S {socket} ]; do busybox usleep 50000; i=$((i+1)); "
                            "[ $i -lt 400 ] || exit 1; done", 60)[0]:
            raise LabError(f"OVS does not serve {socket}")
