#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of xen_control_fuzz: a driver's usual messages, the edges of each of their
fields, and packets. Usage: xen_control_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

(GET_FLAGS, SET_FLAGS, SET_KEY, GET_MAPPING_SIZE, SET_MAPPING_SIZE, SET_MAPPING,
 SET_ALGORITHM) = range(1, 8)
ALL = 15
READ_ONLY = 16  # references from here on
BEHIND_SLOTS = 64 + 128 * 16

SERVE = struct.pack("<BBH", 0, 0, 0)


def store(offset, value, meanwhile=False):
    return struct.pack("<BBH", (2 if meanwhile else 1) | (offset // 512) << 3,
                       offset % 512 // 2, value)


def toggle(reference):
    return struct.pack("<BBH", 3, reference, 0)


def page(number, offset, value):
    return struct.pack("<BBH", 4 | number << 3, offset // 2, value)


def hash_packet(length, at=0):
    return struct.pack("<BBH", 5, length - 14, at)


def put(kind, value=0):
    return struct.pack("<BBH", 6, kind, value)


def message(kind, *data, identity=7):
    return struct.pack("<HHIII", identity, kind, *(tuple(data) + (0, 0, 0))[:3])


def make(messages, *operations, start=0, produced=None, event=1, behind=b""):
    image = bytearray(4096)
    produced = start + len(messages) if produced is None else produced
    struct.pack_into("<IIII", image, 0, produced & 0xFFFFFFFF, 1, start,
                     (start + event) & 0xFFFFFFFF)
    for i, content in enumerate(messages):
        at = 64 + (start + i) % 128 * 16
        image[at:at + 16] = content
    image[BEHIND_SLOTS:BEHIND_SLOTS + len(behind)] = behind
    operations = operations or (SERVE, SERVE)
    return bytes([len(operations)]) + b"".join(operations) + bytes(image).rstrip(b"\0")


def frames():
    ethernet = bytes(range(12))
    ports = struct.pack(">HH", 1000, 80) + bytes(16)
    v4 = ethernet + b"\x08\0" + struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0,
                                            b"\x0a\0\0\1", b"\x0a\0\0\2")
    v6 = ethernet + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, 20, 6, 64) + bytes(range(32))
    return {
        "tcp_v4": v4 + ports,
        "udp_v4": v4[:23] + b"\x11" + v4[24:] + ports,
        "fragment": v4[:20] + b"\x20\1" + v4[22:] + ports,
        "options": v4[:14] + b"\x4f" + v4[15:] + bytes(40) + ports,
        "cut_v4": v4[:30],
        "tcp_v6": v6 + ports,
        "cut_v6": v6 + ports[:2],
        "tagged": v6[:12] + b"\x81\0\0\1\x88\xa8\0\2" + v6[12:] + ports,
        "tags": v4[:12] + b"\x81\0\0\1" * 29,
        "arp": ethernet + b"\x08\6" + bytes(28),
    }


def seeds():
    hashing = [message(SET_ALGORITHM, 1), message(SET_KEY, 0, 40), message(SET_FLAGS, ALL),
               message(SET_MAPPING_SIZE, 128), message(SET_MAPPING, 1, 128, 0)]
    yield "usual", make([message(GET_FLAGS), message(GET_MAPPING_SIZE)] + hashing +
                        [message(GET_FLAGS)])
    for name, frame in frames().items():
        yield f"packet_{name}", make(hashing, hash_packet(min(len(frame), 128)), SERVE,
                                     hash_packet(min(len(frame), 128)), behind=frame)
    yield "every_type", make([message(kind, 1, 2, 3, identity=kind) for kind in
                              (*range(12), 0x101, 0xFFFF)], *([SERVE] * 3))
    for start in (0, 100, 0xFFFFFFF0):
        yield f"full_{start & 255}", make([message(GET_FLAGS, identity=i) for i in range(128)],
                                          *([SERVE] * 9), start=start)
    yield "index", make([], produced=129)
    yield "index_behind", make([], start=5, produced=4)
    yield "index_mended", make([], SERVE, store(0, 1), SERVE, produced=0x10000)
    yield "told", make([message(GET_FLAGS)] * 4, SERVE, event=5)
    yield "algorithms", make([message(SET_ALGORITHM, n) for n in (1, 0, 2, 1, 0xFFFFFFFF)])
    yield "flags", make([message(SET_FLAGS, ALL), message(SET_ALGORITHM, 1)] +
                        [message(SET_FLAGS, n) for n in (0, 5, 16, 0xFFFFFFFF)])
    use = message(SET_ALGORITHM, 1)
    yield "keys", make([use] + [message(SET_KEY, *at) for at in
                                ((4, 40), (5, 3), (5, 0), (5, 41), (5, 0x10028), (99, 40),
                                 (READ_ONLY + 1, 40), (0xFFFFFFFF, 1))])
    yield "sizes", make([use] + [message(SET_MAPPING_SIZE, n) for n in
                                 (1, 128, 129, 0, 0xFFFFFFFF)])
    for size in (0, 4, 128):
        yield f"tables_{size}", make(
            [use, message(SET_MAPPING_SIZE, size)] +
            [message(SET_MAPPING, 1, *at) for at in
             ((4, 0), (5, 0), (1, 3), (1, 4), (2, 3), (0, 4), (0, 5), (128, 0), (128, 1), (129, 0),
              (1, 0xFFFFFFFF), (0xFFFFFFFF, 1))], SERVE, SERVE)
    yield "queues", make([use, message(SET_MAPPING_SIZE, 128), message(SET_MAPPING, 3, 127, 0),
                          message(SET_MAPPING, 3, 128, 0), message(SET_MAPPING, 4, 1, 0)])
    yield "revoked", make([use, message(SET_KEY, 0, 40), message(SET_KEY, 1, 40)], toggle(0), SERVE)
    yield "later", make([use], SERVE, page(4, 0, 2), page(4, 2, 0), put(SET_MAPPING_SIZE, 1), SERVE,
                        put(SET_MAPPING + 120 + 12 * 7, 4 | 1 << 5), SERVE, toggle(4),
                        put(SET_MAPPING, 4 | 1 << 5), SERVE)
    # What is read while a grant is: the next message, this one's own slot, the indices.
    for name, at in (("next", 64 + 2 * 16 + 2), ("own", 64 + 16 + 2), ("producer", 0),
                     ("responses", 8), ("event", 12)):
        yield f"meanwhile_{name}", make([use, message(SET_KEY, 0, 40), message(SET_KEY, 1, 40)],
                                        store(at, 0x707, True), SERVE, SERVE)


if __name__ == "__main__":
    corpus.write(__file__, seeds())
