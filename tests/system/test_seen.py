# SPDX-License-Identifier: BSD-3-Clause
"""Who port show has seen behind a port: MACs, and the addresses that ARP and neighbour discovery
say.

Frames made by scapy and a kernel's own, from an interface of the host; the switch runs in a
namespace of its own.
"""

import re

import pytest
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr,
                                ICMPv6NDOptSrcLLAddr, IPv6)
from scapy.layers.l2 import ARP, Dot1Q, Ether

import lab as parts
from test_l2 import A, B, BROADCAST, bench_of

MOST = 16  # addresses of a port


@pytest.fixture(scope="module")
def one(module_lab):
    return bench_of(module_lab, "0")


@pytest.fixture
def bench(one):
    yield one
    one.clear()


def add_host(bench):
    bench.ctl("port", "add", "h0", "--bridge", "br0", "--type", "host",
              "--address", "10.77.0.2/24")


def seen(bench, port="h0"):
    return bench.ctl("port", "show", port)["seen"]


def addresses(bench):
    return [(a["address"], a["mac"], a["vlan"]) for a in seen(bench)["addresses"]]


def wait_for(bench, *expected):
    parts.wait_until(lambda: addresses(bench) == list(expected), 5, f"{expected} to be seen")


def arp(source, mac=A, op=1, hwsrc=None, tag=None):
    link = Ether(dst=BROADCAST, src=mac)
    if tag:
        link /= Dot1Q(vlan=tag)
    return bytes(link / ARP(op=op, hwsrc=hwsrc or mac, psrc=source, pdst="10.77.0.99"))


def solicits(source, mac=A, option=True):
    message = ICMPv6ND_NS(tgt="fd77::63")
    return bytes(Ether(dst="33:33:ff:00:00:63", src=mac) /
                 IPv6(src=source, dst="ff02::1:ff00:63", hlim=255) /
                 (message / ICMPv6NDOptSrcLLAddr(lladdr=mac) if option else message))


def advertises(address, mac=A):
    return bytes(Ether(dst="33:33:00:00:00:01", src=mac) /
                 IPv6(src=address, dst="ff02::1", hlim=255) /
                 ICMPv6ND_NA(tgt=address, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac))


@pytest.mark.parametrize("flows", [False, True])
def test_addresses_are_seen_as_they_are_said(bench, flows):
    bench.bridge()
    add_host(bench)
    h0 = bench.wire("h0")
    bench.tap("u0")
    if flows:
        bench.ctl("flow", "add", "priority=5,in_port=h0,actions=output:u0")
    for sent in (arp("10.77.0.5"), arp("10.77.0.6", mac=B, op=2), advertises("fd77::5"),
                 solicits("fe80::5"), arp("10.77.0.8", tag=7)):
        h0.send(sent)
    said = [("10.77.0.5", A, 0), ("10.77.0.6", B, 0), ("10.77.0.8", A, 7), ("fd77::5", A, 0),
            ("fe80::5", A, 0)]
    wait_for(bench, *said)
    # Who looks whether an address is free has none, and nobody speaks for others.
    for sent in (arp("0.0.0.0"), solicits("::", option=False), arp("10.77.0.9", hwsrc=B),
                 arp("10.77.0.8", mac=B, tag=7)):
        h0.send(sent)
    said[2] = ("10.77.0.8", B, 7)
    wait_for(bench, *said)
    macs = {m["mac"] for m in seen(bench)["macs"]}
    assert macs >= {A, B} if not flows else not macs & {A, B}
    assert seen(bench, "u0") is None
    assert {p["name"]: p["seen"] is None for p in bench.ctl("port", "list")} == {
        "h0": False, "u0": True}
    status, out, err = bench.switch.text("port show h0")
    assert (status, err) == (0, "")
    assert re.search(rf"^seen address +10\.77\.0\.5 of {A}, \d+ s ago$", out, re.MULTILINE)
    assert re.search(rf"^seen address +10\.77\.0\.8 of {B}, VLAN 7, \d+ s ago$", out, re.MULTILINE)


def test_few_addresses_are_kept_and_go_with_their_port(bench):
    bench.bridge()
    add_host(bench)
    h0 = bench.wire("h0")
    for i in range(1, 201):
        h0.send(arp(f"10.77.1.{i}"))
    wait_for(bench, *[(f"10.77.1.{i}", A, 0) for i in range(201 - MOST, 201)])
    bench.ctl("port set h0 --mtu 1400")
    assert len(addresses(bench)) == MOST
    bench.ctl("port set h0 --admin down")
    assert addresses(bench) == []
    bench.ctl("port set h0 --admin up")
    h0.send(arp("10.77.0.5"))
    wait_for(bench, ("10.77.0.5", A, 0))
    bench.netns.sh("ip link set h0 down")
    wait_for(bench)
    bench.netns.sh("ip link set h0 up")
    parts.wait_until(lambda: bench.ctl("port", "show", "h0")["link"] == "up", 5, "the link")
    h0 = bench.wire("h0")  # the other one has noticed
    h0.send(arp("10.77.0.5"))
    wait_for(bench, ("10.77.0.5", A, 0))
    bench.ctl("port del h0")
    add_host(bench)
    assert addresses(bench) == []


def test_a_kernels_own_questions_say_its_addresses(bench):
    bench.bridge()
    add_host(bench)
    bench.netns.add_ipv6("fd77::2/64", "h0")
    for address in ("10.77.0.1/24", "fd77::1/64"):
        bench.ctl("address", "add", "br0", address)
    for address in ("10.77.0.1", "fd77::1"):
        parts.wait_until(lambda address=address: bench.netns.run(
            f"ping -n -c 1 -W 1 {address}")[0] == 0, 20, f"an answer from {address}")
    mac = bench.netns.mac("h0")
    assert {("10.77.0.2", mac, 0), ("fd77::2", mac, 0)} <= set(addresses(bench))
    assert mac in [m["mac"] for m in seen(bench)["macs"]]
    assert seen(bench, "br0") is None, "the switch's own"
