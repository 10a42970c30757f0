# SPDX-License-Identifier: BSD-3-Clause
"""Bindings of ports: what they keep from being sent, what is answered by them, and leases of real
DHCP servers and clients that make some."""

import contextlib
import subprocess
import time

import pytest

import lab as parts

ADDRESS = {"h1": "10.9.0.1", "h2": "10.9.0.2", "h3": "10.9.0.3"}
ADDRESS6 = {"h1": "fd09::1", "h2": "fd09::2", "h3": "fd09::3"}
EVERYBODY = "ff:ff:ff:ff:ff:ff"


class Hosts:
    """A switch between three namespaces, each with a stack of its own."""

    def __init__(self, lab):
        self._netns = lab.netns()
        self.switch = lab.switch(netns=self._netns)
        self.ctl = self.switch.ctl
        self.ctl("bridge", "add", "br0")
        self.host = {}
        for name in ADDRESS:
            self.switch.add_nic(name, f"net_tap_{name},iface={name}")
            host = self.host[name] = parts.Netns()
            subprocess.run(["ip", "-n", self._netns.name, "link", "set", name, "netns", host.name],
                           check=True)
            host.configure(name)
        self.mac = {name: host.mac(name) for name, host in self.host.items()}

    def forget(self):
        """As it was in the beginning, without addresses."""
        self.ctl("bridge set br0 --dhcp-snooping off --neigh-suppress off")
        for name, host in self.host.items():
            self.ctl(f"port set {name} --port-security off --dhcp-trust off")
            self.ctl(f"binding del {name} --if-exists")
            host.run(f"ip address flush dev {name}; ip neigh flush dev {name}; "
                     f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1")

    def address(self, *names, ipv6=False):
        for name in names:
            host = self.host[name]
            if ipv6:
                host.sh(f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=0")
                host.sh(f"ip address add {ADDRESS6[name]}/64 dev {name}")
            else:
                host.sh(f"ip address add {ADDRESS[name]}/24 dev {name}")

    def bind(self, *names):
        for name in names:
            self.ctl(f"binding add {name} {self.mac[name]} {ADDRESS[name]},{ADDRESS6[name]}")

    def drops(self, name):
        return self.ctl(f"drops {name}")["ports"][0]["drops"]

    def pings(self, name, address, count=2):
        return self.host[name].run(f"ping -n -c {count} -i 0.2 -W 1 {address}")[0] == 0

    def close(self):
        for host in self.host.values():
            host.close()


@pytest.fixture(scope="module")
def made(module_lab):
    made = Hosts(module_lab)
    yield made
    made.close()


@pytest.fixture()
def hosts(made):
    made.forget()
    return made


@contextlib.contextmanager
def watching(hosts, name):
    with hosts.host[name].wire(name) as wire:
        yield wire


def spoofs(hosts):
    """Frames of h1's that are not its own to send, by the reason that they are dropped for."""
    from scapy.layers.dhcp import BOOTP, DHCP
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA,
                                    ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6,
                                    IPv6ExtHdrDestOpt, IPv6ExtHdrFragment)
    from scapy.layers.l2 import ARP, Dot1Q, Ether
    own, other = hosts.mac["h1"], hosts.mac["h2"]
    me, you = ADDRESS["h1"], ADDRESS["h2"]
    me6, you6 = ADDRESS6["h1"], ADDRESS6["h2"]
    ether = Ether(src=own, dst=other)
    every = Ether(src=own, dst=EVERYBODY)
    request = BOOTP(chaddr=bytes.fromhex(other.replace(":", ""))) / DHCP(
        options=[("message-type", "discover"), "end"])
    advertises = ICMPv6ND_NA(tgt=me6)
    return {
        "spoofed_mac": [
            Ether(src=other, dst=EVERYBODY) / IP(src=me, dst=you) / ICMP(),
            Ether(src="02:00:00:00:99:99", dst=other) / IP(src=me, dst=you) / TCP(),
            Ether(src=other, dst=EVERYBODY, type=0x88b5) / bytes(50),
            every / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / request,
            ether / Dot1Q(vlan=9) / IP(src=me, dst=you) / ICMP(),
        ],
        "spoofed_ip": [
            ether / IP(src=you, dst=me) / UDP(),
            ether / IP(src="0.0.0.0", dst=you) / UDP(),
            ether / IPv6(src=you6, dst=me6) / UDP(),
            ether / IPv6(src="::ffff:" + me, dst=you6) / UDP(),
            ether / IPv6(src="fe80::1", dst=you6) / UDP(),
            Ether(src=own, dst=other, type=0x0800) / bytes(IP(src=me, dst=you))[:16],
        ],
        "spoofed_arp": [
            every / ARP(op=2, hwsrc=own, psrc=you, hwdst=EVERYBODY, pdst=you),
            every / ARP(op=1, hwsrc=other, psrc=me, pdst=you),
            every / ARP(op=1, hwsrc=own, psrc="0.0.0.0", pdst=you),
        ],
        "spoofed_nd": [
            ether / IPv6(src=me6, dst=you6) / ICMPv6ND_NA(tgt=you6),
            ether / IPv6(src=me6, dst=you6) / advertises / ICMPv6NDOptDstLLAddr(lladdr=other),
            ether / IPv6(src=me6, dst=you6) / IPv6ExtHdrDestOpt() / ICMPv6ND_NA(tgt=you6),
            ether / IPv6(src=me6, dst=you6) / IPv6ExtHdrFragment(m=1) / advertises,
            ether / IPv6(src=me6, dst=you6) / ICMPv6ND_NS(tgt=you6)
            / ICMPv6NDOptSrcLLAddr(lladdr=other),
            ether / IPv6(src="::", dst="ff02::1") / ICMPv6ND_NS(tgt=you6),
            ether / IPv6(src="::", dst="ff02::1") / ICMPv6EchoRequest(),
            ether / IPv6(src=me6, dst="ff02::1") / ICMPv6ND_RA(),
        ],
    }


def test_what_is_not_the_guests_own_is_dropped_and_counted_for_what_it_is(hosts):
    hosts.bind("h1")
    hosts.ctl("port set h1 --port-security on")
    with watching(hosts, "h1") as out, watching(hosts, "h2") as there:
        for reason, frames in spoofs(hosts).items():
            for frame in frames:
                before = hosts.drops("h1")
                out.send(frame)
                parts.wait_until(lambda: hosts.drops("h1") != before, 5, f"a drop of {frame!r}")
                after = hosts.drops("h1")
                changed = {r: n - before.get(r, 0) for r, n in after.items()
                           if n != before.get(r, 0)}
                assert changed == {reason: 1}, repr(frame)
        assert there.receive(0.3) == []
        # The same frames pass where nobody asked for security.
        hosts.ctl("port set h1 --port-security off")
        frame = spoofs(hosts)["spoofed_ip"][0]
        out.send(frame)
        assert [bytes(f) for f in there.receive(2, 1)] == [bytes(frame)]


def test_kernels_talk_as_themselves_and_not_as_others(hosts):
    def lies():
        return {name: {r: n for r, n in hosts.drops(name).items() if r.startswith("spoofed")}
                for name in ("h1", "h2")}
    for name in ("h1", "h2"):
        hosts.bind(name)
        hosts.ctl(f"port set {name} --port-security on")
    before = lies()
    hosts.address("h1", "h2")
    hosts.address("h1", "h2", ipv6=True)
    assert hosts.pings("h1", ADDRESS["h2"])
    time.sleep(2)  # duplicate address detection
    assert hosts.pings("h1", ADDRESS6["h2"])
    assert lies() == before, "an honest stack loses nothing"
    hosts.host["h1"].sh("ip address add 10.9.0.77/24 dev h1")
    before = hosts.drops("h1")
    assert hosts.host["h1"].run(f"ping -n -c 1 -W 1 -I 10.9.0.77 {ADDRESS['h2']}")[0] != 0
    after = hosts.drops("h1")
    assert after["spoofed_ip"] + after["spoofed_arp"] > \
        before["spoofed_ip"] + before["spoofed_arp"]
    hosts.ctl(f"binding add h1 {hosts.mac['h1']} 10.9.0.0/24")
    assert hosts.host["h1"].run(f"ping -n -c 2 -W 1 -I 10.9.0.77 {ADDRESS['h2']}")[0] == 0


def test_a_kernel_gets_its_neighbour_from_the_switch(hosts):
    from scapy.layers.inet6 import ICMPv6ND_NS
    from scapy.layers.l2 import ARP
    hosts.address("h1", "h2")
    hosts.address("h1", "h2", ipv6=True)
    time.sleep(2)
    hosts.bind("h1", "h2")
    hosts.ctl("bridge set br0 --neigh-suppress on")
    answered = hosts.ctl("bridge list")[0]["neigh_answers"]

    def asks(frame):
        return (ARP in frame and frame[ARP].op == 1 and frame.dst == EVERYBODY) or (
            ICMPv6ND_NS in frame and frame.dst.startswith("33:33"))
    with watching(hosts, "h2") as owner, watching(hosts, "h3") as bystander:
        for address in (ADDRESS["h2"], ADDRESS6["h2"]):
            assert hosts.pings("h1", address)
        assert owner.receive(0.5, match=asks) == [] and bystander.receive(0, match=asks) == []
        assert hosts.ctl("bridge list")[0]["neigh_answers"] >= answered + 2
        neighbours = hosts.host["h1"].sh("ip neigh show dev h1")
        for address in (ADDRESS["h2"], ADDRESS6["h2"]):
            assert f"{address} lladdr {hosts.mac['h2']}" in neighbours
        # Who is not bound is asked for as ever, and so is whether an address is free.
        hosts.host["h1"].run("arping -c 1 -w 1 -i h1 -0 " + ADDRESS["h2"])
        assert owner.receive(2, 1, match=asks)
        bystander.drain()
        hosts.host["h1"].run("ping -n -c 1 -W 1 10.9.0.44")
        assert bystander.receive(2, 1, match=asks)
        # Nor is for one whose port is down.
        hosts.ctl("port set h2 --admin down")
        try:
            hosts.host["h1"].run("ip neigh flush dev h1")
            bystander.drain()
            assert not hosts.pings("h1", ADDRESS["h2"], 1)
            assert bystander.receive(1, 1, match=asks)
        finally:
            hosts.ctl("port set h2 --admin up")


SCRIPT = """#!/bin/sh
# What dhclient-script does, for the interface alone.
case $reason in
BOUND|RENEW|REBIND|REBOOT) ip address replace $new_ip_address/24 dev $interface ;;
BOUND6|RENEW6|REBIND6) ip address replace $new_ip6_address/64 dev $interface nodad ;;
PREINIT|PREINIT6) ip link set $interface up ;;
EXPIRE|RELEASE|STOP) ip address del $old_ip_address/24 dev $interface ;;
RELEASE6|STOP6) ip address del $old_ip6_address/64 dev $interface ;;
esac
exit 0
"""


@contextlib.contextmanager
def server_on(hosts, name, *ranges):
    host = hosts.host[name]
    child = subprocess.Popen(host.argv(
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
        f"--interface={name}", "--bind-interfaces", "--no-ping", "--leasefile-ro",
        f"--pid-file={host.folder}/dnsmasq.pid", "--log-facility=-",
        *(f"--dhcp-range={r}" for r in ranges)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def dhclient(hosts, name, *words, timeout=40):
    host = hosts.host[name]
    script = host.folder / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    return host.run(f"dhclient -1 -v -sf {script} -lf {host.folder}/leases{words[0]} "
                    f"-pf {host.folder}/pid{words[0]} {' '.join(words)} {name}", timeout=timeout)


def leases(hosts, name):
    return [b for b in hosts.ctl(f"binding list {name}") if b["type"] == "dhcp"]


@pytest.fixture()
def snooping(hosts):
    hosts.ctl("bridge set br0 --dhcp-snooping on")
    hosts.ctl("port set h3 --dhcp-trust on")
    hosts.ctl("port set h1 --port-security on")
    return hosts


def test_a_lease_of_a_real_server_binds_and_its_end_unbinds(snooping):
    hosts = snooping
    hosts.address("h3")
    hosts.address("h1")
    assert not hosts.pings("h1", ADDRESS["h3"], 1), "nothing is bound yet"
    hosts.host["h1"].sh("ip address flush dev h1")
    with server_on(hosts, "h3", "10.9.0.50,10.9.0.60,5m"):
        status, said = dhclient(hosts, "h1", "-4")
        assert status == 0, said
        bound = leases(hosts, "h1")
        assert len(bound) == 1 and bound[0]["mac"] == hosts.mac["h1"], said
        assert 280 < bound[0]["expires"] <= 300
        assert f"inet {bound[0]['address']}/24" in hosts.host["h1"].sh("ip address show dev h1")
        assert hosts.pings("h1", ADDRESS["h3"])
        row = next(line for line in hosts.switch.text("binding list h1")[1].splitlines()
                   if bound[0]["address"] in line)
        assert row.split()[5] == "dhcp"
        # What it had before is still nobody's.
        hosts.host["h1"].sh(f"ip address add {ADDRESS['h1']}/24 dev h1")
        assert hosts.host["h1"].run(
            f"ping -n -c 1 -W 1 -I {ADDRESS['h1']} {ADDRESS['h3']}")[0] != 0
        status, said = dhclient(hosts, "h1", "-4", "-r")
        assert status == 0, said
        parts.wait_until(lambda: leases(hosts, "h1") == [], 5, "the lease being given up")


def test_a_lease_of_ipv6_binds(snooping):
    hosts = snooping
    hosts.address("h3", ipv6=True)
    hosts.host["h1"].sh("sysctl -qw net.ipv6.conf.h1.disable_ipv6=0")
    time.sleep(2)
    with server_on(hosts, "h3", "fd09::50,fd09::60,64,5m"):
        status, said = dhclient(hosts, "h1", "-6")
        assert status == 0, said
        bound = leases(hosts, "h1")
        assert len(bound) == 1 and bound[0]["mac"] == hosts.mac["h1"], said
        assert bound[0]["address"].startswith("fd09::")
        assert hosts.pings("h1", ADDRESS6["h3"])
        status, said = dhclient(hosts, "h1", "-6", "-r")
        assert status == 0, said
        parts.wait_until(lambda: leases(hosts, "h1") == [], 5, "the lease being given up")


def message(hosts, kind, transaction, address="0.0.0.0", options=(), server=False):
    from scapy.layers.dhcp import BOOTP, DHCP
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    client = bytes.fromhex(hosts.mac["h1"].replace(":", ""))
    content = BOOTP(op=2 if server else 1, chaddr=client, xid=transaction, yiaddr=address) / DHCP(
        options=[("message-type", kind), *options, "end"])
    if server:
        return (Ether(src=hosts.mac["h3"], dst=hosts.mac["h1"])
                / IP(src=ADDRESS["h3"], dst=address) / UDP(sport=67, dport=68) / content)
    return (Ether(src=hosts.mac["h1"], dst=EVERYBODY)
            / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / content)


def test_a_lease_ends_with_its_time(snooping):
    hosts = snooping
    with watching(hosts, "h1") as client, watching(hosts, "h3") as server:
        client.send(message(hosts, "request", 7, options=[("requested_addr", "10.9.0.70")]))
        assert server.receive(2, 1)
        server.send(message(hosts, "ack", 8, "10.9.0.71", [("lease_time", 2)], server=True))
        server.send(message(hosts, "ack", 7, "10.9.0.70", [("lease_time", 2)], server=True))
        parts.wait_until(lambda: [b["address"] for b in leases(hosts, "h1")] == ["10.9.0.70"], 2,
                         "the lease of the client that asked")
        parts.wait_until(lambda: leases(hosts, "h1") == [], 5, "the lease's end")


def test_a_server_is_heard_only_where_it_is_trusted(snooping):
    hosts = snooping
    offer = message(hosts, "offer", 7, "10.9.0.70", [("lease_time", 60)], server=True)
    offer.src = hosts.mac["h2"]
    before = hosts.drops("h2")["dhcp_not_trusted"]
    with watching(hosts, "h1") as client, watching(hosts, "h2") as rogue:
        client.send(message(hosts, "request", 7))
        rogue.send(offer)
        acknowledges = message(hosts, "ack", 7, "10.9.0.70", [("lease_time", 60)], server=True)
        rogue.send(acknowledges)
        parts.wait_until(lambda: hosts.drops("h2")["dhcp_not_trusted"] == before + 2, 5, "drops")
        assert client.receive(0.3) == []
    assert leases(hosts, "h1") == []


def test_a_client_that_floods_is_limited_and_its_neighbours_are_not(snooping):
    hosts = snooping
    with watching(hosts, "h1") as client, watching(hosts, "h3") as server:
        frames = [bytes(message(hosts, "discover", n)) for n in range(500)]
        client.send(*frames)
        parts.wait_until(lambda: hosts.drops("h1")["dhcp_too_many"] >= 300, 5, "drops")
        server.drain()
        # Another port's clients are heard.
        with watching(hosts, "h2") as other:
            frame = message(hosts, "discover", 9999)
            frame.src = hosts.mac["h2"]
            other.send(frame)
            assert server.receive(2, 1, lambda f: f.src == hosts.mac["h2"])


def test_only_guests_ports_have_bindings_and_security(hosts):
    def why(words):
        with pytest.raises(parts.Refused) as refused:
            hosts.ctl(words)
        return refused.value.sentence
    hosts.ctl("address add br0 10.99.0.1/24")
    try:
        hosts.ctl("port add t1 --bridge br0 --type vxlan --remote 10.99.0.2 --key 5")
        assert "the bridge's own" in why("binding add br0 02:00:00:00:00:01")
        assert "a tunnel's" in why("binding add t1 02:00:00:00:00:01")
        assert "--port-security is for guests' ports" in why("port set t1 --port-security on")
        assert "--port-security is for guests' ports" in why(
            "port add t2 --bridge br0 --type vxlan --remote 10.99.0.3 --key 5 --port-security")
        assert hosts.ctl("port set t1 --dhcp-trust on")["dhcp_trust"]
        for flag in ("--port-security", "--dhcp-trust"):
            assert flag + " is for other ports" in why("port set br0 %s on" % flag)
            hosts.ctl("port set br0 %s off" % flag)
    finally:
        hosts.ctl("port del t1 --if-exists")
        hosts.ctl("address del br0 10.99.0.1/24")
