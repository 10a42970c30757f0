# SPDX-License-Identifier: BSD-3-Clause
"""A systemd of a test's own, on a copy of this machine's files that is gone with it."""

import os
import pathlib
import shutil
import subprocess
import tempfile

from .errors import LabError, Unavailable
from .process import Process, wait_until

SCRIPT = pathlib.Path(__file__).parent / "container.sh"


class Container:
    """Namespaces of its own (but the user's), with systemd as their first process.

    What is installed, written or started in it is nobody's but its own. Its files are in memory,
    over those of the machine, which it reads and cannot change.
    """

    def __init__(self):
        if os.geteuid() != 0:
            raise Unavailable("namespaces need root")
        if not os.access("/lib/systemd/systemd", os.X_OK):
            raise Unavailable("systemd is not installed")
        with open("/proc/filesystems", encoding="ascii") as known:
            if "overlay" not in known.read():
                raise Unavailable("this kernel has no overlayfs")
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="strait-container-", dir="/run"))
        (self._folder / "top").mkdir()
        self.process = Process(
            ["unshare", "--mount", "--pid", "--cgroup", "--net", "--uts", "--ipc", "--fork",
             "--kill-child", "sh", SCRIPT, self._folder / "top"], self._folder / "log",
            name="systemd")
        self.init = None
        try:
            self.init = wait_until(self._find_init, 20, "systemd", 0.05)
            wait_until(self._is_up, 60, "systemd reaching its target", 0.1)
            self.sh("ip link set lo up")
        except LabError as error:
            log = self.process.log_tail()
            self.close()
            raise LabError(f"{error}\n{log}") from None

    def _find_init(self):
        self.process.check_running()
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = children.read_text(encoding="ascii").split()
        if found and pathlib.Path(f"/proc/{found[0]}/comm").read_text().strip() == "systemd":
            return found[0]
        return None

    def _is_up(self):
        self.process.check_running()
        return self.run("systemctl is-active --quiet basic.target")[0] == 0

    def argv(self, *words):
        """The command that runs these words in here."""
        return ["nsenter", "-t", self.init, "-m", "-p", "-C", "-n", "-u", "-i", "--wdns=/", *words]

    def run(self, command, timeout=60):
        """(status, what was printed) of a shell's command."""
        done = subprocess.run(
            self.argv("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "sh",
                      "-c", command),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
            timeout=timeout)
        return done.returncode, done.stdout

    def sh(self, command, timeout=60):
        status, output = self.run(command, timeout)
        if status:
            raise LabError(f"{command}: status {status}\n{output}")
        return output

    def properties(self, unit, *names):
        text = self.sh(f"systemctl show {unit} " + " ".join(f"-p {name}" for name in names))
        return dict(line.split("=", 1) for line in text.splitlines())

    def close(self):
        if self.process.running:
            self.process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
