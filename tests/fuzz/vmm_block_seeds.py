#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of vmm_block_fuzz: requests as a driver makes them, in rings of both
kinds, and the usual breaches of each. Usage: vmm_block_seeds.py [FOLDER]; the input's form is in
the target."""

import struct

import corpus

PACKED, EVENT, READ_ONLY, ENTROPY, DURABLE, ELSEWHERE = 1, 8, 16, 32, 64, 128
NEXT, WRITE, INDIRECT, AVAILABLE = 1, 2, 4, 1 << 7
IN, OUT, FLUSH, GET_ID, DISCARD, ZERO = 0, 1, 4, 8, 11, 13
RAM = 0x10000
TABLE, REQUEST, DATA, STATUS = 0x1000, 0x1200, 0x1300, 0x1f00  # offsets
SECTORS = 128
SIZE = 8


def turn(chains=8):
    return struct.pack("<BBH", 0, chains - 1, 0)


def store(offset, value):
    return struct.pack("<BBH", 1 | (offset // 512) << 2, offset % 512 // 2, value)


def descriptor(packed, address, length, flags, last):
    fields = (last, flags) if packed else (flags, last)
    return struct.pack("<QIHH", address, length, *fields)


class Ring:
    """Chains of (address, length, flags), as the guest makes them."""

    def __init__(self, flags):
        self.flags, self.packed = flags, bool(flags & PACKED)
        self.image = bytearray(0x2000)
        self.heads = []
        self.put_at = 0

    def holds(self, offset, content):
        self.image[offset:offset + len(content)] = content
        return self

    def request(self, kind, sector=0):
        return self.holds(REQUEST, struct.pack("<IIQ", kind, 0, sector))

    def range(self, sector, count, flags=0):
        return self.holds(DATA, struct.pack("<QII", sector, count, flags))

    def chain(self, *buffers):
        self.heads.append(self.put_at)
        for i, (address, length, flags) in enumerate(buffers):
            flags |= NEXT if i + 1 < len(buffers) else 0
            last = len(self.heads) if self.packed else self.put_at + 1
            self.holds(16 * self.put_at, descriptor(
                self.packed, address, length, flags | (AVAILABLE if self.packed else 0), last))
            self.put_at += 1
        return self

    def table(self, *buffers):
        for i, (address, length, flags) in enumerate(buffers):
            flags |= NEXT if i + 1 < len(buffers) and not self.packed else 0
            self.holds(TABLE + 16 * i, descriptor(self.packed, address, length, flags, i + 1))
        return self.chain((RAM + TABLE, 16 * len(buffers), INDIRECT))

    def input(self, *operations, available=None):
        if not self.packed:
            count = len(self.heads) if available is None else available
            self.holds(16 * SIZE, struct.pack(f"<HH{len(self.heads)}H", 0, count, *self.heads))
        operations = operations or (turn(), turn())
        code = SIZE - 1 if self.packed else SIZE.bit_length() - 1
        return (struct.pack("<BBB", self.flags, code, len(operations)) + b"".join(operations) +
                bytes(self.image).rstrip(b"\0"))


HEADER = (RAM + REQUEST, 16, 0)
END = (RAM + STATUS, 1, WRITE)


def to_read(size):
    return (RAM + DATA, size, 0)


def to_write(size):
    return (RAM + DATA, size, WRITE)


def requests(ring):
    """By name, of one kind of ring and device: rings with chains."""
    yield "read", ring().request(IN, 3).chain(HEADER, to_write(1024), END)
    yield "read_joined", ring().request(IN, 3).chain(HEADER, to_write(1025))
    yield "read_pieces", ring().request(IN).table(
        (RAM + REQUEST, 7, 0), (RAM + REQUEST + 7, 9, 0), to_write(500),
        (RAM + DATA + 500, 12, WRITE), END)
    yield "read_last", ring().request(IN, SECTORS - 1).chain(HEADER, to_write(512), END)
    yield "read_beyond", ring().request(IN, SECTORS - 1).chain(HEADER, to_write(1024), END)
    yield "read_far", ring().request(IN, 2**64 - 1).chain(HEADER, to_write(1024), END)
    yield "read_part", ring().request(IN).chain(HEADER, to_write(100), END)
    yield "read_nothing", ring().request(IN).chain(HEADER, END)
    yield "read_all", ring().request(IN).table(HEADER, *[to_write(2048)] * 14, END)
    yield "write", ring().request(OUT, 5).chain(HEADER, to_read(512), END)
    yield "write_joined", ring().request(OUT, 5).chain((RAM + REQUEST, 16 + 512, 0), END)
    yield "write_beyond", ring().request(OUT, SECTORS).chain(HEADER, to_read(512), END)
    yield "flush", ring().request(FLUSH).chain(HEADER, END)
    yield "serial", ring().request(GET_ID).chain(HEADER, to_write(20), END)
    yield "serial_short", ring().request(GET_ID).chain(HEADER, to_write(19), END)
    yield "unknown", ring().request(99).chain(HEADER, END)
    for name, kind in (("discard", DISCARD), ("zero", ZERO)):
        yield name, ring().request(kind).range(8, 16).chain(HEADER, to_read(16), END)
        yield name + "_unmap", ring().request(kind).range(8, 16, 1).chain(
            HEADER, to_read(16), END)
        yield name + "_flags", ring().request(kind).range(8, 16, 2).chain(
            HEADER, to_read(16), END)
        yield name + "_beyond", ring().request(kind).range(SECTORS, 1).chain(
            HEADER, to_read(16), END)
        yield name + "_two", ring().request(kind).range(8, 16).chain(HEADER, to_read(32), END)
    yield "many", ring().request(IN).chain(HEADER, END).chain(HEADER, END).chain(HEADER, END)


def breaches(ring):
    yield "short", ring().request(IN).chain((RAM + REQUEST, 15, 0), END)
    yield "no_status", ring().request(OUT).chain(HEADER, to_read(512))
    yield "direction", ring().request(IN).chain(END, HEADER)
    yield "outside", ring().request(IN).chain(HEADER, (RAM - 1, 512, WRITE), END)
    yield "edge", ring().request(IN).chain(HEADER, (RAM + 0x7fff, 513, WRITE), END)
    yield "huge", ring().request(IN).chain(HEADER, (RAM, 0xffffffff, WRITE), END)
    yield "itself", ring().request(IN).chain(HEADER, (RAM, 1024, WRITE), END).chain(HEADER, END)
    yield "table_length", ring().chain((RAM + TABLE, 17, INDIRECT))
    yield "table_in_table", ring().table((RAM + TABLE, 16, INDIRECT))


def seeds():
    for kind, base in (("split", 0), ("packed", PACKED)):
        def ring(flags=0, base=base):
            return Ring(base | flags)
        for name, r in (*requests(ring), *breaches(ring)):
            yield f"{kind}_{name}", r.input()
        for name, r in requests(lambda: ring(EVENT | DURABLE)):
            if name in ("write", "zero", "discard", "many"):
                yield f"{kind}_durable_{name}", r.input()
        for name, r in requests(lambda: ring(READ_ONLY)):
            if name in ("read", "write", "zero", "discard"):
                yield f"{kind}_read_only_{name}", r.input()
        rng = ring(ENTROPY).chain(to_write(64)).chain(to_read(8), to_write(2000)).chain(END)
        yield f"{kind}_entropy", rng.input()
        yield f"{kind}_elsewhere", ring(ELSEWHERE).request(IN).chain(HEADER, END).input()
        later = ring().request(IN, 1).chain(HEADER, to_write(512), END)
        yield f"{kind}_later", later.input(
            turn(), store(REQUEST, OUT), *([store(16 * SIZE + 2, 2)] if not base else []), turn())
    one = Ring(0).request(IN).chain(HEADER, END)
    yield "split_jump", one.input(available=9)
    one.holds(14, struct.pack("<H", 0))
    yield "split_loop", one.input()


if __name__ == "__main__":
    corpus.write(__file__, seeds())
