# SPDX-License-Identifier: BSD-3-Clause
"""Tables that track connections: with what each ct action is said to find, a frame leaves Strait's
trace by the ports by which it leaves OVS's. What a connection is in truth is not asked."""

import collections
import random

import pytest

from . import rules as tables
from .compare import Comparison
from .conversations import conversations
from .ct_tables import CtTableMaker
from .test_differential import seeds_from_environment

FRAMES = 40
TABLES = 12
STATES = ("new", "est", "est|rpl", "rel", "new|rel", "rel|rpl", "inv")


# What goes along, and what does not, with the ports by which it is seen to leave.
SINGLE = {
    "what is only committed is not tracked behind it": ((
        "table=0,ip,actions=ct(table=1)",
        "table=1,ip,ct_state=+trk+new,actions=ct(commit),resubmit(,2)",
        "table=2,priority=2,ct_state=+trk,actions=2", "table=2,priority=1,actions=3"), [3]),
    "the stack": ((
        "table=0,ip,actions=load:5->NXM_NX_REG0[],push:NXM_NX_REG0[],ct(table=1),"
        "pop:NXM_NX_REG1[],output:NXM_NX_REG1[]",
        "table=1,actions=pop:NXM_NX_REG2[],output:NXM_NX_REG2[]"), [5, 5]),
    "a port that was loaded": ((
        "table=0,ip,actions=load:3->NXM_OF_IN_PORT[],ct(table=1)",
        "table=1,in_port=3,actions=1,3,4", "table=1,priority=1,actions=5"), [1, 4]),
    "no port of a lookup": ((
        "table=0,ip,actions=resubmit(3,2)", "table=2,ip,in_port=3,actions=ct(table=1)",
        "table=1,in_port=1,actions=1,3,4", "table=1,priority=1,actions=5"), [3, 4]),
    "no action set that came later": ((
        "table=0,ip,actions=ct(table=1),write_actions(output:4)", "table=1,actions=5"), [4, 5]),
    "the last action of a set": ((
        "table=0,ip,actions=write_actions(ct(table=1),resubmit(,2))", "table=1,actions=5",
        "table=2,actions=3"), [3]),
    "a mark": ((
        "table=0,ip,actions=ct(commit,table=1,exec(set_field:0x12->ct_mark))",
        "table=1,ip,ct_mark=0x10/0xf0,actions=2,ct(table=2)", "table=2,ct_mark=0,actions=3",
        "table=2,priority=1,actions=4"), None),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_pass_has_what_ovs_has(ovs, traced, name):
    lines, ports = SINGLE[name]
    ovs.load(lines)
    traced.load(lines)
    frame = next(f for f in conversations(1, 100) if f.kind == "tcp" and f.port == 1)
    wanted = ovs.traced_ports(1, frame.data, [])
    assert ports is None or wanted == ports
    assert traced.traced_ports(1, frame.data, []) == wanted


def test_passes_go_where_ovs_has_them_go(ovs, traced):
    counted = collections.Counter()
    for seed in seeds_from_environment(TABLES):
        rules = Comparison(ovs, None).taken(CtTableMaker(seed, nat=False).make())
        traced.load(tables.lines(rules))
        chance = random.Random(seed)
        for frame in conversations(seed, FRAMES):
            states = [chance.choice(STATES) for _ in range(3)]
            wanted = ovs.traced_ports(frame.port, frame.data, states)
            got = traced.traced_ports(frame.port, frame.data, states)
            if got != wanted:
                lines = "\n".join(tables.lines(rules))
                pytest.fail(f"STRAIT_SEED={seed} {frame} finds {states}\n{lines}\n"
                            f"OVS: {wanted}, Strait: {got}\n"
                            f"{ovs.trace(frame.port, frame.data)}", pytrace=False)
            counted["frames"] += 1
            counted["forwarded"] += bool(wanted)
            counted["in two ways"] += len(wanted) > 1
    print(dict(counted))
    # A run that drops all proves nothing.
    assert counted["forwarded"] > counted["frames"] / 3
    assert counted["in two ways"] > counted["frames"] / 50
