# SPDX-License-Identifier: BSD-3-Clause
"""L2 conformance: frames made by scapy go into taps and veths, and come out where IEEE 802.1Q says.

The switch runs in a namespace of its own; each test makes a bridge with ports and removes it.
"""

import collections
import itertools
import os
import random
import struct
import time

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

import lab as parts

A, B, C, D = (f"02:00:00:00:00:{last:02x}" for last in (0x0a, 0x0b, 0x0c, 0x0d))
BROADCAST = "ff:ff:ff:ff:ff:ff"
TYPE = 0x88b5  # for experiments: no stack answers
QUIET = 0.15   # seconds in which a frame that must not come would have come

_payloads = itertools.count(1)


def frame(dst, src, *tags, size=60, kind=TYPE):
    """A frame with a payload of its own; tags from the outside in, as VLAN or (VLAN, priority)."""
    layers = Ether(dst=dst, src=src)
    for tag in tags:
        vlan, priority = tag if isinstance(tag, tuple) else (tag, 0)
        layers /= Dot1Q(vlan=vlan, prio=priority)
    layers.lastlayer().type = kind
    payload = struct.pack("!I", next(_payloads))
    data = bytes(layers) + payload
    return data + bytes(i & 0xff for i in range(size - 14 - len(payload)))


class Bench:
    """A switch in a namespace, and bridges of taps in it."""

    def __init__(self, lab, workers):
        self.workers = workers
        self.netns = lab.netns()
        self.switch = lab.switch(workers=workers, netns=self.netns)
        self.ctl = self.switch.ctl
        self._wires = []
        self._bridges = []

    def bridge(self, name="br0", *words):
        self.ctl("bridge", "add", name, *words)
        self._bridges.append(name)

    def tap(self, name, *words, bridge="br0"):
        """A port over a tap of the same name; its far end as a wire."""
        self.switch.add_nic(name, f"net_tap_{name},iface={name}", *words, bridge=bridge)
        return self.wire(name)

    def taps(self, count, *words):
        self.bridge()
        return [self.tap(f"p{i}", *words) for i in range(count)]

    def wire(self, interface):
        wire = self.netns.wire(interface)
        self._wires.append(wire)
        return wire

    def drops(self, port):
        return {reason: count for reason, count in
                self.ctl("drops", port)["ports"][0]["drops"].items() if count}

    def stats(self, port):
        return self.ctl("stats", port)["ports"][0]

    def macs(self, **fields):
        return [entry for entry in self.ctl("mac", "list")["entries"]
                if all(entry[key] == value for key, value in fields.items())]

    def worker_of(self, port):
        return self.ctl("port", "show", port)["queues"][0]["worker"]

    def clear(self):
        for wire in self._wires:
            wire.close()
        for name in self._bridges:
            self.ctl("bridge", "del", name, "--with-ports", "--if-exists")
        self._wires, self._bridges = [], []


def bench_of(module_lab, workers):
    if workers != "0" and os.cpu_count() < 2:
        pytest.skip("skipped: two workers on CPUs of their own need two CPUs")
    return Bench(module_lab, workers)


@pytest.fixture(scope="module")
def one(module_lab):
    return bench_of(module_lab, "0")


@pytest.fixture(scope="module", params=["0,1", "0,1,0,1"], ids=["2workers", "4workers"])
def several(module_lab, request):
    return bench_of(module_lab, request.param)


@pytest.fixture
def bench(one):
    yield one
    one.clear()


@pytest.fixture
def many(several):
    yield several
    several.clear()


def deliver(sender, sent, receivers, others=(), expect=None):
    """Sends one frame; each receiver must get it (or what expect says), the others must not."""
    sender.send(sent)
    for i, receiver in enumerate(receivers):
        wanted = expect[i] if isinstance(expect, list) else expect or sent
        got = receiver.receive_raw(3.0)
        assert got == wanted, f"{receiver.name}: {got and Ether(got).summary()}"
    time.sleep(QUIET if others or not receivers else 0)
    for other in [sender, *others]:
        got = other.receive_raw(0.0)
        assert got is None, f"{other.name} got {Ether(got).summary()}"


