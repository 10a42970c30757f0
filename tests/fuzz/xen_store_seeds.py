#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of xen_store_fuzz: devices from their making to their end, and what can go
otherwise at each step. Usage: xen_store_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

KEYS = ("state", "request-rx-copy", "tx-ring-ref", "rx-ring-ref", "event-channel",
        "event-channel-tx", "event-channel-rx", "multi-queue-num-queues", "queue-0/tx-ring-ref",
        "queue-0/rx-ring-ref", "queue-0/event-channel", "queue-1/tx-ring-ref",
        "queue-1/rx-ring-ref", "queue-1/event-channel-tx", "queue-1/event-channel-rx",
        "ctrl-ring-ref", "event-channel-ctrl", "xdp-headroom", "feature-sg", "feature-gso-tcpv4",
        "feature-gso-tcpv6", "feature-no-csum-offload", "feature-ipv6-csum-offload",
        "request-multicast-control", "queue-0", "queue-1", "backend", "unknown")
BACK_KEYS = ("state", "online", "rate", "mtu", "hotplug-status", "hash", "carrier")
RESTART, WORK, LOOK, RETIRE, EVALUATE = (bytes([n]) for n in (9, 14, 15, 16, 19))
BINARY = b"\x01\x00\xff\xfe 4\n"


def value(of):
    if isinstance(of, int):
        return bytes([of])
    return bytes([224, len(of)]) + of if of else b"\xff"


HUGE = bytes([240, 220])
FAR = bytes([244, 16])  # 2^32
NEGATIVE = bytes([248, 8])


def change(key, of):
    """What the driver does to a key, as two operations take it."""
    if of is None:
        return bytes([KEYS.index(key), 7])
    return bytes([KEYS.index(key), 0]) + (of if of in (HUGE, FAR, NEGATIVE) else value(of))


def write(key, of):
    return b"\0" + change(key, of)


def meanwhile(calls, key, of):
    return bytes([4, calls]) + change(key, of)


def tools(key, of):
    return bytes([5, BACK_KEYS.index(key)]) + value(of)


def frontend(folder):
    return bytes([5, len(BACK_KEYS), folder])


def remove(how):
    return bytes([6, how])


def state(n):
    return bytes([7, n])


def drive(control_ring=False):
    return bytes([8, control_ring])


def fail(calls, count):
    return bytes([10, calls, count])


def fail_in(calls):
    return bytes([11, calls])


def toggle(reference):
    return bytes([12, reference])


def ring(which, at, what):
    return struct.pack("<BBHH", 13, which, at, what)


def mtu(n):
    return struct.pack("<BH", 17, n)


def busy(calls):
    return bytes([18, calls])


def two_queues():
    keys = b"".join(write(f"queue-{i}/{key}", n) for i, key, n in
                    ((0, "tx-ring-ref", 4), (0, "rx-ring-ref", 5), (0, "event-channel", 9),
                     (1, "tx-ring-ref", 6), (1, "rx-ring-ref", 7), (1, "event-channel-tx", 10),
                     (1, "event-channel-rx", 11)))
    return write("multi-queue-num-queues", 2) + write("request-rx-copy", 1) + keys + state(4)


