# SPDX-License-Identifier: BSD-3-Clause
"""A network namespace: the host or the wire behind a NIC port, with a kernel IP stack or none."""

import errno
import contextlib
import ctypes
import itertools
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from .assets import assets
from .errors import LabError, Unavailable
from .host import Host
from .process import wait_until

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_TP_STATUS_VLAN_VALID = 1 << 4
_TP_STATUS_VLAN_TPID_VALID = 1 << 6


def _ip(*words):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


class Netns(Host):
    """Created empty, without IPv6 (which talks unasked); deleted with its interfaces by close()."""

    _numbers = itertools.count(1)

    def __init__(self, name=None):
        if os.geteuid() != 0:
            raise Unavailable("network namespaces need root")
        self.name = name or (os.environ.get("STRAIT_LAB_PREFIX", "strait")
                             + f"-{os.getpid()}-{next(Netns._numbers)}")
        self.address = None
        self._environment = dict(os.environ)
        self._environment["PATH"] = f"{assets().busybox.parent}:{os.environ['PATH']}"
        _ip("netns", "add", self.name)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        _ip("-n", self.name, "link", "set", "lo", "up")

    def argv(self, *argv):
        """The command that runs argv in here."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, command, timeout=20):
        try:
            done = subprocess.run(self.argv("sh", "-c", command), cwd=self.folder, text=True,
                                  env=self._environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: {command!r} took longer than {timeout:g} s") from None
        return done.returncode, done.stdout

    def adopt(self, interface, address=None, mtu=None, timeout=5):
        """Moves an interface of the host's (a tap that a switch made) in here and brings it up."""
        wait_until(lambda: os.path.exists(f"/sys/class/net/{interface}"), timeout,
                   f"interface {interface} appearing")
        _ip("link", "set", interface, "netns", self.name)
        return self.configure(interface, address, mtu)

    def configure(self, interface, address=None, mtu=None):
        """Sets address (with /24 unless it says otherwise) and MTU, and brings it up."""
        if mtu:
            _ip("-n", self.name, "link", "set", interface, "mtu", mtu)
        if address:
            cidr = address if "/" in address else address + "/24"
            _ip("-n", self.name, "addr", "add", cidr, "dev", interface)
            self.address = self.address or cidr.split("/")[0]
        _ip("-n", self.name, "link", "set", interface, "up")
        return self

    def veth(self, outside, inside="eth0", address=None, mtu=None):
        """A veth pair: outside is on the host, for af_packet to open, inside is in here.

        Offloads are off: af_packet delivers no checksums that were left to a device.
        """
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self.name)
        if mtu:
            _ip("link", "set", outside, "mtu", mtu)
        _ip("link", "set", outside, "up")
        subprocess.run(["sysctl", "-qw", f"net.ipv6.conf.{outside}.disable_ipv6=1"], check=False)
        for prefix, name in (([], outside), (self.argv(), inside)):
            subprocess.run([*prefix, "ethtool", "-K", name, "tx", "off", "rx", "off", "gso", "off",
                            "tso", "off", "gro", "off"], capture_output=True, check=False)
        return self.configure(inside, address, mtu)

    def mac(self, interface="eth0"):
        return self.sh(f"cat /sys/class/net/{interface}/address").strip()

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in this namespace: sockets it makes belong to it for good."""
        with open("/proc/thread-self/ns/net", "rb") as home, \
                open(f"/run/netns/{self.name}", "rb") as there:
            if _libc.setns(there.fileno(), _CLONE_NEWNET):
                raise LabError(f"setns {self.name}: {os.strerror(ctypes.get_errno())}")
            try:
                yield
            finally:
                _libc.setns(home.fileno(), _CLONE_NEWNET)

    def wire(self, interface="eth0"):
        return Wire(self, interface)

    def close(self):
        _ip("netns", "del", self.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Wire:
    """Raw frames through an interface of a namespace, VLAN tags as they were on the wire."""

    def __init__(self, netns, interface):
        self.name = f"{netns.name}/{interface}"
        with netns.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                         socket.htons(_ETH_P_ALL))
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self._socket.bind((interface, _ETH_P_ALL))
        self.drain()

    def fileno(self):
        return self._socket.fileno()

    def send(self, *frames):
        """Sends frames: scapy packets or bytes."""
        for frame in frames:
            self._socket.send(bytes(frame))

    def receive_raw(self, timeout=0.0):
        """The next frame as bytes, or None when none came within timeout seconds."""
        if not select.select([self._socket], [], [], timeout)[0]:
            return None
        try:
            data, ancillary, _, _ = self._socket.recvmsg(65536 + 64, socket.CMSG_SPACE(20))
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            return self.receive_raw(timeout)  # a link that was lost is told once
        for level, kind, value in ancillary:
            if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
                # The kernel takes the outer tag off before a socket sees the frame.
                status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", value[:20])
                if status & _TP_STATUS_VLAN_VALID:
                    tpid = tpid if status & _TP_STATUS_VLAN_TPID_VALID else 0x8100
                    data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        return data

    def receive(self, timeout=1.0, count=None, match=lambda frame: True):
        """The frames (scapy Ether) that match, until count of them or timeout seconds."""
        from scapy.layers.l2 import Ether
        deadline = time.monotonic() + timeout
        frames = []
        while count is None or len(frames) < count:
            data = self.receive_raw(max(0.0, deadline - time.monotonic()))
            if data is None:
                break
            frame = Ether(data)
            if match(frame):
                frames.append(frame)
        return frames

    def receive_all(self):
        """The frames that are there, as bytes."""
        return list(iter(lambda: self.receive_raw(0.0), None))

    def drain(self):
        """Forgets what came until now."""
        self.receive_all()

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
