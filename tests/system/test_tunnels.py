# SPDX-License-Identifier: BSD-3-Clause
"""Tunnels: the switch's own addresses beside Linux's stack, Linux's tunnel devices as far ends,
every outer header byte by byte as scapy makes and reads it, and what is hostile, dropped and
counted."""

import contextlib
import select
import struct
import time

import pytest
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr,
                                ICMPv6PacketTooBig, IPv6)
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

import lab as parts
from lab import dummy_ovs

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
FAR = "02:00:00:00:00:0f"
HERE, THERE = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.2", 6: "fd00::2"}
QUIET = 0.15  # seconds in which a frame that must not come would have come
TYPE = 0x88b5


def heard(wire, timeout, least=0, match=lambda frame: True):
    """What comes within timeout seconds, as bytes; longer, until at least so many match."""
    start = time.monotonic()
    frames = []
    while True:
        limit = timeout if sum(map(match, frames)) >= least else 5
        data = wire.receive_raw(max(0.0, start + limit - time.monotonic()))
        if data is None:
            return frames
        frames.append(data)


def is_tunnels(frame):
    """Whether it is not one of the switch's own questions."""
    return ARP not in Ether(frame) and ICMPv6ND_NS not in Ether(frame)


class Bench:
    """A switch with an underlay bridge and a tenants' bridge, each with taps in one namespace."""

    def __init__(self, lab):
        self.netns = lab.netns()
        self.switch = lab.switch(netns=self.netns)
        self.ctl = self.switch.ctl
        self.ctl("bridge add under")
        self.ctl("bridge add tenants")
        self.switch.add_nic("up0", "net_tap_up0,iface=up0", bridge="under")
        self.switch.add_nic("g0", "net_tap_g0,iface=g0", bridge="tenants")
        self.up = self.netns.wire("up0")
        self.guest = self.netns.wire("g0")
        self.mac = next(b["mac"] for b in self.ctl("bridge list") if b["name"] == "under")
        self.ctl("address add under 10.0.0.1/24")
        self.ctl("address add under fd00::1/64")
        for wire in (self.up, self.guest):
            parts.wait_until(lambda w=wire: self._passes(w), 5, "the taps passing frames")

    def _passes(self, wire):
        """Until the taps are up, what is sent into them is lost."""
        wire.drain()
        port = {self.up: "up0", self.guest: "g0"}[wire]
        before = self.stats(port)["rx_packets"]
        wire.send(bytes(Ether(src=FAR, dst="02:ff:ff:ff:ff:ff", type=TYPE) / Raw(bytes(46))))
        time.sleep(0.05)
        return self.stats(port)["rx_packets"] > before

    def stats(self, port):
        return self.ctl("stats", port)["ports"][0]

    def drops(self, port):
        return {reason: count for reason, count in
                self.ctl("drops", port)["ports"][0]["drops"].items() if count}

    @contextlib.contextmanager
    def tunnel(self, kind, *words, version=4, resolve=True, name="t0"):
        self.ctl("port", "add", name, "--bridge", "tenants", "--type", kind, *words)
        try:
            self.ctl("neighbour flush")
            if resolve:
                self.resolve(version)
            self.drain()
            yield
        finally:
            self.ctl("port", "del", name)

    def resolve(self, version, timeout=5, waiting=1):
        """Has the switch ask for the far end, and answers; so many packets wait for that."""
        end = time.monotonic() + timeout
        self.guest.send(bytes(Ether(dst=B, src=A, type=TYPE) / Raw(bytes(46))))
        while time.monotonic() < end:
            frame = self.up.receive_raw(0.2)
            if frame and self.answer(frame, version):
                # What waited for the answer leaves, and is nothing that a test waits for.
                heard(self.up, 0, waiting, is_tunnels)
                return
        raise AssertionError("the switch did not ask for its neighbour")

    def answer(self, frame, version):
        asked = Ether(frame)
        if version == 4 and ARP in asked and asked.op == 1 and asked.pdst == THERE[4]:
            self.up.send(bytes(Ether(dst=asked.src, src=FAR) / ARP(
                op=2, hwsrc=FAR, psrc=THERE[4], hwdst=asked.hwsrc, pdst=asked.psrc)))
            return True
        if version == 6 and ICMPv6ND_NS in asked and asked[ICMPv6ND_NS].tgt == THERE[6]:
            self.up.send(bytes(Ether(dst=asked.src, src=FAR) / IPv6(
                src=THERE[6], dst=asked[IPv6].src, hlim=255) / ICMPv6ND_NA(
                    tgt=THERE[6], S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=FAR)))
            return True
        return False

    def drain(self):
        time.sleep(0.05)
        self.up.drain()
        self.guest.drain()

    def out(self, frame, count=1):
        """What leaves by the uplink for a guest's frame, of which so many are expected."""
        self.drain()
        self.guest.send(bytes(frame))
        return list(filter(is_tunnels, heard(self.up, QUIET, count, is_tunnels)))

    def into(self, frame, count=1):
        """What comes to the guest for a frame of the underlay's."""
        self.drain()
        self.up.send(bytes(frame))
        return heard(self.guest, QUIET, count)

    def wait_drops(self, reason, count, what, port="under"):
        parts.wait_until(lambda: self.drops(port).get(reason, 0) >= count, 10,
                         f"the drop of {what}")
        assert self.drops(port)[reason] == count, what


