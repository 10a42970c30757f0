# SPDX-License-Identifier: BSD-3-Clause
"""Stateful rules and translated addresses between the stacks of two namespaces: who may begin,
what comes back, and as whom. Once with one worker, and once with each port on a worker of its own,
so that one sees what begins a connection and another what answers."""

import os
import subprocess
import time

import pytest

import lab as parts

INSIDE, OUTSIDE, SEEN_AS, PUBLISHED = "10.9.0.1", "10.9.0.2", "10.9.0.100", "10.9.0.200"
SIZE = 2_000_000


class Hosts:
    """A switch between two namespaces."""

    def __init__(self, lab, folder, workers):
        self._flows = folder / "flows"
        self.netns = lab.netns()
        self.switch = lab.switch(netns=self.netns, workers=workers)
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

    def workers(self):
        return {self.ctl("port", "show", port)["queues"][0]["worker"] for port in ("h1", "h2")}

    def load(self, *flows):
        self.ctl("ct", "flush")
        self._flows.write_text("\n".join(flows) + "\n", encoding="ascii")
        self.ctl("flow", "replace", self._flows)

    def close(self):
        for host in self.hosts:
            host.close()


@pytest.fixture(scope="module", params=["0", "0,1"], ids=["1worker", "2workers"])
def hosts(module_lab, tmp_path_factory, request):
    if request.param != "0" and os.cpu_count() < 2:
        pytest.skip("skipped: two workers on CPUs of their own need two CPUs")
    made = Hosts(module_lab, tmp_path_factory.mktemp("stateful"), request.param)
    assert len(made.workers()) == len(request.param.split(","))
    yield made
    made.close()


def pings(host, address, count=3):
    """Whether an answer comes. One request is for where none is to come: it is waited for less."""
    patience = 1 if count == 1 else 3
    return host.run(
        f"busybox ping -c {count} -i 0.2 -W {patience} {address} > /dev/null 2>&1")[0] == 0


def stream(server, client, address, port=5999, dialled=None, patience=3):
    """How many bytes of a TCP stream arrive, and from whom it comes. A port that is translated is
    not the one that is dialled. patience is what the client has until it is connected."""
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
        connected = client.run(
            "/usr/bin/python3 -c \"import socket; "
            f"s = socket.create_connection(('{address}', {dialled or port}), {patience}); "
            f"s.settimeout(15); s.sendall(bytes({SIZE}))\"")[0] == 0
        if not connected:
            child.kill()  # nobody comes any more
        words = child.stdout.readline().split()
    return (int(words[0]), words[1]) if words else None


def refuses(server, client, address, port):
    """Whether no connection comes about: of its SYN and another one a second later, none passes."""
    return stream(server, client, address, port, patience=1.5) is None


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
    assert refuses(hosts.inside, hosts.outside, INSIDE, 5998)
    listed = hosts.ctl("ct", "list", "tcp")["connections"]
    assert [c["original"]["destination_port"] for c in listed] == [5999]
    assert listed[0]["replied"] and listed[0]["assured"]


def test_a_connection_that_was_flushed_does_not_go_on_from_outside(hosts):
    hosts.load(*STATEFUL)
    assert pings(hosts.inside, OUTSIDE)
    assert hosts.ctl("ct", "flush")["forgotten"] >= 1
    assert hosts.ctl("ct", "list")["connections"] == []
    assert not pings(hosts.outside, INSIDE, 1)


TRANSLATED = (
    "table=0,priority=9,arp,actions=NORMAL",
    f"table=0,priority=5,in_port=h1,ip,actions=ct(commit,nat(src={SEEN_AS}),table=1)",
    "table=0,priority=5,in_port=h2,ip,actions=ct(nat,table=2)",
    "table=1,ip,ct_state=+trk-inv,actions=output:h2",
    "table=2,ip,ct_state=+trk+est,actions=output:h1",
)


def test_addresses_are_translated_there_and_back(hosts):
    hosts.load(*TRANSLATED)
    # Nobody has that address: its neighbour is told where it is.
    mac = hosts.inside.run("cat /sys/class/net/h1/address")[1].strip()
    hosts.outside.run(f"ip neigh replace {SEEN_AS} lladdr {mac} dev h2")
    assert pings(hosts.inside, OUTSIDE)
    assert stream(hosts.outside, hosts.inside, OUTSIDE) == (SIZE, SEEN_AS)
    listed = hosts.ctl("ct", "list", "tcp")["connections"]
    assert listed[0]["original"]["source"] == INSIDE
    assert listed[0]["reply"]["destination"] == SEEN_AS


