# SPDX-License-Identifier: BSD-3-Clause
"""What the system tests and the demo are made of: switches, guests, namespaces, generators.

Nothing here knows a test. Everything that starts a process ends it, and leaves no file, interface
or namespace behind; what cannot be had on this machine raises Unavailable with the reason.
"""

from .assets import assets
from .back_end import BackEnd
from .bad_switch import BadSwitch
from .bare import BareGuest
from .container import Container
from .dummy_ovs import DummyOvs, FlowsRefused, OvsEnded
from .errors import LabError, Unavailable
from .guest import TOOLS, Guest, Nic, have_kvm
from .host import Host, Ping, Stream
from .kvm import KvmGuest, KvmMachine, QemuKvmGuest, StraitctlGuest, VmmGuest
from .machine import Machine, MachineSwitch
from .marks import Marks
from .netdev_ovs import NetdevOvs
from .netns import Netns, Wire
from .nics import NicMachine
from .ovs import MachineOvs
from .package import debian_package
from .process import Process, wait_until
from .simulated import SimulatedGuest, Simulator
from .switch import Refused, Switch, binaries, huge_pages_free
from .testpmd import MachineTestpmd, Testpmd
from .xen import KernelBackend, Xen, XenGuest, XenSwitch

__all__ = [
    "BadSwitch", "BareGuest", "Container", "DummyOvs", "FlowsRefused", "Guest", "Host",
    "KernelBackend", "KvmGuest", "KvmMachine", "LabError", "Machine", "MachineOvs", "MachineSwitch",
    "MachineTestpmd", "Marks", "NetdevOvs", "Netns", "Nic", "NicMachine", "OvsEnded", "Ping",
    "Process", "QemuKvmGuest", "Refused", "SimulatedGuest", "Simulator", "StraitctlGuest", "Stream",
    "Switch", "TOOLS", "Testpmd", "Unavailable", "VmmGuest", "Wire", "Xen", "XenGuest", "XenSwitch",
    "assets", "binaries", "debian_package", "have_kvm", "huge_pages_free", "wait_until",
]
