# SPDX-License-Identifier: BSD-3-Clause
# What is compared and where the bar lies. Scenarios are data: what the ends are, the traffic, and
# bars, each a figure set against a peer's or against another variant of Strait's own. Names are
# RFC 8204's where it has one: p for a physical port, v for a guest's; x is a Xen guest's.

import dataclasses
import operator
from typing import Callable, Optional

from .peers.base import TAP, USUAL_MTU, VHOST, XEN


@dataclasses.dataclass(frozen=True)
class Figure:
    key: str
    title: str
    unit: str
    digits: int


MPPS = Figure("mpps", "rate", "Mpps", 2)
GBPS = Figure("gbps", "rate", "Gbit/s", 1)
CYCLES = Figure("cycles", "cycles/packet", "cycles", 0)
P50 = Figure("p50", "latency p50", "µs", 1)
P99 = Figure("p99", "latency p99", "µs", 1)
P999 = Figure("p999", "latency p99.9", "µs", 1)
# Of numbered frames.
LOST = Figure("lost", "lost, never to arrive", "frames", 0)
DUPLICATED = Figure("duplicated", "arrived twice", "frames", 0)
REORDERED = Figure("reordered", "arrived late", "frames", 0)
# Of more than two ends.
FAIRNESS = Figure("fairness", "Jain's index of the paths' rates", "1: alike", 3)
LEAST_SHARE = Figure("least_share", "smallest share of a path", "%", 1)
LOSS = Figure("loss", "lost, of what was sent", "%", 2)
UNACCOUNTED = Figure("unaccounted", "lost by the generator's count less the switch's drops",
                     "frames", 0)
# Of silence.
IDLE_CPU = Figure("idle_cpu", "time of the switch", "CPUs", 3)
FIRST = Figure("first_median", "first packet after 20 ms, later one of two", "µs", 1)
# Of RFC 2544's measurements.
RFC2544 = (Figure("ndr_mpps", "NDR", "Mpps", 2), Figure("pdr_mpps", "PDR", "Mpps", 2),
           *(Figure(f"p99_at_{load}", f"latency p99 at {load} % of PDR", "µs", 1)
             for load in (10, 50, 90)),
           Figure("back_to_back", "back-to-back", "frames", 0))