@pytest.fixture(scope="module")
def bench(module_lab):
    return Bench(module_lab)


def inner(size=100, **fields):
    return (Ether(dst=B, src=A) / IP(src="10.1.0.1", dst="10.1.0.2", **fields)
            / UDP(sport=1000, dport=2000) / Raw(bytes(i & 0xff for i in range(size))))


def outer(version, tos=0, ttl=64, reverse=False, **fields):
    here, there = HERE[version], THERE[version]
    source, destination = (there, here) if reverse else (here, there)
    if version == 4:
        return IP(src=source, dst=destination, tos=tos, ttl=ttl, flags="DF", id=0, **fields)
    return IPv6(src=source, dst=destination, tc=tos, hlim=ttl, fl=0, **fields)


def udp(port, checksum, sport):
    return UDP(sport=sport, dport=port) if checksum else UDP(sport=sport, dport=port, chksum=0)


# Words of the port, and what scapy puts between the outer IP header and the frame.
HEADERS = {
    "vxlan": (["vxlan", "--key", "0x123456"], lambda sport, six: udp(4789, six, sport)
              / VXLAN(flags=8, vni=0x123456)),
    "vxlan_csum": (["vxlan", "--key", "42", "--csum"], lambda sport, six: udp(4789, True, sport)
                   / VXLAN(flags=8, vni=42)),
    "vxlan_without": (["vxlan", "--key", "42", "--csum", "off"],
                      lambda sport, six: udp(4789, False, sport) / VXLAN(flags=8, vni=42)),
    "vxlan_port": (["vxlan", "--key", "42", "--dst-port", "8472"],
                   lambda sport, six: udp(8472, six, sport) / VXLAN(flags=8, vni=42)),
    "geneve": (["geneve", "--key", "7"], lambda sport, six: udp(6081, six, sport)
               / GENEVE(vni=7, proto=0x6558)),
    "geneve_csum": (["geneve", "--key", "7", "--csum"], lambda sport, six: udp(6081, True, sport)
                    / GENEVE(vni=7, proto=0x6558)),
    "gre": (["gre"], lambda sport, six: GRE(proto=0x6558)),
    "gre_key": (["gre", "--key", "0xdeadbeef"],
                lambda sport, six: GRE(proto=0x6558, key_present=1, key=0xdeadbeef)),
    "gre_csum": (["gre", "--key", "5", "--csum"],
                 lambda sport, six: GRE(proto=0x6558, chksum_present=1, key_present=1, key=5)),
    "nvgre": (["nvgre", "--key", "0x123456"], lambda sport, six: GRE(
        proto=0x6558, key_present=1, key=0x12345600 | (sport & 0xff))),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", HEADERS)
def test_outer_headers_are_scapys(bench, kind, version):
    words, layers = HEADERS[kind]
    before = bench.drops("under")
    with bench.tunnel(*words, "--remote", THERE[version], version=version):
        frame = inner()
        out = [f for f in bench.out(frame) if f[:6] == bytes.fromhex(FAR.replace(":", ""))]
        assert len(out) == 1
        seen = Ether(out[0])
        if isinstance(seen.payload.payload, UDP):
            sport = seen.payload.payload.sport
            assert sport >= 49152
        else:
            sport = out[0][14 + (20 if version == 4 else 40) + 7]  # NVGRE's flow number
        expected = (Ether(dst=FAR, src=bench.mac) / outer(version) / layers(sport, version == 6)
                    / Raw(bytes(frame)))
        assert out[0] == bytes(expected)
        # And back: what the far end says comes out as it was.
        back = bytes(Ether(dst=A, src=B) / frame.payload)
        came = bench.into(Ether(dst=bench.mac, src=FAR) / outer(version, reverse=True)
                          / layers(50000, version == 6) / Raw(back))
        assert came == [back]
    after = bench.drops("under")
    assert {r: n for r, n in after.items() if r.startswith("tunnel")} == {
        r: n for r, n in before.items() if r.startswith("tunnel")}


def test_a_trace_goes_into_tunnels_and_out_of_them(bench):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "77"):
        frame = inner()
        sent = [f for f in bench.out(frame) if VXLAN in Ether(f)]
        said = bench.ctl("trace", "g0", bytes(frame).hex())
        assert [o["port"] for o in said["outputs"] if o["port"] != "under"] == ["t0", "up0"]
        by_trace = bytes.fromhex(said["outputs"][-1]["frame"])
        assert by_trace == sent[0]
        assert [step["comes_from"] for step in said["steps"] if "comes_from" in step] == ["under"]
        # And back.
        back = bytes(Ether(dst=A, src=B) / frame.payload)
        arriving = (Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True)
                    / udp(4789, False, 50000) / VXLAN(flags=8, vni=77) / Raw(back))
        said = bench.ctl("trace", "up0", bytes(arriving).hex())
        assert said["outputs"][-1]["port"] == "g0"
        assert bytes.fromhex(said["outputs"][-1]["frame"]) == back
        assert [(step["comes_from"], "tun_id=0x4d" in step["flow"])
                for step in said["steps"] if "comes_from" in step] == [("t0", True)]
        # A key that no tunnel has.
        arriving[VXLAN].vni = 78
        said = bench.ctl("trace", "up0", bytes(arriving).hex())
        assert [d["reason"] for d in said["drops"]] == ["tunnel_unknown"]
        # Without its neighbour it waits; and nobody was asked.
        bench.ctl("neighbour flush")
        bench.drain()
        said = bench.ctl("trace", "g0", bytes(frame).hex())
        assert any("next hop" in step.get("note", "") for step in said["steps"])
        assert bench.ctl("neighbour list") == []
        assert heard(bench.up, 0.2) == []


