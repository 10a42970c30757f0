# SPDX-License-Identifier: BSD-3-Clause
"""Rule sets of ports between the stacks of two namespaces: what is let through, what comes back,
and what is cut when a rule goes."""

import json
import os
import subprocess

import pytest

import lab as parts
from test_stateful import INSIDE, OUTSIDE, SIZE, Hosts, pings, refuses, stream

INSIDE6, OUTSIDE6 = "fd00::1", "fd00::2"

# Sends a line for each one it is given, and says what came back.
CLIENT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
print('connected', flush=True)
for line in sys.stdin:
    s.settimeout(float(line.split()[1]))
    s.sendall(line.split()[0].encode() + b'\\n')
    try:
        print(s.recv(100).decode().strip(), flush=True)
    except TimeoutError:
        print('nothing', flush=True)
"""
SERVER = """
import socket, sys
s = socket.create_server(('0.0.0.0', int(sys.argv[1])))
print('ready', flush=True)
c, who = s.accept()
while data := c.recv(100):
    c.sendall(data)
"""


def python(host, script, *words):
    return subprocess.Popen(
        ["ip", "netns", "exec", host.name, "/usr/bin/python3", "-c", script, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


class Conversation:
    """A TCP connection of one host's with another, that goes on while things change."""

    def __init__(self, client, server, address, port):
        self._server = python(server, SERVER, str(port))
        assert self._server.stdout.readline() == "ready\n"
        self._client = python(client, CLIENT, address, str(port))
        assert self._client.stdout.readline() == "connected\n"

    def say(self, word, seconds):
        self._client.stdin.write(f"{word} {seconds}\n")
        self._client.stdin.flush()
        return self._client.stdout.readline().strip()

    def close(self):
        for child in (self._client, self._server):
            child.kill()
            child.communicate()


@pytest.fixture(scope="module", params=["0", "0,1"], ids=["1worker", "2workers"])
def hosts(module_lab, tmp_path_factory, request):
    if "," in request.param and (os.cpu_count() or 1) < 2:
        pytest.skip("skipped: two workers on CPUs of their own need two CPUs")
    made = Hosts(module_lab, tmp_path_factory.mktemp("acl"), request.param)
    for number, host, address in ((1, made.inside, INSIDE6), (2, made.outside, OUTSIDE6)):
        host.sh(f"sysctl -qw net.ipv6.conf.h{number}.disable_ipv6=0 && "
                f"ip -6 address add {address}/64 dev h{number} nodad")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def open_again(hosts):
    yield
    for name in [s["name"] for s in hosts.ctl("acl", "list") if "h1" in s["ports"]]:
        hosts.ctl("acl", "detach", name, "h1")


def give(hosts, rules, *options, name="web"):
    hosts.ctl("acl", "set", name, rules, *options)
    if not any(name == s["name"] and "h1" in s["ports"] for s in hosts.ctl("acl", "list")):
        hosts.ctl("acl", "attach", name, "h1")


def dropped(hosts, reason):
    return sum(p["drops"].get(reason, 0) for p in hosts.ctl("stats")["ports"])


def pings6(host, address):
    return host.run(f"busybox ping -6 -c 2 -W 1 {address} > /dev/null 2>&1")[0] == 0


def test_who_is_outside_may_ask_what_a_rule_allows(hosts):
    assert pings(hosts.outside, INSIDE)
    give(hosts, "to allow tcp,tp_dst=80")
    assert stream(hosts.inside, hosts.outside, INSIDE, 80) == (SIZE, OUTSIDE)
    before = dropped(hosts, "acl_to_denied")
    assert refuses(hosts.inside, hosts.outside, INSIDE, 81)
    assert not pings(hosts.outside, INSIDE, 1)
    assert dropped(hosts, "acl_to_denied") > before
    before = dropped(hosts, "acl_from_denied")
    assert not pings(hosts.inside, OUTSIDE, 1)
    assert refuses(hosts.outside, hosts.inside, OUTSIDE, 82)
    assert dropped(hosts, "acl_from_denied") > before
    give(hosts, "to allow tcp,tp_dst=80\nto allow icmp,icmp_type=8")
    assert pings(hosts.outside, INSIDE)
    rules = {r["rule"]: r["packets"] for r in hosts.ctl("acl", "show", "web")["rules"]}
    assert rules["to allow icmp,icmp_type=8"] > 0
    assert rules["to allow tcp,tp_dst=80"] > 0, "it counts on"
    listed = hosts.ctl("ct", "list", "tcp", "--port", "h1")["connections"]
    assert {c["original"]["destination_port"] for c in listed} == {80}
    assert {c["port"] for c in listed} == {"h1"}
    assert all(isinstance(c["state"], str) for c in listed)


