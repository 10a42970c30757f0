# SPDX-License-Identifier: BSD-3-Clause
"""Geneve's options: set and matched by flows, as scapy makes and reads them and as Open vSwitch
does with the same map and the same flows; and those that are not what was said of them."""

import contextlib
import os
import random
import re

import pytest
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

import lab as parts
from test_tunnels import (A, B, FAR, HERE, THERE, Bench, OvsFar, bench, far_ovs, inner, outer,
                          udp)

_ = bench, far_ovs, Bench, OvsFar  # fixtures, and what they are made of
CLASS = 0x102  # OVN's
# By the number of tun_metadata: type and length. The first is OVN's.
OPTIONS = {0: (0x80, 4), 1: (1, 8), 7: (0x07, 12), 63: (2, 20)}


def in_words(number):
    kind, length = OPTIONS[number]
    return f"{{class={CLASS:#x},type={kind:#x},len={length}}}->tun_metadata{number}"


MAP = ",".join(map(in_words, OPTIONS))


def option(number, value):
    """As scapy has it."""
    kind, length = OPTIONS[number]
    return GeneveOptions(classid=CLASS, type=kind, data=value.to_bytes(length, "big"))


def geneve(options=(), vni=42, **fields):
    critical = int(any(o.type & 0x80 for o in options))
    return GENEVE(**{"vni": vni, "proto": 0x6558, "critical": critical, "options": list(options),
                     **fields})


def from_far(layers, payload):
    return (Ether(dst=FAR, src=FAR) / outer(4, reverse=True) / udp(6081, False, 50000) / layers
            / Raw(payload))


@contextlib.contextmanager
def mapped(ctl, words=MAP):
    ctl("tlv-map", "add", words, "--bridge", "tenants")
    try:
        yield
    finally:
        ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")
        ctl("tlv-map", "del", "--bridge", "tenants")


@contextlib.contextmanager
def tunnel(side, *flows):
    """A Geneve port t0, with these flows of the tenants' bridge."""
    with mapped(side.ctl), side.tunnel("geneve", "--remote", THERE[4], "--key", "42"):
        side.ctl("flow", "replace", "--bridge", "tenants", "\n".join(flows) + "\n")
        yield
        side.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")


def sent(side, count=1):
    """The frames that leave for a guest's, without those for neighbours."""
    return [f for f in side.out(inner(), count) if f[:6] == bytes.fromhex(FAR.replace(":", ""))]


def expected(side, frame, options):
    sport = Ether(frame)[UDP].sport
    return bytes(Ether(dst=FAR, src=side.mac) / outer(4) / udp(6081, False, sport)
                 / geneve(options) / Raw(bytes(inner())))


def received(side, options, count, **fields):
    back = bytes(inner())
    frame = from_far(geneve(options, **fields), back)
    frame[Ether].dst = side.mac
    assert side.into(frame, count) == [back] * count, (options, fields)


def test_flows_set_options_as_scapy_writes_them(bench):
    cases = [
        ("set_field:0x12345678->tun_metadata0", [(0, 0x12345678)]),
        ("load:0x5->NXM_NX_TUN_METADATA0[16..31]", [(0, 0x50000)]),
        ("set_field:0xff/0xff->tun_metadata1,set_field:1->tun_metadata0", [(0, 1), (1, 0xff)]),
        ("set_field:0x0102030405060708090a0b0c->tun_metadata7",
         [(7, 0x0102030405060708090a0b0c)]),
        ("move:eth_src[]->tun_metadata63[100..147]", [(63, 0x0200000000_0a << 100)]),
        ("set_field:7->reg0,move:reg0->tun_metadata0,set_field:9->tun_metadata1,"
         "delete_field:tun_metadata0", [(1, 9)]),
        ("set_field:0->tun_metadata63", [(63, 0)]),
        ("push:in_port[],pop:tun_metadata1[48..63],delete_field:tun_metadata63",
         [(1, 2 << 48)]),
    ]
    number = bench.ctl("port show g0")["number"]
    with tunnel(bench):
        for actions, values in cases:
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      f"in_port=g0,actions={actions},output:t0")
            values = [(n, number << 48 if v == 2 << 48 else v) for n, v in values]
            frames = sent(bench)
            assert len(frames) == 1, actions
            options = [option(n, v) for n, v in values]
            assert frames[0] == expected(bench, frames[0], options), actions


