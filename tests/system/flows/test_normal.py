# SPDX-License-Identifier: BSD-3-Clause
"""NORMAL and FLOOD, where what came before counts: whole sequences of frames, whose addresses move
from port to port, and are learnt per VLAN. Strait has tags of other kinds than OVS for no VLAN's,
priority tags for none: of those, l2's own tests say what becomes."""

import pytest

from . import values
from .compare import by_port
from .frames import FrameMaker

# Those that bridges keep to themselves, and neighbours of theirs that they do not.
RESERVED = tuple(0x0180c2000000 + i for i in (0, 1, 2, 3, 14, 15, 16, 0x20, 0x21))
TABLES = {
    "normal": ["priority=0 actions=NORMAL"],
    "normal and others": [
        "priority=10,tcp actions=mod_dl_dst:06:aa:bb:cc:dd:ee,NORMAL",
        "priority=10,udp actions=NORMAL,output:3", "priority=15,in_port=4 actions=FLOOD",
        "priority=20,in_port=4,arp actions=resubmit(2,1)", "table=1 actions=NORMAL",
        "priority=0 actions=NORMAL"],
}


@pytest.mark.parametrize("most_tags", [0, 1, 2])
@pytest.mark.parametrize("table", TABLES)
def test_strait_learns_and_floods_as_ovs_does(ovs, live, table, most_tags):
    for seed in range(3):
        frames = FrameMaker(seed, most_tags=most_tags, vlans=(1, 5, 100, 4094), service_tags=False,
                            destinations=(*values.MACS, *RESERVED)).make(100)
        sent = [(frame.port, frame.data) for frame in frames]
        ovs.load(TABLES[table])
        live.load(TABLES[table])
        expected, got = ovs.forward(sent, cached=False), live.forward(sent)
        for i, (right, seen) in enumerate(zip(expected, got, strict=True)):
            assert by_port(right) == by_port(seen), f"frame {i} of seed {seed}: {frames[i]}"