def test_a_trace_tells_which_rule_it_is(hosts):
    give(hosts, "from drop udp,tp_dst=53\nfrom allow udp\nto allow icmp")
    packet = (f"udp,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,nw_src={INSIDE},"
              f"nw_dst={OUTSIDE},tp_dst=")
    traced = hosts.ctl("trace", "h1", packet + "53")
    assert [d["reason"] for d in traced["drops"]] == ["acl_from_denied"]
    assert any(s.get("rule", "") == "acl web, rule 1: from drop udp,tp_dst=53"
               for s in traced["steps"])
    assert not hosts.ctl("trace", "h1", packet + "54")["drops"]


@pytest.mark.parametrize("flows", [
    ["actions=NORMAL"],
    ["in_port=h1,actions=output:h2", "in_port=h2,actions=output:h1"],
    ["actions=flood"],
    ["arp,actions=NORMAL", "ip,actions=ct(commit,zone=1,table=3)",
     "table=3,ip,ct_state=+trk-inv,actions=NORMAL"]])
def test_flows_are_another_matter(hosts, flows):
    hosts.load(*flows)
    give(hosts, "to allow tcp,tp_dst=80")
    assert stream(hosts.inside, hosts.outside, INSIDE, 80) == (SIZE, OUTSIDE)
    assert not pings(hosts.outside, INSIDE, 1)
    assert not pings(hosts.inside, OUTSIDE, 1)
    hosts.load("actions=NORMAL")


def test_a_rule_that_goes_cuts_its_connection(hosts):
    give(hosts, "to allow tcp,tp_dst=80")
    talk = Conversation(hosts.outside, hosts.inside, INSIDE, 80)
    assert talk.say("one", 5) == "one"
    give(hosts, "to allow tcp,tp_dst=81")
    assert talk.say("two", 2) == "nothing"
    give(hosts, "to allow tcp,tp_dst=80")
    assert "two" in talk.say("three", 20), "TCP sends again what was dropped"
    talk.close()


def test_what_is_inside_may_ask_and_is_answered(hosts):
    give(hosts, f"from allow tcp,nw_dst={OUTSIDE},tp_dst=1000-6000\nfrom allow icmp")
    assert stream(hosts.outside, hosts.inside, OUTSIDE, 5000) == (SIZE, INSIDE)
    assert refuses(hosts.outside, hosts.inside, OUTSIDE, 6001)
    assert pings(hosts.inside, OUTSIDE)
    assert not pings(hosts.outside, INSIDE, 1)


def test_an_error_about_a_connection_comes_back(hosts):
    give(hosts, "from allow udp")
    script = ("import socket\n"
              "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
              f"s.connect(('{OUTSIDE}', 9)); s.settimeout(3); s.send(b'x')\n"
              "try:\n s.recv(1)\n"
              "except ConnectionRefusedError: print('refused')\n")
    with python(hosts.inside, script) as child:
        assert child.communicate(timeout=20)[0] == "refused\n"


def test_stateless_rules_are_needed_each_way(hosts):
    give(hosts, "to allow icmp,icmp_type=8", "--stateless", name="bare")
    assert not pings(hosts.outside, INSIDE, 1)
    give(hosts, "to allow icmp,icmp_type=8\nfrom allow icmp,icmp_type=0", "--stateless",
         name="bare")
    assert pings(hosts.outside, INSIDE)
    assert not hosts.ctl("ct", "list", "--port", "h1")["connections"]


def test_ipv6_finds_its_neighbours(hosts):
    give(hosts, "to allow icmp6,icmp_type=128")
    for host, number in ((hosts.inside, 1), (hosts.outside, 2)):
        host.run(f"ip -6 neigh flush dev h{number}")
    assert pings6(hosts.outside, INSIDE6)
    assert not pings6(hosts.inside, OUTSIDE6)
    give(hosts, "to drop icmp6,icmp_type=135\nto allow icmp6,icmp_type=128")
    for host, number in ((hosts.inside, 1), (hosts.outside, 2)):
        host.run(f"ip -6 neigh flush dev h{number}")
    assert not pings6(hosts.outside, INSIDE6), "unless a rule says otherwise"


def test_what_cannot_be_is_refused_by_a_sentence(hosts, tmp_path):
    give(hosts, "to allow tcp,tp_dst=80")
    rules = tmp_path / "rules"
    rules.write_text("to allow icmp\nto allow tp_dst=80\n", encoding="ascii")
    for words, sentence in (
            (("set", "web", rules), f"{rules}:2:10: "),
            (("del", "web"), "attached to h1"),
            (("attach", "web", "h1"), "already"),
            (("attach", "none", "h1"), "no rule set none")):
        with pytest.raises(parts.Refused, match=sentence):
            hosts.ctl("acl", *words)
    assert json.dumps(hosts.ctl("acl", "show", "web")).count('"rule"') == 1
