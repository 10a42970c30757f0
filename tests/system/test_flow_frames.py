# SPDX-License-Identifier: BSD-3-Clause
"""The parser of flows, and what changes headers, alone: frames made by scapy, whole and broken, are
read as scapy and Open vSwitch read them; a changed frame is the one that scapy makes of the same
fields, its checksums computed anew."""

import copy
import ipaddress
import json
import random
import shutil
import subprocess

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA,
                                ICMPv6NDOptDstLLAddr, ICMPv6NDOptMTU, ICMPv6NDOptSrcLLAddr, IPv6,
                                IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                IPv6ExtHdrRouting, in6_pseudoheader)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import NoPayload, Raw
from scapy.utils import PcapWriter, checksum

import lab as parts

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
PAYLOAD = Raw(bytes(range(60)))
pytestmark = pytest.mark.sanitized
FRAG_ANY, FRAG_LATER = 1, 2


def run(lines):
    """What strait-flow-frames says of each line."""
    program = parts.binaries() / "strait-flow-frames"
    if not program.exists():
        pytest.skip(f"skipped: {program} was not built")
    done = subprocess.run([str(program)], input="".join(f"{line}\n" for line in lines), text=True,
                          timeout=60, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(lines)
    return results


def fields_of(result):
    """Fields that are not 0, but the length, of which others know nothing."""
    numbers = {name: int(value, 16) for name, value in result["fields"].items()}
    return {name: value for name, value in numbers.items() if value and name != "packet_length"}


def mac(text):
    return int(text.replace(":", ""), 16)


def ip(text):
    return int(ipaddress.ip_address(text))


def ether(*tags):
    """An Ethernet header and tags from the outside in: (layer, priority, VLAN)."""
    layers = Ether(dst=B, src=A)
    for kind, priority, vlan in tags:
        layers /= kind(prio=priority, vlan=vlan)
    return layers


def transports(network):
    """Everything that has ports, types or codes, over this network layer."""
    six = isinstance(network, IPv6)
    yield network / TCP(sport=1000, dport=80, flags="SEC", options=[("MSS", 1460)]) / PAYLOAD
    yield network / UDP(sport=1001, dport=53) / PAYLOAD
    yield network / UDP(sport=1001, dport=53, chksum=0) / PAYLOAD
    yield network / SCTP(sport=1002, dport=36412) / SCTPChunkData(data=b"abcdefg")
    yield network / (ICMPv6EchoRequest(id=7) if six else ICMP(type=8, id=7)) / PAYLOAD


def neighbours():
    base = ether() / IPv6(src="fe80::1", dst="ff02::1:ff00:9", hlim=255)
    source, target = ICMPv6NDOptSrcLLAddr(lladdr=A), ICMPv6NDOptDstLLAddr(lladdr=C)
    yield base / ICMPv6ND_NS(tgt="fe80::9") / source
    yield base / ICMPv6ND_NS(tgt="fe80::9") / ICMPv6NDOptMTU() / source
    yield base / ICMPv6ND_NA(tgt="fe80::9", S=1) / target
    yield base / ICMPv6ND_NA(tgt="fe80::9") / source / target
    yield base / ICMPv6ND_NS(tgt="fe80::9")


def whole_frames():
    four = IP(src="10.0.0.1", dst="10.1.2.3", tos=0xb9, ttl=17, id=5)
    six = IPv6(src="fd00::1", dst="fd00:1::abcd", tc=0xb9, hlim=17, fl=0x12345)
    for tags in ((), ((Dot1Q, 5, 100),), ((Dot1AD, 1, 7), (Dot1Q, 3, 4094))):
        for network in (four, six):
            for packet in transports(network):
                yield ether(*tags) / packet
    for network in (IP(src="1.2.3.4", dst="4.3.2.1", options=[IPOption_NOP()] * 8),
                    six / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
                    six / IPv6ExtHdrRouting(addresses=["fd00::9"], segleft=0)):
        yield ether() / network / TCP(sport=1, dport=2) / PAYLOAD
    yield ether() / six / AH(nh=17, payloadlen=4, icv=b"0123456789ab") / Raw(
        bytes(UDP(sport=1, dport=2, len=8, chksum=1)))
    yield ether() / IP(src="1.2.3.4", dst="4.3.2.1", flags="MF") / UDP(sport=1, dport=2) / PAYLOAD
    yield ether() / IP(src="1.2.3.4", dst="4.3.2.1", proto=17, frag=9) / PAYLOAD
    yield ether() / IP(src="1.2.3.4", dst="4.3.2.1", proto=47) / PAYLOAD
    yield ether() / six / IPv6ExtHdrFragment(offset=0, m=1, nh=17) / Raw(
        bytes(UDP(sport=1, dport=2, len=68, chksum=1) / PAYLOAD))
    yield ether() / six / IPv6ExtHdrFragment(offset=9, m=0, nh=17) / PAYLOAD
    for operation in (1, 2):
        yield ether() / ARP(op=operation, hwsrc=A, psrc="10.0.0.1", hwdst=B, pdst="10.0.0.2")
    yield Dot3(dst=B, src=A) / LLC() / SNAP(code=0x0800) / IP(src="1.1.1.1") / UDP(sport=1)
    yield Dot3(dst=B, src=A) / LLC(dsap=0x42, ssap=0x42) / PAYLOAD
    yield Ether(dst=B, src=A, type=0x88b5) / PAYLOAD
    yield ether() / six / ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=A)
    yield from neighbours()


