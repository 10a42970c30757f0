# SPDX-License-Identifier: BSD-3-Clause
# What is measured of Strait's flows without a peer in turns: loading a million of them, one change
# among them, changes under traffic, a cold cache, memory. alone.py has what is not about flows.

import contextlib
import json
import random
import socket
import statistics
import time

from . import flow_rules, stats
from .generators import StraitGenerator
from .machine import BenchError, memory_of, settle, wait_until
from .peers import Ovs, Strait

MANY_RULES = 1_000_000
ACTIVE_FLOWS = 100_000
CHANGES_A_SECOND = 1000
ROUNDS = 5
MIB = 1 << 20


class Connection:
    """Straitd's control socket: one call after the other, without a process for each."""

    def __init__(self, strait):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(strait.folder.path / "control.sock"))
        self._answers = self._socket.makefile("r", encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._answers.close()
        self._socket.close()

    def call(self, method, **parameters):
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._answers.readline())
        if "error" in answer:
            raise BenchError(f"straitd refused {method}: {answer['error']['message']}")
        return answer["result"]


def result_of(title, unit, values, target, met, detail=None):
    value = statistics.median(values)
    return {"title": title, "unit": unit, "values": values, "value": value, "target": target,
            "verdict": "met" if met(value) else "missed",
            **({"detail": detail} if detail else {})}


def _mib(strait):
    return sum(memory_of(strait.pid()).values())


def _many(settings, flow_kind="5tuple"):
    return flow_rules.text_for(settings, "exact", MANY_RULES, flow_kind)


def _guests_gone(strait):
    wait_until(lambda: all(port["link"] == "down" for port in strait.ctl_json("port", "list")), 5,
               "the guests' leaving")


def load(settings, report=print, **_):
    """Seconds that a million rules of 5-tuples take from a file, straitctl's part included."""
    text, count = _many(settings)
    seconds = []
    for _round in range(3):
        with Strait(settings) as strait:
            file = strait.folder.path / "million"
            file.write_text(text)
            begun = time.monotonic()
            strait.ctl("flow", "replace", str(file), timeout=300)
            seconds.append(time.monotonic() - begun)
            loaded = strait.ctl_json("flow", "list", "--limit", "0")["total"]
            if loaded != count:
                raise BenchError(f"straitd has {loaded} rules of {count}")
            report(f"  {seconds[-1]:.2f} s")
        settle()
    return result_of(f"loading {count:,} rules from a file", "s", seconds, "< 5", lambda x: x < 5)


def rule_memory(settings, **_):
    """Bytes of a rule, a million of which are loaded."""
    text, count = _many(settings)
    with Strait(settings) as strait:
        before = _mib(strait)
        strait.load_rules(text, count)
        took = (_mib(strait) - before) * MIB / count
    return result_of(f"memory of a rule, of {count:,}", "bytes", [took], "<= 512",
                     lambda x: x <= 512)


def flow_memory(settings, **_):
    """Bytes of a cached flow of an IPv4 5-tuple, of a million."""
    text, count = _many(settings)
    with Strait(settings) as strait:
        strait.load_rules(text, count)
        before = _mib(strait)
        with StraitGenerator(strait, settings, seconds=0.5, warm_up=0.5, flows=MANY_RULES):
            pass
        _guests_gone(strait)
        took = _mib(strait) - before
        entries = sum(one["entries"] for one in strait.ctl_json("cache", "stats")["workers"])
    if entries < MANY_RULES * 0.9:
        raise BenchError(f"only {entries} of {MANY_RULES} flows were cached")
    return result_of(f"memory of a cached flow, of {entries:,}", "bytes", [took * MIB / entries],
                     "<= 192", lambda x: x <= 192)


def change(settings, report=print, **_):
    """Milliseconds from the request of one change among a million rules until no packet meets what
    was before."""
    text, count = _many(settings)
    interval = 0.0002
    times = []
    answers = []
    with Strait(settings) as strait:
        strait.load_rules(text, count)
        flow = flow_rules.list_flows(settings, 2)[0]
        asked = []

        def changes(counted):
            end = time.monotonic() + counted - 0.3
            with Connection(strait) as control:
                while time.monotonic() < end:
                    for actions in ("drop", None):
                        line = flow_rules.exact_rule(flow, "5tuple", actions)
                        begun = time.monotonic()
                        control.call("flow.add", flows=line)
                        answers.append((time.monotonic() - begun) * 1000)
                        if actions:
                            asked.append(begun)
                        time.sleep(0.1)

        with StraitGenerator(strait, settings, seconds=5, warm_up=0.3, flows=2, rate=0.5,
                             direction="ab", interval=interval) as traffic:
            result = traffic.measure(changes)["generator"]
        began = result["began_at_s"]
        series = result["series"]
        for at in asked:
            # The last frames before a silence that is the rule's.
            first = int((at - began) / interval)
            last = first
            for place in range(first, min(first + int(0.05 / interval), len(series))):
                if series[place]:
                    last = place
            times.append((began + (last + 1) * interval - at) * 1000)
        report(f"  {times}")
    if len(times) < 5:
        raise BenchError(f"there were only {len(times)} changes in time")
    return result_of(f"a change among {count:,} rules to be visible", "ms", times, "< 5",
                     lambda x: x < 5, {"answered_after_ms": statistics.median(answers)})


