# SPDX-License-Identifier: BSD-3-Clause
"""A machine that QEMU emulates, for guests of its own: itself, a guest in it, the switch in it.

Its files are those of this machine (what it writes goes to memory), so that what was built here
runs there by the same path. Nothing here knows a hypervisor, or a test.
"""

import pathlib
import re
import shlex
import shutil
import tempfile
import time

from .assets import assets
from .errors import LabError, Unavailable
from .host import Host
from .process import Process, wait_until
from .shell import Shell
from .switch import Control, binaries

_HERE = pathlib.Path(__file__).resolve().parent


class Machine(Host):
    """Boots on construction; subclasses say of what.

    Logs are kept in the folder logs: the console, and what is written to /lab in the machine.
    guests is how many there can be at a time; arguments are QEMU's for the CPU, memory and kernel;
    layer is a folder with files above this machine's.
    """

    def __init__(self, name, logs, guests, arguments, boot_timeout, layer=None):
        self.name = name
        if shutil.which("qemu-system-x86_64") is None:
            raise Unavailable("QEMU is not installed (apt-get install qemu-system-x86)")
        self.logs = pathlib.Path(logs)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"strait-{name}-"))
        self.free_slots = list(range(guests))
        self._shell = None
        argv = [
            "qemu-system-x86_64", "-name", name, "-machine", "q35", "-accel", "tcg,tb-size=512",
            "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
            *arguments, "-serial", f"file:{self.logs}/console", "-device", "virtio-serial-pci",
        ]
        for tag, path, mode in (("host", "/", "readonly=on,multidevs=remap"),
                                ("out", self.logs, "readonly=off"),
                                ("layer", layer, "readonly=on")):
            if path:
                argv += ["-virtfs",
                         f"local,path={path},mount_tag={tag},security_model=none,{mode}"]
        for port in ("machine", *(f"guest{slot}" for slot in range(guests))):
            argv += ["-chardev", f"socket,id={port},path={self.folder}/{port},server=on,wait=off",
                     "-device", f"virtserialport,chardev={port},name={port}"]
        begin = time.monotonic()
        self.process = Process(argv, self.logs / "qemu.log", name=f"{name} (QEMU)")
        try:
            self._shell = self.shell("machine", name, boot_timeout)
            self._shell.wait_up(boot_timeout)
        except LabError as error:
            end = self.console()[-3000:]
            self.close()
            raise LabError(f"{name} did not boot: {error}\n{end}") from None
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - begin

    @staticmethod
    def command_line(console, **variables):
        """Of the machine's kernel; machine_init.sh and machine.sh have the variables."""
        kept = assets()
        variables |= {"LAB": _HERE, "BUSYBOX": kept.busybox, "KERNEL": kept.kernel_root}
        # A kernel that gets no timer interrupt in time, for the host is busy, gives up otherwise.
        return (f"console={console} quiet mitigations=off panic=-1 no_timer_check net.ifnames=0 "
                "sysctl.net.ipv6.conf.default.disable_ipv6=1 "
                + " ".join(f"{name}={value}" for name, value in variables.items()))

    def shell(self, port, name, timeout, log=None):
        """The shell behind a virtio port, which is name's."""
        return Shell(name, self.folder / port, self.process.check_running, timeout, log)

    def run(self, command, timeout=20):
        """As Shell.run()."""
        return self._shell.run(command, timeout)

    def answers(self):
        """Whether each of its CPUs runs commands, within half a minute."""
        try:
            return self.run("for cpu in $(seq 0 $(($(nproc) - 1))); do "
                            "taskset -c $cpu true || exit 1; done")[0] == 0
        except LabError:
            return False

    def send(self, command, seconds=10):
        """Begins a command without waiting for its end; returns its number."""
        return self._shell.send(command, seconds)

    def wait(self, number, timeout):
        """As Shell.wait()."""
        return self._shell.wait(number, timeout)

    def write(self, path, text):
        """Makes a file."""
        self.sh(f"cat > {path} << 'end'\n{text}\nend")

    def spawn(self, command, log):
        """Begins a command, its output in /lab/log, and returns its process's number."""
        return int(self.sh(f"setsid {command} >> /lab/{log} 2>&1 < /dev/null & echo $!"))

    def kill(self, pid, signal="KILL"):
        """Ends a process and waits until it is gone."""
        self.sh(f"kill -{signal} {pid}; i=0; while {self._alive(pid)}; do "
                f"busybox usleep 20000; i=$((i+1)); [ $i -lt 1000 ] || exit 1; done", 30)

    def alive(self, pid):
        return self.run(self._alive(pid))[0] == 0

    @staticmethod
    def _alive(pid):
        # Not kill -0: it takes one that nobody has waited for yet to be alive.
        return f"[ -e /proc/{pid}/exe ]"

    def console(self):
        """What its kernel printed, and whatever runs below that."""
        path = self.logs / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self):
        if self._shell:
            self._shell.close()
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class MachineGuest(Host):
    """A guest in a machine, driven over its console, which leads to the machine's virtio port at
    self.port."""

    def __init__(self, machine, name):
        self.machine, self.name, self.address = machine, name, None
        if not machine.free_slots:
            raise LabError(f"{machine.name} has no virtio port left for another guest")
        self._slot = machine.free_slots.pop()
        self.port = f"/run/port/guest{self._slot}"
        self._shell = None

    def _connect(self, timeout, log=None):
        """Takes up the port from this side, anew if need be: before a guest has it."""
        if self._shell:
            self._shell.close()
        self._shell = self.machine.shell(f"guest{self._slot}", self.name, timeout, log)

    def run(self, command, timeout=20):
        """As Shell.run()."""
        return self._shell.run(command, timeout)

    def send(self, command, seconds=10):
        """Begins a command without waiting for its end."""
        self._shell.send(command, seconds)

    def _release(self):
        """Gives the port back, when nothing in the machine has it open any more."""
        if self._shell:
            self._shell.close()
            self._shell = None
        if self._slot is not None:
            self.machine.free_slots.append(self._slot)
            self._slot = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class MachineSwitch(Control):
    """straitd in a machine, in its usual run folder."""

    def __init__(self, machine, arguments=(), config=(), nice=0, huge=False):
        self.machine = machine
        self.run_dir = pathlib.Path("/run/strait")
        self._bin = binaries()
        words = ["nice", "-n", nice, self._bin / "straitd", *([] if huge else ["--no-huge"]),
                 "--memory", "48", *arguments]
        if config:
            machine.write("/run/strait.conf", "\n".join(config))
            words += ["--config", "/run/strait.conf"]
        else:
            words.append("--no-persist")
        self._command = " ".join(shlex.quote(str(word)) for word in words)
        self.pid = None
        self.start()

    def start(self, timeout=60):
        """Starts the daemon and returns when it answers."""
        self.pid = self.machine.spawn(self._command, "straitd.log")
        status, output = self.machine.run(
            f"until {self._bin}/straitctl version > /dev/null 2>&1; do "
            f"kill -0 {self.pid} || exit 1; busybox usleep 100000; done", timeout)
        if status:
            raise LabError(f"straitd did not start in {self.machine.name}: {output}\n"
                           f"{self.log()[-2000:]}")
        return self

    def _ctl(self, words):
        status, output = self.machine.run(" ".join(
            [f"{self._bin}/straitctl", *(shlex.quote(str(word)) for word in words)]), 30)
        return (status, "", output) if status else (status, output, "")

    def log(self):
        path = self.machine.logs / "straitd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_log(self, pattern, timeout=10, begin=0):
        """Waits until what was logged from begin on matches; returns the match."""
        return wait_until(lambda: re.search(pattern, self.log()[begin:]), timeout,
                          f"straitd logging {pattern!r}", 0.1)

    def kill(self):
        """SIGKILL, as when the switch crashes; start() brings it back."""
        self.machine.kill(self.pid)

    def stop(self):
        self.machine.kill(self.pid, "TERM")

    def close(self):
        """Ends the daemon; LabError if it had ended by itself."""
        if not self.machine.alive(self.pid):
            raise LabError(f"straitd had ended in {self.machine.name}:\n{self.log()[-3000:]}")
        self.stop()
