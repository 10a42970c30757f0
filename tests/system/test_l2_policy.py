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
from scapy.contrib.igmp import IGMP
from scapy.contrib.igmpv3 import IGMPv3, IGMPv3gr, IGMPv3mr
from scapy.layers.inet import IP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (ICMPv6MLDMultAddrRec, ICMPv6MLQuery, ICMPv6MLReport,
                                ICMPv6MLReport2, IPv6, IPv6ExtHdrHopByHop, RouterAlert)
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


# ---- IGMP and MLD snooping

LISTENED, OTHER = "239.1.2.3", "239.1.2.4"
LISTENED6 = "ff05::1:2:3"


def mac_of(group):
    """RFC 1112 6.4 and RFC 2464 7."""
    address = ipaddress.ip_address(group)
    last = address.packed[-4:]
    if address.version == 6:
        return "33:33:" + last.hex(":")
    return "01:00:5e:" + bytes((last[1] & 0x7f, *last[2:])).hex(":")


def igmp(source, group, message, mac=A):
    packet = IP(src=source, dst=group, ttl=1, options=[IPOption_Router_Alert()]) / message
    return bytes(Ether(dst=mac_of(group), src=mac) / packet)


def query(source="10.9.0.254", mac=D):
    return igmp(source, "224.0.0.1", IGMP(type=0x11, mrcode=100), mac=mac)


def join(group=LISTENED, mac=A, version=2):
    if version == 3:
        return igmp("10.9.0.1", "224.0.0.22", IGMPv3(type=0x22) / IGMPv3mr(
            numgrp=1, records=[IGMPv3gr(rtype=4, maddr=group)]), mac=mac)
    return igmp("10.9.0.1", group, IGMP(type=0x12 if version == 1 else 0x16, gaddr=group), mac=mac)


def mld(message, to, source="fe80::1", mac=A):
    return bytes(Ether(dst=mac_of(to), src=mac) / IPv6(src=source, dst=to, hlim=1) /
                 IPv6ExtHdrHopByHop(options=[RouterAlert()]) / message)


def to_group(group, mac=C):
    network = IPv6(src="fd00::9", dst=group) if ":" in group else IP(src="10.9.0.9", dst=group)
    return bytes(Ether(dst=mac_of(group), src=mac) / network / UDP(dport=9, sport=9) / b"12345678")


def listeners(bench, kind="group"):
    return sorted((e["group"] or e["ip"], e["port"])
                  for e in bench.ctl("mcast", "list")["entries"] if e["type"] == kind)


def snooped(bench, *words):
    """Hosts h0 to h2, and a router, which asked."""
    bench.bridge("br0", "--mcast-snooping", *words)
    hosts = [bench.tap(f"h{i}") for i in range(3)]
    router = bench.tap("r0")
    deliver(router, query(), hosts)
    return hosts, router


@pytest.mark.parametrize("flows", [False, True])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_multicast_goes_to_who_reported(bench, version, flows):
    (h0, h1, h2), router = snooped(bench)
    if flows:
        bench.ctl("flow", "mod", "actions=NORMAL")
        deliver(h2, to_group(LISTENED), [h0, h1, router])  # cached flows see what comes later
    deliver(h0, join(version=version), [router], [h1, h2])
    assert listeners(bench) == [(LISTENED, "h0")]
    assert listeners(bench, "querier") == [(4, "r0")]
    deliver(h2, to_group(LISTENED), [h0, router], [h1])
    deliver(router, to_group(LISTENED), [h0], [h1, h2])
    deliver(h2, to_group(OTHER), [h0, h1, router])
    deliver(h2, to_group("224.0.0.251"), [h0, h1, router])
    bench.ctl("bridge", "set", "br0", "--mcast-drop-unregistered", "on")
    deliver(h2, to_group(OTHER), [router], [h0, h1])
    deliver(router, to_group(OTHER), [], [h0, h1, h2])
    assert bench.drops("r0") == {"multicast_no_listener": 1}
    deliver(h1, join(mac=B), [router], [h0, h2])
    deliver(h2, to_group(LISTENED), [h0, h1, router])
    bench.ctl("bridge", "set", "br0", "--mcast-snooping", "off")
    deliver(h2, to_group(OTHER), [h0, h1, router])