def _changes(kind):
    """Lines to be added and removed again, without end: what they overlap of the active flows is
    forwarded by them as by the others."""
    chance = random.Random(1)
    while True:
        if kind in ("elsewhere", "none"):
            number = chance.randrange(1 << 24)
            yield [f"priority=200,in_port=1,udp,nw_src=172.16.0.1,nw_dst=172.{number >> 16}."
                   f"{number >> 8 & 255}.{number & 255},tp_src={number & 1023},tp_dst=80,"
                   f"actions=output:2"]
        elif kind == "1 %":
            ports = "tp_dst=0x200/0xfe00"  # 1 of 128
            yield [f"priority=200,in_port={near},udp,{ports},actions=output:{far}"
                   for near, far in flow_rules.PORTS.values()]
        else:
            yield [f"priority=200,in_port={near},udp,actions=output:{far}"
                   for near, far in flow_rules.PORTS.values()]


def _change_for(control, kind, seconds):
    """Adds and removes at the wanted pace; returns how many requests there were a second."""
    bridge = OTHER_BRIDGE if kind == "elsewhere" else "br0"
    begun = time.monotonic()
    made = 0
    lines = None
    source = _changes(kind)

    def remove(lines):
        bare = "\n".join(line[:line.index(",actions")] for line in lines)
        control.call("flow.del", bridge=bridge, flows=bare, strict=True)

    while (now := time.monotonic()) < begun + seconds:
        if made >= (now - begun) * CHANGES_A_SECOND:
            time.sleep(0.0002)
            continue
        if lines is None:
            lines = next(source)
            control.call("flow.add", bridge=bridge, flows="\n".join(lines))
        else:
            remove(lines)
            lines = None
        made += 1
    if lines is not None:
        remove(lines)
    return made / seconds


# Of a bridge without packets: what it takes to make changes, on the generator's CPU, is the same.
OTHER_BRIDGE = "br1"
KINDS = ("none", "1 %", "all")


@contextlib.contextmanager
def _active(settings, **traffic):
    """A switch with a rule for each of 100,000 flows, and as many rules on a bridge without
    packets; and a function that has traffic for a turn while rules of a kind change: what came of
    it, and changes a second."""
    text, count = flow_rules.text_for(settings, "exact", ACTIVE_FLOWS)
    with Strait(settings) as strait:
        strait.load_rules(text, count)
        strait.ctl("bridge", "add", OTHER_BRIDGE)
        other = strait.folder.path / "other"
        other.write_text(text)
        strait.ctl("flow", "replace", "--bridge", OTHER_BRIDGE, str(other))
        with Connection(strait) as control, \
                StraitGenerator(strait, settings, seconds=1.5, warm_up=0.5, flows=ACTIVE_FLOWS,
                                **traffic) as generator:
            def turn(kind):
                made = [0]

                def during(seconds):
                    if kind != "quiet":
                        made[0] = _change_for(control, kind, seconds - 0.1)

                return generator.measure(during), made[0]

            yield strait, turn


def changes(settings, report=print, **_):
    """Share of the worker's capacity that 1,000 changes of rules a second cost, with 100,000 active
    flows, by how many of them the changed rules overlap: the worse of none and 1 %. Beside as many
    changes of another bridge's rules."""
    runs = {kind: [] for kind in ("quiet", "elsewhere", *KINDS)}
    with _active(settings) as (_strait, turn):
        for _round in range(ROUNDS):
            for kind, results in runs.items():
                result, made = turn(kind)
                results.append({"mpps": result["mpps"], "cycles": result["cycles"],
                                "changes_a_second": made})
                report(f"  {kind}: {results[-1]}")
    detail = {}
    for kind in KINDS:
        pairs = list(zip(runs["elsewhere"], runs[kind]))
        detail[kind] = {
            "changes_a_second": statistics.median(one["changes_a_second"] for one in runs[kind]),
            "rate": statistics.median(with_["mpps"] / without["mpps"] for without, with_ in pairs),
            "lost": statistics.median(1 - without["cycles"] / with_["cycles"]
                                      for without, with_ in pairs)}
    worse = max(("none", "1 %"), key=lambda kind: detail[kind]["lost"])
    values = [1 - without["cycles"] / with_["cycles"]
              for without, with_ in zip(runs["elsewhere"], runs[worse])]
    return result_of(f"capacity lost to {CHANGES_A_SECOND:,} rule changes/s, {ACTIVE_FLOWS:,} "
                     f"flows, overlapping {worse}", "of it", values, "< 0.05", lambda x: x < 0.05,
                     {**detail, "runs": runs})


