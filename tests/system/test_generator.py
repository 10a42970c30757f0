# SPDX-License-Identifier: BSD-3-Clause
"""bench's load generator, whose ends are guests of their own making, against Strait, against DPDK's
vhost library as its switch, and against a switch that does known wrongs: each kind of end and ring,
every frame compared."""

import concurrent.futures
import contextlib
import itertools
import json
import socket
import subprocess

import pytest

import lab as parts

KINDS = list(itertools.product((0, 1), repeat=3))  # packed, in order, mergeable


def generate(*words, timeout=60, netns=None):
    program = parts.binaries() / "strait-generator"
    if not program.exists():
        pytest.skip(f"skipped: {program} was not built")
    argv = [str(program), *map(str, words)]
    return subprocess.run(netns.argv(*argv) if netns else argv, text=True, timeout=timeout,
                          capture_output=True, check=False)


def between(ends, *words, netns=None):
    """What comes of a moment of traffic between two ends."""
    done = generate("--end-a", ends[0], "--end-b", ends[1], "--no-huge", "--warm-up", 0,
                    "--seconds", 0.2, "--verify-every", 1, *words, netns=netns)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def traffic(sockets, packed, in_order, mergeable, *words):
    return between([f"vhost:{socket}" for socket in sockets], "--packed", packed, "--in-order",
                   in_order, "--mergeable", mergeable, *words)


def check(result):
    assert result["a_to_b"]["received"] > 0 and result["b_to_a"]["received"] > 0
    assert result["checked"] >= result["a_to_b"]["received"] + result["b_to_a"]["received"]
    assert result["corrupt"] == 0 and result["foreign"] == 0


def test_every_kind_of_ring_with_strait(lab):
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name, "--mtu", "9000") for name in "ab"]
    for kind in KINDS:
        check(traffic(sockets, *kind, "--macs", 64, "--frame", "imix"))
        details = switch.ctl("port", "show", "a")["details"]
        assert details["connections"] > 0
    for packed in (0, 1):  # five buffers each
        check(traffic(sockets, packed, 0, 1, "--frame", 9000))


def test_every_kind_of_ring_with_testpmd(lab, tmp_path):
    sockets = [tmp_path / name for name in "ab"]
    switch = lab.testpmd([f"net_vhost{i},iface={path},queues=1" for i, path in enumerate(sockets)])
    switch.start()
    for kind in KINDS:
        check(traffic(sockets, *kind, "--macs", 64, "--frame", "imix", "--latency", 1))


@pytest.mark.parametrize("words", [
    ("--flow-kind", "nw_dst", "--order", "round"), ("--flow-kind", "5tuple", "--order", "zipf"),
    ("--new-flows", 0.5)])
def test_many_flows(lab, words):
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in "ab"]
    result = traffic(sockets, 0, 1, 1, "--flows", 20000, "--interval", 0.05, *words)
    check(result)
    assert (result["new_flows"] > 0) == ("--new-flows" in words)
    assert len(result["series"]) >= 3
    arrived = result["a_to_b"]["received"] + result["b_to_a"]["received"]
    assert 0 < sum(result["series"]) <= arrived


def test_flows_are_listed():
    listed = generate("--flows", 1000, "--list-flows").stdout.splitlines()
    assert len(set(listed)) == 1000
    assert {line.split()[0] for line in listed} == {"a", "b"}
    listed = generate("--flows", 4, "--flow-kind", "nw_dst", "--list-flows").stdout.splitlines()
    assert listed == ["a 10.10.0.0 16.0.0.0 9000 9001", "a 10.10.0.0 16.0.0.1 9000 9001",
                      "b 10.11.0.0 32.0.0.0 9000 9001", "b 10.11.0.0 32.0.0.1 9000 9001"]


def test_a_switch_that_connects(lab, tmp_path):
    """The generator listens, as for a port in client mode, and its sockets go with it."""
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [tmp_path / name for name in "ab"]
    for name, path in zip("ab", sockets):
        switch.ctl("port", "add", name, "--bridge", "br0", "--type", "vhost-user", "--socket",
                   str(path), "--mode", "client")
    check(traffic(sockets, 0, 1, 1, "--server"))
    assert not any(path.exists() for path in sockets)


@pytest.mark.parametrize("packed", (0, 1))
@pytest.mark.parametrize("end", ("kill", "stop"))
def test_a_switch_that_comes_back(lab, tmp_path, end, packed):
    """The rings are the next one's as they stand: what comes is as it was sent, to the end."""
    switch = lab.switch(run_dir=tmp_path, persist=True)
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in "ab"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        seconds, interval = 6, 0.5
        running = pool.submit(generate, "--end-a", f"vhost:{sockets[0]}", "--end-b",
                              f"vhost:{sockets[1]}", "--no-huge", "--warm-up", 0, "--seconds",
                              seconds, "--verify-every", 1, "--packed", packed, "--rate", 0.02,
                              "--flows", 100, "--sequence", "--interval", interval, "--reconnect")
        parts.wait_until(lambda: switch.ctl("stats a")["total"]["rx_packets"] > 1000, 20,
                         "traffic through the first switch")
        getattr(switch, end)()
        switch.start()
        done = running.result()
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    check(result)
    assert result["series"][-1] > 0 and result["series"][0] > 0
    for way in ("a_to_b", "b_to_a"):
        assert result[way]["longest_gap_us"] < (seconds - interval) * 1e6, result[way]
    assert all(switch.ctl("port", "show", name)["details"]["connections"] > 0 for name in "ab")
    assert not any("malformed" in reason for name in "ab"
                   for reason, count in switch.ctl("drops", name)["ports"][0]["drops"].items()
                   if count)


def test_a_switch_that_does_not_come_back(lab):
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in "ab"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(generate, "--end-a", f"vhost:{sockets[0]}", "--end-b",
                              f"vhost:{sockets[1]}", "--no-huge", "--warm-up", 0, "--seconds", 4,
                              "--reconnect")
        parts.wait_until(lambda: switch.ctl("stats a")["total"]["rx_packets"] > 1000, 20,
                         "traffic")
        switch.kill()
        done = running.result()
    assert done.returncode == 1
    assert "the switch hung up, and none came back" in done.stderr


