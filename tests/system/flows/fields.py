# SPDX-License-Identifier: BSD-3-Clause
"""The fields of flows as ovs-ofctl writes them: what each needs a match to say first, how a match
with a mask reads, how an action that sets it does. Several ways to say the same, by turns."""

import dataclasses
import ipaddress

from . import values

# What a match says of the kind of packet, in several ways; and what it is a kind of.
CONTEXTS = {
    "any": ([""], None),
    "arp": (["arp", "dl_type=0x0806", "eth_type=0x806"], "any"),
    "ip": (["ip", "dl_type=0x0800", "eth_type=2048"], "any"),
    "tcp": (["tcp", "ip,nw_proto=6", "dl_type=0x800,ip_proto=6"], "ip"),
    "udp": (["udp", "ip,nw_proto=17"], "ip"),
    "sctp": (["sctp", "ip,nw_proto=132"], "ip"),
    "icmp": (["icmp", "ip,nw_proto=1"], "ip"),
    "ipv6": (["ipv6", "dl_type=0x86dd"], "any"),
    "tcp6": (["tcp6", "ipv6,nw_proto=6", "eth_type=0x86dd,nw_proto=6"], "ipv6"),
    "udp6": (["udp6", "ipv6,nw_proto=17"], "ipv6"),
    "sctp6": (["sctp6", "ipv6,nw_proto=132"], "ipv6"),
    "icmp6": (["icmp6", "ipv6,nw_proto=58"], "ipv6"),
    "nd_sol": (["icmp6,icmp_type=135,icmp_code=0", "icmp6,icmpv6_type=135,icmpv6_code=0"],
               "icmp6"),
    "nd_adv": (["icmp6,icmp_type=136,icmp_code=0"], "icmp6"),
}


def lineage(context):
    """The context and what it is a kind of, down to "any"."""
    found = []
    while context:
        found.append(context)
        context = CONTEXTS[context][1]
    return found


def mac(number):
    return number.to_bytes(6, "big").hex(":")


def ipv4(number):
    return str(ipaddress.IPv4Address(number))


def ipv6(number):
    return str(ipaddress.IPv6Address(number))


def number(value):
    return str(value) if value < 10 else f"{value:#x}"


@dataclasses.dataclass(frozen=True)
class Field:
    """`match` are its names in matches, `sets` in set_field, `nxm` in load and move; `mod` is an
    action of its own. masks: none, "any" bits. whole: not in parts."""
    width: int
    contexts: tuple
    pool: list
    match: tuple = ()
    masks: str = ""
    sets: tuple = ()
    nxm: str = ""
    mod: str = ""
    write: object = number
    layer: str = ""
    whole: bool = False

    def text(self, value, mask=None):
        whole = (1 << self.width) - 1
        if mask is None or mask == whole:
            return self.write(value)
        ones = bin(mask).count("1")
        if self.write in (ipv4, ipv6) and mask == whole ^ (whole >> ones):
            return f"{self.write(value)}/{ones}"
        return f"{self.write(value)}/{self.write(mask)}"


_ANY = ("any",)
_IP = ("ip", "ipv6")
_WITH_PORTS = ("tcp", "udp", "sctp", "tcp6", "udp6", "sctp6")

