# SPDX-License-Identifier: BSD-3-Clause
# The rule sets that flows are measured with, as text that Strait and OVS read alike. Port 1 is the
# guest that frames of side a come from, port 2 the other one: each frame goes to the far one.

import functools
import random
import typing

from .machine import BenchError, run

# One rule a flow: what it matches on beside its port.
EXACT = {
    "nw_dst": "ip,nw_dst={0.destination}",
    "5tuple": "udp,nw_src={0.source},nw_dst={0.destination},tp_src={0.source_port},"
              "tp_dst={0.destination_port}",
}
PORTS = {"a": (1, 2), "b": (2, 1)}
BITS = 32


class Flow(typing.NamedTuple):
    side: str
    source: str
    destination: str
    source_port: int
    destination_port: int


def list_flows(settings, flows, flow_kind="5tuple"):
    """What the generator sends, in the order of their numbers, side a first."""
    text = run([settings.program("strait-generator"), "--list-flows", "--flows", str(flows),
                "--flow-kind", flow_kind], timeout=120)
    out = []
    for line in text.splitlines():
        side, source, destination, source_port, destination_port = line.split()
        out.append(Flow(side, source, destination, int(source_port), int(destination_port)))
    return out


def exact_rule(flow, flow_kind, actions=None):
    near, far = PORTS[flow.side]
    return (f"priority=100,in_port={near},{EXACT[flow_kind].format(flow)},"
            f"actions={actions or f'output:{far}'}")


def exact(settings, flows, flow_kind):
    return [exact_rule(flow, flow_kind) for flow in list_flows(settings, flows, flow_kind)]


def _number(address):
    parts = [int(part) for part in address.split(".")]
    return parts[0] << 24 | parts[1] << 16 | parts[2] << 8 | parts[3]


def _prefix(address, length):
    number = _number(address) & (1 << BITS) - (1 << BITS - length)
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)) + f"/{length}"


class Mask(typing.NamedTuple):
    """Lengths of prefixes, and the bits of the destination's port."""
    source: int
    destination: int
    port_bits: int

    def rule(self, flow):
        near, far = PORTS[flow.side]
        # An address has 16 bits that differ between flows.
        told_apart = self.source - 16 + self.destination - 16 + self.port_bits
        words = [f"priority={100 + told_apart}", f"in_port={near}", "udp"]
        if self.source > 16:
            words.append(f"nw_src={_prefix(flow.source, self.source)}")
        if self.destination > 16:
            words.append(f"nw_dst={_prefix(flow.destination, self.destination)}")
        if self.port_bits:
            mask = 0x10000 - (1 << 16 - self.port_bits)
            words.append(f"tp_dst={flow.destination_port & mask:#x}/{mask:#x}")
        return ",".join(words) + f",actions=output:{far}"


# The first one tells all flows apart, so that no two of them are one to a cache. Of the others of
# many each can have 25 different rules a side, and none takes all flows.
MANY_MASKS = [Mask(32, 32, 16)] + [
    Mask(source, destination, port_bits) for source in range(19, 29)
    for destination in range(18, 28) for port_bits in (0, 4)][1:]
FEW_MASKS = [Mask(32, 32, 16), Mask(22, 16, 0), Mask(16, 22, 0), Mask(20, 20, 4)]


def _by_masks(settings, masks, rules, flows):
    """So many rules, each for some of the flows; what is more specific comes first, and one rule a
    port takes what is left."""
    chance = random.Random(1)
    listed = list_flows(settings, flows)
    halves = listed[:flows // 2], listed[flows // 2:]
    out = [f"priority=1,in_port={near},actions=output:{far}" for near, far in PORTS.values()]
    found = set(out)
    for number in range((rules - len(out)) // 2):
        mask = masks[number % len(masks)]
        for half in halves:
            for _attempt in range(1000):
                rule = mask.rule(chance.choice(half))
                if rule not in found:
                    break
            else:
                raise BenchError(f"there are not enough different rules of {mask}")
            found.add(rule)
            out.append(rule)
    return out


def wildcards(settings, **_):
    """10,000 rules of 201 masks."""
    return _by_masks(settings, MANY_MASKS, 10_000, 100_000)


def few(settings, **_):
    """100 rules of 5 masks."""
    return _by_masks(settings, FEW_MASKS, 100, 100_000)


def by_port(settings, **_):
    """One rule a port."""
    return [f"in_port={near},actions=output:{far}" for near, far in PORTS.values()]


def stateful(settings, **_):
    """What port 1 begins is tracked, and what port 2 answers passes."""
    return ["priority=10,ip,actions=ct(table=1)",
            "table=1,priority=10,in_port=1,ct_state=+trk+new,ip,actions=ct(commit),output:2",
            *(f"table=1,priority=10,in_port={near},ct_state=+trk+est,ip,actions=output:{far}"
              for near, far in PORTS.values())]


def nat(settings, **_):
    """What port 1 begins is tracked, and goes on with a source address out of some; what port 2
    sends passes."""
    return ["priority=10,in_port=1,ip,actions=ct(table=1,nat)",
            "table=1,priority=10,in_port=1,ct_state=+trk+new,ip,"
            "actions=ct(commit,nat(src=192.0.2.1-192.0.2.200)),output:2",
            "table=1,priority=10,in_port=1,ct_state=+trk+est,ip,actions=output:2",
            "priority=5,in_port=2,actions=output:1"]


RULES = {"exact": exact, "wildcards": wildcards, "few": few, "by port": by_port,
         "stateful": stateful, "nat": nat}


@functools.lru_cache(maxsize=4)
def _lines(settings, rules, flows, flow_kind):
    return RULES[rules](settings, flows=flows, flow_kind=flow_kind)


def text_for(settings, rules, flows, flow_kind="5tuple"):
    """The lines of a rule set for a generator's flows."""
    lines = _lines(settings, rules, flows, flow_kind)
    return "\n".join(lines) + "\n", len(lines)
