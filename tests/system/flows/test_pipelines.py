# SPDX-License-Identifier: BSD-3-Clause
"""Tables as operators have them, with the traffic they are for: what OVS makes of it is what was
meant, and Strait makes the same of it, to the last bit."""

import pathlib

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from .compare import by_port

HERE = pathlib.Path(__file__).parent


def flows(name):
    text = (HERE / name).read_text(encoding="ascii")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _mac(guest):
    return f"02:00:00:00:00:{guest:02x}"


def _data(frame):
    return bytes(frame).ljust(60, b"\0")


class Tenant:
    """Guests of ovn.flows: what one sends to another, as (port, frame)."""

    @staticmethod
    def ip(sender, receiver, layers, **ip):
        addresses = {"src": f"10.0.0.{sender}", "dst": f"10.0.0.{receiver}", **ip}
        return sender, _data(Ether(src=_mac(sender), dst=_mac(receiver)) / IP(**addresses) / layers)

    @classmethod
    def tcp(cls, sender, receiver, source, destination, flags, seq=0, ack=0, data=b""):
        return cls.ip(sender, receiver, TCP(sport=source, dport=destination, flags=flags, seq=seq,
                                            ack=ack) / Raw(data))

    @staticmethod
    def arp(sender, target, claims=None):
        return sender, _data(Ether(src=_mac(sender), dst="ff:ff:ff:ff:ff:ff") / ARP(
            op=1, hwsrc=_mac(sender), psrc=f"10.0.0.{claims or sender}", pdst=f"10.0.0.{target}"))


T = Tenant

