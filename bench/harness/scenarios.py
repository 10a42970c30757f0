# SPDX-License-Identifier: BSD-3-Clause
# What is compared and where the bar lies. Traffic scenarios are data: a generator, its settings,
# and bars, each a figure set against a peer's or against another variant of Strait's own.

import dataclasses
import operator
from typing import Optional


@dataclasses.dataclass(frozen=True)
class Figure:
    key: str
    title: str
    unit: str
    digits: int


MPPS = Figure("mpps", "rate", "Mpps", 2)
CYCLES = Figure("cycles", "cycles/packet", "cycles", 0)
P50 = Figure("p50", "latency p50", "µs", 1)
P99 = Figure("p99", "latency p99", "µs", 1)
P999 = Figure("p999", "latency p99.9", "µs", 1)


@dataclasses.dataclass(frozen=True)
class Bar:
    """Strait's figure divided by another's, and what it should be."""
    figure: Figure
    against: str                      # a peer's name, or "@" and a variant's
    at_least: Optional[float] = None
    at_most: Optional[float] = None

    def target(self):
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    def verdict(self, ratio):
        if ratio is None:
            return "not measured"
        for compare, bound in ((operator.ge, self.at_least), (operator.le, self.at_most)):
            if bound is not None:
                return "met" if compare(ratio, bound) else "missed"
        return ""


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    generator: str = "strait"
    traffic: dict = dataclasses.field(default_factory=dict)
    # Run beside `traffic` in the same round, for a bar against Strait itself.
    variants: dict = dataclasses.field(default_factory=dict)
    figures: tuple = (MPPS, CYCLES)
    bars: tuple = ()
    half_cpu: bool = False
    # Offered rate as a share of testpmd io's (or, without testpmd, Strait's) at 64 bytes.
    load: float = 0
    usual: bool = True


def _both_orders(name, title, **rest):
    """Virtio-user accepts in-order by default; QEMU and Linux guests do not: bars hold in both."""
    traffic = rest.pop("traffic", {})
    yield Scenario(name, f"{title}", traffic={**traffic, "in_order": 1}, **rest)
    yield Scenario(f"{name}-ooo", f"{title}, in_order=0", traffic={**traffic, "in_order": 0},
                   **rest)


TRAFFIC = (
    *_both_orders(
        "flowgen", "64 B, split, mergeable, testpmd flowgen", generator="flowgen",
        bars=(Bar(MPPS, "testpmd", at_least=0.95), Bar(CYCLES, "testpmd", at_most=0.65),
              Bar(MPPS, "ovs", at_least=3))),
    *_both_orders(
        "64", "64 B, split, mergeable",
        bars=(Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd", at_most=0.65),
              Bar(MPPS, "ovs", at_least=3))),
    *_both_orders(
        "1500", "1500 B, split, mergeable", traffic={"frame": 1500},
        bars=(Bar(MPPS, "testpmd", at_least=1.5), Bar(CYCLES, "testpmd"), Bar(MPPS, "ovs"))),
    *_both_orders(
        "packed", "64 B, packed", traffic={"packed": 1},
        bars=(Bar(MPPS, "testpmd", at_least=1), Bar(CYCLES, "testpmd"), Bar(MPPS, "ovs"))),
    Scenario(
        "macs", "64 B, 65,536 MACs", traffic={"macs": 65536},
        variants={"two MACs": {"macs": 2, "rewrite": 1}},
        bars=(Bar(MPPS, "@two MACs", at_least=0.8), Bar(MPPS, "testpmd"), Bar(MPPS, "ovs"))),
    *_both_orders(
        "half-cpu", "64 B, worker at half a CPU", half_cpu=True, figures=(MPPS,),
        bars=(Bar(MPPS, "testpmd", at_least=1.4), Bar(MPPS, "ovs"))),
    *_both_orders(
        "latency", "64 B at 10 % of load", load=0.1, traffic={"latency": True},
        figures=(P50, P99, P999), bars=(Bar(P99, "testpmd", at_most=1.2), Bar(P99, "ovs"))),
    Scenario("plain", "64 B, split, not mergeable", usual=False, traffic={"mergeable": 0},
             bars=(Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd"))),
    Scenario("one-way", "64 B, one direction", usual=False, traffic={"direction": "ab"},
             bars=(Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd"))),
    *(Scenario(size, f"{size} B, split, mergeable", usual=False, traffic={"frame": int(size)},
               bars=(Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd")))
      for size in ("256", "512", "1024", "1518")),
    Scenario("imix", "IMIX, split, mergeable", usual=False, traffic={"frame": "imix"},
             bars=(Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd"))),
)

# What is asked of Strait alone is in alone.py.
ALONE = ("start", "memory", "churn")


def names():
    return [one.name for one in TRAFFIC] + list(ALONE)


def usual_names():
    return [one.name for one in TRAFFIC if one.usual] + list(ALONE)