def test_flows_match_options_as_scapy_writes_them(bench):
    cases = [
        ("tun_metadata0=0x12345678", [(0, 0x12345678)], [[(0, 0x12345679)], [], [(1, 5)]]),
        ("tun_metadata0=0x5/0xf", [(0, 0xf5)], [[(0, 0xf4)]]),
        ("tun_metadata0=0", [(0, 0)], [[(0, 1)], []]),
        ("tun_metadata63", [(63, 0)], [[], [(0, 0)]]),
        ("tun_metadata63", [(1, 7), (63, 3)], []),
        ("tun_metadata7=0x0102030405060708090a0b0c", [(7, 0x0102030405060708090a0b0c)],
         [[(7, 0x1102030405060708090a0b0c)], [(7, 0x0102030405060708090a0b0d)]]),
        ("tun_metadata63[60..70]=3", [(63, 3 << 60)], [[(63, 1 << 60)], [(63, 3 << 61)]]),
        ("tun_metadata1=1,tun_metadata0=2", [(1, 1), (0, 2)], [[(1, 1)], [(0, 2)]]),
    ]
    with tunnel(bench):
        for match, yes, no in cases:
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      f"in_port=t0,{match},actions=output:g0")
            received(bench, [option(n, v) for n, v in yes], 1)
            for values in no:
                received(bench, [option(n, v) for n, v in values], 0)
        stranger = GeneveOptions(classid=9, type=9, data=bytes(8))
        received(bench, [stranger, option(1, 1), stranger, option(0, 2)], 1)
        received(bench, [option(0, 9), option(1, 1), option(0, 2)], 1)  # the last of two counts


def test_options_go_from_tunnel_to_tunnel(bench):
    """What is known of a packet's options is in the next tunnel's header; what is not, is not."""
    with tunnel(bench):
        bench.ctl("port", "add", "t1", "--bridge", "tenants", "--type", "geneve", "--remote",
                  THERE[4], "--key", "43")
        try:
            bench.ctl("flow", "replace", "--bridge", "tenants",
                      "in_port=t0,actions=set_field:5/0xff->tun_metadata1,output:t1")
            back = bytes(inner())
            frame = from_far(geneve([GeneveOptions(classid=9, type=9, data=bytes(8)),
                                     option(1, 0x1122), option(0, 3)]), back)
            frame[Ether].dst = bench.mac
            bench.drain()
            bench.up.send(bytes(frame))
            parts.wait_until(lambda: bench.stats("t1")["tx_packets"], 5, "a packet")
            out = [f for f in iter(lambda: bench.up.receive_raw(0.4), None)
                   if Ether(f).dst == FAR]
            assert len(out) == 1
            assert out[0][42:] == bytes(geneve([option(0, 3), option(1, 0x1105)], vni=43)
                                        / Raw(back))
        finally:
            bench.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")
            bench.ctl("port del t1")


def hostile():
    """Name, Geneve header, drop reason."""
    known = option(0, 1)
    yield "another critical option", geneve([GeneveOptions(
        classid=CLASS, type=0x81, data=bytes(4))]), "tunnel_option"
    yield "a known one and another critical one", geneve([known, GeneveOptions(
        classid=9, type=0x80, data=bytes(4))]), "tunnel_option"
    yield "a header that says so, and no such option", geneve([option(1, 1)],
                                                              critical=1), "tunnel_option"
    for length in (0, 4, 12, 124):
        yield f"a known one of {length} bytes", geneve([GeneveOptions(
            classid=CLASS, type=1, data=bytes(length))]), "tunnel_option"
    whole = bytes(geneve([known]))
    for name, at, byte in (("beyond the options", 11, 2), ("beyond the frame", 11, 0x1f),
                           ("half of one", 0, 1), ("options beyond the frame", 0, 0x3f)):
        yield name, Raw(whole[:at] + bytes((byte,)) + whole[at + 1:]), "tunnel_malformed"


