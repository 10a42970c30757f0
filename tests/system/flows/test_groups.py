# SPDX-License-Identifier: BSD-3-Clause
"""Groups, meters and limits of ports where it counts: with links that go down, with more packets
than may pass, and beside OVS with groups that choose by chance."""

import dataclasses
import random
import time

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

import lab as parts

from . import rules as tables
from .compare import Comparison, by_port, left_out
from .rules import Action, Bucket, Group, Rule
from .test_differential import random_flows, usual_and_soak

SENT = 100
QUIET = 0.3  # seconds in which a frame that is late would have come


def flow(number, reply=False):
    """A frame of one of many TCP conversations."""
    ends = [("02:00:00:00:00:0a", "10.0.0.1", 1024 + number), ("02:00:00:00:00:0b", "10.0.0.2", 80)]
    (mac, address, port), (to_mac, to_address, to_port) = reversed(ends) if reply else ends
    layers = Ether(src=mac, dst=to_mac) / IP(src=address, dst=to_address) / TCP(sport=port,
                                                                               dport=to_port)
    return bytes(layers).ljust(60, b"\0")


class Bench:
    """A bridge of three taps, p1 to p3, whose numbers are these."""

    def __init__(self, lab):
        self.netns = lab.netns()
        switch = lab.switch(workers="0", netns=self.netns)
        self.ctl = switch.ctl
        self.ctl("bridge add br0")
        self.wires = {}
        for number in (1, 2, 3):
            switch.add_nic(f"p{number}", f"net_tap_p{number},iface=p{number}")
            self.wires[number] = lab.wire(self.netns, f"p{number}")

    def clear(self):
        self.ctl("flow del")
        self.ctl("group del")
        self.ctl("meter del")
        for number in self.wires:
            self.netns.sh(f"ip link set p{number} up")
            self.ctl("port", "set", f"p{number}", "--admin", "up", *(
                word for way in ("ingress", "egress") for what in ("rate", "packet-rate")
                for word in (f"--{way}-{what}", 0)))
        parts.wait_until(self._all_up, 10, "all links")
        self.receive()

    def _all_up(self):
        return all(port["link"] == "up" for port in self.ctl("port list"))

    def receive(self):
        """How many frames came by now, by port."""
        time.sleep(QUIET)
        return {number: len(wire.receive_all()) for number, wire in self.wires.items()}

    def send(self, frames, port=1):
        for frame in frames:
            self.wires[port].send(frame)
        return self.receive()

    def drops(self, port):
        return self.ctl("drops", port)["ports"][0]["drops"]

    def bucket(self, place):
        return self.ctl("group list")["groups"][0]["buckets"][place]


@pytest.fixture(scope="module")
def made(module_lab):
    return Bench(module_lab)


@pytest.fixture
def bench(made):
    made.clear()
    return made


def test_a_fast_failover_group_follows_links(bench):
    bench.ctl("group", "add", "group_id=1,type=ff,bucket=watch_port:2,output:2,"
                              "bucket=watch_port:3,output:3")
    bench.ctl("flow", "add", "in_port=1,actions=group:1")
    assert bench.send([flow(1)] * 5) == {1: 0, 2: 5, 3: 0}
    bench.netns.sh("ip link set p2 down")
    parts.wait_until(lambda: not bench.bucket(0)["live"], 5, "the loss of p2's link")
    assert bench.send([flow(1)] * 5)[3] == 5
    bench.netns.sh("ip link set p2 up")
    parts.wait_until(lambda: bench.bucket(0)["live"], 5, "p2's link")
    bench.receive()
    assert bench.send([flow(1)] * 5) == {1: 0, 2: 5, 3: 0}
    # By configuration, at once.
    bench.ctl("port set p2 --admin down")
    assert bench.send([flow(1)] * 5) == {1: 0, 2: 0, 3: 5}
    before = bench.drops("p1")["no_live_bucket"]
    bench.ctl("port set p3 --admin down")
    assert bench.send([flow(1)] * 5) == {1: 0, 2: 0, 3: 0}
    assert bench.drops("p1")["no_live_bucket"] == before + 5
    group = bench.ctl("group list")["groups"][0]
    assert group["packets"] == 20
    assert [bucket["packets"] for bucket in group["buckets"]] == [10, 10]