def exchange(wires, address_of):
    """Has every address learned: each wire sends one broadcast."""
    for wire, address in zip(wires, address_of):
        deliver(wire, frame(BROADCAST, address), [w for w in wires if w is not wire])


def descriptors_of(bench):
    time.sleep(0.5)  # a connection that straitctl has just left may still be open
    return bench.switch.fds()


def assert_descriptors(bench, count):
    parts.wait_until(lambda: bench.switch.fds() == count, 3,
                     f"{bench.switch.fds()} descriptors becoming {count} again")


# ---- learning, flooding, ageing

def test_learning(bench):
    p0, p1, p2 = bench.taps(3)
    deliver(p0, frame(B, A), [p1, p2])
    assert [e["port"] for e in bench.macs(mac=A)] == ["p0"]
    deliver(p1, frame(A, B), [p0], [p2])
    deliver(p0, frame(B, A), [p1], [p2])


@pytest.mark.parametrize("destination", [BROADCAST, "01:00:5e:00:00:fb", "33:33:00:00:00:01"])
def test_flooding(bench, destination):
    p0, p1, p2, p3 = bench.taps(4)
    deliver(p1, frame(destination, A), [p0, p2, p3])


def test_same_port(bench):
    p0, p1 = bench.taps(2)
    exchange([p0], [A])
    p1.drain()
    deliver(p0, frame(A, B), [], [p1])
    assert bench.drops("p0") == {"same_port": 1}


def test_move(bench):
    p0, p1, p2 = bench.taps(3)
    exchange([p0, p1], [A, B])
    p2.drain()
    deliver(p0, frame(B, A), [p1], [p2])
    deliver(p2, frame(BROADCAST, B), [p0, p1])
    deliver(p0, frame(B, A), [p2], [p1])
    assert [e["port"] for e in bench.macs(mac=B)] == ["p2"]


def test_ageing(bench):
    bench.bridge("br0", "--mac-ageing", 2)
    p0, p1, p2 = (bench.tap(f"p{i}") for i in range(3))
    exchange([p1], [B])
    p0.drain()
    p2.drain()
    deliver(p0, frame(B, A), [p1], [p2])
    parts.wait_until(lambda: not bench.macs(mac=B), 8, "the MAC being forgotten", 0.2)
    deliver(p0, frame(B, A), [p1, p2])
    # An address that is heard stays.
    deliver(p1, frame(A, B), [p0], [p2])
    for _ in range(6):
        deliver(p0, frame(B, A), [p1], [p2])
        deliver(p1, frame(A, B), [p0], [p2])
        time.sleep(0.5)
    deliver(p0, frame(B, A), [p1], [p2])
    bench.ctl("bridge", "set", "br0", "--mac-ageing", 0)
    time.sleep(4)
    deliver(p0, frame(B, A), [p1], [p2])


def test_flush(bench):
    p0, p1, p2 = bench.taps(3)
    exchange([p0, p1, p2], [A, B, C])
    bench.ctl("mac", "flush", "--port", "p1")
    assert not bench.macs(mac=B) and bench.macs(mac=C)
    deliver(p0, frame(B, A), [p1, p2])
    deliver(p0, frame(C, A), [p2], [p1])
    bench.ctl("mac", "flush", "--bridge", "br0")
    assert bench.macs() == []


def test_static_mac(bench):
    p0, p1, p2 = bench.taps(3)
    bench.ctl("mac", "add", B, "--port", "p1")
    deliver(p2, frame(BROADCAST, B), [p0, p1])  # an impostor
    deliver(p0, frame(B, A), [p1], [p2])
    assert [(e["port"], e["static"]) for e in bench.macs(mac=B)] == [("p1", True)]
    bench.ctl("mac", "flush", "--bridge", "br0")
    deliver(p0, frame(B, A), [p1], [p2])
    bench.ctl("mac", "del", B, "--bridge", "br0")
    deliver(p0, frame(B, A), [p1, p2])
    deliver(p2, frame(BROADCAST, B), [p0, p1])
    deliver(p0, frame(B, A), [p2], [p1])


