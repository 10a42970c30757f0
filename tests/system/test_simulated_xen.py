# SPDX-License-Identifier: BSD-3-Clause
"""Guests of the simulated hypervisor: a namespace's IP stack behind a netif front end."""

import contextlib
import signal
import time

import lab
import pytest


@pytest.fixture(name="world", scope="module")
def _world():
    """A switch that adopts br0's vifs, two simulated guests, and a host on the wire."""
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(lab.Simulator())
        wire = stack.enter_context(lab.Netns())
        switch = stack.enter_context(lab.Switch(
            persist=True, netns=wire, arguments=simulator.switch))
        switch.ctl("bridge add br0")
        switch.ctl("xen adopt --bridge br0")
        switch.ctl("port add up0 --bridge br0 --type nic --device net_tap0,iface=xsim0")
        wire.configure("xsim0", "192.168.78.9")
        guests = [stack.enter_context(lab.SimulatedGuest(simulator, f"192.168.78.{n}"))
                  for n in (1, 2)]
        for guest in guests:
            guest.wait_up()
        for guest in guests:
            guest.wait_ping(wire, 10)
        yield simulator, switch, wire, guests


def drops(switch):
    return {(port["name"], reason): count for port in switch.ctl("stats")["ports"]
            for reason, count in port["drops"].items() if count}


def port(switch, name):
    return switch.ctl("port", "show", name)


def test_guests_stream_to_each_other_and_to_the_wire(world):
    _, switch, wire, (one, two) = world
    before = drops(switch)
    for sender, receiver in ((one, two), (two, one), (one, wire), (wire, two)):
        assert sender.stream(receiver, 16 << 20).size == 16 << 20
    changed = {key: count for key, count in drops(switch).items() if count != before.get(key, 0)}
    # TCP fills any ring; nothing else may be lost.
    assert {reason for _, reason in changed} <= {"receiver_full"}, changed


def test_segments_cross_whole_between_guests(world):
    _, switch, _, (one, two) = world

    def counted():
        stats = {p["name"]: p for p in switch.ctl("stats")["ports"]}
        return [stats[name][what] for name, what in (
            (one.port, "rx_packets"), (two.port, "tx_packets"), (two.port, "tx_bytes"))]
    # How long segments are is TCP's affair and changes with what else the machine does; a few
    # frames of others (neighbour discovery) may come in between.
    for _ in range(5):
        before = counted()
        one.stream(two, 32 << 20)
        taken, given, size = (now - then for now, then in zip(counted(), before))
        if size / given > 1514:
            break
    assert size / given > 1514, "no segments longer than a frame"
    assert given <= taken * 1.02 + 10, "frames were cut on the way"


def test_port_show_tells_both_sides(world):
    _, switch, _, (one, _) = world
    shown = port(switch, one.port)
    assert shown["type"] == "xen" and shown["link"] == "up"
    details = shown["details"]
    assert details["domain"] == one.domain and details["handle"] == 0
    assert details["frontend"] == details["backend"] == "connected"
    assert {"sg", "csum_ipv4", "gso_tcpv4"} <= set(details["features"])
    assert details["grant_errors_tx"] == details["grant_errors_rx"] == 0


def test_driver_unbound_and_bound_again(world):
    _, switch, wire, (one, _) = world
    one.rebind()
    one.wait_ping(wire, 10)
    assert port(switch, one.port)["details"]["frontend"] == "connected"


