#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of dhcp_fuzz: conversations of DHCP over both versions of IP, overloaded
and broken messages, ARP and neighbour discovery. Usage: dhcp_seeds.py [FOLDER]; the input's form is
in the target."""

import struct

import corpus

MAC, OTHER, ALL = bytes.fromhex("020000000001"), bytes.fromhex("020000000002"), b"\xff" * 6
SERVER = 1
HERE, THERE = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
HERE6, THERE6 = b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2"
LOCAL = bytes.fromhex("fe80000000000000000000fffe000001")
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = range(1, 8)


def seed(*frames):
    return b"".join(struct.pack("<HB", len(frame), how) + frame for how, frame in frames)


def ether(to, source, kind, content):
    return to + source + struct.pack("!H", kind) + content


def ipv4(source, to, content, protocol=17, place=0):
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 1, place, 64, protocol, 0) \
        + source + to + content


def ipv6(source, to, content, protocol=17):
    return struct.pack("!IHBB", 0x60000000, len(content), protocol, 255) + source + to + content


def udp(source, to, content):
    return struct.pack("!HHHH", source, to, 8 + len(content), 0) + content


def option(code, value):
    return bytes((code, len(value))) + value


def dhcp(kind, *options, yours=bytes(4), current=bytes(4), sname=b"", file=b""):
    answers = kind in (OFFER, ACK, NAK)
    message = (struct.pack("!BBBBI", 2 if answers else 1, 1, 6, 0, 7) + bytes(4) + current + yours
               + bytes(8) + MAC + bytes(10) + sname.ljust(64, b"\0") + file.ljust(128, b"\0")
               + bytes.fromhex("63825363") + (option(53, bytes((kind,))) if kind else b"")
               + b"".join(options) + b"\xff")
    if answers:
        return SERVER, ether(MAC, OTHER, 0x0800, ipv4(THERE, yours, udp(67, 68, message)))
    return 0, ether(ALL, MAC, 0x0800, ipv4(current, b"\xff" * 4, udp(68, 67, message)))


def option6(code, value):
    return struct.pack("!HH", code, len(value)) + value


def association(valid, *more):
    return option6(3, bytes(12) + option6(5, HERE6 + struct.pack("!II", valid, valid)
                                          + b"".join(more)))


def dhcp6(kind, *options):
    message = struct.pack("!I", kind << 24 | 7) + b"".join(options)
    if kind in (2, 7):
        return SERVER, ether(MAC, OTHER, 0x86dd, ipv6(THERE6, LOCAL, udp(547, 546, message)))
    return 0, ether(ALL, MAC, 0x86dd, ipv6(LOCAL, THERE6, udp(546, 547, message)))


def neighbour(kind, target, *options):
    message = bytes((kind, 0, 0, 0, 0, 0, 0, 0)) + target + b"".join(options)
    pseudo = HERE6 + THERE6 + struct.pack("!II", len(message), 58)
    total = sum(struct.unpack(f"!{len(pseudo + message) // 2}H", pseudo + message))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    message = message[:2] + struct.pack("!H", ~total & 0xffff) + message[4:]
    return 0, ether(bytes.fromhex("3333ff000002"), MAC, 0x86dd,
                    ipv6(HERE6, THERE6, message, 58))


def arp(operation, sha, spa, tpa):
    return 0, ether(ALL, MAC, 0x0806, bytes.fromhex("0001080006040000")[:6]
                    + struct.pack("!H", operation) + sha + spa + bytes(6) + tpa)


def seeds():
    lease = option(51, struct.pack("!I", 600))
    asks, gets = dhcp(REQUEST, option(50, HERE)), dhcp(ACK, lease, yours=HERE)
    yield "lease", seed(dhcp(DISCOVER), dhcp(OFFER, lease, yours=HERE), asks, gets)
    yield "release", seed(asks, gets, dhcp(RELEASE, current=HERE))
    yield "decline", seed(asks, gets, dhcp(DECLINE, option(50, HERE)))
    yield "refused", seed(asks, gets, asks, dhcp(NAK))
    yield "for_ever", seed(asks, dhcp(ACK, option(51, b"\xff" * 4), yours=HERE))
    yield "overload", seed(dhcp(0, option(52, b"\3"), file=option(53, b"\3") + b"\xff",
                                sname=option(50, HERE) + b"\xff"), gets)
    yield "overload_cut", seed(dhcp(0, option(52, b"\3"), file=bytes(127) + b"\x35",
                                    sname=bytes(62) + b"\x34\1"))
    yield "option_cut", seed(dhcp(REQUEST, b"\x32\xf0"))
    yield "fragment", seed((0, ether(ALL, MAC, 0x0800, ipv4(bytes(4), b"\xff" * 4,
                                                            asks[1][34:], place=0x2000))))
    yield "tagged", seed((0, asks[1][:12] + bytes.fromhex("81000007") + asks[1][12:]), gets)
    yield "short_head", seed((5 << 3, asks[1]), gets)
    asks6, gets6 = dhcp6(3, association(0)), dhcp6(7, association(600))
    yield "lease6", seed(dhcp6(1), dhcp6(2, association(9)), asks6, gets6)
    yield "release6", seed(asks6, gets6, dhcp6(8, association(600)))
    yield "failed6", seed(asks6, dhcp6(7, association(600, option6(13, b"\0\2"))))
    yield "many6", seed(asks6, dhcp6(7, *[association(600)] * 20))
    yield "cut6", seed(asks6, dhcp6(7, struct.pack("!HH", 3, 99) + bytes(12)))
    yield "solicitation", seed(neighbour(135, THERE6, b"\1\1" + MAC))
    yield "advertisement", seed(neighbour(136, HERE6, b"\2\1" + MAC))
    yield "option_twice", seed(neighbour(136, HERE6, b"\2\1" + MAC, b"\2\1" + OTHER))
    yield "arp", seed(arp(1, MAC, HERE, THERE), arp(1, MAC, bytes(4), HERE))
    yield "arp_lies", seed(arp(2, OTHER, THERE, HERE))


if __name__ == "__main__":
    corpus.write(__file__, seeds())
