# SPDX-License-Identifier: BSD-3-Clause
"""Routers made of flows: whose TTL is used up there is told so, as scapy reads it and as Linux's
ping and traceroute show it."""

import time

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

import lab as parts
from test_l2 import A, B, BROADCAST, QUIET, bench_of

ROUTER = {4: "10.9.1.254", 6: "fd09:1::fe"}
NEAR, FAR = {4: "10.9.1.1", 6: "fd09:1::1"}, {4: "10.9.2.1", 6: "fd09:2::1"}
MAC = "02:00:00:00:00:fe"  # the router's


@pytest.fixture(scope="module")
def one(module_lab):
    return bench_of(module_lab, "0")


@pytest.fixture
def bench(one):
    yield one
    one.clear()


def route(bench, *, near="p0", far="p1", macs=(A, B)):
    """Flows that route between two ports, whose hosts have these MACs."""
    lines = ["priority=0,actions=drop"]
    for port, out, to, nets in ((near, far, macs[1], ("10.9.2.0/24", "fd09:2::/64")),
                                (far, near, macs[0], ("10.9.1.0/24", "fd09:1::/64"))):
        for kind, field, net, router in (("ip", "nw_dst", nets[0], ROUTER[4]),
                                         ("ipv6", "ipv6_dst", nets[1], ROUTER[6])):
            lines.append(f"priority=10,in_port={port},{kind},{field}={net},actions="
                         f"mod_dl_src:{MAC},mod_dl_dst:{to},dec_ttl(icmp={router}),output:{out}")
    bench.ctl("flow", "replace", "\n".join(lines) + "\n")


def datagram(version, ttl, *, dst=MAC, tags=(), to=None):
    layers = Ether(dst=dst, src=A)
    for vlan in tags:
        layers /= Dot1Q(vlan=vlan)
    to = to or FAR[version]
    layers /= (IP(src=NEAR[4], dst=to, ttl=ttl) if version == 4 else
               IPv6(src=NEAR[6], dst=to, hlim=ttl))
    return layers / UDP(sport=40000, dport=33434) / Raw(bytes(range(100)))


def told(wire, expected=1):
    frames = []
    end = time.monotonic() + (5 if expected else QUIET)
    while len(frames) < max(1, expected):
        data = wire.receive_raw(max(0.0, end - time.monotonic()))
        if data is None:
            break
        frames.append(data)
    assert len(frames) == expected
    return frames


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tags", [(), (7,)], ids=["untagged", "tagged"])
def test_a_router_of_flows_tells_whose_ttl_is_used_up(bench, version, tags):
    near, far = bench.taps(2)
    route(bench)
    for ttl in (1, 0):
        before = bench.drops("p0").get("flow_drop", 0)
        late = datagram(version, ttl, tags=tags)
        near.send(bytes(late))
        frame = told(near)[0]
        answer = Ether(frame)
        assert (answer.dst, answer.src) == (A, MAC)
        assert ((answer[Dot1Q].vlan,) if Dot1Q in answer else ()) == tags
        network = IP if version == 4 else IPv6
        assert (answer[network].src, answer[network].dst) == (ROUTER[version], NEAR[version])
        error = answer[ICMP if version == 4 else ICMPv6TimeExceeded]
        assert (error.type, error.code) == ((11, 0) if version == 4 else (3, 0))
        quoted = bytes(error.payload)
        assert len(quoted) >= len(bytes(network())) + 8
        assert bytes(late[network])[:len(quoted)] == quoted
        # The checksums are those that scapy would have made.
        again = answer.copy()
        if version == 4:
            del again[ICMP].chksum
            del again[IP].chksum
        else:
            del again[ICMPv6TimeExceeded].cksum
        assert bytes(again)[:len(frame)] == frame
        assert bench.drops("p0")["flow_drop"] == before + 1
    near.send(bytes(datagram(version, 2, tags=tags)))
    passed = Ether(told(far)[0])
    assert (passed.src, passed.dst) == (MAC, B)
    assert told(near, 0) == []


def test_nobody_is_told_of_errors_and_of_what_is_for_many(bench):
    near, far = bench.taps(2)
    bench.ctl("flow", "replace", f"ip,actions=dec_ttl(icmp={ROUTER[4]}),output:p1\n"
              f"ipv6,actions=dec_ttl(icmp={ROUTER[6]}),output:p1\n")
    error = Ether(dst=MAC, src=A) / IP(src=NEAR[4], dst=FAR[4], ttl=1) / ICMP(type=3) / Raw(
        bytes(IP(src=FAR[4], dst=NEAR[4]) / UDP()))
    error6 = Ether(dst=MAC, src=A) / IPv6(src=NEAR[6], dst=FAR[6], hlim=1) / ICMPv6DestUnreach() / (
        IPv6(src=FAR[6], dst=NEAR[6]) / UDP())
    later = datagram(4, 1)
    later[IP].frag = 9
    frames = [error, error6, later, datagram(4, 1, dst=BROADCAST), datagram(4, 1, to="224.0.0.9"),
              datagram(4, 1, to="255.255.255.255"), datagram(6, 1, to="ff02::9")]
    for frame in frames:
        near.send(bytes(frame))
    parts.wait_until(lambda: bench.drops("p0").get("flow_drop", 0) == len(frames), 5,
                     "the frames being dropped")
    assert told(near, 0) == []
    near.send(bytes(datagram(4, 1)))
    told(near)