def test_hostile_options_are_dropped_and_counted(bench):
    with tunnel(bench, "actions=NORMAL"):
        for name, layers, reason in hostile():
            before = bench.drops("under").get(reason, 0)
            frame = from_far(layers, bytes(inner()))
            frame[Ether].dst = bench.mac
            assert bench.into(frame, 0) == [], name
            bench.wait_drops(reason, before + 1, name)
        received(bench, [option(0, 1)], 1)


def test_options_are_known_until_no_flow_names_them(bench):
    with mapped(bench.ctl):
        bench.ctl("flow", "add", "--bridge", "tenants", "tun_metadata0=5,actions=drop")
        with pytest.raises(parts.Refused) as refused:
            bench.ctl("tlv-map del tun_metadata0 --bridge tenants")
        assert "tun_metadata0 is in 1 flow or group's bucket" in refused.value.sentence
        listed = bench.ctl("tlv-map list --bridge tenants")
        assert [(o["field"], o["class"], o["type"], o["length"], o["references"])
                for o in listed["options"]] == [
                    (f"tun_metadata{n}", CLASS, *OPTIONS[n], int(n == 0)) for n in OPTIONS]
        assert listed["room"] == 64 - 8 - 8 - 16 - 24
    with pytest.raises(parts.Refused) as refused:
        bench.ctl("flow", "add", "--bridge", "tenants", "tun_metadata0=5,actions=drop")
    assert "is no option of Geneve that the bridge knows" in refused.value.sentence


def test_path_mtu_is_less_by_the_options(bench):
    with tunnel(bench, "in_port=g0,actions=set_field:1->tun_metadata63,output:t0",
                "in_port=t0,actions=output:g0"):
        most = 1500 - 20 - 8 - 8 - 24 - 14  # of the packet within
        for size, fits in ((most, True), (most + 1, False)):
            bench.drain()
            frame = inner(size - 28, flags="DF")
            bench.guest.send(bytes(frame))
            if fits:
                out = bench.out(frame, 1)
                assert [len(f) for f in out] == [14 + 1500]
            else:
                told = [Ether(f) for f in iter(lambda: bench.guest.receive_raw(0.4), None)]
                assert [t[IP].payload.nexthopmtu for t in told if IP in t] == [most]


# Open vSwitch at the far end, and as oracle.

@contextlib.contextmanager
def ovs_flows(far):
    """What replaces the flows of its bridge int, which knows the options."""
    far._vsctl("set", "Bridge", "int", "protocols=OpenFlow10,OpenFlow13")

    def ask(command, *words, given=None):
        far.ovs._run("ovs-ofctl", "-O", "OpenFlow13", command, far.at / "int.mgmt", *words,
                     given=given)

    ask("add-tlv-map", MAP)
    try:
        yield lambda *lines: ask("replace-flows", "-", given="\n".join(lines) + "\n")
    finally:
        ask("del-flows")
        ask("add-flow", "actions=NORMAL")
        ask("del-tlv-map")


def test_ovs_sees_what_flows_set_and_the_other_way_round(bench, far_ovs):
    with tunnel(bench, "in_port=g0,actions=set_field:0x10002->tun_metadata0,"
                       "set_field:0x0102030405060708090a0b0c->tun_metadata7,output:t0",
                "in_port=t0,tun_metadata0=0x30004,tun_metadata63[60..70]=5,actions=output:g0"), \
            far_ovs.tunnel("geneve", 4, bench.mac, "options:key=42"), ovs_flows(far_ovs) as load:
        load("in_port=t1,tun_metadata0=0x10002,tun_metadata7=0x0102030405060708090a0b0c,"
             "actions=output:inner",
             "in_port=inner,actions=set_field:0x30004->tun_metadata0,"
             "load:5->NXM_NX_TUN_METADATA63[60..70],output:t1")
        out = sent(bench)
        assert len(out) == 1
        far_ovs.outer.send(out[0])
        assert far_ovs.hear(far_ovs.inner, lambda f: f == bytes(inner()))
        back = bytes(Ether(dst=A, src=B) / inner(200).payload)
        far_ovs.inner.send(back)
        wrapped = far_ovs.hear(far_ovs.outer, lambda f: Ether(f).dst == bench.mac)
        assert wrapped
        assert bench.into(wrapped) == [back]


