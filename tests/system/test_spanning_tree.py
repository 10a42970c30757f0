# SPDX-License-Identifier: BSD-3-Clause
"""Rapid spanning tree with bridges that are none of ours: Linux's, which speaks STP alone, and Open
vSwitch with RSTP; and between two bridges of one switch. Each peer is joined by two links, a loop.

The switch runs in a namespace of its own, its peer in another.
"""

import contextlib
import struct
import time

import pytest

import lab as parts

OURS, THEIRS = "10.0.0.1", "10.0.0.2"
# As short as bridges may have them.
TIMES = ("--rstp-hello-time", 1, "--rstp-max-age", 6, "--rstp-forward-delay", 4)
GROUP = bytes.fromhex("0180c2000000")


class Loop:
    """The switch with bridge br0, whose ports u0 and u1 are wires to w0 and w1 in `far`, and its
    host's port; nothing is on the wires yet."""

    def __init__(self, lab):
        self.near, self.far = lab.netns(), lab.netns()
        for netns in (self.near, self.far):
            # The kernel sees what comes by a wire, too, and would answer for addresses elsewhere.
            netns.sh("sysctl -qw net.ipv4.conf.all.arp_ignore=1")
        self.switch = lab.switch(workers="0", netns=self.near)
        self.ctl = self.switch.ctl
        for i in range(2):
            self.near.sh(f"ip link add u{i} type veth peer name w{i} netns {self.far.name};"
                         f"sysctl -qw net.ipv6.conf.u{i}.disable_ipv6=1; ip link set u{i} up")
            self.far.sh(f"ip link set w{i} up")

    def bridge(self, *words):
        self.ctl("bridge", "add", "br0", *words)
        for i in range(2):
            self.switch.add_nic(f"u{i}", f"net_af_packet{i},iface=u{i}")
        self.ctl("port", "add", "host0", "--bridge", "br0", "--type", "host",
                 "--address", f"{OURS}/24")

    def tree(self, bridge="br0"):
        """The bridge's spanning tree, with its ports by their names."""
        tree, = self.ctl("rstp", "show", bridge)
        tree["ports"] = {p["port"]: p for p in tree["ports"]}
        return tree

    def roles(self, bridge="br0"):
        return {name: (p["role"], p["state"]) for name, p in self.tree(bridge)["ports"].items()}

    def pings(self):
        return self.near.run(f"ping -c 1 -W 1 {THEIRS}")[0] == 0

    def wait_for_pings(self, timeout):
        begin = time.monotonic()
        parts.wait_until(self.pings, timeout, f"a ping from {OURS} to {THEIRS}", 0.05)
        return time.monotonic() - begin

    def stats(self, port):
        stats, = (p for p in self.ctl("stats")["ports"] if p["name"] == port)
        return stats

    def dropped(self, port, reason):
        return self.stats(port)["drops"][reason]

    def packets(self):
        return sum(p["rx_packets"] for p in self.ctl("stats")["ports"])

    def assert_no_storm(self):
        before = self.packets()
        self.near.run(f"arping -c 2 -w 1 -I host0 {THEIRS}")
        time.sleep(0.5)
        assert self.packets() - before < 100

    def events(self, kind):
        return [e for e in self.ctl("events")["events"] if e["event"] == kind]


@pytest.fixture
def loop(lab):
    return Loop(lab)


def linux_bridge(netns, priority):
    netns.sh(f"ip link add name br0 type bridge stp_state 1 priority {priority} hello_time 100 "
             "forward_delay 400 max_age 600; sysctl -qw net.ipv6.conf.br0.disable_ipv6=1;"
             "ip link set w0 master br0; ip link set w1 master br0; ip link set br0 up")
    netns.configure("br0", THEIRS)


@pytest.mark.parametrize("root", ["Strait", "Linux"])
def test_linux_bridge(loop, root):
    """One link of two is blocked, by whoever is not the root; if the other is cut, it
    takes over."""
    loop.bridge("--rstp", "on", *TIMES, "--rstp-priority", 4096 if root == "Strait" else 61440)
    linux_bridge(loop.far, 32768)
    loop.wait_for_pings(25)
    tree = loop.tree()
    assert tree["is_root"] == (root == "Strait")
    states = [line.split(" state ")[1].split()[0]
              for line in loop.far.sh("bridge link").splitlines()]
    ours = loop.roles()
    if root == "Strait":
        forward = {f"u{i}": ("designated", "forwarding") for i in range(2)}
        parts.wait_until(lambda: loop.roles() == forward, 10, "our ports to forward")
        assert sorted(states) == ["blocking", "forwarding"]
        used = states.index("forwarding")
    else:
        parts.wait_until(lambda: loop.far.sh("bridge link").count("state forwarding") == 2, 20,
                         "Linux's ports to forward")
        assert ours == {"u0": ("root", "forwarding"), "u1": ("alternate", "discarding")}
        assert tree["root_port"] == "u0" and tree["root_cost"] > 0
        assert loop.events("rstp_root_changed")[-1]["port"] == "u0"
        used = 0
    assert all(p["version"] == "stp" for p in loop.tree()["ports"].values())
    loop.assert_no_storm()
    loop.near.sh(f"ip link set u{used} down")
    loop.wait_for_pings(25)
    other = loop.roles()[f"u{1 - used}"]
    assert other == ("designated" if root == "Strait" else "root", "forwarding")
    loop.assert_no_storm()


