# SPDX-License-Identifier: BSD-3-Clause
"""Rates that packets wait for, towards a NIC (a kernel's interface under af_packet or a tap): how
much comes in a time, whose it is, and what becomes of what waits.

Time is measured, and never asserted: a busy machine sends less than a rate, and must not send more.
Shares are compared within one time.
"""

import contextlib
import socket
import subprocess
import threading
import time

import pytest

import lab as parts
from lab.switch import Refused

SENDER, OTHER, RECEIVER = "10.8.0.1", "10.8.0.2", "10.8.0.3"
KBPS = 20_000
PAYLOAD = 1200
FRAME = PAYLOAD + 42  # Ethernet, IPv4, UDP
SECONDS = 2.0


class Hosts:
    """Two senders by taps, and a receiver by the device that is shaped."""

    def __init__(self, lab, kind, workers):
        self.netns = lab.netns()
        if kind == "af_packet":
            self._ip("link", "add", "up0", "type", "veth", "peer", "name", "far")
            for interface in ("up0", "far"):
                self._ip("link", "set", interface, "up")
                self._run("ethtool", "-K", interface, "tx", "off", "rx", "off", "gso", "off", "tso",
                          "off", "gro", "off")
        self.switch = lab.switch(workers=workers, netns=self.netns)
        self.ctl = self.switch.ctl
        self.ctl("bridge", "add", "br0")
        self.hosts = [parts.Netns() for _ in range(3)]
        for name, host, address in zip(("s1", "s2"), self.hosts, (SENDER, OTHER)):
            self.switch.add_nic(name, f"net_tap_{name},iface={name}")
            self._give(name, host, address)
        device = "net_af_packet0,iface=up0" if kind == "af_packet" else "net_tap_up0,iface=far"
        self.switch.add_nic("up0", device)
        self._give("far", self.hosts[2], RECEIVER)
        for sender in self.hosts[:2]:
            assert sender.run(f"busybox ping -c 1 -W 3 {RECEIVER} > /dev/null 2>&1")[0] == 0

    def _run(self, *words):
        subprocess.run(self.netns.argv(*words), check=True, capture_output=True)

    def _ip(self, *words):
        self._run("ip", *words)

    def _give(self, interface, host, address):
        self._ip("link", "set", interface, "netns", host.name)
        host.configure(interface, address)

    def drops(self):
        return {reason: count for reason, count in
                self.ctl("drops", "up0")["ports"][0]["drops"].items() if count}

    def classes(self):
        return {c["class"]: c for c in self.ctl("shaper", "list", "up0")[0]["classes"]}

    def reset(self):
        self.ctl("port", "set", "up0", "--shape-rate", "0", "--admin", "up")
        self.ctl("flow", "del")
        self.ctl("flow", "add", "priority=0,actions=NORMAL")

    def close(self):
        for host in self.hosts:
            host.close()


@pytest.fixture(scope="module", params=[("af_packet", "0"), ("tap", "0"), ("tap", "0,1")],
                ids=["af_packet", "tap", "tap-2workers"])
def made(request, module_lab):
    hosts = Hosts(module_lab, *request.param)
    yield hosts
    hosts.close()


@pytest.fixture
def hosts(made):
    yield made
    made.reset()


class Counted:
    """Bytes of frames that came to each UDP port, from the first to the last."""

    def __init__(self, host, ports):
        self._stop = False
        self.bytes = dict.fromkeys(ports, 0)
        self._sockets = []
        with host.entered():
            for port in ports:
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
                s.bind((RECEIVER, port))
                s.settimeout(0.05)
                self._sockets.append((port, s))
        self._threads = [threading.Thread(target=self._count, args=one) for one in self._sockets]
        self.begin = time.monotonic()
        for thread in self._threads:
            thread.start()

    def _count(self, port, s):
        while not self._stop:
            with contextlib.suppress(socket.timeout):
                self.bytes[port] += len(s.recv(65536)) + 42

    def end(self):
        """The seconds since it began: what came, came within them."""
        self._stop = True
        for thread in self._threads:
            thread.join()
        for _, s in self._sockets:
            s.close()
        return time.monotonic() - self.begin


FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("ready", flush=True); input()
to = (sys.argv[1], int(sys.argv[2])); rate = float(sys.argv[3]); end = time.monotonic() + {seconds}
sent, begin = 0, time.monotonic()
while (now := time.monotonic()) < end:
    while sent < (now - begin) * rate:
        try: s.sendto(bytes({size}), to)
        except OSError: break
        sent += {size}
    time.sleep(0.002)
"""


@contextlib.contextmanager
def floods(*streams, lasts=SECONDS):
    """Streams of (host, UDP port, kbit a second), all at once: they begin when all are ready, and
    have ended afterwards."""
    script = FLOOD.format(seconds=lasts, size=PAYLOAD)
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(subprocess.Popen(
            host.argv("/usr/bin/python3", "-c", script, RECEIVER, str(port), str(kbps * 125)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
            for host, port, kbps in streams]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        begin = time.monotonic()
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        yield begin


def load(hosts, streams, at_half=None, lasts=SECONDS):
    """Streams of (host, UDP port, kbit a second), all at once: bytes that came by port, and in how
    many seconds."""
    counted = Counted(hosts.hosts[2], sorted({port for _, port, _ in streams}))
    with floods(*((hosts.hosts[who], port, kbps) for who, port, kbps in streams),
                lasts=lasts) as counted.begin:
        if at_half:
            time.sleep(lasts / 2)
            at_half()
    time.sleep(0.2)  # what waits may wait for 112 ms
    seconds = counted.end()
    return counted.bytes, seconds


def most(seconds, kbps=KBPS, burst_kbit=None):
    burst_kbit = burst_kbit or max(kbps / 500, 25)
    return (kbps * seconds + burst_kbit) * 125


def test_a_rate_is_held(hosts):
    hosts.ctl("port", "set", "up0", "--shape-rate", KBPS)
    came, seconds = load(hosts, [(0, 7001, 3 * KBPS)])
    assert came[7001] <= most(seconds)
    # The time in which nothing was sent, before and after, and what a busy machine may lose.
    assert came[7001] >= 0.5 * KBPS * 125 * SECONDS
    drops = hosts.drops()
    assert drops.get("shaper_full", 0) + drops.get("shaper_timeout", 0) > 0, drops
    parts.wait_until(lambda: not hosts.classes()[0]["waiting_packets"], 5, "nothing waiting")


def test_what_waits_comes_with_nothing_behind_it(hosts):
    """The worker that is to send it sleeps meanwhile."""
    hosts.ctl("port", "set", "up0", "--shape-rate", 1000)
    hosts.ctl("shaper", "set", "up0", 0, "--max-wait", 60_000)
    counted = Counted(hosts.hosts[2], [7001])
    with hosts.hosts[0].entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(sender):
        for _ in range(100):
            sender.sendto(bytes(PAYLOAD), (RECEIVER, 7001))

    def asleep():
        return [w["asleep_cycles"] for w in hosts.ctl("worker", "list")["workers"]]

    def waiting():
        return hosts.classes()[0]["waiting_packets"]
    try:
        parts.wait_until(lambda: waiting() > 0, 5, "something waiting")
        before, first = asleep(), waiting()
        parts.wait_until(lambda: 0 < waiting() < first, 5, "less waiting")
        parts.wait_until(lambda: all(a > b for a, b in zip(asleep(), before)), 10,
                         "all workers to have slept")
        assert waiting() > 0
        parts.wait_until(lambda: counted.bytes[7001] == 100 * FRAME, 30, "all of it coming")
    finally:
        seconds = counted.end()
    assert 100 * FRAME <= most(seconds, 1000)


def test_less_than_the_rate_loses_nothing(hosts):
    hosts.ctl("port", "set", "up0", "--shape-rate", 10 * KBPS, "--shape-burst", 10 * KBPS)
    before = hosts.drops()
    came, _ = load(hosts, [(0, 7001, KBPS // 4)])
    assert came[7001] > 0
    after = hosts.drops()
    assert all(after.get(r, 0) == before.get(r, 0) for r in ("shaper_full", "shaper_timeout"))


def classify(hosts, **queue_of):
    for word, queue in queue_of.items():
        hosts.ctl("flow", "add", f"priority=10,udp,tp_dst={word[1:]},actions=set_queue:{queue},"
                                 "NORMAL")


def test_classes_have_what_is_theirs_and_the_first_priority_borrows(hosts):
    hosts.ctl("port", "set", "up0", "--shape-rate", KBPS)
    hosts.ctl("shaper", "set", "up0", 1, "--rate", KBPS // 10, "--priority", 0)
    hosts.ctl("shaper", "set", "up0", 2, "--rate", KBPS * 3 // 10, "--priority", 1)
    classify(hosts, p7001=1, p7002=2)
    came, seconds = load(hosts, [(0, 7001, 2 * KBPS), (0, 7002, 2 * KBPS)])
    classes = hosts.classes()
    assert came[7001] + came[7002] <= most(seconds)
    # 0.7 and 0.3 of all.
    assert 1.4 < came[7001] / came[7002] < 3.5, came
    assert classes[1]["sent_packets"] >= came[7001] / FRAME
    assert classes[2]["sent_packets"] >= came[7002] / FRAME


def test_a_ceil_is_not_passed(hosts):
    hosts.ctl("port", "set", "up0", "--shape-rate", 2 * KBPS)
    hosts.ctl("shaper", "set", "up0", 3, "--rate", KBPS // 10, "--ceil", KBPS // 4)
    classify(hosts, p7001=3)
    came, seconds = load(hosts, [(0, 7001, 2 * KBPS)])
    assert 0 < came[7001] <= most(seconds, KBPS // 4)


def test_enqueue_is_for_one_output(hosts):
    hosts.ctl("port", "set", "up0", "--shape-rate", KBPS)
    hosts.ctl("shaper", "set", "up0", 4)
    hosts.ctl("flow", "add", "priority=10,udp,tp_dst=7001,actions=enqueue:up0:4")
    before = hosts.classes()[0]["sent_packets"]
    came, _ = load(hosts, [(0, 7001, KBPS // 4)])
    classes = hosts.classes()
    assert classes[4]["sent_packets"] >= came[7001] / FRAME > 0
    assert classes[0]["sent_packets"] - before < 50  # ARP
    frame = ("udp,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,nw_src=10.8.0.1,"
             "nw_dst=10.8.0.3,tp_dst=7001")

    def traced(actions):
        hosts.ctl("flow", "add", f"priority=10,udp,tp_dst=7001,actions={actions}")
        outputs = hosts.ctl("trace", "s1", frame)["outputs"]
        return [(o["port"], o["queue"]) for o in outputs]
    assert traced("enqueue:up0:4") == [("up0", 4)]
    assert traced("enqueue:up0:4,output:s2") == [("up0", 4), ("s2", 0)]
    assert traced("set_queue:2,enqueue:up0:4,output:up0") == [("up0", 4), ("up0", 2)]


def test_senders_share_a_class_whatever_they_send(hosts):
    hosts.ctl("port", "set", "up0", "--shape-rate", KBPS)
    came, seconds = load(hosts, [(0, 7001, 4 * KBPS), (1, 7002, KBPS)])
    assert came[7001] + came[7002] <= most(seconds)
    assert 0.5 < came[7001] / came[7002] < 2, came


def test_a_rate_changes_under_load(hosts):
    hosts.ctl("port", "set", "up0", "--shape-rate", KBPS)
    hosts.ctl("shaper", "set", "up0", 1, "--rate", KBPS // 2)
    classify(hosts, p7001=1)

    def change():
        for _ in range(20):
            hosts.ctl("shaper", "del", "up0", 1)
            hosts.ctl("shaper", "set", "up0", 1, "--ceil", KBPS // 2)
        hosts.ctl("port", "set", "up0", "--shape-rate", KBPS // 2)
    came, seconds = load(hosts, [(0, 7001, 2 * KBPS)], change, 3.0)
    # Each change may let one frame more through.
    assert 0 < came[7001] <= most(seconds) + 41 * FRAME
    hosts.ctl("port", "set", "up0", "--shape-rate", 0)
    assert hosts.ctl("shaper", "list") == []
    assert hosts.ctl("port", "show", "up0")["shape"] is None


@pytest.mark.parametrize("way", ["admin down", "link down"])
def test_what_waits_goes_with_the_port_and_its_link(hosts, way):
    hosts.ctl("port", "set", "up0", "--shape-rate", 100)
    hosts.ctl("shaper", "set", "up0", 0, "--max-wait", 60_000)
    reason = {"admin down": "egress_disabled", "link down": "receiver_not_connected"}[way]
    before = hosts.drops().get(reason, 0)
    with floods((hosts.hosts[0], 7001, KBPS), lasts=0.5):
        pass
    waiting = hosts.classes()[0]["waiting_packets"]
    assert waiting > 20
    if way == "admin down":
        hosts.ctl("port", "set", "up0", "--admin", "down")
    else:
        hosts.hosts[2].sh("ip link set far down")
    parts.wait_until(lambda: not hosts.classes()[0]["waiting_packets"], 10, "nothing waiting")
    assert hosts.drops().get(reason, 0) - before >= waiting // 2
    if way == "link down":
        hosts.hosts[2].configure("far")


def test_refusals_change_nothing(hosts):
    def refused(*words):
        with pytest.raises(Refused) as refusal:
            hosts.ctl(*words)
        return str(refusal.value)

    hosts.ctl("port", "set", "up0", "--shape-rate", KBPS)
    before = hosts.ctl("shaper", "list")
    assert "the rates of its classes are" in refused("shaper", "set", "up0", 1, "--rate", KBPS + 1)
    assert "more than its ceil of 5 kbit/s" in refused("shaper", "set", "up0", 1, "--rate", 6,
                                                       "--ceil", 5)
    assert "more than half of the packet pool" in refused("shaper", "set", "up0", 1, "--limit",
                                                          65536)
    assert "class 0 takes what is for no other" in refused("shaper", "del", "up0", 0)
    assert "has no class 1" in refused("shaper", "del", "up0", 1)
    assert hosts.ctl("shaper", "list") == before
    hosts.ctl("shaper", "set", "up0", 1, "--rate", KBPS // 2)
    assert "more than its --shape-rate" in refused("port", "set", "up0", "--shape-rate", KBPS // 4)
    assert hosts.ctl("shaper", "del", "up0", 1, "--if-exists") == {"removed": True}
    assert hosts.ctl("shaper", "del", "up0", 1, "--if-exists") == {"removed": False}


def test_a_port_with_packets_that_wait_is_removed_and_nothing_is_lost_with_it(hosts):
    """Again and again, with more packets than the pool has; and they are in it again."""
    def pool():
        return hosts.ctl("worker", "list")["pool"]
    before = pool()
    most = 2800
    hosts.ctl("bridge", "add", "br1")
    for round_ in range(before["size"] // most + 2):
        hosts.switch.add_nic("n1", "net_tap_n1,iface=n1", "--shape-rate", 8, bridge="br1")
        hosts.switch.add_nic("n2", "net_tap_n2,iface=n2", bridge="br1")
        hosts.ctl("shaper", "set", "n1", 0, "--limit", 3000, "--max-wait", 60_000)
        frame = b"\xff" * 6 + b"\x02\0\0\0\0\x01\x88\xb5" + bytes(100)

        def full(wire):
            for _ in range(400):
                with contextlib.suppress(OSError):  # a full queue of the kernel's
                    wire.send(frame)
            return hosts.ctl("shaper", "list", "n1")[0]["classes"][0]["waiting_packets"] > most
        with contextlib.closing(hosts.netns.wire("n2")) as wire:
            parts.wait_until(lambda w=wire: full(w), 30, f"a class full in round {round_}")
        hosts.ctl("port", "del", "n1")
        hosts.ctl("port", "del", "n2")
    assert "packets that waited for its rate and went with it: " in hosts.switch.log()
    hosts.ctl("bridge", "del", "br1")
    # Of many rounds, less than one.
    parts.wait_until(lambda: pool()["in_use"] < before["in_use"] + most, 10, "all packets back")
    came, _ = load(hosts, [(0, 7001, KBPS // 4)])
    assert came[7001] > 0
    assert "no_memory" not in hosts.drops()
