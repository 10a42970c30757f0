# SPDX-License-Identifier: BSD-3-Clause
"""A switch of two ports that does known wrongs to what passes, and counts them."""

import collections
import contextlib
import select
import socket
import struct
import threading

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
    """Forwards between two interfaces of a namespace. Of the frames that have `mark` at `at`, once
    begin() was called, each number in faults["drop"] of a direction is dropped, in ["twice"] sent
    twice, in ["late"] sent behind the next one, in ["corrupt"] changed in its last byte. A frame
    has one fault at most, and one that is late is followed by one without."""

    def __init__(self, netns, interfaces, mark, at):
        self.done = collections.Counter()
        self._mark, self._at = mark, at
        self._faults = None
        self._numbers = [0, 0]
        self._held = [None, None]
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

    def begin(self, **faults):
        self._numbers = [0, 0]
        self._faults = {name: frozenset(numbers) for name, numbers in faults.items()}

    def _run(self):
        while not self._ending.is_set():
            ready, _, _ = select.select(self._ports, [], [], 0.05)
            for port in ready:
                way = self._ports.index(port)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        self._pass(way, _receive(port))

    def _pass(self, way, frame):
        out = self._ports[1 - way]
        if self._faults is None or frame[self._at:self._at + len(self._mark)] != self._mark:
            out.send(frame)
            return
        number = self._numbers[way]
        self._numbers[way] += 1
        fault = next((name for name, of in self._faults.items() if number in of), None)
        if fault:
            self.done[fault] += 1
        if fault == "corrupt":
            frame = frame[:-1] + bytes([frame[-1] ^ 1])
        if fault == "late":
            self._held[way] = frame
        elif fault != "drop":
            out.send(frame)
        if fault == "twice":
            out.send(frame)
        if fault != "late" and self._held[way] is not None:
            out.send(self._held[way])
            self._held[way] = None

    def close(self):
        self._ending.set()
        self._thread.join(10)
        for port in self._ports:
            port.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
