# SPDX-License-Identifier: BSD-3-Clause
# RFC 2544's searches, over functions that make a trial: throughput at several ratios of loss at
# once, as MLRsearch has it (draft-ietf-bmwg-mlrsearch: short trials and wide intervals first, and
# trials of one ratio used for the others), and back-to-back frames. Knows no generator.

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Goal:
    name: str
    loss: float  # the largest ratio of lost frames


@dataclasses.dataclass(frozen=True)
class Phase:
    seconds: float  # of a trial
    width: float    # of the interval that is left, as a part of its upper bound


NDR = Goal("ndr", 0.0)
PDR = Goal("pdr", 0.005)
GOALS = (NDR, PDR)
PHASES = (Phase(0.02, 0.16), Phase(0.05, 0.08), Phase(0.2, 0.03))
# A search ends, however noisy the machine.
MOST_TRIALS = 80


class Search:
    """One search. `trial` takes a rate and seconds and returns the ratio of frames lost; rates are
    of any unit."""

    def __init__(self, trial, lowest, highest, goals=GOALS, phases=PHASES, most=MOST_TRIALS):
        self._trial = trial
        self._lowest = lowest
        self._highest = highest
        self._goals = goals
        self._phases = phases
        self._left = most
        self._seen = {}    # seconds -> {rate: ratio}
        self.trials = []   # (rate, seconds, ratio), in order

    def _measure(self, rate, seconds):
        """None: there have been too many trials."""
        seen = self._seen.setdefault(seconds, {})
        if rate in seen:
            return seen[rate]
        if self._left == 0:
            return None
        self._left -= 1
        loss = self._trial(rate, seconds)
        seen[rate] = loss
        self.trials.append((rate, seconds, loss))
        return loss

    def _bounds(self, goal, seconds):
        """By trials of this length: the lowest rate that fails, and the highest one below it that
        does not."""
        seen = self._seen.get(seconds, {})
        upper = min((rate for rate, loss in seen.items() if loss > goal.loss), default=None)
        lower = max((rate for rate, loss in seen.items()
                     if loss <= goal.loss and (upper is None or rate < upper)), default=None)
        return lower, upper

    def run(self):
        """By goal: rate (lower bound; None: even the lowest rate loses more), upper (None: the
        highest rate does not), loss at the rate, whether it was narrowed down as far as wanted."""
        first = self._phases[0].seconds
        loss = self._measure(self._highest, first)
        # What came through then is where to look next.
        start = self._clamp(self._highest * (1 - loss))
        guesses = {goal.name: (start, self._highest) for goal in self._goals}
        found = {}
        for phase in self._phases:
            # The goal of the most loss first: what it finds bounds the others from above.
            for goal in sorted(self._goals, key=lambda one: -one.loss):
                done = self._narrow(goal, phase, guesses[goal.name])
                lower, upper = self._bounds(goal, phase.seconds)
                if lower is None and upper is None:
                    continue
                guesses[goal.name] = (lower or self._lowest, upper or self._highest)
                found[goal.name] = {
                    "rate": lower, "upper": upper, "narrowed": done,
                    "loss": self._seen[phase.seconds][lower] if lower is not None else None,
                    "seconds": phase.seconds}
        return found

    def _clamp(self, rate):
        return min(max(rate, self._lowest), self._highest)

    def _narrow(self, goal, phase, guess):
        """Trials of a phase until the interval is as narrow as it asks for; False if they ran out.
        """
        width = phase.width
        # Bounds of the phase before are tried again, and left behind, ever further, if they do not
        # hold at this length.
        for number, rate in enumerate(guess):
            if self._settled(goal, phase):
                return True
            lower, upper = self._bounds(goal, phase.seconds)
            if (number == 0 and lower is None) or (number == 1 and upper is None):
                if self._measure(rate, phase.seconds) is None:
                    return False
        step = width
        while not self._settled(goal, phase):
            lower, upper = self._bounds(goal, phase.seconds)
            if lower is None:
                rate = self._clamp(upper * (1 - step))
                step = min(2 * step, 0.75)
            elif upper is None:
                rate = self._clamp(lower / (1 - step))
                step = min(2 * step, 0.75)
            else:
                rate = math.sqrt(lower * upper)
            if self._measure(rate, phase.seconds) is None:
                return False
        return True

    def _settled(self, goal, phase):
        lower, upper = self._bounds(goal, phase.seconds)
        if upper is not None and upper <= self._lowest:
            return True  # none is low enough
        if lower is not None and lower >= self._highest:
            return True  # none is too high
        if lower is None or upper is None:
            return False
        return (upper - lower) / upper <= phase.width


def longest_burst(lost, smallest=16, largest=1 << 20, precision=1 / 16):
    """RFC 2544's back-to-back frames: the longest burst of which `lost(frames)` says that no frame
    was, to one part in `1 / precision`; 0 if none of `smallest` is whole."""
    if lost(smallest):
        return 0
    whole = smallest
    while whole < largest:
        if lost(min(2 * whole, largest)):
            break
        whole = min(2 * whole, largest)
    else:
        return whole
    broken = min(2 * whole, largest)
    while broken - whole > max(1, whole * precision):
        middle = (whole + broken) // 2
        if lost(middle):
            broken = middle
        else:
            whole = middle
    return whole
