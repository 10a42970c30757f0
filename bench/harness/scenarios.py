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
    """Strait's figure, or that divided by another's, and what it should be."""
    figure: Figure
    against: str                      # a peer's name, "@" and a variant's, or "": the figure
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
    # Peers that are left out.
    without: tuple = ()


def _both_orders(name, title, **rest):
    """Virtio-user accepts in-order by default; QEMU and Linux guests do not: bars hold in both."""
    traffic = rest.pop("traffic", {})
    yield Scenario(name, f"{title}", traffic={**traffic, "in_order": 1}, **rest)
    yield Scenario(f"{name}-ooo", f"{title}, in_order=0", traffic={**traffic, "in_order": 0},
                   **rest)


def _flow_bars(count):
    """Bars and variants of a scenario with one rule a flow."""
    with_io = Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd")
    if count == 1000:
        return {"bars": (Bar(MPPS, "testpmd", at_least=0.9), Bar(CYCLES, "testpmd", at_most=0.9),
                         Bar(MPPS, "ovs"), Bar(CYCLES, "@no rules")),
                "variants": {"no rules": {"rules": None}}}
    fewer = {"variants": {"1,000 flows": {"flows": 1000}}}
    if count == 100_000:
        return {"bars": (*with_io, Bar(MPPS, "ovs", at_least=4), Bar(MPPS, "@1,000 flows")),
                **fewer}
    # OVS would take minutes until it knows them all.
    return {"bars": (*with_io, Bar(MPPS, "@1,000 flows", at_least=0.5),
                     Bar(CYCLES, "@1,000 flows")),
            "without": ("ovs",), **fewer}


def _many_flows():
    """One rule a flow, by the destination alone and by all five of a 5-tuple."""
    for count, text in ((1000, "1000"), (100_000, "100k"), (1_000_000, "1M")):
        for kind in ("nw_dst", "5tuple"):
            for order in ("uniform", "zipf"):
                name = "-".join(["flows", text, *(["5tuple"] if kind == "5tuple" else []),
                                 *(["zipf"] if order == "zipf" else [])])
                yield Scenario(
                    name, f"64 B, {count:,} flows by {kind}, {order}",
                    usual=name == "flows-1000",
                    traffic={"flows": count, "flow_kind": kind, "order": order, "rules": "exact"},
                    **_flow_bars(count))


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
    *_many_flows(),
    Scenario(
        "wildcards", "64 B, 100,000 flows, 10,000 rules of 201 masks", usual=False,
        traffic={"flows": 100_000, "rules": "wildcards"},
        bars=(Bar(MPPS, "ovs", at_least=10), Bar(CYCLES, "ovs"), Bar(MPPS, "testpmd"))),
    # Every frame is the first one of its flow, so the rate is that of first packets.
    *(Scenario(f"new-flows-{name}", f"64 B, each of a new flow, {text}", usual=False,
               traffic={"flows": 100_000, "rules": name, "new_flows": 1},
               bars=(Bar(MPPS, "", at_least=wanted), Bar(MPPS, "ovs")))
      for name, text, wanted in (("wildcards", "10,000 rules of 201 masks", 0.3),
                                 ("few", "100 rules of 5 masks", 1))),
    # Two directions of connections that are known, each packet looked up in the table of them.
    *(Scenario(f"tracked-{text}", f"64 B, {count:,} connections, tracked", usual=False,
               traffic={"flows": 2 * count, "flow_kind": "answered", "rules": "stateful"},
               variants={"not tracked": {"rules": "by port"}}, without=("ovs", "testpmd"),
               bars=(Bar(MPPS, "@not tracked", at_least=0.7), Bar(CYCLES, "@not tracked")))
      for count, text in ((1000, "1000"), (100_000, "100k"))),
    Scenario("imix", "IMIX, split, mergeable", usual=False, traffic={"frame": "imix"},
             bars=(Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd"))),
)

# What is asked of Strait alone is in alone.py, flow_runs.py and connection_runs.py.
USUAL_ALONE = ("start", "memory", "churn")
ALONE = (*USUAL_ALONE, "flow-load", "rule-memory", "flow-memory", "flow-change", "flow-changes",
         "flow-cold", "tcp-connections", "udp-connections", "held-connections",
         "neighbour")


def names():
    return [one.name for one in TRAFFIC] + list(ALONE)


def usual_names():
    return [one.name for one in TRAFFIC if one.usual] + list(USUAL_ALONE)
