# SPDX-License-Identifier: BSD-3-Clause
# The load generator itself: its rate and its ceiling beside testpmd's flowgen, into the same sink.

import statistics

from . import stats
from .generators import Flowgen, StraitGenerator
from .machine import BenchError, settle
from .peers import Testpmd

ROUNDS = 5
SECONDS = 0.5
WARM_UP = 0.2
WANTED = 1.5
# Strait's writes the addresses of each frame, as flowgen does; and has a histogram or none.
OWN = {"rewrite": 1}
KINDS = {"flowgen": (Flowgen, {}), "strait": (StraitGenerator, OWN),
         "strait, histogram": (StraitGenerator, {**OWN, "latency": 16})}


def _turn(settings, kind):
    make, words = KINDS[kind]
    with Testpmd(settings) as sink, \
            make(sink, settings, seconds=SECONDS, warm_up=WARM_UP, **words) as generator:
        result = generator.measure()
    settle()
    return {key: result.get(key) for key in ("mpps", "ceiling_mpps", "worker_denied",
                                             "generator_denied", "stolen")}


def _verdict(low, high):
    """Of the ratio's bounds: rounds that disagree about the bar say nothing."""
    if low <= WANTED <= high:
        return "too noisy to say"
    return "met" if low > WANTED else "missed"


def generator(settings, report=print, **_):
    """The generator's rate by that of testpmd's flowgen, by turns, into testpmd io, which sends
    all back: receipt and a sample of payloads included, with its own ceiling, and what a histogram
    of latencies costs it."""
    missing = Testpmd.missing()
    if missing:
        raise BenchError(missing)
    runs = {kind: [] for kind in KINDS}
    for number in range(ROUNDS):
        for kind in list(KINDS)[::1 if number % 2 else -1]:
            runs[kind].append(_turn(settings, kind))
            report(f"  {kind}: {runs[kind][-1]}")

    def ratios(one, other):
        return [a["mpps"] / b["mpps"] for a, b in zip(runs[one], runs[other])]

    def middle(kind, figure="mpps"):
        return statistics.median(one[figure] for one in runs[kind])

    beside = ratios("strait", "flowgen")
    value = statistics.median(beside)
    low, high = stats.interval(beside)
    histogram = 1 - statistics.median(ratios("strait, histogram", "strait"))
    title = (f"generator by flowgen, into testpmd io: {middle('strait'):.2f} of a ceiling of "
             f"{middle('strait', 'ceiling_mpps'):.2f}, and {middle('flowgen'):.2f} Mpps; a "
             f"histogram costs {100 * histogram:.1f} %")
    return {"title": title, "unit": "x", "values": beside, "value": value,
            "target": f">= {WANTED}", "verdict": _verdict(low, high),
            "detail": {"low": low, "high": high, "histogram_costs": histogram, **runs}}


RUNNERS = {"generator": generator}
