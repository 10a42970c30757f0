# SPDX-License-Identifier: BSD-3-Clause
# Whole connections through one worker whose flows are stateful: how many a second, by what the
# switch's own table counted, and how many it holds.

import json
import statistics
import time

from . import flow_rules
from .flow_runs import MIB, result_of
from .generators import StraitGenerator
from .machine import BenchError, Child, memory_of, settle
from .peers import Strait

ROUNDS = 5
SECONDS = 2
CLOSED = 1_000_000  # 5-tuples, each used again when its connection has long been closed
HELD = 4_000_000


def _begin(strait, settings, *words):
    lines = flow_rules.stateful(settings)
    strait.load_rules("\n".join(lines) + "\n", len(lines))
    return Child([settings.program("strait-conversations"),
                  "--clients", strait.sockets[0], "--servers", strait.sockets[1],
                  "--cpu", str(settings.other_cpu), *words,
                  *([] if settings.huge else ["--no-huge"])], cpus=[settings.other_cpu])


def _counted(strait, name):
    return sum(one[name] for one in strait.ctl_json("ct", "stats")["workers"])


def tcp(settings, report=print, **_):
    """TCP connections a second, from the SYN to both FINs, on one worker."""
    rates = []
    lost = 0
    for _round in range(ROUNDS):
        with Strait(settings) as strait:
            ends = _begin(strait, settings, "--seconds", str(SECONDS), "--warm-up", "1",
                          "--connections", str(CLOSED))
            try:
                said = ends.wait_for(r'\{"event":"result".*\n', SECONDS + 60)
                told = json.loads(said.group(0))
                made = _counted(strait, "created")
            finally:
                ends.end()
        if made < told["in_all"]:
            raise BenchError(f"the table has made {made:,} connections, and {told['in_all']:,} "
                             f"came to their end")
        rates.append(told["per_second"])
        lost += told["lost"]
        report(f"  {rates[-1]:,.0f}/s, {told['lost']} lost, {told['in_all']:,} in all, "
               f"{made:,} made by the table")
        settle()
    return result_of("TCP connections a second", "1/s", rates, ">= 500,000",
                     lambda x: x >= 500_000, {"lost": lost})


def _fill(settings, *words):
    """As many as can be held, each begun once: how many the table has, seconds, bytes of each."""
    with Strait(settings) as strait:
        ends = _begin(strait, settings, "--hold", "--connections", str(HELD), *words)
        try:
            ends.wait_for(r'"event":"ready"', 30)
            before = sum(memory_of(strait.pid()).values())
            told = json.loads(ends.wait_for(r'\{"event":"held".*\n', 120).group(0))
            there = strait.ctl_json("ct", "stats")["connections"]
            took = (sum(memory_of(strait.pid()).values()) - before) * MIB / max(1, there)
        finally:
            ends.end()
    settle()
    return there, told, took


def udp(settings, report=print, **_):
    """New UDP connections a second, a packet and its answer each, on one worker."""
    rates = []
    lost = 0
    for _round in range(ROUNDS):
        there, told, _took = _fill(settings, "--protocol", "udp")
        rates.append(there / told["seconds"])
        lost += told["lost"]
        report(f"  {rates[-1]:,.0f}/s, {told['lost']} lost, {there:,} in the table")
    return result_of("UDP connections a second", "1/s", rates, ">= 1,000,000",
                     lambda x: x >= 1_000_000, {"lost": lost})


def held(settings, report=print, **_):
    """TCP connections that are open at once, and the bytes of each."""
    there, told, took = _fill(settings)
    report(f"  {told}")
    return result_of("TCP connections held at once", "", [there], f">= {HELD:,}",
                     lambda x: x >= HELD, {"bytes_each": took, "seconds": told["seconds"],
                                           "lost": told["lost"]})


NEIGHBOUR_MPPS = 0.5  # offered, by turns with the pair's generator; what the switch took is told


def _taken_from(strait, name):
    return next(port["rx_packets"] for port in strait.ctl_json("stats")["ports"]
                if port["name"] == name)


def neighbour(settings, report=print, **_):
    """Share of their rate that two guests lose when a third one's frames are each of a new flow,
    against the same rate of one flow."""
    rates = {"one flow": [], "new flows": []}
    noise = {kind: [] for kind in rates}
    lines = [*flow_rules.by_port(settings), "priority=10,in_port=3,udp,actions=output:4",
             "in_port=4,actions=output:3"]
    with Strait(settings) as strait:
        others = [str(strait.folder.path / f"vm{number}.sock") for number in (3, 4)]
        for number, path in zip((3, 4), others):
            strait.add_port(f"vm{number}", path)
        # Rules that ask for all of a 5-tuple: none of its flows is another's in the cache.
        exact = [f"priority=20,in_port=3,udp,nw_src=1.2.3.{n},nw_dst=1.2.3.4,tp_src=5,tp_dst=6,"
                 f"actions=output:4" for n in range(16)]
        strait.load_rules("\n".join(lines + exact) + "\n", len(lines + exact))
        with StraitGenerator(strait, settings, seconds=1, warm_up=0.3, flows=1000) as traffic:
            for number in range(2 * ROUNDS):
                kind = list(rates)[number % 2]
                third = Child([settings.program("strait-generator"),
                               "--end-a", f"vhost:{others[0]}", "--end-b", f"vhost:{others[1]}",
                               "--cpu",
                               str(settings.other_cpu), "--flows", "2", "--direction", "ab",
                               "--rate", str(NEIGHBOUR_MPPS), "--seconds", "600", "--prime", "0",
                               *(["--new-flows", "1"] if kind == "new flows" else []),
                               *([] if settings.huge else ["--no-huge"])],
                              cpus=[settings.other_cpu])
                try:
                    third.wait_for(r'"event":"measure_begin"', 60)
                    begun, before = time.monotonic(), _taken_from(strait, "vm3")
                    result = traffic.measure()
                    noise[kind].append((_taken_from(strait, "vm3") - before) /
                                       (time.monotonic() - begun) / 1e6)
                finally:
                    third.end()
                rates[kind].append(result["mpps"])
                report(f"  {kind}: {result['mpps']:.2f} Mpps beside {noise[kind][-1]:.2f}")
            waits = sum(one["waits"] for one in strait.ctl_json("cache", "stats")["workers"])
    return told_of_neighbour(rates, noise, waits)


def told_of_neighbour(rates, noise, waits):
    """What the pair's and the third guest's rates come to. A pair beside a third guest that the
    switch hardly served was alone: that tells nothing."""
    for kind, taken in noise.items():
        if statistics.median(taken) < 0.1 * NEIGHBOUR_MPPS:
            raise BenchError(f"the switch took {statistics.median(taken):.3f} Mpps of the "
                             f"{NEIGHBOUR_MPPS} Mpps ({kind}) that the noisy guest offered: the "
                             f"pair was as good as alone")
    lost = [1 - new / one for one, new in zip(rates["one flow"], rates["new flows"])]
    middle = statistics.median(noise["new flows"])
    return result_of(f"lost to a neighbour whose {middle:.2f} Mpps are each of a new flow",
                     "of the rate", lost, "< 0.05", lambda x: x < 0.05,
                     {**rates, "neighbour_mpps": noise, "waits": waits})


RUNNERS = {"tcp-connections": tcp, "udp-connections": udp, "held-connections": held,
           "neighbour": neighbour}