def test_tagged_frames(lab):
    """Trunks at both ends, two tags, and a trunk and an access port, every frame compared."""
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in "ab"]
    imix = ("--frame", "imix", "--flows", 100, "--sequence", "--latency", 8)
    check(traffic(sockets, 0, 1, 1, "--vlan-a", 7, "--vlan-b", 7, *imix))
    check(traffic(sockets, 1, 0, 1, "--vlan-a", 7.9, "--vlan-b", 7.9, "--frame", 1518))
    switch.ctl("port set b --vlan 7")
    check(traffic(sockets, 0, 1, 1, "--vlan-a", 7, *imix))
    other = generate("--end-a", f"vhost:{sockets[0]}", "--end-b", f"vhost:{sockets[1]}",
                     "--no-huge", "--vlan-a", 8, "--ready-timeout", 0.5)
    assert other.returncode == 1 and "no frame came through" in other.stderr
    # Two ends that disagree about a tag find every frame wrong.
    switch.ctl("port set b --no-vlan")
    wrong = traffic(sockets, 0, 1, 1, "--vlan-a", 7, "--vlan-b", 9)
    assert wrong["corrupt"] == wrong["checked"] > 0


@pytest.mark.parametrize("words", [
    ("--ip", 6), ("--protocol", "tcp"), ("--ip", 6, "--protocol", "tcp", "--vlan-a", 7)])
def test_other_headers(lab, words):
    """IPv6 and TCP: each frame numbered, stamped, and right to its checksum where it arrives."""
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in "ab"]
    if "--vlan-a" in words:
        switch.ctl("port set b --vlan 7")
    check(traffic(sockets, 0, 1, 1, "--frame", 140, "--flows", 100, "--sequence", "--latency", 1,
                  *words))


@pytest.mark.parametrize("ip", (4, 6))
def test_large_segments(lab, ip):
    """TCP segments of 64 KiB, which go whole to a guest that takes them; and small ones whose
    checksum alone is left to fill in."""
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in "ab"]
    for packed, frame in ((0, 65535), (1, 65535), (0, 1000)):
        check(traffic(sockets, packed, 0, 1, "--ip", ip, "--protocol", "tcp", "--tso", 1400,
                      "--frame", frame, "--flows", 20, "--sequence", "--latency", 8))


def xen_guest(simulator, domain):
    """One that br0 adopts, in the generator's words."""
    simulator.tools("create", domain)
    simulator.tools("attach", domain, 0, "--mac", f"00:16:3e:00:00:{domain:02x}", "--bridge", "br0")
    return f"xen:{domain}:{simulator.socket}"


@pytest.mark.parametrize("ends", ("vv", "xx", "xv"))
@pytest.mark.parametrize("ip", (4, 6))
def test_checksums_and_segments_of_both_kinds_of_guests(ends, ip):
    """64 KiB that nobody cuts, checksums that nobody fills in, and such as the switch does."""
    with parts.Simulator() as simulator, parts.Switch(arguments=simulator.switch) as switch:
        switch.ctl("bridge add br0")
        switch.ctl("xen adopt --bridge br0")
        numbers = itertools.count(1)

        def places():
            return [xen_guest(simulator, next(numbers)) if end == "x" else
                    f"vhost:{switch.add_vhost(f'v{next(numbers)}')}" for end in ends]

        for left, words in ((True, ("--tso", 1400, "--frame", 65535)),
                            (True, ("--tso", 1400, "--frame", 1000)),
                            (False, ("--tso", 1400, "--frame", 1000, "--filled-in", 1)),
                            (False, ("--frame", 1000))):
            result = between(places(), "--ip", ip, "--protocol", "tcp", "--flows", 20, "--sequence",
                             *words)
            check(result)
            assert result["checksum_left"] == left * result["checked"]


def test_flows_of_a_capture(lab, tmp_path):
    """As many flows as scapy wrote into a file, each as often as there."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.utils import wrpcap

    packets = [Ether(dst="02:00:00:00:00:01") / IP(dst=f"192.0.2.{last}") / UDP(dport=53)
               for last in (1, 2, 1, 3, 1, 1, 2, 1)]
    wrpcap(str(tmp_path / "x.pcap"), packets)
    order = ("--order", f"pcap:{tmp_path}/x.pcap")
    assert len(generate(*order, "--list-flows").stdout.splitlines()) == 6
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name) for name in "ab"]
    check(traffic(sockets, 0, 1, 1, "--sequence", *order))


def test_xen_guests():
    """Both ends a Xen guest's, with a queue and with two, and one of each kind."""
    with parts.Simulator() as simulator, parts.Switch(arguments=simulator.switch) as switch:
        switch.ctl("bridge add br0")
        switch.ctl("xen adopt --bridge br0")
        check(between([xen_guest(simulator, 1), xen_guest(simulator, 2)], "--flows", 100,
                      "--frame", "imix", "--sequence", "--latency", 8))
        check(between([xen_guest(simulator, 3), f"vhost:{switch.add_vhost('v')}"]))
        result = between([xen_guest(simulator, 4), xen_guest(simulator, 5)], "--flows", 100,
                         "--queues", 2, "--sequence")
        check(result)
        assert result["sequence"]["reordered"] == 0


def make_wires(lab, names):
    netns = lab.netns()
    for name in names:
        netns.sh(f"ip tuntap add dev {name} mode tap; ip link set dev {name} txqueuelen 20000 up")
    return netns, [f"tap:{name}" for name in names]


@pytest.fixture
def wires(lab):
    """Two taps in a namespace: their namespace, and the generator's words for them."""
    return make_wires(lab, "ab")


