# SPDX-License-Identifier: BSD-3-Clause
"""Queues that change their workers under traffic: nothing is lost, twice or out of its order, with
bench's load generator as the guests, which number every frame, and between a namespace's kernel and
another's."""

import concurrent.futures
import itertools
import json
import os
import re
import signal
import urllib.request

import pytest

import lab as parts
from test_l2 import A, BROADCAST, frame
from test_metrics import free_port

WORKERS = 2


@pytest.fixture
def switch(lab):
    made = lab.switch(workers="0,1", persist=True)
    made.ctl("bridge add br0")
    return made


def workers_of(switch):
    return {(q["port"], q["queue"]): q["worker"] for q in switch.ctl("queue list")}


def drops(switch):
    return {(port["name"], reason): count for port in switch.ctl("drops")["ports"]
            for reason, count in port["drops"].items() if count}


def move_while(switch, ports, goes_on):
    """Moves the ports' first queues as fast as can be while goes_on() is true; how often."""
    moves = 0
    for turn in itertools.count():
        if not goes_on():
            return moves
        port = ports[turn % len(ports)]
        worker = (turn // len(ports) + turn) % WORKERS
        moves += switch.ctl("queue", "pin", port, 0, worker)["worker"] != worker
    return moves


@pytest.mark.busy
@pytest.mark.parametrize("packed", (0, 1), ids=("split", "packed"))
def test_moved_under_load(switch, generate, packed):
    sockets = [switch.add_vhost(name) for name in ("a", "b")]
    # Slow enough that what comes while another process has a CPU finds room in every ring.
    generator = generate(sockets, "--packed", packed, "--queue-size", 1024, "--flows", 64,
                         "--sequence", "--rate", 0.04, "--warm-up", 1, "--seconds", 4,
                         "--settle", 0.5)
    generator.wait_log('"measure_begin"', 60)
    moves = move_while(switch, ("a", "b"), lambda: generator.running)
    assert generator.wait(30) == 0, generator.log()
    result = json.loads(generator.log().splitlines()[-1])
    assert moves > 20
    assert result["a_to_b"]["received"] + result["b_to_a"]["received"] > 100_000
    sequence = result["sequence"]
    assert (sequence["lost"], sequence["duplicated"], sequence["reordered"]) == (0, 0, 0), (
        sequence, drops(switch))
    assert result["corrupt"] == result["foreign"] == 0, result
    moved = [e for e in switch.ctl("events")["events"] if e["event"] == "queue_moved"]
    assert len(moved) >= moves and {e["why"] for e in moved} == {"pinned"}


@pytest.mark.busy
@pytest.mark.parametrize("packed", (0, 1), ids=("split", "packed"))
def test_sixteen_pairs(lab, generate, packed):
    """As many as a port can have, on two workers: each takes and gives, and nothing is lost."""
    pairs = 16
    switch = lab.switch(workers="0,1")
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name, "--queues", pairs) for name in ("a", "b")]
    generator = generate(sockets, "--packed", packed, "--queues", pairs, "--queue-size", 1024,
                         "--flows", 64 * pairs, "--sequence", "--rate", 0.04, "--warm-up", 0,
                         "--seconds", 1.5, "--settle", 0.5, "--verify-every", 1)
    generator.wait_log('"measure_begin"', 60)
    idle = {(port, pair, way) for port in ("a", "b") for pair in range(pairs)
            for way in ("rx", "tx")}

    def all_were_used():
        for port in ("a", "b"):
            shown = switch.ctl("port", "show", port)["details"].get("queue_pairs", [])
            # "rx 17 of 1024, tx 4 of 1024"; a place comes round to 0, but not each time.
            idle.difference_update((port, pair, ring.split()[0])
                                   for pair, rings in enumerate(shown) if rings != "off"
                                   for ring in rings.split(", ") if ring.split()[1] != "0")
        return not idle
    parts.wait_until(all_were_used, 10, "frames by each pair of both guests, in both directions")
    assert generator.wait(30) == 0, generator.log()
    result = json.loads(generator.log().splitlines()[-1])
    assert result["a_to_b"]["received"] > 10_000 and result["b_to_a"]["received"] > 10_000
    sequence = result["sequence"]
    assert (sequence["lost"], sequence["duplicated"], sequence["reordered"]) == (0, 0, 0), (
        sequence, drops(switch))
    assert result["corrupt"] == result["foreign"] == 0, result
    rows = switch.ctl("queue list")
    assert sorted((row["port"], row["worker"]) for row in rows) == [
        (port, worker) for port in ("a", "b") for worker in range(WORKERS)]
    for row in rows:
        assert row["rx_packets"] > 0 and row["tx_packets"] > 0, row