def seeds():
    yield "usual", drive() + WORK + state(5) + state(6) + state(1) + drive() + WORK
    yield "control_ring", drive(True) + LOOK + WORK + state(6)
    yield "one_channel", drive() + state(6) + write("event-channel-tx", None) + \
        write("event-channel", 5) + state(1) + state(4) + WORK
    yield "two_queues", two_queues() + WORK + state(6)
    yield "features", b"".join(write(key, 1) for key in KEYS[18:24]) + \
        write("xdp-headroom", 40) + drive() + WORK + state(7) + state(4)
    yield "states", drive() + b"".join(state(n) for n in (0, 4, 3, 7, 8, 2, 4, 9, 4, 1, 4, 5, 4))
    yield "odd_states", drive() + b"".join(
        write("state", text) + EVALUATE + state(4) for text in (b"4 ", b" 4", b"04", b"four",
                                                               BINARY, HUGE, FAR, NEGATIVE, b""))
    for key in KEYS[1:24]:
        yield f"strange_{key.replace('/', '_')}", \
            (two_queues() if key[0] in "qm" else drive(True)) + b"".join(
                state(6) + write(key, of) + state(4)
                for of in (None, HUGE, FAR, NEGATIVE, BINARY, 0, 17))
    yield "keys_twice", drive() + state(6) + write("event-channel-rx", 1) + write(
        "rx-ring-ref", 0) + state(4)
    for calls in range(0, 24, 3):
        yield f"meanwhile_gone_{calls}", meanwhile(calls, "state", None) + drive() + EVALUATE
        yield f"meanwhile_closed_{calls}", drive() + meanwhile(calls, "state", 6) + EVALUATE * 2
        yield f"meanwhile_other_{calls}", meanwhile(calls, "tx-ring-ref", 6) + drive(True) + WORK
        yield f"fails_{calls}", fail(calls, 1) + drive() + EVALUATE + state(6) + EVALUATE
        yield f"fails_to_announce_{calls}", remove(7) + fail(calls, 2) + EVALUATE * 2
        yield f"busy_{calls}", remove(7) + busy(calls) + EVALUATE * 2 + drive()
    for calls in range(5):
        yield f"cannot_map_{calls}", fail_in(calls) + drive(True) + state(6) + drive(True)
    yield "revoked", toggle(0) + drive() + state(6) + toggle(0) + drive() + toggle(1) + WORK
    yield "index", drive() + ring(0, 0, 999) + WORK + LOOK + EVALUATE + state(6) + drive()
    yield "index_of_control_ring", drive(True) + ring(1, 0, 129) + LOOK + LOOK
    yield "message", drive(True) + ring(1, 64 + 2, 7) + ring(1, 68, 1) + ring(1, 0, 1) + LOOK + WORK
    yield "frames", drive() + ring(0, 64, 3) + ring(0, 64 + 10, 60) + ring(0, 0, 1) + ring(
        0, 4096, 9) + WORK + WORK
    yield "removed", drive() + remove(2) + remove(7) + drive() + remove(3) + remove(7)
    yield "removed_unseen", drive() + remove(4) + EVALUATE + drive() + remove(5) + EVALUATE
    yield "offline", tools("online", 0) + drive() + state(6) + tools("online", 1) + state(1)
    yield "detached", drive() + tools("online", 0) + tools("state", 5) + EVALUATE + state(6)
    yield "restarted", drive(True) + RESTART + WORK + LOOK + RESTART + state(6) + RESTART
    yield "restarted_amid", drive() + ring(0, 0, 3) + ring(0, 8, 2) + RESTART + WORK
    yield "retired", drive() + RETIRE + EVALUATE + state(6) + RESTART + mtu(9000) + state(1)
    for i, rate in enumerate((b"3000,1000", b"1,", b"0,0", b",5", b"1000,99999999999",
                              b"18446744073709551616,1", BINARY)):
        yield f"rate_{i}", tools("rate", rate) + drive() + ring(0, 0, 5) + WORK
    for i, text in enumerate((b"toeplitz 0f" + b"01" * 40, b"none 0f" + b"01" * 41,
                              b"toeplitz 0f" + b"01" * 40 + b"09", b"toeplitz 10" + b"01" * 40,
                              b"toeplitz 0f" + b"01" * 39, b"toeplitz 0", b"toeplitz x", BINARY)):
        yield f"hash_{i}", drive(True) + tools("hash", text) + RESTART + WORK + RESTART + state(6)
    yield "carrier", mtu(1) + LOOK + drive() + mtu(2) + LOOK + tools("carrier", 0) + RESTART + LOOK
    yield "elsewhere", drive() + b"".join(frontend(n) + EVALUATE for n in (2, 0, 3, 1, 0))


if __name__ == "__main__":
    corpus.write(__file__, seeds())