def test_bridges_are_isolated(bench):
    bench.bridge("left")
    bench.bridge("right")
    l0, l1 = bench.tap("l0", bridge="left"), bench.tap("l1", bridge="left")
    r0, r1 = bench.tap("r0", bridge="right"), bench.tap("r1", bridge="right")
    deliver(l0, frame(BROADCAST, A), [l1], [r0, r1])
    deliver(r0, frame(A, B), [r1], [l0, l1])
    assert {e["bridge"] for e in bench.macs(mac=A)} == {"left"}


# ---- reserved multicast

@pytest.mark.parametrize("last", [0x00, 0x01, 0x02, 0x03, 0x0e, 0x0f])
def test_reserved_multicast(bench, last):
    p0, p1 = bench.taps(2)
    reserved = f"01:80:c2:00:00:{last:02x}"
    deliver(p0, frame(reserved, A), [], [p1])
    assert bench.drops("p0") == {"reserved_multicast": 1}
    bench.ctl("bridge", "set", "br0", "--forward-bpdu")
    deliver(p0, frame(reserved, A), [p1])
    deliver(p0, frame("01:80:c2:00:00:10", A), [p1])


# ---- VLANs

def test_tags_pass_transparent_ports(bench):
    p0, p1 = bench.taps(2)
    for sent in (frame(B, A, 10), frame(B, A, (20, 5)), frame(B, A, 10, 20),
                 bytes(Ether(dst=B, src=A) / Dot1AD(vlan=7) / Dot1Q(vlan=8, type=TYPE) /
                       (b"x" * 40))):
        deliver(p0, sent, [p1])


def test_vlans_learn_apart(bench):
    p0, p1, p2 = bench.taps(3)
    deliver(p1, frame(BROADCAST, B, 10), [p0, p2])
    deliver(p0, frame(B, A, 10), [p1], [p2])
    deliver(p0, frame(B, A, 20), [p1, p2])
    assert {e["vlan"] for e in bench.macs(mac=A)} == {10, 20}


def test_access(bench):
    bench.bridge()
    p0, p1 = bench.tap("p0", "--vlan", 10), bench.tap("p1", "--vlan", 10)
    p2 = bench.tap("p2", "--vlan", 20)
    deliver(p0, frame(BROADCAST, A), [p1], [p2])
    deliver(p2, frame(A, C), [], [p0, p1])
    for vlan in (10, 20, 4094):
        deliver(p0, frame(BROADCAST, A, vlan), [], [p1, p2])
    assert bench.drops("p0") == {"tagged_not_allowed": 3}
    assert bench.drops("p2") == {"no_destination": 1}


def test_trunk(bench):
    bench.bridge()
    p10, p20 = bench.tap("p10", "--vlan", 10), bench.tap("p20", "--vlan", 20)
    trunk = bench.tap("trunk", "--trunk", "10,20")
    other = bench.tap("other", "--trunk", "20,30-40")
    sent = frame(BROADCAST, A)
    tagged = sent[:12] + struct.pack("!HH", 0x8100, 10) + sent[12:]
    deliver(p10, sent, [trunk], [p20, other], expect=tagged)
    deliver(trunk, tagged, [p10], [p20, other], expect=sent)
    sent = frame(BROADCAST, B, 20)
    plain = sent[:12] + sent[16:]
    deliver(other, sent, [p20, trunk], [p10], expect=[plain, sent])
    deliver(trunk, frame(BROADCAST, B, 30), [], [p10, p20, other])
    deliver(trunk, frame(BROADCAST, B), [], [p10, p20, other])
    assert bench.drops("trunk") == {"vlan_not_allowed": 1, "untagged_not_allowed": 1}