def expected_fields(packet):
    """From the layers themselves: what was asked of scapy, not what it wrote."""
    out = {"eth_dst": mac(packet.dst), "eth_src": mac(packet.src)}
    tags = ["vlan_tci", "inner_vlan_tci"]
    layer = packet.payload
    out["eth_type"] = 0x05ff if isinstance(packet, Dot3) else packet.type
    while isinstance(layer, Dot1Q):  # Dot1AD is one
        out[tags.pop(0)] = layer.prio << 13 | 0x1000 | layer.vlan
        out["eth_type"] = layer.type
        layer = layer.payload
    if packet.haslayer(SNAP):
        out["eth_type"] = packet[SNAP].code
        layer = packet[SNAP].payload
    if isinstance(layer, ARP):
        out.update(nw_proto=layer.op, nw_src=ip(layer.psrc), nw_dst=ip(layer.pdst),
                   arp_sha=mac(layer.hwsrc), arp_tha=mac(layer.hwdst))
    later = False
    if isinstance(layer, IP):
        out.update(nw_src=ip(layer.src), nw_dst=ip(layer.dst), nw_tos=layer.tos, nw_ttl=layer.ttl,
                   nw_proto=layer.proto)
        later = layer.frag > 0
        if later or layer.flags.MF:
            out["nw_frag"] = FRAG_ANY | (FRAG_LATER if later else 0)
    if isinstance(layer, IPv6):
        out.update(ipv6_src=ip(layer.src), ipv6_dst=ip(layer.dst), ipv6_label=layer.fl,
                   nw_tos=layer.tc, nw_ttl=layer.hlim)
        while isinstance(layer, (IPv6, IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting,
                                 IPv6ExtHdrFragment, AH)):
            out["nw_proto"] = layer.nh
            if isinstance(layer, IPv6ExtHdrFragment):
                later = layer.offset > 0
                out["nw_frag"] = FRAG_ANY | (FRAG_LATER if later else 0)
                if later:
                    out["nw_proto"] = 44
            layer = layer.payload
    found = {
        1: lambda: (packet[ICMP].type, packet[ICMP].code),
        6: lambda: (packet[TCP].sport, packet[TCP].dport),
        17: lambda: (1, 2) if not packet.haslayer(UDP) else (packet[UDP].sport, packet[UDP].dport),
        58: lambda: (layer.type, layer.code),
        132: lambda: (packet[SCTP].sport, packet[SCTP].dport),
    }.get(0 if later or "nw_ttl" not in out else out["nw_proto"], lambda: (0, 0))
    out["tp_src"], out["tp_dst"] = found()
    if packet.haslayer(TCP):
        out["tcp_flags"] = int(packet[TCP].flags)
    if isinstance(layer, (ICMPv6ND_NS, ICMPv6ND_NA)):
        out["nd_target"] = ip(layer.tgt)
        if packet.haslayer(ICMPv6NDOptSrcLLAddr):
            out["arp_sha"] = mac(packet[ICMPv6NDOptSrcLLAddr].lladdr)
        if packet.haslayer(ICMPv6NDOptDstLLAddr):
            out["arp_tha"] = mac(packet[ICMPv6NDOptDstLLAddr].lladdr)
    return {name: value for name, value in out.items() if value}


