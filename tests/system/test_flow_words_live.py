# SPDX-License-Identifier: BSD-3-Clause
"""Words of flows with packets that are really sent: what connections are told by and remember, what
is known of flows themselves (cookies, timeouts, what they carried), and changes while packets go
on."""

import collections
import concurrent.futures
import contextlib
import random
import subprocess
import threading
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

import lab as parts
from flows import sides

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
HERE, THERE = "10.9.0.1", "10.9.0.2"


def udp(source, destination, sport, dport, size=40):
    """A frame with so many bytes of payload."""
    return Ether(src=A, dst=B) / IP(src=source, dst=destination) / UDP(
        sport=sport, dport=dport) / Raw(bytes(i & 0xff for i in range(size)))


def question(sport=4000, dport=53):
    return udp(HERE, THERE, sport, dport)


def answer(sport=4000, dport=53):
    return udp(THERE, HERE, dport, sport)


class Bench(sides.Live):
    """A bridge of five taps, p1 to p5, whose numbers are these."""

    def ask(self, method, **parameters):
        return self._daemon.ask(method, **parameters)

    def use(self, *lines):
        """No other flows, and no connections."""
        self.ask("ct.flush")
        self.load(lines)

    def text(self, *lines):
        """What a replacement must have, for more packets to be sent."""
        return "".join(f"{line}\n" for line in (self._marks.flow, *lines))

    def all_that_left(self, port, frames):
        return self._marks.all_that_left(port, frames)

    def out(self, port, frame):
        """What leaves for a frame, as (port, frame)."""
        return self.all_that_left(port, [bytes(frame)])

    def ports(self, port, frame):
        return [number for number, _ in self.out(port, frame)]

    def connections(self, **which):
        return self.ask("ct.list", **which)["connections"]

    def listed(self, match=None):
        """The flows, but for that of marks, by their matches."""
        found = {} if match is None else {"filter": match}
        return {flow["match"]: flow
                for flow in self.ask("flow.list", bridge="br0", **found)["flows"]
                if flow["priority"] != 65535}

    @contextlib.contextmanager
    def dropped(self, **reasons):
        """Packets from p1 that die within: so many, for these reasons and no others."""
        def counted():
            return collections.Counter(self.switch.ctl("drops", "p1")["ports"][0]["drops"])
        before = counted()
        yield
        parts.wait_until(lambda: sum((counted() - before).values()) >= sum(reasons.values()), 5,
                         f"drops of {reasons}")
        assert counted() - before == reasons

    def given(self, text, *words):
        """straitctl WORDS with text as its standard input: (status, output, errors)."""
        done = subprocess.run(
            [parts.binaries() / "straitctl", "--run-dir", self.switch.run_dir, *words],
            input=text, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def bench(module_lab):
    return Bench(module_lab)


# Connections

def test_a_connection_of_one_zone_is_new_in_another(bench):
    bench.use(
        "in_port=1,udp,actions=ct(commit,zone=1),2",
        "in_port=2,udp,actions=ct(zone=1,table=1)",
        # A zone by a field.
        "in_port=3,udp,actions=load:2->NXM_NX_REG0[0..15],ct(zone=NXM_NX_REG0[0..15],table=1)",
        "in_port=4,udp,actions=ct(commit,zone=2),5",
        "table=1,udp,ct_state=+trk+est+rpl,ct_zone=1,actions=1",
        "table=1,udp,ct_state=+trk+new,ct_zone=2,actions=4",
        "table=1,udp,ct_state=+trk+est+rpl,ct_zone=2,actions=5")
    assert bench.ports(1, question()) == [2]
    assert bench.ports(2, answer()) == [1]
    assert bench.ports(3, answer()) == [4]
    # There its direction may be the opposite one.
    assert bench.ports(4, answer()) == [5]
    assert bench.ports(3, question()) == [5]
    assert bench.ports(2, answer()) == [1]
    assert {c["zone"]: c["original"]["source"] for c in bench.connections()} == {1: HERE, 2: THERE}
    assert [c["zone"] for c in bench.connections(zone=2)] == [2]
    assert bench.ask("ct.flush", zone=2) == {"forgotten": 1}
    assert bench.ports(3, question()) == [4]
    assert bench.ports(2, answer()) == [1]


def test_a_mark_and_a_label_go_with_both_directions(bench):
    label, other = 0xab << 120 | 7 << 64 | 0x12, 0xab << 120 | 7 << 64 | 0x13
    given = {4000: (0xa5, label), 4001: (0xb5, label), 4002: (0xa5, other)}
    wanted = f"ct_mark=0xa0/0xf0,ct_label={0xab << 120 | 0x12:#x}/{0xff << 120 | 0xff:#x}"
    bench.use(
        *(f"in_port={port},udp,actions=ct(zone=5,table=1)" for port in (1, 2)),
        *(f"table=1,udp,ct_state=+trk+new,tp_src={sport},actions=ct(commit,zone=5,exec("
          f"set_field:{mark:#x}->ct_mark,set_field:{word:#x}->ct_label)),2"
          for sport, (mark, word) in given.items()),
        f"table=1,priority=40000,in_port=1,udp,ct_state=+trk+est,{wanted},actions=3",
        f"table=1,priority=40000,in_port=2,udp,ct_state=+trk+est,{wanted},actions=4",
        "table=1,udp,ct_state=+trk+est,actions=5",
        # Of what is remembered these change some bits.
        "in_port=3,udp,actions=ct(commit,zone=5,exec("
        "set_field:0x1/0xf->ct_mark,set_field:0x9900/0xff00->ct_label)),5",
        "in_port=4,udp,actions=ct(commit,zone=5,exec(load:6->NXM_NX_CT_MARK[4..7])),5")
    for _ in range(2):  # by flows' words, and by what was kept of them
        for sport in given:
            fits = sport == 4000
            if not bench.connections(filter=f"udp,tp_src={sport}"):
                assert bench.ports(1, question(sport)) == [2]
            assert bench.ports(2, answer(sport)) == [4 if fits else 5]
            assert bench.ports(1, question(sport)) == [3 if fits else 5]

    def known():
        (one,) = bench.connections(filter="udp,tp_src=4000")
        return one["mark"], int(one["label"], 16)
    assert known() == (0xa5, label)
    assert bench.ports(3, question()) == [5]
    assert known() == (0xa1, label | 0x9900)
    assert (bench.ports(1, question()), bench.ports(2, answer())) == ([3], [4])
    assert bench.ports(4, question()) == [5]
    assert known() == (0x61, label | 0x9900)
    assert (bench.ports(1, question()), bench.ports(2, answer())) == ([5], [5])


def test_a_zone_has_as_many_connections_as_it_may(bench):
    bench.use("in_port=1,udp,actions=ct(commit,zone=7),2",
              "in_port=2,udp,actions=ct(commit,zone=8),1")
    bench.switch.ctl("ct limit --zone 7 --set 2")
    try:
        assert bench.ports(1, question(4000)) == bench.ports(1, question(4001)) == [2]
        with bench.dropped(ct_zone_full=2):
            assert bench.ports(1, question(4002)) == []
            assert bench.ports(1, question(4003)) == []
        assert {"zone": 7, "limit": 2, "connections": 2}.items() <= \
            bench.switch.ctl("ct limit")["zones"][0].items()
        # Those that are known go on, and so does another zone.
        assert bench.ports(1, question(4001)) == [2]
        assert bench.ports(2, question(4002)) == [1]
        # One that ends makes room for one.
        assert bench.ask("ct.flush", filter="udp,tp_src=4000", zone=7) == {"forgotten": 1}
        with bench.dropped(ct_zone_full=1):
            assert bench.ports(1, question(4002)) == [2]
            assert bench.ports(1, question(4003)) == []
    finally:
        bench.switch.ctl("ct limit --zone 7 --reset")
    assert bench.ports(1, question(4003)) == [2]


def test_translation_takes_addresses_and_ports_of_its_ranges_and_no_others(bench):
    bench.use(
        "in_port=1,udp,actions=ct(commit,zone=3,nat(src=10.9.9.1-10.9.9.2:5000-5003),table=1)",
        "in_port=2,udp,actions=ct(zone=3,nat,table=2)",
        "table=1,udp,ct_state=+trk+snat,actions=2",
        "table=2,udp,ct_state=+trk+est+rpl+dnat-snat,actions=1")
    seen = {}
    for sport in range(4000, 4008):
        ((port, data),) = bench.out(1, question(sport))
        frame = Ether(data)
        end = frame[IP].src, frame[UDP].sport
        assert (port, data) == (2, bytes(udp(end[0], THERE, end[1], 53)))
        assert end not in seen
        seen[end] = sport
    assert set(seen) == {(f"10.9.9.{last}", port) for last in (1, 2) for port in range(5000, 5004)}
    with bench.dropped(ct_no_translation=1):
        assert bench.ports(1, question(4008)) == []
    for (address, port), sport in seen.items():
        assert bench.out(2, udp(THERE, address, 53, port)) == [(1, bytes(answer(sport)))]
        assert bench.out(1, question(sport)) == [(2, bytes(udp(address, THERE, port, 53)))]
    # Another destination is told apart by that.
    assert bench.ports(1, question(4008, 54)) == [2]


def test_who_is_behind_a_published_address_may_ask_it(bench):
    """A hairpin, by the flows of docs/conntrack.md."""
    published = "10.9.0.200"
    bench.use(
        f"in_port=1,udp,nw_dst={published},tp_dst=80,"
        f"actions=ct(commit,zone=1,nat(dst={THERE}:8080),table=1)",
        f"table=1,udp,actions=ct(commit,zone=2,nat(src={published}),table=2)",
        "table=2,udp,actions=IN_PORT",
        f"in_port=1,udp,nw_src={THERE},tp_src=8080,nw_dst={published},"
        "actions=ct(zone=2,nat,table=3)",
        "table=3,udp,actions=ct(zone=1,nat,table=4)",
        "table=4,udp,ct_state=+trk+est+rpl,actions=IN_PORT")
    taken = set()
    for asks in (HERE, THERE):  # its neighbour, and who is published itself
        ((port, data),) = bench.out(1, udp(asks, published, 4000, 80))
        from_port = Ether(data)[UDP].sport
        assert (port, data) == (1, bytes(udp(published, THERE, from_port, 8080)))
        assert bench.out(1, udp(THERE, published, 8080, from_port)) == [
            (1, bytes(udp(published, asks, 80, 4000)))]
        taken.add(from_port)
    assert len(taken) == 2


def test_force_turns_a_connection_round(bench):
    bench.use(
        "in_port=1,udp,actions=ct(commit,zone=4),2",
        "in_port=2,udp,actions=ct(commit,zone=4),1",
        "in_port=3,udp,actions=ct(commit,force,zone=4),1",
        "in_port=4,udp,actions=ct(zone=4,table=1)",
        "table=1,udp,ct_state=+trk+rpl,actions=5", "table=1,udp,ct_state=+trk-rpl,actions=3")

    def known():
        return [(c["original"]["source"], c["replied"]) for c in bench.connections(zone=4)]
    assert bench.ports(1, question()) == [2]
    assert bench.ports(2, answer()) == [1]
    assert known() == [(HERE, True)]
    assert (bench.ports(4, question()), bench.ports(4, answer())) == ([3], [5])
    assert bench.ports(3, answer()) == [1]
    assert known() == [(THERE, False)]
    assert (bench.ports(4, question()), bench.ports(4, answer())) == ([5], [3])
    # In its own direction it stays what it is.
    assert bench.ports(3, answer()) == [1]
    assert known() == [(THERE, True)]


# What packets are

def test_both_tags_of_a_frame_are_matched(bench):
    bench.use("dl_vlan=100,inner_dl_vlan=200,actions=2",
              "priority=40000,dl_vlan=100,inner_dl_vlan=200,inner_dl_vlan_pcp=3,actions=3",
              "dl_vlan=100,inner_dl_vlan=201,actions=pop_vlan,resubmit(,1)",
              "dl_vlan=101,inner_vlan_tci=0x10c0/0x1ff0,actions=4",
              "priority=1,actions=5",
              "table=1,dl_vlan=201,inner_vlan_tci=0,actions=4")
    inside = question()[IP]

    def tagged(*tags):
        frame = Ether(src=A, dst=B)
        for layer, vlan, priority in tags:
            frame = frame / layer(vlan=vlan, prio=priority)
        return bytes(frame / inside)
    for _ in range(2):  # classified, and known
        for outer in (Dot1AD, Dot1Q):
            for (first, second, priority), port in {
                    (100, 200, 0): 2, (100, 200, 3): 3, (100, 200, 4): 2, (101, 200, 5): 4,
                    (101, 207, 0): 4, (101, 208, 0): 5, (101, 201, 7): 4, (100, 202, 0): 5,
                    (200, 100, 0): 5, (102, 200, 0): 5}.items():
                frame = tagged((outer, first, 1), (Dot1Q, second, priority))
                assert bench.out(1, frame) == [(port, frame)], (outer, first, second, priority)
            assert bench.out(1, tagged((outer, 100, 1), (Dot1Q, 201, 2))) == [
                (4, tagged((Dot1Q, 201, 2)))]
            for vlan in (100, 101, 200):
                assert bench.ports(1, tagged((outer, vlan, 0))) == [5]
        assert bench.ports(1, tagged()) == [5]


def test_the_length_of_a_packet_is_matched(bench):
    bench.use("udp,packet_length=100,actions=2", "udp,packet_length=101-300,actions=3",
              "udp,packet_length=0x400/0xfc00,actions=4", "priority=1,udp,actions=5")
    lengths = {99: 5, 100: 2, 101: 3, 300: 3, 301: 5, 1023: 5, 1024: 4, 1514: 4}
    chance = random.Random(1)
    for _ in range(3):  # of one conversation, whose packets are told apart by nothing else
        order = chance.sample(list(lengths), len(lengths))
        frames = [bytes(udp(HERE, THERE, 1, 2, length - 42)) for length in order]
        assert [len(frame) for frame in frames] == order
        left = bench.forward([(1, frame) for frame in frames])
        assert left == [[(lengths[len(frame)], frame)] for frame in frames]


# What is known of flows

def test_cookies_choose_the_flows_that_are_changed(bench):
    """test_words.py has what ovs-ofctl makes of such lines."""
    bench.use("cookie=0x15,udp,tp_dst=1,actions=2", "cookie=0x25,udp,tp_dst=2,actions=2",
              "cookie=0x16,udp,tp_dst=3,actions=2")

    def ways():
        return [bench.ports(1, question(4000, dport)) for dport in (1, 2, 3)]
    assert ways() == [[2], [2], [2]]
    ctl = bench.switch.ctl
    assert {f["cookie"] for f in ctl("flow", "list", "cookie=0x5/0xf")["flows"]} == {0x15, 0x25}
    assert ctl("flow", "mod", "cookie=0x10/0xf0,actions=3")["modified"] == 2
    assert ways() == [[3], [2], [3]]
    # Of one, and of its next cookie.
    assert ctl("flow", "mod", "cookie=0x16/-1,cookie=0x99,actions=4")["modified"] == 1
    assert ways() == [[3], [2], [4]]
    assert ctl("flow", "mod", "cookie=0x16/-1,actions=5") == {
        "added": 0, "modified": 0, "removed": 0}
    assert ways() == [[3], [2], [4]]
    assert ctl("flow", "del", "cookie=0x5/0xf")["removed"] == 2
    assert ways() == [[], [], [4]]
    assert {f["cookie"] for f in bench.listed().values()} == {0x99}


def test_flows_end_when_nothing_comes_and_when_their_time_is_over(bench):
    start = time.monotonic()
    bench.use("udp,tp_dst=1,idle_timeout=4,actions=2", "udp,tp_dst=2,idle_timeout=1,actions=2",
              "udp,tp_dst=3,hard_timeout=1,actions=2", "priority=1,udp,actions=3")
    used, unused, short = (question(4000, dport) for dport in (1, 2, 3))
    ways = [bench.ports(1, frame) for frame in (used, unused, short)]
    ended = {}

    def over():
        """Whether both are, while packets of one and of what must stay go on."""
        assert bench.ports(1, used) == [2]
        if bench.ports(1, short) == [3]:
            ended.setdefault("tp_dst=3", time.monotonic())
        if "udp,tp_dst=2" not in bench.listed():
            ended.setdefault("tp_dst=2", time.monotonic())
        return len(ended) == 2 and time.monotonic() > start + 6.5
    assert ways == [[2], [2], [2]]
    parts.wait_until(over, 20, "the end of two flows", 0.1)
    assert min(ended.values()) > start + 1  # not a moment early
    assert set(bench.listed()) == {"udp,tp_dst=1", "udp"}
    assert [bench.ports(1, frame) for frame in (used, unused, short)] == [[2], [3], [3]]
    parts.wait_until(lambda: set(bench.listed()) == {"udp"}, 20, "the end of the last one")
    assert bench.ports(1, used) == [3]


def test_flows_tell_what_they_carry(bench):
    bench.use("udp,tp_dst=1,actions=2", "udp,tp_dst=2,actions=3", "udp,tp_dst=3,actions=4")
    small, large = bytes(udp(HERE, THERE, 1, 1, 40)), bytes(udp(HERE, THERE, 1, 2, 1000))
    burst = [(1, small)] * 6 + [(1, large)] * 2
    earlier = 40

    def counted(times):
        """Waits until workers have told of so many bursts."""
        sent = {"udp,tp_dst=1": 6 * times, "udp,tp_dst=2": 2 * times, "udp,tp_dst=3": 0}
        parts.wait_until(lambda: {m: f["packets"] for m, f in bench.listed().items()
                                  if m in sent} == sent, 5, "what workers have counted")
        return sent
    bench.forward(burst * earlier)
    counted(earlier)
    bursts = 0
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        tops = [pool.submit(bench.switch.ctl, "flow", "top", "--by", by)
                for by in ("packets", "bytes")]
        shown = pool.submit(bench.switch.text, "flow", "top", "--by", "bytes")
        while not all(one.done() for one in (*tops, shown)):
            bench.forward(burst)
            bursts += 1
        by_packets, by_bytes = (one.result() for one in tops)
    for top, order in ((by_packets, ["udp,tp_dst=1", "udp,tp_dst=2"]),
                       (by_bytes, ["udp,tp_dst=2", "udp,tp_dst=1"])):
        flows = {f["match"]: f for f in top["flows"] if f["priority"] != 65535}
        assert list(flows) == order
        seconds = top["interval_us"] / 1e6
        # Of what was sent, and not of what had been sent before.
        for match, each, frame in (("udp,tp_dst=1", 6, small), ("udp,tp_dst=2", 2, large)):
            packets = flows[match]["packets_per_second"] * seconds
            assert 0 < packets < each * bursts + 1
            assert flows[match]["bytes_per_second"] * seconds == pytest.approx(
                packets * len(frame), rel=0.1)
        assert flows["udp,tp_dst=1"]["packets_per_second"] == pytest.approx(
            3 * flows["udp,tp_dst=2"]["packets_per_second"], rel=0.3)
    lines = shown.result()[1].splitlines()
    assert lines[0].split() == ["PACKETS/S", "BYTES/S", "PACKETS", "TABLE", "PRIORITY", "FLOW"]
    rows = [line.split() for line in lines if "udp,tp_dst=" in line]
    assert [row[-2:] for row in rows] == [["udp,tp_dst=2", "actions=output:3"],
                                          ["udp,tp_dst=1", "actions=output:2"]]
    assert all(int(word.replace(",", "")) > 0 for row in rows for word in row[:3])

    bench.switch.ctl("flow", "add", "udp,tp_dst=4,actions=2")
    sent = counted(earlier + bursts)
    flows = bench.listed()
    assert [flows[match]["bytes"] for match in sent] == [
        sent["udp,tp_dst=1"] * len(small), sent["udp,tp_dst=2"] * len(large), 0]
    # Seconds are counted whole, and there was one at least between the first flows and the last,
    # and from the first flows to the last packet.
    assert min(flows[match]["age_ms"] for match in sent) >= flows["udp,tp_dst=4"]["age_ms"] + 1000
    unused = flows["udp,tp_dst=3"]
    assert flows["udp,tp_dst=1"]["idle_ms"] < unused["idle_ms"] == unused["age_ms"]
    text = bench.switch.text("flow", "list", "udp,tp_dst=2")[1]
    assert f"n_packets={sent['udp,tp_dst=2']}, n_bytes={flows['udp,tp_dst=2']['bytes']}," in text
    assert "duration=" in text and text.endswith("udp,tp_dst=2 actions=output:3\n")


# Changes

def test_flows_come_from_standard_input(bench):
    bench.use("udp,tp_dst=1,actions=2")

    def ways():
        return [bench.ports(1, question(4000, dport)) for dport in (1, 2, 3)]
    assert bench.given("# two more\nudp,tp_dst=2,actions=3\n\nudp,tp_dst=3,actions=4\n",
                       "flow", "add", "-")[0] == 0
    assert ways() == [[2], [3], [4]]
    before = bench.flows()
    wrong = bench.text("udp,tp_dst=1,actions=5", "delete udp,tp_dst=2", "# three lines\n",
                       "udp,tp_dts=3,actions=5", "udp,tp_dst=3,actions=5")
    place = [line.startswith("udp,tp_dts") for line in wrong.splitlines()].index(True) + 1
    for command in ("add", "replace"):
        status, output, errors = bench.given(wrong, "flow", command, "-")
        assert (status, output) == (1, "")
        assert errors == (f'straitctl: standard input:{place}:5: "tp_dts" is no word of a flow; '
                          "did you mean tp_dst?\n")
        assert bench.flows() == before
        assert ways() == [[2], [3], [4]]
    status, output, errors = bench.given(
        bench.text("udp,tp_dst=1,actions=2", "udp,tp_dst=3,actions=5"), "flow", "replace", "-")
    assert (status, errors) == (0, "")
    assert ways() == [[2], [], [5]]
    assert set(bench.listed()) == {"udp,tp_dst=1", "udp,tp_dst=3"}


@pytest.mark.parametrize("hop", ["goto_table:1", "ct(zone=9,table=1)"], ids=["goto_table", "ct"])
def test_no_packet_meets_half_of_a_change(bench, hop):
    """Two tables, of which the second sends by what the first one sets, are exchanged for two
    others again and again. What met one of either would leave by port 5, or not at all."""
    texts = {way: bench.text(f"udp,actions=load:{way}->NXM_NX_REG0[],{hop}",
                             f"table=1,reg0={way},actions={way}",
                             "table=1,priority=1,actions=5") for way in (2, 3)}

    def replace(way):
        bench.ask("flow.replace", bridge="br0", flows=texts[way])

    def replace_in_pieces(way):
        number = bench.ask("flow.begin", bridge="br0", replace=True)["bundle"]
        for line in texts[way].splitlines():
            bench.ask("flow.put", bundle=number, flows=line)
        bench.ask("flow.commit", bundle=number)
    changes = 0
    stop = threading.Event()

    def exchange():
        nonlocal changes
        while not stop.is_set():
            replace_in_pieces(3)
            replace(2)
            changes += 2
    frames = [bytes(question(sport)) for sport in range(4000, 4016)]
    bench.use()
    replace(2)
    seen = collections.Counter()
    end = time.monotonic() + 15
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        exchanging = pool.submit(exchange)
        try:
            while (changes < 300 or len(seen) < 2 or sum(seen.values()) < 3000) and \
                    time.monotonic() < end:
                left = bench.all_that_left(1, frames)
                assert sorted(frame for _, frame in left) == frames
                ways = collections.Counter(port for port, _ in left)
                assert set(ways) <= {2, 3}
                seen += ways
        finally:
            stop.set()
        exchanging.result()
    assert changes >= 20 and min(seen[2], seen[3]) >= 20, f"{changes} changes, {seen}"
    # And the next packet meets what was answered for.
    for way in (3, 2) * 20:
        (replace if way == 2 else replace_in_pieces)(way)
        assert bench.out(1, frames[0]) == [(way, frames[0])]