def test_switch_answers_arp_and_echo(bench):
    bench.drain()
    bench.up.send(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=FAR) / ARP(
        op=1, hwsrc=FAR, psrc="10.0.0.2", pdst="10.0.0.1")))
    answers = [Ether(f) for f in heard(bench.up, QUIET, 1)]
    assert [(a.op, a.hwsrc, a.psrc, a.hwdst, a.pdst) for a in answers if ARP in a] == [
        (2, bench.mac, "10.0.0.1", FAR, "10.0.0.2")]
    echo = IP(src="10.0.0.2", dst="10.0.0.1", ttl=1) / ICMP(id=7, seq=3) / Raw(bytes(range(200)))
    bench.up.send(bytes(Ether(dst=bench.mac, src=FAR) / echo))
    expected = Ether(dst=FAR, src=bench.mac) / IP(src="10.0.0.1", dst="10.0.0.2", ttl=64) / ICMP(
        type=0, id=7, seq=3) / Raw(bytes(range(200)))
    assert heard(bench.up, QUIET, 1) == [bytes(expected)]


def test_traffic_class_and_ttl(bench):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--tos", "inherit", "--ttl", "inherit"):
        out = Ether(bench.out(inner(tos=0xba, ttl=17))[-1])
        assert (out[IP].tos, out[IP].ttl) == (0xba, 17)
    with bench.tunnel("vxlan", "--remote", THERE[4], "--tos", "0x20", "--ttl", "9", "--df", "off"):
        out = Ether(bench.out(inner(tos=0xba, ttl=17))[-1])
        assert (out[IP].tos, out[IP].ttl, str(out[IP].flags)) == (0x22, 9, "")


def test_congestion_is_told_on_or_kills(bench):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1"):
        for ecn, told in ((1, 3), (2, 3), (3, 3), (0, None)):
            frame = Ether(dst=A, src=B) / IP(src="10.1.0.2", dst="10.1.0.1", tos=ecn) / UDP() / Raw(
                bytes(40))
            came = bench.into(Ether(dst=bench.mac, src=FAR) / outer(4, tos=3, reverse=True)
                              / udp(4789, False, 50000) / VXLAN(flags=8, vni=1)
                              / Raw(bytes(frame)), 0 if told is None else 1)
            if told is None:
                assert came == []
            else:
                frame[IP].tos = told
                assert came == [bytes(Ether(bytes(frame)))] or came == [
                    bytes(Ether(dst=A, src=B) / IP(src="10.1.0.2", dst="10.1.0.1", tos=told)
                          / UDP() / Raw(bytes(40)))]
        bench.wait_drops("tunnel_congestion", 1, "what would not be told of congestion")


def test_flows_choose_far_end_and_key_and_see_them(bench):
    with bench.tunnel("vxlan", "--remote", "flow", "--key", "flow", resolve=False):
        try:
            number = bench.ctl("port show t0")["number"]
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      f"priority=5,in_port=g0,actions=set_field:{THERE[4]}->tun_dst,"
                      f"set_tunnel:77,output:t0\n"
                      f"priority=5,in_port=t0,tun_id=78,tun_src={THERE[4]},actions=output:g0\n"
                      f"priority=4,in_port=t0,actions=drop\n")
            bench.resolve(4)
            out = Ether(bench.out(inner())[-1])
            assert (out[IP].dst, out[VXLAN].vni) == (THERE[4], 77)
            back = bytes(inner())
            for vni, came in ((78, [back]), (79, [])):
                assert bench.into(Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True)
                                  / udp(4789, False, 50000) / VXLAN(flags=8, vni=vni)
                                  / Raw(back), len(came)) == came
            flows = bench.ctl("flow", "list", "--bridge", "tenants")["flows"]
            assert {f["match"]: f["packets"] for f in flows if f"in_port={number}" in f["match"]
                    or "in_port=t0" in f["match"]}
        finally:
            bench.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")


@pytest.mark.parametrize("version", [4, 6])
def test_flows_tell_packets_by_the_address_that_they_came_to(bench, version):
    field = {4: "tun_dst", 6: "tun_ipv6_dst"}[version]
    others = {4: ("10.0.1.1", "10.0.2.1", "/24"), 6: ("fd00:1::1", "fd00:2::1", "/64")}[version]
    for address in others[:2]:
        bench.ctl("address", "add", "under", address + others[2])
    try:
        with bench.tunnel("vxlan", "--remote", "flow", "--key", "flow", resolve=False):
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      f"in_port=t0,{field}={HERE[version]}{others[2]},"
                      "actions=mod_dl_src:02:00:00:00:00:11,g0\n"
                      f"in_port=t0,{field}={others[0]},actions=mod_dl_src:02:00:00:00:00:12,g0\n"
                      "priority=1,actions=drop\n")
            frame = inner()
            for address, source in ((HERE[version], "02:00:00:00:00:11"),
                                    (others[0], "02:00:00:00:00:12"), (others[1], None)):
                header = outer(version, reverse=True)
                header.dst = address
                came = bench.into(Ether(dst=bench.mac, src=FAR) / header
                                  / udp(4789, version == 6, 50000) / VXLAN(flags=8, vni=5)
                                  / Raw(bytes(frame)), 0 if source is None else 1)
                frame.src = source or A
                assert came == ([] if source is None else [bytes(frame)]), address
    finally:
        bench.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")
        for address in others[:2]:
            bench.ctl("address", "del", "under", address + others[2])