@pytest.mark.parametrize("root", ["Strait", "OVS"])
def test_open_vswitch(lab, loop, root):
    """Proposals are agreed on: nothing waits for a timer. Both ends say the same of each link."""
    loop.bridge("--rstp", "on", "--rstp-priority", 4096 if root == "Strait" else 61440)
    ovs = lab.netdev_ovs(loop.far, ["w0", "w1"], "rstp_enable=true",
                         "other_config:rstp-priority=32768")
    loop.far.configure("br0", THEIRS)
    # OVS's own port is an edge after three seconds.
    loop.wait_for_pings(12)
    expected = [("root", "designated"), ("alternate", "designated")]  # ours, theirs
    if root == "Strait":
        expected = [roles[::-1] for roles in expected]

    def links():
        """Of each, the roles and whether it is blocked, at our end and at theirs."""
        ours = loop.roles()
        theirs = [ovs.rstp(f"w{i}") for i in range(2)]
        return [((ours[f"u{i}"][0], theirs[i]["rstp_port_role"].lower()),
                 (ours[f"u{i}"][1] == "discarding",
                  theirs[i]["rstp_port_state"].lower() == "discarding")) for i in range(2)]

    wanted = [(roles, tuple(role == "alternate" for role in roles)) for roles in expected]
    try:
        parts.wait_until(lambda: links() == wanted, 10, "both ends to say the same of the links")
    except parts.LabError as error:
        raise AssertionError(f"{links()} instead of {wanted}") from error
    assert loop.tree()["is_root"] == (root == "Strait")
    assert all(p["version"] == "rstp" for p in loop.tree()["ports"].values())
    loop.assert_no_storm()
    changes = loop.tree()["topology_changes"]
    begin = time.monotonic()
    loop.near.sh("ip link set u0 down")
    loop.wait_for_pings(5)
    assert time.monotonic() - begin < 4
    assert loop.roles()["u1"][1] == "forwarding"
    assert loop.tree()["topology_changes"] > changes
    loop.near.sh("ip link set u0 up")
    parts.wait_until(lambda: loop.roles()["u0"][1] == "forwarding", 6, "u0 to forward again")
    loop.wait_for_pings(3)
    loop.assert_no_storm()


