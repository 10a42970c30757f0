# SPDX-License-Identifier: BSD-3-Clause
"""straitd in a run folder of its own, and straitctl to talk to it."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from .errors import LabError
from .process import Process, wait_until


class Refused(LabError):
    """straitctl ended with status 1 (refused) or 2 (no answer); sentence is what it said."""

    def __init__(self, words, status, sentence):
        super().__init__(f"straitctl {' '.join(words)}: status {status}: {sentence}")
        self.status = status
        self.sentence = sentence


def binaries():
    """The folder of straitd and straitctl: $STRAIT_BIN, or the release build's."""
    configured = os.environ.get("STRAIT_BIN")
    folder = pathlib.Path(configured) if configured else (
        pathlib.Path(__file__).resolve().parents[3] / "build/release/bin")
    for name in ("straitd", "straitctl"):
        if not (folder / name).exists():
            raise LabError(f"{folder / name} does not exist: build it, or set STRAIT_BIN to the "
                           f"folder it is in")
    return folder


def huge_pages_free():
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        return next(int(line.split()[1]) for line in meminfo if line.startswith("HugePages_Free"))


class Control:
    """What straitctl can be asked of a daemon; subclasses have _ctl() and the daemon's run_dir."""

    run_dir = None

    def _ctl(self, words):
        """Runs straitctl and returns (status, standard output, standard error)."""
        raise NotImplementedError

    def ctl(self, *words):
        """Runs straitctl WORDS --json and returns what it printed, parsed; Refused if it fails.

        A single string is split at blanks: ctl("port set vm1 --vlan 10").
        """
        if len(words) == 1:
            words = words[0].split()
        words = [str(word) for word in words]
        status, output, errors = self._ctl([*words, "--json"])
        if status:
            raise Refused(words, status, (errors or output).strip())
        try:
            return json.loads(output) if output.strip() else None
        except json.JSONDecodeError as error:
            raise LabError(f"straitctl {' '.join(words)} --json printed no JSON ({error}):\n"
                           f"{output[:2000]}") from None

    def text(self, *words):
        """Runs straitctl as a person would: (status, standard output, standard error)."""
        if len(words) == 1:
            words = words[0].split()
        return self._ctl(words)

    def socket(self, name):
        """A path for a port's vhost-user socket."""
        return str(self.run_dir / f"{name}.sock")

    def add_vhost(self, name, *words, bridge="br0", mode="server"):
        """Adds a vhost-user port and returns its socket's path."""
        path = self.socket(name)
        self.ctl("port", "add", name, "--bridge", bridge, "--type", "vhost-user", "--socket", path,
                 "--mode", mode, *words)
        return path

    def add_nic(self, name, device, *words, bridge="br0"):
        self.ctl("port", "add", name, "--bridge", bridge, "--type", "nic", "--device", device,
                 *words)


class Switch(Control):
    """Starts straitd and returns when it answers; config is a list of CLI commands run at start.
    It keeps no configuration unless persist is set: then in its folder, or in state_dir.

    Without huge pages unless huge is set, so that tests can run anywhere and side by side. netns
    is a Netns to run in: taps and host ports appear there.
    """

    def __init__(self, workers="1", main_cpu=None, huge=False, memory_mib=None, config=(),
                 netns=None, arguments=(), run_dir=None, start_timeout=30, persist=False,
                 state_dir=None):
        self._bin = binaries()
        self._own_folder = run_dir is None
        self.folder = pathlib.Path(run_dir or tempfile.mkdtemp(prefix="strait-switch-"))
        self.run_dir = self.folder / "run"
        self.run_dir.mkdir(exist_ok=True)
        self._argv = [self._bin / "straitd", "--run-dir", self.run_dir, "--workers", workers]
        if main_cpu is not None:
            self._argv += ["--main-cpu", str(main_cpu)]
        if not huge:
            self._argv.append("--no-huge")
        if memory_mib:
            self._argv += ["--memory", str(memory_mib)]
        if state_dir:
            self._argv += ["--state-dir", state_dir]
        elif not persist and not config:
            self._argv.append("--no-persist")
        if config:
            path = self.folder / "config"
            path.write_text("".join(line + "\n" for line in config))
            self._argv += ["--config", path]
        self._argv += list(arguments)
        if netns:
            self._argv = netns.argv(*map(str, self._argv))
        self._start_timeout = start_timeout
        self.process = None
        self.start()

    def start(self):
        """Starts the daemon; start_seconds is the time until it answered."""
        begin = time.monotonic()
        self.process = Process(self._argv, self.folder / "log", name="straitd")

        def answers():
            self.process.check_running()
            return self._listens() and self._ctl(["version", "--json"])[0] == 0
        try:
            wait_until(answers, self._start_timeout, "straitd answering", 0.005)
        except LabError as error:
            log = self.process.log_tail()
            self.process.kill()
            raise LabError(f"{error}\n{log}") from None
        self.start_seconds = time.monotonic() - begin
        return self

    def _listens(self):
        """Whether there is somebody to ask: a straitctl that asks in vain takes CPU time from the
        daemon that starts."""
        with socket.socket(socket.AF_UNIX) as channel:
            return channel.connect_ex(str(self.run_dir / "control.sock")) == 0

    def _ctl(self, words):
        done = subprocess.run(
            [self._bin / "straitctl", "--run-dir", self.run_dir, *map(str, words)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def log(self):
        return self.process.log()

    def kill(self):
        """SIGKILL, as when the switch crashes; start() brings it back on the same run folder."""
        self.process.kill()

    def stop(self, timeout=20):
        """SIGTERM; LabError unless the daemon ends with status 0."""
        status = self.process.terminate(timeout)
        if status:
            raise LabError(f"straitd ended with status {status}:\n{self.process.log_tail(60)}")

    def restart(self):
        self.stop()
        return self.start()

    def fds(self):
        return self.process.fds()

    def memory(self):
        return self.process.memory()

    def close(self):
        """Ends the daemon if it runs; LabError if it had ended by itself or does not end well."""
        try:
            if self.process.running:
                self.stop()
            elif self.process.returncode not in (0, -9):
                raise LabError(f"straitd had ended with status {self.process.returncode}:\n"
                               f"{self.process.log_tail(60)}")
        finally:
            if self._own_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