@pytest.mark.busy
def test_moved_under_kernels_streams(lab, switch):
    """Between two namespaces by taps, by whose descriptors workers are woken."""
    hosts = []
    for number in (1, 2):
        tap = f"q{switch.process.pid}n{number}"
        switch.add_nic(f"h{number}", f"net_tap_{tap},iface={tap}")
        hosts.append(lab.netns().adopt(tap, f"10.0.0.{number}"))
    hosts[0].wait_ping(hosts[1], 20)
    switch.ctl("stats --clear")
    with concurrent.futures.ThreadPoolExecutor() as threads:
        streams = [threads.submit(a.stream, b, 8 << 20) for a, b in (hosts, hosts[::-1])]
        moves = move_while(switch, ("h1", "h2"), lambda: not all(s.done() for s in streams))
        assert all(stream.result().size == 8 << 20 for stream in streams)
    assert moves > 5
    assert not drops(switch)


def test_pins_are_kept_and_come_back(lab, switch):
    switch.add_vhost("a")
    switch.add_vhost("b")
    before = workers_of(switch)
    assert sorted(before.values()) == [0, 1], "a new port's go to who has fewest"
    switch.ctl("queue", "pin", "b", 0, before["a", 0])
    assert workers_of(switch)["b", 0] == before["a", 0]
    assert "pins" in switch.ctl("config show")
    switch.kill()
    switch.start()
    (b,) = switch.ctl("queue list b")
    assert (b["worker"], b["pinned"]) == (before["a", 0], True)
    status, text, _ = switch.text("queue list b")
    assert status == 0 and f"{b['worker']} (pinned)" in text
    assert switch.ctl("queue unpin b 0")["removed"]
    status, _, said = switch.text("queue pin b 3 0")
    assert status == 1 and "port b has no queue 3" in said
    status, _, said = switch.text("queue pin b 0 7")
    assert status == 1 and "there is no worker 7; there are workers 0 to 1" in said


def test_a_pin_to_a_worker_that_is_gone_waits_or_ends(lab, tmp_path):
    before = lab.switch(workers="0,1", state_dir=tmp_path)
    before.ctl("bridge add br0")
    before.add_vhost("a", "--queues", 2)
    for queue in (0, 1):
        before.ctl("queue", "pin", "a", queue, 1 - queue)
    before.stop()
    after = lab.switch(workers="0", state_dir=tmp_path)
    missing = after.ctl("config show")["missing"]
    assert [m["what"] for m in missing] == ["pinned queue a queue 0", "pinned queue a queue 1"]
    assert after.ctl("queue unpin a 0")["removed"] and after.ctl("queue unpin a 1")["removed"]
    shown = after.ctl("config show")
    assert "missing" not in shown and "pins" not in shown, shown
    assert not after.ctl("queue unpin a 0")["removed"]


@pytest.mark.busy
def test_renamed_under_load(switch, generate):
    """Both ports have another name with every call, and what they carry knows nothing of it."""
    names = ["a", "b"]
    sockets = [switch.add_vhost(name) for name in names]
    generator = generate(sockets, "--queue-size", 1024, "--flows", 64, "--sequence", "--rate", 0.04,
                         "--warm-up", 0, "--seconds", 2, "--settle", 0.5, "--verify-every", 1)
    generator.wait_log('"measure_begin"', 60)
    renamed = 0
    while '"measure_end"' not in generator.log():
        generator.check_running()
        turn = renamed % 2
        renamed += 1
        new = f"{'ab'[turn]}{renamed}"
        switch.ctl("port", "rename", names[turn], new)
        names[turn] = new
    assert generator.wait(30) == 0, generator.log()
    assert renamed > 10
    result = json.loads(generator.log().splitlines()[-1])
    assert result["a_to_b"]["received"] + result["b_to_a"]["received"] > 40_000
    sequence = result["sequence"]
    assert (sequence["lost"], sequence["duplicated"], sequence["reordered"]) == (0, 0, 0), (
        sequence, drops(switch))
    assert result["corrupt"] == result["foreign"] == 0, result
    rows = {row["port"]: row for row in switch.ctl("queue list")}
    assert sorted(rows) == sorted(names)
    for name, way in zip(names, ("a_to_b", "b_to_a")):
        assert rows[name]["rx_packets"] >= result[way]["sent"], "its counters go on"


def dropped_by_queue(switch):
    """By port and queue what queue list has, of the reasons that there were."""
    return {(row["port"], row["queue"]): row["drops"] for row in switch.ctl("queue list")}


