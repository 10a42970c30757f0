# SPDX-License-Identifier: BSD-3-Clause
"""Random tables and random frames: Strait forwards as OVS does. STRAIT_SEED is the first seed, 1 if
it is not set; a soak goes on for minutes from a seed of its own."""

import os
import random
import time

import pytest

from .compare import Comparison
from .frames import FrameMaker, damage
from .tables import LAYERS, TableMaker

SOAK_SECONDS = 300
FRAMES = 60
# What a layer makes no sense without.
_WITH = {
    "outputs": ("registers",), "vlan": ("tables",), "registers": ("tables", "outputs"),
    "move": ("registers", "tables"), "goto": ("registers", "rewrite"), "clone": ("rewrite", "vlan"),
    "action_set": ("rewrite", "vlan", "goto", "ttl"), "stack": ("registers",),
    "length": ("registers", "tables"), "groups": ("rewrite", "vlan", "tables"),
    "tunnel": ("registers", "move", "tables")}
VOCABULARIES = {"matches": (), **{layer: (layer, *_WITH.get(layer, ())) for layer in LAYERS},
                "everything": LAYERS}


def random_flows(seed, layers):
    # What is pushed onto a frame with two tags, OVS forgets one of.
    frames = FrameMaker(seed, most_tags=1 if "vlan" in layers else 2).make(FRAMES)
    return TableMaker(seed, frames, layers).make(), frames


def run(comparison, cases):
    """cases: (seed, (rules, frames)). Fails with the smallest table that shows a difference."""
    for seed, (rules, frames) in cases:
        difference = comparison.first_difference(comparison.taken(rules), frames)
        if difference:
            pytest.fail(f"STRAIT_SEED={seed}\n{comparison.report(difference)}", pytrace=False)
    print(dict(comparison.counted))
    # A run that drops all proves nothing.
    assert comparison.counted["forwarded"] > comparison.counted["frames"] / 10
    assert comparison.counted["refused"] <= comparison.counted["tables"] / 5
    assert comparison.counted["oracle ended"] <= comparison.counted["tables"] / 20


def seeds_from_environment(count):
    first = int(os.environ.get("STRAIT_SEED", "1"))
    print(f"STRAIT_SEED={first}")
    return range(first, first + count)


def soak(seconds=SOAK_SECONDS):
    first = int(os.environ.get("STRAIT_SEED") or random.randrange(1 << 32))
    print(f"STRAIT_SEED={first}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield first
        first += 1


def usual_and_soak(count, seconds=60):
    """Of a test that takes seeds: once so many, and in a soak for so long."""
    return pytest.mark.parametrize("seeds", [
        pytest.param(lambda: seeds_from_environment(count), id="usual"),
        pytest.param(lambda: soak(seconds), id="soak", marks=pytest.mark.soak)])


@pytest.mark.parametrize("layers", VOCABULARIES.values(), ids=VOCABULARIES)
def test_a_trace_tells_what_ovs_does(ovs, traced, layers):
    run(Comparison(ovs, traced),
        ((seed, random_flows(seed, layers)) for seed in seeds_from_environment(4)))


@pytest.mark.parametrize("layers", VOCABULARIES.values(), ids=VOCABULARIES)
def test_strait_forwards_as_ovs_does(ovs, live, layers):
    run(Comparison(ovs, live),
        ((seed, random_flows(seed, layers)) for seed in seeds_from_environment(10)))


def test_strait_makes_of_damaged_frames_what_ovs_does(ovs, live):
    def cases():
        for seed in seeds_from_environment(20):
            rules, frames = random_flows(seed, LAYERS)
            yield seed, (rules, damage(frames, seed))
    run(Comparison(ovs, live), cases())


@pytest.mark.soak
@pytest.mark.parametrize("side", ["traced", "live"])
def test_strait_forwards_as_ovs_does_for_minutes(ovs, side, request):
    run(Comparison(ovs, request.getfixturevalue(side)),
        ((seed, random_flows(seed, LAYERS)) for seed in soak()))
