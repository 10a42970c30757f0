# SPDX-License-Identifier: BSD-3-Clause
# RFC 2544's measurements of one switch, by a generator that is ready: throughput without loss (NDR)
# and with 0.5 % (PDR), latency at parts of that, back-to-back frames.

from .search import NDR, PDR, Search, longest_burst

# A trial that lost frames while the worker or the generator was kept from its CPU for longer says
# nothing of the switch.
LONGEST_GAP_US = 50
REPEATS = 2
LOADS = (10, 50, 90)  # % of PDR
ALL_STAMPED_UP_TO = 10  # million frames a second


def loss_of(result):
    """The ratio of frames lost of those offered: a frame that was due and found no room in the ring
    is one, since no line would wait. What the generator was late for was not offered."""
    lost = max(0, result["sent"] - result["received"]) + result["not_taken"]
    return lost / max(1, result["sent"] + result["not_taken"])


class Trials:
    """Trials of one generator; those that say nothing are made again, and counted."""

    def __init__(self, generator):
        self._generator = generator
        self.repeated = 0

    def loss(self, rate, seconds):
        """The least that any attempt lost."""
        least = 1.0
        for attempt in range(REPEATS + 1):
            self.repeated += attempt > 0
            result = self._generator.trial(rate, seconds)
            least = min(least, loss_of(result))
            if least == 0 or max(result["longest_round_us"],
                                 result["denied_us"]) <= LONGEST_GAP_US:
                break
        return least

    def burst_loss(self, frames):
        """Whether frames of a burst were lost, and again when tried again."""
        return all(loss_of(self._generator.burst(frames)) > 0 for _ in range(REPEATS))


def measure(generator, seconds, **options):
    """All of it; rates in million frames a second, both directions together."""
    flat = generator.measure(rate=0, seconds=seconds, warm_up=0.05, frames=0, latency=0)
    trials = Trials(generator)
    search = Search(trials.loss, flat["mpps"] * 0.01, flat["mpps"] * 1.15, **options)
    found = search.run()
    out = {"mpps": flat["mpps"], "cycles": flat.get("cycles"),
           "ceiling_mpps": flat.get("ceiling_mpps"),
           "worker_denied": flat["worker_denied"], "generator_denied": flat["generator_denied"],
           "stolen": flat["stolen"],
           "ndr": found.get(NDR.name), "pdr": found.get(PDR.name),
           "trials": len(search.trials), "repeated": trials.repeated,
           "ndr_mpps": (found.get(NDR.name) or {}).get("rate"),
           "pdr_mpps": (found.get(PDR.name) or {}).get("rate")}
    if out["pdr_mpps"]:
        out["latency"] = {str(load): _latency(generator, out["pdr_mpps"] * load / 100, seconds)
                          for load in LOADS}
        for load, one in out["latency"].items():
            out[f"p99_at_{load}"] = one["p99"]
    out["back_to_back"] = longest_burst(trials.burst_loss)
    return out


def _latency(generator, rate, seconds):
    # A stamp in every frame would make the generator the limit of a fast switch.
    every = 1 if rate < ALL_STAMPED_UP_TO else 16
    result = generator.measure(rate=rate, seconds=seconds, warm_up=0.05, frames=0, latency=every)
    told = result["generator"]["latency_us"]
    return {"mpps": result["mpps"], "loss": loss_of(result["generator"]), **told}