@pytest.mark.busy
def test_a_queue_that_nobody_looks_after(lab, generate):
    """Guests of two queue pairs stop. Whoever floods them is one worker's, whose own queue has room
    for one ring: the rest is that queue's drops, and the other's are what they were."""
    ring, sent = 256, 1000
    port = free_port()
    switch = lab.switch(workers="0,1",
                        arguments=["--no-balance", "--metrics", f"127.0.0.1:{port}"])
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name, "--queues", WORKERS) for name in ("a", "b")]
    tap = f"q{os.getpid()}t"
    switch.add_nic("t", f"net_tap_{tap},iface={tap}")
    netns = lab.netns().adopt(tap)
    netns.sh(f"ip link set {tap} txqueuelen 20000")
    wire = lab.wire(netns, tap)
    generator = generate(sockets, "--queues", WORKERS, "--queue-size", ring, "--flows", 64,
                         "--rate", 0.002, "--warm-up", 0, "--seconds", 600)
    generator.wait_log('"measure_begin"', 60)
    generator.signal(signal.SIGSTOP)
    worker_of = workers_of(switch)
    for worker in range(WORKERS):
        switch.ctl("queue", "pin", "t", 0, worker)
        before, taken = dropped_by_queue(switch), switch.ctl("stats t")["ports"][0]["rx_packets"]
        wire.send(*sent * [frame(BROADCAST, A)])
        parts.wait_until(lambda: switch.ctl("stats t")["ports"][0]["rx_packets"] == taken + sent,
                         10, "all frames being taken")
        after = dropped_by_queue(switch)
        for place, was in before.items():
            name, _ = place
            if name != "t" and worker_of[place] == worker:
                more = after[place]["receiver_full"] - was.get("receiver_full", 0)
                assert sent - ring <= more <= sent, place
            else:
                assert after[place] == was, place
    # The same in all that tells of it.
    told = dropped_by_queue(switch)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    measured = {}
    for labels, count in re.findall(r"^strait_queue_drops_total\{(.*)\} (\d+)$", page, re.M):
        label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        measured.setdefault((label["port"], int(label["queue"])), {})[label["reason"]] = int(count)
    assert measured == {place: counts for place, counts in told.items() if counts}
    for name in ("a", "b"):
        assert drops(switch)[name, "receiver_full"] == sum(
            told[name, queue]["receiver_full"] for queue in range(WORKERS))
    status, text, _ = switch.text("queue list a")
    assert status == 0 and text.count("receiver_full") == WORKERS


@pytest.mark.busy
def test_balanced_by_itself(lab, generate):
    """Two guests that keep one worker busy, and another worker with nothing to do. The generator
    has the other CPU."""
    switch = lab.switch(workers="1,1")
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in ("a", "b")]
    for name in ("a", "b"):
        switch.ctl("queue", "pin", name, 0, 0)
        switch.ctl("queue", "unpin", name, 0)
    generator = generate(sockets, "--seconds", 90)
    parts.wait_until(lambda: len(set(workers_of(switch).values())) == 2, 80,
                     "one of the two queues going to the other worker")
    generator.check_running()
    (moved,) = [e for e in switch.ctl("events")["events"] if e.get("why") == "balance"]
    assert (moved["from"], moved["to"]) == (0, 1)


def test_a_nic_spreads_its_flows_over_workers(lab, tmp_path):
    """Two queue pairs of one interface, each its own worker's, then both the same one's: every flow
    in its order."""
    netns = lab.netns()
    netns.sh("ip tuntap add dev a mode tap; ip link set dev a txqueuelen 20000 up; "
             "sysctl -qw net.ipv6.conf.a.disable_ipv6=1")
    switch = lab.switch(workers="0,1", netns=netns, arguments=["--no-balance"])
    switch.ctl("bridge add br0")
    switch.add_nic("up0", "net_af_packet0,iface=a", "--queues", 16)  # more than there are workers
    socket = switch.add_vhost("vm1")
    assert switch.ctl("port show up0")["details"]["rx_queues"] == WORKERS
    program = parts.binaries() / "strait-generator"
    if not program.exists():
        pytest.skip(f"skipped: {program} was not built")
    before = [0, 0]
    for workers in ((0, 1), (1, 1), (1, 0)):
        for queue, worker in enumerate(workers):
            switch.ctl("queue", "pin", "up0", queue, worker)
        process = parts.Process(
            netns.argv(*map(str, (program, "--end-a", "tap:a", "--end-b", f"vhost:{socket}",
                                  "--no-huge", "--flows", 200, "--sequence", "--rate", 0.02,
                                  "--warm-up", 0, "--seconds", 0.5, "--settle", 0.5,
                                  "--verify-every", 1))), tmp_path / "generator")
        assert process.wait(60) == 0, process.log()
        result = json.loads(process.log().splitlines()[-1])
        assert result["a_to_b"]["received"] > 0 and result["b_to_a"]["received"] > 0
        assert result["corrupt"] == 0
        assert result["sequence"]["reordered"] == result["sequence"]["duplicated"] == 0
        rows = switch.ctl("queue list up0")
        assert [row["worker"] for row in rows] == list(workers)
        taken = [row["rx_packets"] for row in rows]
        assert all(now > then for now, then in zip(taken, before))
        before = taken