def test_who_is_told_of_a_ttl_is_told_through_the_tunnel_that_it_came_by(bench):
    for words in (("--remote", THERE[4], "--key", "5"), ("--remote", "flow", "--key", "flow")):
        with bench.tunnel("vxlan", *words, resolve=False):
            try:
                bench.ctl("flow", "replace", "--bridge", "tenants",
                          f"in_port=g0,actions=set_field:{THERE[4]}->tun_dst,output:t0\n"
                          "in_port=t0,ip,actions=dec_ttl(icmp=10.1.0.254),output:g0\n")
                bench.resolve(4)
                bench.drain()
                bench.up.send(bytes(Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True)
                                    / udp(4789, False, 50000) / VXLAN(flags=8, vni=5)
                                    / inner(ttl=1)))
                out = [Ether(f) for f in heard(bench.up, QUIET, 1, is_tunnels)
                       if VXLAN in Ether(f)]
                assert [(f[IP].dst, f[VXLAN].vni) for f in out] == [(THERE[4], 5)]
                told = Ether(bytes(out[0][VXLAN].payload))
                assert (told.dst, told[IP].src, told[IP].dst) == (A, "10.1.0.254", "10.1.0.1")
                assert (told[ICMP].type, told[ICMP].code) == (11, 0)
            finally:
                bench.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")


def test_one_frame_with_two_keys(bench):
    with bench.tunnel("vxlan", "--remote", "flow", "--key", "flow", resolve=False):
        try:
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      f"in_port=g0,actions=set_field:{THERE[4]}->tun_dst,set_tunnel:1,output:t0,"
                      "set_tunnel:2,output:t0,set_tunnel:3,output:t0")
            bench.resolve(4, waiting=3)
            out = [Ether(f) for f in bench.out(inner(), 3)]
            assert sorted(f[VXLAN].vni for f in out if VXLAN in f) == [1, 2, 3]
            assert len({bytes(f[VXLAN].payload) for f in out if VXLAN in f}) == 1
        finally:
            bench.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")


def test_gre_counts_what_it_sends(bench):
    with bench.tunnel("gre", "--remote", THERE[4], "--key", "5", "--seq"):
        first = [Ether(bench.out(inner())[0])[GRE].sequence_number for _ in range(3)]
        assert first == list(range(first[0], first[0] + 3))


def test_group_policies_and_oam_by_flows(bench):
    back = bytes(inner())
    try:
        with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1", "--gbp"):
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      "in_port=g0,actions=set_field:0x1234->tun_gbp_id,"
                      "set_field:0x48->tun_gbp_flags,output:t0\n"
                      "in_port=t0,tun_gbp_id=0x4321,actions=output:g0")
            out = Ether(bench.out(inner())[0])[VXLAN]
            assert (int(out.flags), out.gpid, int(out.gpflags)) == (0x88, 0x1234, 0x48)
            for group, count in ((0x4321, 1), (0x4322, 0)):
                assert bench.into(Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True)
                                  / udp(4789, False, 50000)
                                  / VXLAN(flags=0x88, gpid=group, vni=1) / Raw(back),
                                  count) == [back] * count
        with bench.tunnel("geneve", "--remote", THERE[4], "--key", "1"):
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      "in_port=g0,actions=output:t0\n"
                      "in_port=t0,tun_flags=+oam,actions=output:g0")
            for oam in (1, 0):
                assert bench.into(Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True)
                                  / udp(6081, False, 50000)
                                  / GENEVE(vni=1, proto=0x6558, oam=oam) / Raw(back),
                                  oam) == [back] * oam
    finally:
        bench.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")


def test_underlay_by_flows(bench):
    """The switch's own port in flows: what it sends, and what is for it."""
    back = bytes(inner())
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1"):
        try:
            bench.ctl("flow", "replace", "--bridge", "under",
                      "priority=9,in_port=LOCAL,udp,tp_dst=4789,actions=mod_nw_ttl:7,output:up0\n"
                      "priority=9,in_port=up0,udp,tp_dst=4789,actions=LOCAL\n"
                      "priority=1,actions=drop")
            out = [Ether(f) for f in bench.out(inner())]
            assert [(f[IP].ttl, bytes(f[VXLAN].payload)) for f in out] == [(7, back)]
            whole = Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True) / udp(
                4789, False, 50000) / VXLAN(flags=8, vni=1) / Raw(back)
            assert bench.into(whole) == [back]
            flows = bench.ctl("flow", "list", "--bridge", "under")["flows"]
            assert sorted(f["packets"] for f in flows if f["priority"] == 9) == [1, 1] or \
                parts.wait_until(lambda: sorted(
                    f["packets"] for f in bench.ctl("flow", "list", "--bridge", "under")["flows"]
                    if f["priority"] == 9) == [1, 1], 3, "the flows' counts")
        finally:
            bench.ctl("flow", "replace", "--bridge", "under", "priority=0,actions=NORMAL")


