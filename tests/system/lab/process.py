# SPDX-License-Identifier: BSD-3-Clause
"""A child process with its output in a file, that does not outlive us."""

import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time

from .errors import LabError

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    # A shell lets what it runs in the background ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def wait_until(condition, timeout, what, interval=0.02):
    """Polls until condition() is true and returns its value; LabError after timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


def connect(path, check, timeout, what):
    """Connects to the UNIX socket at path once it is served; check() raises if it will not be."""
    def attempt():
        check()
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.connect(str(path))
            return channel
        except OSError:
            channel.close()
            return None
    return wait_until(attempt, timeout, what)


class Process:
    """Runs argv; standard output and error go to the file log, input is a pipe if asked for."""

    def __init__(self, argv, log, name=None, stdin=False, env=None):
        self.argv = [str(word) for word in argv]
        self.name = name or pathlib.Path(self.argv[0]).name
        self.log_path = pathlib.Path(log)
        with open(self.log_path, "ab") as output:
            # A thread that starts a child takes it with it when it ends (PDEATHSIG is a thread's):
            # start long-lived processes from the main thread.
            self._child = subprocess.Popen(
                self.argv, stdout=output, stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                preexec_fn=_die_with_parent, env=env)

    @property
    def pid(self):
        return self._child.pid

    @property
    def running(self):
        return self._child.poll() is None

    @property
    def returncode(self):
        return self._child.poll()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines=30):
        return "\n".join(self.log().splitlines()[-lines:])

    def write(self, text):
        self._child.stdin.write(text.encode())
        self._child.stdin.flush()

    def check_running(self):
        if not self.running:
            raise LabError(f"{self.name} ended with status {self.returncode}:\n{self.log_tail()}")

    def wait_log(self, text, timeout):
        """Waits until text is in the output."""
        def seen():
            if text in self.log():
                return True
            self.check_running()
            return False
        try:
            wait_until(seen, timeout, f"{self.name} printing {text!r}")
        except LabError as error:
            raise LabError(f"{error}\n{self.log_tail()}") from None

    def wait(self, timeout):
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end within {timeout:g} s:\n"
                           f"{self.log_tail()}") from None

    def signal(self, number):
        if self.running:
            os.kill(self.pid, number)

    def terminate(self, timeout=10):
        """SIGTERM, then SIGKILL after timeout; returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            self._close()

    def kill(self):
        """SIGKILL; returns when the process is gone."""
        self.signal(signal.SIGKILL)
        status = self._child.wait()
        self._close()
        return status

    def _close(self):
        if self._child.stdin:
            try:
                self._child.stdin.close()
            except BrokenPipeError:
                pass

    def fds(self):
        """The number of open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def memory(self):
        """Bytes by kind, from smaps_rollup (Pss, Pss_Anon, Pss_File, Private_Dirty, ...)."""
        kinds = {}
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as rollup:
            next(rollup)
            for line in rollup:
                kind, value = line.split(":")
                kinds[kind] = int(value.split()[0]) * 1024
        return kinds