def test_a_select_group_spreads_conversations_and_keeps_each_together(bench):
    bench.ctl("group", "add", "group_id=1,type=select,bucket=weight:1,output:2,"
                              "bucket=weight:3,output:3")
    bench.ctl("flow", "add", "in_port=1,actions=group:1")
    count = 400
    first = bench.send([flow(i) for i in range(count)])
    # Binomial with a quarter: six standard deviations are 52.
    assert first[2] + first[3] == count
    assert abs(first[2] - count / 4) < 60
    assert bench.send([flow(i) for i in range(count)]) == first
    assert bench.send([flow(i, reply=True) for i in range(count)]) == first
    assert [bucket["packets"] for bucket in bench.ctl("group list")["groups"][0]["buckets"]] == \
        [3 * first[2], 3 * first[3]]


def test_a_select_group_takes_the_buckets_that_ovs_takes(ovs, traced):
    """Which of them a packet takes is left to the switch: the sets are the same."""
    lines = ["group_id=1,type=select,selection_method=hash,fields(tcp_src),"
             "bucket=weight:7,output:2,bucket=weight:0,output:3,bucket=weight:9,set_field:"
             "02:00:00:00:00:77->eth_dst,output:4",
             "in_port=1,tcp,actions=group:1"]
    sets = []
    for side in (ovs, traced):
        side.load(lines)
        seen = side.forward([(1, flow(i)) for i in range(200)])
        assert all(len(left) == 1 for left in seen)
        sets.append({(port, data[:6]) for left in seen for port, data in left})
    assert sets[0] == sets[1]
    assert {port for port, _ in sets[0]} == {2, 4}


def selecting(seed):
    """Random flows that end in a group of random buckets, each of which may be taken; and frames
    that come twice."""
    rules, frames = random_flows(seed, ("rewrite", "ttl", "vlan", "groups"))
    chance = random.Random(seed)
    buckets = [Bucket(f"weight:{chance.choice((1, 3, 100, 65535))}", bucket.actions)
               for rule in rules if isinstance(rule, Group) for bucket in rule.buckets]
    flows = [dataclasses.replace(rule, actions=(*(
        action for action in rule.actions if not action.head.startswith("group:")),
        Action("group:1"))) for rule in rules if isinstance(rule, Rule)]
    return Group(1, "select", tuple(buckets[:4])), flows, frames * 2


@usual_and_soak(2)
def test_a_frame_leaves_by_one_of_the_buckets_as_ovs_has_it_leave_by_that_one(ovs, live, seeds):
    """OVS is given a group that has but one bucket that counts, once for each."""
    later = 0
    for seed in seeds():
        group, flows, frames = selecting(seed)
        flows = Comparison(ovs, live).taken([group, *flows])[1:]
        frames = [frame for frame in frames if not left_out(tables.lines([group, *flows]), frame)]
        sent = [(frame.port, frame.data) for frame in frames]
        ways = []
        for only in range(len(group.buckets)):
            buckets = [dataclasses.replace(bucket, what=f"weight:{int(i == only)}")
                       for i, bucket in enumerate(group.buckets)]
            ovs.load(tables.lines([dataclasses.replace(group, buckets=tuple(buckets)), *flows]))
            ways.append([by_port(left) for left in ovs.forward(sent)])
        live.load(tables.lines([group, *flows]))
        seen = [by_port(left) for left in live.forward(sent)]
        for frame, left, *possible in zip(frames, seen, *ways, strict=True):
            assert left in possible, f"STRAIT_SEED={seed} {frame}: {left}"
            later += left not in possible[:1]
        half = len(frames) // 2
        assert seen[:half] == seen[half:], f"STRAIT_SEED={seed}"
    assert later > half