# (what it is, (port, frame), the ports it leaves by), in this order.
OVN = [
    ("an ARP request that the switch answers", T.arp(1, 2), [1]),
    ("one that it lets through", T.arp(1, 3), [2, 3]),
    ("one in another's name", T.arp(1, 3, claims=2), []),
    ("one for a guest's own address", T.arp(1, 1), [2, 3]),
    ("a connection to the web server", T.tcp(1, 2, 1000, 80, "S", 100), [2]),
    ("its answer", T.tcp(2, 1, 80, 1000, "SA", 500, 101), [1]),
    ("its third step", T.tcp(1, 2, 1000, 80, "A", 101, 501), [2]),
    ("its data", T.tcp(1, 2, 1000, 80, "PA", 101, 501, b"GET /"), [2]),
    ("data back", T.tcp(2, 1, 80, 1000, "PA", 501, 106, b"200 OK" * 50), [1]),
    ("data far outside of the window", T.tcp(2, 1, 80, 1000, "PA", 900000000, 106, b"x" * 9), []),
    ("a connection to another port", T.tcp(1, 2, 1001, 81, "S", 100), []),
    ("an answer to it all the same", T.tcp(2, 1, 81, 1001, "SA", 100, 101), []),
    ("telnet", T.tcp(1, 2, 1002, 23, "S", 1), []),
    ("a connection picked up in its middle", T.tcp(3, 2, 1003, 80, "PA", 77, 78, b"data"), [2]),
    ("a question to DNS", T.ip(1, 3, UDP(sport=4000, dport=53) / b"question"), [3]),
    ("the answer", T.ip(3, 1, UDP(sport=53, dport=4000) / b"answer"), [1]),
    ("another question", T.ip(1, 3, UDP(sport=4000, dport=53) / b"?"), [3]),
    ("a question to who serves none", T.ip(1, 2, UDP(sport=4000, dport=53) / b"question"), []),
    ("an error about a question", T.ip(3, 1, ICMP(type=3, code=3) / IP(
        src="10.0.0.1", dst="10.0.0.3") / UDP(sport=4000, dport=53)), [1]),
    ("an error about nothing", T.ip(3, 1, ICMP(type=3, code=3) / IP(
        src="10.0.0.1", dst="10.0.0.3") / UDP(sport=4999, dport=54)), []),
    ("ping", T.ip(1, 2, ICMP(type=8, id=3, seq=1)), [2]),
    ("its reply", T.ip(2, 1, ICMP(type=0, id=3, seq=1)), [1]),
    ("a reply to none", T.ip(2, 1, ICMP(type=0, id=4, seq=1)), []),
    ("another's IP address", T.ip(1, 2, ICMP(type=8, id=5), src="10.0.0.9"), []),
    ("another's Ethernet address", (1, T.ip(2, 3, ICMP(type=8))[1]), []),
    ("DHCP", (1, _data(Ether(src=_mac(1), dst="ff:ff:ff:ff:ff:ff") / IP(
        src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / b"discover")), [2, 3]),
    ("a tagged frame", (1, _data(Ether(src=_mac(1), dst=_mac(2)) / Dot1Q(vlan=5) / IP(
        src="10.0.0.1", dst="10.0.0.2") / ICMP())), []),
    ("a frame from no guest's port", (4, T.ip(1, 2, ICMP(type=8))[1]), []),
    ("the end of the connection", T.tcp(1, 2, 1000, 80, "FA", 106, 801), [2]),
    ("of both sides", T.tcp(2, 1, 80, 1000, "FA", 801, 107), [1]),
    ("its last acknowledgement", T.tcp(1, 2, 1000, 80, "A", 107, 802), [2]),
]


def _acl(port, source, destination, layers, kind=IP, **ip):
    return port, _data(Ether(src=_mac(1), dst=_mac(2)) /
                       kind(src=source, dst=destination, **ip) / layers)


WEB = "192.0.2.1"
ACL = [
    ("all three", _acl(1, "10.0.0.1", WEB, TCP(dport=80)), [2]),
    ("by another port", _acl(3, "10.0.0.1", WEB, TCP(dport=80)), [2, 4]),
    ("not from there", _acl(1, "10.0.0.2", WEB, TCP(dport=80)), []),
    ("not to there", _acl(1, "10.0.0.1", "192.0.2.2", TCP(dport=80)), []),
    ("not that port", _acl(1, "10.0.0.1", WEB, TCP(dport=82)), []),
    ("one of a range of ports", _acl(1, "10.0.0.1", WEB, TCP(dport=8095)), [2]),
    ("the next one", _acl(1, "10.0.0.1", WEB, TCP(dport=8096)), []),
    ("UDP's 53", _acl(1, "10.0.0.1", WEB, UDP(dport=53) / b"?"), [2]),
    ("TCP's 53", _acl(1, "10.0.0.1", WEB, TCP(dport=53)), []),
    ("a mask with a hole", _acl(1, "10.0.0.214", WEB, TCP(dport=80)), [2]),
    ("in the hole's other place", _acl(1, "10.0.0.216", WEB, TCP(dport=80)), []),
    ("no time to live", _acl(1, "10.0.0.1", WEB, TCP(dport=80), ttl=1), []),
    ("the second list", _acl(1, "10.0.0.5", "192.0.2.200", ICMP()), [2]),
    ("what both lists begin with", _acl(1, "10.0.0.6", "192.0.2.200", TCP(dport=80)), [2]),
    ("half of it", _acl(1, "10.0.0.1", "192.0.2.200", ICMP()), []),
    ("the rule above", _acl(1, "10.0.0.5", "192.0.2.200", TCP(dport=81)), []),
    ("the other rule above", _acl(1, "10.0.0.1", WEB, TCP(dport=80, flags="SF")), []),
    ("what it lets through", _acl(1, "10.0.0.1", WEB, TCP(dport=80, flags="SA")), [2]),
    ("IPv6", _acl(1, "2001:db8::7", "2001:db9::7", TCP(dport=22), IPv6), [2]),
    ("IPv6 by a port not listed", _acl(2, "2001:db8::7", "2001:db9::7", UDP(dport=22), IPv6), []),
    ("IPv6 by its address", _acl(3, "2001:db8::7", "2001:db8:1234::1:0", UDP(dport=1), IPv6),
     [2, 4]),
    ("neither", _acl(3, "2001:db8::7", "2001:db8:1234::1:1", UDP(dport=1), IPv6), []),
    ("ARP", (2, _data(Ether(src=_mac(2), dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=_mac(2), psrc=WEB, pdst="10.0.0.1"))), [1, 3, 4, 5]),
    ("back", _acl(2, WEB, "10.0.0.9", TCP(sport=80, flags="SA")), [1]),
    ("a new one back", _acl(2, WEB, "10.0.0.9", TCP(sport=80, flags="S")), []),
    ("a name back", _acl(2, WEB, "10.0.0.9", UDP(sport=53) / b"!"), [1, 3]),
    # Of no fragment are ports matched, not even of the one that has them.
    ("the first fragment", _acl(1, "10.0.0.1", WEB, TCP(dport=80), flags="MF"), []),
    ("a later one", _acl(1, "10.0.0.1", WEB, b"x" * 32, frag=8, proto=6), [4]),
]

PIPELINES = {"ovn.flows": OVN, "acl.flows": ACL}


@pytest.mark.parametrize("name", PIPELINES)
def test_ovs_does_what_was_meant(ovs, name):
    ovs.load(flows(name))
    for title, sent, ports in PIPELINES[name]:
        outputs = ovs.forward([sent])[0]
        assert sorted(port for port, _ in outputs) == ports, \
            f"{title}\n{ovs.trace(*sent)}\n{ovs.control('dpctl/dump-conntrack')}"


def _compare(ovs, subject, name):
    ovs.load(flows(name))
    subject.load(flows(name))
    steps = PIPELINES[name]
    expected = ovs.forward([sent for _, sent, _ in steps])
    for (title, sent, _), wanted in zip(steps, expected, strict=True):
        assert by_port(subject.forward([sent])[0]) == by_port(wanted), \
            f"{title}\n{ovs.trace(*sent)}"


# Of ovn.flows no trace: it commits no connection.
@pytest.mark.parametrize("name,side", [
    ("acl.flows", "live"), ("acl.flows", "traced"), ("ovn.flows", "live")])
def test_strait_does_what_ovs_does(ovs, name, side, request):
    _compare(ovs, request.getfixturevalue(side), name)