def test_multicast_of_ipv6_goes_to_who_reported(bench):
    (h0, h1, h2), router = snooped(bench, "--mcast-drop-unregistered")
    deliver(h2, to_group(LISTENED6), [h0, h1, router])  # no querier of IPv6 yet
    deliver(router, mld(ICMPv6MLQuery(), "ff02::1", mac=D), [h0, h1, h2])
    deliver(h0, mld(ICMPv6MLReport(mladdr=LISTENED6), LISTENED6), [router], [h1, h2])
    deliver(h1, mld(ICMPv6MLReport2(records_number=1, records=[
        ICMPv6MLDMultAddrRec(rtype=4, dst="ff05::9")]), "ff02::16", source="::", mac=B),
            [router], [h0, h2])
    assert listeners(bench) == [("ff05::1:2:3", "h0"), ("ff05::9", "h1")]
    deliver(h2, to_group(LISTENED6), [h0, router], [h1])
    deliver(h2, to_group("ff05::9"), [h1, router], [h0])
    deliver(h2, to_group("ff02::1:ff00:1"), [h0, h1, router])


def test_memberships_end(bench):
    (h0, h1, h2), router = snooped(bench, "--mcast-ageing", 5)
    deliver(h0, join(), [router], [h1, h2])
    parts.wait_until(lambda: not listeners(bench), 15, "the listener to be forgotten", 0.3)
    bench.ctl("bridge", "set", "br0", "--mcast-ageing", 260)
    leave = igmp("10.9.0.1", "224.0.0.2", IGMP(type=0x17, gaddr=LISTENED))
    deliver(h0, join(), [router], [h1, h2])
    deliver(h0, leave, [router], [h1, h2])
    assert listeners(bench) == [(LISTENED, "h0")]
    deliver(router, igmp("10.9.0.254", LISTENED, IGMP(type=0x11, mrcode=10, gaddr=LISTENED), mac=D),
            [h0, h1, h2])
    parts.wait_until(lambda: not listeners(bench), 10, "who does not answer to go", 0.3)
    bench.ctl("port", "set", "h0", "--mcast-fast-leave", "on")
    deliver(h0, join(), [router], [h1, h2])
    deliver(h0, leave, [router], [h1, h2])
    assert listeners(bench) == []


def test_guests_are_no_routers_where_an_operator_says_so(bench):
    (h0, h1, h2), router = snooped(bench)
    bench.ctl("port", "set", "h0", "--mcast-router", "off")
    deliver(h0, query(mac=A), [], [h1, h2, router])
    assert bench.drops("h0") == {"multicast_query": 1}
    bench.ctl("port", "set", "h1", "--mcast-router", "on")
    deliver(h0, join(), [router, h1], [h2])
    deliver(h2, to_group(LISTENED), [h0, h1, router])


def test_made_up_reports_are_bounded(bench):
    (h0, h1, h2), router = snooped(bench)
    bench.ctl("port", "set", "h0", "--mcast-limit", 10)
    for i in range(100):
        h0.send(join(f"239.7.0.{i}"))
    parts.wait_until(lambda: bench.ctl("bridge", "list")[0]["mcast"]["reports"] == 100, 10,
                     "all reports to be seen")
    assert len(listeners(bench)) == 10
    assert bench.ctl("bridge", "list")[0]["mcast"]["refused"] == 90
    for wire in (h0, h1, h2, router):
        wire.drain()
    deliver(h1, join("239.7.0.50", mac=B), [router], [h0, h2])
    deliver(h2, to_group("239.7.0.50"), [h0, h1, router])
    damaged = bytearray(join(OTHER, mac=B))
    damaged[-1] ^= 1
    deliver(h1, bytes(damaged), [], [h0, h2, router])
    assert bench.drops("h1") == {"multicast_invalid": 1}


