# SPDX-License-Identifier: BSD-3-Clause
"""Beside frames, what is told of random tables: Strait lists flows as OVS does, with what each has
carried, finds those that a cookie with a mask selects, and counts what meters were asked about."""

import dataclasses
import random
import re
import time

import pytest

from . import rules as tables
from .compare import Comparison, by_port, left_out
from .rules import Action, Rule
from .test_differential import random_flows, usual_and_soak

LAYERS = ("rewrite", "ttl", "registers", "tables", "goto", "clone", "outputs")
# So high that all pass: what is too much is a matter of time.
METERS = {1: "pktps", 5: "kbps", 0xffff: "pktps,stats"}


def numbered(rules, seed):
    """Their lines, each flow with a cookie of its own."""
    chance = random.Random(seed)
    return [f"cookie={chance.getrandbits(63) + 1:#x},{rule}" for rule in rules]


def sent(frames):
    return [(frame.port, frame.data) for frame in frames]


# Strait lists what is set by the words of OpenFlow 1.0: OVS, which is given them, keeps some apart.
_SAME = ((r"set_field:(\d)/0x3->nw_ecn", r"set_field:\1->nw_ecn"),
         (r"mod_nw_ttl:(\d+)", r"set_field:\1->nw_ttl"),
         (r"write_metadata:(\w+/\w+)", r"set_field:\1->metadata"))


def plain(lines):
    """Lines that mean the same, alike and in order."""
    for pattern, instead in _SAME:
        lines = [re.sub(pattern, instead, line) for line in lines]
    return sorted(lines)


def soon(ask, wanted, seconds=10):
    """The answer, as soon as it is the one that is wanted; what it is at last, if it never is."""
    end = time.monotonic() + seconds
    while (answer := ask()) != wanted and time.monotonic() < end:
        time.sleep(0.02)
    return answer


def listed(side):
    """What Strait lists, as lines of flows."""
    return [f"cookie={flow['cookie']:#x},table={flow['table']},priority={flow['priority']},"
            f"{flow['match']} actions={flow['actions']}" for flow in side.flows() if flow["cookie"]]


@usual_and_soak(4)
def test_flows_are_listed_as_ovs_lists_them(ovs, traced, seeds):
    went = 0
    for seed in seeds():
        rules, _ = random_flows(seed, LAYERS)
        lines = numbered(Comparison(ovs, traced).taken(rules), seed)
        for side in (ovs, traced):
            side.load(lines)
        chance = random.Random(seed)
        for _ in range(3):
            wanted = plain(ovs.flows())
            own = listed(traced)
            ovs.load(own)
            assert plain(ovs.flows()) == wanted, f"STRAIT_SEED={seed}"
            # About half of them go, by a bit of their cookies.
            bit = 1 << chance.randrange(63)
            for side in (ovs, traced):
                side.delete(f"cookie={bit:#x}/{bit:#x}")
            went += len(wanted) - len(ovs.flows())
    assert went


@usual_and_soak(6)
def test_flows_have_carried_what_ovs_has_them_carry(ovs, live, seeds):
    carried = sent_in = 0
    for seed in seeds():
        rules, frames = random_flows(seed, LAYERS)
        lines = numbered(Comparison(ovs, live).taken(rules), seed)
        for side in (ovs, live):
            side.load(lines)
            side.forward(sent(frames))
        wanted = ovs.carried()
        assert soon(live.carried, wanted) == wanted, f"STRAIT_SEED={seed}\n" + "\n".join(lines)
        carried += sum(packets for packets, _ in wanted.values())
        sent_in += len(frames)
    assert carried > sent_in / 2


@pytest.fixture
def metered(ovs, live):
    sides = ovs, live
    for side in sides:
        side.set_meters([f"meter={number},{words},bands=type=drop,rate=100000000"
                         for number, words in METERS.items()])
    yield sides
    for side in sides:
        side.load([])
        side.set_meters([])


@usual_and_soak(5)
def test_meters_count_what_ovs_has_them_count(metered, seeds):
    chance = random.Random(1)
    ovs, live = metered
    for seed in seeds():
        rules, frames = random_flows(seed, LAYERS)
        lines = tables.lines(with_meters(Comparison(ovs, live).taken(rules), chance))
        frames = [frame for frame in frames if not left_out(lines, frame)]
        for side in metered:
            side.load(lines)
        for frame, right, seen in zip(frames, ovs.forward(sent(frames)), live.forward(sent(frames)),
                                      strict=True):
            assert by_port(seen) == by_port(right), f"STRAIT_SEED={seed} {frame}"
        wanted = ovs.metered()
        assert soon(live.metered, wanted) == wanted, f"STRAIT_SEED={seed}\n" + "\n".join(lines)
    assert all(wanted.values())


def with_meters(rules, chance):
    """The same, some of which ask a meter first."""
    return [dataclasses.replace(rule, actions=(
        Action(f"meter:{chance.choice(list(METERS))}"), *rule.actions))
            if isinstance(rule, Rule) and rule.actions and chance.random() < 0.5 else rule
            for rule in rules]
