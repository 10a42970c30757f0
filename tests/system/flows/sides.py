# SPDX-License-Identifier: BSD-3-Clause
"""Strait as a side of a comparison (compare.py): by what `straitctl trace` says, and by the frames
that it really forwards."""

import lab as parts

# More than the daemon sends at once is not to wait in a tap's queue.
_MOST_WAITING = 16


class _Side:
    """A bridge br0 whose ports have these numbers; subclasses have _device(number)."""

    def __init__(self, switch, numbers):
        self.switch = switch
        self.names = {number: f"p{number}" for number in numbers}
        switch.ctl("bridge add br0")
        for number, name in self.names.items():
            switch.add_nic(name, self._device(number))
        listed = {port["name"]: port["number"] for port in switch.ctl("port list")}
        if listed != {name: number for number, name in self.names.items()}:
            raise parts.LabError(f"ports are numbered {listed}")

    def flows(self):
        """What is loaded, without what is counted of it."""
        return [{name: value for name, value in flow.items()
                 if name not in ("packets", "bytes", "age", "idle")}
                for flow in self.switch.ctl("flow list --bridge br0")["flows"]]

    def _replace(self, lines):
        path = self.switch.folder / "flows"
        # As in a bundle of ovs-ofctl's, what are groups is said.
        path.write_text("".join(f"{'group ' if line.startswith('group_id=') else ''}{line}\n"
                                for line in lines))
        try:
            self.switch.ctl("flow", "replace", "--bridge", "br0", path)
        except parts.Refused as refusal:
            raise parts.FlowsRefused(refusal.sentence) from None


class Traced(_Side):
    """Its ports lead nowhere: nothing is sent, and nothing of what a frame changes stays."""

    def __init__(self, lab, numbers=(1, 2, 3, 4, 5)):
        super().__init__(lab.switch(workers="0"), numbers)

    @staticmethod
    def _device(number):
        return f"net_null{number},no-rx=1"

    def load(self, lines):
        self._replace(lines)

    def forward(self, frames):
        return [self._one(port, data) for port, data in frames]

    def trace(self, port, data):
        """Its own account of what becomes of a frame."""
        return self.switch.text("trace", self.names[port], data.hex())[1]

    def _one(self, port, data):
        traced = self.switch.ctl("trace", self.names[port], data.hex())
        return [(output["number"], bytes.fromhex(output["frame"])) for output in traced["outputs"]]


class Live(_Side):
    """Its ports are taps: frames are received, looked up in caches, and sent."""

    def __init__(self, lab, numbers=(1, 2, 3, 4, 5)):
        netns = lab.netns()
        super().__init__(lab.switch(workers="0", netns=netns), numbers)
        for name in self.names.values():
            netns.sh(f"ip link set {name} mtu 9000")
        self._marks = parts.Marks({number: lab.wire(netns, name)
                                   for number, name in self.names.items()}, _MOST_WAITING)

    def _device(self, number):
        return f"net_tap_{self.names[number]},iface={self.names[number]}"

    def load(self, lines):
        self._replace([self._marks.flow, *lines])
        self.switch.ctl("ct flush")
        self.switch.ctl("mac flush --bridge br0")

    def forward(self, frames):
        return self._marks.forward(frames)
