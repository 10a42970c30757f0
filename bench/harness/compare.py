# SPDX-License-Identifier: BSD-3-Clause
# What changed between two runs, and whether it is more than noise. Runs share no round, so their
# values are held beside each other as samples: the Mann-Whitney U test, exact for as few as these,
# p values adjusted for the number of tests (Holm). Where both runs have the same peer, Strait's
# ratio to it, round by round, is tested rather than its rate: what the machine was like then falls
# out.

import statistics

from . import scenarios, stats
from .report import STRAIT, cell_of, print_table
from .results import RATE, SEARCH, Results, peers_of

SIGNIFICANT = 0.05
METHOD = ("Mann-Whitney U, two-sided, on the values of rounds; exact up to 12 rounds; p adjusted "
          "for all tests together (Holm); changes are of medians, their bounds by bootstrap (95 %)")


def changes(first, second):
    """Dictionaries with what was compared: title, figure, medians, change, its bounds, p, verdict.
    """
    found = []
    results = Results(first["trials"]), Results(second["trials"])
    peers = peers_of(first)
    both = {name: title for name, title in peers.items() if name in peers_of(second)}
    for measure in (RATE, SEARCH):
        keys = [key for key in results[0].keys(measure) if key in results[1].keys(measure)]
        for key in keys:
            cell = cell_of(key)
            figures = cell.scenario.figures if measure == RATE else scenarios.RFC2544
            for figure in figures:
                found += _of_figure(results, key, figure, measure, both)
    for one, p in zip(found, stats.holm([one["raw_p"] for one in found])):
        one["p"] = p
        one["verdict"] = _verdict(one)
    return found


def _of_figure(results, key, figure, measure, peers):
    others = [name for name in peers if name != STRAIT]
    # Against the first peer that both have: one test of Strait, not as many as there are peers.
    for name in others:
        if STRAIT in peers:
            values = [one.ratios(key, STRAIT, name, figure.key, measure) for one in results]
            if all(values):
                yield _change(key, figure, f"Strait / {peers[name]}", values)
                break
    else:
        if STRAIT in peers:
            values = [list(one.values(key, STRAIT, figure.key, measure=measure).values())
                      for one in results]
            if all(values):
                yield _change(key, figure, "Strait, not held beside a peer", values)
    for name in others:
        values = [list(one.values(key, name, figure.key, measure=measure).values())
                  for one in results]
        if all(values):
            yield _change(key, figure, peers[name], values)


def _change(key, figure, what, values):
    before, after = values
    return {"cell": cell_of(key).title(), "figure": figure.title, "what": what,
            "before": statistics.median(before), "after": statistics.median(after),
            "change": statistics.median(after) / statistics.median(before) - 1
            if statistics.median(before) else 0.0,
            "bounds": _bounds(before, after),
            "rounds": (len(before), len(after)),
            "raw_p": stats.rank_test(before, after),
            "better_if_more": figure.key not in scenarios.LESS_IS_MORE}


def _bounds(before, after):
    """Of the change: the extremes that the two medians' bounds allow."""
    (low_before, high_before), (low_after, high_after) = map(stats.interval, (before, after))
    if low_before <= 0 or high_before <= 0:
        return None
    return low_after / high_before - 1, high_after / low_before - 1


def _verdict(one):
    if one["p"] <= SIGNIFICANT:
        better = (one["change"] > 0) == one["better_if_more"]
        return "better" if better else "worse"
    # They could not be further apart, and that is still not rare enough.
    if one["raw_p"] <= stats.least_p(*one["rounds"]) * 1.001:
        return "too few rounds to tell"
    return "within noise"


def print_changes(first, second, found, out):
    names = [f"{one['started'][:16].replace('T', ' ')}, {one['machine']['cpu']}"
             for one in (first, second)]
    print(f"A: {names[0]}\nB: {names[1]}", file=out)
    for name in ("cpu", "kernel", "worker_cpu", "generator_cpu"):
        if first["machine"].get(name) != second["machine"].get(name):
            print(f"The runs differ in {name}: {first['machine'].get(name)}, "
                  f"{second['machine'].get(name)}.", file=out)
    for title, one in zip("AB", (first, second)):
        if one.get("partial"):
            print(f"{title} is not whole: {one.get('reason', 'it was stopped')}.", file=out)
    print(file=out)
    rows = []
    for one in found:
        bounds = f"[{100 * one['bounds'][0]:+.1f}, {100 * one['bounds'][1]:+.1f}]" \
            if one["bounds"] else ""
        rows.append((one["cell"], one["figure"], one["what"], f"{one['before']:.3g}",
                     f"{one['after']:.3g}", f"{100 * one['change']:+.1f} % {bounds}".rstrip(),
                     f"{one['p']:.3f}", one["verdict"]))
    print_table(("scenario", "figure", "of", "A", "B", "change", "p", ""), rows, out)
    changed = sum(one["verdict"] in ("better", "worse") for one in found)
    print(f"\n{changed} of {len(found)} figures changed by more than noise.\n{METHOD}.", file=out)