def test_several_queues(lab):
    """Flows go by four pairs each way, in their order."""
    switch = lab.switch()
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name, "--queues", 4, "--mtu", 9000) for name in "ab"]
    numbered = ("--queues", 4, "--flows", 100, "--sequence", "--latency", 8, "--settle", 0.2)
    for packed, in_order in itertools.product((0, 1), repeat=2):
        for frame in ("imix", 9000):
            result = traffic(sockets, packed, in_order, 1, *numbered, "--frame", frame)
            check(result)
            assert result["sequence"]["reordered"] == result["sequence"]["duplicated"] == 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = pool.submit(traffic, sockets, 0, 1, 1, *numbered, "--seconds", 1)
        parts.wait_until(lambda: all(
            "off" not in pair and " 0 of" not in pair
            for pair in switch.ctl("port show b")["details"].get("queue_pairs", ["off"])), 10,
            "packets by all queues")
        check(done.result())
    few = generate("--end-a", f"vhost:{sockets[0]}", "--end-b", f"vhost:{sockets[1]}", "--no-huge",
                   "--queues", 5, "--flows", 100)
    assert few.returncode == 1 and "the switch has 4 queue pairs for it, of 5" in few.stderr


def over_vxlan(switch, key):
    """A guest's port, and the underlay's, behind which is the other end of the tunnel vx0."""
    switch.ctl("bridge add under")
    far = switch.add_vhost("up0", "--mtu", "1600", bridge="under")
    switch.ctl("address add under 10.0.0.1/24")
    switch.ctl("port set under --mtu 1600")
    switch.ctl("bridge add br0")
    near = switch.add_vhost("vm1")
    switch.ctl(f"port add vx0 --bridge br0 --type vxlan --remote 10.0.0.2 --key {key}")
    return near, far


VXLAN = ("--vxlan-b", "42,10.0.0.2,10.0.0.1", "--flows", 100, "--sequence", "--latency", 8)


def test_a_tunnel_of_straits(lab):
    """One end is a host of the underlay, with which the switch finds itself by ARP."""
    switch = lab.switch()
    near, far = over_vxlan(switch, "42")
    for frame in ("imix", 64):
        check(traffic([near, far], 0, 1, 1, *VXLAN, "--frame", frame))
    # What is in another network arrives nowhere.
    other = generate("--end-a", f"vhost:{near}", "--end-b", f"vhost:{far}", "--no-huge",
                     "--vxlan-b", "43,10.0.0.2,10.0.0.1", "--ready-timeout", 0.5)
    assert other.returncode == 1 and "no frame came through" in other.stderr


def test_a_tunnel_that_sends_what_was_not_asked_for(lab):
    """The switch takes what is in one network and answers in another: all of it is wrong."""
    switch = lab.switch()
    near, far = over_vxlan(switch, "flow")
    switch.ctl("flow add --bridge br0 in_port=vm1,actions=set_tunnel:43,vx0")
    switch.ctl("flow add --bridge br0 in_port=vx0,actions=vm1")
    result = traffic([near, far], 0, 1, 1, *VXLAN)
    assert result["corrupt"] > 0 and result["a_to_b"]["received"] == result["corrupt"]


@pytest.mark.parametrize("checksum", ["noudpcsum", "udpcsum"])
def test_a_tunnel_of_linux(wires, checksum):
    netns, ends = wires
    netns.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; "
             "ip link set dev b mtu 1600; ip address add 10.0.0.1/24 dev b; "
             f"ip link add vx type vxlan id 42 dstport 4789 remote 10.0.0.2 dev b {checksum}; "
             "ip link add bridge0 type bridge; "
             "echo 0 > /sys/class/net/bridge0/bridge/multicast_snooping; "
             "ip link set dev a master bridge0; ip link set dev vx master bridge0; "
             "ip link set dev vx up; ip link set dev bridge0 up")
    check(between(ends, "--rate", 0.01, *VXLAN, netns=netns))


@pytest.fixture
def bridged(wires):
    """The same, joined by a bridge of the kernel's."""
    netns, _ = wires
    netns.sh("ip link add bridge0 type bridge; "
             "echo 0 > /sys/class/net/bridge0/bridge/multicast_snooping; "  # it joins a group
             "ip link set dev a master bridge0; ip link set dev b master bridge0; "
             "ip link set dev bridge0 up")
    return wires


def test_wires_through_a_bridge_of_the_kernels(bridged):
    netns, ends = bridged
    check(between(ends, "--rate", 0.01, "--sequence", netns=netns))


def test_nics(lab):
    """Both ends DPDK's devices, at wires that the kernel's bridge joins."""
    netns = lab.netns()
    netns.sh("ip link add bridge0 type bridge; "
             "echo 0 > /sys/class/net/bridge0/bridge/multicast_snooping; "
             "sysctl -qw net.ipv6.conf.all.disable_ipv6=1; "
             "for end in a b; do ip link add dev $end type veth peer name far-$end; "
             "ip link set dev far-$end master bridge0; ip link set dev $end up; "
             "ip link set dev far-$end up; done; ip link set dev bridge0 up")
    ends = [f"nic:net_af_packet{number},iface={name}" for number, name in enumerate("ab")]
    check(between(ends, "--rate", 0.01, "--flows", 100, "--frame", "imix", "--sequence",
                  "--latency", 8, netns=netns))


@pytest.mark.parametrize("wire, guest", itertools.product(("nic", "tap"), ("vhost", "xen")))
def test_a_wire_and_a_guest(lab, wire, guest):
    """Ends of two kinds: the switch has a NIC port at the wire's other end."""
    netns = lab.netns()
    netns.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; "
             "ip link add dev a type veth peer name b; ip link set dev a up; ip link set dev b up; "
             "ip tuntap add dev c mode tap; ip link set dev c txqueuelen 20000 up")
    near, far = {"nic": ("nic:net_af_packet0,iface=a", "b"), "tap": ("tap:c", "c")}[wire]
    with parts.Simulator() as simulator, \
            parts.Switch(netns=netns, arguments=simulator.switch) as switch:
        switch.ctl("bridge add br0")
        switch.ctl("xen adopt --bridge br0")
        switch.add_nic("wire", f"net_af_packet0,iface={far}")
        end = xen_guest(simulator, 1) if guest == "xen" else f"vhost:{switch.add_vhost('v')}"
        check(between([near, end], "--rate", 0.01, "--flows", 100, "--frame", "imix", "--sequence",
                      "--latency", 8, netns=netns))


