# SPDX-License-Identifier: BSD-3-Clause
"""L2 policy: which ports of a bridge reach which others, whatever the MAC table says, and how much
of theirs is flooded.

Frames made by scapy, into taps and out of them; the switch runs in a namespace of its own.
"""

import ipaddress
import socket
import struct
import time

import pytest
from scapy.layers.l2 import ARP, Ether

import lab as parts
from test_l2 import A, B, BROADCAST, C, D, QUIET, bench_of, deliver, exchange, frame

GROUP = "33:33:00:00:00:01"


@pytest.fixture(scope="module")
def one(module_lab):
    return bench_of(module_lab, "0")


@pytest.fixture
def bench(one):
    yield one
    one.clear()


def guests_and_uplinks(bench):
    """Two isolated ports, g0 and g1 with A and B behind them, and two others, u0 and u1."""
    bench.bridge()
    return ([bench.tap(f"g{i}", "--isolated") for i in range(2)] +
            [bench.tap(f"u{i}") for i in range(2)])


# ---- port isolation, as Linux's bridge has it (bridge link set dev DEV isolated on)

def test_isolated_ports_reach_only_the_others(bench):
    g0, g1, u0, u1 = guests_and_uplinks(bench)
    for unknown in (BROADCAST, GROUP, B):
        deliver(g0, frame(unknown, A), [u0, u1], [g1])
    deliver(g1, frame(BROADCAST, B), [u0, u1], [g0])
    deliver(u0, frame(BROADCAST, C), [g0, g1, u1])
    deliver(u1, frame(BROADCAST, D), [g0, g1, u0])
    assert bench.drops("g0") == {}
    # B is known by now.
    deliver(g0, frame(B, A), [], [g1, u0, u1])
    assert bench.drops("g0") == {"port_isolated": 1}
    deliver(g0, frame(C, A), [u0], [g1, u1])
    deliver(u0, frame(A, C), [g0], [g1, u1])
    deliver(u0, frame(D, C), [u1], [g0, g1])
    assert {e["mac"]: e["port"] for e in bench.macs()} == {A: "g0", B: "g1", C: "u0", D: "u1"}


def test_isolation_changes_while_ports_are_in_use(bench):
    g0, g1, u0, u1 = guests_and_uplinks(bench)
    assert [bench.ctl("port", "show", p)["isolated"] for p in ("g0", "u0")] == [True, False]
    bench.ctl("port", "set", "g1", "--isolated", "off")
    deliver(g0, frame(BROADCAST, A), [g1, u0, u1])
    deliver(g1, frame(A, B), [g0], [u0, u1])
    bench.ctl("port", "set", "g1", "--isolated", "on")
    deliver(g1, frame(A, B), [], [g0, u0, u1])
    bench.ctl("port", "set", "g1", "--mtu", 1400)  # what is not given stays
    deliver(g1, frame(BROADCAST, B), [u0, u1], [g0])


def test_nobody_that_is_not_isolated_is_a_drop(bench):
    bench.bridge("br0")
    g0, g1 = (bench.tap(f"g{i}", "--isolated") for i in range(2))
    deliver(g0, frame(BROADCAST, A), [], [g1])
    assert bench.drops("g0") == {"no_destination": 1}


def test_flows_that_flood_keep_to_it_and_those_that_name_a_port_do_not(bench):
    g0, g1, u0, u1 = guests_and_uplinks(bench)
    exchange([u0], [C])
    for wire in (g0, g1, u1):
        wire.drain()
    for action in ("FLOOD", "ALL", "NORMAL"):
        bench.ctl("flow", "mod", f"actions={action}")
        deliver(g0, frame(BROADCAST, A), [u0, u1], [g1])
        deliver(u0, frame(BROADCAST, C), [g0, g1, u1])
    bench.ctl("flow", "add", "in_port=g0,actions=output:g1")
    deliver(g0, frame(BROADCAST, A), [g1], [u0, u1])


