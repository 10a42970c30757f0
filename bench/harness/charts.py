# SPDX-License-Identifier: BSD-3-Clause
# The page's plots, drawn by matplotlib, as SVG text. Lines differ in marker and stroke as well as
# in colour, for paper. What the figures mean is report.py's.

import io
import re

from . import scenarios, stats
from .machine import BenchError
from .report import STRAIT, cell_of
from .results import SEARCH

# Told apart by those who do not see all colours (Okabe and Ito); Strait is the strongest.
STYLES = (("#0072b2", "o", "-"), ("#d55e00", "s", "--"), ("#009e73", "^", "-."),
          ("#cc79a7", "D", ":"), ("#e69f00", "v", "--"), ("#56b4e9", "P", "-."),
          ("#000000", "X", ":"), ("#999999", "*", "--"))
WIDTH = 6.4  # inches: what A4 takes beside its margins
IMIX_BYTES = (7 * 64 + 4 * 594 + 1514) / 12


def need():
    """BenchError if what draws is not there."""
    _pyplot()


def _pyplot():
    try:
        import matplotlib  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise BenchError("the page's plots need matplotlib (Debian: apt-get install "
                         "python3-matplotlib)") from error
    matplotlib.use("svg")
    matplotlib.rcParams.update({
        # Text stays text: to be searched, copied and read aloud.
        "svg.fonttype": "none", "svg.hashsalt": "strait-bench", "font.family": "sans-serif",
        "font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False,
        "axes.spines.right": False, "legend.frameon": False, "figure.constrained_layout.use": True})
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    return pyplot


