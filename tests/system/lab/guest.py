# SPDX-License-Identifier: BSD-3-Clause
"""A Linux guest in QEMU with vhost-user network devices, driven over a virtio-serial port."""

import base64
import dataclasses
import itertools
import os
import pathlib
import shutil
import signal
import socket
import tempfile
import threading

from .assets import assets
from .errors import LabError, Unavailable
from .host import Host
from .process import Process, wait_until

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
    Sizes are descriptors a ring.
    """
    path: str
    mac: str
    server: bool = False
    packed: bool = False
    mergeable: bool = True
    mtu: int | None = None
    rx_queue_size: int = 256
    tx_queue_size: int = 256
    extra: str = ""


class Guest(Host):
    """Boots on construction, in about 2 s of emulation; interfaces are eth0, eth1, ... in order.

    The first interface gets address (with /24 unless it says otherwise) and is brought up. Guests
    whose switch is not there yet wait for it before they boot: pass wait=False and call wait_up().
    """

    _numbers = itertools.count(1)

    def __init__(self, nics, address=None, name=None, memory_mib=192, accelerator=None,
                 machine="q35", wait=True, boot_timeout=60, arguments=()):
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
        self._channel = None
        self._answers = {}
        self._changed = threading.Condition()
        self._next = 0
        self.boot()
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
            "-kernel", kept.kernel, "-initrd", kept.initrd, "-append",
            "console=ttyS0 quiet mitigations=off nokaslr panic=-1 tsc=reliable no_timer_check "
            "net.ifnames=0 ipv6.disable=1",
            "-serial", f"file:{self.folder}/console",
            "-chardev", f"socket,id=channel,path={self.folder}/channel,server=on,wait=off",
            "-device", "virtio-serial-pci,vectors=0",
            "-device", "virtserialport,chardev=channel,name=strait",
            "-device", "virtio-rng-pci,vectors=0",
        ]
        on = {True: "on", False: "off"}
        for index, nic in enumerate(self.nics):
            mode = "server=on" if nic.server else "reconnect=1"
            # Without KVM, QEMU 7.2 crashes with vhost-user and MSI-X: hence no vectors.
            vectors = "" if self.accelerator == "kvm" else ",vectors=0"
            argv += [
                "-chardev", f"socket,id=nic{index},path={nic.path},{mode}",
                "-netdev", f"vhost-user,id=net{index},chardev=nic{index}",
                "-device",
                f"virtio-net-pci,netdev=net{index},mac={nic.mac},packed={on[nic.packed]},"
                f"mrg_rxbuf={on[nic.mergeable]},rx_queue_size={nic.rx_queue_size},"
                f"tx_queue_size={nic.tx_queue_size}{vectors}"
                + (f",host_mtu={nic.mtu}" if nic.mtu else "") + nic.extra,
            ]
        return argv + self._arguments

    def boot(self):
        """Starts QEMU; returns before the guest is up."""
        for old in ("channel", "console"):
            (self.folder / old).unlink(missing_ok=True)
        self._answers.clear()
        self._has_block = False
        self.process = Process(self._argv(), self.folder / "qemu.log", name=f"{self.name} (QEMU)")

    def wait_up(self, timeout=None):
        """Waits until commands can be run, and configures the first interface."""
        timeout = timeout or self._boot_timeout
        path = self.folder / "channel"

        def connect():
            self.process.check_running()
            channel = socket.socket(socket.AF_UNIX)
            try:
                channel.connect(str(path))
                return channel
            except OSError:
                channel.close()
                return None
        self._channel = wait_until(connect, timeout, f"{self.name}: QEMU listening at {path}")
        threading.Thread(target=self._read, args=(self._channel,), daemon=True).start()
        try:
            self._await(0, timeout)
        except LabError:
            console = (self.folder / "console").read_text(errors="replace")[-2000:]
            raise LabError(f"{self.name} did not boot within {timeout:g} s:\n"
                           f"{self.process.log_tail()}\n{console}") from None
        if self._cidr:
            self.sh(f"ip addr add {self._cidr} dev eth0 && ip link set eth0 up")
        return self

    def _read(self, channel):
        buffer = b""
        while True:
            try:
                data = channel.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            with self._changed:
                for line in lines:
                    words = line.split()
                    if len(words) >= 2 and words[0].startswith(b"@"):
                        output = base64.b64decode(words[2]) if len(words) > 2 else b""
                        self._answers[int(words[0][1:])] = (int(words[1]), output.decode(
                            errors="replace"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _await(self, number, timeout):
        with self._changed:
            if not self._changed.wait_for(
                    lambda: number in self._answers or not self.process.running, timeout):
                raise LabError(f"{self.name} did not answer within {timeout:g} s")
            if number not in self._answers:
                raise LabError(f"{self.name}: QEMU ended with status {self.process.returncode}:\n"
                               f"{self.process.log_tail()}")
            return self._answers.pop(number)

    def run(self, command, timeout=20):
        """Runs a shell command in the guest and returns (status, output), both streams in one.

        LabError if it takes longer than timeout seconds. Threads may run several at once.
        """
        with self._changed:
            self._next += 1
            number = self._next
            line = f"{number} {timeout:.0f} {base64.b64encode(command.encode()).decode()}\n"
            try:
                self._channel.sendall(line.encode())
            except OSError as error:
                raise LabError(f"{self.name} is gone: {error}") from None
        status, output = self._await(number, timeout + 10)
        if status in (124, 137, 143) and "timeout" not in command:
            raise LabError(f"{self.name}: {command!r} took longer than {timeout:g} s; "
                           f"its output: {output.strip()}")
        return status, output

    def counters(self, interface="eth0"):
        """The kernel's counters of an interface: rx_packets, tx_bytes, rx_errors, ..."""
        folder = f"/sys/class/net/{interface}/statistics"
        lines = self.sh(f"cd {folder} && for f in *; do echo $f $(cat $f); done").splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def kill(self):
        """SIGKILL, as when a VMM crashes; boot() and wait_up() bring the guest back."""
        self.process.kill()
        self._disconnect()

    def poweroff(self, timeout=20):
        """Ends the guest from inside."""
        with self._changed:
            line = base64.b64encode(b"poweroff -f").decode()
            self._channel.sendall(f"{self._next + 1} 10 {line}\n".encode())
        self.process.wait(timeout)
        self._disconnect()

    def pause(self):
        """Stops QEMU (SIGSTOP): the guest takes and gives nothing until resume()."""
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)

    def _disconnect(self):
        if self._channel:
            self._channel.close()
            self._channel = None

    def close(self):
        self.process.kill()
        self._disconnect()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