def test_fields_are_those_that_scapy_put_there():
    packets = [type(p)(bytes(p)) for p in whole_frames()]
    assert len(packets) >= 50
    for packet, result in zip(packets, run([bytes(p).hex() for p in packets])):
        assert result["complete"], packet.summary()
        assert fields_of(result) == expected_fields(packet), packet.show(dump=True)
        assert bytes.fromhex(result["frame"]) == bytes(packet)
        assert int(result["fields"]["packet_length"], 16) == len(bytes(packet))


# Open vSwitch's parser, which needs no switch: ovs-ofctl prints what it finds in a pcap file.

ALIASES = {"ip": (0x0800, 0), "icmp": (0x0800, 1), "tcp": (0x0800, 6), "udp": (0x0800, 17),
           "sctp": (0x0800, 132), "ipv6": (0x86dd, 0), "icmp6": (0x86dd, 58), "tcp6": (0x86dd, 6),
           "udp6": (0x86dd, 17), "sctp6": (0x86dd, 132), "arp": (0x0806, 0), "rarp": (0x8035, 0),
           "mpls": (0x8847, 0), "mplsm": (0x8848, 0)}
FLAGS = {name: 1 << i for i, name in enumerate("fin syn rst psh ack urg ece cwr ns".split())}
RENAMED = {"dl_src": "eth_src", "dl_dst": "eth_dst", "dl_type": "eth_type", "arp_spa": "nw_src",
           "arp_tpa": "nw_dst", "arp_op": "nw_proto", "icmp_type": "tp_src", "icmp_code": "tp_dst",
           "nd_sll": "arp_sha", "nd_tll": "arp_tha"}
IGNORED = ("in_port", "nd_reserved", "nd_options_type", "igmp_group", "vlan_tci1", "mpls_label",
           "mpls_tc", "mpls_ttl", "mpls_bos", "mpls_lse", "mpls_lse1", "mpls_lse2")


def number(name, text):
    """A field's value; of ours or of theirs."""
    if name in ("eth_src", "eth_dst", "arp_sha", "arp_tha"):
        return mac(text)
    return ip(text) if "." in text or ":" in text else int(text, 0)


def flow_of(line):
    """What a line of ovs-ofctl says, under our names."""
    out = {}
    for word in line.split(","):
        name, _, value = word.partition("=")
        if not value:
            out["eth_type"], out["nw_proto"] = ALIASES[word]
        elif name in IGNORED:
            continue
        elif name == "tcp_flags":  # names, and the others' bits in brackets
            named = [flag for flag in value.replace("[", "|[").split("|") if flag not in ("", "0")]
            out[name] = sum(int(f.strip("[]"), 16) if f[0] == "[" else FLAGS[f] for f in named)
        elif name == "nw_frag":
            out[name] = {"no": 0, "first": FRAG_ANY, "later": FRAG_ANY | FRAG_LATER}[value]
        elif name in ("nw_tos", "nw_ecn"):
            out["nw_tos"] = out.get("nw_tos", 0) | int(value)
        elif name.startswith("dl_vlan"):
            tag = "inner_vlan_tci" if name.endswith("1") else "vlan_tci"
            shift = 13 if "pcp" in name else 0
            out[tag] = out.get(tag, 0) | 0x1000 | int(value) << shift
        else:
            name = RENAMED.get(name, name)
            out[name] = number(name, value)
    return {name: value for name, value in out.items() if value}


