# SPDX-License-Identifier: BSD-3-Clause
"""A Linux guest in QEMU with vhost-user network devices, driven over a virtio-serial port."""

import dataclasses
import itertools
import os
import pathlib
import shutil
import signal
import tempfile

from .assets import assets
from .errors import LabError, Unavailable
from .host import Host
from .process import Process, wait_until
from .qmp import Qmp
from .shell import Shell

# Runs a program of assets().tools_initrd, or of those of traffic: TOOLS/NAME.
TOOLS = "/opt/ld-linux-x86-64.so.2 --library-path /opt /opt"
COMMAND_LINE = ("console=ttyS0 quiet mitigations=off nokaslr panic=-1 tsc=reliable no_timer_check "
                # IPv6 talks unasked; tests can switch it on.
                "net.ifnames=0 ipv6.disable_ipv6=1")


def have_kvm():
    """Whether /dev/kvm runs Linux guests here; one that only emulates does not count."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
        flags = next((line for line in cpuinfo if line.startswith("flags")), "").split()
    return "vmx" in flags or "svm" in flags


@dataclasses.dataclass
class Nic:
    """A virtio-net device on the vhost-user socket at path.

    server: QEMU listens there and the switch connects. mtu is offered to the driver (host_mtu).
    Sizes are descriptors a ring. queues counts pairs of rings.
    """
    path: str
    mac: str
    server: bool = False
    packed: bool = False
    mergeable: bool = True
    mtu: int | None = None
    rx_queue_size: int = 256
    tx_queue_size: int = 256
    queues: int = 1
    extra: str = ""

    def qemu(self, index, vectors):
        """QEMU's arguments for this as its device number index; vectors: with MSI-X."""
        on = {True: "on", False: "off"}
        mode = "server=on" if self.server else "reconnect=1"
        device = (f"virtio-net-pci,netdev=net{index},mac={self.mac},packed={on[self.packed]},"
                  f"mrg_rxbuf={on[self.mergeable]},rx_queue_size={self.rx_queue_size},"
                  f"tx_queue_size={self.tx_queue_size}")
        if self.queues > 1:
            device += ",mq=on"
        if not vectors:
            device += ",vectors=0"
        if self.mtu:
            device += f",host_mtu={self.mtu}"
        return ["-chardev", f"socket,id=nic{index},path={self.path},{mode}",
                "-netdev", f"vhost-user,id=net{index},chardev=nic{index},queues={self.queues}",
                "-device", device + self.extra]


