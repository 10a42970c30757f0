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