def broken_frames(seed, count):
    whole = [bytes(packet) for packet in whole_frames()]
    for content in whole:
        for length in range(min(len(content), 110)):
            yield content[:length]
    source = random.Random(seed)
    telling = (0, 1, 2, 4, 5, 6, 8, 17, 43, 44, 51, 58, 60, 132, 135, 255)
    for _ in range(count):
        content = bytearray(source.choice(whole))
        for _ in range(source.randint(1, 4)):
            content[source.randrange(12, min(len(content), 100))] = source.choice(
                (source.choice(telling), source.randrange(256)))
        if source.random() < 0.2:
            content = content[:source.randrange(len(content))]
        yield bytes(content)


def test_broken_frames_are_read_as_open_vswitch_reads_them(tmp_path):
    if shutil.which("ovs-ofctl") is None:
        pytest.skip("skipped: no ovs-ofctl (Debian 12: apt-get install openvswitch-common)")
    frames = [f for f in broken_frames(7, 10_000) if f]
    path = tmp_path / "frames.pcap"
    with PcapWriter(str(path), linktype=1) as pcap:
        for content in frames:
            pcap.write(content)
    theirs = subprocess.run(["ovs-ofctl", "parse-pcap", str(path)], text=True, timeout=60,
                            capture_output=True, check=True).stdout.splitlines()
    assert len(theirs) == len(frames)
    for content, line, result in zip(frames, theirs, run([f.hex() for f in frames])):
        assert fields_of(result) == flow_of(line), f"{content.hex()}\n{line}"


# Changes: what to do, and to what frame of scapy's it comes.

def rebuilt(packet):
    """With every checksum computed anew."""
    packet = copy.deepcopy(packet)
    layer = packet
    while not isinstance(layer, NoPayload):
        for name in ("chksum", "cksum"):
            if name in layer.fields and not (isinstance(layer, UDP) and layer.chksum == 0):
                delattr(layer, name)
        layer = layer.payload
    return bytes(packet)


def set_of(name, value):
    return f"set={name}:{value if isinstance(value, int) else number(name, value):x}"


CHANGES = {
    # field: (the layer that has it, its name there, values)
    "eth_src": (Ether, "src", (C, "ff:ff:ff:ff:ff:ff")),
    "eth_dst": (Ether, "dst", (C, "00:00:00:00:00:00")),
    "nw_src": (IP, "src", ("192.168.77.1", "0.0.0.0", "255.255.255.255")),
    "nw_dst": (IP, "dst", ("192.168.77.2",)),
    "ipv6_src": (IPv6, "src", ("2001:db8::77", "::", "ffff:" * 7 + "ffff")),
    "ipv6_dst": (IPv6, "dst", ("2001:db8::78",)),
    "ipv6_label": (IPv6, "fl", (0, 0xfffff)),
    "nw_tos": ((IP, "tos"), (IPv6, "tc"), (0, 0xff, 0x0a)),
    "nw_ttl": ((IP, "ttl"), (IPv6, "hlim"), (1, 255)),
}