FIELDS = {
    "in_port": Field(16, _ANY, values.PORTS, ("in_port",), nxm="NXM_OF_IN_PORT"),
    "eth_src": Field(48, _ANY, values.MACS, ("dl_src", "eth_src"), "any", ("eth_src", "dl_src"),
                     "NXM_OF_ETH_SRC", "mod_dl_src", mac),
    "eth_dst": Field(48, _ANY, values.MACS, ("dl_dst", "eth_dst"), "any", ("eth_dst", "dl_dst"),
                     "NXM_OF_ETH_DST", "mod_dl_dst", mac),
    "eth_type": Field(16, _ANY, values.ETHERTYPES, ("dl_type", "eth_type"), nxm="NXM_OF_ETH_TYPE"),
    "nw_src": Field(32, ("ip",), values.IPV4, ("nw_src", "ip_src"), "any", ("ip_src", "nw_src"),
                    "NXM_OF_IP_SRC", "mod_nw_src", ipv4),
    "nw_dst": Field(32, ("ip",), values.IPV4, ("nw_dst", "ip_dst"), "any", ("ip_dst", "nw_dst"),
                    "NXM_OF_IP_DST", "mod_nw_dst", ipv4),
    "nw_tos": Field(8, _IP, [tos & 0xfc for tos in values.TOS], ("nw_tos",), mod="mod_nw_tos"),
    "ip_dscp": Field(6, _IP, [tos >> 2 for tos in values.TOS], ("ip_dscp",), sets=("ip_dscp",)),
    "nw_ecn": Field(2, _IP, [0, 1, 2, 3], ("nw_ecn", "ip_ecn"), sets=("nw_ecn", "ip_ecn"),
                    nxm="NXM_NX_IP_ECN", mod="mod_nw_ecn"),
    "nw_ttl": Field(8, _IP, values.TTLS, ("nw_ttl",), sets=("nw_ttl",), nxm="NXM_NX_IP_TTL",
                    mod="mod_nw_ttl"),
    "ipv6_src": Field(128, ("ipv6",), values.IPV6, ("ipv6_src",), "any", ("ipv6_src",),
                      "NXM_NX_IPV6_SRC", write=ipv6),
    "ipv6_dst": Field(128, ("ipv6",), values.IPV6, ("ipv6_dst",), "any", ("ipv6_dst",),
                      "NXM_NX_IPV6_DST", write=ipv6),
    "ipv6_label": Field(20, ("ipv6",), values.LABELS, ("ipv6_label",), "any", ("ipv6_label",),
                        "NXM_NX_IPV6_LABEL"),
    "tp_src": Field(16, _WITH_PORTS, values.TRANSPORT, ("tp_src", "{}_src"), "any", ("{}_src",),
                    "NXM_OF_{}_SRC", "mod_tp_src"),
    "tp_dst": Field(16, _WITH_PORTS, values.TRANSPORT, ("tp_dst", "{}_dst"), "any", ("{}_dst",),
                    "NXM_OF_{}_DST", "mod_tp_dst"),
    "tcp_flags": Field(12, ("tcp", "tcp6"), values.TCP_FLAGS, ("tcp_flags",), "any",
                       nxm="NXM_NX_TCP_FLAGS"),
    "icmp_type": Field(8, ("icmp",), [0, 3, 8, 11], ("icmp_type",), sets=("icmp_type",)),
    "icmp_code": Field(8, ("icmp",), [0, 1, 4], ("icmp_code",), sets=("icmp_code",)),
    "icmpv6_type": Field(8, ("icmp6",), [1, 128, 129, 143], ("icmp_type", "icmpv6_type"),
                         sets=("icmpv6_type",)),
    "icmpv6_code": Field(8, ("icmp6",), [0, 1, 4], ("icmp_code", "icmpv6_code"),
                         sets=("icmpv6_code",)),
    # To 0, which parts of it may come to, OVS does not set it.
    "arp_op": Field(16, ("arp",), values.ARP_OPERATIONS, ("arp_op",), sets=("arp_op",),
                    nxm="NXM_OF_ARP_OP", whole=True),
    "arp_spa": Field(32, ("arp",), values.IPV4, ("arp_spa", "nw_src"), "any", ("arp_spa",),
                     "NXM_OF_ARP_SPA", write=ipv4),
    "arp_tpa": Field(32, ("arp",), values.IPV4, ("arp_tpa", "nw_dst"), "any", ("arp_tpa",),
                     "NXM_OF_ARP_TPA", write=ipv4),
    "arp_sha": Field(48, ("arp",), values.MACS, ("arp_sha",), "any", ("arp_sha",),
                     "NXM_NX_ARP_SHA", write=mac),
    "arp_tha": Field(48, ("arp",), values.MACS, ("arp_tha",), "any", ("arp_tha",),
                     "NXM_NX_ARP_THA", write=mac),
    "nd_target": Field(128, ("nd_sol", "nd_adv"), values.IPV6, ("nd_target",), "any",
                       ("nd_target",), "NXM_NX_ND_TARGET", write=ipv6),
    "nd_sll": Field(48, ("nd_sol",), values.STATION_MACS, ("nd_sll",), "any", ("nd_sll",),
                    "NXM_NX_ND_SLL", write=mac),
    "nd_tll": Field(48, ("nd_adv",), values.STATION_MACS, ("nd_tll",), "any", ("nd_tll",),
                    "NXM_NX_ND_TLL", write=mac),
    # Nothing comes out of a tunnel here: what was set of it is found again.
    "tun_id": Field(64, _ANY, [1 << 40 | 5, *values.REGISTERS], ("tun_id", "tunnel_id"), "any",
                    ("tun_id", "tunnel_id"), "NXM_NX_TUN_ID", layer="tunnel"),
    **{f"tun_{end}": Field(32, _ANY, [0, *values.IPV4], (f"tun_{end}",), "any", (f"tun_{end}",),
                           f"NXM_NX_TUN_IPV4_{end.upper()}", write=ipv4, layer="tunnel")
       for end in ("src", "dst")},
    **{f"tun_ipv6_{end}": Field(128, _ANY, [0, *values.IPV6], (f"tun_ipv6_{end}",), "any",
                                (f"tun_ipv6_{end}",), f"NXM_NX_TUN_IPV6_{end.upper()}", write=ipv6,
                                layer="tunnel") for end in ("src", "dst")},
    "tun_gbp_id": Field(16, _ANY, [0, 1, 0x8001, 0xffff], ("tun_gbp_id",), "any", ("tun_gbp_id",),
                        "NXM_NX_TUN_GBP_ID", layer="tunnel"),
    "tun_gbp_flags": Field(8, _ANY, [0, 8, 0x48], ("tun_gbp_flags",), "any", ("tun_gbp_flags",),
                           "NXM_NX_TUN_GBP_FLAGS", layer="tunnel"),
    "metadata": Field(64, _ANY, values.REGISTERS, ("metadata",), "any", ("metadata",),
                      "OXM_OF_METADATA", layer="registers"),
    "pkt_mark": Field(32, _ANY, values.REGISTERS, ("pkt_mark",), "any", ("pkt_mark",),
                      "NXM_NX_PKT_MARK", layer="registers"),
    **{f"reg{i}": Field(32, _ANY, values.REGISTERS, (f"reg{i}",), "any", (f"reg{i}",),
                        f"NXM_NX_REG{i}", layer="registers") for i in (0, 1, 2, 7, 15)},
    **{f"xreg{i}": Field(64, _ANY, [1 << 32 | 2, *values.REGISTERS], (f"xreg{i}",), "any",
                         (f"xreg{i}",), f"OXM_OF_PKT_REG{i}", layer="registers") for i in (0, 7)},
    "xxreg0": Field(128, _ANY, [1 << 96 | 2 << 64 | 3, *values.REGISTERS], ("xxreg0",), "any",
                    ("xxreg0",), "NXM_NX_XXREG0", layer="registers"),
}


def of_context(context):
    """The names of the fields that a match of this context may speak of."""
    within = set(lineage(context))
    return [name for name, field in FIELDS.items() if within & set(field.contexts)]


def transport_name(context):
    return context.removesuffix("6")


def match_text(name, context, value, mask, choose):
    """A match of the field: what the value has outside of the mask is left out."""
    field = FIELDS[name]
    value &= mask
    word = choose(field.match).format(transport_name(context))
    return f"{word}={field.text(value, mask)}"
