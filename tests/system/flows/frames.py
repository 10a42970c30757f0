# SPDX-License-Identifier: BSD-3-Clause
"""Random frames, made by scapy of the values that random flows are made of (values.py).

Each comes with what a flow sees of it, so that flows can be made that it meets. No oracle needs
that to be right: flows that are made of it are met less often where it is not.
"""

import dataclasses
import ipaddress
import random

from scapy.contrib.igmp import IGMP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS,
                                ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, ICMPv6Unknown,
                                IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from . import values

FRAG_NO, FRAG_FIRST, FRAG_LATER = 0, 1, 3


@dataclasses.dataclass(frozen=True)
class Frame:
    """What comes in at a port; `fields` by their names in fields.py, `kind` one of its contexts."""
    port: int
    data: bytes
    kind: str
    tags: int
    fields: dict = dataclasses.field(compare=False)
    padded: bool = False  # bytes behind the packet

    def __str__(self):
        from scapy.layers.l2 import Ether as parsed
        return f"in_port={self.port} {parsed(self.data).summary()}\n    {self.data.hex()}"


def _mac(number):
    return number.to_bytes(6, "big").hex(":")


def _ip(number):
    return str(ipaddress.IPv4Address(number))


def _ip6(number):
    return str(ipaddress.IPv6Address(number))


