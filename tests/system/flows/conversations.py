# SPDX-License-Identifier: BSD-3-Clause
"""Random conversations for connection tracking: frames of a few connections by turns, most of them
as a peer would send them next, some not."""

import itertools
import random

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest,
                                IPv6)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from .frames import Frame

# Clients are behind port 1, servers behind port 2. Of clients and servers, the last one is an
# address that stands for another where there is NAT.
CLIENTS = ("10.0.0.1", "10.0.0.2", "10.9.0.1")
SERVERS = ("10.0.1.1", "10.0.1.2", "10.9.1.1")
CLIENTS6 = ("2001:db8::1", "2001:db8::2", "2001:db8:9::1")
SERVERS6 = ("2001:db8:1::1", "2001:db8:1::2", "2001:db8:9:1::1")
DESTINATIONS = (53, 80, 443)
TRANSLATED_DESTINATION = 8080
_MACS = {1: "02:00:00:00:00:01", 2: "02:00:00:00:00:02"}
_INVALID = ("", "SF", "SAR", "FPU")


class _Connection:
    """One connection, or what is sent as if it were one."""

    def __init__(self, chance, number):
        self._random = chance
        self._six = chance.random() < 0.3
        clients, servers = (CLIENTS6, SERVERS6) if self._six else (CLIENTS, SERVERS)
        client, server = chance.choice(clients[:2]), chance.choice(servers[:2])
        # No two share it: which port NAT takes then is left to a switch.
        source, destination = 1024 + number, chance.choice(DESTINATIONS)
        # What it is at each port: (client, server, client's port, server's port).
        there = (client, server, source, destination)
        here = there
        if chance.random() < 0.4:
            there = (clients[2], *there[1:])
        if chance.random() < 0.4:
            here = (client, servers[2], source, destination)
            there = (*there[:3], chance.choice((destination, TRANSLATED_DESTINATION)))
        self._seen = {1: here, 2: there}
        self._kind = chance.choice(("tcp", "tcp", "tcp", "udp", "icmp"))
        self._sequence = {1: chance.randrange(1 << 32), 2: chance.randrange(1 << 32)}
        self._steps = self._tcp_steps()

    def next(self):
        """The next frame."""
        r = self._random
        if self._kind == "tcp":
            return self._tcp()
        side = r.choice((1, 1, 2))
        if r.random() < 0.1:
            return self._error(side)
        return self._datagram(side)

    def _datagram(self, side):
        r = self._random
        if self._kind == "udp":
            return self._frame(side, self._ports(side, side, UDP) / Raw(b"x" * r.randrange(40)))
        return self._frame(side, self._echo(side, side) / Raw(b"ping"))

    def _echo(self, sender, port):
        identity = self._seen[port][2]
        if self._six:
            return (ICMPv6EchoRequest if sender == 1 else ICMPv6EchoReply)(id=identity, seq=1)
        return ICMP(type=8 if sender == 1 else 0, id=identity, seq=1)

    def _ports(self, sender, port, layer, **options):
        ports = self._seen[port][2:]
        return layer(sport=ports[sender - 1], dport=ports[2 - sender], **options)

    def _packet(self, sender, port, layers):
        """What one side sent, as it is seen at a port."""
        ends = self._seen[port][:2]
        return (IPv6 if self._six else IP)(src=ends[sender - 1], dst=ends[2 - sender]) / layers

    def _frame(self, side, layers):
        data = bytes(Ether(src=_MACS[side], dst=_MACS[3 - side]) /
                     self._packet(side, side, layers))
        return Frame(side, data.ljust(60, b"\0"), self._kind + ("6" if self._six else ""), 0, {})

    def _tcp_steps(self):
        r = self._random
        yield 1, "S", 0
        yield 2, "SA", 0
        yield 1, "A", 0
        for _ in range(r.randrange(4)):
            side = r.choice((1, 2))
            yield side, "PA", r.choice((1, 20, 100))
            yield 3 - side, "A", 0
        if r.random() < 0.3:
            yield r.choice((1, 2)), "R", 0
            return
        side = r.choice((1, 2))
        yield side, "FA", 0
        yield 3 - side, "FA", 0
        yield side, "A", 0

    def _tcp(self):
        r = self._random
        if r.random() < 0.15:
            side, flags, size = r.choice((1, 2)), r.choice(("S", "SA", "PA", "R", *_INVALID)), 10
            return self._segment(side, flags, size, r.choice((0, 5000, 1 << 30)))
        if r.random() < 0.05:
            return self._error(r.choice((1, 2)))
        step = next(self._steps, None)
        if step is None:
            # Again, by the same ports.
            self._steps = self._tcp_steps()
            step = next(self._steps)
        side, flags, size = step
        frame = self._segment(side, flags, size, 0)
        self._take(side, flags, size)
        return frame

    def _take(self, side, flags, size):
        taken = size + ("S" in flags) + ("F" in flags)
        self._sequence[side] = self._sequence[side] + taken & 0xffffffff

    def _segment(self, side, flags, size, off):
        acknowledged = self._sequence[3 - side] if "A" in flags else 0
        return self._frame(side, self._ports(
            side, side, TCP, flags=flags, seq=self._sequence[side] + off & 0xffffffff,
            ack=acknowledged) / Raw(b"d" * size))

    def _error(self, side):
        """That what the other side sent did not get there."""
        if self._kind == "icmp":
            lost = self._echo(3 - side, side)
        else:
            lost = self._ports(3 - side, side, TCP if self._kind == "tcp" else UDP)
        lost = self._packet(3 - side, side, lost / Raw(b"12345678"))
        return self._frame(side, (ICMPv6DestUnreach(code=4) if self._six
                                  else ICMP(type=3, code=1)) / lost)


