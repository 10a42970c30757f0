#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of stp_fuzz: what bridges say, true and false, links that come and go, and
settings. Usage: stp_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

FRAME, BPDU, REPEAT, SECONDS, LINK, ONE_WAY, BRIDGE, PORT, SPEED, ADDRESS, CHECK, ANEW = range(12)
PROPOSAL, AGREEMENT, LEARNS, FORWARDS, CHANGE, ACKNOWLEDGMENT = 2, 0x40, 0x10, 0x20, 1, 0x80
ALTERNATE, ROOT, DESIGNATED = 4, 8, 12
RAPID = DESIGNATED | PROPOSAL
SHARED, OWN = 0, 1  # places of the hostile port: what all share, links to bridges 0, 1 and 2
RING = 1  # bridge 2 is there
# Then of links the last, and of their ends, are the hostile port's to bridges 0 to 2.
LINK_OF_OWN, END_OF_OWN = 6, 13


def bridge(number, priority=0x8000):
    return struct.pack("!HHI", priority, 0x0200, number)


LIAR = bridge(0x77, 0)


def times(age=0.0, most=20.0, hello=2.0, delay=15.0):
    return struct.pack("!4H", *(min(int(256 * t), 65535) for t in (age, most, hello, delay)))


def bpdu(kind, version, flags=0, root=LIAR, cost=0, by=LIAR, port=0x8001, when=times(), rest=b""):
    return struct.pack("!HBBB8sI8sH", 0, version, kind, flags, root, cost, by, port) + when + rest


def rapid(flags=RAPID, **words):
    return bpdu(2, 2, flags, rest=words.pop("rest", b"\0"), **words)


def configuration(flags=0, **words):
    return bpdu(0, 0, flags, **words)


NOTIFICATION = bytes((0, 0, 0, 0x80))


def step(what, which=0, content=b""):
    return bytes((what | which << 4,)) + content


def says(place, body):
    return step(BPDU, place, bytes((len(body),)) + body)


def whole(place, body, length=None, address="0180c2000000", llc="424203", tail=b""):
    frame = bytes.fromhex(address) + bytes(6) \
        + struct.pack("!H", 3 + len(body) if length is None else length) \
        + bytes.fromhex(llc) + body + tail
    return step(FRAME, place, struct.pack("<H", len(frame)) + frame)


def repeats(place, port):
    return step(REPEAT, place, bytes((port,)))


def sets_bridge(which, priority=8, hold=6, hello=2, most=20, delay=15, legacy=0):
    return step(BRIDGE, which, bytes((priority | hold - 1 << 4, hello - 1, most - 6,
                                      delay - 4 << 1 | legacy)))


def sets_port(which, priority=8, link=0, edge=0, cost=0):
    return step(PORT, which, struct.pack("<BBI", priority | link << 4, edge, cost))


def passes(seconds):
    return b"".join(step(SECONDS, min(15, left - 1)) for left in range(seconds, 0, -16))


def seed(*steps, how=RING):
    return bytes((how,)) + b"".join(steps)


MANY_BRIDGES = rapid(rest=b"\0" + bytes(200))