def test_linux_hosts_and_a_linux_querier(bench, module_lab):
    """Kernels join by IGMPv3 and MLDv2; Linux's bridge asks."""
    bench.bridge("br0", "--mcast-snooping", "--mcast-drop-unregistered")
    hosts = {}
    for number, name in enumerate(("k0", "k1", "k2", "q0")):
        bench.switch.add_nic(name, f"net_tap_{name},iface={name}", bridge="br0")
        host = hosts[name] = module_lab.netns()
        parts.wait_until(lambda n=name: bench.netns.run(f"ip link show {n}")[0] == 0, 10, "the tap")
        bench.netns.sh(f"ip link set {name} netns {host.name}")
        host.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 "
                f"net.ipv6.conf.{name}.disable_ipv6=0")
        if name != "q0":
            host.sh(f"ip address add 10.9.0.{number + 1}/24 dev {name}; ip link set {name} up")
    hosts["q0"].sh(
        "ip link add lb0 type bridge mcast_snooping 1 mcast_query_use_ifaddr 1 "
        "mcast_startup_query_interval 100 mcast_query_interval 200; ip link set q0 master lb0 up; "
        "ip address add 10.9.0.254/24 dev lb0; ip link set lb0 up type bridge mcast_querier 1")
    parts.wait_until(lambda: listeners(bench, "querier") == [(4, "q0"), (6, "q0")], 30,
                     "both queriers to be heard", 0.5)
    four = socket.inet_aton(LISTENED)
    with hosts["k0"].entered():
        index = socket.if_nametoindex("k0")
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with hosts["k1"].entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listener, listener6, sender, hosts["k2"].wire("k2") as aside:
        listener.bind(("", 9))
        listener.settimeout(5)
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                            four + bytes(4) + struct.pack("=i", index))
        listener6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                             socket.inet_pton(socket.AF_INET6, LISTENED6)
                             + struct.pack("=i", index))
        wanted = {(LISTENED, "k0"), (LISTENED6, "k0")}
        parts.wait_until(lambda: wanted <= set(listeners(bench)), 20, "the kernel's reports", 0.3)
        # Linux's bridge asks who is left of groups alone that it has heard of, too.
        parts.wait_until(lambda: {f"grp {group}" in hosts["q0"].sh("bridge mdb show dev lb0")
                                  for group, _ in wanted} == {True}, 30, "Linux's bridge to know")
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.9.0.2"))
        aside.drain()
        sender.sendto(b"to whom it concerns", (LISTENED, 9))
        assert listener.recv(100) == b"to whom it concerns"
        time.sleep(QUIET)
        assert not [f for f in aside.receive_all() if b"to whom it concerns" in f]
    # The sockets are closed: the kernel leaves, and Linux's bridge asks who is left.
    parts.wait_until(lambda: not wanted & set(listeners(bench)), 30, "the groups to go", 0.5)


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


# ---- loop guard

def linux_bridge_loop(bench):
    """Ports up0 and up1 lead to one Linux bridge without spanning tree: a loop. Behind that bridge
    is a station, whose wire this gives."""
    sh = bench.netns.sh
    for name in ("up0", "up1", "far"):
        sh(f"ip link add {name} type veth peer name {name}b")
    sh("ip link add loop type bridge stp_state 0 mcast_snooping 0 ageing_time 30000")
    for name in ("up0", "up1", "far"):
        for end in (name, f"{name}b"):
            sh(f"sysctl -qw net.ipv6.conf.{end}.disable_ipv6=1")
        sh(f"ip link set {name}b master loop; ip link set {name}b up; ip link set {name} up")
    sh("sysctl -qw net.ipv6.conf.loop.disable_ipv6=1; ip link set loop up")
    for i, name in enumerate(("up0", "up1")):
        bench.switch.add_nic(name, f"net_af_packet{i},iface={name}")
    return bench.wire("far")


def remove_loop(bench):
    bench.ctl("bridge", "del", "br0", "--with-ports")
    bench.netns.sh("ip link del loop; for i in up0 up1 far; do ip link del $i; done")


