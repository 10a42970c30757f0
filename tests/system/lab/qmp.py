# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's machine protocol (QMP): commands and their answers; events are passed over."""

import json

from .errors import LabError
from .process import connect


class Qmp:
    """Connects to the socket at path; check() raises LabError when QEMU has ended."""

    def __init__(self, path, check, timeout=20):
        self._channel = connect(path, check, timeout, f"QEMU listening at {path}")
        self._channel.settimeout(timeout)
        self._lines = self._channel.makefile("r", encoding="utf-8")
        self._lines.readline()  # its greeting
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        """Runs a command and returns what it returns; LabError if it fails."""
        try:
            self._channel.sendall(
                json.dumps({"execute": command, "arguments": arguments}).encode())
            for line in self._lines:
                answer = json.loads(line)
                if "error" in answer:
                    raise LabError(f"QEMU: {command}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]
        except OSError as error:
            raise LabError(f"QEMU: {command}: {error}") from None
        raise LabError(f"QEMU: {command}: it hung up")

    def close(self):
        self._lines.close()
        self._channel.close()