def test_route_by_a_gateway(bench):
    bench.ctl(f"route add 192.0.2.0/24 --via {THERE[4]}")
    try:
        with bench.tunnel("vxlan", "--remote", "192.0.2.9", "--key", "1"):
            out = Ether(bench.out(inner())[-1])
            assert (out.dst, out[IP].src, out[IP].dst) == (FAR, HERE[4], "192.0.2.9")
        ways = {r["to"]: r["via"] for r in bench.ctl("route list")}
        assert ways["192.0.2.0/24"] == THERE[4] and ways["10.0.0.0/24"] is None
    finally:
        bench.ctl("route del 192.0.2.0/24")
    with bench.tunnel("vxlan", "--remote", "192.0.2.9", "--key", "1", resolve=False):
        assert bench.out(inner(), 0) == []
        bench.wait_drops("tunnel_no_route", 1, "a frame without a route", "t0")
        assert bench.drops("t0") == {"tunnel_no_route": 1}


def test_tunnels_in_a_vlan_of_the_underlay(bench):
    bench.ctl("address add under 10.7.0.1/24 --vlan 7")
    try:
        with bench.tunnel("vxlan", "--remote", "10.7.0.2", "--key", "1", resolve=False):
            bench.guest.send(bytes(inner()))
            asked = [Ether(f) for f in heard(bench.up, QUIET, 1)]
            assert [(f[Dot1Q].vlan, f[ARP].pdst) for f in asked if ARP in f][:1] == [
                (7, "10.7.0.2")]
            bench.up.send(bytes(Ether(dst=bench.mac, src=FAR) / Dot1Q(vlan=7) / ARP(
                op=2, hwsrc=FAR, psrc="10.7.0.2", hwdst=bench.mac, pdst="10.7.0.1")))
            out = [Ether(f) for f in heard(bench.up, QUIET, 1, is_tunnels) if VXLAN in Ether(f)]
            assert [(f[Dot1Q].vlan, f.dst, f[IP].src) for f in out] == [(7, FAR, "10.7.0.1")]
            back = bytes(inner())
            assert bench.into(Ether(dst=bench.mac, src=FAR) / Dot1Q(vlan=7) / IP(
                src="10.7.0.2", dst="10.7.0.1") / udp(4789, False, 50000)
                / VXLAN(flags=8, vni=1) / Raw(back)) == [back]
            # The same without the tag is not for that address.
            assert bench.into(Ether(dst=bench.mac, src=FAR) / IP(
                src="10.7.0.2", dst="10.7.0.1") / udp(4789, False, 50000)
                / VXLAN(flags=8, vni=1) / Raw(back), 0) == []
    finally:
        bench.ctl("address del under 10.7.0.1/24")


def test_nobody_else_gets_the_bridges_own_mac(bench):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1"):
        bench.up.send(bytes(Ether(dst=B, src=bench.mac, type=TYPE) / Raw(bytes(46))))
        time.sleep(0.1)
        entry = [m for m in bench.ctl("mac list --bridge under")["entries"]
                 if m["mac"] == bench.mac]
        assert [(m["port"], m["static"]) for m in entry] == [("under", True)]


@pytest.mark.parametrize("version", [4, 6])
def test_senders_are_told_what_is_too_big(bench, version):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1"):
        network = (IP(src="10.1.0.1", dst="10.1.0.2", flags="DF") if version == 4 else
                   IPv6(src="fd01::1", dst="fd01::2"))
        overhead = 20 + 8 + 8 + 14
        room = 1500 - overhead
        header = 28 if version == 4 else 48
        for size, passes in ((room - header, True), (room - header + 1, False)):
            bench.drain()
            frame = Ether(dst=B, src=A) / network / UDP(sport=1, dport=2) / Raw(bytes(size))
            bench.guest.send(bytes(frame))
            came = [Ether(f) for f in heard(bench.guest, QUIET, 0 if passes else 1)]
            out = [f for f in heard(bench.up, QUIET, 1 if passes else 0) if VXLAN in Ether(f)]
            assert len(out) == int(passes)
            if passes:
                assert came == []
                continue
            assert [(f.dst, f.src) for f in came] == [(A, B)]
            if version == 4:
                told = came[0][ICMP]
                assert (told.type, told.code, told.nexthopmtu) == (3, 4, room)
                assert (came[0][IP].src, came[0][IP].dst) == ("10.1.0.2", "10.1.0.1")
            else:
                assert came[0][ICMPv6PacketTooBig].mtu == room
            # The checksums are those that scapy would have made.
            again = came[0].copy()
            layer = again[ICMP] if version == 4 else again[ICMPv6PacketTooBig]
            before = bytes(came[0])
            if version == 4:
                del layer.chksum
                del again[IP].chksum
            else:
                del layer.cksum
            assert bytes(again)[:len(before)] == before
        assert bench.drops("t0").get("tunnel_too_big") == 1


