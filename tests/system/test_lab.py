# SPDX-License-Identifier: BSD-3-Clause
"""The lab itself: what the other tests rely on to notice a fault."""

import pytest

import lab as parts


@pytest.fixture
def pair(lab):
    left, right = lab.netns(), lab.netns()
    left.sh(f"ip link add left type veth peer name right netns {right.name}")
    return left.configure("left", "10.9.0.1"), right.configure("right", "10.9.0.2")


def test_stream_delivers(pair):
    left, right = pair
    assert left.ping(right).lost == 0
    assert left.stream(right, size=3_000_001).size == 3_000_001


def test_stream_notices_one_changed_byte(pair):
    left, right = pair
    left.prepare_block()
    right.prepare_block()
    right.sh("printf X | dd of=block bs=1 seek=700000 conv=notrunc 2> /dev/null")
    with pytest.raises(parts.LabError, match="differ"):
        left.stream(right, size=2 << 20)


def test_stream_notices_a_missing_end(pair):
    left, right = pair
    left.prepare_block()
    left.sh("truncate -s 1000000 block")
    with pytest.raises(parts.LabError, match="EOF"):
        left.stream(right, size=1 << 20)


def test_wire_keeps_vlan_tags(lab, pair):
    from scapy.layers.l2 import Dot1Q, Ether
    left, right = pair
    sender, receiver = lab.wire(left, "left"), lab.wire(right, "right")
    frame = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / Dot1Q(vlan=10, prio=5) / \
        Dot1Q(vlan=20, type=0x88b5) / bytes(range(50))
    sender.send(frame)
    seen = receiver.receive(1.0, 1, lambda received: received.src == "02:00:00:00:00:01")
    assert [bytes(received) for received in seen] == [bytes(frame)]
    assert sender.receive(0.1) == []