def test_switch_killed_under_traffic_is_not_noticed(world):
    """Both guests stay connected: no link change, and traffic goes on; what was set of their ports
    is there again."""
    _, switch, wire, (one, two) = world
    changes = [guest.carrier_changes() for guest in (one, two)]
    switch.ctl("port", "set", two.port, "--ingress-rate", "10000000", "--ingress-burst", "100000")
    switch.ctl("acl", "set", "all", "from allow ip\nfrom allow arp\nto allow ip\nto allow arp")
    switch.ctl("acl", "attach", "all", two.port)
    numbers = [port(switch, guest.port)["number"] for guest in (one, two)]
    before = switch.ctl("config show")
    switch.kill()
    time.sleep(0.2)
    switch.start()
    seconds = one.wait_ping(two, 10)
    assert seconds < 2
    assert one.stream(two, 4 << 20).size == 4 << 20
    assert [guest.carrier_changes() for guest in (one, two)] == changes
    for guest, number in zip((one, two), numbers):
        shown = port(switch, guest.port)
        assert shown["details"]["taken_over"] is True
        assert shown["number"] == number
    lab.wait_until(lambda: switch.ctl("config show") == before, 20, "what was set being there")
    attached = [e for e in switch.ctl("events")["events"] if e["event"] == "guest_attached"]
    assert {e["port"]: e["taken_over"] for e in attached} == {one.port: True, two.port: True}
    assert port(switch, two.port)["ingress"]["kbps"] == 10_000_000
    assert switch.ctl("acl show all")["ports"] == [two.port]
    switch.ctl("acl", "detach", "all", two.port)
    switch.ctl("port", "set", two.port, "--ingress-rate", "0", "--ingress-burst", "0")
    wire.configure("xsim0", "192.168.78.9")  # the tap, unlike the guests, is a new one
    one.wait_ping(wire, 10)


def test_guest_killed_under_traffic_takes_only_its_port(world):
    simulator, switch, wire, (one, two) = world
    with lab.SimulatedGuest(simulator, "192.168.78.3") as third:
        third.wait_up()
        third.wait_ping(one, 10)
        flood = one.argv("busybox", "ping", "-q", "-i", "0.001", third.address)
        with contextlib.closing(_Background(flood, one.folder / "flood.log")):
            time.sleep(0.3)
            third.kill()
            assert two.stream(wire, 2 << 20).size == 2 << 20
            # As xl does when a domain ends.
            simulator.tools("destroy", third.domain)
            lab.wait_until(lambda: third.port not in [p["name"] for p in
                                                      switch.ctl("port", "list")],
                           10, "the dead guest's port going")
            assert two.stream(wire, 2 << 20).size == 2 << 20


class _Background(lab.Process):
    def close(self):
        self.signal(signal.SIGINT)
        self.kill()


def test_vlans_of_the_bridge_key(world):
    from scapy.layers.l2 import ARP, Dot1Q
    simulator, switch, _, _ = world
    with contextlib.ExitStack() as stack:
        one, two, other, trunk = guests = [
            stack.enter_context(lab.SimulatedGuest(simulator, address, bridge=bridge))
            for address, bridge in (("192.168.79.1", "br0.20"), ("192.168.79.2", "br0.20"),
                                    ("192.168.79.3", "br0.30"), (None, "br0:20:40"))]
        for guest in guests:
            guest.wait_up()
        wire = stack.enter_context(trunk.wire())
        one.wait_ping(two, 10)
        assert one.ping(other, count=2).received == 0
        asked = wire.receive(1, match=lambda frame: ARP in frame and
                             frame[ARP].psrc == one.address)
        assert asked and {frame[Dot1Q].vlan for frame in asked} == {20}
        assert port(switch, one.port)["vlan"] == 20
        assert port(switch, trunk.port)["trunk"] == [20, 40]
        for guest in guests:
            simulator.tools("destroy", guest.domain)


def test_a_worker_sleeps_when_its_guests_say_nothing():
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(lab.Simulator())
        switch = stack.enter_context(lab.Switch(
            config=("bridge add br0", "xen adopt --bridge br0"), arguments=simulator.switch))

        def asleep():
            return switch.ctl("worker", "list", "--rates")["workers"][0]["asleep"]
        assert asleep() > 99, "without ports"
        one, two = (stack.enter_context(lab.SimulatedGuest(simulator, f"192.168.78.{n}"))
                    for n in (1, 2))
        for guest in (one, two):
            guest.wait_up()
        one.wait_ping(two, 10)
        lab.wait_until(lambda: asleep() > 90, 20, "the worker to sleep")
        one.wait_ping(two, 2)
        assert one.stream(two, 4 << 20).size == 4 << 20
        lab.wait_until(lambda: asleep() > 90, 20, "the worker to sleep again")


def test_busy_poll_keeps_workers_awake():
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(lab.Simulator())
        switch = stack.enter_context(lab.Switch(arguments=(*simulator.switch, "--busy-poll")))
        assert switch.ctl("worker", "list", "--rates")["workers"][0]["asleep"] == 0