def test_what_a_full_ring_did_not_take_is_not_sent(lab):
    """Rings of 16 frames, whose senders have the next ones ready all the time: none of these is
    taken for one that was sent and lost, in the step that ends nor, come late, in the next."""
    netns = lab.netns()
    netns.sh("ip link add bridge0 type bridge; "
             "echo 0 > /sys/class/net/bridge0/bridge/multicast_snooping; "
             "sysctl -qw net.ipv6.conf.all.disable_ipv6=1; "
             "for end in a b c; do ip link add dev $end type veth peer name far-$end; "
             "ip link set dev far-$end master bridge0; ip link set dev $end up; "
             "ip link set dev far-$end up; done; ip link set dev bridge0 up")
    ends = [f"nic:net_af_packet{number},iface={name},framecnt=16"
            for number, name in enumerate("abc")]
    generator = Stepping(netns, ends[:2], "--end", ends[2], "--pattern", "many-to-one",
                         "--sequence")
    for words, lines in (("rate=0 seconds=0.1 warm-up=0.05", 3), ("frames=2000", 1),
                         ("frames=2000", 1)):
        result = generator.step(words, lines)
        assert result["sent"] == sum(one["sent"] for one in result["paths"]) > 0
        assert result["sequence"]["lost"] == sum(one["lost"] for one in result["paths"])
        assert result["sequence"]["duplicated"] == 0
        if lines == 1:
            assert result["not_taken"] == 4000 - result["sent"] > 0
    generator.close()