class Charts:
    """Plots of a document's results."""

    def __init__(self, results, peers):
        self._results = results
        self._peers = peers
        self._pyplot = _pyplot()
        order = [STRAIT, *(name for name in peers if name != STRAIT)]
        self._styles = {name: STYLES[i % len(STYLES)] for i, name in enumerate(order)}
        self._count = 0

    def _svg(self, figure, title):
        """With names of its own: several stand in one page."""
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        self._pyplot.close(figure)
        text = file.getvalue()
        text = text[text.index("<svg"):]
        self._count += 1
        own = f"plot{self._count}-"
        text = re.sub(r'\bid="', f'id="{own}', text)
        text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{own}", text)
        label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

    def _line(self, axes, name, points):
        """Points: (x, spread)."""
        colour, marker, stroke = self._styles[name]
        xs = [x for x, _ in points]
        middle = [one["median"] for _, one in points]
        axes.errorbar(xs, middle,
                      yerr=[[one["median"] - one["low"] for _, one in points],
                            [one["high"] - one["median"] for _, one in points]],
                      label=self._peers[name], color=colour, marker=marker, linestyle=stroke,
                      markersize=5, linewidth=2 if name == STRAIT else 1.3, capsize=2.5)

    def by_flows(self, scenario, size):
        """Rates over flow counts; None if there is but one count."""
        keys = [key for key in self._results.keys() if key[:2] == (scenario, size)]
        counts = sorted({key[2] for key in keys})
        if len(counts) < 2:
            return None
        figure, axes = self._pyplot.subplots(figsize=(WIDTH, 3.2))
        for name in self._peers:
            points = [(counts.index(key[2]), self._results.figure(key, name, "mpps"))
                      for key in sorted(keys, key=lambda key: key[2])]
            points = [one for one in points if one[1]]
            if points:
                self._line(axes, name, points)
        axes.set_xticks(range(len(counts)), [f"{one:,}" for one in counts])
        axes.set_xlabel("flows, both directions (1: one each way)")
        axes.set_ylabel("million frames/s, received")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)
        return self._svg(figure, f"{scenario}, {size}: rate by flows")

    def by_size(self, scenario, flows):
        """Bits a second over frame sizes; None if there is but one size."""
        keys = [key for key in self._results.keys() if (key[0], key[2]) == (scenario, flows)]
        sizes = list(dict.fromkeys(key[1] for key in keys))
        sizes.sort(key=lambda one: 10 ** 9 if one == "imix" else one)
        if len(sizes) < 2:
            return None
        figure, axes = self._pyplot.subplots(figsize=(WIDTH, 3.2))
        for name in self._peers:
            points = []
            for size in sizes:
                found = self._results.figure((scenario, size, flows), name, "mpps")
                if found:
                    mean = IMIX_BYTES if size == "imix" else size
                    points.append((sizes.index(size), {
                        part: rate * mean * 8 / 1000 for part, rate in found.items()}))
            if points:
                self._line(axes, name, points)
        axes.set_xticks(range(len(sizes)), [str(one) for one in sizes])
        axes.set_xlabel("bytes of a frame, without check sequence")
        axes.set_ylabel("Gbit/s of frames, received")
        axes.set_yscale("log")
        axes.legend(fontsize=8)
        return self._svg(figure, f"{scenario}: bits by size")

    def ratios(self, scenario):
        """Strait's rate by each peer's, with the bounds that rounds leave; None without peers."""
        keys = [key for key in self._results.keys() if key[0] == scenario]
        rows = []
        for key in keys:
            for name in self._peers:
                if name == STRAIT:
                    continue
                ratios = self._results.ratios(key, STRAIT, name, "mpps")
                if ratios:
                    rows.append((cell_of(key), name, stats.spread(ratios)["median"],
                                 stats.interval(ratios), stats.tells_apart(ratios)))
        if not rows:
            return None
        figure, axes = self._pyplot.subplots(figsize=(WIDTH, 1 + 0.17 * len(rows)))
        labels = []
        for place, (cell, name, middle, (low, high), sure) in enumerate(rows):
            colour, marker, _ = self._styles[name]
            axes.errorbar([middle], [place], xerr=[[middle - low], [high - middle]], color=colour,
                          marker=marker, markersize=5, capsize=2.5, linestyle="none",
                          markerfacecolor=colour if sure else "white",
                          label=self._peers[name] if name not in labels else None)
            labels.append(name)
        axes.axvline(1, color="black", linewidth=1)
        # Of each place the first row has its name.
        named = [cell.title().removeprefix(f"{scenario}, ") if place == 0
                 or rows[place - 1][0] != cell else "" for place, (cell, *_) in enumerate(rows)]
        axes.set_yticks(range(len(rows)), named, fontsize=7)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xscale("log")
        ticks = [one for one in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
                 if min(row[3][0] for row in rows) / 2 <= one <= max(row[3][1] for row in rows) * 2]
        axes.set_xticks(ticks, [f"{one:g}" for one in ticks])
        axes.minorticks_off()
        axes.set_xlabel("Strait's rate / the peer's (hollow: the bounds hold 1)")
        axes.legend(fontsize=8, loc="lower right")
        return self._svg(figure, f"{scenario}: ratios")

    def throughput(self, key):
        """NDR and PDR of each; None if there are none."""
        bars = [(name, self._results.figure(key, name, "ndr_mpps", measure=SEARCH),
                 self._results.figure(key, name, "pdr_mpps", measure=SEARCH))
                for name in self._peers]
        bars = [one for one in bars if one[2]]
        if not bars:
            return None
        figure, axes = self._pyplot.subplots(figsize=(WIDTH, 2.8))
        for offset, which, label, hatch in ((-0.2, 1, "NDR (no loss)", "///"),
                                            (0.2, 2, "PDR (0.5 % loss)", "")):
            shown = [(place, one) for place, one in enumerate(bars) if one[which]]
            axes.bar([place + offset for place, _ in shown],
                     [one[which]["median"] for _, one in shown], 0.38,
                     yerr=[[one[which]["median"] - one[which]["low"] for _, one in shown],
                           [one[which]["high"] - one[which]["median"] for _, one in shown]],
                     label=label, hatch=hatch, capsize=3, edgecolor="black", linewidth=0.6,
                     color=[self._styles[one[0]][0] + ("80" if which == 1 else "")
                            for _, one in shown])
        axes.set_xticks(range(len(bars)), [self._peers[one[0]] for one in bars], fontsize=8)
        axes.set_ylabel("million frames/s")
        axes.legend(fontsize=8)
        return self._svg(figure, "NDR and PDR")

    def latencies(self, key):
        """Percentiles of the rounds' merged histograms at each load; None if there are none."""
        merged = {}
        for name in self._peers:
            for load in ("10", "50", "90"):
                histograms = [one["latency"][load]["histogram"]
                              for one in self._results.of(key, SEARCH)
                              if one["peer"] == name and load in one.get("latency", {})]
                if histograms:
                    merged[name, load] = stats.merge_histograms(histograms)
        if not merged:
            return None
        figure, all_axes = self._pyplot.subplots(1, 3, figsize=(WIDTH, 2.9), sharey=True)
        shares = (0.5, 0.9, 0.99, 0.999, 0.9999)
        for axes, load in zip(all_axes, ("10", "50", "90")):
            for name in self._peers:
                if (name, load) not in merged:
                    continue
                colour, marker, stroke = self._styles[name]
                axes.plot(range(len(shares)),
                          [stats.percentile(merged[name, load], share) for share in shares],
                          color=colour, marker=marker, linestyle=stroke, markersize=4,
                          linewidth=2 if name == STRAIT else 1.3, label=self._peers[name])
            axes.set_xticks(range(len(shares)), [f"{100 * one:g}" for one in shares], fontsize=7)
            axes.set_title(f"at {load} % of PDR", fontsize=9)
            axes.set_yscale("log")
        all_axes[0].set_ylabel("µs, one way")
        all_axes[1].set_xlabel("percentile")
        all_axes[0].legend(fontsize=6, loc="upper left")
        return self._svg(figure, "latency percentiles")

    def variants(self, scenario, names):
        """Cycles of a packet by variant, a group of bars for each size."""
        keys = [key for key in self._results.keys() if key[0] == scenario]
        figure, axes = self._pyplot.subplots(figsize=(WIDTH, 3))
        width = 0.8 / len(names)
        for number, name in enumerate(names):
            again, style = divmod(number, len(STYLES))  # the same colours, then hatched
            shown = [(place, self._results.figure(key, STRAIT, "cycles", variant=name))
                     for place, key in enumerate(keys)]
            shown = [one for one in shown if one[1]]
            axes.bar([place + (number + 0.5) * width - 0.4 for place, _ in shown],
                     [one["median"] for _, one in shown], width,
                     yerr=[[one["median"] - one["low"] for _, one in shown],
                           [one["high"] - one["median"] for _, one in shown]],
                     color=STYLES[style][0], hatch="/" * 3 * again, capsize=2, edgecolor="black",
                     linewidth=0.6, label=names[name])
        axes.set_xticks(range(len(keys)), [f"{key[1]} B" for key in keys])
        axes.set_ylabel("cycles a packet")
        axes.legend(fontsize=8)
        return self._svg(figure, f"{scenario}: cycles by ends")

    def singles(self):
        """Scenarios that are no grids: each peer's rate."""
        keys = [key for key in self._results.keys()
                if not cell_of(key).scenario.grid
                and scenarios.MPPS in cell_of(key).scenario.figures]
        if not keys:
            return None
        figure, axes = self._pyplot.subplots(figsize=(WIDTH, 0.9 + 0.5 * len(keys)))
        height = 0.8 / len(self._peers)
        for number, name in enumerate(self._peers):
            shown = [(place, self._results.figure(key, name, "mpps"))
                     for place, key in enumerate(keys)]
            shown = [one for one in shown if one[1]]
            axes.barh([place + (number + 0.5) * height - 0.4 for place, _ in shown],
                      [one["median"] for _, one in shown], height,
                      xerr=[[one["median"] - one["low"] for _, one in shown],
                            [one["high"] - one["median"] for _, one in shown]],
                      color=self._styles[name][0], capsize=2, label=self._peers[name])
        axes.set_yticks(range(len(keys)), [key[0] for key in keys], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("million frames/s, received")
        axes.legend(fontsize=8)
        return self._svg(figure, "other scenarios")
