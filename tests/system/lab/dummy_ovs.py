# SPDX-License-Identifier: BSD-3-Clause
"""OVS with its dummy datapath, as an oracle of what flows do: its userspace datapath runs as it
does anywhere, but its ports' wires are sockets. Needs no privilege, and touches no interface."""

import contextlib
import json
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile

from .errors import LabError
from .marks import Marks
from .ovs import ovs_command, ovs_schema
from .process import Process, wait_until

_VERSIONS = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
# OVS keeps 100 frames a port for a reader, and drops what is more: of one frame no more than 49 may
# come to a port.
_MOST_WAITING = 2


class FlowsRefused(LabError):
    """ovs-ofctl or the switch did not take flows; the message says why. line, if it is one's."""

    line = None


class OvsEnded(LabError):
    """OVS has faults of its own. The next load() starts it again."""


class _Wire:
    """The far end of a port: frames behind their 16-bit lengths on a stream."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._received = b""

    def fileno(self):
        return self._socket.fileno()

    def send(self, frame):
        self._socket.sendall(struct.pack("!H", len(frame)) + frame)

    def receive_all(self):
        """The frames that are there; waits for the first bytes only."""
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise OvsEnded("OVS closed a port's stream")
        self._received += data
        frames, at = [], 0
        while len(self._received) >= at + 2:
            end = at + 2 + struct.unpack_from("!H", self._received, at)[0]
            if end > len(self._received):
                break
            frames.append(self._received[at + 2:end])
            at = end
        self._received = self._received[at:]
        return frames

    def close(self):
        self._socket.close()


class DummyOvs:
    """A bridge br0 with a port for each number, whose names are p and the number.

    It learns nothing but by the action NORMAL, and forwards nothing without flows.
    """

    def __init__(self, numbers=(1, 2, 3, 4, 5), tunnels=False):
        """With tunnels, ports of their types are those, and not dummies as all others are."""
        self.numbers = tuple(numbers)
        self._dummies = "--enable-dummy" if tunnels else "--enable-dummy=override"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="strait-ovs-"))
        self._database = self._daemon = self._control = None
        self._wires = {}
        self._groups = False
        self._datapath_numbers = None
        self._requests = 0
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        at = self.folder
        self._run("ovsdb-tool", "create", at / "conf.db", ovs_schema())
        self._database = Process(ovs_command(
            at, "ovsdb-server", at / "conf.db", f"--remote=punix:{at}/db.sock",
            f"--unixctl={at}/ovsdb.ctl", "--no-chdir"), at / "ovsdb.log", name="ovsdb-server")
        wait_until((at / "db.sock").is_socket, 30, "ovsdb-server's socket")
        # As many tags as OVS can tell apart: two.
        self._vsctl("--no-wait", "--", "init", "--", "set", "Open_vSwitch", ".",
                    "other_config:vlan-limit=2")
        self._daemon = Process(ovs_command(
            at, "ovs-vswitchd", f"unix:{at}/db.sock", f"--unixctl={at}/vswitchd.ctl",
            "--no-chdir", self._dummies, "--disable-system", "--disable-system-route",
            "-vconsole:warn"), at / "ovs.log", name="ovs-vswitchd")
        wait_until((at / "vswitchd.ctl").is_socket, 30, "ovs-vswitchd's socket")
        ports = [word for number in self.numbers for word in (
            "--", "add-port", "br0", f"p{number}", "--", "set", "Interface", f"p{number}",
            "type=dummy", f"ofport_request={number}", "mtu_request=9000",
            f"options:pstream=punix:{at}/p{number}.sock")]
        self._vsctl("--timeout=30", "add-br", "br0", "--", "set", "Bridge", "br0",
                    "datapath_type=dummy", "fail-mode=secure", f"protocols={_VERSIONS}", *ports)
        self._control = socket.socket(socket.AF_UNIX)
        self._control.connect(str(at / "vswitchd.ctl"))
        for number in self.numbers:
            path = at / f"p{number}.sock"
            wait_until(path.is_socket, 30, f"{path}")
            self._wires[number] = _Wire(path)
        self._marks = Marks(self._wires, _MOST_WAITING)

    def _run(self, *words, given=None):
        done = subprocess.run(ovs_command(self.folder, *words), input=given, capture_output=True,
                              text=True, timeout=60, check=False)
        if done.returncode:
            raise FlowsRefused(f"{words[0]}: {done.stderr.strip()} (given {given!r})")
        if "normalization changed" in done.stderr:
            # Said of a match without what it needs, that matches all then.
            raise FlowsRefused(done.stderr.strip())
        return done.stdout

    def _vsctl(self, *words):
        return self._run("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", *words)

    def _ofctl(self, command, *words, given=None, versions=_VERSIONS):
        return self._run("ovs-ofctl", "-O", versions, command, f"{self.folder}/br0.mgmt", *words,
                         given=given)

    def control(self, command, *words):
        """What ovs-appctl COMMAND WORDS prints; LabError if it is refused."""
        self._requests += 1
        request = {"id": self._requests, "method": command, "params": [str(w) for w in words]}
        self._control.sendall(json.dumps(request).encode())
        text = b""
        while True:
            try:
                data = self._control.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise self._ended()
            text += data
            # The answer has no end of its own but that it is whole.
            with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
                answer = json.loads(text)
                break
        if answer.get("error") is not None:
            raise LabError(f"ovs-appctl {command}: {answer['error']}")
        return answer["result"]

    def _ended(self):
        self._daemon.kill()  # it may be about to end
        return OvsEnded(self._daemon.log_tail(5))

    # ---- flows ----

    def load(self, lines):
        """Replaces all flows, and groups, by these lines; FlowsRefused says which cannot be. Those
        of groups begin with group_id."""
        if not self._daemon.running:
            self._end()
            self.folder.mkdir()
            self._start()
        groups = [line for line in lines if line.startswith("group_id=")]
        flows = [self._marks.flow, *(line for line in lines if line not in groups)]
        if self._groups or groups:
            # Of a flow that names two groups, OVS would end when it takes them away.
            self._ofctl("del-flows")
            self._ofctl("del-groups")
            self._ofctl("add-groups", "-", given="\n".join(groups) + "\n")
            self._groups = bool(groups)
        if self._refusal(["delete", *flows], _VERSIONS):
            self._ofctl("del-flows")
            self._add(flows)
        self.forget()

    def _add(self, lines):
        """A session speaks one version of OpenFlow, and not each has every word: some lines go by
        one, some by another."""
        refusals = []
        for versions in (_VERSIONS, "OpenFlow10"):
            refusals.append(self._refusal(lines, versions))
            if not refusals[-1]:
                return
        if len(lines) == 1:
            refusals[0].line = lines[0]
            raise refusals[0]
        self._add(lines[:len(lines) // 2])
        self._add(lines[len(lines) // 2:])

    def _refusal(self, lines, versions):
        try:
            self._ofctl("add-flows", "-", given="\n".join(lines) + "\n", versions=versions)
            return None
        except FlowsRefused as refusal:
            return refusal

    def forget(self):
        """Forgets what was learnt and cached: addresses, connections, datapath flows."""
        self.control("revalidator/purge")
        self.control("fdb/flush", "br0")
        self.control("dpctl/flush-conntrack")

    def flows(self, *within):
        """What is loaded, or of that what is within a match, as OVS prints it."""
        # Table 254 is OVS's own; it has it in lists that a match chooses.
        return [line.strip() for line in self._ofctl("dump-flows", "--no-stats",
                                                     *within).splitlines()
                if "priority=65535,dl_dst=" not in line and " table=254," not in line]

    def change(self, command, flow, strict=False):
        """add, mod or del; as OpenFlow 1.0 has it: later ones never add by mod."""
        self._ofctl({"add": "add-flow"}.get(command, f"{command}-flows"),
                    *(["--strict"] if strict else []), flow, versions="OpenFlow10")

    def delete(self, match):
        """Takes the flows within the match away."""
        self._ofctl("del-flows", match)

    def carried(self):
        """(packets, bytes) that flows have carried, by their cookies; without those that have
        none."""
        self.control("revalidator/purge")
        found = re.findall(r"cookie=(0x[0-9a-f]+),.* n_packets=(\d+), n_bytes=(\d+),",
                           self._ofctl("dump-flows"))
        return {int(cookie, 16): (int(packets), int(size)) for cookie, packets, size in found
                if cookie != "0x0"}

    def set_meters(self, lines):
        """Replaces all meters, and takes the flows that name one away."""
        self._ofctl("del-meters")
        for line in lines:
            self._ofctl("add-meter", line)

    def metered(self):
        """Packets that came to each meter, by its number."""
        found = re.findall(r"meter:(\d+) .*?packet_in_count:(\d+)",
                           self._ofctl("meter-stats").replace("\n", " "))
        return {int(number): int(count) for number, count in found}

    def trace(self, port, frame):
        """OVS's own account of what becomes of a frame."""
        return self.control("ofproto/trace", "br0", f"in_port={port}", frame.hex())

    def traced_ports(self, port, frame, ct_states):
        """The ports, sorted, by which a frame would leave if its ct actions found these states, in
        turn, flags with | between them; what is not said is new."""
        options = [word for state in ct_states
                   for word in ("--ct-next", "trk," + state.replace("|", ","))]
        said = self.control("ofproto/trace", *options, "br0", f"in_port={port}", frame.hex())
        # Of the datapath's own numbers; what is within brackets is no output.
        lines = re.findall(r"^Datapath actions: (.*)$", said, re.MULTILINE)
        outputs = []
        for line in lines:
            while "(" in line:
                line = re.sub(r"\([^()]*\)", "", line)
            outputs += [int(word) for word in line.split(",") if word.isdecimal()]
        if self._datapath_numbers is None:
            shown = re.findall(r" p(\d+) \d+/(\d+):", self.control("dpif/show"))
            self._datapath_numbers = {int(inner): int(number) for number, inner in shown}
        return sorted(self._datapath_numbers[number] for number in outputs)

    def forward(self, frames, cached=True):
        """Sends (port, frame) pairs in their order; for each, the (port, frame) pairs that left.

        Where a cached flow forwards, OVS sees only later that an address has moved. Without cached
        each frame is looked up in the flows themselves.
        """
        try:
            if cached:
                return self._marks.forward(frames)
            return [self._looked_up(frame) for frame in frames]
        except OvsEnded:
            raise self._ended() from None

    def _looked_up(self, frame):
        self.control("revalidator/purge")
        return self._marks.forward([frame])[0]

    def _end(self):
        for part in (*self._wires.values(), self._control):
            if part:
                part.close()
        for process in (self._daemon, self._database):
            if process:
                process.kill()
        self._wires, self._groups = {}, False
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self):
        self._end()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
