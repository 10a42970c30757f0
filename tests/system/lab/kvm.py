# SPDX-License-Identifier: BSD-3-Clause
"""A machine with a /dev/kvm that runs unmodified Linux guests: an emulated one, whose CPUs have
AMD's virtualisation. And guests in it, by Strait's own VMM or by QEMU. Nothing here knows a test.
"""

import itertools
import shlex
import time

from .assets import assets
from .errors import LabError, Unavailable
from .guest import COMMAND_LINE, Nic
from .machine import Machine, MachineGuest
from .process import wait_until
from .shell import without_answers
from .switch import binaries


class KvmMachine(Machine):
    """Boots in about 4 s. It has two NUMA nodes: the second has the last CPU, and half of the
    memory. Logs are each guest's console and what its VMM says, too."""

    def __init__(self, logs, guests=4, memory_mib=2048, cpus=3, boot_timeout=120):
        kept = assets()
        self.cpus = cpus
        super().__init__("kvm", logs, guests, [
            # On a CPU of QEMU's own family Linux looks for an AGP bridge on every bus, which takes
            # guests seconds. With XSAVE they warn of sizes that contradict each other.
            "-cpu", "max,family=25,model=1,-xsave", "-smp", str(cpus), "-m", str(memory_mib),
            "-object", f"memory-backend-ram,id=near,size={memory_mib // 2}M",
            "-object", f"memory-backend-ram,id=far,size={memory_mib // 2}M",
            "-numa", f"node,nodeid=0,cpus=0-{cpus - 2},memdev=near",
            "-numa", f"node,nodeid=1,cpus={cpus - 1},memdev=far",
            "-kernel", kept.kernel, "-initrd", kept.machine_initrd,
            "-append", self.command_line("ttyS0"),
        ], boot_timeout)
        try:
            status, output = self.run("modprobe kvm-amd && [ -c /dev/kvm ] && modprobe tun", 60)
            if status:
                raise Unavailable(f"this QEMU emulates no CPU that has KVM: {output.strip()}")
        except BaseException:
            self.close()
            raise


class KvmGuest(MachineGuest):
    """A Linux guest in a KvmMachine, by the VMM that a subclass has the command line of; its
    console, which is the VMM's standard input and output, has its shell. Interfaces are eth0, ...
    in order of the nics, whose paths are the machine's; the first gets address, with /24 unless it
    says otherwise, and is brought up. disk is a file in the machine, the guest's /dev/vda.

    kernel is an ELF image, or a bzImage; initrd is the guest's initial file system, if not the
    usual one. Pass wait=False to boot several at once, then call wait_up(). boot_seconds is the
    time until a shell answered.
    """

    _numbers = itertools.count(1)

    def __init__(self, machine, nics=(), address=None, memory_mib=256, cpus=1, disk=None,
                 kernel=None, initrd=None, name=None, arguments=(), wait=True, timeout=180):
        name = name or f"guest{next(KvmGuest._numbers)}"
        self._log = machine.logs / f"{name}.log"
        self._console = machine.logs / f"{name}.console"
        super().__init__(machine, name)
        self.nics = [nics] if isinstance(nics, Nic) else list(nics)
        self._cidr = address if address is None or "/" in address else address + "/24"
        self.address = self._cidr.split("/")[0] if self._cidr else None
        self.memory_mib, self.cpus, self.disk = memory_mib, cpus, disk
        self.kernel = kernel or assets().kernel
        self.initrd = initrd or assets().initrd
        self.arguments = list(arguments)
        self._timeout = timeout
        self.pid = None
        try:
            self.boot()
            if wait:
                self.wait_up()
        except BaseException:
            self.close()
            raise

    @property
    def _cpus(self):
        # On the first CPU the emulation confuses, once in a while, what a guest has in its
        # registers and tables with what the machine's kernel has, which ends all of it. On others
        # it has never.
        return f"taskset -c 1-{self.machine.cpus - 1}"

    def argv(self):
        """The command line of its VMM, or its console: that is standard input and output."""
        raise NotImplementedError

    def boot(self):
        """Starts the VMM; returns before the guest is up."""
        self._connect(self._timeout, self._console)
        self._has_block = False
        self._begin = time.monotonic()
        command = " ".join(shlex.quote(str(word)) for word in self.argv())
        pid = f"/run/{self.name}.pid"
        self.machine.sh(f"rm -f {pid}")
        # Its end is the end of that command.
        self._number = self.machine.send(
            f"echo $$ > {pid}; exec {self._cpus} {command} "
            f"<> {self.port} >&0 2>> /lab/{self._log.name}", seconds=86400)
        self.pid = int(self.machine.sh(f"until [ -s {pid} ]; do busybox usleep 10000; done; "
                                       f"cat {pid}"))

    def wait_up(self, timeout=None):
        """Waits until commands can be run, and configures the first interface."""
        def up():
            try:
                self._shell.wait_up(1)
                return True
            except LabError:
                if not self.machine.alive(self.pid):
                    raise LabError(f"its VMM ended with status {self.wait(10)}") from None
                return False
        try:
            wait_until(up, timeout or self._timeout, "booting", 0)
        except LabError as error:
            raise LabError(f"{self.name} did not boot: {error}\n{self._said()}") from None
        self.boot_seconds = time.monotonic() - self._begin
        if self._cidr:
            self.sh(f"ip addr add {self._cidr} dev eth0 && ip link set eth0 up")
        return self

    def _said(self):
        """What its VMM logged last, and its kernel said: that is quiet until something ends it, and
        before a triple fault, too."""
        log, console = (path.read_bytes() if path.exists() else b""
                        for path in (self._log, self._console))
        return (f"{self.name}'s VMM logged:\n{log.decode(errors='replace')[-2000:]}\n"
                f"{self.name}'s console:\n{without_answers(console)[-4000:]}")

    def state(self):
        """As Host.state(); of a guest that has begun anew also what was said around that."""
        told = super().state()
        if self._shell and self._shell.begun > 1:
            told += f"; times that it has begun anew: {self._shell.begun - 1}\n{self._said()}\n"
        return told

    def wait(self, timeout=20):
        """Waits for the VMM's end and returns its status; boot() brings the guest back."""
        status = self.machine.wait(self._number, timeout)[0]
        self.pid = None
        return status

    def poweroff(self, timeout=20):
        """Ends the guest from inside; returns the VMM's status. If it does not end, what it is
        at is part of the error."""
        self.send("poweroff")
        try:
            return self.wait(timeout)
        except LabError as error:
            try:
                at = self.sh("cat /proc/uptime; ps", 10)
            except LabError as other:
                at = str(other)
            raise LabError(f"{self.name} does not switch itself off: {error}; {at}") from None

    def kill(self):
        """SIGKILL, as when a VMM crashes; boot() brings the guest back."""
        self.machine.kill(self.pid)
        self.wait()

    def close(self):
        if self.pid and self.machine.alive(self.pid):
            self.kill()
        self._release()