def test_packets_wait_for_the_neighbour(bench):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1", resolve=False):
        frames = [inner(size) for size in range(60, 100)]
        received = bench.stats("g0")["rx_packets"]
        bench.guest.send(*map(bytes, frames))
        asked = heard(bench.up, QUIET, 1)
        parts.wait_until(lambda: bench.stats("g0")["rx_packets"] >= received + 40, 5,
                         "the frames being taken")
        assert sum(ARP in Ether(f) for f in asked) in (1, 2)
        assert not [f for f in asked if VXLAN in Ether(f)]
        assert bench.drops("t0").get("neighbour_queue_full") == 40 - 32
        assert any(bench.answer(f, 4) for f in asked)
        out = [Ether(f) for f in heard(bench.up, QUIET, 32, is_tunnels) if VXLAN in Ether(f)]
        assert [bytes(f[VXLAN].payload) for f in out] == [bytes(f) for f in frames[:32]]
        listed = [n for n in bench.ctl("neighbour list") if n["address"] == THERE[4]]
        assert [n["mac"] for n in listed] == [FAR]
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1", resolve=False):
        bench.guest.send(bytes(inner()))
        parts.wait_until(lambda: bench.drops("t0").get("neighbour_unresolved"), 6,
                         "the packet being dropped")
        assert not [f for f in heard(bench.up, QUIET) if VXLAN in Ether(f)]


def hostile():
    """Name, frame behind the outer IP header (None: whole), drop reason."""
    frame = Raw(bytes(inner()))
    vxlan = lambda **fields: udp(4789, False, 50000) / VXLAN(**{"flags": 8, "vni": 1, **fields})
    geneve = lambda **fields: udp(6081, False, 50000) / GENEVE(
        **{"vni": 1, "proto": 0x6558, **fields})
    yield "another key", vxlan(vni=2) / frame, "tunnel_unknown"
    yield "no vni", vxlan(flags=0) / frame, "tunnel_malformed"
    yield "a policy that was not asked for", vxlan(flags=0x88, gpid=1) / frame, "tunnel_malformed"
    yield "no frame", vxlan() / Raw(b"short"), "tunnel_malformed"
    yield "a wrong checksum", UDP(sport=1, dport=4789, chksum=1) / VXLAN(
        flags=8, vni=1) / frame, "tunnel_checksum"
    yield "a udp length too long", UDP(sport=1, dport=4789, chksum=0, len=900) / VXLAN(
        flags=8, vni=1) / frame, "tunnel_malformed"
    yield "a udp length too short", UDP(sport=1, dport=4789, chksum=0, len=9) / VXLAN(
        flags=8, vni=1) / frame, "tunnel_malformed"
    yield "another port", udp(5555, False, 1) / frame, "endpoint_unwanted"
    yield "a critical option", geneve(options=[
        GeneveOptions(classid=1, type=0x81, data=bytes(4))]) / frame, "tunnel_option"
    yield "an option beyond the end", geneve(optionlen=1, options=[]) / Raw(
        struct.pack("!HBB", 1, 1, 5)) / frame, "tunnel_malformed"
    yield "geneve of IP", geneve(proto=0x0800) / frame, "tunnel_malformed"
    yield "gre of IP", GRE(proto=0x0800) / frame, "tunnel_malformed"
    yield "gre with routing", GRE(proto=0x6558, routing_present=1) / frame, "tunnel_malformed"


def test_hostile_packets_are_dropped_and_counted(bench):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "1"), \
            bench.tunnel("geneve", "--remote", THERE[4], "--key", "1", name="t1"), \
            bench.tunnel("gre", "--remote", THERE[4], name="t2"):
        for name, layers, reason in hostile():
            before = bench.drops("under").get(reason, 0)
            assert bench.into(Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True)
                              / layers, 0) == [], name
            bench.wait_drops(reason, before + 1, name)
        good = udp(4789, False, 50000) / VXLAN(flags=8, vni=1) / Raw(bytes(inner()))
        whole = Ether(dst=bench.mac, src=FAR) / outer(4, reverse=True) / good
        assert len(bench.into(whole)) == 1
        for field, value, reason in (("chksum", 1, "tunnel_checksum"),
                                     ("frag", 1, "tunnel_fragment"),
                                     ("ihl", 4, "tunnel_malformed"),
                                     ("len", 900, "tunnel_malformed")):
            bad = whole.copy()
            setattr(bad[IP], field, value)
            before = bench.drops("under").get(reason, 0)
            assert bench.into(bad, 0) == [], field
            bench.wait_drops(reason, before + 1, field)


def test_tunnels_in_tunnels_end(bench):
    """A tunnel whose far end is reached through itself."""
    bench.ctl("bridge add ring")
    bench.ctl("address add ring 10.9.0.1/24")
    try:
        bench.ctl("port add loop --bridge ring --type vxlan --remote 10.9.0.2 --key 1")
        bench.switch.add_nic("r0", "net_tap_r0,iface=r0", bridge="ring")
        wire = bench.netns.wire("r0")
        mac = next(b["mac"] for b in bench.ctl("bridge list") if b["name"] == "ring")
        time.sleep(0.3)
        wire.send(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=A) / ARP(
            op=1, hwsrc=A, psrc="10.9.0.2", pdst="10.9.0.9")))
        end = time.monotonic() + 5
        while time.monotonic() < end and not bench.drops("loop").get("tunnel_nested"):
            for frame in heard(wire, 0.1):
                asked = Ether(frame)
                if ARP in asked and asked.op == 1 and asked.pdst == "10.9.0.2":
                    wire.send(bytes(Ether(dst=mac, src=FAR) / ARP(
                        op=2, hwsrc=FAR, psrc="10.9.0.2", hwdst=mac, pdst="10.9.0.1")))
            bench.ctl("mac flush --bridge ring")
            wire.send(bytes(Ether(dst=B, src=A, type=TYPE) / Raw(bytes(46))))
        assert bench.drops("loop").get("tunnel_nested")
        wire.send(bytes(Ether(dst=mac, src=FAR) / IP(src="10.9.0.2", dst="10.9.0.1") / ICMP()))
        assert bench.ctl("version")["pid"]
    finally:
        bench.ctl("bridge del ring --with-ports")


