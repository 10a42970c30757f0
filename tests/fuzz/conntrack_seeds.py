#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seed corpus of conntrack_fuzz: conversations of each protocol, translated and not,
errors, fragments, floods. Usage: conntrack_seeds.py [FOLDER]; the input's form is in the target."""

import struct

import corpus

TCP, FTP, UDP, ECHO, ERROR, FRAGMENT, DAMAGED = 0, 2, 3, 4, 5, 6, 7
COMMIT, FORCE, MARK, HELPER, SOURCE, DESTINATION, NAT, AGAIN = 1, 2, 4, 8, 16, 32, 64, 128
FIN, SYN, RST, ACK = 1, 2, 4, 16
THERE, BACK = 0 | 1 << 2, 1 | 0 << 2
IPV6 = 128


def step(what, how=0, ends=THERE, flags=0, sequence=0, acknowledged=0, zone=0, seconds=0,
         head=0, window=4):
    return struct.pack("<BBBBBBBBII", what, how, zone, seconds, head, ends, flags, window,
                       sequence, acknowledged)


def handshake(how=0, zone=0, ipv6=0, window=4):
    def say(ends, flags, sequence, acknowledged):
        return step(TCP, how, ends | ipv6, flags, sequence, acknowledged, zone, window=window)
    return [say(THERE, SYN, 100, 0), say(BACK, SYN | ACK, 500, 101), say(THERE, ACK, 101, 501),
            say(THERE, FIN | ACK, 101, 501), say(BACK, FIN | ACK, 501, 102),
            say(THERE, ACK, 102, 502), say(THERE, SYN, 9000, 0)]


def ftp(side, ipv6, form, undone=0):
    """A handshake, then announcements by who is translated: again, early, in part, acknowledged."""
    zone = 4 | 8  # the helper is FTP's, and ports are those of the fourth end
    client, server = (THERE, 1 | 3 << 2) if side == SOURCE else (THERE, 3 | 0 << 2)
    mine, theirs = (client, server) if side == SOURCE else (server, client)
    begin, other = (101, 501) if side == SOURCE else (501, 101)

    def say(ends, sequence, acknowledged, what=TCP, window=64, flags=ACK):
        return step(what, NAT, ends | ipv6, flags, sequence, acknowledged, zone, window=window)

    def announce(sequence, port, flags=ACK):
        return say(mine, sequence, other, FTP, form << 4 | port, flags)
    return [step(TCP, COMMIT | HELPER | NAT | side, client | ipv6, SYN, 100, 0, zone, window=64),
            say(server, 500, 101, flags=SYN | ACK), say(client, 101, 501),
            announce(begin, 9, ACK | undone), announce(begin, 9), announce(begin + 90, 8),
            announce(begin + 20, 10), say(theirs, other, begin + 22),
            step(ERROR, NAT, theirs | ipv6, zone=zone), announce(begin + 1, 9),
            step(TCP, COMMIT | NAT, theirs | ipv6, SYN, 7, zone=zone, window=64)]


def seeds():
    for side in (SOURCE, DESTINATION):
        for ipv6 in (0, IPV6):
            for form in range(4):
                yield f"ftp_{side}_{ipv6}_{form}", ftp(side, ipv6, form)
                yield f"ftp_undone_{side}_{ipv6}_{form}", ftp(side, ipv6, form, 0x80)
    yield "tcp", handshake(COMMIT)
    yield "tcp_scaled", handshake(COMMIT, window=5)
    yield "tcp_ipv6", handshake(COMMIT, ipv6=IPV6)
    yield "tcp_again", handshake(COMMIT | AGAIN | MARK)
    yield "tcp_source", handshake(COMMIT | NAT | SOURCE)
    yield "tcp_destination", handshake(COMMIT | NAT | DESTINATION, zone=8)
    yield "tcp_both_begin", [step(TCP, COMMIT, THERE, SYN, 100), step(TCP, 0, BACK, SYN, 500),
                             step(TCP, 0, THERE, SYN | ACK, 100, 501)]
    yield "tcp_reset", handshake(COMMIT)[:3] + [step(TCP, 0, BACK, RST, 501)]
    yield "tcp_middle", [step(TCP, COMMIT, THERE, ACK, 77, 88), step(TCP, 0, BACK, ACK, 88, 77)]
    for ipv6 in (0, IPV6):
        for how in (COMMIT, COMMIT | NAT | SOURCE, COMMIT | NAT | DESTINATION, COMMIT | FORCE):
            for what in (UDP, ECHO):
                yield f"pair_{what}_{how}_{ipv6}", [
                    step(what, how, THERE | ipv6), step(what, how, BACK | ipv6, flags=1),
                    step(ERROR, how, BACK | ipv6), step(ERROR, 0, THERE | ipv6),
                    step(what, how | AGAIN, THERE | ipv6, zone=3)]
    yield "fragments", [step(FRAGMENT, COMMIT, flags=1, acknowledged=0x2000),
                        step(FRAGMENT, 0, flags=0, sequence=2, acknowledged=0x2000),
                        step(FRAGMENT, 0, flags=0, sequence=1), step(FRAGMENT, 0, sequence=3)]
    yield "flood", [step(UDP, COMMIT, n & 15, zone=n >> 4 & 3) for n in range(64)]
    yield "late", [step(UDP, COMMIT), step(UDP, 0, BACK, seconds=255), step(UDP, 0x3f, THERE)]
    yield "damaged", [step(TCP, COMMIT, THERE, SYN, 100)] + [
        step(DAMAGED, COMMIT, sequence=n, acknowledged=100, window=n, head=128 + n)
        for n in range(40)]


if __name__ == "__main__":
    corpus.write(__file__, ((name, b"".join(steps)) for name, steps in seeds()))
