# SPDX-License-Identifier: BSD-3-Clause
"""Strait as a side of a comparison (compare.py): by what `straitctl trace` says, and by the frames
that it really forwards."""

import json
import socket
import time

import lab as parts

# More than the daemon sends at once is not to wait in a tap's queue.
_MOST_WAITING = 16


class _Daemon:
    """Asks the daemon without straitctl, which would be started thousands of times."""

    def __init__(self, switch):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(switch.run_dir / "control.sock"))
        self._answers = self._socket.makefile("rb")

    def ask(self, method, **parameters):
        """The result; FlowsRefused if there is none."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._answers.readline())
        if "error" in answer:
            raise parts.FlowsRefused(answer["error"]["message"])
        return answer["result"]


class _Side:
    """A bridge br0 whose ports are taps in a namespace and have these numbers."""

    def __init__(self, lab, numbers=(1, 2, 3, 4, 5)):
        self.netns = lab.netns()
        self.switch = switch = lab.switch(workers="0", netns=self.netns)
        self.names = {number: f"p{number}" for number in numbers}
        switch.ctl("bridge add br0")
        for name in self.names.values():
            switch.add_nic(name, f"net_tap_{name},iface={name}")
        listed = {port["name"]: port["number"] for port in switch.ctl("port list")}
        if listed != {name: number for number, name in self.names.items()}:
            raise parts.LabError(f"ports are numbered {listed}")
        self._daemon = _Daemon(switch)

    def flows(self, *within):
        """What is loaded, or within a match, without what is counted of it."""
        which = dict(zip(["filter"], within))
        return [{name: value for name, value in flow.items()
                 if name not in ("packets", "bytes", "age_ms", "idle_ms")}
                for flow in self._daemon.ask("flow.list", bridge="br0", **which)["flows"]]

    def change(self, command, flow, strict=False):
        """As DummyOvs has it."""
        how = {"strict": True} if strict else {}
        self._daemon.ask(f"flow.{command}", bridge="br0", flows=flow, **how)

    def delete(self, match):
        """As DummyOvs has it."""
        self._daemon.ask("flow.del", bridge="br0", flows=match)

    def carried(self):
        """As DummyOvs has it, soon: workers bring home what it is about ten times a second."""
        return {flow["cookie"]: (flow["packets"], flow["bytes"])
                for flow in self._daemon.ask("flow.list", bridge="br0")["flows"] if flow["cookie"]}

    def set_meters(self, lines):
        """As DummyOvs has it."""
        self._daemon.ask("meter.del", bridge="br0")
        self._daemon.ask("meter.add", bridge="br0", meters="".join(f"{line}\n" for line in lines))

    def metered(self):
        """As DummyOvs has it, soon."""
        return {meter["meter"]: meter["packets"]
                for meter in self._daemon.ask("meter.list", bridge="br0")["meters"]}

    def _replace(self, lines):
        groups = [line for line in lines if line.startswith("group_id=")]
        self._daemon.ask("group.del", bridge="br0")
        self._daemon.ask("group.add", bridge="br0", groups="".join(f"{line}\n" for line in groups))
        self._daemon.ask("flow.replace", bridge="br0",
                         flows="".join(f"{line}\n" for line in lines if line not in groups))


class Traced(_Side):
    """Nothing is sent, and nothing of what a frame changes stays."""

    def load(self, lines):
        self._replace(lines)

    def forward(self, frames):
        return [self._one(port, data) for port, data in frames]

    def traced_ports(self, port, data, ct_states):
        """As DummyOvs has it."""
        found = {"ct_next": ",".join(ct_states)} if ct_states else {}
        traced = self._daemon.ask("trace", port=self.names[port], packet=data.hex(), **found)
        return sorted(output["number"] for output in traced["outputs"])

    def _one(self, port, data):
        traced = self._daemon.ask("trace", port=self.names[port], packet=data.hex())
        return [(output["number"], bytes.fromhex(output["frame"])) for output in traced["outputs"]]


class Live(_Side):
    """Frames are received, looked up in caches, and sent."""

    def __init__(self, lab):
        super().__init__(lab)
        for name in self.names.values():
            self.netns.sh(f"ip link set {name} mtu 9000")
        wires = {number: lab.wire(self.netns, name) for number, name in self.names.items()}
        self._marks = parts.Marks(wires, _MOST_WAITING)
        self.load([])
        parts.wait_until(lambda: self._all_pass(wires.values()), 10, "the taps passing frames")

    def _all_pass(self, wires):
        """Until the taps are up, what is sent into them is lost."""
        for wire in wires:
            wire.send(bytes(60))
        time.sleep(0.02)
        return all(port["rx_packets"] for port in self.switch.ctl("stats")["ports"])

    def load(self, lines):
        self._tracking = any("ct(" in line for line in lines)
        self._replace([self._marks.flow, *lines])
        self._daemon.ask("mac.flush", bridge="br0")
        self._daemon.ask("ct.flush")

    def forward(self, frames):
        return self._marks.forward(frames, overtaking=self._tracking)