def changes_of(packet):
    """Steps with the packet that each comes to."""
    def changed(layer, **values):
        out = copy.deepcopy(packet)
        for name, value in values.items():
            setattr(out[layer], name, value)
        return out

    for name, (first, *second, values) in CHANGES.items():
        places = [first, *second] if isinstance(first, tuple) else [(first, *second)]
        for layer, attribute in places:
            if packet.haslayer(layer):
                for value in values:
                    yield set_of(name, value), changed(layer, **{attribute: value})
    for layer in (TCP, UDP, SCTP):
        if packet.haslayer(layer):
            for port in (0, 1, 4711, 0xffff):
                yield set_of("tp_src", port), changed(layer, sport=port)
                yield set_of("tp_dst", port), changed(layer, dport=port)
    for layer, reply in ((ICMP, 0), (ICMPv6EchoRequest, 129)):
        if packet.haslayer(layer):
            yield set_of("tp_src", reply), changed(layer, type=reply)
            yield set_of("tp_dst", 1), changed(layer, code=1)
    if packet.haslayer(ARP):
        yield set_of("nw_proto", 4), changed(ARP, op=4)
        yield set_of("nw_src", "9.8.7.6"), changed(ARP, psrc="9.8.7.6")
        yield set_of("nw_dst", "9.8.7.6"), changed(ARP, pdst="9.8.7.6")
        yield set_of("arp_sha", C), changed(ARP, hwsrc=C)
        yield set_of("arp_tha", C), changed(ARP, hwdst=C)
    for layer in (ICMPv6ND_NS, ICMPv6ND_NA):
        if packet.haslayer(layer):
            yield set_of("nd_target", "2001:db8::9"), changed(layer, tgt="2001:db8::9")
    for name, layer in (("arp_sha", ICMPv6NDOptSrcLLAddr), ("arp_tha", ICMPv6NDOptDstLLAddr)):
        if packet.haslayer(layer) and not packet.haslayer(ICMPv6ND_RA):
            yield set_of(name, "12:34:56:78:9a:bc"), changed(layer, lladdr="12:34:56:78:9a:bc")
    tags = packet.haslayer(Dot1Q) or packet.haslayer(Dot1AD)
    if tags:
        outer = Dot1AD if packet.haslayer(Dot1AD) else Dot1Q
        yield set_of("vlan_tci", 0x7abc), changed(outer, prio=3, vlan=0xabc)
        popped = copy.deepcopy(packet)
        popped.type = popped[outer].type
        popped.payload = popped[outer].payload
        yield "pop", popped
    if packet.haslayer(Dot1AD):
        yield set_of("inner_vlan_tci", 0x7abc), changed(Dot1Q, prio=3, vlan=0xabc)
    elif isinstance(packet, Ether):
        for kind, layer in ((0x8100, Dot1Q), (0x88a8, Dot1AD)):
            pushed = Ether(dst=packet.dst, src=packet.src, type=kind) / layer(
                prio=5, vlan=77, type=packet.type) / packet.payload
            yield f"push={kind:x}:a04d", pushed
    for layer, name in ((IP, "ttl"), (IPv6, "hlim")):
        if packet.haslayer(layer):
            yield "ttl", changed(layer, **{name: getattr(packet[layer], name) - 1})


def changeable_frames():
    # Of a fragment scapy would compute the checksum as if it were all; behind AH it looks at none.
    for packet in whole_frames():
        parsed = type(packet)(bytes(packet))
        fragment = parsed.haslayer(IPv6ExtHdrFragment) or (
            parsed.haslayer(IP) and (parsed[IP].frag or parsed[IP].flags.MF))
        if not fragment and not parsed.haslayer(AH) and rebuilt(parsed) == bytes(parsed):
            yield parsed


def test_a_changed_frame_is_what_scapy_makes_of_the_same_fields():
    cases = [(bytes(packet).hex(), step, target)
             for packet in changeable_frames() for step, target in changes_of(packet)]
    assert len(cases) > 600
    for (before, step, target), result in zip(cases, run([f"{f} {s}" for f, s, _ in cases])):
        assert result["failed"] == "", step
        wanted = rebuilt(target)
        assert result["frame"] == wanted.hex(), f"{step} of {before}\n{target.show(dump=True)}"


