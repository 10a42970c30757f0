# SPDX-License-Identifier: BSD-3-Clause
# One invocation of a comparison: switches and generators of a cell run at once and take turns, all
# but one of them stopped; what comes out goes into Results. What is run is cli.py's to say.

import contextlib
import statistics

from . import alone, flow_rules, idle, loops, rfc2544, scenarios
from .generators import GENERATORS
from .machine import BenchError, HalfCpu, settle, thread_pinned_to
from .peers import Strait, StraitPair, StraitTunnel
from .results import RATE, SEARCH, Results

TURNS_OF_A_START = 10
# A switch that comes to nothing in so many cells of a scenario one after the other is left alone
# for the rest of it.
PATIENCE = 2
PLAIN = ("v2v", 64, 1)
# What is at the tunnel's far end.
TUNNELS = {"switch": StraitPair, "host": StraitTunnel}


class Runner:
    """`progress` is told of each turn and each end of a cell; `keep` is called when there is more
    to be kept."""

    def __init__(self, asked, settings, switches, progress, keep=lambda: None):
        self.asked = asked
        self.settings = settings
        self.switches = switches
        self.progress = progress
        self.keep = keep
        self.results = Results()
        self.half_cpu_method = None
        self._failures = {}   # scenario, switch -> cells in a row that came to nothing
        self._reference = None

    # What there is to do

    def takes_part(self, cell):
        """Switches that are measured in a cell."""
        return [name for name, make_switch in self.switches.items()
                if self._failures.get((cell.scenario.name, name), 0) < PATIENCE
                and name not in cell.scenario.without
                and make_switch.cannot(cell.scenario) is None]

    def searches(self, cell, first):
        """Whether RFC 2544's measurements are made in a cell, which is a scenario's first."""
        return cell.scenario.grid and (self.asked.rfc2544 == "all" or
                                       self.asked.rfc2544 == "first" and first)

    def turns(self, cell):
        """How many turns a cell takes."""
        peers = self.takes_part(cell)
        variants = len(cell.scenario.variants) * ("strait" in peers)
        return self.asked.rounds * (len(peers) + variants)

    # How

    @contextlib.contextmanager
    def place(self, cell, make_switch, traffic):
        """A switch and a generator beside it that are ready to take turns with others."""
        scenario = cell.scenario
        traffic = dict(traffic)
        rules = traffic.pop("rules", None)
        ends = traffic.pop("ends", scenario.ends)
        queues = traffic.pop("queues", 1)
        unpinned = traffic.pop("unpinned", False)
        make_switch = TUNNELS.get(traffic.pop("tunnel", None), make_switch)
        if scenario.load:
            traffic["rate"] = self.reference() * scenario.load
        if scenario.generator == "strait":
            traffic["patience"] = self.asked.patience
        with contextlib.ExitStack() as stack:
            switch = stack.enter_context(
                make_switch(self.settings, ends=ends, mtu=cell.mtu(), loops=scenario.loops,
                            queues=queues))
            if rules:
                switch.load_rules(*flow_rules.text_for(
                    self.settings, rules, traffic["flows"], traffic.get("flow_kind", "5tuple")))
            turns = [switch]
            if scenario.loops:
                switch.load_rules(*loops.rules(scenario.loops))
                turns.append(stack.enter_context(loops.LoopGuests(switch, self.settings)))
            generator = stack.enter_context(GENERATORS[scenario.generator](
                switch, self.settings, seconds=self.asked.seconds, warm_up=self.asked.warm_up,
                **traffic))
            stack.callback(switch.thaw)  # it has to answer when its guests leave
            if rules:
                switch.warm_up(generator)
            if unpinned:
                stack.callback(generator.unpin().end)
            if scenario.half_cpu:
                cpu = self.settings.worker_cpu
                half = HalfCpu(switch.pid(), thread_pinned_to(switch.pid(), cpu), cpu)
                stack.callback(half.end)
                self.half_cpu_method = half.method
                turns.append(half)
            for one in turns:
                one.freeze()
            yield turns, generator

    def reference(self):
        """The rate that 100 % of load means: testpmd io's at 64 bytes, or Strait's without it."""
        if self._reference is None:
            name = next((one for one in ("testpmd", "strait") if one in self.switches),
                        next(iter(self.switches)))
            self._reference = self._plain_rate(name)
            self.progress.say(f"100 % of load is {self._reference:.2f} Mpps, as {name} does at "
                              f"64 B")
        return self._reference

    def _plain_rate(self, name):
        """Million frames a second of 64 bytes, for what is said as a share of it."""
        measured = list(self.results.values(PLAIN, name, "mpps").values())
        if not measured:
            cell = scenarios.Cell(scenarios.named(PLAIN[0]), *PLAIN[1:])
            with self.place(cell, self.switches[name], cell.traffic()) as (turns, generator):
                for one in turns:
                    one.thaw()
                measured = [generator.measure()["mpps"] for _ in range(5)]
        return statistics.median(measured)

    def run(self, cells):
        """All rounds of each cell, and RFC 2544's measurements where they are asked for."""
        seen = set()
        for cell in cells:
            first = cell.scenario.name not in seen
            seen.add(cell.scenario.name)
            self.progress.begin(cell)
            # Started anew now and then: what a start happens to get is not to be all that is
            # compared.
            for start in range(0, self.asked.rounds, TURNS_OF_A_START):
                end = min(start + TURNS_OF_A_START, self.asked.rounds)
                self._rounds(cell, range(start, end))
            if self.searches(cell, first):
                self._rounds(cell, range(self.asked.rounds), SEARCH)
            self.progress.end(cell, self.results)
            self.keep()

    def _rounds(self, cell, numbers, measure=RATE):
        scenario = cell.scenario
        with contextlib.ExitStack() as stack:
            places = {}
            for name in self.takes_part(cell):
                variants = {"": {}}
                if name == "strait" and measure == RATE:
                    variants.update(scenario.variants)
                for variant, change in variants.items():
                    place = self._ready(stack, cell, variant, name, {**cell.traffic(), **change},
                                        numbers[0], measure)
                    if place:
                        places[name, variant] = place
            for number in numbers:
                # To and fro, so that a machine that gets slower favours nobody.
                for name, variant in list(places)[::1 if number % 2 else -1]:
                    self.progress.turn(cell, name, number, measure)
                    if not self._turn(cell, variant, name, *places[name, variant], number,
                                      measure):
                        del places[name, variant]
        settle()

    def _ready(self, stack, cell, variant, name, traffic, number, measure):
        error = ""
        for _attempt in range(2):
            try:
                place = stack.enter_context(self.place(cell, self.switches[name], traffic))
                self._failures.pop((cell.scenario.name, name), None)
                return place
            except BenchError as wrong:
                error = str(wrong)
                settle()
        self._failed(cell, variant, name, number, measure, error)
        return None

    def _failed(self, cell, variant, name, number, measure, error):
        self.results.add(cell, variant, name, number, measure, {"error": error})
        self.progress.say(f"{self.switches[name].title} failed: {error}")
        count = self._failures.get((cell.scenario.name, name), 0) + 1
        self._failures[cell.scenario.name, name] = count
        if count == PATIENCE and cell.scenario.grid:
            self.progress.say(f"{self.switches[name].title} is left out of the rest of "
                              f"{cell.scenario.name}: it came to nothing {count} times in a row")

    def _turn(self, cell, variant, name, turns, generator, number, measure):
        """False: it failed, and its generator, which may be at any step, was ended."""
        for one in turns:
            one.thaw()
        try:
            result = self._measure(cell, turns[0], generator, measure)
        except BenchError as wrong:
            generator.child.end()
            self._failed(cell, variant, name, number, measure, str(wrong))
            return False
        finally:
            for one in turns:
                with contextlib.suppress(OSError, BenchError):
                    one.freeze()
        if result.get("mpps", 1) < 1e-6:
            self._failed(cell, variant, name, number, measure, "it forwarded nothing")
            return False
        if cell.scenario.variants.get(variant, {}).get("unpinned"):
            result["unpinned"] = True
        self.results.add(cell, variant, name, number, measure, result)
        self.progress.done(cell, variant, name, number, measure, result)
        return True

    def _measure(self, cell, switch, generator, measure):
        if measure == SEARCH:
            return rfc2544.measure(generator, self.asked.seconds)
        if cell.scenario.idle:
            return idle.measure(switch, generator, self.asked.seconds)
        return generator.measure()

    def alone(self, name):
        """What is measured of Strait without a peer."""
        report = self.progress.detail
        # Half of what it can do, so that a loss is not the receiver's.
        rate = 0
        try:
            if name in ("churn", "flow-churn"):
                rate = self._plain_rate(Strait.name) / 2
            return alone.RUNNERS[name](self.settings, rate=rate, report=report,
                                       rounds=self.asked.rounds)
        except BenchError as error:
            self.progress.say(f"{name} failed: {error}")
            return {"error": str(error)}