def test_native(bench):
    bench.bridge()
    p1, p10 = bench.tap("p1", "--vlan", 1), bench.tap("p10", "--vlan", 10)
    up0 = bench.tap("up0")
    bench.ctl("port", "set", "up0", "--trunk", "10,20", "--native", 1)
    deliver(up0, frame(BROADCAST, A), [p1], [p10])
    deliver(p1, frame(BROADCAST, B), [up0], [p10])
    sent = frame(BROADCAST, C, (10, 6))
    deliver(up0, sent, [p10], [p1], expect=sent[:12] + sent[16:])
    # Tagged with the native VLAN: the same VLAN.
    sent = frame(BROADCAST, D, 1)
    deliver(up0, sent, [p1], [p10], expect=sent[:12] + sent[16:])


def test_priority_is_kept_between_trunks_in_a_flood(bench):
    bench.bridge()
    t0, t1 = bench.tap("t0", "--trunk", 10), bench.tap("t1", "--trunk", 10)
    access = bench.tap("access", "--vlan", 10)
    sent = frame(BROADCAST, A, (10, 7))
    deliver(t0, sent, [access, t1], expect=[sent[:12] + sent[16:], sent])


def test_a_guest_does_not_choose_its_vlan(bench):
    bench.bridge()
    guest = bench.tap("guest", "--vlan", 5)
    up0 = bench.tap("up0", "--trunk", "20", "--native", 5)
    p20 = bench.tap("p20", "--vlan", 20)
    for tags in ((0, 20), (5, 20), (20,), (0, 0, 20), (0, 5), (5,)):
        deliver(guest, frame(BROADCAST, A, *tags), [], [up0, p20])
    # A priority tag alone is no VLAN.
    sent = frame(BROADCAST, A, (0, 3))
    deliver(guest, sent, [up0], [p20], expect=sent[:12] + sent[16:])


def test_service_vlans(bench):
    """Customers' frames, tags and all, between their ports and a trunk of 802.1ad's tags."""
    bench.bridge()
    one, two = bench.tap("one", "--qinq", 100), bench.tap("two", "--qinq", 100)
    third = bench.tap("third", "--qinq", 200)
    core = bench.tap("core", "--trunk", "100,200", "--tag-type", "802.1ad")
    within = itertools.count(1)
    for tags in ((), (10,), (10, 20), ((0, 3),)):
        sent = frame(BROADCAST, f"02:00:00:00:01:{next(within):02x}", *tags)
        service = sent[:12] + struct.pack("!HH", 0x88a8, 100) + sent[12:]
        assert Ether(service).getlayer(Dot1AD).vlan == 100
        deliver(one, sent, [two, core], [third], expect=[sent, service])
        deliver(core, service, [one, two], [third], expect=sent)
    # A customer's tag says nothing on the trunk.
    deliver(core, frame(BROADCAST, A, 100), [], [one, two, third])
    assert bench.drops("core") == {"untagged_not_allowed": 1}
    # Kinds of tags change under way.
    bench.ctl("port", "set", "core", "--tag-type", "802.1q")
    sent = frame(BROADCAST, B, 10)
    deliver(one, sent, [two, core], [third],
            expect=[sent, sent[:12] + struct.pack("!HH", 0x8100, 100) + sent[12:]])
    shown = {p["name"]: p for p in bench.ctl("port", "list")}
    assert shown["one"]["qinq"] == 100 and shown["core"]["tag_type"] == "802.1q"


def test_vlan_settings_change_under_way(bench):
    p0, p1 = bench.taps(2)
    deliver(p0, frame(B, A), [p1])
    bench.ctl("port", "set", "p1", "--vlan", 10)
    deliver(p0, frame(B, A), [], [p1])
    sent = frame(B, A, 10)
    deliver(p0, sent, [p1], expect=sent[:12] + sent[16:])
    bench.ctl("port", "set", "p1", "--no-vlan")
    deliver(p0, frame(B, A), [p1])


# ---- sizes, malformed frames, ports that are down

def test_every_size(bench):
    p0, p1 = bench.taps(2)
    for size in [18, 19, *range(58, 68), 127, 128, 129, 255, 256, 1513, 1514]:
        deliver(p0, frame(B, A, size=size), [p1])