def test_the_bridges_own_port_is_not_isolated(bench):
    bench.bridge("br0")
    g0 = bench.tap("g0", "--isolated")
    bench.ctl("address", "add", "br0", "10.77.0.1/24")
    with pytest.raises(parts.Refused) as refused:
        bench.ctl("port", "set", "br0", "--isolated", "on")
    assert "port br0 is the bridge's own, which every port reaches" in str(refused.value)
    g0.send(bytes(Ether(dst=BROADCAST, src=A) /
                  ARP(hwsrc=A, psrc="10.77.0.2", pdst="10.77.0.1")))
    answer = Ether(g0.receive_raw(3.0))
    assert (answer[ARP].op, answer[ARP].psrc) == (2, "10.77.0.1")


# ---- storm control

@pytest.mark.parametrize("kind,to", [("broadcast", BROADCAST), ("multicast", GROUP),
                                     ("unknown-unicast", D)])
def test_storms_end_at_their_port(bench, kind, to):
    """100 frames at once, of which 1 a second may be flooded: the burst of 8 passes."""
    bench.bridge()
    stormy, other, third = (bench.tap(name) for name in ("stormy", "other", "third"))
    exchange([other, third], [B, C])
    bench.ctl("port", "set", "stormy", f"--storm-{kind}", 1)
    assert bench.ctl("port", "show", "stormy")["storm"][kind.replace("-", "_")] == 1
    flood = frame(to, A)
    for wire in (stormy, other, third):
        wire.drain()
    before, begin = bench.stats("stormy")["rx_packets"], time.monotonic()
    for _ in range(100):
        stormy.send(flood)
    parts.wait_until(lambda: bench.stats("stormy")["rx_packets"] == before + 100, 10,
                     "all to be seen")
    seconds = time.monotonic() - begin
    time.sleep(QUIET)
    dropped = bench.drops("stormy")[f"storm_{kind.replace('-', '_')}"]
    assert 8 <= 100 - dropped <= 9 + seconds
    for wire in (other, third):
        assert [wire.receive_raw(5) for _ in range(100 - dropped)] == (100 - dropped) * [flood]
        assert wire.receive_raw(QUIET) is None
    # What goes to one port goes on, and so does what others have flooded.
    deliver(stormy, frame(B, A), [other], [third])
    for _ in range(12):
        deliver(other, frame(to, B), [stormy, third])
    # A flow that floods has no more.
    bench.ctl("flow", "mod", "actions=FLOOD")
    for wire in (other, third):
        wire.drain()
    for _ in range(100):
        stormy.send(flood)
    parts.wait_until(
        lambda: bench.drops("stormy")[f"storm_{kind.replace('-', '_')}"] > dropped + 50, 10,
        "what is more to be dropped")
    for wire in (other, third):
        wire.drain()
    bench.ctl("port", "set", "stormy", f"--storm-{kind}", 0)
    deliver(stormy, frame(to, A), [other, third])


# ---- MAC limit

@pytest.mark.parametrize("flows", [False, True])
def test_no_more_addresses_than_a_port_may_have(bench, flows):
    bench.bridge()
    guest, other = bench.tap("guest", "--mac-limit", 2), bench.tap("other")
    if flows:
        bench.ctl("flow", "mod", "actions=NORMAL")
    assert bench.ctl("port", "show", "guest")["mac_limit"] == 2
    for address in (A, B):
        deliver(guest, frame(BROADCAST, address), [other])
        assert bench.macs(mac=address)
    for last in range(100):  # a guest that makes addresses up
        guest.send(frame(BROADCAST, f"02:00:00:00:01:{last:02x}"))
    deliver(guest, frame(BROADCAST, C), [], [other])
    parts.wait_until(lambda: bench.drops("guest") == {"mac_limit": 101}, 10,
                     "all that is made up to be dropped")
    assert sorted(e["mac"] for e in bench.macs(port="guest")) == [A, B]
    deliver(other, frame(A, D), [guest])
    # What has aged out makes room.
    bench.ctl("bridge", "set", "br0", "--mac-ageing", 1)
    parts.wait_until(lambda: not bench.macs(port="guest"), 10, "addresses to age", 0.2)

    def learned():
        guest.send(frame(BROADCAST, C))
        return bench.macs(mac=C, port="guest")

    parts.wait_until(learned, 10, "C to be learned", 0.2)