class Flows:
    """Random flows and packets of two tables, whose words are options of MAP and registers."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def _bits(self, number):
        bits = 8 * OPTIONS[number][1]
        first = self._random.randrange(bits)
        return first, min(bits - 1, first + self._random.choice((0, 3, 7, 15, 31)))

    def _value(self, number):
        """Few values, so that flows meet packets. No 0, of which ovs-ofctl 3.1 makes a match of
        whatever value there is."""
        bits = 8 * OPTIONS[number][1]
        return self._random.choice((1, 5, 1 << (bits - 1), (1 << bits) - 1, 0x50001))

    def match(self):
        words = []
        for number in self._random.sample(sorted(OPTIONS), self._random.randrange(3)):
            kind = self._random.randrange(4)
            name, value = f"tun_metadata{number}", self._value(number)
            if kind == 0:
                words.append(name)
            elif kind == 1:
                words.append(f"{name}={value:#x}")
            elif kind == 2:
                mask = self._random.getrandbits(8 * OPTIONS[number][1]) or 1
                words.append(f"{name}={value & mask:#x}/{mask:#x}")
            else:
                first, last = self._bits(number)
                bits = value >> first & ((1 << (last - first + 1)) - 1)
                words.append(f"{name}[{first}..{last}]={bits:#x}")
        if self._random.random() < 0.2:
            words.append(f"reg0={self._random.choice((0, 1, 5))}")
        return words

    def action(self):
        number, other = self._random.choice(sorted(OPTIONS)), self._random.choice(sorted(OPTIONS))
        name, value = f"tun_metadata{number}", self._value(number)
        first, last = self._bits(number)
        part = f"{name}[{first}..{last}]"
        kind = self._random.randrange(9)
        if kind == 0:
            return f"set_field:{value:#x}->{name}"
        if kind == 1:
            mask = self._random.getrandbits(8 * OPTIONS[number][1]) or 1
            return f"set_field:{value & mask:#x}/{mask:#x}->{name}"
        if kind == 2:
            return f"load:{self._random.getrandbits(last - first + 1):#x}->{part}"
        if kind == 3:  # in OVS, what it had comes back with the next part that is set
            ones = (1 << 8 * OPTIONS[number][1]) - 1
            return f"set_field:0/{ones:#x}->{name},delete_field:{name}"
        if kind == 4:
            return f"move:{part}->reg0[0..{last - first}]"
        if kind == 5:
            return f"move:reg0[0..{last - first}]->{part}"
        if kind == 6:
            bits = self._random.randrange(1, 8 * min(OPTIONS[number][1], OPTIONS[other][1]) + 1)
            at = self._random.randrange(8 * OPTIONS[number][1] - bits + 1)
            to = self._random.randrange(8 * OPTIONS[other][1] - bits + 1)
            if number == other and abs(at - to) < bits:
                to = at  # what overlaps, nobody defines
            return (f"move:{name}[{at}..{at + bits - 1}]->"
                    f"tun_metadata{other}[{to}..{to + bits - 1}]")
        if kind == 7:
            return f"set_field:{self._random.choice((0, 1, 5))}->reg0"
        return self._random.choice(("clone(set_field:1->tun_metadata0,resubmit(,1))",
                                    "resubmit(,1)"))

    def table(self, ports, count=24):
        """To a tunnel's port and another."""
        lines = []
        for number in range(count):
            table = number % 2
            actions = [self.action() for _ in range(self._random.randrange(1, 4))]
            if table:
                actions = [a for a in actions if "resubmit" not in a]
            out = self._random.choice((*ports, ",".join(ports)))
            lines.append(",".join([f"table={table},priority={self._random.randrange(1, 60000)}",
                                   *self.match()]) + ",actions="
                         + ",".join([*actions, out if table else "resubmit(,1)"]))
        return lines + [f"table={t},priority=0,actions={ports[0]}" for t in (0, 1)]

    def packet(self):
        words = [f"tun_metadata{n}={self._value(n):#x}" for n in sorted(OPTIONS)
                 if self._random.random() < 0.5]
        return ",".join(["udp,dl_src=" + A + ",dl_dst=" + B, "nw_src=10.1.0.1,nw_dst=10.1.0.2",
                         *words])


