# SPDX-License-Identifier: BSD-3-Clause
# Whole connections through one worker whose flows are stateful: how many a second, by what the
# switch's own table counted, and how many it holds.

import json

from . import flow_rules
from .flow_runs import MIB, result_of
from .machine import BenchError, Child, memory_of
from .switches import Strait, settle

ROUNDS = 5
SECONDS = 2
CLOSED = 1_000_000  # 5-tuples, each used again when its connection has long been closed
HELD = 4_000_000


def _begin(strait, settings, *words):
    lines = flow_rules.stateful(settings)
    strait.load_rules("\n".join(lines) + "\n", len(lines))
    return Child([str(settings.programs / "strait-conversations"),
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
            there = _counted(strait, "connections")
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


RUNNERS = {"tcp-connections": tcp, "udp-connections": udp, "held-connections": held}