class _Peers(_Connection):
    """Two who answer what they get, by the addresses that they see, and send again what does not
    arrive. Of TCP's segments none is in or out of a window by one tracker's book alone."""

    _MOST_TRIES = 3

    def __init__(self, chance, number):
        super().__init__(chance, number)
        self._seen[2] = None
        self._done = 0  # steps of TCP since the last SYN, that one included
        self._step = None
        self._tries = 0

    @property
    def given_up(self):
        return self._tries >= self._MOST_TRIES

    def next(self):
        self._learns = self._tries_step = False
        return super().next() if self._seen[2] else self._first()

    def _first(self):
        if self._kind == "tcp":
            return self._next_step()
        self._learns = True
        return self._datagram(1)

    def _tcp(self):
        r = self._random
        if r.random() < 0.15 and self._done >= 3:
            flags = r.choice(("PA", *_INVALID))
            return self._segment(r.choice((1, 2)), flags, 10, 1 << 30)
        if r.random() < 0.05:
            return self._error(r.choice((1, 2)))
        return self._next_step()

    def _next_step(self):
        if self._step is None:
            self._step = next(self._steps, None)
        if self._step is None:
            self._steps, self._done = self._tcp_steps(), 0
            self._step = next(self._steps)
        side, flags, size = self._step
        self._tries_step, self._learns = True, flags == "S"
        return self._segment(side, flags, size, 0)

    def see(self, frame, outputs):
        """What left a switch for the last frame, as (port, frame) pairs."""
        if not self._learns and not self._tries_step:
            return
        there = 3 - frame.port
        seen = [self._ends(data, frame.port) for port, data in outputs if port == there]
        if self._learns and seen:
            self._seen[2] = seen[0]
        if not self._tries_step:
            self._tries += self._learns and not seen
        elif self._seen[there] in seen:
            self._take(*self._step)
            self._step, self._tries, self._done = None, 0, self._done + 1
        else:
            self._tries += 1

    def _ends(self, data, sender):
        """What the frame says as _seen has it."""
        frame = Ether(data)
        packet = frame[IPv6 if self._six else IP]
        ends = (packet.src, packet.dst)
        if self._kind == "icmp":
            return (*ends[::1 if sender == 1 else -1], *self._seen[1][2:])
        layer = packet[TCP if self._kind == "tcp" else UDP]
        ports = (layer.sport, layer.dport)
        return tuple(end for pair in (ends, ports) for end in pair[::1 if sender == 1 else -1])


def answered_conversations(seed, count, forward, connections=5):
    """So many frames of conversations whose peers answer what a switch lets them have: forward()
    takes (port, frame) pairs and tells, for each, the pairs that left."""
    chance = random.Random(seed)
    numbers = itertools.count()
    alive = [_Peers(chance, next(numbers)) for _ in range(connections)]
    frames = []
    for _ in range(count):
        turn = chance.randrange(connections)
        frame = alive[turn].next()
        alive[turn].see(frame, forward([(frame.port, frame.data)])[0])
        if alive[turn].given_up:
            alive[turn] = _Peers(chance, next(numbers))
        frames.append(frame)
    return frames


def conversations(seed, count, connections=5):
    """So many frames of so many connections, mixed."""
    chance = random.Random(seed)
    alive = [_Connection(chance, number) for number in range(connections)]
    return [chance.choice(alive).next() for _ in range(count)]
