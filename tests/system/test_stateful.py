# SPDX-License-Identifier: BSD-3-Clause
"""Stateful rules and translated addresses between the stacks of two namespaces: who may begin,
what comes back, and as whom."""

import subprocess

import pytest

import lab as parts

INSIDE, OUTSIDE, SEEN_AS = "10.9.0.1", "10.9.0.2", "10.9.0.100"
SIZE = 2_000_000


class Hosts:
    """A switch between two namespaces."""

    def __init__(self, lab, folder):
        self._flows = folder / "flows"
        self.netns = lab.netns()
        self.switch = lab.switch(netns=self.netns)
        self.ctl = self.switch.ctl
        self.ctl("bridge", "add", "br0")
        self.hosts = []
        for number, address in ((1, INSIDE), (2, OUTSIDE)):
            self.switch.add_nic(f"h{number}", f"net_tap_h{number},iface=h{number}")
            self.hosts.append(parts.Netns())
            subprocess.run(["ip", "-n", self.netns.name, "link", "set", f"h{number}", "netns",
                            self.hosts[-1].name], check=True)
            self.hosts[-1].configure(f"h{number}", address)
        self.inside, self.outside = self.hosts

    def load(self, *flows):
        self.ctl("ct", "flush")
        self._flows.write_text("\n".join(flows) + "\n", encoding="ascii")
        self.ctl("flow", "replace", self._flows)

    def close(self):
        for host in self.hosts:
            host.close()


@pytest.fixture(scope="module")
def hosts(module_lab, tmp_path_factory):
    made = Hosts(module_lab, tmp_path_factory.mktemp("stateful"))
    yield made
    made.close()


def pings(host, address, count=3):
    return host.run(f"busybox ping -c {count} -W 1 {address} > /dev/null 2>&1")[0] == 0


def stream(server, client, address, port=5999):
    """How many bytes of a TCP stream arrive, and from whom it comes."""
    script = (
        "import socket\n"
        f"s = socket.create_server(('0.0.0.0', {port}))\n"
        "s.settimeout(10)\n"
        "print('ready', flush=True)\n"
        "c, who = s.accept()\n"
        "n = 0\n"
        "while data := c.recv(65536): n += len(data)\n"
        "print(n, who[0], flush=True)\n")
    with subprocess.Popen(["ip", "netns", "exec", server.name, "/usr/bin/python3", "-c", script],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        client.run("/usr/bin/python3 -c \"import socket; "
                   f"s = socket.create_connection(('{address}', {port}), 3); "
                   f"s.sendall(bytes({SIZE}))\"")
        words = child.stdout.readline().split()
    return (int(words[0]), words[1]) if words else None


STATEFUL = (
    "table=0,priority=9,arp,actions=NORMAL",
    "table=0,priority=5,ip,actions=ct(table=1)",
    "table=1,priority=9,ip,ct_state=+trk+est,actions=NORMAL",
    "table=1,priority=9,ip,ct_state=+trk+rel,actions=NORMAL",
    "table=1,priority=5,in_port=h1,ip,ct_state=+trk+new,actions=ct(commit),NORMAL",
)


def test_who_is_inside_may_begin_and_nobody_else(hosts):
    hosts.load(*STATEFUL)
    assert pings(hosts.inside, OUTSIDE)
    assert not pings(hosts.outside, INSIDE, 1)
    assert stream(hosts.outside, hosts.inside, OUTSIDE) == (SIZE, INSIDE)
    assert stream(hosts.inside, hosts.outside, INSIDE, 5998) is None
    listed = hosts.ctl("ct", "list", "tcp")["connections"]
    assert [c["original"]["destination_port"] for c in listed] == [5999]
    assert listed[0]["replied"] and listed[0]["assured"]


def test_a_connection_that_was_flushed_does_not_go_on_from_outside(hosts):
    hosts.load(*STATEFUL)
    assert pings(hosts.inside, OUTSIDE)
    assert hosts.ctl("ct", "flush")["forgotten"] >= 1
    assert hosts.ctl("ct", "list")["connections"] == []
    assert not pings(hosts.outside, INSIDE, 1)


def test_addresses_are_translated_there_and_back(hosts):
    hosts.load(
        "table=0,priority=9,arp,actions=NORMAL",
        f"table=0,priority=5,in_port=h1,ip,actions=ct(commit,nat(src={SEEN_AS}),table=1)",
        "table=0,priority=5,in_port=h2,ip,actions=ct(nat,table=2)",
        "table=1,ip,ct_state=+trk-inv,actions=output:h2",
        "table=2,ip,ct_state=+trk+est,actions=output:h1")
    # Nobody has that address: its neighbour is told where it is.
    mac = hosts.inside.run("cat /sys/class/net/h1/address")[1].strip()
    hosts.outside.run(f"ip neigh replace {SEEN_AS} lladdr {mac} dev h2")
    assert pings(hosts.inside, OUTSIDE)
    assert stream(hosts.outside, hosts.inside, OUTSIDE) == (SIZE, SEEN_AS)
    listed = hosts.ctl("ct", "list", "tcp")["connections"]
    assert listed[0]["original"]["source"] == INSIDE
    assert listed[0]["reply"]["destination"] == SEEN_AS