def test_malformed(bench):
    p0, p1 = bench.taps(2)
    deliver(p0, frame(B, "01:00:00:00:00:01"), [], [p1])
    deliver(p0, frame(B, BROADCAST), [], [p1])
    deliver(p0, frame(B, "00:00:00:00:00:00"), [], [p1])
    cut = bytes(Ether(dst=B, src=A, type=0x8100)) + b"\x00\x0a\x00"
    deliver(p0, cut, [], [p1])
    assert bench.drops("p0") == {"invalid_source_mac": 3, "frame_too_short": 1}
    assert bench.macs() == []
    header = bytes(Ether(dst=B, src=A, type=TYPE))
    deliver(p0, header, [p1])


def test_garbage(bench):
    """Two thousand random frames: what is counted in is counted out or dropped with a reason."""
    p0, p1 = bench.taps(2)
    dice = random.Random(20)
    kinds = [b"\x81\x00", b"\x88\xa8", b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x00\x00",
             b"\xff\xff"]
    for _ in range(40):
        for _ in range(50):
            data = bytearray(dice.randbytes(dice.randrange(14, 1514)))
            if dice.random() < 0.7:
                data[0] &= 0xfe
                data[6] &= 0xfe
                data[12:14] = dice.choice(kinds)
            p0.send(bytes(data))
        time.sleep(0.01)

    def counted():
        stats = bench.stats("p0")
        out = bench.stats("p1")
        return stats["rx_packets"] == 2000 and \
            stats["rx_packets"] == stats["rx_dropped"] + out["tx_packets"] + out["tx_dropped"]
    parts.wait_until(counted, 10, "2000 frames being accounted for")
    p1.drain()
    deliver(p0, frame(BROADCAST, A), [p1])


def test_mtu(bench):
    bench.bridge()
    p0, p1 = bench.tap("p0", "--mtu", 9000), bench.tap("p1", "--mtu", 1500)
    p2 = bench.tap("p2", "--mtu", 9000)
    deliver(p0, frame(BROADCAST, A, size=1514), [p1, p2])
    for size in (1515, 2048, 2049, 4096, 9014):
        deliver(p0, frame(BROADCAST, A, size=size), [p2], [p1])
    assert bench.drops("p1") == {"mtu_exceeded": 5}
    bench.ctl("port", "set", "p1", "--mtu", 9000)
    deliver(p0, frame(BROADCAST, A, size=9014), [p1, p2])


@pytest.mark.parametrize("version", [4, 6])
def test_senders_are_told_of_a_ports_mtu(bench, version):
    """As if by the receiver, with the tag of the sender's port; not as long as nobody knows that
    the receiver is there."""
    bench.bridge()
    p0, p2 = (bench.tap(name, "--mtu", 9000, "--trunk", 10) for name in ("p0", "p2"))
    p1 = bench.tap("p1", "--mtu", 1400, "--vlan", 10)
    tag = struct.pack("!HH", 0x8100, 10)
    network = (IP(src="10.1.0.1", dst="10.1.0.2", flags="DF") if version == 4 else
               IPv6(src="fd01::1", dst="fd01::2"))

    def packet(size):
        layers = Ether(dst=B, src=A) / network / UDP(sport=1, dport=2)
        untagged = bytes(layers / Raw(bytes(14 + size - len(layers))))
        return untagged, untagged[:12] + tag + untagged[12:]
    fits, fits_tagged = packet(1400)
    _, too_long = packet(1401)
    deliver(p0, too_long, [p2], [p1])
    word = frame(BROADCAST, B)
    deliver(p1, word, [p0, p2], expect=word[:12] + tag + word[12:])
    deliver(p0, fits_tagged, [p1], [p2], expect=fits)
    received = bench.stats("p1")["rx_packets"]
    p0.send(too_long)
    came = p0.receive_raw(3.0)
    assert came is not None
    said = Ether(came)
    assert (said.dst, said.src, said[Dot1Q].vlan) == (A, B, 10)
    if version == 4:
        assert (said[IP].src, said[IP].dst) == ("10.1.0.2", "10.1.0.1")
        assert (said[ICMP].type, said[ICMP].code, said[ICMP].nexthopmtu) == (3, 4, 1400)
    else:
        assert (said[IPv6].src, said[IPv6].dst) == ("fd01::2", "fd01::1")
        assert said[ICMPv6PacketTooBig].mtu == 1400
    time.sleep(QUIET)
    assert [wire.receive_raw() for wire in (p0, p1, p2)] == [None] * 3
    assert bench.drops("p1") == {"mtu_exceeded": 2}
    assert bench.stats("p1")["rx_packets"] == received  # the receiver has said nothing