LESS_IS_MORE = ("lost", "duplicated", "reordered", "loss", "unaccounted", "idle_cpu",
                "first_median", "cycles", "p50", "p99", "p999", "p99_at_10", "p99_at_50",
                "p99_at_90")


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
    ends: tuple = (VHOST, VHOST)
    generator: str = "strait"
    traffic: dict = dataclasses.field(default_factory=dict)
    # Measured by sizes and by flow counts, those asked for or its own; else once, as the traffic
    # says.
    grid: bool = False
    sizes: tuple = (64, 512, 1514)
    flow_counts: tuple = (1, 1000, 100_000, 1_000_000)
    # Of a number of flows: fields that are others there.
    by_flows: Optional[Callable] = None
    # Run beside `traffic` in the same round, for a bar against Strait itself.
    variants: dict = dataclasses.field(default_factory=dict)
    figures: tuple = (MPPS, CYCLES)
    bars: tuple = ()
    half_cpu: bool = False
    # Offered rate as a share of testpmd io's (or, without testpmd, Strait's) at 64 bytes.
    load: float = 0
    # Run when no scenario is asked for.
    usual: bool = False
    # No traffic but single packets; see idle.py.
    idle: bool = False
    # Rules that track connections.
    stateful: bool = False
    # Guests that packets go through.
    loops: int = 0
    # Peers that are left out.
    without: tuple = ()

    def cells(self, sizes=None, flows=None):
        """What of it is measured, where sizes and flow counts are asked for or not."""
        if not self.grid:
            return [Cell(self, self.traffic.get("frame", 64), self.traffic.get("flows", 1))]
        return [self.at(size, count) for size in sizes or self.sizes
                for count in flows or self.flow_counts]

    def at(self, size, flows):
        """A cell of it, with what hangs on the number of flows."""
        other = self.by_flows(flows) if self.by_flows else {}
        return Cell(dataclasses.replace(self, **other), size, flows)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place in a table: a scenario, a size of frames in bytes without their check sequence, or
    imix, and a number of flows of both directions together; 1 is one each way."""
    scenario: Scenario
    size: object
    flows: int

    @property
    def key(self):
        return (self.scenario.name, self.size, self.flows)

    def traffic(self):
        if not self.scenario.grid:
            return dict(self.scenario.traffic)
        # Rules are of flows: where there is one each way, of two.
        several = {"flows": max(2, self.flows)} \
            if self.flows > 1 or self.scenario.traffic.get("rules") else {}
        return {**self.scenario.traffic, "frame": self.size, **several}

    def mtu(self):
        """Of the ports, so that the frames fit."""
        head = 14
        if self.scenario.traffic.get("tso"):
            return USUAL_MTU
        largest = 1514 if self.size == "imix" else self.size
        return max(USUAL_MTU, largest - head)

    def title(self):
        if not self.scenario.grid:
            return self.scenario.title
        size = "IMIX" if self.size == "imix" else f"{self.size} B"
        return f"{self.scenario.name}, {size}, {flows_in_words(self.flows)}"


def flows_in_words(flows):
    return "1 flow each way" if flows == 1 else f"{flows:,} flows"


def _both_orders(name, title, **rest):
    """Virtio-user accepts in-order by default; QEMU and Linux guests do not: bars hold in both."""
    traffic = rest.pop("traffic", {})
    yield Scenario(name, f"{title}", traffic={**traffic, "in_order": 1}, **rest)
    yield Scenario(f"{name}-ooo", f"{title}, in_order=0", traffic={**traffic, "in_order": 0},
                   **rest)


def _of_flow_count(count):
    """Bars and variants where each of so many flows has a rule."""
    with_io = Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd")
    if count < 1000:
        return {"bars": (*with_io, Bar(MPPS, "ovs"))}
    if count == 1000:
        return {"bars": (Bar(MPPS, "testpmd", at_least=0.9), Bar(CYCLES, "testpmd", at_most=0.9),
                         Bar(MPPS, "ovs"), Bar(CYCLES, "@no rules")),
                "variants": {"no rules": {"rules": None}}}
    fewer = {"variants": {"1,000 flows": {"flows": 1000}}}
    if count <= 100_000:
        return {"bars": (*with_io, Bar(MPPS, "ovs", at_least=4 if count == 100_000 else None),
                         Bar(MPPS, "@1,000 flows")), **fewer}
    # OVS would take minutes until it knows them all.
    return {"bars": (*with_io, Bar(MPPS, "@1,000 flows", at_least=0.5),
                     Bar(CYCLES, "@1,000 flows")),
            "without": ("ovs",), **fewer}


def _rule_a_flow():
    """By the destination alone and by all five of a 5-tuple, each flow as often as another and by
    Zipf's law: a curve over the numbers of flows each."""
    for kind in ("nw_dst", "5tuple"):
        for order in ("uniform", "zipf"):
            name = "-".join(["v2v-rules", *(["5tuple"] if kind == "5tuple" else []),
                             *(["zipf"] if order == "zipf" else [])])
            yield Scenario(name, f"v2v, a rule for each flow, by {kind}, {order}", grid=True,
                           sizes=(64,), flow_counts=(10, 1000, 10_000, 100_000, 1_000_000),
                           traffic={"flow_kind": kind, "order": order, "rules": "exact"},
                           by_flows=_of_flow_count)


MANY = 4


def _many_ends():
    """One guest and four others: to all of them alike, or from each as fast as it goes, which is
    more than the one takes: who loses what then is up to the switch. m: many."""
    for kind, letter, guest in ((VHOST, "v", "KVM"), (XEN, "x", "Xen")):
        for name, title, pattern, direction in (
                (f"{letter}2m", f"one {guest} guest to {MANY}", "one-to-many", "ab"),
                (f"m2{letter}", f"{MANY} {guest} guests to one", "many-to-one", "ba")):
            pair = f"{letter}2{letter}, one way"
            yield Scenario(
                name, f"{name}: {title}, 64 B, 1,000 flows", ends=(kind,) * (1 + MANY),
                traffic={"pattern": pattern, "flows": 1000},
                variants={pair: {"ends": (kind, kind), "pattern": None, "direction": direction}},
                figures=(MPPS, CYCLES, FAIRNESS, LEAST_SHARE, LOSS, UNACCOUNTED),
                bars=(Bar(MPPS, "ovs"), Bar(MPPS, f"@{pair}"), Bar(CYCLES, f"@{pair}")))


WHOLE = "checksums by the sender"
SEGMENT = 1460  # bytes of payload: what 1,514 bytes have room for


def _offloads():
    """What guests leave undone of TCP, and who does it. Frames are as long as a segment makes them,
    or 64 KiB that whoever takes them takes whole."""
    whole = {"frame": 1514, "protocol": "tcp", "tso": 0}
    for name, kind in (("v2v", VHOST), ("x2x", XEN)):
        for words, change in (
                (WHOLE, {}), ("checksums left to the receiver", {"tso": SEGMENT}),
                ("checksums filled in by the switch", {"tso": SEGMENT, "filled_in": 1}),
                ("segments of 64 KiB", {"tso": SEGMENT, "frame": 65535})):
            yield f"{name}, {words}", {**whole, **change, "ends": (kind, kind)}


