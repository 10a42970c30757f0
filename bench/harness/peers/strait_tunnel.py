# SPDX-License-Identifier: BSD-3-Clause
# Strait with a tunnel. Two of it, a guest at each, whose bridges VXLAN joins: between them is a
# wire of the kernel's, a veth pair that both open by af_packet, the first switch on the worker's
# CPU and the second on the guests': where that is the generator's, rates say that it works and no
# more. Or one, a guest at one end and the underlay at the other, which the generator is a host of.

from ..machine import Namespace
from .base import VHOST, Settings
from .strait import Strait

UNDERLAY_MTU = 1600
KEY = "42"
ADDRESSES = ("10.0.0.1", "10.0.0.2")


def _add_underlay(switch, bridge, own, other, *uplink):
    """A bridge with the uplink and the switch's own address; and the guests', with the tunnel."""
    switch.ctl("bridge", "add", bridge)
    switch.ctl("port", "add", "up0", "--bridge", bridge, *uplink, "--mtu", str(UNDERLAY_MTU))
    switch.ctl("address", "add", bridge, f"{own}/24")
    switch.ctl("port", "set", bridge, "--mtu", str(UNDERLAY_MTU))
    switch.ctl("bridge", "add", "br0")
    switch.ctl("port", "add", "vx0", "--bridge", "br0", "--type", "vxlan", "--remote", other,
               "--key", KEY)


class StraitTunnel(Strait):
    def start(self):
        self.launch()
        _add_underlay(self, "under", *ADDRESSES, "--type", "vhost-user", "--socket",
                      self.sockets[1])
        self.add_port("vm1", self.sockets[0])

    def generator_words(self):
        return ["--vxlan-b", ",".join((KEY, *ADDRESSES[::-1]))]


class StraitPair(Strait):
    def __init__(self, settings, ends=(VHOST, VHOST), **named):
        super().__init__(settings, ends=ends, **named)
        far = Settings(settings.guest_cpu, settings.other_cpu, settings.huge, settings.programs)
        self.far = Strait(far, ends=())

    def start(self):
        self.namespace = self.far.namespace = Namespace()
        self.namespace.ip("link", "add", "wire1", "type", "veth", "peer", "name", "wire2")
        for number, switch in enumerate((self, self.far), 1):
            wire = f"wire{number}"
            self.namespace.ip("link", "set", wire, "mtu", UNDERLAY_MTU, "up")
            switch.launch()
            self._configure(switch, number, wire)

    def _configure(self, switch, number, wire):
        own, other = ADDRESSES[::1 if number == 1 else -1]
        # Of the bridge's name is its MAC made, on one machine.
        _add_underlay(switch, f"under{number}", own, other, "--type", "nic", "--device",
                      f"net_af_packet0,iface={wire}")
        switch.add_port(f"vm{number}", self.sockets[number - 1])

    def end_processes(self):
        try:
            super().end_processes()
        finally:
            self.far.end_processes()
            self.far.folder.cleanup()

    def freeze(self):
        super().freeze()
        self.far.freeze()

    def thaw(self):
        super().thaw()
        self.far.thaw()

    def begin(self):
        super().begin()
        self.far.begin()

    def end(self):
        """Of the first switch, but for the cycles, which are both switches' for a frame: each sends
        all frames on, one way to its guest and the other into the tunnel."""
        near, far = super().end(), self.far.end()
        return {**near, "cycles": near["cycles"] + far["cycles"]}
