# SPDX-License-Identifier: BSD-3-Clause
"""A root shell in a machine of the lab: commands go over a serial port that QEMU has as a UNIX
socket, to shell.sh at its other end. What machine that is, is not known here."""

import base64
import re
import socket
import threading

from .errors import LabError
from .process import connect

_ANSWER = re.compile(rb"@(\d+) (\d+) ([A-Za-z0-9+/=]*)\s*$")


def without_answers(console):
    """What else is in a console's bytes, and where shells began."""
    kept = []
    for line in console.split(b"\n"):
        answer = _ANSWER.search(line)
        if answer:
            line = line[:answer.start()] + (b"(a shell begins)" if int(answer[1]) == 0 else b"")
        if line.strip():
            kept.append(line.decode(errors="replace").rstrip())
    return "\n".join(kept)


class Shell:
    """Connects to the socket at path; check() raises LabError when the machine has ended.

    What else comes, as from a console, is passed over; all of it is kept in the file log, if there
    is one. Threads may share one. begun counts the shells that began at the other end.
    """

    def __init__(self, name, path, check, timeout, log=None):
        self.name = name
        self._check = check
        self._log = log
        self._answers = {}
        self._changed = threading.Condition()
        self._number = 0
        self.begun = 0

        self._channel = connect(path, check, timeout, f"{name}: QEMU listening at {path}")
        threading.Thread(target=self._read, args=(self._channel,), daemon=True).start()

    def wait_up(self, timeout):
        """Waits until commands can be run."""
        self.wait(0, timeout)

    def _read(self, channel):
        buffer = b""
        while True:
            try:
                data = channel.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            if self._log:
                with open(self._log, "ab") as log:
                    log.write(data)
            *lines, buffer = (buffer + data).split(b"\n")
            with self._changed:
                for line in lines:
                    answer = _ANSWER.search(line)
                    if answer:
                        if int(answer[1]) == 0:
                            self.begun += 1
                        output = base64.b64decode(answer[3]).decode(errors="replace")
                        self._answers[int(answer[1])] = (int(answer[2]), output)
                self._changed.notify_all()
        with self._changed:
            self._channel = None
            self._changed.notify_all()

    def wait(self, number, timeout):
        """Waits for the end of a command that was sent; returns (status, output)."""
        with self._changed:
            if not self._changed.wait_for(
                    lambda: number in self._answers or self._channel is None, timeout):
                raise LabError(f"{self.name} did not answer within {timeout:g} s")
            if number in self._answers:
                return self._answers.pop(number)
        self._check()
        raise LabError(f"{self.name} is gone: its serial port was closed")

    def send(self, command, seconds=10):
        """Begins a command without waiting for its end; returns its number."""
        with self._changed:
            self._number += 1
            text = base64.b64encode(command.encode()).decode()
            try:
                if self._channel is None:
                    raise OSError("its serial port was closed")
                self._channel.sendall(f"{self._number} {seconds:.0f} {text}\n".encode())
            except OSError as error:
                raise LabError(f"{self.name} is gone: {error}") from None
            return self._number

    def run(self, command, timeout=20):
        """Runs a command and returns (status, output), both streams in one.

        LabError if it takes longer than timeout seconds. Threads may run several at once.
        """
        status, output = self.wait(self.send(command, timeout), timeout + 10)
        if status in (124, 137, 143) and "timeout" not in command:
            raise LabError(f"{self.name}: {command!r} took longer than {timeout:g} s; "
                           f"its output: {output.strip()}")
        return status, output

    def close(self):
        with self._changed:
            channel, self._channel = self._channel, None
        if channel:
            channel.shutdown(socket.SHUT_RDWR)
            channel.close()
