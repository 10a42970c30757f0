# SPDX-License-Identifier: BSD-3-Clause
"""The tag behind the outer one. OVS has no word for it, but is told to take the outer tag away and
to look; what it found stands in a register, and it puts the tag back, before tables are asked."""

import dataclasses
import random
import re

from lab import FlowsRefused

from .compare import Comparison
from .frames import FrameMaker
from .rules import Action, Group
from .tables import TableMaker
from .test_differential import FRAMES, run, usual_and_soak

LAYERS = ("rewrite", "registers", "move", "tables", "groups")
_FIRST = 200  # the table that is table 0 without it
_OUTER, _INNER = "NXM_NX_REG8[0..15]", "NXM_NX_REG8[16..31]"
_TAG = "NXM_OF_VLAN_TCI[]"
_LOOK = (f"table=0,priority=2,vlan_tci=0x1000/0x1000 actions=move:{_TAG}->{_OUTER},pop_vlan,"
         f"move:{_TAG}->{_INNER},push_vlan:0x8100,move:{_OUTER}->{_TAG},resubmit(,{_FIRST})",
         f"table=0,priority=1 actions=resubmit(,{_FIRST})")
_SET = (f"pop_vlan,load:{{0}}->{_TAG},push_vlan:0x8100,move:{_OUTER}->{_TAG},"
        f"load:{{0}}->{_INNER}")


def _register(value, mask):
    return f"reg8={value << 16:#x}/{mask << 16:#x}"


class Looking:
    """OVS as it understands the words of inner tags."""

    def __init__(self, ovs):
        self._ovs = ovs
        self.forward = ovs.forward
        self.trace = ovs.trace

    def load(self, lines):
        translated = {self._translated(line): line for line in lines}
        try:
            self._ovs.load([*_LOOK, *translated])
        except FlowsRefused as refusal:
            refusal.line = translated.get(refusal.line)
            raise

    @staticmethod
    def _translated(line):
        line = re.sub("^table=0,", f"table={_FIRST},", line)
        line = re.sub(r"inner_dl_vlan=(\w+)", lambda found: _register(
            0x1000 | int(found[1], 0), 0x1fff), line)
        line = re.sub(r"inner_dl_vlan_pcp=(\w+)", lambda found: _register(
            0x1000 | int(found[1], 0) << 13, 0xf000), line)
        line = re.sub(r"inner_vlan_tci=(\w+)/(\w+)", lambda found: _register(
            int(found[1], 0), int(found[2], 0)), line)
        return re.sub(r"set_field:(\w+)->inner_vlan_tci", lambda found: _SET.format(found[1]), line)


def _inner_tag(frame):
    return int.from_bytes(frame.data[18:20], "big") | 0x1000 if frame.tags == 2 else 0


def _match(tag, chance):
    vlan, priority = tag & 0xfff, tag >> 13
    if not tag:
        return chance.choice(("inner_vlan_tci=0/0xffff", "inner_vlan_tci=0/0x1000"))
    mask = chance.getrandbits(16) | 0x1000
    return chance.choice((
        f"inner_dl_vlan={vlan}", f"inner_dl_vlan_pcp={priority}", "inner_vlan_tci=0x1000/0x1000",
        f"inner_vlan_tci={tag:#x}/0xffff", f"inner_vlan_tci={tag & mask:#x}/{mask:#x}"))


def _with_inner(rule, frames, chance):
    """The same, with a match on the inner tag that some frame meets, and perhaps another tag."""
    if isinstance(rule, Group) or chance.random() < 0.4:
        return rule
    tag = _inner_tag(chance.choice(frames))
    actions = rule.actions
    matches = (*rule.matches, _match(tag, chance))
    if tag and "vlan" not in "".join(rule.matches) and chance.random() < 0.5:
        # OVS takes no tag away of which the match says nothing.
        matches += ("vlan_tci=0x1000/0x1000",)
        actions = (Action(f"set_field:{0x1000 | chance.getrandbits(16):#x}->inner_vlan_tci"),
                   *actions)
    return dataclasses.replace(rule, matches=matches, actions=actions)


def _cases(seeds):
    for seed in seeds:
        frames = FrameMaker(seed, service_tags=False).make(FRAMES)
        chance = random.Random(seed)
        yield seed, ([_with_inner(rule, frames, chance)
                      for rule in TableMaker(seed, frames, LAYERS).make()], frames)


@usual_and_soak(6)
def test_strait_sees_inner_tags_as_ovs_does_once_they_are_outer(ovs, live, seeds):
    run(Comparison(Looking(ovs), live), _cases(seeds()))
