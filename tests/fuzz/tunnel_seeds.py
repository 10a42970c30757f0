#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of tunnel_fuzz: each kind of tunnel over both versions of IP, what the
switch's own addresses hear, and the usual breaches. Usage: tunnel_seeds.py [FOLDER]; the input's
form is in the target."""

import struct

import corpus

VXLAN, GENEVE, GRE, ENDPOINT, SIX = 0, 1, 2, 3, 0x80
A, B = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")
INNER = B + A + struct.pack("!H", 0x88b5) + bytes(range(46))


def summed(data, start=0):
    data += bytes(len(data) % 2)
    total = start + sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ipv4(protocol, content):
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0x4000, 64, protocol, 0)
    addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    return header[:10] + struct.pack("!H", summed(header + addresses)) + addresses + content


def ipv6(protocol, content, hops=64):
    return struct.pack("!IHBB", 0x60000000, len(content), protocol, hops) + bytes(range(32)) + \
        content


def udp(port, content, checksum=0):
    return struct.pack("!HHHH", 50000, port, 8 + len(content), checksum) + content


def vxlan(flags=0x08000000, vni=0x12345600):
    return struct.pack("!II", flags, vni) + INNER


def geneve(options=b"", first=None, second=0):
    return struct.pack("!BBHI", len(options) // 4 if first is None else first, second, 0x6558,
                       0x700) + options + INNER


def gre(flags=0, content=b"", protocol=0x6558):
    return struct.pack("!HH", flags, protocol) + content + INNER


def discovery(kind, *options):
    content = struct.pack("!BBHI", kind, 0, 0, 0) + bytes(range(16)) + b"".join(options)
    pseudo = bytes(range(32)) + struct.pack("!II", len(content), 58)
    return content[:2] + struct.pack("!H", summed(pseudo + content)) + content[4:]


def seed(what, frame, head=255):
    return bytes((what, head)) + frame


def seeds():
    for name, six, wrap in (("4", 0, ipv4), ("6", SIX, ipv6)):
        yield f"vxlan{name}", seed(VXLAN | six, wrap(17, udp(4789, vxlan())))
        yield f"policy{name}", seed(VXLAN | six, wrap(17, udp(4789, vxlan(0x88481234, 0x2a00))))
        yield f"geneve{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve())))
        yield f"options{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve(
            bytes.fromhex("0102010100000000010303020000000000000000")))))
        yield f"option_lies{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve(
            bytes.fromhex("010201050000000001030302")))))
        yield f"critical{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve(
            bytes.fromhex("0102810100000000"), second=0x40))))
        yield f"known{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve(
            bytes.fromhex("ffff0005") + bytes(range(20)) + bytes.fromhex("0102810101020304"
                                                                         "0103030205060708"
                                                                         "090a0b0c"),
            second=0x40))))
        yield f"known_length{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve(
            bytes.fromhex("010201020000000000000000")))))
        yield f"twice{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve(
            bytes.fromhex("01020101000000010102010100000002")))))
        yield f"said_critical{name}", seed(GENEVE | six, wrap(17, udp(6081, geneve(second=0x40))))
        yield f"gre{name}", seed(GRE | six, wrap(47, gre()))
        yield f"gre_all{name}", seed(GRE | six, wrap(47, gre(0x3000, bytes(8))))
        content = struct.pack("!HHHH", 0x8000, 0x6558, 0, 0) + INNER
        right = content[:4] + struct.pack("!H", summed(content)) + content[6:]
        yield f"gre_sum{name}", seed(GRE | six, wrap(47, right))
        yield f"cut{name}", seed(VXLAN | six, wrap(17, udp(4789, vxlan())), head=50)
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + A + bytes((10, 0, 0, 2)) + bytes(6) + bytes(
        (10, 0, 0, 1))
    ether = B + A
    yield "arp", seed(ENDPOINT, ether + struct.pack("!H", 0x0806) + arp)
    yield "arp_tagged", seed(ENDPOINT, ether + struct.pack("!HHH", 0x8100, 7, 0x0806) + arp)
    yield "echo", seed(ENDPOINT, ether + struct.pack("!H", 0x0800) + ipv4(
        1, bytes.fromhex("0800000000010002") + bytes(40)))
    six = ether + struct.pack("!H", 0x86dd)
    link = struct.pack("BB", 1, 1) + A
    yield "solicitation", seed(ENDPOINT, six + ipv6(58, discovery(135, link), 255))
    yield "advertisement", seed(ENDPOINT, six + ipv6(58, discovery(
        136, struct.pack("BB", 2, 1) + B), 255))
    yield "option_endless", seed(ENDPOINT, six + ipv6(58, discovery(135, bytes(8)), 255))
    yield "too_big", seed(ENDPOINT, ether + struct.pack("!H", 0x0800) + ipv4(6, bytes(100)))
    yield "too_big6", seed(ENDPOINT, six + ipv6(6, bytes(100)))


if __name__ == "__main__":
    corpus.write(__file__, seeds())
