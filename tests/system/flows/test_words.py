# SPDX-License-Identifier: BSD-3-Clause
"""Single lines of flows, the borderline ones among them (words.txt): what OVS takes and refuses is
what is written there, and Strait takes and refuses the same."""

import pathlib
import re

import pytest

import lab as parts

_WORDS = pathlib.Path(__file__).parent / "words.txt"


def words(*signs):
    """(sign, line, the line as OVS prints it) of those with these signs."""
    for text in _WORDS.read_text(encoding="ascii").splitlines():
        if text[:1] in signs:
            line, _, printed = text[2:].partition(" => ")
            yield text[0], line, printed


def test_ovs_takes_them(ovs):
    ovs.load([line for _, line, _ in words("+", "=", "?", "~")])


def test_ovs_takes_the_lines_that_it_prints(ovs):
    ovs.load([printed for _, _, printed in words("+", "=") if printed])


@pytest.mark.soak
def test_ovs_refuses_and_prints_them(ovs):
    for sign, line, printed in words("-", ">", "+", "="):
        if sign in "->":
            with pytest.raises(parts.FlowsRefused):
                ovs.load([line])
        else:
            ovs.load([line])
            flows = [re.sub("reset_counts ", "", flow) for flow in ovs.flows()]
            assert not printed or flows == [printed], line


def _outcome(side, line):
    """What Strait lists when it has taken the line, or how it refuses it."""
    try:
        side.load([line])
    except parts.FlowsRefused as refusal:
        return str(refusal)
    return side.flows()


def test_strait_takes_and_refuses_what_ovs_does(traced):
    faults = []
    for sign, line, printed in words("+", "-", "?", "~", ">", "="):
        got = _outcome(traced, line)
        if isinstance(got, str):
            if sign in "+=>":
                faults.append(f"refused: {line}: {got}")
            elif "\n" in got.strip():
                faults.append(f"not refused by one sentence: {line}: {got}")
        elif sign == "-":
            faults.append(f"taken, but OVS refuses it: {line}")
        elif sign == "+" and printed and _outcome(traced, printed) != got:
            faults.append(f"means something else than OVS prints, {printed}: {line}")
    assert not faults, "\n".join(faults)


# Each is done to what those before it have left.
CHANGES = (
    ("mod", "cookie=0x5/0xf,actions=4"),
    # Where none has the cookie that is looked for, none is added; where none is looked for, one is.
    ("mod", "cookie=7/-1,actions=1"),
    ("mod strict", "cookie=7/-1,tcp,actions=1"),
    ("mod", "cookie=8,rarp,actions=1"),
    ("mod", "cookie=0x20/0x20,cookie=0x29,actions=3"),
    ("mod", "cookie=0x48,tcp,actions=1"),
    ("mod strict", "cookie=0x29/-1,priority=8,icmp,actions=1"),
    ("mod strict", "cookie=0x29/-1,priority=9,icmp,actions=1"),
    ("mod", "cookie=0/-1,sctp,actions=5"),
    ("del", "cookie=0x15/-1,tcp"),
    ("del", "cookie=0x14/0xfffffffffffffffe"),
    ("del strict", "cookie=0x48/-1,priority=3,tcp"),
    ("del strict", "cookie=0x48/-1,tcp"),
    ("del", "cookie=0/-1"),
)


def _printed(flow):
    """A flow that Strait lists, as OVS prints it."""
    return ((f"cookie={flow['cookie']:#x}, " if flow["cookie"] else "") +
            (f"priority={flow['priority']}," if flow["priority"] != 32768 else "") +
            f"{flow['match']} actions={flow['actions']}")


def test_cookies_choose_what_they_choose_in_ovs(ovs, traced):
    for side in (ovs, traced):
        side.load(["cookie=0x5,tcp,actions=1", "cookie=0x15,udp,actions=1",
                   "cookie=0x26,priority=9,icmp,actions=2", "priority=3,sctp,actions=3"])
    counts = []
    for how, line in CHANGES:
        command, _, strict = how.partition(" ")
        for side in (ovs, traced):
            side.change(command, line, strict=bool(strict))
        for within in ([], ["cookie=0/-1"], ["cookie=0x5/0x1"], ["cookie=0x15/-1,udp"]):
            there, here = ovs.flows(*within), [_printed(flow) for flow in traced.flows(*within)]
            assert sorted(here) == sorted(there), f"{within} behind {command} {line}"
        counts.append(len(ovs.flows()))
    assert counts == [4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 4, 4, 3, 2]
    for side in (ovs, traced):
        for command, line in (("add", "cookie=5/1,actions=4"), ("del", "cookie=5"),
                              ("mod", "cookie=5/x,actions=4")):
            with pytest.raises(parts.FlowsRefused):
                side.change(command, line)
        with pytest.raises(parts.FlowsRefused):
            side.flows("cookie=5")