class Stepping:
    """A generator that is told each step."""

    def __init__(self, netns, ends, *words):
        program = parts.binaries() / "strait-generator"
        if not program.exists():
            pytest.skip(f"skipped: {program} was not built")
        self._child = subprocess.Popen(
            [str(word) for word in netns.argv(program, "--end-a", ends[0], "--end-b", ends[1],
                                              "--steps", "--no-huge", "--verify-every", 1,
                                              # The switch is slow, and so may the machine be.
                                              "--settle", 0.5, *words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.wait("ready")

    def wait(self, event):
        for line in self._child.stdout:
            told = json.loads(line)
            if told["event"] == event:
                return told
        raise AssertionError(f"no {event}: {self._child.stderr.read()}")

    def say(self, words, lines=1):
        self._child.stdin.write(words + "\n" * lines)
        self._child.stdin.flush()

    def step(self, words, lines=1):
        self.say(words, lines)
        return self.wait("result")

    def memory(self):
        """Its own, KiB."""
        with open(f"/proc/{self._child.pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))

    def close(self):
        self._child.stdin.close()
        assert self._child.wait(10) == 0, self._child.stderr.read()


FRAMES = 4000  # in each direction
# Of each direction, by number: apart from each other, so that each is one fault.
FAULTS = {"drop": range(10, FRAMES, 97), "twice": range(31, FRAMES, 101),
          "late": range(53, FRAMES - 2, 103), "corrupt": range(77, FRAMES, 107)}


def apart(faults):
    """Without numbers that another fault has, or that follow a late one."""
    out, taken = {}, set()
    for name in ("late", "drop", "twice", "corrupt", "astray"):
        numbers = [one for one in faults.get(name, ()) if not {one, one + 1} & taken]
        out[name] = numbers
        taken |= {one + more for one in numbers for more in (0, 1)}
    return out


@pytest.mark.parametrize("names", [(), ("drop",), ("twice",), ("late",), ("corrupt",),
                                   tuple(FAULTS)], ids=lambda names: "+".join(names) or "none")
def test_each_wrong_of_a_switch_is_found(lab, wires, names):
    netns, ends = wires
    with lab.bad_switch(netns, ("a", "b"), b"STRT", 42) as switch:
        generator = Stepping(netns, ends, "--sequence")
        faults = apart({name: FAULTS[name] for name in names})
        switch.begin(**faults)
        result = generator.step(f"rate=0.02 frames={FRAMES}")
        generator.close()
        done = switch.done
    assert {name: done[name] for name in FAULTS} == \
        {name: 2 * len(faults[name]) for name in FAULTS}
    lost = done["drop"] + done["corrupt"]
    assert result["sequence"] == {"lost": lost, "duplicated": done["twice"],
                                  "reordered": done["late"], "stale": 0,
                                  "flows_with_loss": 2 if lost else 0}
    assert result["corrupt"] == done["corrupt"] and result["foreign"] == 0
    assert result["sent"] == 2 * FRAMES and result["not_taken"] == 0
    assert result["received"] == 2 * FRAMES - done["drop"] + done["twice"]


@pytest.mark.parametrize("tags", ["7", "7.9"])
def test_each_wrong_is_found_in_tagged_frames(lab, wires, tags):
    netns, ends = wires
    with lab.bad_switch(netns, ("a", "b"), b"STRT", 42 + 4 * len(tags.split("."))) as switch:
        generator = Stepping(netns, ends, "--sequence", "--frame", 100, "--vlan-a", tags,
                             "--vlan-b", tags)
        faults = apart(FAULTS)
        switch.begin(**faults)
        result = generator.step(f"rate=0.02 frames={FRAMES}")
        generator.close()
        done = switch.done
    assert {name: done[name] for name in FAULTS} == \
        {name: 2 * len(faults[name]) for name in FAULTS}
    assert result["sequence"] == {"lost": done["drop"] + done["corrupt"],
                                  "duplicated": done["twice"], "reordered": done["late"],
                                  "stale": 0, "flows_with_loss": 2}
    assert result["corrupt"] == done["corrupt"] and result["foreign"] == 0


def test_wrongs_are_found_in_the_flow_that_has_them(lab, wires):
    """Of a hundred flows in turn, all frames of one are dropped, another's come twice."""
    netns, ends = wires
    with lab.bad_switch(netns, ("a", "b"), b"STRT", 42) as switch:
        generator = Stepping(netns, ends, "--sequence", "--flows", 200, "--order", "round")
        switch.begin(drop=range(7, FRAMES, 100), twice=range(8, FRAMES, 100))
        result = generator.step(f"rate=0.02 frames={FRAMES}")
        generator.close()
    assert result["sequence"] == {"lost": 2 * FRAMES // 100, "duplicated": 2 * FRAMES // 100,
                                  "reordered": 0, "stale": 0, "flows_with_loss": 2}


# ---- more than two ends ----

PATTERNS = ("one-to-many", "many-to-one", "ring")
NAMES = "abcd"


def ways_of(pattern):
    """From and to, by numbers of ends, in the order of paths."""
    count = len(NAMES)
    if pattern == "ring":
        return [(one, (one + 1) % count) for one in range(count)]
    others = range(1, count)
    return [(0, one) if pattern == "one-to-many" else (one, 0) for one in others]


def more_ends(ends, pattern):
    return [*(word for end in ends[2:] for word in ("--end", end)), "--pattern", pattern]


OF_A_PATH = 1200


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_wrong_is_found_at_the_end_and_path_that_has_it(lab, pattern):
    """Each path has each fault, and each another number of them."""
    netns, ends = make_wires(lab, NAMES)
    ways = ways_of(pattern)
    faults = {way: apart({
        "drop": range(10, OF_A_PATH, 97 + 20 * number),
        "twice": range(31, OF_A_PATH, 101 + 30 * number),
        "late": range(53, OF_A_PATH - 2, 103 + 40 * number),
        "corrupt": range(77, OF_A_PATH, 107 + 50 * number),
        "astray": range(15, OF_A_PATH, 211 + 60 * number)}) for number, way in enumerate(ways)}
    with lab.bad_switch(netns, NAMES, b"STRT", 42) as switch:
        generator = Stepping(netns, ends, "--sequence", *more_ends(ends, pattern))
        switch.begin(by_way=faults)
        frames = OF_A_PATH * (len(ways) if pattern == "one-to-many" else 1)
        result = generator.step(f"rate=0.02 frames={frames}")
        generator.close()
        done = switch.done
    count = {way: {name: len(numbers) for name, numbers in of.items()}
             for way, of in faults.items()}
    assert done == {name: sum(of[name] for of in count.values()) for name in done}
    assert len({tuple(of.values()) for of in count.values()}) == len(ways)
    paths = {(NAMES.index(one["from"]), NAMES.index(one["to"])): one for one in result["paths"]}
    assert list(paths) == ways
    for way, of in count.items():
        path = paths[way]
        lost = of["drop"] + of["astray"]
        assert path["sent"] == OF_A_PATH
        assert path["received"] == OF_A_PATH - lost + of["twice"]
        assert path["lost"] == lost - of["twice"]
        assert path["corrupt"] == of["corrupt"]
        assert path["sequence"] == {"lost": lost + of["corrupt"], "duplicated": of["twice"],
                                    "reordered": of["late"], "stale": 0, "flows_with_loss": 1}
    for number, end in enumerate(result["ends"]):
        to = [of for way, of in count.items() if way[1] == number]
        astray = [of for way, of in count.items()
                  if number == next(one for one in range(4) if one not in way)]
        assert end["end"] == NAMES[number] and end["foreign"] == 0
        assert end["corrupt"] == sum(of["corrupt"] for of in to)
        assert end["misdelivered"] == sum(of["astray"] for of in astray)
        assert end["received"] == sum(paths[way]["received"] for way in ways if way[1] == number)
        assert end["sent"] == sum(paths[way]["sent"] for way in ways if way[0] == number)
    for name in ("lost", "duplicated", "reordered", "flows_with_loss"):
        assert result["sequence"][name] == sum(one["sequence"][name] for one in paths.values())
    assert result["sent"] == OF_A_PATH * len(ways) and result["corrupt"] == done["corrupt"]


def test_the_shares_of_senders_that_a_switch_favours(lab):
    """Of three senders one loses nothing, one a half, one all: Jain's index of 2, 1 and 0."""
    netns, ends = make_wires(lab, NAMES)
    with lab.bad_switch(netns, NAMES, b"STRT", 42) as switch:
        generator = Stepping(netns, ends, *more_ends(ends, "many-to-one"))
        switch.begin(by_way={(2, 0): {"drop": range(0, 1000, 2)}, (3, 0): {"drop": range(1000)}})
        result = generator.step("rate=0.02 frames=1000")
        generator.close()
    assert [one["lost"] for one in result["paths"]] == [0, 500, 1000]
    assert [round(one["share"], 4) for one in result["paths"]] == [0.6667, 0.3333, 0]
    assert result["fairness"] == pytest.approx(9 / (3 * 5), abs=1e-5)


def test_no_sender_has_a_place_of_its_own_in_a_round(lab):
    """What three send to one, 32 frames each a round, in the order in which the kernel's bridge has
    it: each round begins with another one."""
    netns, ends = make_wires(lab, NAMES)
    netns.sh("ip link add bridge0 type bridge; "
             "echo 0 > /sys/class/net/bridge0/bridge/multicast_snooping; "
             f"for end in {' '.join(NAMES)}; do ip link set dev $end master bridge0; done; "
             "ip link set dev bridge0 up")
    generator = Stepping(netns, ends, *more_ends(ends, "many-to-one"))
    with netns.entered():
        seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # all
        seen.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        seen.bind(("a", 3))
        seen.setblocking(False)
    assert generator.step("rate=0 frames=96")["received"] == 3 * 96
    generator.close()
    order = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frame = seen.recv(2048)
            order += [frame[11]] if frame[42:46] == b"STRT" else []
    seen.close()
    assert len(order) == 3 * 96
    assert {order[first] for first in (0, 96, 192)} == {0, 1, 2}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_comes_twice_makes_up_for_no_loss(lab, pattern):
    netns, ends = make_wires(lab, NAMES)
    ways = ways_of(pattern)
    with lab.bad_switch(netns, NAMES, b"STRT", 42) as switch:
        generator = Stepping(netns, ends, *more_ends(ends, pattern))
        switch.begin(by_way={ways[0]: {"twice": range(400)}, ways[1]: {"drop": range(400)}})
        result = generator.step(
            f"rate=0.02 frames={400 * (len(ways) if pattern == 'one-to-many' else 1)}")
        generator.close()
    sent = 400 * len(ways)
    assert [one["lost"] for one in result["paths"]] == [0, 400, *[0] * (len(ways) - 2)]
    assert (result["sent"], result["received"], result["lost"]) == (sent, sent, 400)
    assert result["loss"] == pytest.approx(1 / len(ways), abs=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_comes_back_to_its_sender_is_lost(lab, pattern):
    """None arrives, whatever came to whom: nothing was received, and no share is anybody's."""
    netns, ends = make_wires(lab, NAMES)
    ways = ways_of(pattern)
    with lab.bad_switch(netns, NAMES, b"STRT", 42) as switch:
        generator = Stepping(netns, ends, "--sequence", *more_ends(ends, pattern))
        switch.begin(back=range(OF_A_PATH))
        result = generator.step(
            f"rate=0.02 frames={OF_A_PATH * (len(ways) if pattern == 'one-to-many' else 1)}")
        generator.close()
    sent = OF_A_PATH * len(ways)
    assert switch.done == {"back": sent}
    assert (result["sent"], result["received"], result["lost"]) == (sent, 0, sent)
    assert result["mpps"] == 0 and result["fairness"] is None and result["corrupt"] == 0
    assert all((one["received"], one["lost"], one["share"]) == (0, OF_A_PATH, 0)
               for one in result["paths"])
    assert result["sequence"]["lost"] == sent
    assert [one["misdelivered"] for one in result["ends"]] == \
        [one["sent"] for one in result["ends"]]
    assert all(one["received"] == 0 for one in result["ends"])


def test_frames_of_others_are_not_received(lab):
    """Of more than two ends, what others of the network send is foreign, and nothing else."""
    netns, ends = make_wires(lab, NAMES)
    with lab.bad_switch(netns, NAMES, b"STRT", 42) as switch:
        generator = Stepping(netns, ends, *more_ends(ends, "one-to-many"))
        with netns.entered():
            other = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            other.bind(("c", 0))
        switch.begin()
        generator.say("rate=0.002 seconds=0.3 warm-up=0")
        generator.wait("warm")
        generator.say("")
        generator.wait("measure_begin")
        for size in (42, 60, 200):
            other.send(bytes.fromhex("ffffffffffff0200000000010806") + bytes(size - 14))
        generator.say("")
        result = generator.wait("result")
        generator.close()
        other.close()
    c = next(one for one in result["ends"] if one["end"] == "c")
    assert (result["foreign"], c["foreign"], c["misdelivered"]) == (3, 3, 0)
    assert result["received"] == sum(one["received"] for one in result["paths"]) > 0
    path = next(one for one in result["paths"] if one["to"] == "c")
    assert 0 < c["received"] <= path["received"]  # in the counted time, and in all
    assert result["lost"] == result["corrupt"] == 0


def test_what_each_flow_met(lab, wires):
    """Of a hundred flows in turn, all frames of one are dropped, another's come twice, and a third
    one's changed: the report of the flows names them."""
    netns, ends = wires
    with lab.bad_switch(netns, ("a", "b"), b"STRT", 42) as switch:
        generator = Stepping(netns, ends, "--sequence", "--flows", 200, "--order", "round",
                             "--per-flow", "--latency", 1)
        switch.begin(drop=range(7, FRAMES, 100), twice=range(8, FRAMES, 100),
                     corrupt=range(9, FRAMES, 100))
        result = generator.step(f"rate=0.02 frames={FRAMES}")
        generator.close()
    each = FRAMES // 100
    for way in (("a", "b"), ("b", "a")):
        flows = {one["flow"]: one for one in result["flows"] if (one["from"], one["to"]) == way}
        assert sorted(flows) == list(range(100))
        assert all(one["sent"] == each for one in flows.values())
        dropped = [one for one in flows.values() if one["received"] == 0]
        twice = [one for one in flows.values() if one["received"] == 2 * each]
        changed = [one for one in flows.values() if one["corrupt"]]
        assert len(dropped) == len(twice) == len(changed) == 1
        assert dropped[0]["sequence"]["lost"] == dropped[0]["lost"] == each
        assert twice[0]["sequence"]["duplicated"] == each
        assert changed[0]["corrupt"] == changed[0]["sequence"]["lost"] == each
        assert changed[0]["received"] == each and changed[0] not in (*dropped, *twice)
        whole = [one for one in flows.values() if one not in (*dropped, *twice, *changed)]
        assert all(one["received"] == each and not any(one["sequence"].values())
                   for one in whole)
        assert all(one["latency_us"]["count"] == one["received"] for one in flows.values())


DELAY = 250_000.0  # µs: longer than a busy machine keeps the switch from its CPU


def test_a_known_delay_is_the_latency_that_is_measured(lab, wires):
    """Of ten flows in turn all frames of one are held for so long, each way."""
    netns, ends = wires
    with lab.bad_switch(netns, ("a", "b"), b"STRT", 42) as switch:
        generator = Stepping(netns, ends, "--flows", 20, "--order", "round", "--per-flow",
                             "--latency", 1)
        switch.begin(delay=DELAY / 1e6, delayed=range(7, FRAMES, 10))
        result = generator.step(f"rate=0.02 frames={FRAMES}")
        generator.close()
        done = switch.done
    least = 0.999 * DELAY  # the TSC's rate is measured, too
    for way in (("a", "b"), ("b", "a")):
        flows = [one for one in result["flows"] if (one["from"], one["to"]) == way]
        *others, held = sorted(one["latency_us"]["p50"] for one in flows)
        assert len(others) == 9 and others[-1] < DELAY / 2
        # A bucket's bound is a 64th too high at most; and there is the way itself.
        assert least <= held <= DELAY * 65 / 64 + others[-1] + 5000
    latency = result["latency_us"]
    assert latency["count"] == result["received"] == 2 * FRAMES
    assert latency["p50"] < DELAY / 2 and latency["p99"] >= least and latency["max"] >= least
    longer = sum(count for bound, count in latency["histogram"] if bound >= least)
    assert longer >= done["delayed"] == 2 * FRAMES // 10


@pytest.mark.parametrize("words, most", [((), 16), (("--latency", 8), 60)],
                         ids=["no latency", "latency"])
def test_figures_of_many_flows_take_little_memory(lab, words, most):
    """A histogram has 20 KiB, and there is one for each flow where it arrives, if any."""
    netns, ends = make_wires(lab, "abcdefghi")
    with lab.bad_switch(netns, "abcdefghi", b"STRT", 42):
        generator = Stepping(netns, ends, *more_ends(ends, "many-to-one"), "--per-flow",
                             "--flows", 2048, "--rate", 0.02, *words)
        result = generator.step("frames=128")
        kib = generator.memory()
        generator.close()
    assert len(result["flows"]) == 1024 and kib < most * 1024, kib


def test_many_ends_with_strait(lab):
    """Guests of all kinds of rings, every frame compared, each path's figures and each flow's."""
    switch = lab.switch()
    switch.ctl("bridge add br0")
    ends = [f"vhost:{switch.add_vhost(name)}" for name in NAMES]
    for pattern, kind in itertools.product(PATTERNS, ((0, 1, 1), (0, 0, 0), (1, 0, 1))):
        packed, in_order, mergeable = kind
        ways = ways_of(pattern)
        result = between(ends, "--packed", packed, "--in-order", in_order, "--mergeable", mergeable,
                         *more_ends(ends, pattern), "--flows", 10 * 2 * len(ways), "--sequence",
                         "--per-flow", "--frame", "imix", "--latency", 1, "--settle", 0.2)
        assert result["corrupt"] == result["foreign"] == 0
        assert result["checked"] >= sum(one["received"] for one in result["ends"]) > 0
        assert result["sequence"]["lost"] == result["lost"]
        assert result["sequence"]["duplicated"] == result["sequence"]["reordered"] == 0
        assert 1 / len(ways) < result["fairness"] <= 1
        assert sum(one["share"] for one in result["paths"]) == pytest.approx(1, abs=1e-4)
        for number, way in enumerate(ways):
            path = result["paths"][number]
            assert (path["from"], path["to"]) == (NAMES[way[0]], NAMES[way[1]])
            flows = [one for one in result["flows"] if one["flow"] % len(ways) == number]
            assert len(flows) == 10
            assert {(one["from"], one["to"]) for one in flows} == {(path["from"], path["to"])}
            for key in ("sent", "received"):
                assert path[key] == sum(one[key] for one in flows) > 0
            assert path["lost"] == path["sequence"]["lost"] == path["sent"] - path["received"]
            assert path["latency_us"]["count"] == \
                sum(one["latency_us"]["count"] for one in flows) > 0
        assert all(one["misdelivered"] == 0 for one in result["ends"])
    # What the generator misses of each sender's is what the switch could not give the receiver.
    def dropped():
        return next(one["drops"]["receiver_full"] for one in switch.ctl("stats")["ports"]
                    if one["name"] == "a")
    before = dropped()
    result = between(ends, *more_ends(ends, "many-to-one"), "--settle", 0.2)
    assert sum(one["lost"] for one in result["paths"]) == result["lost"] == dropped() - before
    switch.ctl("bridge add br1")
    ends[2] = f"vhost:{switch.add_vhost('x', bridge='br1')}"
    apart_from_all = generate("--end-a", ends[0], "--end-b", ends[1],
                              *more_ends(ends, "one-to-many"), "--no-huge", "--ready-timeout", 0.5)
    assert apart_from_all.returncode == 1
    assert "no frame came through the switch to end c within" in apart_from_all.stderr


def test_steps_change_rate_and_time(bridged):
    netns, ends = bridged
    generator = Stepping(netns, ends)
    assert "latency_us" not in generator.step("rate=0.002 seconds=0.1 warm-up=0", lines=3)
    slow = generator.step("seconds=0.5 latency=1", lines=3)
    assert 500 <= slow["sent"] <= 1100 and 0.45 < slow["seconds"] < 2
    latency = slow["latency_us"]
    assert sum(count for _, count in latency["histogram"]) == latency["count"] > 0
    assert latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert latency["count"] >= 500
    # One in 8 has a stamp, of which one in 9 is looked at, and no old one.
    sampled = generator.step("latency=8 rate=0.02", lines=3)
    assert 50 <= sampled["latency_us"]["count"] <= sampled["received"] / 60
    assert sampled["latency_us"]["max"] < 1e6 * sampled["seconds"]
    assert generator.step("frames=100 latency=0")["sent"] == 200
    assert generator.step("frames=7")["sent"] == 14
    generator.close()


@pytest.mark.parametrize("rate", (0.002, 0.02))
def test_a_rate_is_held(bridged, rate):
    """But for what was due while the generator or the switch had no CPU: it counts that, if more
    than a burst is late by it, and says how long it was away at most."""
    netns, ends = bridged
    generator = Stepping(netns, ends)
    told = generator.step(f"rate={rate} seconds=0.5 warm-up=0.1", lines=3)
    generator.close()
    sent = told["a_to_b"]["sent"] + told["b_to_a"]["sent"]
    due = rate * 1e6 * told["seconds"]
    away = rate * told["longest_round_us"]
    assert 0.95 * due - told["late"] - told["not_taken"] - away <= sent <= 1.05 * due


@pytest.mark.parametrize("line, sentence", [
    ("speed=3", "a step cannot have \"speed=3\""),
    ("latency=-1", "a step's latency cannot be \"-1\""),
    ("rate=x", "a step's rate cannot be \"x\""),
    ("seconds=0", "right would be 0.01 to 86400 seconds"),
])
def test_a_wrong_step_is_told(bridged, line, sentence):
    netns, ends = bridged
    done = subprocess.run(
        [str(word) for word in netns.argv(parts.binaries() / "strait-generator", "--end-a", ends[0],
                                          "--end-b", ends[1], "--steps")],
        input=line + "\n", text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1


THREE = ("--end", "vhost:c", "--pattern", "one-to-many")


@pytest.mark.parametrize("words, sentence", [
    ((), "no back end serves this socket"),
    (("--server", "--ready-timeout", 0.2), "no switch connected within 0.2 s"),
    (("--frame", 59), "option --frame cannot be"),
    (("--end-a", "vhost:" + "x" * 200), "longer than the 107 bytes"),
    (("--end-a", "x"), "right would be vhost:SOCKET, xen:DOMAIN:SOCKET, tap:INTERFACE or "
                       "nic:DEVICE"),
    (("--end-a", "xen:0:y"), "right would be vhost:SOCKET, xen:DOMAIN:SOCKET, tap:INTERFACE"),
    (("--end-a", "tap:" + "x" * 16), "a name has at most 15 bytes"),
    (("--end-a", "xen:1:/no/where"), "Xen guest 1: "),
    (("--end-a", "nic:net_nothing0"), "unknown device \"net_nothing0\""),
    (("--end-a", "nic:0000:7f:1f.7"), "there is no PCI device 0000:7f:1f.7"),
    (("--end-b", "vhost:same", "--end-a", "vhost:same"), "--end-a and --end-b are the same"),
    (("--sequence", "--flows", 4, "--new-flows", 0.5), "--sequence and --new-flows exclude"),
    (("--cpu", 1023), "CPU 1023 cannot be had"),
    (("--flows", 3), "option --flows cannot be"),
    (("--flow-kind", "mac"), "right would be nw_dst, 5tuple or answered"),
    (("--order", "random"), "right would be uniform, zipf, round or pcap:FILE"),
    (("--new-flows", 0.5), "--list-flows and --new-flows need --flows"),
    (("--flows", 4, "--macs", 4), "--flows and --macs exclude each other"),
    (("--vlan-a", 4095), "right would be a VLAN from 1 to 4094, or two as OUTER.INNER"),
    (("--vlan-b", "7."), "right would be a VLAN from 1 to 4094, or two as OUTER.INNER"),
    (("--vlan-a", "7.9"), "--frame would be 68 or more"),
    (("--ip", 6, "--protocol", "tcp"), "no room for 32 bytes"),
    (("--ip", 5), "option --ip cannot be"),
    (("--protocol", "icmp"), "right would be udp or tcp"),
    (("--order", "pcap:/no/where"), "/no/where"),
    (("--tso", 1400), "--tso is of --protocol tcp"),
    (("--tso", 1400, "--protocol", "tcp", "--frame", 90, "--mergeable", 0),
     "with mergeable buffers"),
    (("--tso", 1400, "--protocol", "tcp", "--frame", 90, "--end-b", "tap:x"),
     "guests, of vhost-user or of Xen, at all ends"),
    (("--filled-in", 1), "--filled-in needs --tso"),
    (("--filled-in", 1, "--tso", 1400, "--protocol", "tcp", "--frame", 1455),
     "--filled-in is of frames that are one segment each"),
    (("--order", "pcap:/x", "--flows", 4), "the capture says which flows there are"),
    (("--queues", 17, "--flows", 100), "right would be 1 to 16"),
    (("--reconnect", "--server"), "--reconnect and --server exclude each other"),
    (("--queues", 4), "--queues needs --flows, at least 8 of them"),
    (("--vxlan-a", "42,10.0.0.1"), "right would be VNI,OWN,FAR"),
    (("--vxlan-a", "42,10.0.0.1,10.0.0.1"), "right would be VNI,OWN,FAR"),
    (("--vxlan-b", "16777216,10.0.0.1,10.0.0.2"), "a number below 16777216"),
    (("--vxlan-b", "42,10.0.0.1,fd00::1"), "the IPv4 addresses of the end and of the switch"),
    (("--vxlan-b", "42,10.0.0.1,10.0.0.2", "--frame", 9560), "longer than the 9600"),
    (("--vxlan-b", "42,10.0.0.1,10.0.0.2", "--tso", 1400, "--protocol", "tcp", "--frame", 90),
     "--vxlan-a and --vxlan-b exclude --tso, --turned and --direction"),
    (("--vxlan-b", "42,10.0.0.1,10.0.0.2", "--direction", "ab"),
     "who does not send does not answer"),
    (("--pattern", "one-to-many"), "--pattern is of three ends or more"),
    (("--pattern", "all"), "right would be one-to-many, many-to-one or ring"),
    (("--end", "vhost:c"), "more than two ends need --pattern"),
    (("--end", "vhost:c", "--end", "vhost:c", "--pattern", "ring"),
     "--end c and --end d are the same"),
    (("--end", "c", "--pattern", "ring"), "option --end cannot be \"c\""),
    (("--end", "tap:c", "--end-b", "tap:c", "--pattern", "ring"),
     "--end-b and --end c are the same"),
    ((*(word for number in range(25) for word in ("--end", f"tap:{number}")), "--pattern", "ring"),
     "27 ends are more than the 26 that there can be"),
    ((*("--end", "tap:c") * 25, "--pattern", "ring"),
     "27 ends are more than the 26 that there can be"),
    ((*THREE, "--direction", "ab"), "which excludes --direction"),
    ((*THREE, "--macs", 4), "--pattern excludes --macs"),
    ((*THREE, "--queues", 2, "--flows", 8), "--pattern excludes --queues, --turned"),
    ((*THREE, "--flows", 6), "--flows would be a multiple of 4"),
    (("--end", "tap:c", "--pattern", "ring", "--vlan-b", 7), "--pattern ring excludes --vlan-b"),
    (("--flows", 4096, "--per-flow"), "--per-flow is of flows that --flows or --macs names, 2048"),
    (("--flows", 4, "--new-flows", 1, "--per-flow"), "without --new-flows"),
    (("--vlan-a", 7, "--frame", 9600), "longer than the 9600 that one without --tso can have"),
])
def test_says_what_is_wrong(tmp_path, words, sentence):
    done = generate("--end-a", f"vhost:{tmp_path}/a", "--end-b", f"vhost:{tmp_path}/b", "--no-huge",
                    *words)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