class FrameMaker:
    """Frames of the kinds named, each as often; `most_tags` VLAN tags at most, with these numbers.
    service_tags: the outer one may be of 802.1ad."""

    KINDS = ("tcp", "udp", "sctp", "icmp", "ip", "tcp6", "udp6", "sctp6", "icmp6", "ipv6",
             "nd_sol", "nd_adv", "arp", "any")

    def __init__(self, seed, kinds=KINDS, most_tags=2, vlans=tuple(values.VLANS), service_tags=True,
                 destinations=tuple(values.MACS)):
        self._random = random.Random(seed)
        self._kinds = kinds
        self._most_tags = most_tags
        self._vlans = vlans
        self._service_tags = service_tags
        self._destinations = destinations

    def make(self, count):
        return [self.one(self._random.choice(self._kinds)) for _ in range(count)]

    def one(self, kind):
        r = self._random
        fields = {"in_port": r.choice(values.PORTS), "eth_src": r.choice(values.STATION_MACS),
                  "eth_dst": r.choice(self._destinations), "vlan_tci": 0}
        frame = Ether(src=_mac(fields["eth_src"]), dst=_mac(fields["eth_dst"]))
        tags = min(self._most_tags, r.choice((0, 0, 0, 1, 1, 2)))
        for depth in range(tags):
            tag = Dot1Q(vlan=r.choice(self._vlans), prio=r.choice((0, 0, 1, 5, 7)))
            service = depth == 0 and self._service_tags and r.random() < 0.3
            frame.lastlayer().type = 0x88a8 if service else 0x8100
            if depth == 0:
                fields["vlan_tci"] = tag.prio << 13 | 0x1000 | tag.vlan
            frame /= tag
        if kind == "arp":
            self._arp(frame, fields)
        elif kind == "any":
            self._other(frame, fields)
        elif kind in ("tcp", "udp", "sctp", "icmp", "ip"):
            self._ipv4(frame, fields, kind)
        else:
            self._ipv6(frame, fields, kind)
        packet = bytes(frame)
        # Ethernet's shortest, and what a frame may have behind the packet in it.
        data = packet.ljust(60, b"\0") + bytes(r.choice((0, 0, 0, 4)))
        return Frame(fields["in_port"], data, kind, tags, fields, len(data) > len(packet))

    def _payload(self):
        r = self._random
        return Raw(r.randbytes(r.choice((0, 1, 18, 26, 64, 300, 1000))))

    def _other(self, frame, fields):
        r = self._random
        if r.random() < 0.2:
            # 802.3: a length where others have their type, LLC behind it.
            fields["eth_type"] = 0x05ff
            payload = bytes.fromhex("424203") + bytes(35)
            frame.lastlayer().type = len(payload)
            frame.add_payload(Raw(payload))
            return
        fields["eth_type"] = r.choice([kind for kind in values.ETHERTYPES
                                       if kind not in (0x0800, 0x0806, 0x86dd)])
        frame.lastlayer().type = fields["eth_type"]
        frame.add_payload(self._payload())

    def _arp(self, frame, fields):
        r = self._random
        fields.update(eth_type=0x0806, arp_op=r.choice(values.ARP_OPERATIONS),
                      arp_spa=r.choice(values.IPV4), arp_tpa=r.choice(values.IPV4),
                      arp_sha=r.choice(values.MACS), arp_tha=r.choice((0, *values.MACS)))
        frame.lastlayer().type = 0x0806
        frame.add_payload(ARP(op=fields["arp_op"], psrc=_ip(fields["arp_spa"]),
                              pdst=_ip(fields["arp_tpa"]), hwsrc=_mac(fields["arp_sha"]),
                              hwdst=_mac(fields["arp_tha"])))

    def _fragment(self):
        """(kind, offset in 8 bytes, more to come)"""
        r = self._random
        if r.random() < 0.8:
            return FRAG_NO, 0, 0
        return r.choice(((FRAG_FIRST, 0, 1), (FRAG_LATER, 3, 1), (FRAG_LATER, 185, 0)))

    def _ipv4(self, frame, fields, kind):
        r = self._random
        frag, offset, more = self._fragment()
        fields.update(eth_type=0x0800, nw_src=r.choice(values.IPV4), nw_dst=r.choice(values.IPV4),
                      nw_tos=r.choice(values.TOS), nw_ttl=r.choice(values.TTLS), ip_frag=frag)
        inner, fields["nw_proto"] = self._transport(fields, kind)
        packet = IP(src=_ip(fields["nw_src"]), dst=_ip(fields["nw_dst"]), tos=fields["nw_tos"],
                    ttl=fields["nw_ttl"], id=r.randrange(0x10000), proto=fields["nw_proto"],
                    flags=("MF" if more else "") if frag else r.choice(("", "DF")), frag=offset)
        if r.random() < 0.1:
            packet.options = b"\x01\x01\x01\x00"
        frame.lastlayer().type = 0x0800
        self._finish(frame, packet, inner, fields)

    def _ipv6(self, frame, fields, kind):
        r = self._random
        frag, offset, more = self._fragment() if kind not in ("nd_sol", "nd_adv") else (0, 0, 0)
        fields.update(eth_type=0x86dd, ipv6_src=r.choice(values.IPV6),
                      ipv6_dst=r.choice(values.IPV6), ipv6_label=r.choice(values.LABELS),
                      nw_tos=r.choice(values.TOS), nw_ttl=r.choice(values.TTLS), ip_frag=frag)
        if kind in ("nd_sol", "nd_adv"):
            fields["nw_ttl"] = 255
        inner, fields["nw_proto"] = self._transport(fields, kind)
        packet = IPv6(src=_ip6(fields["ipv6_src"]), dst=_ip6(fields["ipv6_dst"]),
                      tc=fields["nw_tos"], fl=fields["ipv6_label"], hlim=fields["nw_ttl"])
        if r.random() < 0.1:
            packet /= r.choice((IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt))()
        if frag:
            packet /= IPv6ExtHdrFragment(offset=offset, m=more, id=r.randrange(1 << 32))
        packet.lastlayer().nh = fields["nw_proto"]
        frame.lastlayer().type = 0x86dd
        self._finish(frame, packet, inner, fields)

    def _finish(self, frame, packet, inner, fields):
        if fields["ip_frag"] == FRAG_LATER:
            # What stands where ports would are none.
            inner = Raw(self._random.randbytes(self._random.choice((8, 24, 200))))
            for name in fields.keys() & {"tp_src", "tp_dst", "tcp_flags", "icmp_type", "icmp_code",
                                         "icmpv6_type", "icmpv6_code"}:
                fields[name] = 0
        frame.add_payload(packet / inner)

    def _transport(self, fields, kind):
        """The layers behind IP, and its protocol."""
        r = self._random
        source, destination = r.choice(values.TRANSPORT), r.choice(values.TRANSPORT)
        name = kind.removesuffix("6") if kind != "icmp6" else kind
        if name in ("tcp", "udp", "sctp"):
            fields.update(tp_src=source, tp_dst=destination)
        if name == "tcp":
            fields["tcp_flags"] = r.choice(values.TCP_FLAGS)
            return TCP(sport=source, dport=destination, flags=fields["tcp_flags"],
                       seq=r.randrange(1 << 32)) / self._payload(), 6
        if name == "udp":
            layer = UDP(sport=source, dport=destination)
            if r.random() < 0.2 and kind == "udp":
                layer.chksum = 0
            return layer / self._payload(), 17
        if name == "sctp":
            return SCTP(sport=source, dport=destination, tag=1) / self._payload(), 132
        if name == "icmp":
            fields["icmp_type"], fields["icmp_code"] = r.choice(values.ICMP)
            return ICMP(type=fields["icmp_type"], code=fields["icmp_code"],
                        id=7, seq=1) / self._payload(), 1
        if name == "icmp6":
            fields["icmpv6_type"], fields["icmpv6_code"] = r.choice(values.ICMPV6)
            if fields["icmpv6_type"] == 128:
                return ICMPv6EchoRequest(id=7, seq=1) / self._payload(), 58
            return ICMPv6Unknown(type=fields["icmpv6_type"], code=fields["icmpv6_code"],
                                 msgbody=bytes(4) + r.randbytes(24)), 58
        if name in ("nd_sol", "nd_adv"):
            return self._neighbour(fields, name), 58
        return r.choice(((self._payload(), 47), (IGMP(), 2), (self._payload(), 59)))

    def _neighbour(self, fields, name):
        r = self._random
        fields.update(nd_target=r.choice(values.IPV6))
        link = r.choice(values.STATION_MACS)
        target = _ip6(fields["nd_target"])
        if name == "nd_sol":
            fields["nd_sll"] = link
            layer, option = ICMPv6ND_NS(tgt=target), ICMPv6NDOptSrcLLAddr(lladdr=_mac(link))
        else:
            fields["nd_tll"] = link
            layer = ICMPv6ND_NA(tgt=target, R=0, S=1, O=1)
            option = ICMPv6NDOptDstLLAddr(lladdr=_mac(link))
        if r.random() < 0.2:
            fields["nd_sll" if name == "nd_sol" else "nd_tll"] = 0
            return layer
        return layer / option


