# SPDX-License-Identifier: BSD-3-Clause
"""OVS with its userspace datapath, on interfaces of a network namespace: a switch on a wire."""

import json
import pathlib
import shutil
import subprocess
import tempfile

from .errors import LabError
from .ovs import ovs_command, ovs_schema
from .process import Process, wait_until


class NetdevOvs:
    """One bridge br0, which learns addresses, with ports of these interfaces' names. Words are of
    ovs-vsctl: what is set of the bridge before it has ports."""

    def __init__(self, netns, interfaces, *words):
        self._netns = netns
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="strait-ovs-"))
        self._database = self._daemon = None
        try:
            self._start(interfaces, words)
        except BaseException:
            self.close()
            raise

    def _start(self, interfaces, words):
        at = self.folder
        self._run(["ovsdb-tool", "create", at / "conf.db", ovs_schema()])
        self._database = Process(ovs_command(
            at, "ovsdb-server", at / "conf.db", f"--remote=punix:{at}/db.sock",
            f"--unixctl={at}/ovsdb.ctl", "--no-chdir"), at / "ovsdb.log", name="ovsdb-server")
        wait_until((at / "db.sock").is_socket, 30, "ovsdb-server's socket")
        self.vsctl("--no-wait", "init")
        self._daemon = Process(self._netns.argv(*ovs_command(
            at, "ovs-vswitchd", f"unix:{at}/db.sock", f"--unixctl={at}/vswitchd.ctl",
            "--no-chdir", "--disable-system", "-vconsole:warn")), at / "ovs.log",
            name="ovs-vswitchd")
        wait_until((at / "vswitchd.ctl").is_socket, 30, "ovs-vswitchd's socket")
        ports = [word for number, name in enumerate(interfaces, 1) for word in (
            "--", "add-port", "br0", name, "--", "set", "Port", name,
            f"other_config:rstp-port-num={number}")]
        self.vsctl("--timeout=30", "add-br", "br0", "--", "set", "Bridge", "br0",
                   "datapath_type=netdev", "fail-mode=standalone", *words, *ports)

    def _run(self, words):
        done = subprocess.run(ovs_command(self.folder, *words), capture_output=True, text=True,
                              timeout=60, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout

    def vsctl(self, *words):
        return self._run(["ovs-vsctl", f"--db=unix:{self.folder}/db.sock", *words])

    def appctl(self, *words):
        """What ovs-appctl prints."""
        return self._run(["ovs-appctl", "-t", self.folder / "vswitchd.ctl", *words])

    def rstp(self, port):
        """The status that OVS keeps of spanning tree at a port, by name."""
        text = self.vsctl("--format=json", "--columns=rstp_status", "list", "Port", port)
        return dict(json.loads(text)["data"][0][0][1])

    def close(self):
        for process in (self._daemon, self._database):
            if process:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