SEEDS = (
    ("rest", seed(passes(40))),
    ("two", seed(passes(40), step(LINK, 0), passes(10), step(LINK, 0), passes(10), how=0)),
    ("legacy", seed(passes(60), step(LINK, 0), passes(60), how=RING | 14)),
    ("one_legacy", seed(passes(40), step(CHECK, 0), step(CHECK, 3), passes(20), how=RING | 4)),
    ("root", seed(passes(4), says(OWN, rapid()), passes(3), says(OWN, rapid(RAPID | FORWARDS)),
                  passes(20))),
    ("roots", seed(passes(4), says(OWN, rapid()), says(OWN + 1, rapid(by=bridge(0x78, 0))),
                   says(SHARED, rapid(cost=1)), passes(12))),
    ("legacy_root", seed(says(OWN, configuration(CHANGE)), passes(3), says(OWN, NOTIFICATION),
                         says(OWN, configuration(ACKNOWLEDGMENT)), passes(30))),
    ("agreement", seed(says(OWN, rapid(ALTERNATE | AGREEMENT, root=bridge(1), by=bridge(9))),
                       passes(2), says(SHARED, rapid(ROOT | AGREEMENT, root=bridge(1))))),
    ("inferior", seed(passes(2), says(OWN, rapid(DESIGNATED | LEARNS, root=bridge(0x99, 0xf000),
                                                 by=bridge(0x99, 0xf000))), passes(3))),
    ("unknown_role", seed(says(OWN, rapid(0)), says(OWN, rapid(0x7f)), says(OWN, rapid(0xff)))),
    ("own_address", seed(says(OWN, rapid(by=bridge(1), root=bridge(1), port=0x8005)),
                         says(OWN, rapid(by=bridge(1, 0), root=bridge(1, 0))), passes(8))),
    ("echo", seed(*(repeats(OWN, END_OF_OWN) + passes(3) for _ in range(5)))),
    ("relay", seed(*(repeats(OWN, END_OF_OWN + 1) + repeats(OWN + 1, END_OF_OWN) + passes(2)
                     for _ in range(6)))),
    ("too_old", seed(says(OWN, rapid()), says(OWN, rapid(when=times(age=20))),
                     says(OWN, configuration(when=times(19.5, 19.9))),
                     says(OWN, configuration(when=times(20, 20))), passes(4))),
    ("longest_times", seed(says(OWN, rapid(when=times(0, 256, 256, 256))), passes(16),
                           step(LINK, 0), passes(16))),
    ("longest_times_of_legacy", seed(says(SHARED, configuration(when=times(254, 256, 256, 256))),
                                     passes(32), how=RING | 2)),
    ("no_times", seed(says(OWN, rapid(when=times(0, 1, 0, 0))), passes(16))),
    ("longest_way", seed(says(OWN, rapid(cost=0xffffffff)), passes(2),
                         sets_port(0, cost=200_000_000), passes(4))),
    ("links", seed(*(step(LINK, i % 9) + passes(2) for i in range(20)))),
    ("one_way", seed(passes(4), step(ONE_WAY, 0), passes(40), step(ONE_WAY, 0), passes(20))),
    ("bridges", seed(passes(3), sets_bridge(1, priority=0), passes(3),
                     sets_bridge(0, hold=1, hello=10, most=40, delay=30), passes(12),
                     sets_bridge(2, legacy=1), passes(4), sets_bridge(2), passes(4))),
    ("hold_count", seed(sets_bridge(0, hold=1), *(says(OWN, rapid(root=bridge(i, 0)))
                                                  for i in range(30)), passes(3))),
    ("ports", seed(passes(3), *(sets_port(i, priority=i, link=i % 3, edge=i % 4, cost=i)
                                for i in range(14)), passes(9))),
    ("edges", seed(sets_port(END_OF_OWN, edge=1), passes(1), says(OWN, rapid()), passes(2),
                   step(LINK, LINK_OF_OWN), step(LINK, LINK_OF_OWN),
                   sets_port(END_OF_OWN, edge=2), passes(5))),
    ("speeds", seed(passes(2), *(step(SPEED, i, bytes((i,))) for i in range(12)), passes(3),
                    step(LINK, 1), passes(3))),
    ("addresses", seed(passes(2), step(ADDRESS, 0, b"\3"), step(ADDRESS, 1, b"\1"), passes(8))),
    ("anew", seed(passes(4), *(step(ANEW, i) + passes(1) for i in range(12)))),
    ("frames", seed(whole(OWN, rapid()), whole(OWN, configuration(), tail=bytes(8)),
                    whole(OWN, NOTIFICATION, tail=bytes(39)), whole(OWN, MANY_BRIDGES),
                    whole(OWN, rapid(), address="0180c2000002"),
                    whole(OWN, rapid(), llc="aaaa03"), step(FRAME, OWN, b"\0\0"),
                    whole(OWN, b""))),
    ("cut", seed(*(whole(OWN, rapid()[:n], length=39) for n in (0, 3, 4, 34, 35)),
                 *(says(OWN, rapid()[:n]) for n in (0, 3, 4, 34, 35)),
                 *(says(OWN, configuration()[:n]) for n in (4, 33, 34)),
                 whole(OWN, NOTIFICATION, length=6), whole(OWN, NOTIFICATION, length=1500))),
    ("later_versions", seed(says(OWN, bpdu(2, 3, RAPID, rest=bytes(67))),
                            says(OWN, bpdu(2, 1, RAPID, rest=b"\0")),
                            says(OWN, bpdu(1, 2, RAPID, rest=b"\0")),
                            says(OWN, bpdu(0, 9)))),
)

if __name__ == "__main__":
    corpus.write(__file__, SEEDS)