def test_a_published_address_leads_inside_and_answers_come_from_it(hosts):
    hosts.load(
        "table=0,priority=9,arp,actions=NORMAL",
        "table=0,priority=5,in_port=h2,ip,"
        f"actions=ct(commit,nat(dst={INSIDE}:5999),table=1)",
        "table=0,priority=5,in_port=h1,ip,actions=ct(nat,table=2)",
        "table=1,ip,ct_state=+trk-inv,actions=output:h1",
        "table=2,ip,ct_state=+trk+est,actions=output:h2")
    mac = hosts.inside.run("cat /sys/class/net/h1/address")[1].strip()
    hosts.outside.run(f"ip neigh replace {PUBLISHED} lladdr {mac} dev h2")
    assert stream(hosts.inside, hosts.outside, PUBLISHED, dialled=80) == (SIZE, OUTSIDE)
    listed = hosts.ctl("ct", "list", "tcp")["connections"]
    assert listed[0]["original"]["destination"] == PUBLISHED
    assert listed[0]["reply"]["source"] == INSIDE


def traced(hosts, port, packet, *words):
    """What a trace says of connections, and where the packet goes with which headers."""
    said = hosts.ctl("trace", port, packet, *words)
    found = [(step["ct_state"], step["connection"] and step["connection"]["original"]["source"])
             for step in said["steps"] if "ct_state" in step]
    return found, [(output["port"], output["flow"]) for output in said["outputs"]]


def test_a_trace_asks_what_is_known_of_connections(hosts):
    hosts.load(*STATEFUL)  # what workers know of other tests' packets is of older flows then
    hosts.load(*TRANSLATED)
    hosts.ctl("ct", "flush")
    # A reply without a connection, and what would begin one, with the address it would get.
    reply = f"udp,nw_src={OUTSIDE},nw_dst={SEEN_AS},tp_src=53,tp_dst=4000"
    first = f"udp,nw_src={INSIDE},nw_dst={OUTSIDE},tp_src=4000,tp_dst=53"
    assert traced(hosts, "h2", reply) == ([("new|trk", None)], [])
    found, outputs = traced(hosts, "h1", first)
    assert found == [("new|trk|snat", None)]
    assert [port for port, _flow in outputs] == ["h2"] and f"nw_src={SEEN_AS}" in outputs[0][1]
    assert hosts.ctl("ct", "list")["connections"] == []
    # The same once a real one is there.
    hosts.inside.run("/usr/bin/python3 -c \"import socket; s = socket.socket(type=2); "
                     f"s.bind(('{INSIDE}', 4000)); s.sendto(b'x', ('{OUTSIDE}', 53))\"")
    parts.wait_until(lambda: hosts.ctl("ct", "list", "udp")["connections"], 5, "the connection")
    found, outputs = traced(hosts, "h2", reply)
    assert found == [("est|rpl|trk|dnat", INSIDE)]
    assert [port for port, _flow in outputs] == ["h1"] and f"nw_dst={INSIDE}" in outputs[0][1]
    # The packet made its way known to a worker; nobody has sent an answer.
    passes = [step for step in hosts.ctl("trace", "h1", first)["steps"] if "cached_by" in step]
    assert len(passes) == 2 and all(len(step["workers"]) == 1 for step in passes)
    assert "ct_state" in passes[1]["cached_by"]
    passes = [step for step in hosts.ctl("trace", "h2", reply)["steps"] if "cached_by" in step]
    assert passes[1]["workers"] == []
    assert [c["replied"] for c in hosts.ctl("ct", "list", "udp")["connections"]] == [False]
    assert "of udp" in hosts.switch.text("trace", "h2", reply)[1]
    assert traced(hosts, "h2", reply, "--ct-next", "new") == ([], [])


