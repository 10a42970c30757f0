# SPDX-License-Identifier: BSD-3-Clause
# What is measured of Strait without a peer: its start with many ports, its memory beside the packet
# pool, and what a port that comes or goes costs the others.

import statistics
import time

from . import ceiling_runs, connection_runs, flow_runs, restart_runs
from .flow_runs import longest_gap
from .generators import StraitGenerator
from .machine import BenchError, Child, listens, memory_of, settle, wait_until
from .peers import Strait

MANY_PORTS = 64
MANY_MACS = 65536
ROUNDS = 5


def _configuration(strait):
    """A configuration file of the CLI's own commands: one bridge, 64 vhost-user ports."""
    lines = ["bridge add br0"]
    for number in range(1, MANY_PORTS + 1):
        path = strait.folder.path / f"vm{number}.sock"
        lines.append(f"port add vm{number} --bridge br0 --type vhost-user --socket {path}")
    file = strait.folder.path / "config"
    file.write_text("\n".join(lines) + "\n")
    return file


def start(settings, **_):
    """Seconds from the start of the process until all 64 sockets and control's take connections."""
    seconds = []
    for _round in range(ROUNDS):
        strait = Strait(settings)
        try:
            file = _configuration(strait)
            sockets = [strait.folder.path / name for name in
                       ("control.sock", *(f"vm{n}.sock" for n in range(1, MANY_PORTS + 1)))]
            begun = time.monotonic()
            strait.child = Child(strait.command(["--config", str(file)]), cpus=strait.cpus())

            def served():
                if not strait.child.running():
                    raise BenchError(f"straitd ended at once: {strait.child.last_words()}")
                return sockets[-1].is_socket()

            wait_until(served, 30, f"the socket of port {MANY_PORTS}")
            wait_until(lambda: all(map(listens, sockets)), 10, "answers of all sockets")
            seconds.append(time.monotonic() - begun)
            ports = strait.ctl_json("port", "list")
            if len(ports) != MANY_PORTS:
                raise BenchError(f"straitd serves {len(ports)} ports of {MANY_PORTS}")
        finally:
            strait.stop()
        settle()
    return {"title": f"start with {MANY_PORTS} ports", "unit": "s", "values": seconds,
            "value": statistics.median(seconds), "target": "< 2",
            "verdict": "met" if statistics.median(seconds) < 2 else "missed"}


def _pool_mib(child):
    """The packet pool as straitd tells of it when it starts: bytes of its memory."""
    found = child.wait_for(r"packet pool of (\d+) packets, (\d+) MiB", 1)
    return int(found.group(2))


def memory(settings, **_):
    """MiB beside the packet pool with 64 ports and 65,536 MACs learned through two of them."""
    strait = Strait(settings)
    try:
        file = _configuration(strait)
        strait.launch(["--config", str(file)])
        known = 0

        def count(_seconds):
            nonlocal known
            known = strait.ctl_json("mac", "list", "--limit", "0")["total"]

        # A guest's addresses go with it, so they are counted while it is there.
        with StraitGenerator(strait, settings, seconds=1, warm_up=0.5, macs=MANY_MACS) as traffic:
            traffic.measure(count)
        if known < MANY_MACS * 0.99:
            raise BenchError(f"only {known} of {MANY_MACS} MACs were learned")
        # Guests' memory is theirs: it is measured when they are gone.
        wait_until(lambda: all(port["link"] == "down" for port in
                               strait.ctl_json("port", "list")), 5, "the guests' leaving")
        kinds = memory_of(strait.pid())
        pool = _pool_mib(strait.child)
        total = sum(kinds.values()) - pool
    finally:
        strait.stop()
    return {"title": f"memory beside the packet pool, {MANY_PORTS} ports, {known} MACs",
            "unit": "MiB", "values": [total], "value": total, "target": "< 64",
            "verdict": "met" if total < 64 else "missed",
            "detail": {**{kind: round(mib, 1) for kind, mib in kinds.items()}, "pool": pool,
                       "macs": known}}


def churn(settings, rate, report=print, **_):
    """Frames lost between two ports while a third is added and removed again and again, at half
    of the rate they can do, beside the same run without the changes."""
    runs = {"quiet": [], "churn": []}
    for _round in range(ROUNDS):
        for kind, results in runs.items():
            with Strait(settings) as strait:
                changes = 0

                def during(counted, strait=strait, kind=kind):
                    nonlocal changes
                    end = time.monotonic() + counted * 0.8
                    while kind == "churn" and time.monotonic() < end:
                        strait.add_port("vm3", str(strait.folder.path / "vm3.sock"))
                        strait.ctl("port", "del", "vm3")
                        changes += 2

                with StraitGenerator(strait, settings, seconds=3, warm_up=1,
                                     rate=rate) as traffic:
                    result = traffic.measure(during)
                if kind == "churn" and changes == 0:
                    raise BenchError("no port was added or removed in time")
                results.append({
                    "changes": changes,
                    "mpps": result["mpps"],
                    "lost": result["generator"]["lost"],
                    "own_drops": strait.own_drops(),
                    "drops": strait.drops(),
                    "longest_gap_us": longest_gap(result),
                    "longest_poll_gap_us": result["longest_poll_gap_us"]})
                report(f"  {kind}: {results[-1]}")
            settle()
    extra = [with_["own_drops"] - without["own_drops"]
             for with_, without in zip(runs["churn"], runs["quiet"])]
    rates = [with_["mpps"] / without["mpps"]
             for with_, without in zip(runs["churn"], runs["quiet"])]
    value = statistics.median(extra)
    changed = sum(one["changes"] for one in runs["churn"])
    gaps = {kind: statistics.median(one["longest_gap_us"] for one in results)
            for kind, results in runs.items()}
    return {"title": f"frames a changing port costs others ({changed} changes at {rate:.1f} Mpps): "
                     f"the longest gap {gaps['churn']:.0f} µs beside {gaps['quiet']:.0f}",
            "unit": "frames", "values": extra, "value": value, "target": "0",
            "verdict": "met" if value <= 0 else "missed",
            "detail": {"rate_with_changes_by_without": statistics.median(rates),
                       "gaps_us": gaps, **runs}}


RUNNERS = {"start": start, "memory": memory, "churn": churn, **flow_runs.RUNNERS,
           **connection_runs.RUNNERS, **restart_runs.RUNNERS, **ceiling_runs.RUNNERS}


def missing(programs):
    """Which of the programs that Strait is measured with is not there, one sentence; or None."""
    for name in ("straitd", "straitctl", "strait-generator", "strait-conversations"):
        try:
            programs.path(name)
        except BenchError as error:
            return str(error)
    return None