def test_address_in_a_vlan(bench):
    bench.ctl("address add under 10.7.0.1/24 --vlan 7")
    try:
        bench.drain()
        bench.up.send(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=FAR) / Dot1Q(vlan=7) / ARP(
            op=1, hwsrc=FAR, psrc="10.7.0.2", pdst="10.7.0.1")))
        answers = [Ether(f) for f in heard(bench.up, QUIET, 1)]
        assert [(a[Dot1Q].vlan, a[ARP].psrc) for a in answers if ARP in a] == [(7, "10.7.0.1")]
        # Without its tag nobody has it.
        bench.up.send(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=FAR) / ARP(
            op=1, hwsrc=FAR, psrc="10.7.0.2", pdst="10.7.0.1")))
        assert not [f for f in heard(bench.up, QUIET) if ARP in Ether(f)]
    finally:
        bench.ctl("address del under 10.7.0.1/24")


@pytest.mark.parametrize("words, sentence", [
    ("address add under 10.0.0.1", "10.0.0.1 is no address with a prefix length"),
    ("address add under 10.0.0.1/33", "no address with a prefix length"),
    ("address add under 224.0.0.1/24", "224.0.0.1 is no address of a host"),
    ("address add under 10.0.0.1/24", "10.0.0.1/24 is an address of bridge under already"),
    ("address add nobody 10.0.0.9/24", "there is no bridge nobody"),
    ("route add 10.5.0.1/16 --via 10.0.0.254", "has bits behind its prefix; 10.5.0.0/16 has not"),
    ("route add 10.5.0.0/16 --via 10.6.0.254", "no address of the switch is in one network"),
    ("route add 10.5.0.0/16 --via fd00::9", "is no gateway for 10.5.0.0/16"),
    ("route del 10.5.0.0/16", "there is no route to 10.5.0.0/16"),
    ("port del under", "is the bridge's own, and goes with its last address"),
    ("port add t0 --bridge tenants --type vxlan --remote 10.0.0.300", "it must be an address of a"),
    ("port add t0 --bridge tenants --type vxlan --remote 10.0.0.2 --key 16777216",
     "it must be a number of 24 bits, or flow"),
    ("port add t0 --bridge tenants --type vxlan --remote 10.0.0.2 --local fd00::1",
     "are not of one IP version"),
    ("port add t0 --bridge tenants --type gre --remote 10.0.0.2 --ttl 0", "a number from 1 to 255"),
    ("port add t0 --bridge tenants --type gre --remote 10.0.0.2 --gbp",
     "is for ports of type vxlan"),
])
def test_errors_are_the_interface(bench, words, sentence):
    with pytest.raises(parts.Refused) as refused:
        bench.ctl(words)
    assert sentence in refused.value.sentence


def test_two_tunnels_alike_are_refused(bench):
    with bench.tunnel("vxlan", "--remote", THERE[4], "--key", "5", resolve=False):
        with pytest.raises(parts.Refused) as refused:
            bench.ctl(f"port add t9 --bridge tenants --type vxlan --remote {THERE[4]} --key 5")
        assert "is held by port t0" in refused.value.sentence


# Open vSwitch's tunnels as the far end: frames are carried between its ports and the switch's.

