# SPDX-License-Identifier: BSD-3-Clause
"""What a guest and a network namespace have in common: a shell, ping, streams that are compared."""

import dataclasses
import itertools
import re
import shlex
import threading
import time

from .errors import LabError


@dataclasses.dataclass(frozen=True)
class Ping:
    """What ping said: packets sent and received; times in milliseconds, None without replies; and
    which, from 0 on, had no reply."""
    sent: int
    received: int
    average_ms: float | None
    unanswered: tuple[int, ...] = ()

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
        answered = {int(number) for number in re.findall(r"\bseq=(\d+)", output)}
        return Ping(int(found[1]), int(found[2]), float(average[1]) if average else None,
                    tuple(number for number in range(int(found[1])) if number not in answered))

    def wait_ping(self, address, timeout):
        """Seconds until an echo reply came; LabError after timeout seconds."""
        start = time.monotonic()
        while time.monotonic() - start < timeout:
            if self.ping(address, count=1, timeout=1).received:
                return time.monotonic() - start
        raise LabError(f"{self.name}: no echo reply from {getattr(address, 'address', address)} "
                       f"within {timeout:g} s; {self._states(address)}")

    def _states(self, other):
        return "; ".join(host.state() for host in (self, other) if isinstance(host, Host))

    def state(self):
        """For errors, on one line: the seconds it is up, its addresses, packets and neighbours."""
        try:
            told = self.run("cut -d' ' -f1 /proc/uptime; ip addr show dev eth0 | grep -w inet; "
                            "cd /sys/class/net/eth0 && cat carrier statistics/[rt]x_packets; "
                            "ip neigh", 10)[1]
        except LabError as error:
            told = str(error)
        return f"{self.name}: {' '.join(told.split())}"

    def counters(self, interface="eth0"):
        """The kernel's counters of an interface: rx_packets, tx_bytes, rx_errors, ..."""
        folder = f"/sys/class/net/{interface}/statistics"
        lines = self.sh(f"cd {folder} && for f in *; do echo $f $(cat $f); done").splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def carrier_changes(self, interface="eth0"):
        """How often the interface's link went up or down."""
        return int(self.sh(f"cat /sys/class/net/{interface}/carrier_changes"))

    def add_ipv6(self, address, interface="eth0"):
        """Switches IPv6 on there; the address, with its prefix's length, is good at once."""
        self.sh(f"cd /proc/sys/net/ipv6/conf/{interface} && echo 0 > accept_dad && "
                f"echo 0 > disable_ipv6 && ip -6 addr replace {address} dev {interface}")

    def set_mtu(self, mtu, interface="eth0"):
        self.sh(f"ip link set {interface} mtu {mtu}")

    def prepare_block(self):
        """Makes what streams are made of; done by the first stream if not before."""
        if not getattr(self, "_has_block", False):
            self.sh("seq 1 200000 | head -c 1048576 > block", timeout=60)
            self._has_block = True

    def stream(self, receiver, size=4 << 20, address=None, timeout=60):
        """Sends size bytes over TCP to receiver, another Host, which compares them one by one."""
        try:
            return self._stream(receiver, size, address or receiver.address, timeout)
        except LabError as error:
            raise LabError(f"{error}; {self._states(receiver)}") from None

    def _stream(self, receiver, size, address, timeout):
        port = next(Host._ports)
        self.prepare_block()
        receiver.prepare_block()
        # The same bytes are made at both ends; a number before each block tells them apart.
        feed = (f"(for i in $(seq {-(-size // (1 << 20))}); do echo {port}.$i; cat block; done) | "
                f"head -c {size}")
        answer = {}

        def receive():
            # Standard input never ends (<> holds both ends of the pipe), or nc would close its
            # half of the connection at once, and the sender would take that for the end.
            try:
                answer["result"] = receiver.run(
                    f"rm -f idle.{port} expected.{port}; mkfifo idle.{port} expected.{port}; "
                    f"({feed}) > expected.{port} & "
                    f"busybox nc -l -p {port} <> idle.{port} | busybox cmp - expected.{port}; "
                    f"status=$?; rm idle.{port} expected.{port}; exit $status", timeout)
            except LabError as error:
                answer["result"] = (1, str(error))

        listener = threading.Thread(target=receive, daemon=True)
        listener.start()
        receiver.sh(f"for i in $(seq 100); do busybox netstat -ltn | grep -q ':{port} ' && exit 0; "
                    f"busybox usleep 50000; done; exit 1")
        start = time.monotonic()
        status, output = self.run(f"{feed} | busybox nc {shlex.quote(address)} {port}", timeout)
        listener.join(timeout)
        seconds = time.monotonic() - start
        received, difference = answer.get("result", (1, "the receiver saw no end of it"))
        if status or received:
            raise LabError(f"{size} bytes from {self.name} to {receiver.name} at {address}: "
                           f"{output.strip()} {difference.strip()}".rstrip())
        return Stream(size, seconds)
