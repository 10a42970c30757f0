# SPDX-License-Identifier: BSD-3-Clause
"""What a guest and a network namespace have in common: a shell, ping and streams with a checksum."""

import dataclasses
import itertools
import re
import shlex
import threading
import time

from .errors import LabError


@dataclasses.dataclass(frozen=True)
class Ping:
    """What ping said: packets sent and received; times in milliseconds, None without replies."""
    sent: int
    received: int
    average_ms: float | None

    @property
    def lost(self):
        return self.sent - self.received


@dataclasses.dataclass(frozen=True)
class Stream:
    """A transfer whose bytes were compared: length, seconds and their quotient."""
    size: int
    seconds: float

    @property
    def mbit_per_s(self):
        return self.size * 8 / self.seconds / 1e6


class Host:
    """A place with an IP stack; subclasses have name, address and run(). Threads may share one."""

    name = "host"
    address = None
    _ports = itertools.count(5001)

    def run(self, command, timeout=20):
        """Runs a shell command and returns (status, output); LabError if it takes too long."""
        raise NotImplementedError

    def sh(self, command, timeout=20):
        """Runs a shell command that must succeed and returns its output."""
        status, output = self.run(command, timeout)
        if status:
            raise LabError(f"{self.name}: {command!r} ended with status {status}: {output.strip()}")
        return output

    def ping(self, address, count=3, size=56, interval=0.2, timeout=1):
        """Sends count echo requests of size payload bytes, and waits timeout s for the last."""
        address = getattr(address, "address", address)
        limit = count * max(interval, timeout) + 10
        _, output = self.run(
            f"busybox ping -c {count} -i {interval} -W {timeout} -s {size} {address}", limit)
        found = re.search(r"(\d+) packets transmitted, (\d+) packets received", output)
        if not found:
            raise LabError(f"{self.name}: ping {address}: {output.strip()}")
        average = re.search(r"= [\d.]+/([\d.]+)/", output)
        return Ping(int(found[1]), int(found[2]), float(average[1]) if average else None)

    def wait_ping(self, address, timeout):
        """Seconds until an echo reply came; LabError after timeout seconds."""
        start = time.monotonic()
        while time.monotonic() - start < timeout:
            if self.ping(address, count=1, timeout=1).received:
                return time.monotonic() - start
        raise LabError(f"{self.name}: no echo reply from {getattr(address, 'address', address)} "
                       f"within {timeout:g} s")

    def set_mtu(self, mtu, interface="eth0"):
        self.sh(f"ip link set {interface} mtu {mtu}")

    def stream(self, receiver, size=4 << 20, address=None, timeout=60):
        """Sends size random bytes over TCP to receiver, another Host, and compares checksums."""
        port = next(Host._ports)
        address = address or receiver.address
        self.sh(f"head -c {min(size, 1 << 20)} /dev/urandom > part.{port}", timeout)
        copies = -(-size // (1 << 20))
        feed = f"for i in $(seq {copies}); do cat part.{port}; done | head -c {size}"
        sent = self.sh(f"{feed} | busybox md5sum", timeout).split()[0]
        answer = {}

        def receive():
            # Standard input never ends (<> holds both ends of the pipe), or nc would close its
            # half of the connection at once, and the sender would take that for the end.
            try:
                answer["output"] = receiver.sh(
                    f"rm -f pipe.{port}; mkfifo pipe.{port}; "
                    f"busybox nc -l -p {port} <> pipe.{port} | busybox md5sum; rm pipe.{port}",
                    timeout)
            except LabError as error:
                answer["error"] = error

        listener = threading.Thread(target=receive, daemon=True)
        listener.start()
        receiver.sh(f"for i in $(seq 100); do busybox netstat -ltn | grep -q ':{port} ' && exit 0; "
                    f"busybox usleep 50000; done; exit 1")
        start = time.monotonic()
        status, output = self.run(f"{feed} | busybox nc {shlex.quote(address)} {port}", timeout)
        listener.join(timeout)
        seconds = time.monotonic() - start
        self.run(f"rm -f part.{port}")
        if status or "error" in answer or "output" not in answer:
            raise LabError(f"{self.name}: {size} bytes to {receiver.name} at {address}: "
                           f"{output.strip() or answer.get('error') or 'no end of the stream'}")
        received = answer["output"].split()[0]
        if received != sent:
            raise LabError(f"{size} bytes from {self.name} to {receiver.name} arrived changed: "
                           f"MD5 {received} instead of {sent}")
        return Stream(size, seconds)