def told_of_mtu(wire, mtu):
    """Whether what comes next says so."""
    came = wire.receive_raw(3.0)
    said = came and Ether(came)
    return bool(said) and said.haslayer(ICMP) and said[ICMP].nexthopmtu == mtu


def test_flows_rules_and_mirrors_know_who_is_told_of_a_ports_mtu(bench):
    """Flows that send a packet on note no VLAN in it; what a rule set of the receiver's refuses is
    not answered, and what it lets out begins its connection; a mirror has the answer; and nobody
    takes it for the receiver's word."""
    bench.bridge()
    p0 = bench.tap("p0", "--mtu", 9000, "--vlan", 10)
    p1 = bench.tap("p1", "--mtu", 1400, "--vlan", 10)
    p2 = bench.tap("p2", "--trunk", 20)
    probe = bench.tap("probe", "--mtu", 9000)

    def send_too_long(layer):
        layers = Ether(dst=B, src=A) / IP(src="10.1.0.1", dst="10.1.0.2", flags="DF") / layer
        sent = bytes(layers / Raw(bytes(1415 - len(layers))))
        deliver(p2, frame(BROADCAST, D, 20), [])  # leaves its VLAN where packets come to lie
        p0.send(sent)
        return sent

    deliver(p1, frame(BROADCAST, B), [], [p2])
    p0.receive_raw(3.0)
    probe.receive_raw(0.0)
    bench.ctl("flow", "add", "in_port=p0,actions=output:p1")
    bench.ctl("mirror", "add", "m", "--select-src-port", "p0", "--select-dst-port", "p0",
              "--output-port", "probe")
    time.sleep(2.1)
    sent = send_too_long(UDP(sport=1, dport=2))
    assert told_of_mtu(p0, 1400)
    assert probe.receive_raw(3.0) == sent
    assert told_of_mtu(probe, 1400)
    (known,) = bench.macs(mac=B)
    assert known["age"] >= 2
    bench.ctl("acl", "set", "asked", "to allow icmp,icmp_type=8")
    bench.ctl("acl", "attach", "asked", "p1")
    try:
        sent = send_too_long(UDP(sport=1, dport=3))
        time.sleep(QUIET)
        assert p0.receive_raw(0.0) is None
        assert probe.receive_raw(3.0) == sent
        sent = send_too_long(ICMP(type=8, id=1, seq=1))
        assert told_of_mtu(p0, 1400)
    finally:
        bench.ctl("mirror", "del", "m")
        bench.ctl("acl", "detach", "asked", "p1")
        bench.ctl("acl", "del", "asked")
    assert bench.drops("p1") == {"mtu_exceeded": 3}


def test_jumbo_with_tags(bench):
    bench.bridge()
    p0 = bench.tap("p0", "--mtu", 9000, "--vlan", 10)
    p1 = bench.tap("p1", "--mtu", 9000, "--trunk", 10)
    sent = frame(B, A, size=9014)
    deliver(p0, sent, [p1], expect=sent[:12] + struct.pack("!HH", 0x8100, 10) + sent[12:])


