# SPDX-License-Identifier: BSD-3-Clause
# What a restart of Strait costs guests that are in the middle of their traffic: how long nothing
# arrives, and what of their frames is lost.

import signal
import statistics
import time

from .generators import StraitGenerator
from .machine import BenchError, settle
from .peers import XEN, Strait

SECONDS = 4.0
BEFORE = 0.75  # of these
RATE = 0.2  # Mpps, both directions: a ring holds 2.5 ms of it
FLOWS = 100
SIGNALS = {"killed": signal.SIGKILL, "ended": signal.SIGTERM}


def _restart(settings, number):
    """One restart in the middle of traffic: what the generator tells of it, and how long there was
    no process and no answer of its control socket."""
    with Strait(settings, ends=(XEN, XEN)) as strait:
        again = strait.folder.path / "again"
        again.write_text("bridge add br0\nxen adopt --bridge br0\n")
        with StraitGenerator(strait, settings, seconds=SECONDS, warm_up=0.2, flows=FLOWS, rate=RATE,
                             sequence=True, steps=False) as traffic:
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
        raise BenchError(f"no frame came for {gap:.0f} ms: the guests were not taken over")
    return {"blocked_ms": gap, "answers_after_ms": away * 1000, "sent": result["sent"],
            "not_taken": result["not_taken"],
            **{key: result["sequence"][key] for key in ("lost", "duplicated", "reordered")}}


def restart(settings, rounds, report=print, **_):
    """Milliseconds in which nothing arrives at two Xen guests whose switch is killed and started
    again under load, and the frames that are lost; beside a switch that is ended by SIGTERM."""
    runs = {how: [] for how in SIGNALS}
    for _round in range(rounds):
        for how, number in SIGNALS.items():
            runs[how].append(_restart(settings, number))
            report(f"  {how}: {runs[how][-1]}")
    middle = {how: {key: statistics.median(one[key] for one in results) for key in results[0]}
              for how, results in runs.items()}
    killed = middle["killed"]
    return {"title": f"x2x blocked when Strait is killed and begun anew at {RATE} Mpps "
                     f"({killed['lost']:.0f} frames lost)",
            "unit": "ms", "values": [one["blocked_ms"] for one in runs["killed"]],
            "value": killed["blocked_ms"], "target": "", "verdict": "",
            "detail": {**middle, "runs": runs}}


RUNNERS = {"restart": restart}
