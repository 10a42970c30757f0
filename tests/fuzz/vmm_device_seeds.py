#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of vmm_device_fuzz: devices as a driver finds, starts, uses and resets
them, and the usual breaches. Usage: vmm_device_seeds.py [FOLDER]; the input's form is in the
target."""

import itertools
import struct

import corpus

(IN, OUT, LOAD, STORE, LOAD_REGISTER, STORE_REGISTER, READ_SPACE, WRITE_SPACE, SET_UP, FILL, NOTIFY,
 RUN, RESET, DESCRIBE, OFFER, OUTSIDE) = range(16)
NET, DISK, READ_ONLY, RNG, PLAYED = range(5)
SERIAL, POWER, KEYBOARD, PCI, ANY = range(5)  # bases of ports; the first four begin 4 ports before
SIZES = {1: 0, 2: 1, 4: 2, 8: 3}
SPLIT = 1  # of set_up's value: without packed rings
NO_EVENT, NO_INDIRECT, NO_MORE = 2, 4, 8
INTERRUPTS, NOT_YET = 1 << 8, 1 << 9
STATUS, SELECT, SIZE, VECTOR, ENABLE, DESCRIPTORS, DRIVER, DEVICE = 20, 22, 24, 26, 28, 32, 40, 48
ISR, CONFIG, TABLE, PENDING, NOTIFICATION = 0x1000, 0x2000, 0x3000, 0x3800, 0x4000
COMMAND, BAR = 4, 16
NEXT, WRITE, INDIRECT = 1, 2, 4
AVAILABLE = 0x80  # a packed descriptor's
ANYWHERE = 1 << 2  # a store that KVM does not take


def op(kind, where=0, offset=0, value=0):
    return struct.pack("<BBHI", kind, where, offset & 0xffff, value & 0xffffffff)


def port(write, base, offset, size=1, value=0):
    if base != ANY:
        offset += 4
    return op(OUT if write else IN, base << 4 | SIZES[size], offset, value)


def get(device, offset, size=4):
    return op(LOAD_REGISTER, device << 4 | SIZES[size], offset)


def put(device, offset, value, size=4, how=0):
    return op(STORE_REGISTER, device << 4 | SIZES[size] | how, offset, value)


def space(device, offset, size=4, value=None):
    kind = READ_SPACE if value is None else WRITE_SPACE
    return op(kind, (device + 1) << 3 | SIZES[size], offset, value or 0)


def set_up(device, flags=SPLIT, log=3, place=0x1000, more=0, shift=0):
    return op(SET_UP, device << 4, place, flags | log << 4 | more << 16 | shift << 24)


def fill(offset, content):
    content += bytes(-len(content) % 4)
    return b"".join(op(FILL, SIZES[4], offset + i, *struct.unpack_from("<I", content, i))
                    for i in range(0, len(content), 4))


def buffer(device, queue, index, address, length, flags=0):
    return op(DESCRIBE, device << 4 | queue, address, length | flags << 16 | index << 24)


def offer(device, queue=0, head=0):
    return op(OFFER, device << 4 | queue, 0, head)


def notify(device, queue=0):
    return op(NOTIFY, device << 4 | queue)


def reset(device):
    return op(RESET, device << 4)


def outside(what, device=0, offset=0, value=0):
    return op(OUTSIDE, device << 4 | what, offset, value)


RUN_ALL = op(RUN, 0, 15)
PRESS, INPUT, QUIET, CHANGED, BROKEN, OFFERS, MOVE, BACK_END = range(8)
REQUEST, DATA, END = 0x8000, 0x8100, 0x9000


def request(device, kind, sector, length, packed, flags=0):
    """A block request of three buffers, made available."""
    available = AVAILABLE if packed else 0
    return (fill(REQUEST, struct.pack("<IIQ", kind, 0, sector)) +
            buffer(device, 0, 1, DATA, length, NEXT | flags | available) +
            buffer(device, 0, 2, END, 1, WRITE | available) +
            buffer(device, 0, 0, REQUEST, 16, NEXT) + offer(device))


def control(device, packed, queue, command):
    available = AVAILABLE if packed else 0
    return (fill(REQUEST, command) +
            buffer(device, queue, 1, END, 1, WRITE | available) +
            buffer(device, queue, 0, REQUEST, len(command), NEXT) + offer(device, queue))


def drive(device, queues):
    """Step by step, as set_up does it at once."""
    return b"".join((
        put(device, STATUS, 0, 1), put(device, STATUS, 1, 1), put(device, STATUS, 3, 1),
        put(device, 0, 0), get(device, 4), put(device, 0, 1), get(device, 4),
        put(device, 8, 1), put(device, 12, 1), put(device, 8, 0), put(device, 12, 0),
        put(device, STATUS, 11, 1), get(device, STATUS, 1),
        *(put(device, SELECT, q, 2) + get(device, SIZE, 2) + put(device, SIZE, 8, 2) +
          put(device, VECTOR, q + 1, 2) + put(device, DESCRIPTORS, 0x1000 + 0x200 * q) +
          put(device, DRIVER, 0x1080 + 0x200 * q) + put(device, DEVICE, 0x1100 + 0x200 * q) +
          put(device, ENABLE, 1, 2) for q in range(queues)),
        put(device, STATUS, 15, 1), get(device, STATUS, 1)))


def platform_seeds():
    yield "ports_nobody", b"".join(
        port(write, ANY, p, size, 0xffffffff) for write in (False, True)
        for p, size in ((0, 1), (0x60, 1), (0x80, 4), (0x3f7, 2), (0x3ff, 2), (0xffff, 8)))
    yield "addresses_nobody", b"".join(
        op(kind, base << 4 | size, offset, 0x12345) for kind in (LOAD, STORE)
        for base in range(8) for size, offset in ((2, 0), (3, 0xfffd)))
    yield "serial", b"".join((
        port(True, SERIAL, 3, 1, 0x80), port(True, SERIAL, 0, 2, 0x100), port(False, SERIAL, 0, 2),
        port(True, SERIAL, 3, 1, 3), port(True, SERIAL, 1, 1, 15), port(True, SERIAL, 2, 1, 0xc7),
        port(True, SERIAL, 0, 1, 65), outside(INPUT, offset=20), port(False, SERIAL, 0, 8),
        port(False, SERIAL, 2), port(True, SERIAL, 4, 1, 0x1f), *[port(True, SERIAL, 0)] * 20,
        port(False, SERIAL, 5), port(False, SERIAL, 6), port(True, SERIAL, 2, 1, 0),
        outside(INPUT, offset=5000), port(False, SERIAL, 0, 4)))
    for name, fifo in (("fifo", 1), ("alone", 0)):
        yield f"serial_loop_{name}", port(True, SERIAL, 2, 1, fifo) + port(
            True, SERIAL, 4, 1, 0x10) + port(True, SERIAL, 0) * 20
    yield "power", b"".join((
        outside(PRESS), port(False, POWER, 0, 4), port(False, POWER, 2), outside(PRESS),
        port(False, POWER, 2), port(True, POWER, 0, 1, 0x34), port(True, POWER, 0, 4, 0x34),
        port(True, POWER, 0, 1, 0x14), port(True, POWER, -1, 2, 0x3434),
        port(True, KEYBOARD, 0, 1, 0xfe), port(True, KEYBOARD, 0, 2, 0xfe),
        port(False, KEYBOARD, 0), port(True, KEYBOARD, -4, 1, 0xfe)))
    yield "space", b"".join(
        space(device, offset, size) for device in range(-1, 6)
        for offset, size in ((0, 4), (8, 4), (16, 4), (0x34, 1), (0x40, 2), (0x3e, 2), (1, 2)))
    yield "space_writes", b"".join(
        space(device, offset, 4, 0xffffffff)
        for device in (-1, DISK) for offset in range(0, 256, 4))
    yield "space_selects", b"".join((
        port(True, PCI, 0, 4, 0x80000800), port(False, PCI, 0, 4), port(False, PCI, 4, 4),
        port(True, PCI, 0, 1, 0), port(True, PCI, 0, 8, 0), port(False, PCI, 3, 4),
        port(False, PCI, 5, 2), port(False, PCI, 6, 2), port(False, PCI, 7, 1),
        op(READ_SPACE, 1 << 3 | 2, 0x100), op(READ_SPACE, 1 << 3 | 2, 0x700)))
    yield "space_unaligned", b"".join(
        space(DISK, offset, size) + space(DISK, offset, size, 0xffffffff)
        for offset in (0x0d, 0x11, 0x42, 0x91, 0xfd) for size in (2, 4))
    yield "moved_away", b"".join((
        set_up(PLAYED), space(PLAYED, BAR, 4, 0xffffffff), space(PLAYED, BAR, 4),
        get(PLAYED, STATUS, 1), space(PLAYED, BAR, 4, 0xd0000000), notify(PLAYED, 1),
        space(PLAYED, COMMAND, 2, 0), get(PLAYED, STATUS, 1), space(PLAYED, COMMAND, 2, 2)))
    yield "moved_over", b"".join((
        set_up(DISK), set_up(RNG), outside(MOVE, RNG, value=1), notify(DISK), reset(DISK),
        notify(RNG), RUN_ALL, outside(MOVE, DISK, value=77), notify(RNG), RUN_ALL))


def function_seeds():
    for name, device, queues in (("net", NET, 5), ("disk", DISK, 1), ("rng", RNG, 1),
                                 ("played", PLAYED, 3)):
        yield f"{name}_driven", drive(device, queues) + notify(device) + RUN_ALL + reset(device)
    yield "window", b"".join((
        *(space(PLAYED, offset, 4) for offset in range(0x40, 0x100, 4)),
        # The capability, with and without a device's configuration in front of it.
        *(space(device, at + 8, 4, where) + space(device, at + 12, 4, 1) +
          space(device, at + 16, 1, 1) + space(device, at + 16, 4)
          for device, at in ((PLAYED, 0x90), (RNG, 0x80))
          for where in (STATUS, ISR, TABLE + 12, 0x7ffc, 0x7ffe, 0x8000, 0xfffffffc))))
    yield "pages", b"".join(
        get(PLAYED, at + offset, size) + put(PLAYED, at + offset, 0x5a, size)
        for at in range(0, 0x8000, 0x1000) for offset, size in ((0, 8), (0xffd, 8), (0xfff, 1)))
    yield "bar_end", b"".join((get(NET, 0x7ffd, 4), put(NET, 0x7ffd, 0, 4), get(PLAYED, 0x7ffe, 8),
                               put(PLAYED, 0x8000, 0, 8), get(PLAYED, 0xffff, 8)))
    yield "config", b"".join(
        get(device, CONFIG + offset, size) + put(device, CONFIG + offset, 0xdeadbeef, size)
        for device in range(5)
        for offset, size in ((0, 8), (4, 4), (8, 4), (10, 4), (12, 1), (56, 8)))
    yield "vectors", b"".join((
        set_up(PLAYED, SPLIT | INTERRUPTS), get(PLAYED, PENDING, 8), outside(CHANGED),
        put(PLAYED, TABLE, 0xfee00000), put(PLAYED, TABLE + 8, 0xffffffff, 8), outside(CHANGED),
        get(PLAYED, PENDING, 8), get(PLAYED, PENDING + 2, 2), get(PLAYED, ISR, 1),
        get(PLAYED, ISR, 1), put(PLAYED, TABLE + 12, 0), put(PLAYED, TABLE + 2, 0),
        put(PLAYED, TABLE + 56, 0, 8), put(PLAYED, TABLE + 60, 0, 8), put(PLAYED, TABLE + 64, 0),
        get(PLAYED, TABLE + 60, 8), get(PLAYED, TABLE + 0x7fc, 8), get(PLAYED, 0x3ff8, 8),
        space(PLAYED, 0x42, 2, 0xc000), space(PLAYED, 0x42, 2, 0x8000), space(PLAYED, 0x42, 2, 0)))
    yield "vectors_wrong", b"".join((
        put(PLAYED, VECTOR, 4, 2), get(PLAYED, VECTOR, 2), put(PLAYED, 16, 4, 2),
        put(PLAYED, 16, 0xfffe, 2), get(PLAYED, 16, 2), put(PLAYED, VECTOR, 3, 2),
        set_up(PLAYED, SPLIT), outside(BROKEN)))
    yield "frozen", b"".join((
        set_up(PLAYED), put(PLAYED, SELECT, 1, 2), put(PLAYED, SIZE, 16, 2),
        put(PLAYED, ENABLE, 0, 2), put(PLAYED, DESCRIPTORS, 0xdead0000), put(PLAYED, DRIVER, 1, 8),
        put(PLAYED, VECTOR, 1, 2), put(PLAYED, 8, 0), put(PLAYED, 12, 0),
        put(PLAYED, STATUS, 15, 1),
        put(PLAYED, STATUS, 0x80, 1)))
    yield "frozen_unused", b"".join((
        set_up(PLAYED, SPLIT | 7 << 10), put(PLAYED, SIZE, 16, 2), put(PLAYED, DRIVER, 2, 8),
        put(PLAYED, ENABLE, 1, 2)))
    yield "frozen_early", b"".join((
        set_up(PLAYED, SPLIT | NOT_YET), put(PLAYED, DRIVER, 2, 8), put(PLAYED, ENABLE, 0, 2),
        put(PLAYED, 8, 0), put(PLAYED, 12, 1), put(PLAYED, STATUS, 15, 1)))
    yield "sizes", b"".join(put(PLAYED, SIZE, size, 2) + get(PLAYED, SIZE, 2)
                            for size in (0, 1, 3, 256, 257, 0x8000, 0xffff))
    yield "selects", b"".join((
        put(PLAYED, SELECT, 3, 2), put(PLAYED, SIZE, 8, 2), put(PLAYED, ENABLE, 1, 2),
        get(PLAYED, SIZE, 8), put(PLAYED, SELECT, 0xffff, 2), put(PLAYED, DRIVER, 1, 8),
        put(PLAYED, 0, 2), get(PLAYED, 4), put(PLAYED, 8, 2), put(PLAYED, 12, 1), get(PLAYED, 12)))
    yield "features", b"".join((
        put(PLAYED, STATUS, 8, 1), put(PLAYED, 12, 1), put(PLAYED, 8, 1), put(PLAYED, 12, 1),
        put(PLAYED, STATUS, 8, 1), put(PLAYED, 8, 0), put(PLAYED, 12, 0), put(PLAYED, STATUS, 8, 1),
        put(PLAYED, STATUS, 4, 1), outside(OFFERS, offset=0, value=3), reset(PLAYED),
        outside(QUIET),
        set_up(PLAYED), put(PLAYED, STATUS, 0x4f, 1)))
    for name, arguments in (("size_split", {"more": 3}), ("size_packed", {"flags": 0, "more": 3}),
                            ("unaligned", {"shift": 2}), ("large", {"log": 8, "more": 255})):
        yield f"refused_{name}", set_up(PLAYED, **arguments) + reset(PLAYED) + set_up(PLAYED)
    for name, area, address in (("descriptors", DESCRIPTORS, 0x1008), ("driver", DRIVER, 0x1081),
                                ("device", DEVICE, 0x1102)):
        yield f"refused_{name}", b"".join((
            set_up(PLAYED, SPLIT | NOT_YET | 7 << 10), put(PLAYED, area, address),
            put(PLAYED, ENABLE, 1, 2), put(PLAYED, STATUS, 15, 1)))
    yield "status_early", put(PLAYED, STATUS, 4, 1) + put(PLAYED, STATUS, 7, 1)
    yield "status_broken", b"".join((
        set_up(PLAYED, SPLIT | NOT_YET), outside(BROKEN), put(PLAYED, STATUS, 15, 1)))
    yield "stopping", b"".join((
        set_up(PLAYED, SPLIT | INTERRUPTS), reset(PLAYED), put(PLAYED, SELECT, 1, 2),
        put(PLAYED, STATUS, 0x80, 1), put(PLAYED, CONFIG, 1), reset(PLAYED), notify(PLAYED),
        outside(CHANGED), outside(BROKEN), outside(MOVE, PLAYED, value=9), outside(QUIET),
        get(PLAYED, STATUS, 1), set_up(PLAYED, 0), reset(PLAYED), outside(QUIET)))
    yield "packed_position", b"".join((
        fill(0x1000 + 14, b"\x80\0"), fill(0x101c, b"\0\0\x80\0"), set_up(PLAYED, 0),
        fill(0x100c, b"\0\0\x80\x80"), set_up(PLAYED, 0)))
    yield "notified_early", notify(DISK) + put(DISK, NOTIFICATION, 0, 2, ANYWHERE) + set_up(
        DISK) + put(DISK, NOTIFICATION + 2, 0, 2) + put(DISK, NOTIFICATION + 4, 0, 2) + RUN_ALL


def device_seeds():
    for name, packed in (("split", False), ("packed", True)):
        rings = (0 if packed else SPLIT) | INTERRUPTS
        for device, disk in ((DISK, "disk"), (READ_ONLY, "read_only")):
            yield f"{name}_{disk}", b"".join((
                set_up(device, rings), request(device, 0, 1, 512, packed, WRITE), RUN_ALL,
                reset(device), RUN_ALL, set_up(device, rings),
                request(device, 1, 1, 512, packed), RUN_ALL))
        yield f"{name}_disk_beyond", set_up(DISK, rings) + request(
            DISK, 1, 32, 512, packed) + RUN_ALL
        yield f"{name}_disk_itself", b"".join((
            set_up(DISK, rings, place=REQUEST - 0x40), request(DISK, 0, 0, 0xf00, packed, WRITE),
            RUN_ALL, RUN_ALL))
        yield f"{name}_disk_reset_early", b"".join((
            set_up(DISK, rings), request(DISK, 0, 0, 512, packed, WRITE), op(RUN, 0, 0),
            reset(DISK), fill(0x1000, bytes(16)), op(RUN, 0, 0), set_up(DISK, rings), RUN_ALL))
        yield f"{name}_disk_outside", set_up(DISK, rings, place=0xfff0) + notify(DISK) + RUN_ALL
        yield f"{name}_rng", b"".join((
            set_up(RNG, rings), buffer(RNG, 0, 0, 0x8000, 64, WRITE), offer(RNG), RUN_ALL,
            buffer(RNG, 0, 1, 0xfff0, 64, WRITE), offer(RNG, 0, 1), RUN_ALL, get(RNG, STATUS, 1),
            reset(RNG), RUN_ALL))
        for what, command in (("mac", b"\1\1\x52\0\0\0\0\1"), ("mode", b"\0\0\1"),
                              ("pairs", b"\4\0\2\0"), ("many_pairs", b"\4\0\3\0"),
                              ("short", b"\4")):
            yield f"{name}_net_{what}", b"".join((
                set_up(NET, rings), control(NET, packed, 4, command), RUN_ALL, RUN_ALL, reset(NET),
                RUN_ALL))
        yield f"{name}_net_control_alone", b"".join((
            set_up(NET, rings | NO_MORE), control(NET, packed, 2, b"\1\1\2\0\0\0\0\1"), RUN_ALL))
    for name, rings, come in (("split", SPLIT, 0x25), ("packed", 0, 0x27)):
        here, gone = outside(BACK_END, value=come), outside(BACK_END)
        yield f"{name}_back_end", b"".join((
            here, get(NET, CONFIG, 8), set_up(NET, rings | INTERRUPTS), RUN_ALL, gone,
            fill(0x1000, bytes(16)), here, control(NET, rings == 0, 4, b"\4\0\1\0"), RUN_ALL,
            reset(NET), RUN_ALL, set_up(NET, rings, place=0x2000), reset(NET)))
        yield f"{name}_back_end_late", b"".join((
            set_up(NET, rings), here, notify(NET), reset(NET), gone, here, RUN_ALL,
            set_up(NET, rings), RUN_ALL, reset(NET), RUN_ALL, set_up(NET, rings | NO_MORE),
            RUN_ALL))
        yield f"{name}_back_end_outside", b"".join((
            here, set_up(NET, rings, place=0xffc0), RUN_ALL, reset(NET)))
    yield "back_end_unfit", b"".join((
        set_up(NET, 0), outside(BACK_END, value=0x25), reset(NET), RUN_ALL,
        outside(BACK_END, value=0x27)))
    yield "back_end_refused", outside(BACK_END, value=0x29) + outside(BACK_END, value=0x25)
    yield "back_end_one_pair", outside(BACK_END, value=0x15) + set_up(NET) + RUN_ALL
    # More than two turns' work when it is reset.
    yield "split_busy", b"".join((
        set_up(DISK, SPLIT, log=7, more=128), request(DISK, 0, 0, 512, False, WRITE),
        fill(0x2000, b"\0\0\0\1"), op(RUN, 0, 0), reset(DISK)))
    # A used ring over the available one.
    yield "split_over", b"".join((
        drive(RNG, 0), put(RNG, STATUS, 0, 1), put(RNG, STATUS, 3, 1), put(RNG, 8, 1),
        put(RNG, 12, 1), put(RNG, STATUS, 11, 1), put(RNG, SIZE, 8, 2),
        put(RNG, DESCRIPTORS, 0x1000), put(RNG, DRIVER, 0x1100), put(RNG, DEVICE, 0x1100),
        put(RNG, ENABLE, 1, 2), fill(0x1000, struct.pack("<QIHH", 0x8000, 4, WRITE, 0)),
        fill(0x1100, b"\0\0\1\0"), put(RNG, STATUS, 15, 1), RUN_ALL, RUN_ALL, reset(RNG)))


if __name__ == "__main__":
    corpus.write(__file__, itertools.chain(platform_seeds(), function_seeds(), device_seeds()))