def longest_gap(result):
    """Of what came of a turn: for how long nothing arrived at an end, in microseconds."""
    return max(result["generator"][way]["longest_gap_us"] for way in ("a_to_b", "b_to_a"))


def blocked_us(lost, rate):
    """Frames that a change has cost, as time in which nothing went; `rate` is offered, in Mpps."""
    return lost / rate if rate else 0


def churn(settings, rate, report=print, **_):
    """Microseconds that 1,000 changes of rules a second block 100,000 active flows at half of the
    rate two guests can do, by the frames lost, beside as many changes of another bridge's rules;
    and the longest time in which nothing arrived."""
    runs = {kind: [] for kind in ("elsewhere", *KINDS)}
    with _active(settings, rate=rate) as (strait, turn):
        for _round in range(ROUNDS):
            for kind, results in runs.items():
                before = strait.own_drops()
                result, made = turn(kind)
                dropped = strait.own_drops() - before
                not_taken = result["generator"]["not_taken"]
                results.append({"own_drops": dropped, "not_taken": not_taken,
                                "lost": dropped + not_taken, "mpps": result["mpps"],
                                "longest_gap_us": longest_gap(result), "changes_a_second": made})
                report(f"  {kind}: {results[-1]}")
    return told_of_churn(runs, rate)


def told_of_churn(runs, rate):
    """What the turns come to: of the kind of changes that blocks for longest. A worker that stands
    still drops nothing: its guests' rings are full then, and do not take what is offered."""
    blocked = {kind: [blocked_us(with_["lost"] - without["lost"], rate)
                      for without, with_ in zip(runs["elsewhere"], runs[kind])] for kind in KINDS}
    gaps = {kind: statistics.median(one["longest_gap_us"] for one in results)
            for kind, results in runs.items()}
    worst = max(KINDS, key=lambda kind: (statistics.median(blocked[kind]), gaps[kind]))
    made = statistics.median(one["changes_a_second"] for one in runs[worst])
    told = result_of(f"blocked by {made:,.0f} rule changes/s, {ACTIVE_FLOWS:,} flows at "
                     f"{rate:.1f} Mpps, overlapping {worst}; the longest gap {gaps[worst]:.0f} µs "
                     f"beside {gaps['elsewhere']:.0f}", "µs", blocked[worst], "0",
                     lambda x: x <= 0, {"blocked_us": blocked, "gaps_us": gaps, "runs": runs})
    if made < 0.8 * CHANGES_A_SECOND:
        told["verdict"] = "too few changes to say"
    elif stats.interval(blocked[worst])[0] <= 0 < told["value"]:
        told["verdict"] = "too noisy to say"
    return told


def _cold(settings, make_switch, seconds, interval):
    """Seconds until a switch that has seen no flow forwards at 90 % of its final rate; and that."""
    text, count = flow_rules.text_for(settings, "exact", ACTIVE_FLOWS)
    with make_switch(settings) as switch:
        switch.load_rules(text, count)
        with StraitGenerator(switch, settings, seconds=seconds, warm_up=0, flows=ACTIVE_FLOWS,
                             prime=0, interval=interval, steps=False) as traffic:
            result = traffic.result(seconds + 60)
    rates = [frames / interval / 1e6 for frames in result["series"]]
    final = statistics.median(rates[-len(rates) // 4:])
    # For good: five intervals in a row, since a worker is taken off its CPU now and then.
    for place in range(len(rates) - 4):
        if statistics.median(rates[place:place + 5]) >= 0.9 * final:
            return (place + 1) * interval, final
    raise BenchError(f"no steady rate within {seconds} s")


def cold(settings, report=print, **_):
    """Seconds until a cold table of 100,000 flows forwards at 90 % of its final rate."""
    seconds = []
    for _round in range(ROUNDS):
        took, final = _cold(settings, Strait, 2, 0.002)
        seconds.append(took)
        report(f"  {took:.3f} s, then {final:.1f} Mpps")
    detail = {}
    if not Ovs.missing():
        try:
            took, final = _cold(settings, Ovs, 60, 0.1)
            detail = {"ovs_seconds": took, "ovs_mpps": final}
        except BenchError as error:
            report(f"  {Ovs.title} failed: {error}")
            detail = {"ovs_error": str(error)}
    return {"title": f"cold table of {ACTIVE_FLOWS:,} flows to 90 % of its rate", "unit": "s",
            "values": seconds, "value": statistics.median(seconds), "target": "", "verdict": "",
            "detail": detail}


RUNNERS = {"flow-load": load, "rule-memory": rule_memory, "flow-memory": flow_memory,
           "flow-change": change, "flow-changes": changes, "flow-churn": churn, "flow-cold": cold}