GRIDS = (
    Scenario("v2v", "v2v: KVM guest to KVM guest", grid=True, usual=True),
    Scenario("x2x", "x2x: Xen guest to Xen guest", ends=(XEN, XEN), grid=True, usual=True),
    Scenario("x2v", "x2v: Xen guest and KVM guest", ends=(XEN, VHOST), grid=True),
    Scenario("p2p", "p2p: wire to wire", ends=(TAP, TAP), grid=True),
    Scenario("p2v", "p2v: wire and KVM guest", ends=(TAP, VHOST), grid=True),
    Scenario("kvm-xen", "KVM and Xen: v2v beside x2x and x2v", grid=True,
             variants={"v2v, in_order=0": {"in_order": 0}, "v2v, packed": {"packed": 1},
                       "x2v": {"ends": (XEN, VHOST)}, "x2x": {"ends": (XEN, XEN)},
                       **{f"{name}, unpinned": {"ends": (kind, kind), "unpinned": True}
                          for name, kind in (("v2v", VHOST), ("x2x", XEN))},
                       **{f"{name}, {count} queues": {"ends": (kind, kind), "queues": count,
                                                      "flows": 64}
                          for name, kind in (("v2v", VHOST), ("x2x", XEN))
                          for count in (2, 3, 4)}},
             bars=(Bar(MPPS, "@x2x"), Bar(CYCLES, "@x2x"))),
    Scenario("v2v-ooo", "v2v, in_order=0", traffic={"in_order": 0}, grid=True),
    Scenario("v2v-packed", "v2v, packed rings", traffic={"packed": 1}, grid=True),
    Scenario("v2v-one-way", "v2v, one direction", traffic={"direction": "ab"}, grid=True),
    *_rule_a_flow(),
)

