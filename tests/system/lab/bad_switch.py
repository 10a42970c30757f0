# SPDX-License-Identifier: BSD-3-Clause
"""A switch that does known wrongs to what passes, and counts them."""

import collections
import contextlib
import select
import socket
import struct
import threading
import time

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_PACKET_AUXDATA = 8
_AUXDATA = struct.Struct("IIIHHHH")  # struct tpacket_auxdata, <linux/if_packet.h>
_TP_STATUS_VLAN_VALID = 0x10
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32


def _receive(port):
    """A frame as it was sent: the kernel takes the outer VLAN tag off, and tells of it beside."""
    frame, told, _, _ = port.recvmsg(65536, socket.CMSG_SPACE(_AUXDATA.size), socket.MSG_DONTWAIT)
    for level, kind, data in told:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, _, _, _, _, tag, ether_type = _AUXDATA.unpack(data[:_AUXDATA.size])
            if status & _TP_STATUS_VLAN_VALID:
                return frame[:12] + struct.pack("!HH", ether_type, tag) + frame[12:]
    return frame


class BadSwitch:
    """Forwards between two interfaces of a namespace, or more, among which it learns addresses. Of
    the frames that have `mark` at `at`, once begin() was called, each number in faults["drop"] of a
    way from one to another is dropped, in ["twice"] sent twice, in ["late"] sent behind the next
    one, in ["delayed"] as many seconds later as begin() was told, in ["corrupt"] changed in its
    last byte, in ["astray"] sent to a third interface, in ["back"] to where it came from. A frame
    has one fault at most, and one that is late is followed by one without."""

    def __init__(self, netns, interfaces, mark, at):
        self.done = collections.Counter()
        self._mark, self._at = mark, at
        self._faults = None
        self._by_way = {}
        self._numbers = collections.Counter()
        self._held = {}
        self._delay = 0.0
        self._delayed = collections.deque()  # when each is due, to where, and it
        self._learned = {}
        self._ending = threading.Event()
        self._ports = []
        with netns.entered():
            for interface in interfaces:
                port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
                port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
                port.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
                for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
                    port.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
                port.bind((interface, _ETH_P_ALL))
                self._ports.append(port)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begin(self, by_way=None, delay=0.0, **faults):
        """`by_way`: those of ways that have others, by the numbers of their interfaces."""
        self._delay = delay
        self._numbers.clear()
        self._by_way = by_way or {}
        self._faults = faults

    def _run(self):
        while not self._ending.is_set():
            patience = self._delayed[0][0] - time.monotonic() if self._delayed else 0.05
            ready, _, _ = select.select(self._ports, [], [], min(max(patience, 0), 0.05))
            while self._delayed and self._delayed[0][0] <= time.monotonic():
                _, out, frame = self._delayed.popleft()
                out.send(frame)
            for port in ready:
                near = self._ports.index(port)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        self._pass(near, _receive(port))

    def _far(self, near, frame):
        """Where it is to go."""
        if len(self._ports) == 2:
            return [1 - near]
        self._learned[frame[6:12]] = near
        far = self._learned.get(frame[:6])
        return [one for one in range(len(self._ports)) if one != near] if far is None else [far]

    def _pass(self, near, frame):
        all_far = self._far(near, frame)
        if self._faults is None or len(all_far) > 1 or \
                frame[self._at:self._at + len(self._mark)] != self._mark:
            for far in all_far:
                self._ports[far].send(frame)
            return
        way = near, all_far[0]
        out = self._ports[way[1]]
        number = self._numbers[way]
        self._numbers[way] += 1
        fault = next((name for name, of in self._by_way.get(way, self._faults).items()
                      if number in of), None)
        if fault:
            self.done[fault] += 1
        if fault == "corrupt":
            frame = frame[:-1] + bytes([frame[-1] ^ 1])
        if fault == "late":
            self._held[way] = frame
        elif fault == "delayed":
            self._delayed.append((time.monotonic() + self._delay, out, frame))
        elif fault == "astray":
            next(port for one, port in enumerate(self._ports) if one not in way).send(frame)
        elif fault == "back":
            self._ports[near].send(frame)
        elif fault != "drop":
            out.send(frame)
        if fault == "twice":
            out.send(frame)
        if fault != "late" and way in self._held:
            out.send(self._held.pop(way))

    def close(self):
        self._ending.set()
        self._thread.join(10)
        for port in self._ports:
            port.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
