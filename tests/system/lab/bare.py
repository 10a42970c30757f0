# SPDX-License-Identifier: BSD-3-Clause
"""The bare-metal guest by strait-vmm on this machine's own /dev/kvm: it does what the words of its
command line say (tests/vmm/guest/main.cc), and its console is read as lines "key=value"."""

import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import tempfile

from .errors import LabError, Unavailable
from .process import Process, wait_until
from .switch import binaries


class BareGuest:
    """Starts strait-vmm and does not wait for its end, nor for the guest.

    nets and disks are the values of --net and --disk. linux: the image without PVH's entry. The
    folder has the console (without one: the arguments say where it is), the control socket, and a
    folder for temporary files, which the VMM is expected to leave empty. wrapper: the words of what
    becomes strait-vmm.
    """

    # Words to begin with for one that leaves its CPU to others while it waits, and waits for long.
    PATIENT = "wait=irq seconds=600"

    _numbers = itertools.count(1)

    def __init__(self, words="", nets=(), disks=(), arguments=(), linux=False, kernel=None,
                 memory="64M", cpus=1, reboot=False, console=True, wrapper=()):
        self.name = f"bare{next(BareGuest._numbers)}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"strait-{self.name}-"))
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.control = self.folder / "control"
        self._console = self.folder / "console"
        argv = [*wrapper, self.program(), "run", "--kernel", kernel or self.image(linux),
                "--memory", memory, "--cpus", cpus, "--control", self.control, "--name", self.name]
        if words:
            argv += ["--command-line", words]
        if console:
            argv += ["--console", f"file:{self._console}"]
        for net in nets:
            argv += ["--net", net]
        for disk in disks:
            argv += ["--disk", disk]
        if not reboot:
            argv.append("--no-reboot")
        self.folder.chmod(0o777)  # for those who become somebody else
        if "ASAN_OPTIONS" in os.environ:
            argv.append("--no-jail")  # sanitizers need system calls that it forbids
        self.process = Process([*argv, *arguments], self.folder / "log", name=self.name,
                               env={**os.environ, "TMPDIR": str(self.temporary)})

    @staticmethod
    def program():
        path = binaries() / "strait-vmm"
        if not path.exists():
            raise Unavailable(f"{path} was not built")
        return path

    @staticmethod
    def image(linux=False):
        path = binaries() / ("strait-test-guest-linux" if linux else "strait-test-guest")
        if not path.exists():
            raise Unavailable(f"{path} was not built")
        return path

    @property
    def pid(self):
        """The process that has the guest: the child of the one that waits for it, in its jail."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return int(children.split()[0]) if children.split() else pid

    # ---- what the guest and its VMM say ----

    def console(self):
        try:
            return self._console.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def log(self):
        """What the VMM says, without its lines' times."""
        return [re.sub(r"^\S+Z ", "", line) for line in self.process.log().splitlines()]

    def told(self, key):
        """What the guest has said of key so far, each time, in whole lines."""
        return re.findall(rf"^{re.escape(key)}=(.*)\n", self.console(), re.M)

    def text(self, key):
        """What it said of key last."""
        told = self.told(key)
        if not told:
            raise LabError(f"{self.name} said nothing of {key!r}:\n{self._said()}")
        return told[-1]

    def number(self, key):
        return int(self.text(key), 0)

    def wait_told(self, key, value=None, times=1, timeout=60):
        """Until it has said so; value: as its word."""
        def told():
            said = [word for word in self.told(key) if value in (None, word)]
            if len(said) >= times:
                return True
            if not self.process.running:
                # Its last words may have come in between.
                if len([word for word in self.told(key) if value in (None, word)]) >= times:
                    return True
                raise LabError(f"it ended with status {self.process.returncode}")
            return False
        what = key if value is None else f"{key}={value}"
        try:
            wait_until(told, timeout, f"{self.name} saying {what}", 0.01)
        except LabError as error:
            raise LabError(f"waiting for {what}: {error}\n{self._said()}") from None

    def _said(self):
        return f"{self.console()[-3000:]}\n{self.process.log_tail()}"

    # ---- its end ----

    def wait(self, timeout=60):
        """The VMM's status at its end."""
        try:
            return self.process.wait(timeout)
        except LabError as error:
            raise LabError(f"{error}\n{self.console()[-3000:]}") from None

    def finish(self, timeout=60):
        """Waits until the guest has switched itself off; LabError if it ends by any other way."""
        status = self.wait(timeout)
        if status != 0:
            raise LabError(f"{self.name} ended with status {status}:\n{self._said()}")
        return self

    def kill(self):
        self.process.kill()

    def close(self):
        if not self.folder.exists():
            return
        try:
            if self.process.running:
                self.kill()
            left = sorted(path.name for path in self.temporary.iterdir())
            if left:
                raise LabError(f"{self.name}'s VMM left {left} behind")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- its control socket ----

    def vm(self, method, **parameters):
        """The result of a method of its control socket."""
        request = {"jsonrpc": "2.0", "id": 1, "method": f"vm.{method}", "params": parameters}
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)

            def connect():
                try:
                    s.connect(str(self.control))
                    return True
                except (FileNotFoundError, ConnectionRefusedError):
                    return False  # it is there, or listens, in a moment
            wait_until(connect, 60, f"{self.name}'s control socket", 0.01)
            s.sendall(json.dumps(request).encode() + b"\n")
            line = s.makefile().readline()
        if not line:
            return None  # it ended before the answer
        answer = json.loads(line)
        if "result" not in answer:
            raise LabError(f"{self.name}: vm.{method} says {answer}")
        return answer["result"]

    def press(self):
        """Its power button."""
        self.vm("stop")