SINGLES = (
    *_both_orders(
        "v2v-flowgen", "v2v, 64 B, testpmd flowgen", generator="flowgen",
        bars=(Bar(MPPS, "testpmd", at_least=0.95), Bar(CYCLES, "testpmd", at_most=0.65),
              Bar(MPPS, "ovs", at_least=3))),
    Scenario("v2v-packed-ooo", "v2v, 64 B, packed rings, in_order=0",
             traffic={"packed": 1, "in_order": 0},
             bars=(Bar(MPPS, "testpmd", at_least=1), Bar(CYCLES, "testpmd"), Bar(MPPS, "ovs"))),
    Scenario("v2v-plain", "v2v, 64 B, not mergeable", traffic={"mergeable": 0},
             bars=(Bar(MPPS, "testpmd"), Bar(CYCLES, "testpmd"))),
    Scenario(
        "v2v-macs", "v2v, 64 B, 65,536 MACs", traffic={"macs": 65536},
        variants={"two MACs": {"macs": 2, "rewrite": 1}},
        bars=(Bar(MPPS, "@two MACs", at_least=0.8), Bar(MPPS, "testpmd"), Bar(MPPS, "ovs"))),
    Scenario(
        "v2v-macs-1M", "v2v, 64 B, 1,000,000 MACs", traffic={"macs": 1_000_000},
        without=("ovs", "ovs-rules"),
        variants={"two MACs": {"macs": 2, "rewrite": 1}},
        bars=(Bar(MPPS, "@two MACs"), Bar(MPPS, "testpmd"))),
    *_both_orders(
        "v2v-half-cpu", "v2v, 64 B, worker at half a CPU", half_cpu=True, figures=(MPPS,),
        bars=(Bar(MPPS, "testpmd", at_least=1.4), Bar(MPPS, "ovs"))),
    *_both_orders(
        "v2v-latency", "v2v, 64 B at 10 % of load", load=0.1, traffic={"latency": 1},
        figures=(P50, P99, P999), bars=(Bar(P99, "testpmd", at_most=1.2), Bar(P99, "ovs"))),
    Scenario("v2v-sequence", "v2v, 64 B, 1,000 flows at 50 % of load, frames numbered", load=0.5,
             traffic={"flows": 1000, "sequence": True},
             figures=(MPPS, LOST, DUPLICATED, REORDERED)),
    Scenario("v2v-idle", "v2v, nothing but a packet each way now and then", idle=True,
             traffic={"latency": 1}, figures=(IDLE_CPU, FIRST)),
    Scenario("v2v-queues", "v2v, 64 B, 1,000 flows, 4 queue pairs a guest, one worker",
             traffic={"flows": 1000, "queues": 4},
             variants={"one pair": {"queues": 1},
                       "one pair of 1,024": {"queues": 1, "queue_size": 1024}},
             bars=(Bar(CYCLES, "@one pair", at_most=1.1), Bar(MPPS, "@one pair"),
                   Bar(CYCLES, "@one pair of 1,024"))),
    *(Scenario(f"loopback-{count}", f"loopback through {count} KVM guest"
               f"{'' if count == 1 else 's'}, testpmd io, 64 B", loops=count,
               bars=(Bar(MPPS, "ovs"),))
      for count in range(1, 6)),
    Scenario("v2v-ipv6", "v2v, 80 B of IPv6, 1,000 flows",
             traffic={"frame": 80, "ip": 6, "flows": 1000}, variants={"IPv4": {"ip": 4}},
             bars=(Bar(MPPS, "@IPv4"), Bar(CYCLES, "@IPv4"), Bar(MPPS, "testpmd"),
                   Bar(MPPS, "ovs"))),
    # As many bytes, in segments that whoever sends them has cut, or that nobody has to. Guests save
    # what cutting and TCP's work for each would cost them, which the generator has not.
    Scenario("v2v-tso", "v2v, TCP segments of 64 KiB", figures=(GBPS,),
             traffic={"frame": 65535, "protocol": "tcp", "tso": 1448},
             variants={"cut by guests": {"frame": 1514, "tso": 0}},
             bars=(Bar(GBPS, "@cut by guests"),)),
    Scenario("v2v-vxlan", "v2v across two switches with VXLAN, 64 B, 1,000 flows",
             traffic={"flows": 1000, "tunnel": "switch"}, variants={"one switch": {"tunnel": None}},
             bars=(Bar(MPPS, "@one switch"), Bar(CYCLES, "@one switch"))),
    Scenario("v2t-vxlan", "guest to a host that speaks VXLAN, 64 B, 1,000 flows",
             traffic={"flows": 1000, "tunnel": "host"}, variants={"plain L2": {"tunnel": None}},
             bars=(Bar(MPPS, "@plain L2", at_least=0.5), Bar(CYCLES, "@plain L2"))),
    Scenario("kvm-xen-offloads", "KVM and Xen: TCP, checksums and segmentation left, or not",
             traffic=dict(_offloads())[f"v2v, {WHOLE}"],
             variants={name: change for name, change in _offloads() if name != f"v2v, {WHOLE}"},
             figures=(GBPS, CYCLES)),
    *_many_ends(),
    Scenario(
        "v2v-acl", "v2v, 64 B, 100,000 flows, 10,000 rules of 201 masks",
        traffic={"flows": 100_000, "rules": "wildcards"},
        bars=(Bar(MPPS, "ovs", at_least=10), Bar(CYCLES, "ovs"), Bar(MPPS, "testpmd"))),
    # Every frame is the first one of its flow, so the rate is that of first packets.
    *(Scenario(f"v2v-new-flows-{name}", f"v2v, 64 B, each of a new flow, {text}",
               traffic={"flows": 100_000, "rules": rules, "new_flows": 1},
               bars=(Bar(MPPS, "", at_least=wanted), Bar(MPPS, "ovs")))
      for name, rules, text, wanted in (
          ("acl", "wildcards", "10,000 rules of 201 masks", 0.3),
          ("few", "few", "100 rules of 5 masks", 1))),
    # Two directions of connections that are known, each packet looked up in the table of them.
    *(Scenario(f"v2v-conntrack-{text}", f"v2v, 64 B, {count:,} connections, tracked",
               traffic={"flows": 2 * count, "flow_kind": "answered", "rules": "stateful"},
               variants={"not tracked": {"rules": "by port"}}, stateful=True,
               bars=(Bar(MPPS, "@not tracked", at_least=0.7), Bar(CYCLES, "@not tracked")))
      for count, text in ((1000, "1k"), (100_000, "100k"))),
    # Frames arrive with another source than they were sent with: none is compared.
    Scenario("v2v-nat-1k", "v2v, 64 B, one direction, 1,000 connections, sources translated",
             traffic={"flows": 2000, "rules": "nat", "direction": "ab", "verify_every": 0},
             variants={"not tracked": {"rules": "by port"}}, stateful=True,
             bars=(Bar(MPPS, "@not tracked"), Bar(CYCLES, "@not tracked"))),
)
SCENARIOS = (*GRIDS, *SINGLES)

# What is asked of Strait alone is in alone.py, flow_runs.py, connection_runs.py and
# restart_runs.py; of the generator, in ceiling_runs.py.
ALONE = ("start", "memory", "churn", "flow-load", "rule-memory", "flow-memory", "flow-change",
         "flow-changes", "flow-churn", "flow-cold", "tcp-connections", "udp-connections",
         "held-connections", "neighbour", "restart", "restart-v2v", "generator",
         "generator-histogram")


def names():
    return [one.name for one in SCENARIOS] + list(ALONE)


def usual_names():
    return [one.name for one in SCENARIOS if one.usual]


def named(name):
    """A scenario, or one that a newer or older version had, of which only the name is known."""
    return next((one for one in SCENARIOS if one.name == name), Scenario(name, name, grid=True))