def test_many_streams_at_once_lose_nothing(hosts):
    hosts.load(*STATEFUL)
    count = 40
    script = (
        "import socket, threading\n"
        f"s = socket.create_server(('0.0.0.0', 5997), backlog={count})\n"
        "s.settimeout(20)\n"
        "print('ready', flush=True)\n"
        "def serve(c):\n"
        "    while data := c.recv(65536): c.sendall(data)\n"
        "    c.close()\n"
        f"for _ in range({count}): threading.Thread(target=serve, args=(s.accept()[0],)).start()\n")
    client = (
        "import socket, threading\n"
        "whole = []\n"
        "def ask():\n"
        f"    s = socket.create_connection(('{OUTSIDE}', 5997), 10)\n"
        "    s.settimeout(20)\n"
        "    for _ in range(50):\n"
        "        s.sendall(bytes(3000))\n"
        "        left = 3000\n"
        "        while left: left -= len(s.recv(left))\n"
        "    whole.append(1)\n"
        f"all = [threading.Thread(target=ask) for _ in range({count})]\n"
        "[t.start() for t in all]\n"
        "[t.join() for t in all]\n"
        "print(len(whole))\n")
    with subprocess.Popen(["ip", "netns", "exec", hosts.outside.name, "/usr/bin/python3", "-c",
                           script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        answer = hosts.inside.run(f'/usr/bin/python3 -c "{client}"')[1]
    assert answer.split()[-1:] == [str(count)]
    stats = hosts.ctl("ct", "stats")
    assert sum(w["created"] for w in stats["workers"]) >= count
    assert stats["connections"] <= stats["capacity"]


PIECES = """
import socket, struct, sys
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return 0xffff ^ ((total & 0xffff) + (total >> 16))
def piece(identifier, datagram, at, size):
    part = datagram[at:at + size]
    more = at + size < len(datagram)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(part), identifier,
                         at // 8 | (0x2000 if more else 0), 64, 17, 0,
                         socket.inet_aton(sys.argv[1]), socket.inet_aton(sys.argv[2]))
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return bytes.fromhex(sys.argv[4] + sys.argv[3]) + struct.pack("!H", 0x800) + header + part
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("h1", 0))
for identifier, order in enumerate(eval(sys.argv[5]), 1):
    datagram = struct.pack("!HHHH", 4000, 5996, 8 + 4000, 0) + bytes([identifier]) * 4000
    for number in order:
        out.send(piece(identifier, datagram, number * 1000, 1000))
"""


def pieces(hosts, orders):
    """Sends datagrams of 4,000 bytes from inside, each in five pieces, those of `orders`."""
    macs = [host.run(f"cat /sys/class/net/{name}/address")[1].strip().replace(":", "")
            for host, name in ((hosts.inside, "h1"), (hosts.outside, "h2"))]
    done = subprocess.run(["ip", "netns", "exec", hosts.inside.name, "/usr/bin/python3", "-c",
                           PIECES, INSIDE, OUTSIDE, *macs, repr(orders)], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_fragments_pass_in_whatever_order_they_come(hosts):
    hosts.load(*STATEFUL)
    script = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('0.0.0.0', 5996))\n"
        "s.settimeout(5)\n"
        "print('ready', flush=True)\n"
        "for _ in range(4):\n"
        "    data = s.recv(65536)\n"
        "    print(len(data), data[0], len(set(data)), flush=True)\n")
    orders = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 1, 3], [1, 2, 3, 4, 0]]
    with subprocess.Popen(["ip", "netns", "exec", hosts.outside.name, "/usr/bin/python3", "-c",
                           script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        pieces(hosts, orders)
        got = sorted(server.stdout.readline().split() for _ in orders)
    assert got == [["4000", str(number), "1"] for number in range(1, 5)]


def test_fragments_without_a_first_one_are_dropped_in_the_end(hosts):
    hosts.load(*STATEFUL)

    def dropped():
        return hosts.ctl("drops", "h1")["ports"][0]["drops"].get("ct_fragment", 0)
    before = dropped()
    pieces(hosts, [[3, 4], [2]])
    parts.wait_until(lambda: dropped() == before + 3, 10, "fragments were not dropped")


def test_connections_end_while_nothing_comes(lab, tmp_path):
    hosts = Hosts(lab, tmp_path, "0")
    try:
        hosts.load(*STATEFUL)
        assert pings(hosts.inside, OUTSIDE)
        assert hosts.ctl("ct", "stats")["connections"] == 1
        # Those of ICMP are over after 30 s. Nothing wakes the worker but time.
        time.sleep(33)
        assert hosts.ctl("ct", "stats")["connections"] == 0
    finally:
        hosts.close()
