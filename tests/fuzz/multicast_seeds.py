#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of multicast_fuzz: every message of IGMP and MLD, and some that are
broken. Usage: multicast_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

HOST, GROUP, OTHER = bytes((10, 0, 0, 1)), bytes((239, 1, 2, 3)), bytes((239, 1, 2, 4))
HOSTS, ROUTERS, IGMP3 = (bytes((224, 0, 0, last)) for last in (1, 2, 22))
SNOOPERS, PIM = bytes((224, 0, 0, 106)), bytes((224, 0, 0, 13))
LINK = bytes.fromhex("fe800000000000000000fffe00000001")


def six(low, scope=5):
    return struct.pack("!BB10xI", 0xff, scope, low)


def total(content):
    content += bytes(len(content) % 2)
    value = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while value >> 16:
        value = (value & 0xffff) + (value >> 16)
    return ~value & 0xffff


def summed(content, before=b"", at=2):
    return content[:at] + struct.pack("!H", total(before + content)) + content[at + 2:]


def ipv4(to, body, protocol=2, source=HOST, ttl=1, place=0):
    header = struct.pack("!BBHHHBBH", 0x46, 0, 24 + len(body), 0, place, ttl, protocol, 0) \
        + source + to + bytes.fromhex("94040000")
    return summed(header, at=10) + (summed(body) if protocol == 2 else body)


def ipv6(to, body, source=LINK, options=bytes.fromhex("3a00050200000100")):
    pseudo = source + to + struct.pack("!II", len(body), 58)
    return struct.pack("!IHBB", 0x60000000, len(options) + len(body), 0, 1) + source + to \
        + options + summed(body, pseudo)


def igmp(kind, group=bytes(4), code=0, rest=b""):
    return struct.pack("!BBH", kind, code, 0) + group + rest


def mld(kind, group=bytes(16), response=0, rest=b""):
    return struct.pack("!BBHHH", kind, 0, 0, response, 0) + group + rest


def record(kind, group, *sources, extra=b""):
    return struct.pack("!BBH", kind, len(extra) // 4, len(sources)) + group + b"".join(sources) \
        + extra


def records(kind, *all_of_them):
    return struct.pack("!BBHHH", kind, 0, 0, 0, len(all_of_them)) + b"".join(all_of_them)


def seed(*packets):
    return b"".join(struct.pack("<HB", len(packet), how) + packet for how, packet in packets)


REST = struct.pack("!BBH", 2, 125, 0)
SUPPRESS = struct.pack("!BBH", 10, 125, 0)
G6, H6 = six(7), six(8)
JOIN = ipv4(GROUP, igmp(0x16, GROUP))
JOIN6 = ipv6(G6, mld(131, G6))

SEEDS = (
    ("query1", seed((0, ipv4(HOSTS, igmp(0x11))))),
    ("query2", seed((0, JOIN), (64, ipv4(HOSTS, igmp(0x11, code=100))),
                    (65, ipv4(GROUP, igmp(0x11, GROUP, 10))), (5, ipv4(HOSTS, igmp(0x11))))),
    ("query3", seed((0, JOIN), (64, ipv4(GROUP, igmp(0x11, GROUP, 0x9f, REST))),
                    (64, ipv4(GROUP, igmp(0x11, GROUP, 10, SUPPRESS))))),
    ("query3_sources", seed((0, ipv4(GROUP, igmp(0x11, GROUP, 10, struct.pack("!BBH", 2, 125, 2)
                                                  + HOST * 2))))),
    ("reports", seed((0, ipv4(GROUP, igmp(0x12, GROUP))), (64, JOIN),
                     (1, ipv4(ROUTERS, igmp(0x17, GROUP))))),
    ("records", seed((0, ipv4(IGMP3, records(0x22, *(record(kind, GROUP, HOST) for kind in
                                                     range(1, 7))))),
                     (1, ipv4(IGMP3, records(0x22, record(3, GROUP), record(4, OTHER)))))),
    ("records_cut", seed((0, ipv4(IGMP3, records(0x22, record(2, GROUP))[:-2])))),
    ("records_extra", seed((0, ipv4(IGMP3, records(0x22, record(2, GROUP, extra=bytes(8))))))),
    ("many", seed(*((64 * (i % 4), ipv4(bytes((239, 0, 0, i)), igmp(0x16, bytes((239, 0, 0, i)))))
                    for i in range(40)))),
    ("routers", seed((0, ipv4(SNOOPERS, igmp(0x30))), (64, ipv4(PIM, b"\x20\0\0\0", 103)),
                     (1, ipv4(SNOOPERS, igmp(0x32))))),
    ("local", seed((0, ipv4(IGMP3, igmp(0x16, IGMP3))))),
    ("ttl", seed((0, ipv4(GROUP, igmp(0x16, GROUP), ttl=64)))),
    ("fragment", seed((0, ipv4(GROUP, igmp(0x16, GROUP), place=0x2000)))),
    ("mld1", seed((0, ipv6(six(1, 2), mld(130, response=1000))), (0, JOIN6),
                  (64, ipv6(G6, mld(130, G6, 1000))), (1, ipv6(six(2, 2), mld(132, G6))))),
    ("mld2", seed((0, ipv6(six(22, 2), records(143, record(4, G6), record(3, H6),
                                               record(5, H6, LINK)))),
                  (64, ipv6(G6, mld(130, G6, 0x9000, REST))))),
    ("mld_unset", seed((0, ipv6(G6, mld(131, G6), source=bytes(16))))),
    ("mld_no_alert", seed((0, ipv6(G6, mld(131, G6), options=bytes.fromhex("3a00010400000000"))))),
    ("mld_long_options", seed((0, ipv6(G6, mld(131, G6), options=bytes.fromhex(
        "3a01000000000000" "0000000005020000"))))),
    ("mld_option_cut", seed((0, ipv6(G6, mld(131, G6),
                                     options=bytes.fromhex("3a0005ff00000100"))))),
    ("mrd6", seed((0, ipv6(six(0x6a, 2), bytes((151, 0, 0, 0, 0, 0, 0, 0)))),
                  (0, ipv6(six(0x6a, 2), bytes((153, 0, 0, 0, 0, 0, 0, 0)))))),
    ("time", seed((0, JOIN), *((63, JOIN6) for _ in range(6)), (127, JOIN))),
)

if __name__ == "__main__":
    corpus.write(__file__, SEEDS)