def test_two_bridges_of_one_switch(loop):
    """Their ports are joined within the namespace: a storm without spanning tree."""
    sh = loop.near.sh
    for i in range(2):
        sh(f"ip link add x{i} type veth peer name y{i}")
        for name in (f"x{i}", f"y{i}"):
            sh(f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1; ip link set {name} up")
    loop.ctl("bridge", "add", "br0", "--rstp", "on")
    loop.ctl("bridge", "add", "br1", "--rstp", "on", "--rstp-priority", 0)
    for number, (bridge, name) in enumerate((b, n) for b, n in (
            ("br0", "x0"), ("br0", "x1"), ("br1", "y0"), ("br1", "y1"))):
        loop.switch.add_nic(name, f"net_af_packet{number},iface={name}", bridge=bridge)
    loop.ctl("port", "add", "host0", "--bridge", "br0", "--type", "host",
             "--address", f"{OURS}/24")
    parts.wait_until(lambda: loop.roles() == {"x0": ("root", "forwarding"),
                                              "x1": ("alternate", "discarding")}, 3, "a tree")
    parts.wait_until(lambda: set(loop.roles("br1").values()) == {("designated", "forwarding")}, 5,
                     "the root's ports to forward")
    loop.assert_no_storm()
    # By costs the other link is better.
    loop.ctl("port", "set", "x1", "--rstp-path-cost", 1)
    parts.wait_until(lambda: loop.roles()["x1"] == ("root", "forwarding"), 3, "x1 to be chosen")
    assert loop.roles()["x0"] == ("alternate", "discarding")
    # What a blocked port is sent, or is to send, is counted; a trace says so.
    before = loop.dropped("x0", "ingress_blocked")
    loop.assert_no_storm()
    assert loop.dropped("x0", "ingress_blocked") > before
    loop.ctl("port", "set", "x1", "--admin", "down")
    parts.wait_until(lambda: loop.roles()["x0"] == ("root", "forwarding"), 3, "x0 to take over")
    # A port that takes no part forwards.
    loop.ctl("port", "set", "x1", "--rstp", "off")
    assert list(loop.roles()) == ["x0"]
    loop.ctl("bridge", "set", "br0", "--rstp", "off")
    assert loop.ctl("rstp", "show") != [] and loop.ctl("port", "show", "x0")["rstp"] is None


def test_hosts_and_hostile_peers(loop):
    """A port without a bridge behind it forwards after three seconds, or at once if told so; what
    is no BPDU is counted, and a flood of them costs nothing but themselves."""
    loop.bridge("--rstp", "on")
    loop.ctl("port", "set", "u1", "--rstp-admin-edge", "on")
    loop.far.sh("ip link add name br0 type bridge; ip link set w1 master br0; ip link set br0 up")
    loop.far.configure("br0", THEIRS)
    loop.wait_for_pings(2)
    assert loop.roles()["u1"] == ("designated", "forwarding")
    parts.wait_until(lambda: loop.roles()["u0"] == ("designated", "forwarding"), 5, "an edge")
    assert loop.tree()["ports"]["u0"]["edge"] and loop.tree()["topology_changes"] == 0
    with parts.Wire(loop.far, "w0") as wire:
        # Every two seconds.
        told = wire.receive(3, 1, lambda f: bytes(f)[:6] == GROUP)
        assert told and bytes(told[0])[14:17] == b"\x42\x42\x03" and len(bytes(told[0])) == 60
        own = loop.ctl("port", "show", "u0")["details"]["mac"]
        assert bytes(told[0])[6:12] == bytes.fromhex(own.replace(":", ""))
        rapid = struct.pack("!HBBBQIQHHHHHB", 0, 2, 2, 0x0e, 1, 0, 1, 0x8001, 0, 20 << 8, 2 << 8,
                            15 << 8, 0)

        def frame(bpdu, length=None):
            return (GROUP + bytes(5) + b"\x07" +
                    struct.pack("!H", length or 3 + len(bpdu)) + b"\x42\x42\x03" + bpdu).ljust(60)
        for bad in (rapid[:20], b"\x01" + rapid[1:], rapid[:3] + b"\x07" + rapid[4:], b""):
            wire.send(frame(bad))
        wire.send(frame(rapid, 1000))
        parts.wait_until(lambda: loop.tree()["ports"]["u0"]["bad_bpdus"] == 5, 2, "five refused")
        assert loop.tree()["is_root"]
        # Of multiple spanning trees, with an instance: longer, and understood as far as it goes.
        wire.send(frame(rapid[:2] + b"\x03" + rapid[3:] + struct.pack("!H", 80) + bytes(80)))
        parts.wait_until(lambda: loop.roles()["u0"] == ("root", "forwarding"), 2, "a root by MSTP")
        assert loop.tree()["ports"]["u0"]["bad_bpdus"] == 5
        before = loop.stats("u0")

        def flooded():
            # While others have the worker's CPU, the kernel loses what u0's ring of 512 frames has
            # no room for: the flood goes on until enough came, and most of what came was dropped.
            for _ in range(3000):
                with contextlib.suppress(OSError):  # a full queue of the kernel's
                    wire.send(frame(rapid))
            now = loop.stats("u0")
            came = now["rx_packets"] - before["rx_packets"]
            lost = now["drops"]["bpdu_too_many"] - before["drops"]["bpdu_too_many"]
            return lost > 2000 and lost > came * 2 / 3
        parts.wait_until(flooded, 20, "most to be dropped")
        parts.wait_until(lambda: loop.roles()["u0"] == ("root", "forwarding"), 2, "a new root")
        assert loop.pings()
    sentences = {
        "bridge set br0 --rstp-priority 1": "not a multiple of 4096",
        "bridge set br0 --rstp-max-age 40": "times of spanning tree do not fit",
        "bridge set br0 --forward-bpdu on": "not both",
        "port set host0 --rstp-path-cost 5": "it always forwards",
        "port set u0 --rstp-port-priority 3": "not a multiple of 16",
        "rstp check host0": "does not run on port host0",
    }
    for words, sentence in sentences.items():
        with pytest.raises(parts.Refused, match=sentence):
            loop.ctl(words)
    loop.ctl("rstp check u0")
    with parts.Wire(loop.far, "w0") as wire:
        wire.send(frame(rapid))
    status, text, _ = loop.switch.text("rstp show")
    assert status == 0 and "by port u0" in text and "PORT" in text
