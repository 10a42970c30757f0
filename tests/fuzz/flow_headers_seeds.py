#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of flow_headers_fuzz: a frame of each kind with every field of it set,
tags pushed and popped, and the usual breaches. Usage: flow_headers_seeds.py [FOLDER]; the input's
form is in the target."""

import struct

import corpus

PUSH, POP, TTL, SET = 0, 1, 2, 3
FIELDS = ("eth_dst eth_src vlan_tci inner_vlan_tci nw_proto nw_tos nw_ttl nw_src nw_dst ipv6_src "
          "ipv6_dst ipv6_label tp_src tp_dst arp_sha arp_tha nd_target").split()
BLANK, IPV4_SEGMENTS, IPV6_SEGMENTS, DATAGRAMS = 1, 2, 4, 6
ETHER = bytes.fromhex("02000000000b02000000000a")
TCP = struct.pack("!HHIIBBHHH", 1000, 80, 1, 2, 0x50, 0x12, 512, 0x1234, 0)
UDP = struct.pack("!HHHH", 1000, 53, 8 + 40, 0x1234)
PAYLOAD = bytes(range(40))


def ipv4(protocol, content, options=b"", place=0x4000):
    return struct.pack("!HBBHHHBBHII", 0x0800, 0x45 + len(options) // 4, 0,
                       20 + len(options) + len(content), 7, place, 64, protocol, 0x1234,
                       0x0a000001, 0x0a000002) + options + content


def ipv6(protocol, content):
    return struct.pack("!HIHBB", 0x86dd, 0x60012345, len(content), protocol, 64) + bytes(
        range(32)) + content


def tag(content, kind=0x8100):
    return struct.pack("!HH", kind, 0x2005) + content


def neighbour(kind, *options):
    return struct.pack("!BBHI", kind, 0, 0x1234, 0) + bytes(range(16)) + b"".join(
        struct.pack("BB", option, length) + bytes(range(option, option + 8 * length - 2))
        for option, length in options)


def push(control=0x2007, kind=0):
    return struct.pack("<BHB", PUSH, control, kind)


def change(name, value=0x0123456789abcdef, mask=0xffffffffffffffff):
    return struct.pack("<BBQQQQ", SET, FIELDS.index(name), value, value, mask, mask)


def seed(content, *changes, head=192, undone=0, segment=0):
    out = struct.pack("<BBHB", head, undone, segment, len(changes))
    return out + b"".join(c.ljust(34, b"\0") for c in changes) + ETHER + content


def seeds():
    addresses4 = change("nw_src"), change("nw_dst", 5, 0xff)
    addresses6 = change("ipv6_src"), change("ipv6_dst", 5, 0xff)
    ports = change("tp_src"), change("tp_dst", 7, 0xf)
    rest = change("nw_tos"), change("nw_ttl", 2), struct.pack("B", TTL)
    yield "tcp", seed(ipv4(6, TCP + PAYLOAD), *addresses4, *ports, *rest)
    yield "tcp_blank", seed(ipv4(6, TCP + PAYLOAD), *addresses4, *ports, undone=BLANK)
    yield "tcp_segments", seed(ipv4(6, TCP + PAYLOAD), *addresses4, push(), undone=BLANK |
                               IPV4_SEGMENTS, segment=16)
    yield "tcp_offset", seed(ipv4(6, TCP[:12] + b"\xf0" + TCP[13:] + PAYLOAD), *addresses4)
    yield "udp", seed(ipv4(17, UDP + PAYLOAD), *addresses4, *ports)
    yield "udp_segments", seed(ipv4(17, UDP + PAYLOAD), *addresses4, *ports, push(),
                               undone=BLANK | DATAGRAMS, segment=16)
    yield "udp_without", seed(ipv4(17, UDP[:6] + bytes(2) + PAYLOAD), *addresses4, *ports)
    yield "udp_options", seed(ipv4(17, UDP + PAYLOAD, bytes(8)), *addresses4, *ports)
    yield "icmp", seed(ipv4(1, bytes((8, 0, 1, 2, 0, 0, 0, 1)) + PAYLOAD), *addresses4, *ports)
    yield "igmp", seed(ipv4(2, bytes((22, 0, 1, 2, 0, 0, 0, 1))), *ports)
    yield "sctp", seed(ipv4(132, UDP + PAYLOAD), *ports)
    yield "sctp_first", seed(ipv4(132, UDP + PAYLOAD, place=0x2000), *ports, *addresses4)
    yield "first", seed(ipv4(17, UDP + PAYLOAD, place=0x2000), *addresses4, *ports)
    yield "later", seed(ipv4(17, UDP + PAYLOAD, place=1), *addresses4, *ports)
    yield "gre", seed(ipv4(47, PAYLOAD), *addresses4)
    yield "padded", seed(ipv4(17, UDP) + PAYLOAD, *ports)
    yield "tcp6", seed(ipv6(6, TCP + PAYLOAD), *addresses6, *ports, change("ipv6_label"))
    yield "tcp6_segments", seed(ipv6(6, TCP + PAYLOAD), *addresses6, undone=BLANK | IPV6_SEGMENTS,
                                segment=16)
    yield "udp6_segments", seed(ipv6(17, UDP + PAYLOAD), *addresses6, *ports,
                                undone=BLANK | DATAGRAMS, segment=16)
    for name, kind in (("hop", 0), ("routing", 43), ("destination", 60)):
        for left in (0, 1):
            yield f"{name}_{left}", seed(ipv6(kind, bytes((17, 1, 0, left)) + bytes(12) + UDP +
                                              PAYLOAD), *addresses6, *ports)
    yield "authenticated", seed(ipv6(51, bytes((17, 4)) + bytes(22) + UDP + PAYLOAD), *addresses6)
    yield "extension_cut", seed(ipv6(60, bytes((17, 99)) + bytes(22)), *addresses6, *rest)
    for name, place in (("atomic", 0), ("first6", 1), ("later6", 8), ("reserved", 2)):
        yield name, seed(ipv6(44, struct.pack("!BBHI", 17, 0, place, 7) + UDP + PAYLOAD),
                         *addresses6, *ports)
    yield "solicitation", seed(ipv6(58, neighbour(135, (1, 1))), change("nd_target"),
                               change("arp_sha"), change("tp_dst"), *addresses6)
    yield "advertisement", seed(ipv6(58, neighbour(136, (14, 2), (2, 1), (1, 1))),
                                change("nd_target"), change("arp_sha"), change("arp_tha"))
    yield "option_twice", seed(ipv6(58, neighbour(135, (1, 1), (1, 1))), change("arp_sha"))
    yield "option_endless", seed(ipv6(58, neighbour(135, (1, 1)) + bytes(8)), change("arp_sha"))
    arp = bytes.fromhex("0806 0001 0800 0604 0001") + bytes(range(20))
    yield "arp", seed(arp, change("nw_proto"), *addresses4, change("arp_sha"), change("arp_tha"))
    yield "arp_operation", seed(arp[:8] + b"\7" + arp[9:], change("nw_proto", 2, 0xf))
    tags = push(), push(0xffff, 1), push(), struct.pack("B", POP), change("vlan_tci")
    yield "tags", seed(ipv4(17, UDP + PAYLOAD), *tags)
    yield "tagged", seed(tag(ipv4(17, UDP + PAYLOAD)), *tags, change("inner_vlan_tci"))
    yield "two_tags", seed(tag(tag(ipv6(17, UDP + PAYLOAD)), 0x88a8), *tags,
                           change("inner_vlan_tci"))
    yield "three_tags", seed(tag(tag(tag(ipv4(17, UDP)))), *tags)
    yield "tag_cut", seed(b"\x81\0\0", *tags)
    snap = struct.pack("!H", 60) + bytes.fromhex("aaaa03000000") + ipv4(17, UDP + PAYLOAD)
    yield "snap", seed(snap, *addresses4, *ports, push())
    yield "llc", seed(struct.pack("!H", 40) + PAYLOAD, change("eth_dst"), change("eth_src"))
    for length in (14, 20, 40, 54, 60):
        yield f"head_{length}", seed(ipv6(58, neighbour(135, (1, 1))), *ports, head=length)


if __name__ == "__main__":
    corpus.write(__file__, seeds())