class Guest(Host):
    """Boots on construction, in about 2 s of emulation; interfaces are eth0, eth1, ... in order.

    The first interface gets address (with /24 unless it says otherwise) and is brought up. Guests
    whose switch is not there yet wait for it before they boot: pass wait=False and call wait_up().
    One with incoming does not boot, but waits, paused, for another's migrate_to(it).
    """

    _numbers = itertools.count(1)

    def __init__(self, nics, address=None, name=None, memory_mib=192, accelerator=None,
                 machine="q35", wait=True, boot_timeout=60, arguments=(), initrd=None,
                 incoming=False):
        number = next(Guest._numbers)
        self.name = name or f"guest{number}"
        if shutil.which("qemu-system-x86_64") is None:
            raise Unavailable("QEMU is not installed (apt-get install qemu-system-x86)")
        self.nics = [nics] if isinstance(nics, Nic) else list(nics)
        self._cidr = address if address is None or "/" in address else address + "/24"
        self.address = self._cidr.split("/")[0] if self._cidr else None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"strait-{self.name}-"))
        self._boot_timeout = boot_timeout
        self._machine = machine
        self._memory_mib = memory_mib
        self.accelerator = accelerator or ("kvm" if have_kvm() else "tcg")
        self._arguments = list(arguments)
        self._initrd = initrd or assets().initrd
        self._incoming = incoming
        self._shell = None
        self._qmp = None
        self.boot()
        wait = wait and not incoming
        if wait:
            try:
                self.wait_up()
            except BaseException:
                self.close()
                raise

    def _argv(self):
        kept = assets()
        argv = [
            "qemu-system-x86_64", "-name", self.name, "-machine",
            f"{self._machine},memory-backend=memory", "-accel", self.accelerator,
            "-cpu", "host" if self.accelerator == "kvm" else "max", "-smp", "1",
            "-m", f"{self._memory_mib}",
            "-object", f"memory-backend-memfd,id=memory,size={self._memory_mib}M,share=on",
            "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
            "-kernel", kept.kernel, "-initrd", self._initrd, "-append", COMMAND_LINE,
            "-serial", f"file:{self.folder}/console",
            "-chardev", f"socket,id=channel,path={self.folder}/channel,server=on,wait=off",
            "-device", "virtio-serial-pci,vectors=0",
            "-device", "virtserialport,chardev=channel,name=strait",
            "-device", "virtio-rng-pci,vectors=0",
            "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off",
        ]
        if self._incoming:
            argv += ["-incoming", f"unix:{self.folder}/incoming", "-S"]
        for index, nic in enumerate(self.nics):
            # Without KVM, QEMU 7.2 crashes with vhost-user and MSI-X: hence no vectors.
            argv += nic.qemu(index, vectors=self.accelerator == "kvm")
        return argv + self._arguments

    def boot(self):
        """Starts QEMU; returns before the guest is up."""
        for old in ("channel", "console", "qmp"):
            (self.folder / old).unlink(missing_ok=True)
        self._has_block = False
        self.process = Process(self._argv(), self.folder / "qemu.log", name=f"{self.name} (QEMU)")

    def wait_up(self, timeout=None):
        """Waits until commands can be run, and configures the first interface."""
        timeout = timeout or self._boot_timeout
        self._shell = Shell(self.name, self.folder / "channel", self.process.check_running, timeout)
        try:
            self._shell.wait_up(timeout)
        except LabError:
            console = (self.folder / "console").read_text(errors="replace")[-2000:]
            raise LabError(f"{self.name} did not boot within {timeout:g} s:\n"
                           f"{self.process.log_tail()}\n{console}") from None
        if self._cidr:
            self.sh(f"ip addr add {self._cidr} dev eth0 && ip link set eth0 up")
        return self

    @property
    def qmp(self):
        """QEMU's machine protocol."""
        if self._qmp is None:
            self._qmp = Qmp(self.folder / "qmp", self.process.check_running)
        return self._qmp

    def migrate_to(self, other, **parameters):
        """Begins to migrate to other, which waits for it; parameters are QEMU's."""
        wait_until((other.folder / "incoming").exists, 20, f"{other.name} waiting for a migration")
        self.qmp("migrate-set-parameters", **{name.replace("_", "-"): value
                                              for name, value in parameters.items()})
        self.qmp("migrate", uri=f"unix:{other.folder}/incoming")

    def migration(self):
        """What QEMU says of the migration that it was asked for."""
        return self.qmp("query-migrate")

    def take_over(self, other):
        """Goes on as other, which was migrated to here: its commands and its address."""
        self._cidr, self.address = other._cidr, other.address
        self.qmp("cont")
        self._shell = Shell(self.name, self.folder / "channel", self.process.check_running,
                            self._boot_timeout)

    def memory(self):
        """The guest's memory, as a file that can be read while QEMU is there."""
        for link in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            if os.readlink(link).startswith("/memfd:memory-backend-memfd"):
                return open(link, "rb")
        raise LabError(f"{self.name} has no memory in a memfd")

    def run(self, command, timeout=20):
        """As Shell.run()."""
        return self._shell.run(command, timeout)

    def kill(self):
        """SIGKILL, as when a VMM crashes; boot() and wait_up() bring the guest back."""
        self.process.kill()
        self._disconnect()

    def poweroff(self, timeout=20):
        """Ends the guest from inside."""
        self._shell.send("poweroff -f")
        self.process.wait(timeout)
        self._disconnect()

    def pause(self):
        """Stops QEMU (SIGSTOP): the guest takes and gives nothing until resume()."""
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)

    def _disconnect(self):
        if self._qmp:
            self._qmp.close()
            self._qmp = None
        if self._shell:
            self._shell.close()
            self._shell = None

    def close(self):
        self.process.kill()
        self._disconnect()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