def test_groups_that_ovs_refuses_are_refused(ovs, traced):
    for line in ("group_id=1,type=indirect,bucket=1,bucket=2", "group_id=1,type=indirect",
                 "group_id=1,type=ff,bucket=output:1", "group_id=1,type=all,bucket=weight:5,1",
                 "group_id=1,type=all,bucket=watch_port:1,2",
                 "group_id=1,type=select,fields(ip_src),bucket=1",
                 "group_id=1,type=all,bucket=bucket_id:1,1,bucket=bucket_id:1,2"):
        for side in (ovs, traced):
            with pytest.raises(parts.FlowsRefused):
                side.load([line, "actions=drop"])
    for side in (ovs, traced):
        with pytest.raises(parts.FlowsRefused):
            side.load(["actions=group:9"])


def test_what_stands_behind_a_group_is_done_as_ovs_does_it(ovs, traced):
    for lines in (
            ["group_id=1,type=all,bucket=set_field:02:00:00:00:00:77->eth_dst,output:2",
             "in_port=1,actions=group:1,3"],
            # What is written in a bucket is done at the end.
            ["group_id=1,type=all,bucket=resubmit(,1)", "in_port=1,actions=group:1",
             "table=1,actions=write_actions(output:4)"],
            ["group_id=1,type=ff,bucket=watch_port:77,2", "in_port=1,actions=group:1,4"],
            ["group_id=1,type=select,bucket=weight:0,2", "in_port=1,actions=group:1"],
            ["group_id=1,type=indirect,bucket=4",
             "in_port=1,actions=write_actions(output:2,group:1)"]):
        for side in (ovs, traced):
            side.load(lines)
        frames = [(1, flow(1))]
        assert sorted(traced.forward(frames)[0]) == sorted(ovs.forward(frames)[0]), lines


def test_a_meter_drops_what_is_too_much_and_counts_it(bench):
    bench.ctl("meter", "add", "meter=1,pktps,burst,stats,bands=type=drop,rate=5,burst_size=20")
    bench.ctl("flow", "add", "in_port=1,actions=meter:1,2")
    before = bench.drops("p1")["metered"]
    passed = bench.send([flow(1)] * SENT)[2]
    # The burst, and what came back of it meanwhile.
    assert 20 <= passed <= 60
    meter = bench.ctl("meter list")["meters"][0]
    assert meter["packets"] == SENT
    assert meter["bands"][0]["packets"] == SENT - passed
    assert meter["bands"][0]["bytes"] == 60 * (SENT - passed)
    assert bench.drops("p1")["metered"] == before + SENT - passed


@pytest.mark.parametrize("way,port,reason", [("ingress", "p1", "ingress_policed"),
                                             ("egress", "p2", "egress_policed")])
@pytest.mark.parametrize("words", [("--{}-packet-rate", 10, "--{}-packet-burst", 20),
                                   # Of 60 bytes each.
                                   ("--{}-rate", 5, "--{}-burst", 10)], ids=["packets", "bytes"])
def test_a_limit_of_a_port_drops_what_is_too_much(bench, way, port, reason, words):
    bench.ctl("flow", "add", "in_port=1,actions=2")
    bench.ctl("port", "set", port, *(str(word).format(way) for word in words))
    before = bench.drops(port)[reason]
    passed = bench.send([flow(1)] * SENT)[2]
    assert 20 <= passed <= 60
    assert bench.drops(port)[reason] == before + SENT - passed
    assert bench.ctl("port", "show", port)[way] is not None


def test_a_file_of_groups_is_read_as_ovs_ofctl_reads_it(bench, tmp_path):
    path = tmp_path / "groups"
    path.write_text("# two\ngroup_id=1,type=all,bucket=output:2,bucket=output:3\n"
                    "add group_id=2,type=indirect,bucket=group:1\n", encoding="ascii")
    assert bench.ctl("group", "add", path)["added"] == 2
    bench.ctl("flow", "add", "in_port=1,actions=group:2")
    assert bench.send([flow(1)] * 3) == {1: 0, 2: 3, 3: 3}
    assert bench.ctl("group", "del", "group_id=2") == {
        "added": 0, "modified": 0, "removed": 1, "flows_removed": 1}
    assert bench.ctl("flow list")["flows"] == []
