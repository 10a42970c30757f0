# SPDX-License-Identifier: BSD-3-Clause
# What a switch costs while nothing comes, and how late the first packet after that is.

import pathlib
import statistics
import time

from .machine import threads

PACKETS = 20
SILENCE = 0.02  # seconds before each of them; Strait sleeps after 0.1 ms


def _cpu_seconds(pid):
    """Of all threads."""
    total = 0
    for tid in threads(pid):
        try:
            total += int(pathlib.Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # it ended since it was listed
    return total / 1e9


def measure(switch, generator, seconds):
    """The share of a CPU that it takes with two guests that say nothing, and one way latencies of
    single packets, both directions, in microseconds."""
    time.sleep(SILENCE)
    out = {}
    if switch.process():
        begun, before = time.monotonic(), _cpu_seconds(switch.pid())
        time.sleep(seconds)
        out["idle_cpu"] = (_cpu_seconds(switch.pid()) - before) / (time.monotonic() - begun)
    latencies = []
    for _ in range(PACKETS):
        time.sleep(SILENCE)
        latencies.append(generator.burst(1)["latency_us"]["max"])
    return {**out, "first_median": statistics.median(latencies), "first_max": max(latencies)}
