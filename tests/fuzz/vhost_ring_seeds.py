#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of vhost_ring_fuzz: rings as a driver makes them, of every kind, and the
usual breaches of each. Usage: vhost_ring_seeds.py [FOLDER]; the input's form is in the target."""

import pathlib
import struct
import sys

PACKED, TO_GUEST, MERGEABLE, EVENT, VERSION_1, IN_ORDER = 1, 2, 4, 8, 16, 32
NEXT, WRITE, INDIRECT, AVAILABLE, USED = 1, 2, 4, 1 << 7, 1 << 15
RAM, OTHER = 0x10000, 0x20000
DATA, TABLE = 0x3000, 0x1400  # offsets in the first region


def poll(count=8, cycles=30000):
    return struct.pack("<BBH", 0, count - 1, cycles)


def store(offset, value):
    return struct.pack("<BBH", 1 | (offset // 512) << 2, offset % 512 // 2, value)


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


def seeds():
    good = (RAM + DATA, 1526)
    for packed in (0, PACKED):
        for direction in (0, TO_GUEST):
            for extra in (VERSION_1, VERSION_1 | MERGEABLE, VERSION_1 | EVENT, MERGEABLE | EVENT,
                          0 if not packed else VERSION_1 | IN_ORDER):
                flags = packed | direction | extra
                name = f"{'packed' if packed else 'split'}_{'sink' if direction else 'source'}"
                name += f"_{extra:02x}"
                yield name + "_simple", Ring(flags).chain(good).chain(good).input()
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


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1
                          else pathlib.Path(__file__).parent / "vhost_ring_fuzz.corpus")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
