#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of xen_ring_fuzz: rings as a driver makes them, both directions, and the
usual breaches of each. Usage: xen_ring_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

TO_GUEST, SG, MULTICAST, LEFT, HEADROOM, HASH, SEGMENTS, RATE = (1 << i for i in range(8))
BLANK, VALID, MORE, EXTRA = 1, 2, 4, 8
GSO, MULTICAST_ADD, MULTICAST_DEL, HASH_INFO, XDP = 1, 2, 3, 4, 5
EXTRA_MORE = 1
READ_ONLY = 16  # references from here on


def poll(count=8, cycles=30000):
    return struct.pack("<BBH", 0, count - 1, cycles)


def store(offset, value):
    return struct.pack("<BBH", 1 | (offset // 512) << 2, offset % 512 // 2, value)


def toggle(reference):
    return struct.pack("<BBH", 2, reference, 0)


class Ring:
    """Requests of one ring, in the slots that follow `start`."""

    def __init__(self, flags, start=0):
        self.flags, self.start, self.count = flags, start, 0
        self.slot = 8 if flags & TO_GUEST else 12
        self.image = bytearray(4096)

    def _put(self, content):
        at = 64 + (self.start + self.count) % 256 * self.slot
        self.image[at:at + len(content)] = content
        self.count += 1
        return self

    def tx(self, grant, size, flags=0, offset=0, identity=None):
        identity = self.count if identity is None else identity
        return self._put(struct.pack("<IHHHH", grant, offset, flags, identity & 0xFFFF, size))

    def extra(self, kind, flags=0, body=b""):
        return self._put(struct.pack("<BB6s", kind, flags, body))

    def gso(self, size, kind=1, flags=0):
        return self.extra(GSO, flags, struct.pack("<HB", size, kind))

    def rx(self, grant, identity=None):
        identity = self.count if identity is None else identity
        return self._put(struct.pack("<HHI", identity & 0xFFFF, 0, grant))

    def response(self, identity, status):
        """An answer that was written over a request of the transmit ring."""
        at = 64 + (self.start + self.count - 1) % 256 * self.slot
        self.image[at:at + 4] = struct.pack("<Hh", identity, status)
        return self

    def rx_response(self, size, flags=0, offset=0, identity=None):
        identity = self.count if identity is None else identity
        return self._put(struct.pack("<HHHh", identity & 0xFFFF, offset, flags, size))

    def input(self, *operations, produced=None, event=1):
        start = self.start * 0x10001
        produced = start + self.count if produced is None else produced
        struct.pack_into("<IIII", self.image, 0, produced & 0xFFFFFFFF, 1, start,
                         (start + event) & 0xFFFFFFFF)
        operations = operations or (poll(), poll())
        image = bytes(self.image).rstrip(b"\0")
        return (struct.pack("<BHB", self.flags, self.start, len(operations)) +
                b"".join(operations) + image)


def source_seeds():
    def ring(flags=0, start=0):
        return Ring(flags | SG, start)

    yield "simple", ring().tx(0, 60).tx(1, 1514).input()
    yield "read_only", ring().tx(READ_ONLY, 60).tx(READ_ONLY + 1, 4096).input()
    yield "far", ring(start=65500).tx(0, 60).tx(1, 1514).tx(2, 128).input()
    r = ring()
    for i in range(256):
        r.tx(i % 16, 64)
    yield "full", r.input(poll(), poll(), poll(), poll(), poll())
    yield "two_slots", ring().tx(0, 3000, MORE).tx(1, 1000).input()
    for slots in (17, 18, 19, 20, 200):
        r = ring().tx(0, 20 * slots, MORE)
        for i in range(1, slots):
            r.tx(i % 16, 20, MORE if i + 1 < slots else 0)
        yield f"slots_{slots}", r.tx(0, 60).input()
    r = ring().tx(0, 60, MORE)
    for i in range(17):
        r.tx(1, 1, MORE if i < 16 else 0)
    yield "tiny_slots", r.input()
    yield "gso", ring().tx(0, 4000, BLANK | VALID | EXTRA).gso(1000).input()
    yield "gso_v6", ring().tx(0, 6000, BLANK | EXTRA | MORE).gso(1400, 2).tx(1, 3000).input()
    yield "long_headers", ring().tx(8, 4000, BLANK | VALID | EXTRA).gso(1000).tx(9, 200, BLANK).tx(
        12, 300, BLANK).tx(8, 140, BLANK | MORE).tx(8, 10, 0, 130).tx(10, 60).input()
    yield "long_headers_gone", ring().tx(8, 200, BLANK | MORE).tx(9, 72, 0, 128).tx(
        8, 200, BLANK).input(toggle(9), poll(), toggle(9))
    r = ring()
    for i in range(64):
        r.tx(12, 400, BLANK | MORE).tx(12, 14, MORE, 110).tx(12, 20, MORE, 124).tx(12, 256, 0, 144)
    yield "long_headers_of_all", r.input()
    yield "gso_zero", ring().tx(0, 4000, EXTRA).gso(0).input()
    yield "gso_kind", ring().tx(0, 4000, EXTRA).gso(1000, 3).input()
    yield "extras", ring().tx(0, 60, EXTRA).gso(1000, 1, EXTRA_MORE).extra(
        HASH_INFO, EXTRA_MORE).extra(XDP).tx(1, 60).input()
    yield "extra_unknown", ring().tx(0, 60, EXTRA).extra(9).input()
    r = ring().tx(0, 60, EXTRA)
    for _ in range(255):
        r.extra(XDP, EXTRA_MORE)
    yield "extras_to_the_end", r.input()
    yield "extra_missing", ring().tx(0, 60, EXTRA).input()
    yield "slot_missing", ring().tx(0, 60, MORE).input()
    yield "multicast", ring(MULTICAST).tx(0, 0, EXTRA).extra(
        MULTICAST_ADD, 0, b"\x33\x33\0\0\0\1").tx(0, 0, EXTRA).extra(
            MULTICAST_DEL, 0, b"\x33\x33\0\0\0\1").tx(1, 60).input()
    yield "short", ring().tx(0, 0).tx(1, 13).tx(2, 14).input()
    yield "crosses", ring().tx(0, 60).tx(1, 200, 0, 4000).input()
    yield "crosses_later", ring().tx(0, 200, MORE).tx(1, 100, 0, 65535).input()
    yield "more_than_its_frame", ring().tx(0, 100, MORE).tx(1, 101).input()
    yield "page", ring().tx(0, 4096).tx(1, 4097).input()
    yield "longest", (lambda r: [r.tx(i, 4096 if i else 65535, MORE if i < 15 else 0)
                                 for i in range(16)] and r)(ring()).input()
    yield "bad_grant", ring().tx(77, 60).tx(0xFFFFFFFF, 60).tx(1, 60).input()
    yield "taken_back", ring().tx(0, 60).tx(1, 3000).input(toggle(1), poll(), toggle(1), poll())
    yield "index", ring().input(produced=257)
    yield "index_behind", ring(start=100).input(produced=99)
    yield "rate", ring(RATE).tx(0, 2000).tx(1, 2000).tx(2, 2000).input(
        poll(), poll(1, 65535), poll(1, 65535))
    yield "later", ring().tx(0, 60).tx(1, 60).input(
        poll(), store(0, 3), store(64 + 2 * 12 + 10, 60), poll(), store(2, 1), poll())
    yield "left_nothing", ring(LEFT).tx(20, 60).tx(1, 60).input()
    yield "left_one", ring(LEFT).tx(0, 60).response(0, 0).tx(1, 60).input()
    yield "left_error", ring(LEFT).tx(0, 60).response(0, -1).tx(1, 60).input()
    yield "left_amid_a_frame", ring(LEFT).tx(0, 3000, MORE).response(0, 0).tx(1, 100).tx(
        2, 60).input()
    yield "left_extra", ring(LEFT).tx(0, 3000, EXTRA | MORE).response(0, 0).gso(
        1000).response(0, 1).tx(2, 100).tx(3, 60).input()
    yield "left_extra_unwritten", ring(LEFT).tx(0, 3000, EXTRA | MORE).response(0, 0).gso(
        1000).tx(2, 100).tx(3, 60).input()


def sink_seeds():
    def ring(flags=0, start=0, count=256, grants=16):
        r = Ring(flags | TO_GUEST, start)
        for i in range(count):
            r.rx(i % grants)
        return r

    yield "simple", ring(SG).input(poll(1), poll(8), poll(64))
    yield "plain", ring().input(poll(64))
    yield "far", ring(SG, 65500, 200).input(poll(4), poll(64))
    yield "few", ring(SG, 0, 5).input(poll(64))
    yield "none", ring(SG, 0, 0).input(poll(3))
    yield "headroom", ring(SG | HEADROOM).input(poll(8), poll(64))
    yield "hash", ring(SG | HASH).input(poll(16))
    yield "all_extras", ring(SG | HASH | HEADROOM | SEGMENTS).input(poll(16), poll(64))
    yield "multicast", ring(SG | MULTICAST).input(poll(16))
    yield "read_only", Ring(SG | TO_GUEST).rx(READ_ONLY).rx(READ_ONLY + 1).rx(1).rx(2).input(
        poll(4))
    yield "bad_grant", ring(SG, 0, 200, 40).input(poll(64))
    yield "taken_back", ring(SG).input(toggle(0), toggle(3), poll(8), toggle(0), poll(64))
    yield "index", ring(SG).input(poll(2), produced=300)
    yield "refilled", ring(SG, 0, 30).input(poll(4), store(0, 200), poll(16), store(2, 5), poll(4))
    yield "left_whole", Ring(SG | TO_GUEST | LEFT).rx_response(60).rx_response(
        4096, MORE).rx_response(100).rx(3).rx(4).input(poll(2))
    yield "left_part", Ring(SG | TO_GUEST | LEFT).rx_response(4096, MORE).rx(1).rx(2).input(poll(2))
    yield "left_extra", Ring(SG | TO_GUEST | LEFT).rx_response(60, EXTRA, 256).extra(
        XDP, 0, b"\0\1").rx(2).rx(3).input(poll(2))
    yield "left_error", Ring(SG | TO_GUEST | LEFT).rx_response(-1).rx(1).input(poll(2))
    r = Ring(SG | TO_GUEST | LEFT)
    for _ in range(256):
        r.rx_response(100, MORE | EXTRA)
    yield "left_all", r.input(poll(2))


def seeds():
    for direction, these in (("source", source_seeds()), ("sink", sink_seeds())):
        for name, content in these:
            yield f"{direction}_{name}", content


if __name__ == "__main__":
    corpus.write(__file__, seeds())
