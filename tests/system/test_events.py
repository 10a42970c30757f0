# SPDX-License-Identifier: BSD-3-Clause
"""straitctl events: what happens to ports, links, guests and MACs is told, in order, once."""

import json
import pathlib
import resource
import socket as sockets
import subprocess
import tempfile
import time

import pytest
from scapy.layers.l2 import Ether

from lab.process import Process, wait_until
from lab.switch import Refused, binaries

MAC = "02:00:00:00:00:0a"


def frame(mac=MAC):
    return bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=mac, type=0x88b5)) + bytes(50)


def request(method, **parameters):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}


class Client:
    """A connection to the control socket, to be used as no straitctl would."""

    def __init__(self, switch):
        self.socket = sockets.socket(sockets.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(switch.run_dir / "control.sock"))
        self._answers = self.socket.makefile("rb")

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def ask(self, message):
        self.send(message)
        return json.loads(self._answers.readline())

    def close(self):
        self._answers.close()
        self.socket.close()


def happen(switch, times):
    """Twice as many events, most of them of a port: bridges that come and go take longer."""
    client = Client(switch)

    def ask(*requests):
        assert all("result" in answer for answer in client.ask(list(requests)))
    ask(request("bridge.add", name="b", mac_table_size=64),
        request("port.add", name="p", bridge="b", type="vhost-user", socket=switch.socket("p")))
    both = [request("port.set", name="p", admin=admin) for admin in ("down", "up")]
    for begin in range(0, times - 2, 50):
        ask(*both * min(50, times - 2 - begin))
    ask(request("port.del", name="p"), request("bridge.del", name="b"))
    client.close()


class Follower:
    """straitctl events --follow, whose lines are in a file."""

    def __init__(self, switch, folder, *words):
        self._process = Process([binaries() / "straitctl", "--run-dir", switch.run_dir, "events",
                                 "--follow", *words], folder / "followed")

    def lines(self):
        return self._process.log().splitlines()

    def wait_for(self, kind, count=1, **members):
        """The events of a kind with these members, once there are so many."""
        def found():
            events = [json.loads(line) for line in self.lines() if line.endswith("}")]
            fitting = [e for e in events if e.get("event") == kind
                       and all(e[name] == value for name, value in members.items())]
            return len(fitting) >= count and fitting
        return wait_until(found, 10, f"{count} of {kind} {members} in {self.lines()[-5:]}", 0.05)

    def wait(self):
        """Until it has ended, and its status."""
        wait_until(lambda: not self._process.running, 10, "the end of events --follow")
        return self._process.returncode

    def close(self):
        self._process.kill()


@pytest.fixture
def follow(tmp_path):
    made = []

    def start(switch, *words):
        made.append(Follower(switch, tmp_path, *words))
        return made[-1]
    yield start
    for one in made:
        one.close()


def test_what_happens_is_told_as_it_happens(lab, follow):
    netns = lab.netns()
    switch = lab.switch(workers="0", netns=netns)
    switch.ctl("bridge add br0")
    events = follow(switch, "--json")
    assert events.wait_for("bridge_added")[0]["bridge"] == "br0", "what was before, too"

    # A guest that comes and goes: DPDK's virtio-user, by the vhost-user socket.
    socket = switch.add_vhost("vm1")
    added = events.wait_for("port_added", port="vm1")[0]
    assert (added["type"], added["number"]) == ("vhost-user", 1)
    guest = lab.testpmd_guest(socket, MAC)
    events.wait_for("guest_attached", port="vm1")
    events.wait_for("link_up", port="vm1")
    guest.close()
    events.wait_for("link_down", port="vm1")
    events.wait_for("guest_left", port="vm1")

    # A station that goes from one port to another, and back.
    wires = []
    for name in ("p0", "p1"):
        switch.add_nic(name, f"net_tap_{name},iface={name}")
        netns.sh(f"ip link set {name} up")
        wires.append(lab.wire(netns, name))
    for wire, place in ((wires[0], "p0"), (wires[1], "p1"), (wires[0], "p0")):
        wire.send(frame())
        at = [place]
        wait_until(lambda: [e["port"] for e in switch.ctl("mac list")["entries"]] == at, 5,
                   f"{MAC} at {place}")
        if place == "p1":
            moved = events.wait_for("mac_moved", port="p1")[0]
            assert (moved["mac"], moved["from"], moved["vlan"]) == (MAC, "p0", 0)
    events.wait_for("mac_moved", port="p0", **{"from": "p1"})

    # One that is everywhere at once is a loop, and of a hundred that move a few are told.
    def loop():
        for _ in range(20):
            for wire in wires:
                wire.send(frame())
            time.sleep(0.002)  # so that the worker sees them in turn
        return any('"mac_flapping"' in line for line in events.lines())
    wait_until(loop, 20, "a loop to be told of", 0)
    flapping = events.wait_for("mac_flapping")[0]
    assert (flapping["mac"], flapping["times"] >= 4) == (MAC, True)
    for wire in wires:
        for i in range(100):
            wire.send(frame(f"02:00:00:00:01:{i:02x}"))
    assert events.wait_for("macs_moved")[0]["count"] > 0

    # A NIC that is lost and found.
    make = "ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up"
    netns.sh(make)
    switch.add_nic("up", "net_af_packet0,iface=v0")
    events.wait_for("link_up", port="up")
    netns.sh("ip link del v0")
    assert "v0" in events.wait_for("port_lost", port="up")[0]["why"]
    netns.sh(make)
    events.wait_for("port_found", port="up")

    # What the operator does.
    switch.ctl("port", "set", "vm1", "--admin", "down")
    events.wait_for("port_disabled", port="vm1")
    switch.ctl("flow", "add", "priority=9,in_port=1,actions=drop")
    assert events.wait_for("flows_changed", bridge="br0")[0]["added"] == 1
    file = switch.folder / "wanted.json"
    shown = switch.ctl("config show")
    shown["ports"] = [p for p in shown["ports"] if p["name"] != "vm1"]
    file.write_text(json.dumps(shown))
    switch.ctl("config", "apply", file)
    events.wait_for("port_removed", port="vm1")
    assert events.wait_for("config_applied")[0]["changes"] == 1
    told = [json.loads(line) for line in events.lines()]
    assert [e["sequence"] for e in told] == list(range(1, len(told) + 1)), "each once, in order"
    assert len(told) < 100
    assert not any(name in e for e in told for name in ("missed",))


