# SPDX-License-Identifier: BSD-3-Clause
"""A machine with PCI NICs that a switch can drive itself: emulated ones behind an IOMMU, each with
a wire to another NIC of the same machine, which its kernel drives. Nothing here knows a test.
"""

import pathlib
import shlex
import shutil
import tempfile

from .assets import assets
from .errors import LabError, Unavailable
from .host import Host
from .machine import Machine
from .process import wait_until
from .qmp import Qmp

# By kind: QEMU's device.
_KINDS = {
    "e1000e": "e1000e",
    "virtio": "virtio-net-pci,disable-legacy=on,iommu_platform=on",
    "vmxnet3": "vmxnet3",
    "second": "e1000e",
}
_FIRST_SLOT = 0x10  # of the root ports; of the far NICs _FIRST_SLOT + 8


class FarEnd(Host):
    """The other end of a NIC's wire: a network namespace of the machine, with the kernel's NIC."""

    def __init__(self, machine, kind, number):
        self.machine, self.name = machine, f"far-{kind}"
        self.address = f"10.0.0.{number + 1}"
        mac = machine.far_mac(number)
        machine.sh(
            f"ip netns add {self.name} && mkdir /run/{self.name} && "
            f"device=$(grep -l {mac} /sys/class/net/*/address) && device=${{device%/*}} && "
            f"ip link set ${{device##*/}} netns {self.name} name eth0 && "
            f"ip -n {self.name} link set lo up && ip -n {self.name} link set eth0 up && "
            f"ip -n {self.name} addr add {self.address}/24 dev eth0", 30)

    def run(self, command, timeout=20):
        return self.machine.run(f"cd /run/{self.name} && ip netns exec {self.name} "
                                f"sh -c {shlex.quote(command)}", timeout)


class NicMachine(Machine):
    """Boots in about 8 s. far has by kind what is at the other end of each NIC."""

    kinds = tuple(_KINDS)  # each another, and then one more of the first

    address = "10.0.0.100"  # that the machine may have for itself

    def __init__(self, logs, boot_timeout=120):
        kept = assets()
        self._own = pathlib.Path(tempfile.mkdtemp(prefix="strait-nics-"))
        self._qmp = None
        arguments = [
            "-cpu", "max", "-smp", "3", "-m", "2048",
            "-kernel", kept.kernel, "-initrd", kept.machine_initrd,
            "-append", self.command_line("ttyS0") + " intel_iommu=on iommu=pt",
            "-device", "intel-iommu,intremap=on,caching-mode=on",
            "-qmp", f"unix:{self._own}/qmp,server=on,wait=off",
        ]
        for number, kind in enumerate(_KINDS):
            arguments += [
                "-device", f"pcie-root-port,id=port{number},bus=pcie.0,chassis={number + 1},"
                           f"addr={_FIRST_SLOT + number:x}",
                "-netdev", f"hubport,id=near{number},hubid={number}",
                "-netdev", f"hubport,id=far{number},hubid={number}",
                "-device", self._near(number, kind),
                "-device", f"virtio-net-pci,netdev=far{number},mac={self.far_mac(number)},"
                           f"bus=pcie.0,addr={_FIRST_SLOT + 8 + number:x},id=far-{kind}",
            ]
        try:
            super().__init__("nics", logs, 0, arguments, boot_timeout)
            status, output = self.run("modprobe vfio-pci && modprobe tun && modprobe virtio_net && "
                                      "ls /sys/kernel/iommu_groups/0", 60)
            if status:
                raise Unavailable(f"this machine has no IOMMU: {output.strip()}")
            self._qmp = Qmp(self._own / "qmp", self.process.check_running)
            self.far = {kind: FarEnd(self, kind, number) for number, kind in enumerate(_KINDS)}
        except BaseException:
            self.close()
            raise

    @staticmethod
    def far_mac(number):
        return f"52:54:00:00:02:0{number}"

    @staticmethod
    def _near(number, kind):
        return (f"{_KINDS[kind]},netdev=near{number},mac=52:54:00:00:01:0{number},"
                f"bus=port{number},id={kind}")

    def address_of(self, kind):
        """The NIC's PCI address, or None while it is unplugged."""
        slot = _FIRST_SLOT + self.kinds.index(kind)
        bus = f"/sys/bus/pci/devices/0000:00:{slot:02x}.0"
        status, output = self.run(f"basename $(ls -d {bus}/0000:*:00.0)")
        return None if status else output.strip()

    def bind(self, kind, driver="vfio-pci"):
        """Gives the NIC to a driver of the kernel's, from whichever has it; returns its address."""
        address = self.address_of(kind)
        device = f"/sys/bus/pci/devices/{address}"
        self.sh(f"[ ! -e {device}/driver ] || echo {address} > {device}/driver/unbind; "
                f"echo {driver} > {device}/driver_override && "
                f"echo {address} > /sys/bus/pci/drivers_probe && "
                f"[ $(basename $(readlink {device}/driver)) = {driver} ]", 60)
        return address

    def unplug(self, kind):
        """As an operator does who wants it out: the kernel is asked, and waits for its driver."""
        self._qmp("device_del", id=kind)
        wait_until(lambda: self.address_of(kind) is None, 30, f"the {kind} being unplugged")
        self._qmp("set_link", name=f"far-{kind}", up=False)  # as of a wire without its other end

    def plug(self, kind):
        """Plugs it in again, for whichever driver of the kernel's knows it."""
        number = self.kinds.index(kind)
        words = self._near(number, kind).split(",")
        properties = dict(word.split("=") for word in words[1:])
        self._qmp("device_add", driver=words[0], **properties)
        self._qmp("set_link", name=f"far-{kind}", up=True)
        wait_until(lambda: self.address_of(kind) is not None, 30, f"the {kind} being plugged in")

    def set_link(self, kind, up):
        """Of the wire: both ends see it."""
        for end in (kind, f"far-{kind}"):
            self._qmp("set_link", name=end, up=up)

    def close(self):
        if self._qmp:
            self._qmp.close()
        if hasattr(self, "process"):
            super().close()
        shutil.rmtree(self._own, ignore_errors=True)
