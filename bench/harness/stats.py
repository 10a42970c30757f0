# SPDX-License-Identifier: BSD-3-Clause
# The statistics of few and noisy rounds, on bare numbers. Nothing here knows a switch.

import bisect
import itertools
import math
import random
import statistics

LEVEL = 0.95
RESAMPLES = 2000
# A rank test of so many pairs of samples is made exactly; of more, by the normal distribution.
EXACT_UP_TO = 12


def spread(values):
    """Median and quartiles: a neighbour's burst in one turn is no property of a switch."""
    values = list(values)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") \
        if len(values) > 1 else values * 3
    return {"median": median, "low": low, "high": high}


def interval(values, level=LEVEL, resamples=RESAMPLES):
    """Bounds of the median by the percentile bootstrap. Of fewer than six values it could not hold
    its level: their range, then. The same values give the same bounds."""
    values = sorted(values)
    if len(values) < 6:
        return values[0], values[-1]
    chance = random.Random(len(values))
    medians = sorted(statistics.median(chance.choices(values, k=len(values)))
                     for _ in range(resamples))
    outside = (1 - level) / 2
    return (medians[int(outside * resamples)],
            medians[min(resamples - 1, math.ceil((1 - outside) * resamples) - 1)])


def tells_apart(ratios):
    """Whether ratios of the same rounds say that two are not equal: their interval leaves 1 out.
    One round says nothing."""
    low, high = interval(ratios)
    return len(ratios) > 1 and not low <= 1 <= high


def _ranks(values):
    """From 1; equal ones share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0.0] * len(values)
    for _value, same in itertools.groupby(enumerate(order), key=lambda one: values[one[1]]):
        same = list(same)
        shared = statistics.mean(place + 1 for place, _ in same)
        for _place, index in same:
            out[index] = shared
    return out


def rank_test(first, second):
    """Two-sided p of the Mann-Whitney U test: how likely samples that are as far apart are if they
    are of one distribution. Exact for few values, ties included."""
    n, m = len(first), len(second)
    ranks = _ranks([*first, *second])
    expected = n * (n + m + 1) / 2
    away = abs(sum(ranks[:n]) - expected)
    if max(n, m) <= EXACT_UP_TO:
        return _exact_share(ranks, n, expected, away)
    ties = sum(count ** 3 - count
               for count in (len(list(same)) for _, same in itertools.groupby(sorted(ranks))))
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance == 0:
        return 1.0
    return min(1.0, math.erfc(max(0.0, away - 0.5) / math.sqrt(2 * variance)))


def _exact_share(ranks, n, expected, away):
    """Of all choices of n ranks, the share whose sum is as far from what is expected."""
    doubled = [round(2 * rank) for rank in ranks]  # ties have halves
    ways = [{0: 1}] + [{} for _ in range(n)]
    for rank in doubled:
        for taken in range(n, 0, -1):
            for total, count in ways[taken - 1].items():
                ways[taken][total + rank] = ways[taken].get(total + rank, 0) + count
    far = sum(count for total, count in ways[n].items()
              if abs(total / 2 - expected) >= away - 1e-9)
    return far / math.comb(len(ranks), n)


def least_p(n, m):
    """What the rank test can come to at the least with so many values: two extremes of all."""
    return min(1.0, 2 / math.comb(n + m, n))


def holm(ps):
    """P values of several tests at once, adjusted so that all hold together (Holm 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    out = [0.0] * len(ps)
    reached = 0.0
    for place, index in enumerate(order):
        reached = max(reached, min(1.0, (len(ps) - place) * ps[index]))
        out[index] = reached
    return out


def merge_histograms(histograms):
    """Lists of (upper bound, count), sorted by bound, into one. Bounds of generators of one machine
    differ in their last digits, by the measured speed of its clock: each stays what it is."""
    merged = {}
    for one in histograms:
        for bound, count in one:
            merged[bound] = merged.get(bound, 0) + count
    return sorted(merged.items())


def percentile(histogram, share):
    """The smallest bound below which so large a share of all values lies; None if there is none."""
    bounds = [bound for bound, _ in histogram]
    sums = list(itertools.accumulate(count for _, count in histogram))
    if not sums:
        return None
    place = bisect.bisect_left(sums, share * sums[-1])
    return bounds[min(place, len(bounds) - 1)]
