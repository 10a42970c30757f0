# SPDX-License-Identifier: BSD-3-Clause
# What a person sees while a comparison runs: a table that grows by a row a cell, and below it, on a
# terminal, how far it is and how long it will take.

import sys
import time

from . import stats
from .results import RATE, SEARCH


SEARCH_TURNS = 12  # a search takes about as long as so many turns


def duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"


class Progress:
    def __init__(self, titles, verbose=False, out=sys.stderr):
        self._titles = titles     # of peers, in the order of columns
        self._verbose = verbose
        self._out = out
        self._live = out.isatty()
        self._planned = []
        self._cells = self._done = 0
        self._begun = time.monotonic()
        self._head = False
        self._status = ""

    def plan(self, turns):
        """How many turns the next cell will take; a search counts as many."""
        self._planned.append(turns)

    def say(self, text):
        """A sentence that stays."""
        self._wipe()
        print(text, file=self._out, flush=True)
        self._show()

    def detail(self, text):
        if self._verbose:
            self.say(text)

    def begin(self, cell):
        self._status = cell.title()
        self._show()

    def turn(self, cell, name, number, measure):
        kind = "" if measure == RATE else ", RFC 2544"
        self._status = f"{cell.title()}{kind}: round {number + 1}, {self._titles.get(name, name)}"
        self._show()

    def done(self, cell, variant, name, number, measure, result):
        self._done += 1 if measure == RATE else SEARCH_TURNS
        if self._verbose:
            figures = [one.key for one in cell.scenario.figures] if measure == RATE else \
                ["ndr_mpps", "pdr_mpps", "back_to_back"]
            text = " ".join(f"{key}={result[key]:.2f}" for key in figures
                            if result.get(key) is not None)
            denied = max(result.get("worker_denied", 0), result.get("generator_denied", 0))
            self.say(f"  round {number + 1} {name}{' ' + variant if variant else ''}: {text} "
                     f"denied={denied:.3f}")

    def end(self, cell, results):
        """The cell's row."""
        self._cells += 1
        self._done = sum(self._planned[:self._cells])  # whatever failed
        titles = self._titles
        figure = cell.scenario.figures[0]
        if not self._head:
            self._head = True
            self.say(f"{'':40}" + "".join(f"{title[:17]:>18}" for title in titles.values()))
        cells = []
        for name in titles:
            found = results.figure(cell.key, name, figure.key)
            cells.append("-" if found is None else
                         f"{found['median']:.{figure.digits}f} "
                         f"±{100 * (found['high'] - found['low']) / 2 / (found['median'] or 1):.0f}"
                         f"%")
        unit = "" if figure.unit == "Mpps" else f" ({figure.title}, {figure.unit})"
        self.say(f"{(cell.title() + unit)[:39]:40}" + "".join(f"{one:>18}" for one in cells))
        for name in titles:
            pdr = list(results.values(cell.key, name, "pdr_mpps", measure=SEARCH).values())
            ndr = list(results.values(cell.key, name, "ndr_mpps", measure=SEARCH).values())
            if pdr:
                bound = stats.spread(pdr)["median"]
                text = f"  {titles[name]}: PDR {bound:.2f} Mpps"
                if ndr:
                    text += f", NDR {stats.spread(ndr)['median']:.2f} Mpps"
                self.say(text)

    def close(self):
        self._wipe()
        self._live = False

    def _show(self):
        if not self._live or not self._status:
            return
        passed = time.monotonic() - self._begun
        planned = sum(self._planned)
        left = f", {duration(passed / self._done * (planned - self._done))} left" \
            if 0 < self._done < planned else ""
        part = f"{100 * self._done / planned:.0f} %" if planned else ""
        print(f"\r\x1b[K[{part}{left}] {self._status}"[:160], end="", file=self._out, flush=True)

    def _wipe(self):
        if self._live:
            print("\r\x1b[K", end="", file=self._out, flush=True)
