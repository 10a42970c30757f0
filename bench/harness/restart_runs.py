# SPDX-License-Identifier: BSD-3-Clause
# What a restart of Strait costs guests that are in the middle of their traffic: how long nothing
# arrives, and what of their frames is lost. Xen's rings are taken over by the switch; KVM's are
# handed to it by their front ends, which look for it every millisecond.

import signal
import statistics
import time

from .generators import StraitGenerator
from .machine import BenchError, settle
from .peers import VHOST, XEN, Strait

SECONDS = 4.0
BEFORE = 0.75  # of these
RATE = 0.2  # Mpps, both directions: a ring holds 2.5 ms of it
FLOWS = 100
SIGNALS = {"killed": signal.SIGKILL, "ended": signal.SIGTERM}


def _ports(strait, kind):
    """Commands that make the ports of a switch that is begun anew."""
    if kind == XEN:
        return ["xen adopt --bridge br0"]
    return [f"port add vm{number} --bridge br0 --type vhost-user --socket {socket}"
            for number, socket in enumerate(strait.sockets, 1)]


def _restart(settings, kind, number):
    """One restart in the middle of traffic: what the generator tells of it, and how long there was
    no process and no answer of its control socket."""
    with Strait(settings, ends=(kind, kind)) as strait:
        again = strait.folder.path / "again"
        again.write_text("\n".join(["bridge add br0", *_ports(strait, kind)]) + "\n")
        with StraitGenerator(strait, settings, seconds=SECONDS, warm_up=0.2, flows=FLOWS, rate=RATE,
                             sequence=True, steps=False, reconnect=kind == VHOST) as traffic:
            traffic.child.wait_for(r'"event":"measure_begin"', 30)
            time.sleep(BEFORE)
            begun = time.monotonic()
            strait.child.end(number, 10)
            strait.launch(["--config", str(again)])
            away = time.monotonic() - begun
            result = traffic.result(SECONDS + 60)
    settle()
    gap = max(result[way]["longest_gap_us"] for way in ("a_to_b", "b_to_a")) / 1000
    if gap > (SECONDS - BEFORE) * 1000 * 0.9:  # to the end, or nearly
        raise BenchError(f"no frame came for {gap:.0f} ms: the guests' rings were not gone on with")
    return {"blocked_ms": gap, "answers_after_ms": away * 1000, "sent": result["sent"],
            "not_taken": result["not_taken"],
            **{key: result["sequence"][key] for key in ("lost", "duplicated", "reordered")}}


def _restarts(ends, kind, settings, rounds, report):
    runs = {how: [] for how in SIGNALS}
    for _round in range(rounds):
        for how, number in SIGNALS.items():
            runs[how].append(_restart(settings, kind, number))
            report(f"  {how}: {runs[how][-1]}")
    middle = {how: {key: statistics.median(one[key] for one in results) for key in results[0]}
              for how, results in runs.items()}
    killed = middle["killed"]
    return {"title": f"{ends} blocked when Strait is killed and begun anew at {RATE} Mpps "
                     f"({killed['lost']:.0f} frames lost)",
            "unit": "ms", "values": [one["blocked_ms"] for one in runs["killed"]],
            "value": killed["blocked_ms"], "target": "", "verdict": "",
            "detail": {**middle, "runs": runs}}


def restart(settings, rounds, report=print, **_):
    """Milliseconds in which nothing arrives at two Xen guests whose switch is killed and started
    again under load, and the frames that are lost; beside a switch that is ended by SIGTERM."""
    return _restarts("x2x", XEN, settings, rounds, report)


def restart_v2v(settings, rounds, report=print, **_):
    """The same of two KVM guests, whose front ends look for the switch every millisecond."""
    return _restarts("v2v", VHOST, settings, rounds, report)


RUNNERS = {"restart": restart, "restart-v2v": restart_v2v}