def test_admin_down(bench):
    p0, p1, p2 = bench.taps(3)
    bench.ctl("port", "set", "p1", "--admin", "down")
    deliver(p0, frame(BROADCAST, A), [p2], [p1])
    deliver(p1, frame(BROADCAST, B), [], [p0, p2])
    assert bench.drops("p1") == {"ingress_disabled": 1}
    bench.ctl("port", "set", "p1", "--admin", "up")
    deliver(p1, frame(BROADCAST, B), [p0, p2])


def test_link_goes_down(bench):
    p0, p1 = bench.taps(2)
    bench.netns.sh("ip link set p1 down")
    assert bench.ctl("port", "show", "p1")["link"] == "down"
    deliver(p0, frame(BROADCAST, A), [])
    assert bench.drops("p1") == {"receiver_not_connected": 1}
    bench.netns.sh("ip link set p1 up")
    assert bench.ctl("port", "show", "p1")["link"] == "up"


def test_counters(bench):
    p0, p1 = bench.taps(2)
    sizes = [60, 100, 1514]
    for size in sizes:
        deliver(p0, frame(B, A, size=size), [p1])
    inside, outside = bench.stats("p0"), bench.stats("p1")
    assert (inside["rx_packets"], inside["rx_bytes"]) == (3, sum(sizes))
    assert (outside["tx_packets"], outside["tx_bytes"]) == (3, sum(sizes))
    assert (inside["tx_packets"], outside["rx_packets"]) == (0, 0)


# ---- other devices

def test_af_packet(bench):
    bench.bridge()
    for i in range(2):
        bench.netns.sh(f"ip link add v{i} mtu 9000 type veth peer name w{i} mtu 9000; "
                       f"ip link set v{i} up; ip link set w{i} up")
    try:
        bench.switch.add_nic("p0", "net_af_packet0,iface=v0", "--mtu", 9000)
        bench.switch.add_nic("p1", "net_af_packet1,iface=v1", "--mtu", 9000)
        w0, w1 = bench.wire("w0"), bench.wire("w1")
        p2 = bench.tap("p2", "--mtu", 9000)
        for size in (60, 1514, 1982, 2048, 9014):
            deliver(w0, frame(BROADCAST, A, size=size), [w1, p2])
        deliver(w1, frame(A, B), [w0], [p2])
        deliver(w1, frame(A, B, 10), [w0, p2])
        deliver(p2, frame(A, C, (20, 3), size=1514), [w0, w1])
        deliver(p2, frame(A, C), [w0], [w1])
        deliver(w0, frame(C, A), [p2], [w1])
    finally:
        bench.clear()
        bench.netns.sh("ip link del v0; ip link del v1")


def test_refusals_change_nothing(bench):
    p0, p1 = bench.taps(2)
    descriptors = descriptors_of(bench)
    for device, sentence in (
            ("net_nothing0", 'unknown device "net_nothing0"'),
            ("net_af_packet9,iface=none0", "there is no interface none0"),
            ("net_tap9,iface=p0", "interface p0 is (held|in use) by port p0"),
            ("net_tap_p0,iface=p9", "device net_tap_p0 is (held|in use) by port p0"),
            ("net_tap9,iface=lo", "interface lo exists and is not a tap"),
            ("0000:7f:1f.7", "there is no PCI device 0000:7f:1f.7")):
        with pytest.raises(parts.Refused, match=sentence) as refused:
            bench.switch.add_nic("bad", device)
        assert refused.value.status == 1
        assert "\n" not in refused.value.sentence
    assert [port["name"] for port in bench.ctl("port", "list")] == ["p0", "p1"]
    assert_descriptors(bench, descriptors)
    deliver(p0, frame(BROADCAST, A), [p1])


def test_ports_come_and_go_without_a_trace(bench):
    def once():
        for wire in bench.taps(4):
            wire.send(frame(BROADCAST, A))
        bench.clear()
    once()
    before = descriptors_of(bench)
    for _ in range(8):
        once()
    assert_descriptors(bench, before)
    assert "p0" not in bench.netns.sh("ip -br link")


# ---- several workers

