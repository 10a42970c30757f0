#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of vhost_ring_fuzz: rings as a driver makes them, of every kind, and the
usual breaches of each. Usage: vhost_ring_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

PACKED, TO_GUEST, MERGEABLE, EVENT, VERSION_1, IN_ORDER, OFFLOADS, IPV6 = (
    1, 2, 4, 8, 16, 32, 64, 128)
NEXT, WRITE, INDIRECT, AVAILABLE, USED = 1, 2, 4, 1 << 7, 1 << 15
RAM, OTHER = 0x10000, 0x20000
DATA, TABLE, FRAME = 0x3000, 0x1400, 0x1500  # offsets in the first region
CHECKSUM, DATA_VALID = 1, 2  # flags of a frame's header
TCP4, UDP, TCP6, UDP_L4, ECN = 1, 3, 4, 5, 0x80  # kinds of segmentation


def poll(count=8, cycles=30000):
    return struct.pack("<BBH", 0, count - 1, cycles)


def store(offset, value):
    return struct.pack("<BBH", 1 | (offset // 512) << 2, offset % 512 // 2, value)


def header(flags=CHECKSUM, kind=0, length=0, size=0, start=34, offset=16, buffers=0):
    return struct.pack("<BBHHHHH", flags, kind, length, size, start, offset, buffers)


def frame(ipv6=False, udp=False, tags=0, cwr=False):
    """Ethernet to TCP or UDP; what follows in memory is its payload."""
    protocol = 17 if udp else 6
    ethernet = bytes.fromhex("020000000002020000000001") + bytes.fromhex("81000005") * tags
    if ipv6:
        network = (bytes.fromhex("86dd60000000") + struct.pack(">HBB", 0, protocol, 64) +
                   b"\xfd" * 32)
    else:
        network = bytes.fromhex("080045000000") + struct.pack(
            ">HHBBH", 1, 0x4000, 64, protocol, 0) + b"\x0a" * 8
    transport = bytes(8) if udp else struct.pack(
        ">HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x90 if cwr else 0x10, 5, 0, 0)
    return ethernet + network + transport


class Ring:
    """Descriptors as (address, length, flags, next or id), as the guest sees them."""

    def __init__(self, flags, size=8):
        self.flags, self.size = flags, size
        self.packed = bool(flags & PACKED)
        self.image = bytearray(0x1800)
        self.heads = []
        self.put_at = 0
        self.write = WRITE if flags & TO_GUEST else 0

    def descriptor(self, index, address, length, flags, last):
        fields = (last, flags) if self.packed else (flags, last)
        struct.pack_into("<QIHH", self.image, 16 * index, address, length, *fields)

    def table(self, index, address, length, flags, last=0):
        fields = (last, flags) if self.packed else (flags, last)
        struct.pack_into("<QIHH", self.image, TABLE + 16 * index, address, length, *fields)

    def holds(self, content, offset=FRAME):
        self.image[offset:offset + len(content)] = content
        return self

    def chain(self, *buffers, flags=0):
        """Buffers are (address, length) or (address, length, extra flags)."""
        self.heads.append(self.put_at)
        for i, (address, length, *extra) in enumerate(buffers):
            more = NEXT if i + 1 < len(buffers) else 0
            word = self.write | more | flags | (extra[0] if extra else 0)
            if self.packed:
                self.descriptor(self.put_at, address, length, word | AVAILABLE, len(self.heads))
            else:
                self.descriptor(self.put_at, address, length, word, self.put_at + 1)
            self.put_at += 1
        return self

    def input(self, *operations, start=None, available=None):
        driver = 16 * self.size
        if self.packed:
            code = self.size - 1
            start = 0x8000 if start is None else start
        else:
            code = self.size.bit_length() - 1
            start = 0 if start is None else start
            count = len(self.heads) if available is None else available
            struct.pack_into("<HH", self.image, driver, 0, (start + count) & 0xFFFF)
            for i, head in enumerate(self.heads):
                struct.pack_into("<H", self.image, driver + 4 + 2 * ((start + i) % self.size), head)
        operations = operations or (poll(), poll())
        image = bytes(self.image).rstrip(b"\0")
        return (struct.pack("<BBHB", self.flags, code, start, len(operations)) +
                b"".join(operations) + image)


def offload_seeds():
    """Headers that leave work, and such that lie; buffers for frames with work."""
    at = RAM + FRAME
    sent = {
        "tcp4": (header(), frame()),
        "udp4": (header(offset=6), frame(udp=True)),
        "tcp6": (header(start=54), frame(ipv6=True)),
        "tagged": (header(start=42), frame(tags=2)),
        "segments4": (header(kind=TCP4, size=700, length=54), frame()),
        "segments6": (header(kind=TCP6, size=700, length=74, start=54), frame(ipv6=True)),
        "segments_cwr": (header(kind=TCP4 | ECN, size=700, length=54), frame(cwr=True)),
        "segments_many": (header(kind=TCP4, size=16, length=54), frame()),
        "too_many": (header(kind=TCP4, size=15, length=54), frame()),
        "elsewhere": (header(start=70, offset=16), frame(udp=True)),
        "tunnel": (header(start=132, offset=16), frame(ipv6=True, udp=True)),
        "size_0": (header(kind=TCP4), frame()),
        "size_1": (header(kind=TCP4, size=1), frame()),
        "size_all": (header(kind=TCP4, size=65535), frame()),
        "no_checksum": (header(flags=0, kind=TCP4, size=700), frame()),
        "valid": (header(flags=DATA_VALID), frame()),
        "udp_fragments": (header(kind=UDP, size=700, offset=6), frame(udp=True)),
        "udp_segments": (header(kind=UDP_L4, size=700, offset=6), frame(udp=True)),
        "udp_segments6": (header(kind=UDP_L4, size=700, start=54, offset=6),
                          frame(ipv6=True, udp=True)),
        "udp_segments_tagged": (header(kind=UDP_L4, size=700, start=42, offset=6),
                                frame(udp=True, tags=2)),
        "udp_segments_many": (header(kind=UDP_L4, size=16, offset=6), frame(udp=True)),
        "udp_too_many": (header(kind=UDP_L4, size=1, offset=6), frame(udp=True)),
        "udp_size_0": (header(kind=UDP_L4, offset=6), frame(udp=True)),
        "udp_ecn": (header(kind=UDP_L4 | ECN, size=700, offset=6), frame(udp=True)),
        "udp_of_tcp": (header(kind=UDP_L4, size=700), frame()),
        "tcp_of_udp": (header(kind=TCP4, size=700, offset=6), frame(udp=True)),
        "kind": (header(kind=0xFF, size=700), frame()),
        "version": (header(kind=TCP6, size=700), frame()),
        "long_header": (header(kind=TCP4, size=700, length=65535), frame()),
        "start": (header(start=65535), frame()),
        "offset": (header(offset=65535), frame()),
        "end": (header(start=4052, offset=0), frame()),
        "ethernet": (header(start=12, offset=0), frame()),
    }
    for packed in (0, PACKED):
        kind = "packed" if packed else "split"
        flags = packed | VERSION_1 | MERGEABLE | OFFLOADS | IPV6
        for name, (head, content) in sent.items():
            length = len(head) + 4054
            yield f"{kind}_source_offload_{name}", Ring(flags).holds(head + content).chain(
                (at, length)).chain((at, length)).input()
        head, content = sent["segments4"]
        for name, more in {"none": 0, "ipv4": OFFLOADS}.items():
            yield f"{kind}_source_offload_for_{name}", Ring(
                packed | VERSION_1 | more).holds(head + content).chain((at, 4000)).input()
        if not packed:
            yield f"{kind}_source_offload_legacy", Ring(OFFLOADS).holds(
                head[:10] + content).chain((at, 4000)).input()
        yield f"{kind}_source_offload_pieces", Ring(flags).holds(head + content).chain(
            (at, 3), (at + 3, 9), (at + 12, 30), (at + 42, 100), (at + 142, 4000)).input()
        for name, count, more in (("tunnel_pieces", 40, 4), ("tunnel_bytes", 200, 1)):
            head, content = sent["tunnel"]
            yield f"{kind}_source_offload_{name}", Ring(flags, 256).holds(
                head + content).chain(*[(at + more * i, more) for i in range(count)],
                                      (at + more * count, 900)).input()
        flags |= TO_GUEST
        for name, buffers, more in (
                ("small", [[(RAM + DATA, 700)]] * 200, flags),
                ("large", [[(RAM + 0x2000, 24000)]] * 8, flags),
                ("chains", [[(RAM + DATA, 12), (RAM + DATA + 100, 2000)]] * 40, flags),
                ("unmerged", [[(RAM + DATA, 900)]] * 200, flags & ~MERGEABLE),
                ("big_packets", [[(RAM + DATA, 4096)] * 17] * 4, flags & ~MERGEABLE),
                ("ipv4_only", [[(RAM + 0x2000, 24000)]] * 8, flags & ~IPV6)):
            ring = Ring(more, 256)
            for chain in buffers:
                ring.chain(*chain)
            yield f"{kind}_sink_offload_{name}", ring.input(poll(16), poll(64), poll(64))


def seeds():
    yield from offload_seeds()
    asleep = 65  # of a source: its worker is about to sleep afterwards
    good = (RAM + DATA, 1526)
    for packed in (0, PACKED):
        for direction in (0, TO_GUEST):
            for extra in (VERSION_1, VERSION_1 | MERGEABLE, VERSION_1 | EVENT, MERGEABLE | EVENT,
                          0 if not packed else VERSION_1 | IN_ORDER):
                flags = packed | direction | extra
                name = f"{'packed' if packed else 'split'}_{'sink' if direction else 'source'}"
                name += f"_{extra:02x}"
                yield name + "_simple", Ring(flags).chain(good).chain(good).input()
                if not direction:
                    yield name + "_sleeps", Ring(flags).chain(good).input(
                        poll(), poll(asleep), store(16 * 8 + 2, 2), store(16 + 14, 0x80),
                        poll(asleep | 128), poll(asleep), poll())
            flags = packed | direction | VERSION_1 | MERGEABLE
            name = f"{'packed' if packed else 'split'}_{'sink' if direction else 'source'}"

            def ring(size=8):
                return Ring(flags, size)

            yield name + "_chain", ring().chain((RAM + DATA, 12), good).chain(
                (RAM + DATA, 4), (RAM + DATA + 4, 4), (RAM + DATA + 8, 4), good).input()
            yield name + "_small", ring(64).chain(*[(RAM + DATA, 100)] * 3).chain(
                *[(RAM + DATA + 500, 60)] * 40).input(poll(1), poll(64))
            yield name + "_two_regions", ring().chain((RAM + DATA, 64), (OTHER, 4096)).chain(
                (OTHER + 4000, 96)).input()
            yield name + "_outside", ring().chain(good).chain((OTHER + 4000, 97)).input()
            yield name + "_hole", ring().chain((RAM + 0x7FF0, 64)).input()
            yield name + "_wraps", ring().chain(((1 << 64) - 16, 64)).input()
            yield name + "_huge", ring().chain((RAM + DATA, 0xFFFFFFFF)).input()
            yield name + "_empty", ring().chain((RAM + DATA, 0)).chain(
                (RAM + DATA, 0), (RAM + DATA, 0)).chain(good).input()
            yield name + "_header_only", ring().chain((RAM + DATA, 12)).chain(good).input()
            yield name + "_direction", ring().chain(good).chain(
                (RAM + DATA, 12), (RAM + DATA, 100, 0)).input(
                    poll(1), store(16 + 12 + 2 * bool(packed), 0x80 if packed else 3), poll())
            r = ring()
            for i in range(4):
                r.table(i, RAM + DATA + 500 * i, 400, r.write | (NEXT if i < 3 else 0), i + 1)
            indirect = r.chain((RAM + TABLE, 64), flags=INDIRECT).chain(good)
            yield name + "_indirect", indirect.input()
            r.table(3, RAM + DATA, 400, r.write | INDIRECT, 0)
            yield name + "_nested", r.input()
            r.table(3, RAM + DATA, 400, r.write | NEXT, 1)
            yield name + "_loop", r.input()
            yield name + "_table_length", ring().chain((RAM + TABLE, 63), flags=INDIRECT).input()
            yield name + "_table_outside", ring().chain(
                (RAM + 0x7FF0, 32), flags=INDIRECT).input()
            yield name + "_long", ring(256).chain(*[(RAM + DATA, 1)] * 250).input(poll(64))
            yield name + "_later", ring().chain(good).chain(good).input(
                poll(), store(16 * 8 + 2, 5), store(14, 0x8080), store(16 + 14, 0x80), poll(64),
                store(16 * 2 + 14, 0x81), poll(1))
            if packed:
                yield name + "_odd", ring(7).chain(good).chain(good, good).input(start=0x8000)
                r = ring(3).chain(good).chain(good).chain(good)
                yield name + "_no_end", ring(3).chain(
                    good, good, (RAM + DATA, 9, NEXT)).input()
                yield name + "_lap", r.input(poll(), store(14, USED), poll(), start=0x8000)
                yield name + "_suppressed", r.input(store(48, 1), store(50, 2), poll(), poll())
            else:
                yield name + "_jump", ring().chain(good).input(available=9)
                yield name + "_far", ring().chain(good).input(start=65535)
                r = ring().chain(good, good)
                r.heads = [8]
                yield name + "_head", r.input()
                r = ring().chain(good, good)
                r.descriptor(0, *good, r.write | NEXT, 8)
                yield name + "_next", r.input()
                r.descriptor(0, *good, r.write | NEXT, 0)
                yield name + "_self", r.input()


if __name__ == "__main__":
    corpus.write(__file__, seeds())