class QemuKvmGuest(KvmGuest):
    """By QEMU."""

    def argv(self):
        argv = [
            "qemu-system-x86_64", "-name", self.name, "-machine", "q35,memory-backend=memory",
            "-accel", "kvm", "-cpu", "host", "-smp", self.cpus, "-m", self.memory_mib,
            "-object", f"memory-backend-memfd,id=memory,size={self.memory_mib}M,share=on",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", self.kernel, "-initrd", self.initrd, "-append", COMMAND_LINE,
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-monitor", f"pipe:/run/{self.name}.monitor", "-device", "virtio-rng-pci",
        ]
        for index, nic in enumerate(self.nics):
            argv += nic.qemu(index, vectors=True)
        if self.disk:
            argv += ["-drive", f"file={self.disk},if=none,id=disk,format=raw",
                     "-device", "virtio-blk-pci,drive=disk"]
        return argv + self.arguments

    def boot(self):
        monitor = f"/run/{self.name}.monitor"
        self.machine.sh(f"rm -f {monitor}.*; mkfifo {monitor}.in {monitor}.out")
        super().boot()

    def press_power_button(self):
        self.machine.sh(f"echo system_powerdown > /run/{self.name}.monitor.in")


class VmmGuest(KvmGuest):
    """By strait-vmm; control is its control socket's path in the machine."""

    @property
    def control(self):
        return f"/run/{self.name}.control"

    def argv(self):
        program = binaries() / "strait-vmm"
        if not program.exists():
            raise Unavailable(f"{program} was not built")
        argv = [program, "run", "--kernel", self.kernel, "--initrd", self.initrd,
                "--command-line", COMMAND_LINE, "--memory", f"{self.memory_mib}M",
                "--cpus", self.cpus, "--console", "stdio", "--control", self.control]
        for nic in self.nics:
            argv += ["--net",
                     f"socket={nic.path},mac={nic.mac},queues={nic.queues}{nic.extra}"]
        if self.disk:
            argv += ["--disk", self.disk]
        return argv + self.arguments

    def press_power_button(self):
        self.machine.kill(self.pid, "TERM")


class StraitctlGuest(KvmGuest):
    """By `straitctl vm run` on a switch's bridge, with its shell by `straitctl vm console`, whose
    end is its own. It has one network device, which `--net` among the arguments may describe."""

    def __init__(self, machine, bridge, *arguments, **options):
        self.bridge = bridge
        super().__init__(machine, *arguments, **options)

    def argv(self):
        return [binaries() / "straitctl", "vm", "console", self.name]

    def boot(self):
        words = [binaries() / "straitctl", "vm", "run", self.name, "--bridge", self.bridge,
                 "--kernel", self.kernel, "--initrd", self.initrd,
                 "--command-line", COMMAND_LINE, "--memory", f"{self.memory_mib}M",
                 "--cpus", self.cpus]
        if self.disk:
            words += ["--disk", self.disk]
        status, output = self.machine.run(
            f"{self._cpus} " + shlex.join(map(str, words + self.arguments)), 60)
        if status:
            raise LabError(f"{self.name} was not started: {output.strip()}")
        super().boot()

    def close(self):
        self.machine.run(f"{binaries()}/straitctl vm stop --force {self.name}", 60)
        super().close()
