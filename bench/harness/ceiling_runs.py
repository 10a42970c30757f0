# SPDX-License-Identifier: BSD-3-Clause
# The load generator itself: its rate and its ceiling beside testpmd's flowgen, into the same
# switch, and what a histogram of latencies costs it.

import itertools
import statistics

from . import stats
from .generators import Flowgen, StraitGenerator
from .machine import BenchError, settle
from .peers import Strait, Testpmd

ROUNDS = 11
SECONDS = 0.5
WARM_UP = 0.2
WANTED = 1.5
# Strait's writes the addresses of each frame, as flowgen does.
OWN = {"rewrite": 1}
KINDS = {"flowgen": (Flowgen, {}), "strait": (StraitGenerator, OWN)}
# The bar is of the first, whose worker is idle for a part of its time; testpmd's io is the limit
# of both generators.
SINKS = (Strait, Testpmd)
# Of a histogram: pairs of turns of each start, frames a stamp, and the share of the rate.
STARTS = 3
PAIRS = 5
SAMPLED = 16
MOST = 0.05
# Of the switch's worker, beyond which the switch is what limits either.
MOST_BUSY = 0.95


def _turn(settings, sink, kind):
    make, words = KINDS[kind]
    with sink(settings) as switch, \
            make(switch, settings, seconds=SECONDS, warm_up=WARM_UP, **words) as generator:
        result = generator.measure()
    settle()
    return {key: result.get(key) for key in ("mpps", "ceiling_mpps", "utilisation",
                                             "worker_denied", "generator_denied", "stolen")}


def verdict(values, wanted, at_least):
    """Of a bar that values are to be above, or below: rounds that disagree about it say nothing."""
    low, high = stats.interval(values)
    if low <= wanted <= high:
        return "too noisy to say"
    return "met" if (low > wanted) == at_least else "missed"


def generator(settings, report=print, **_):
    """The generator's rate by that of testpmd's flowgen, by turns, into Strait: receipt and a
    sample of payloads included, with its own ceiling; and the same into testpmd io."""
    missing = Testpmd.missing()
    if missing:
        raise BenchError(missing)
    runs = {sink.name: {kind: [] for kind in KINDS} for sink in SINKS}
    turns = list(itertools.product(SINKS, KINDS))
    for number in range(ROUNDS):
        for sink, kind in turns[::1 if number % 2 else -1]:
            runs[sink.name][kind].append(_turn(settings, sink, kind))
            report(f"  {kind} into {sink.title}: {runs[sink.name][kind][-1]}")
    return told_of(runs)


def told_of(runs):
    """What the turns into both sinks come to."""
    def middle(kind, figure="mpps"):
        return statistics.median(one[figure] for one in runs[Strait.name][kind])

    beside = {sink.name: [one["mpps"] / other["mpps"]
                          for one, other in zip(runs[sink.name]["strait"],
                                                runs[sink.name]["flowgen"])] for sink in SINKS}
    ratios = beside[Strait.name]
    low, high = stats.interval(ratios)
    limited = max(middle(kind, "utilisation") for kind in KINDS) > MOST_BUSY
    title = (f"generator by flowgen, into Strait: {middle('strait'):.2f} of a ceiling of "
             f"{middle('strait', 'ceiling_mpps'):.2f}, and {middle('flowgen'):.2f} Mpps, which "
             f"take {100 * middle('strait', 'utilisation'):.0f} and "
             f"{100 * middle('flowgen', 'utilisation'):.0f} % of its worker's time; into "
             f"{Testpmd.title} x {statistics.median(beside[Testpmd.name]):.2f}")
    return {"title": title, "unit": "x", "values": ratios, "value": statistics.median(ratios),
            "target": f">= {WANTED}", "verdict": "the switch was the limit" if limited
            else verdict(ratios, WANTED, at_least=True),
            "detail": {"low": low, "high": high, "beside": beside, "runs": runs}}


def histogram(settings, report=print, **_):
    """Share of the generator's rate into Strait that a histogram of latencies costs, where one
    frame of 16 is stamped, beside none, by turns of one process."""
    costs = []
    for _start in range(STARTS):
        with Strait(settings) as switch, \
                StraitGenerator(switch, settings, seconds=SECONDS, warm_up=WARM_UP,
                                **OWN) as generator:
            for number in range(PAIRS):
                rates = {}
                for latency in (0, SAMPLED)[::1 if number % 2 else -1]:
                    result = generator.measure(latency=latency)
                    rates[latency] = result["mpps"]
                    if latency and not result["generator"]["latency_us"]["count"]:
                        raise BenchError("no frame's latency was measured")
                costs.append(1 - rates[SAMPLED] / rates[0])
                report(f"  {rates[0]:.2f} Mpps, with a histogram {rates[SAMPLED]:.2f}")
        settle()
    low, high = stats.interval(costs)
    return {"title": f"a histogram of latencies, one frame of {SAMPLED} stamped, of the "
                     "generator's rate", "unit": "of it", "values": costs,
            "value": statistics.median(costs), "target": f"< {MOST}",
            "verdict": verdict(costs, MOST, at_least=False), "detail": {"low": low, "high": high}}


RUNNERS = {"generator": generator, "generator-histogram": histogram}