def test_workers_share_the_ports(many):
    many.taps(6)
    owners = collections.Counter(many.worker_of(f"p{i}") for i in range(6))
    assert len(owners) == len(many.workers.split(",")), owners
    assert max(owners.values()) - min(owners.values()) <= 1


def test_learning_across_workers(many):
    wires = many.taps(6)
    addresses = [f"02:00:00:00:01:{i:02x}" for i in range(6)]
    exchange(wires, addresses)
    for i, wire in enumerate(wires):
        for j, other in enumerate(wires):
            if i != j:
                wire.send(frame(addresses[j], addresses[i], size=60 + 50 * j))
                got = other.receive_raw(3.0)
                assert got and Ether(got).src == addresses[i]
    time.sleep(QUIET)
    assert [wire.receive_raw(0) for wire in wires] == [None] * 6
    assert sum(w["handed_over"] for w in many.ctl("worker", "list")["workers"]) > 0


def test_flood_across_workers_with_tags(many):
    many.bridge()
    access = [many.tap(f"a{i}", "--vlan", 10) for i in range(3)]
    trunks = [many.tap(f"t{i}", "--trunk", "10") for i in range(3)]
    for _ in range(20):
        sent = frame(BROADCAST, A, size=300)
        tagged = sent[:12] + struct.pack("!HH", 0x8100, 10) + sent[12:]
        deliver(access[0], sent, access[1:] + trunks, expect=[sent] * 2 + [tagged] * 3)


def test_order_within_a_flow(many):
    """Four flows, across workers and within one, each numbered: none lost, none overtaken."""
    wires = many.taps(4)
    addresses = [A, B, C, D]
    exchange(wires, addresses)
    flows = [(0, 1), (1, 2), (2, 3), (3, 0)]
    numbers = {flow: 0 for flow in flows}
    for _ in range(60):
        for _ in range(25):
            for source, target in flows:
                wires[source].send(
                    bytes(Ether(dst=addresses[target], src=addresses[source], type=TYPE)) +
                    struct.pack("!I", numbers[source, target]) +
                    bytes(numbers[source, target] % 1400))
                numbers[source, target] += 1
        for source, target in flows:
            for number in range(numbers[source, target] - 25, numbers[source, target]):
                got = wires[target].receive_raw(5.0)
                assert got, f"{source} to {target}: frame {number} was lost"
                assert got[6:12] == bytes(Ether(dst=A, src=addresses[source]))[6:12]
                assert struct.unpack("!I", got[14:18])[0] == number
                assert got[18:] == bytes(number % 1400)


def test_moves_between_workers(many):
    wires = many.taps(4)
    sender, places = wires[0], wires[1:]
    exchange([sender], [A])
    for wire in places:
        wire.drain()
    for turn in range(30):
        here = places[turn % 3]
        others = [wire for wire in places if wire is not here]
        here.send(frame(BROADCAST, B))
        for wire in [sender, *others]:
            assert wire.receive_raw(3.0)
        sent = frame(B, A)
        sender.send(sent)
        assert here.receive_raw(3.0) == sent, f"turn {turn}"
    time.sleep(QUIET)
    assert [wire.receive_raw(0) for wire in wires] == [None] * 4


def test_changes_under_traffic(many):
    """A port that comes and goes costs a flow between others nothing."""
    wires = many.taps(2)
    exchange(wires, [A, B])
    number = 0
    for turn in range(12):
        if turn % 2 == 0:
            visitor = many.tap("visitor")
        for _ in range(3):
            burst = range(number, number + 40)
            for n in burst:
                wires[0].send(bytes(Ether(dst=B, src=A, type=TYPE)) + struct.pack("!I", n) * 12)
            if turn % 2 == 0:
                visitor.send(frame(BROADCAST, C))
            number += 40
        if turn % 2 == 1:
            many.ctl("port", "del", "visitor")
    seen = []
    while (got := wires[1].receive_raw(1.0)) is not None:
        if got[6:12] == bytes(Ether(dst=B, src=A))[6:12]:
            seen.append(struct.unpack("!I", got[14:18])[0])
    assert seen == list(range(number))
