# SPDX-License-Identifier: BSD-3-Clause
"""What the differential test rests on: OVS against itself is alike, a switch with a fault is found
out, and the table that shows it is made small."""

import re

import pytest

import lab as parts

from .compare import Comparison
from .frames import FrameMaker
from .tables import LAYERS, TableMaker

FAULTS = {
    "does not count the TTL down": (r"dec_ttl,?", ""),
    "takes one port for another": (r"\b(output:|output\(|)3(?=[,)\n]|$)", r"\g<1>4"),
    "ignores a mask's last bits": (r"nw_src=(\S+?)/(\d+)", r"nw_src=\1/8"),
    "comes in by the same port again": (r"resubmit\(\d,", "resubmit(,"),
    "counts registers from 1": (r"->NXM_NX_REG0\[", "->NXM_NX_REG1["),
    "has no second dimension": (r"conjunction\((\d+),2/2\)", r"conjunction(\1,1/2)"),
    "reads lengths as longer ones": (r"check_pkt_larger\((\d+)\)", "check_pkt_larger(10)"),
    "pops nothing": (r"pop_vlan,?|strip_vlan,?", ""),
}


class Faulty:
    """A switch that misreads its flows: pattern is replaced in each line."""

    def __init__(self, ovs, pattern, replacement):
        self._ovs = ovs
        self._pattern = re.compile(pattern)
        self._replacement = replacement

    def load(self, lines):
        self._ovs.load([self._misread(line) for line in lines])

    def _misread(self, line):
        match, actions = line.split(" actions=")
        match = self._pattern.sub(self._replacement, match)
        return f"{match} actions={self._pattern.sub(self._replacement, actions) or 'drop'}"

    def forward(self, frames):
        return self._ovs.forward(frames)


@pytest.fixture(scope="module")
def pair(module_lab):
    return module_lab.dummy_ovs(), module_lab.dummy_ovs()


def tables_and_frames(first, count, layers=LAYERS):
    for seed in range(first, first + count):
        frames = FrameMaker(seed, most_tags=1).make(60)
        yield TableMaker(seed, frames, layers).make(), frames


def test_ovs_agrees_with_itself_and_is_given_something_to_do(pair):
    comparison = Comparison(*pair)
    for rules, frames in tables_and_frames(1, 15):
        assert comparison.first_difference(comparison.taken(rules), frames) is None
    print(dict(comparison.counted))
    assert comparison.counted["refused"] < 5
    assert comparison.counted["forwarded"] > comparison.counted["frames"] / 3
    assert comparison.counted["rewritten"] > comparison.counted["frames"] / 10


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_shown_by_a_small_table(pair, fault):
    oracle, other = pair
    comparison = Comparison(oracle, Faulty(other, *FAULTS[fault]))
    for rules, frames in tables_and_frames(100, 60):
        difference = comparison.first_difference(comparison.taken(rules), frames)
        if difference:
            break
    else:
        pytest.fail(f"not found in {dict(comparison.counted)}")
    small = comparison.smallest(difference)
    print(small)
    assert len(small.rules) <= 4
    assert sum(len(rule.actions) for rule in small.rules) <= 8
