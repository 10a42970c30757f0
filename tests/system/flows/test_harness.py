# SPDX-License-Identifier: BSD-3-Clause
"""What the differential test rests on: OVS against itself is alike, a switch with a fault is found
out, and the table that shows it is made small."""

import re

import pytest

from .compare import Comparison
from .conversations import conversations
from .ct_tables import CtTableMaker
from .tables import LAYERS
from .test_differential import FRAMES, random_flows

FAULTS = {
    "does not count the TTL down": (r"dec_ttl,?", ""),
    "takes one port for another": (r"\b(output:|output\(|)3(?=[,)\n]|$)", r"\g<1>4"),
    "ignores masks": (r"((?:nw|ip)_(?:src|dst)=[\d.]+)/[\d.]+", r"\1"),
    "comes in by the same port again": (r"resubmit\(\d,", "resubmit(,"),
    "counts registers from 1": (r"->NXM_NX_REG0\[", "->NXM_NX_REG1["),
    "has no second dimension": (r"conjunction\((\d+),2/2\)", r"conjunction(\1,1/2)"),
    "reads lengths as longer ones": (r"check_pkt_larger\((\d+)\)", "check_pkt_larger(10)"),
    "pops nothing": (r"pop_vlan,?|strip_vlan,?", ""),
}
TRACKING_FAULTS = {
    "takes replies for requests": (r"\+rpl", "-rpl"),
    "leaves ports as they are": (r"(nat\(dst=.*?):8080\)", r"\1)"),
    "translates nothing back": (r"(table=1.*),nat\)", r"\1)"),
    "commits without marks": (r"exec\(set_field:(\S+?)->ct_mark", r"exec(set_field:0->ct_mark"),
    "has one zone for all": (r"zone=(\d+|\w+\[\d+..\d+\])", "zone=7"),
}
# The others take a soak.
SHOWN_ALWAYS = ("does not count the TTL down", "commits without marks")


def some(faults):
    return [fault if fault in SHOWN_ALWAYS else pytest.param(fault, marks=pytest.mark.soak)
            for fault in faults]


class Faulty:
    """A switch that misreads its flows: pattern is replaced in each line."""

    def __init__(self, ovs, pattern, replacement):
        self._ovs = ovs
        self._pattern = re.compile(pattern)
        self._replacement = replacement

    def load(self, lines):
        self._ovs.load([self._misread(line) for line in lines])

    def _misread(self, line):
        misread = " ".join(self._pattern.sub(self._replacement, part) for part in line.split(" "))
        return re.sub(r"actions=(?=,bucket|$)", "actions=drop", misread)

    def forward(self, frames):
        return self._ovs.forward(frames)


@pytest.fixture(scope="module")
def pair(module_lab):
    return module_lab.dummy_ovs(), module_lab.dummy_ovs()


def flows(first, count):
    for seed in range(first, first + count):
        yield random_flows(seed, LAYERS)


def tracking(first, count):
    for seed in range(first, first + count):
        yield CtTableMaker(seed).make(), conversations(seed, FRAMES)


def found(comparison, cases):
    """The first difference that is there twice: on a busy machine one may come of the time that
    passed, as when a connection is over before the next frame."""
    for rules, frames in cases:
        difference = comparison.first_difference(comparison.taken(rules), frames)
        if difference and comparison.first_difference(difference.rules, difference.frames):
            return difference
    return pytest.fail(f"not found in {dict(comparison.counted)}")


@pytest.mark.parametrize("cases", [flows, tracking])
def test_ovs_agrees_with_itself_and_is_given_something_to_do(pair, cases):
    comparison = Comparison(*pair)
    for rules, frames in cases(1, 8):
        assert comparison.first_difference(comparison.taken(rules), frames) is None
    print(dict(comparison.counted))
    assert comparison.counted["refused"] < 5
    assert comparison.counted["forwarded"] > comparison.counted["frames"] / 3
    assert comparison.counted["rewritten"] > comparison.counted["frames"] / 10


@pytest.mark.parametrize("fault", some(FAULTS))
def test_a_fault_is_found_and_shown_by_a_small_table(pair, fault):
    comparison = Comparison(pair[0], Faulty(pair[1], *FAULTS[fault]))
    small = comparison.smallest(found(comparison, flows(100, 60)))
    print(small)
    assert len(small.rules) <= 5
    assert len(small.frames) <= 1
    assert len("".join(map(str, small.rules))) < 700


@pytest.mark.parametrize("fault", some(TRACKING_FAULTS))
def test_a_fault_of_tracking_is_found_and_shown_by_few_frames(pair, fault):
    comparison = Comparison(pair[0], Faulty(pair[1], *TRACKING_FAULTS[fault]))
    small = comparison.smallest(found(comparison, tracking(100, 60)))
    print(small)
    assert len(small.rules) <= 6
    assert len(small.frames) <= 4