def fragment(data):
    """(protocol, whether it is a later one) of a fragment; None for what is none."""
    at = 12
    while data[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    kind, packet = data[at:at + 2], data[at + 2:]
    if kind == b"\x08\x00":
        offset = int.from_bytes(packet[6:8], "big") & 0x3fff
        return (packet[9:10], bool(offset & 0x1fff)) if offset else None
    if kind != b"\x86\xdd":
        return None
    following, at = packet[6:7], 40
    while following in (b"\x00", b"\x3c", b"\x2b"):  # options hop by hop and others, routing
        following, at = packet[at:at + 1], at + 8 + 8 * int.from_bytes(packet[at + 1:at + 2], "big")
    if following != b"\x2c":
        return None
    return packet[at:at + 1], bool(int.from_bytes(packet[at + 2:at + 4], "big") >> 3)


def damage(frames, seed):
    """The same frames, most of them cut short or with bytes of their headers wrong."""
    r = random.Random(seed)
    return [dataclasses.replace(frame, data=_damaged(r, frame)) for frame in frames]


def _damaged(r, frame):
    data = bytearray(frame.data)
    network = 14 + 4 * frame.tags
    way = r.randrange(4)
    if way == 0:
        # Mostly where headers end. A frame that ends right behind a tag, Linux drops in a tap.
        return bytes(data[:min(len(data), network + r.choice(
            (2, 3, 18, 19, 20, 21, 27, 28, 39, 40, 41, 47, 48, 60)) + r.choice((0, 0, 0, 1)))])
    if way == 1:
        # Version and length of the header, and the lengths that IP has.
        at = network + r.choice((0, 0, 2, 3, 4, 5))
        data[at] = r.choice((0, 0x40, 0x44, 0x46, 0x4f, 0x55, 0x60, 0xff, 20, 21, data[at] ^ 1))
    if way == 2:
        for _ in range(r.choice((1, 2, 5))):
            data[network + r.randrange(min(60, len(data) - network))] = r.randrange(256)
    return bytes(data)