def blank(packet):
    """The frame as a guest leaves it to be finished: the pseudo-header's sum in the field."""
    layer = packet[TCP] if packet.haslayer(TCP) else packet[UDP]
    protocol = 6 if packet.haslayer(TCP) else 17
    size = len(bytes(layer))
    if packet.haslayer(IPv6):
        pseudo = bytes(in6_pseudoheader(protocol, packet[IPv6], size))
    else:
        addresses = ip(packet[IP].src).to_bytes(4, "big") + ip(packet[IP].dst).to_bytes(4, "big")
        pseudo = addresses + bytes((0, protocol)) + size.to_bytes(2, "big")
    packet = copy.deepcopy(packet)
    (packet[TCP] if protocol == 6 else packet[UDP]).chksum = checksum(pseudo) ^ 0xffff
    return bytes(packet)


def test_a_checksum_left_blank_is_right_once_it_is_filled():
    cases = []
    for packet in changeable_frames():
        if not (packet.haslayer(TCP) or packet.haslayer(UDP)) or packet.haslayer(SNAP) or (
                packet.haslayer(UDP) and packet[UDP].chksum == 0):
            continue
        start = blank(packet).hex()
        cases += [(start, step, target) for step, target in changes_of(packet)]
    assert len(cases) > 200
    for (before, step, target), result in zip(cases, run([f"{f} blank {s}" for f, s, _ in cases])):
        assert result["failed"] == "", step
        wanted = rebuilt(target)
        assert result["frame"] == wanted.hex(), f"{step} of {before}\n{target.show(dump=True)}"


def test_several_steps_one_behind_the_other():
    first = ether((Dot1Q, 5, 100)) / IP(src="10.0.0.1", dst="10.1.2.3", ttl=9) / UDP(
        sport=1, dport=2) / PAYLOAD
    steps = ("set=nw_src:c0a84d01", "pop", "set=tp_dst:35", "push=88a8:2007", "push=8100:1",
             "set=inner_vlan_tci:1009:fff", "ttl", "set=nw_dst:5:ff", "set=eth_src:02000000000c")
    last = Ether(dst=B, src=C, type=0x8100) / Dot1Q(vlan=1, type=0x88a8) / Dot1AD(
        prio=1, vlan=9) / IP(src="192.168.77.1", dst="10.1.2.5", ttl=8) / UDP(
            sport=1, dport=53) / PAYLOAD
    result, = run([f"{bytes(first).hex()} {' '.join(steps)}"])
    assert result["failed"] == ""
    assert result["frame"] == bytes(last).hex()


@pytest.mark.parametrize("frame, step", [
    (ether((Dot1Q, 0, 1), (Dot1Q, 0, 2)) / PAYLOAD, "push=8100:3"),
    (ether() / IP() / PAYLOAD, "pop"),
    (ether() / IP(ttl=1) / PAYLOAD, "ttl"),
    (ether() / IPv6(hlim=0) / PAYLOAD, "ttl"),
    (ether() / IP(flags="MF", proto=132) / PAYLOAD, "set=tp_src:1"),
])
def test_what_cannot_be_done_leaves_the_frame(frame, step):
    result, = run([f"{bytes(frame).hex()} {step}"])
    assert result["failed"] == step
    assert result["frame"] == bytes(frame).hex()


def test_headers_beyond_the_head_are_told_and_found_in_a_longer_one():
    frame = bytes(ether() / IPv6() / IPv6ExtHdrDestOpt(len=11, options=[], autopad=0) / Raw(
        bytes(90)) / TCP(sport=7, dport=8))
    frame = bytearray(frame[:54] + bytes((6, 11)) + bytes(94) + bytes(TCP(sport=7, dport=8)))
    frame[18:20] = (len(frame) - 54).to_bytes(2, "big")
    content = bytes(frame).hex()
    short, long, tiny = run([f"{content}", f"{content} longer", f"{content} head=40"])
    assert not short["complete"] and "tp_src" not in fields_of(short)
    assert long["complete"] and fields_of(long)["tp_src"] == 7
    assert not tiny["complete"] and fields_of(tiny)["eth_type"] == 0x86dd