def packets_a_second(bench, ports, seconds=1.0):
    def count():
        return sum(bench.stats(port)["rx_packets"] for port in ports)
    before, begin = count(), time.monotonic()
    time.sleep(seconds)
    return (count() - before) / (time.monotonic() - begin)


@pytest.mark.parametrize("behind", ["the switch", "the loop"])
def test_loop_guard_ends_a_storm(bench, behind):
    """One broadcast goes round for ever, whichever side of the loop its sender is, until what
    flaps is damped."""
    bench.bridge()
    guest = bench.tap("guest")
    far = linux_bridge_loop(bench)
    try:
        assert bench.ctl("bridge", "list")[0]["loop_guard"] == "report"
        sender, address = (guest, A) if behind == "the switch" else (far, B)
        sender.send(frame(BROADCAST, address))
        parts.wait_until(lambda: packets_a_second(bench, ("up0", "up1"), 0.3) > 2000, 10, "a storm")
        time.sleep(1.0)
        storm = packets_a_second(bench, ("up0", "up1"))
        assert storm > 2000, "it does not end by itself"
        bench.ctl("bridge", "set", "br0", "--loop-guard", "damp", "--loop-hold", 60)
        parts.wait_until(lambda: packets_a_second(bench, ("up0", "up1"), 0.5) < 150, 10,
                         "the storm to end")
        quiet = packets_a_second(bench, ("up0", "up1"), 2.0)
        print(f"storm {storm:.0f} packets/s, damped {quiet:.0f}")
        held, = bench.macs(mac=address)
        assert 0 < held["held"] <= 60
        assert sum(bench.drops(port).get("loop_guard", 0)
                   for port in ("guest", "up0", "up1")) > 0
        event, = [e for e in bench.ctl("events")["events"] if e["event"] == "mac_held"][-1:]
        assert (event["mac"], event["port"], event["seconds"]) == (address, held["port"], 60)
        # With the guard on from the start a storm does not get far, and the stations talk.
        remove_loop(bench)
        bench.bridge("br0", "--loop-guard", "damp")
        guest = bench.tap("guest")
        far = linux_bridge_loop(bench)
        sender = guest if behind == "the switch" else far
        sender.send(frame(BROADCAST, address))
        time.sleep(1.0)
        assert packets_a_second(bench, ("guest", "up0", "up1"), 2.0) < 150
        assert bench.macs(mac=address)[0]["held"] > 0
        if behind == "the switch":  # else it is Linux's bridge that mistakes where it is
            assert bench.macs(mac=address)[0]["port"] == "guest"
            for wire in (guest, far):
                wire.drain()
            answer = frame(address, C)
            far.send(answer)
            assert guest.receive_raw(3.0) == answer
    finally:
        remove_loop(bench)


def test_loop_guard_keeps_a_neighbours_address_from_a_guest(bench):
    """A guest that sends from another's address has it for four frames, not for good."""
    bench.bridge("br0", "--loop-guard", "damp", "--loop-hold", 2)
    guest, thief, third = bench.tap("guest"), bench.tap("thief"), bench.tap("third")
    exchange([guest, third], [A, C])
    thief.drain()
    for wire in (thief, guest, thief, guest):
        wire.send(frame(C, A))
        time.sleep(0.05)
    parts.wait_until(lambda: [e["port"] for e in bench.macs(mac=A)] == ["guest"], 5, "A to be held")
    assert bench.macs(mac=A)[0]["held"] > 0
    third.drain()
    guest.drain()
    deliver(thief, frame(C, A), [], [guest, third])
    assert bench.drops("thief") == {"loop_guard": 1}
    deliver(third, frame(A, C), [guest], [thief])
    deliver(guest, frame(C, A), [third], [thief])
    # It may move when its time is up, as a guest that was migrated does.
    parts.wait_until(lambda: bench.macs(mac=A)[0]["held"] == 0, 5, "A to go free", 0.1)
    deliver(thief, frame(C, A), [third], [guest])
    assert bench.macs(mac=A)[0]["port"] == "thief"