def options_in_ours(flow):
    return {int(n): int(v or "0", 16) for n, v in
            re.findall(r"tun_metadata(\d+)(?:=(?:0x)?([0-9a-f]+))?", flow)}


def options_in_theirs(header):
    """Of tnl_push(... options({class=0x102,type=0x80,len=4,0x5}) ...)."""
    numbers = {kind: number for number, (kind, _) in OPTIONS.items()}
    return {numbers[int(kind, 16)]: int(value, 16) for kind, value in
            re.findall(r"\{class=0x102,type=(0x[0-9a-f]+|0),len=\d+,((?:0x)?[0-9a-f]+)\}", header)}


def test_random_flows_do_to_options_what_ovs_does(bench, far_ovs):
    flows = Flows(5)
    tables = 30 if "STRAIT_SOAK" in os.environ else 12
    compared = set()
    with mapped(bench.ctl), bench.tunnel("geneve", "--remote", THERE[4], "--key", "42"), \
            far_ovs.tunnel("geneve", 4, bench.mac, "options:key=42"), ovs_flows(far_ovs) as load:
        bench.ctl("port", "add", "t2", "--bridge", "tenants", "--type", "geneve", "--remote",
                  THERE[4], "--key", "43")
        far_ovs._vsctl("add-port", "int", "t2", "--", "set", "Interface", "t2", "type=geneve",
                       f'options:remote_ip="{HERE[4]}"', "options:key=43")
        try:
            for _ in range(tables):
                lines = flows.table(("t2", "g0"))
                bench.ctl("flow", "replace", "--bridge", "tenants", "\n".join(lines) + "\n")
                load(*(re.sub(r"\bg0\b", "inner", line) for line in lines))
                compared |= compare(bench, far_ovs, flows)
        finally:
            far_ovs._vsctl("del-port", "int", "t2")
            bench.ctl("flow", "replace", "--bridge", "tenants", "priority=0,actions=NORMAL")
            bench.ctl("port del t2")
    assert len(compared) > tables, "the flows did too little to tell anything"


def compare(side, far, flows):
    """Traces packets through both, and returns what became of them."""
    number = int(far._vsctl("get", "Interface", "t1", "ofport"))
    seen = set()
    for _ in range(30):
        packet = flows.packet()
        ours = side.ctl("trace", "t0", packet)
        # What goes into the tunnel is followed, and leaves by the underlay's port as well.
        mine = sorted((o["port"] == "t2", sorted(options_in_ours(o["flow"]).items())
                       if o["port"] == "t2" else [])
                      for o in ours["outputs"] if o["port"] != "up0")
        said = far.ovs.control("ofproto/trace", "int",
                               f"in_port={number},tun_id=42,tun_src={HERE[4]},"
                               f"tun_dst={THERE[4]},{packet}")
        actions = re.search(r"^Datapath actions: (.*)$", said, re.MULTILINE).group(1)
        push = r"tnl_push\(.*?out_port\(\d+\)\),\d+"
        pushes = [options_in_theirs(header) for header in re.findall(push, actions)]
        plain = [word for word in re.sub(push, "", actions).split(",") if word.isdecimal()]
        theirs = sorted([(True, sorted(p.items())) for p in pushes] + [(False, [])] * len(plain))
        assert mine == theirs, f"{packet}\n{said}\n{ours}"
        seen.add(str(mine))
    return seen