def test_they_are_told_so_often_and_no_more(bench):
    near, _far = bench.taps(2)
    route(bench)
    frames = [bytes(datagram(4, 1))] * 400
    for attempt in range(1, 11):
        near.drain()
        start = time.monotonic()
        near.send(*frames)
        parts.wait_until(lambda: bench.drops("p0").get("flow_drop", 0) == attempt * len(frames), 5,
                         "the frames being dropped")
        most = 50 + 1000 * (time.monotonic() - start) + 1
        time.sleep(QUIET)
        came = len(near.receive_all())
        assert 50 <= came <= most
        if most < len(frames):
            return
    raise AssertionError("the machine is too busy to send more than the rate")


def test_what_is_written_is_listed_and_traced(bench):
    near, _far = bench.taps(2)
    route(bench)
    listed = {f["actions"] for f in bench.ctl("flow", "list")["flows"] if "dec_ttl" in f["actions"]}
    assert len(listed) == 4
    for version in (4, 6):
        assert sum(f"dec_ttl(icmp={ROUTER[version]})" in actions for actions in listed) == 2
        late = datagram(version, 1)
        traced = bench.ctl("trace", "p0", bytes(late).hex())
        assert any(s.get("action") == f"dec_ttl(icmp={ROUTER[version]})" for s in traced["steps"])
        assert any("told by ICMP" in s.get("note", "") for s in traced["steps"])
        assert [d["reason"] for d in traced["drops"]] == ["flow_drop"]
        near.send(bytes(late))
        assert [(o["port"], bytes.fromhex(o["frame"])) for o in traced["outputs"]] == [
            ("p0", told(near)[0])]
        assert "told by ICMP" in bench.switch.text("trace", "p0", bytes(late).hex())[1]
    # As it is written it is read.
    bench.ctl("flow", "replace", "\n".join(
        f"priority={f['priority']},{f['match']},actions={f['actions']}"
        for f in bench.ctl("flow", "list")["flows"]) + "\n")
    assert {f["actions"] for f in bench.ctl("flow", "list")["flows"]
            if "dec_ttl" in f["actions"]} == listed


def test_a_port_with_rule_sets_is_told_of_what_it_was_allowed(bench):
    near, _far = bench.taps(2)
    route(bench)
    bench.ctl("acl", "set", "web", "from allow udp")
    bench.ctl("acl", "attach", "web", "p0")
    try:
        near.send(bytes(datagram(4, 1)))
        answer = Ether(told(near)[0])
        assert (answer[ICMP].type, answer[IP].src) == (11, ROUTER[4])
    finally:
        bench.ctl("acl", "detach", "web", "p0")
        bench.ctl("acl", "del", "web")


@pytest.fixture(scope="module")
def routed(module_lab):
    """Two hosts with Linux's stack, and a router of flows between them."""
    made = bench_of(module_lab, "0")
    made.bridge("br9")
    hosts = []
    for name, own in (("h1", NEAR), ("h2", FAR)):
        made.switch.add_nic(name, f"net_tap_{name},iface={name}", bridge="br9")
        host = parts.Netns()
        hosts.append(host)
        made.netns.sh(f"ip link set {name} netns {host.name}")
        host.configure(name, own[4])
        host.add_ipv6(f"{own[6]}/64", name)
        for family, router in (("-4", ROUTER[4]), ("-6", "fe80::fe")):
            host.sh(f"ip {family} neigh replace {router} lladdr {MAC} dev {name} nud permanent && "
                    f"ip {family} route replace default via {router} dev {name} onlink")
    route(made, near="h1", far="h2", macs=tuple(h.mac(n) for h, n in zip(hosts, ("h1", "h2"))))
    yield hosts
    made.clear()
    for host in hosts:
        host.close()


@pytest.mark.parametrize("version", [4, 6])
def test_linux_sees_the_router_on_the_way(routed, version):
    near, _far = routed
    flag = "-6 " if version == 6 else ""
    parts.wait_until(lambda: near.run(f"busybox ping {flag}-c 1 -W 1 {FAR[version]}")[0] == 0, 10,
                     "an echo through the router")
    status, text = near.run(f"/usr/bin/ping {flag}-n -c 1 -W 2 -t 1 {FAR[version]}")
    assert status != 0
    assert f"From {ROUTER[version]}" in text and "exceeded" in text
    trace = "traceroute6" if version == 6 else "traceroute"
    hops = [line.split()[:2] for line in near.sh(
        f"busybox {trace} -n -q 1 -w 2 -m 4 {FAR[version]}").splitlines()[1:]]
    assert hops == [["1", ROUTER[version]], ["2", FAR[version]]]