class OvsFar:
    """OVS with its dummy datapath: an underlay's port p1 of br0, a tunnel and a port of int."""

    def __init__(self, lab):
        self.ovs = lab.dummy_ovs(numbers=(1,), tunnels=True)
        self.at = self.ovs.folder
        self._vsctl("set", "Bridge", "br0", f'other-config:hwaddr="{FAR}"')
        self._vsctl("add-br", "int", "--", "set", "Bridge", "int", "datapath_type=dummy", "--",
                    "add-port", "int", "inner", "--", "set", "Interface", "inner", "type=dummy",
                    f"options:pstream=punix:{self.at}/inner.sock")
        parts.wait_until((self.at / "inner.sock").is_socket, 10, "OVS's port")
        self.inner = dummy_ovs._Wire(self.at / "inner.sock")
        self.outer = self.ovs._wires[1]
        self.ovs.control("netdev-dummy/ip4addr", "br0", "10.0.0.2/24")
        self.ovs.control("netdev-dummy/ip6addr", "br0", "fd00::2/64")
        self.ovs.control("ovs/route/add", "10.0.0.0/24", "br0")
        self.ovs.control("ovs/route/add", "fd00::/64", "br0")
        for bridge in ("br0", "int"):
            self.ovs._run("ovs-ofctl", "add-flow", f"{self.at}/{bridge}.mgmt", "actions=NORMAL")

    def _vsctl(self, *words):
        return self.ovs._vsctl("--timeout=20", *words)

    @contextlib.contextmanager
    def tunnel(self, kind, version, mac, *options):
        self._vsctl("add-port", "int", "t1", "--", "set", "Interface", "t1", f"type={kind}",
                    f'options:remote_ip="{HERE[version]}"', *options)
        self.ovs.control("tnl/arp/set", "br0", HERE[version], mac)
        try:
            yield
        finally:
            self._vsctl("del-port", "int", "t1")

    @staticmethod
    def hear(wire, match, timeout=5):
        """The frames until one matches."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if select.select([wire.fileno()], [], [], 0.2)[0]:
                for frame in wire.receive_all():
                    if match(frame):
                        return frame
        return None


@pytest.fixture(scope="module")
def far_ovs(module_lab):
    try:
        return OvsFar(module_lab)
    except parts.Unavailable as why:
        pytest.skip(f"skipped: {why}")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind, ours, theirs", [
    ("vxlan", [], []), ("geneve", [], []), ("gre", [], []),
    ("vxlan", ["--csum"], ["options:csum=true"]), ("geneve", ["--csum"], ["options:csum=true"]),
    ("gre", ["--csum"], ["options:csum=true"])])
def test_ovs_at_the_far_end(bench, far_ovs, kind, ours, theirs, version):
    with bench.tunnel(kind, "--remote", THERE[version], "--key", "42", *ours, version=version), \
            far_ovs.tunnel(kind, version, bench.mac, "options:key=42", *theirs):
        there = bytes(inner(300))
        out = bench.out(there)
        assert len(out) == 1
        far_ovs.outer.send(out[0])
        assert far_ovs.hear(far_ovs.inner, lambda f: f == there)
        back = bytes(Ether(dst=A, src=B) / inner(200).payload)
        far_ovs.inner.send(back)
        wrapped = far_ovs.hear(far_ovs.outer, lambda f: Ether(f).dst == bench.mac)
        assert wrapped
        assert bench.into(wrapped) == [back]


# Linux as the far end.

KINDS = {
    "vxlan": "vxlan id 42 dstport 4789 local {far} remote {near}",
    "geneve": "geneve id 42 remote {near}",
    "gre": "gretap key 42 local {far} remote {near}",
}


class Far:
    """A guest behind a tenants' bridge, and a namespace at the underlay with Linux's stack."""

    def __init__(self, lab):
        self.switch = lab.switch()
        self.ctl = self.switch.ctl
        self.ctl("bridge add under")
        self.ctl("bridge add tenants")
        self.switch.add_nic("tu0", "net_tap_tu0,iface=tu0", bridge="under")
        self.switch.add_nic("tg0", "net_tap_tg0,iface=tg0", bridge="tenants")
        self.near = lab.netns().adopt("tg0", "10.1.0.1")
        self.far = lab.netns().adopt("tu0", "10.0.0.2")
        self.far.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.tu0.disable_ipv6=0;"
                    "ip addr add fd00::2/64 dev tu0 nodad")
        self.ctl("address add under 10.0.0.1/24")
        self.ctl("address add under fd00::1/64")

    def make(self, kind, version):
        words = KINDS[kind].format(near=HERE[version], far=THERE[version])
        if version == 6:
            words = words.replace("gretap", "ip6gretap")
        status, output = self.far.run(f"ip link add x0 type {words}")
        if status:
            pytest.skip(f"skipped: this kernel has no {kind} device: {output.strip()}")
        self.far.sh("ip addr add 10.1.0.2/24 dev x0; ip link set x0 up")
        self.near.sh("ip neigh flush all; ip route flush cache")  # another device had the address


@pytest.fixture(scope="module")
def linux(module_lab):
    return Far(module_lab)


@pytest.mark.parametrize("version", [4, 6])
def test_linux_pings_the_switch(linux, version):
    if version == 4:
        linux.far.wait_ping(HERE[4], 5)
        assert linux.far.ping(HERE[4], count=5, size=1400).lost == 0
        return
    parts.wait_until(lambda: linux.far.run(f"busybox ping -6 -c 1 -W 1 {HERE[6]}")[0] == 0, 10,
                     "an echo over IPv6")
    linux.far.sh(f"busybox ping -6 -c 3 -W 1 -s 1200 {HERE[6]}")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_linux_at_the_far_end(linux, kind, version):
    linux.make(kind, version)
    try:
        linux.ctl("port", "add", "t0", "--bridge", "tenants", "--type", kind, "--remote",
                  THERE[version], "--local", HERE[version], "--key", "42")
        linux.near.wait_ping("10.1.0.2", 10)
        for size in (1, 56, 1000, 1300):
            assert linux.near.ping("10.1.0.2", count=3, size=size).lost == 0
        linux.near.stream(linux.far, size=4 << 20, address="10.1.0.2")
        linux.far.stream(linux.near, size=4 << 20, address="10.1.0.1")
    finally:
        linux.far.sh("ip link del x0")
        linux.ctl("port del t0 --if-exists")


def test_path_mtu_reaches_the_guest(linux):
    linux.make("vxlan", 4)
    try:
        linux.ctl("port add t0 --bridge tenants --type vxlan --remote 10.0.0.2 --key 42")
        linux.near.wait_ping("10.1.0.2", 10)
        # Both ends take 1500 bytes for granted: the guest learns what passes.
        linux.far.sh("ip link set x0 mtu 1500")
        linux.near.stream(linux.far, size=4 << 20, address="10.1.0.2")
        assert "mtu 1450" in linux.near.sh("ip route get 10.1.0.2")
        assert linux.ctl("drops", "t0")["ports"][0]["drops"]["tunnel_too_big"] >= 1
    finally:
        linux.far.sh("ip link del x0")
        linux.ctl("port del t0 --if-exists")