@pytest.fixture
def memory():
    """A folder whose files no disk has, which takes a moment for each change that is kept."""
    with tempfile.TemporaryDirectory(prefix="strait-events-", dir="/dev/shm") as folder:
        yield pathlib.Path(folder)


def test_who_comes_late_is_told_what_he_missed(memory, lab, follow):
    switch = lab.switch(workers="0", state_dir=memory / "store")
    for i in range(4):
        switch.ctl(f"bridge add b{i}")
        switch.ctl(f"bridge del b{i}")
    found = switch.ctl("events")
    assert (found["last"], found["missed"], len(found["events"])) == (9, 0, 9)
    first = found["events"][0]
    assert (first["event"], first["bridges"], first["port"]) == ("daemon_ready", 0, None)
    assert found["began"] <= first["time"]
    found = switch.ctl("events --after 7")
    assert [e["event"] for e in found["events"]] == ["bridge_added", "bridge_removed"]
    assert [e["sequence"] for e in switch.ctl("events --bridge b1")["events"]] == [4, 5]
    with pytest.raises(Refused, match="there is no event 10 yet, the last is 9"):
        switch.ctl("events --after 10")
    with pytest.raises(Refused, match="--bridge"):
        switch.ctl("events", "--bridge", "b" * 100_000)

    # More than are kept, while nobody looks.
    happen(switch, 1100)
    late = follow(switch, "--after", "9")
    lines = wait_until(lambda: len(late.lines()) > 2048 and late.lines()[-1].endswith(
        " bridge_removed b -") and late.lines(), 10, "all that is kept")
    assert lines[0] == "152 events before these came and went unseen"

    # Another daemon, whose numbers begin anew: who follows the first is not left to wait.
    began = found["began"]
    switch.ctl("bridge add kept")
    switch.kill()
    assert late.wait() != 0
    switch.start()
    found = switch.ctl("events")
    assert found["began"] > began
    assert [(e["event"], e["bridge"]) for e in found["events"]] == [
        ("bridge_added", "kept"), ("daemon_ready", None)]
    assert found["events"][1]["bridges"] == 1


def test_clients_that_do_not_read_or_are_too_many_hold_up_nobody(lab):
    switch = lab.switch(workers="0")
    happen(switch, 1100)

    def longest_answer(rounds=20):
        """Of a client that behaves, in seconds."""
        took = []
        client = Client(switch)
        for _ in range(rounds):
            begin = time.monotonic()
            assert client.ask(request("events", after=2200))["result"]["last"] > 2200
            took.append(time.monotonic() - begin)
        client.close()
        return max(took)

    # They ask for all there is, a hundred times each, and take none of it.
    before = switch.memory()["Pss_Anon"]
    deaf = [Client(switch) for _ in range(60)]
    for client in deaf:
        client.socket.setblocking(False)
        client.socket.send((json.dumps(request("events")).encode() + b"\n") * 100)
    assert longest_answer() < 10
    assert switch.memory()["Pss_Anon"] - before < 60 << 20, "an answer each, at most"
    # Most die in the middle of it.
    for client in deaf[1:]:
        client.close()
    assert longest_answer() < 10

    # A thousand that follow, each by a connection of its own, while things go on happening.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    many = []
    for _ in range(1000):
        many.append(Client(switch))
        many[-1].send(request("events", after=2200))
    assert longest_answer() < 10
    assert "dropped, the longest silent first" in switch.log()
    for client in many:
        client.close()
    assert switch.ctl("version")["version"]
