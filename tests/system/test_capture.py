# SPDX-License-Identifier: BSD-3-Clause
"""straitctl capture and mirrors: frames made by scapy go through taps in a namespace; what is
captured is read by tshark, tcpdump and scapy, what is mirrored comes out as it went in."""

import collections
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import time

import pytest
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import RawPcapNgReader

import lab as parts

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
BROADCAST = "ff:ff:ff:ff:ff:ff"
TYPE = 0x88b5  # for experiments: no stack answers
QUIET = 0.15   # seconds in which a frame that must not come would have come

_payloads = itertools.count(1)


def frame(dst, src, *vlans, size=60):
    """A frame with a payload of its own."""
    layers = Ether(dst=dst, src=src)
    for vlan in vlans:
        layers /= Dot1Q(vlan=vlan)
    layers.lastlayer().type = TYPE
    payload = struct.pack("!I", next(_payloads))
    data = bytes(layers) + payload
    return data + bytes(i & 0xff for i in range(size - 14 - len(payload)))


def needs(program):
    if shutil.which(program) is None:
        pytest.skip(f"skipped: {program} is not installed")
    return program


class Capture:
    """straitctl capture under way; stop() is Ctrl-C."""

    def __init__(self, bench, *words, stdout=subprocess.PIPE):
        self._bench = bench
        begun = bench.captures_begun()
        self._child = subprocess.Popen(
            [parts.binaries() / "straitctl", "--run-dir", bench.switch.run_dir, "capture", *words],
            stdout=stdout, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        bench.children.append(self._child)
        # It is there when a frame that nobody else would capture is; the log says so first.
        parts.wait_until(lambda: bench.captures_begun() > begun, 5, "the capture's beginning")

    @property
    def stdout(self):
        return self._child.stdout

    def signal(self, number):
        self._child.send_signal(number)

    def wait(self, timeout=20):
        """(status, what it wrote, what it said)"""
        try:
            out, said = self._child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            raise
        return self._child.returncode, out, said.decode()

    def stop(self):
        self.signal(signal.SIGINT)
        return self.wait()


class Bench:
    """A switch in a namespace, and a bridge of taps in it."""

    def __init__(self, lab, workers):
        self.netns = lab.netns()
        self.switch = lab.switch(workers=workers, netns=self.netns)
        self.ctl = self.switch.ctl
        self.children = []
        self._wires = []

    def captures_begun(self):
        return sum(1 for line in self.switch.log().splitlines()
                   if "capture" in line and line.endswith("begun"))

    def taps(self, count, *words):
        self.ctl("bridge", "add", "br0")
        return [self.tap(f"p{i}", *words) for i in range(count)]

    def tap(self, name, *words):
        self.switch.add_nic(name, f"net_tap_{name},iface={name}", *words)
        wire = self.netns.wire(name)
        self._wires.append(wire)
        return wire

    def capture(self, *words, **options):
        return Capture(self, *words, **options)

    def drops(self, port):
        return {reason: count for reason, count in
                self.ctl("drops", port)["ports"][0]["drops"].items() if count}

    def stats(self, port):
        return self.ctl("stats", port)["ports"][0]

    def clear(self):
        for child in self.children:
            if child.poll() is None:  # of a test that failed
                child.kill()
                child.wait()
        self.children = []
        for wire in self._wires:
            wire.close()
        self._wires = []
        self.ctl("bridge", "del", "br0", "--with-ports", "--if-exists")


def bench_of(module_lab, workers):
    if workers != "0" and os.cpu_count() < 2:
        pytest.skip("skipped: two workers on CPUs of their own need two CPUs")
    return Bench(module_lab, workers)


# Under sanitizers with two workers alone: with three ports one of them has two.
@pytest.fixture(scope="module", params=[
    pytest.param("0", id="1worker"),
    pytest.param("0,1", id="2workers", marks=pytest.mark.sanitized)])
def each(module_lab, request):
    return bench_of(module_lab, request.param)


@pytest.fixture
def bench(each):
    yield each
    each.clear()


Packet = collections.namedtuple("Packet", "port way data comment length")


def packets_of(path_or_bytes, folder):
    """What tshark reads of a capture."""
    path = folder / "read.pcapng"
    if isinstance(path_or_bytes, bytes):
        path.write_bytes(path_or_bytes)
    else:
        path = path_or_bytes
    done = subprocess.run([needs("tshark"), "-n", "-r", path, "-T", "json", "-x"],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    out = []
    for one in json.loads(done.stdout or "[]"):
        layers = one["_source"]["layers"]
        head = layers["frame"]
        way = {"0x00000001": "in", "0x00000002": "out"}[head["frame.packet_flags"]]
        comments = layers.get("pkt_comment", {})
        out.append(Packet(head["frame.interface_id_tree"]["frame.interface_name"], way,
                          bytes.fromhex(layers["frame_raw"][0]),
                          comments.get("frame.comment") if comments else None,
                          int(head["frame.len"])))
    return out


def read_by_scapy(path):
    reader = RawPcapNgReader(str(path))
    try:
        return [data for data, _ in reader]
    finally:
        reader.close()


def receive_all(wire, count, timeout=3.0):
    """Frames as bytes, until there are so many, and no more come."""
    deadline = time.monotonic() + timeout
    frames = []
    while len(frames) < count and time.monotonic() < deadline:
        data = wire.receive_raw(0.2)
        if data is not None:
            frames.append(data)
    time.sleep(QUIET)
    return frames + wire.receive_all()


# Captures


def test_port_both_ways_into_a_file(bench, tmp_path):
    p0, p1, p2 = bench.taps(3)
    path = tmp_path / "p0.pcapng"
    capture = bench.capture("p0", "-w", path)
    there = [frame(B, A), frame(BROADCAST, A, 7, size=1200), frame(B, A, size=1514)]
    for one in there:
        p0.send(one)
    assert receive_all(p1, 3) == there
    back = frame(A, B)
    p1.send(back)
    assert receive_all(p0, 1) == [back]
    p1.send(frame(C, B))  # flooded to p0, too
    receive_all(p0, 1)
    p1.send(unseen := frame(B, C))
    assert receive_all(p2, 0) is not None
    status, _, said = capture.stop()
    assert (status, said) == (0, "straitctl: 5 packets captured\n")
    seen = packets_of(path, tmp_path)
    assert [(p.port, p.way, p.comment) for p in seen] == [("p0", "in", None)] * 3 + [
        ("p0", "out", None)] * 2
    assert [p.data for p in seen[:4]] == there + [back]
    assert unseen not in [p.data for p in seen]
    assert read_by_scapy(path) == [p.data for p in seen]


def test_into_tcpdump(bench, tmp_path):
    needs("tcpdump")
    p0, p1 = bench.taps(2)
    command = (f"{parts.binaries()}/straitctl --run-dir {bench.switch.run_dir} capture p0 -w - "
               f"| timeout 20 tcpdump -n -e -r - -c 3")
    begun = bench.captures_begun()
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as child:
        parts.wait_until(lambda: bench.captures_begun() > begun, 5, "the capture")
        deadline = time.monotonic() + 15
        while child.poll() is None and time.monotonic() < deadline:
            p0.send(frame(B, A))
            time.sleep(0.05)
        out, said = child.communicate(timeout=10)
    assert child.returncode == 0, said
    assert sum(f"{A} > {B}, ethertype Unknown (0x88b5)" in line for line in out.splitlines()) == 3
    # tcpdump has enough, and so has the capture.
    parts.wait_until(lambda: "ended: " in bench.switch.log().splitlines()[-1], 5, "the end")


def test_lines_for_people(bench):
    p0, _ = bench.taps(2)
    capture = bench.capture("p0", "--count", "2", "--direction", "in")
    p0.send(frame(B, A), frame(BROADCAST, A, 5, size=90))
    status, out, said = capture.wait()
    assert status == 0 and said == "straitctl: 2 packets captured\n"
    lines = out.decode().splitlines()
    assert len(lines) == 2
    assert " in  p0: " in lines[0] and "0x88b5" in lines[0] and lines[0].endswith(", 60 bytes")
    assert "dl_vlan=5" in lines[1] or "vlan_tci=0x1005" in lines[1], lines[1]


def test_snaplen_and_count(bench, tmp_path):
    p0, _ = bench.taps(2)
    capture = bench.capture("p0", "-w", "-", "--snaplen", "100", "--count", "3", "--direction",
                            "in")
    sent = [frame(B, A, size=size) for size in (60, 100, 1500, 70)]
    p0.send(*sent)
    status, out, _ = capture.wait()
    assert status == 0
    seen = packets_of(out, tmp_path)
    assert [p.data for p in seen] == [one[:100] for one in sent[:3]]
    assert [p.length for p in seen] == [60, 100, 1500]


def test_drops_with_their_reasons(bench, tmp_path):
    p0, p1 = bench.taps(2)
    bench.ctl("port", "set", "p1", "--mtu", "1000")
    capture = bench.capture("p0", "-w", "-", "--direction", "in", "--drops")
    p0.send(good := frame(B, A), large := frame(B, A, size=1200),
            wrong := frame(B, "03:00:00:00:00:01"), bpdu := frame("01:80:c2:00:00:00", A))
    assert receive_all(p1, 1) == [good]
    _, out, _ = capture.stop()
    seen = packets_of(out, tmp_path)
    assert [p.data for p in seen if p.comment is None] == [good, large, wrong, bpdu]
    dropped = {p.data: (p.port, p.way, p.comment.split(":")[0]) for p in seen if p.comment}
    assert dropped == {large: ("p1", "out", "dropped, mtu_exceeded"),
                       wrong: ("p0", "in", "dropped, invalid_source_mac"),
                       bpdu: ("p0", "in", "dropped, reserved_multicast")}


def test_drops_in_a_ports_queue(bench, tmp_path):
    p0, _ = bench.taps(2)
    bench.switch.add_vhost("guest")
    capture = bench.capture("guest", "-w", "-", "--direction", "out", "--drops")
    p0.send(one := frame(B, A))
    parts.wait_until(lambda: bench.drops("guest").get("receiver_not_connected"), 3, "the drop")
    _, out, _ = capture.stop()
    seen = packets_of(out, tmp_path)
    assert [(p.data, p.way) for p in seen] == [(one, "out")] * 2
    assert seen[1].comment.startswith("dropped, receiver_not_connected: ")


def test_flow_before_and_after_actions(bench, tmp_path):
    p0, p1, _ = bench.taps(3)
    bench.ctl("flow", "replace", _flows(
        tmp_path, f"priority=10,in_port=p0,dl_dst={B},actions=mod_vlan_vid:9,output:p1\n"
                  f"priority=10,in_port=p0,dl_dst={C},actions=drop\n"))
    before = bench.capture(f"dl_src={A}", "-w", "-")
    after = bench.capture("dl_vlan=9,in_port=p0", "-w", "-", "--after-actions")
    dropped = bench.capture(f"dl_dst={C}", "-w", "-", "--after-actions", "--drops")
    from_p0 = bench.capture("p0", "-w", "-", "--direction", "in", "--after-actions")
    p0.send(one := frame(B, A), lost := frame(C, A))
    tagged = one[:12] + b"\x81\x00\x00\x09" + one[12:]
    assert receive_all(p1, 1) == [tagged]
    assert [(p.port, p.way, p.data) for p in packets_of(before.stop()[1], tmp_path)] == [
        ("p0", "in", one), ("p0", "in", lost)]
    assert [(p.port, p.way, p.data) for p in packets_of(after.stop()[1], tmp_path)] == [
        ("p1", "out", tagged)]
    (drop,) = packets_of(dropped.stop()[1], tmp_path)
    assert drop.data == lost and drop.comment.startswith("dropped, flow_drop: ")
    assert [(p.port, p.data) for p in packets_of(from_p0.stop()[1], tmp_path)] == [("p1", tagged)]


def _flows(folder, text):
    path = folder / "flows"
    path.write_text(text)
    return path


def test_ten_thousand_packets(bench, tmp_path):
    p0, p1 = bench.taps(2)
    bench.ctl("mac", "add", B, "--port", "p1")
    path = tmp_path / "all.pcapng"
    capture = bench.capture("p0", "-w", path, "--direction", "in")
    sent = [frame(B, A, size=60 + n % 1400) for n in range(10_000)]
    for n in range(0, len(sent), 200):
        part = sent[n:n + 200]
        p0.send(*part)
        # The kernel's queues are short: no faster than the switch takes them.
        assert [p1.receive_raw(5) for _ in part] == part
    status, _, said = capture.stop()
    assert (status, said) == (0, "straitctl: 10000 packets captured\n")
    assert read_by_scapy(path) == sent


def test_ping_between_namespaces(bench, tmp_path):
    """A kernel's own packets both ways, as tcpdump reads them."""
    needs("tcpdump")
    bench.ctl("bridge", "add", "br0")
    path = tmp_path / "ping.pcapng"
    hosts = []
    for number in (1, 2):
        bench.switch.add_nic(f"h{number}", f"net_tap_h{number},iface=h{number}")
        hosts.append(parts.Netns())
        subprocess.run(["ip", "-n", bench.netns.name, "link", "set", f"h{number}", "netns",
                        hosts[-1].name], check=True)
        hosts[-1].configure(f"h{number}", f"10.9.0.{number}")
    try:
        capture = bench.capture("icmp", "-w", path, "--direction", "both")
        assert hosts[0].run("busybox ping -c 3 10.9.0.2")[0] == 0
        capture.stop()
        text = subprocess.run(["tcpdump", "-n", "-r", path], capture_output=True, text=True,
                              check=True).stdout.splitlines()
        requests = [line for line in text if "10.9.0.1 > 10.9.0.2: ICMP echo request" in line]
        replies = [line for line in text if "10.9.0.2 > 10.9.0.1: ICMP echo reply" in line]
        assert len(requests) == 6 and len(replies) == 6  # each as it came and as it left
    finally:
        for host in hosts:
            host.close()


# Clients that go, sleep, or come in crowds


def ended(bench, count):
    return [line for line in bench.switch.log().splitlines() if " ended: " in line][-count:]


def test_killed_clients_leave_nothing(bench):
    p0, p1 = bench.taps(2)
    # With two packets gone through: what is made when first used is there.
    p0.send(frame(B, A))
    receive_all(p1, 1)
    before, threads = bench.switch.fds(), _threads(bench)
    for _ in range(5):
        captures = [bench.capture("p0", "-w", "-", "--drops") for _ in range(8)]
        p0.send(frame(B, A))
        for capture in captures:
            capture.signal(signal.SIGKILL)
            capture.wait()
        parts.wait_until(lambda: _threads(bench) == threads, 5, "the threads' end")
    assert bench.switch.fds() == before
    p0.send(one := frame(B, A))
    assert receive_all(p1, 1)[-1] == one


def _threads(bench):
    return len(os.listdir(f"/proc/{bench.switch.process.pid}/task"))


def test_slow_client_loses_packets_and_then_the_capture(bench):
    p0, p1 = bench.taps(2)
    bench.ctl("mac", "add", B, "--port", "p1")
    capture = bench.capture("p0", "-w", "-", "--direction", "in")
    capture.signal(signal.SIGSTOP)
    before = bench.stats("p0")["rx_packets"]
    burst = [frame(B, A, size=1500) for _ in range(200)]
    begin = time.monotonic()
    while time.monotonic() < begin + 5:
        p0.send(*burst)
    parts.wait_until(lambda: "nothing of it was taken for 10 s" in bench.switch.log(), 20,
                     "the capture's end")
    assert time.monotonic() - begin > 9
    # Workers never waited: what came meanwhile left.
    came = bench.stats("p0")["rx_packets"] - before
    lost = bench.ctl("drops", "p1")["ports"][0]["drops"].get("handover_full", 0)
    assert came > 500 and bench.stats("p1")["tx_packets"] + lost >= came - 1
    if came > 5000:  # more than there is room for
        assert " 0 lost" not in ended(bench, 1)[0]
    p1.drain()
    p0.send(one := frame(B, A))
    assert receive_all(p1, 1)[-1] == one
    capture.signal(signal.SIGCONT)
    status, out, said = capture.wait()
    assert status == 1 and "it ended because nothing of it was taken for 10 s" in said
    assert out.startswith(b"\x0a\x0d\x0d\x0a")


def test_capture_ends_with_the_daemon_that_stops(bench, tmp_path):
    p0, _ = bench.taps(2)
    capture = bench.capture("p0", "-w", tmp_path / "x")
    p0.send(frame(B, A))
    bench.switch.restart()
    status, _, said = capture.wait()
    assert status in (0, 1, 2), said


def test_refusals(bench, tmp_path):
    bench.taps(2)
    for words, sentence in (
            (("capture", "p9"), "there is no port of this name, and it is no match of packets"),
            (("capture", "p0", "--direction", "up"), "--direction"),
            (("capture", "p0", "-w", str(tmp_path / "none" / "x")), "cannot be written"),
            (("mirror", "add", "m", "--output-port", "p1"), "a mirror without packets"),
            (("mirror", "add", "m", "--select-all"), "a mirror sends to one place")):
        status, _, said = bench.switch.text(*words)
        assert status == 1 and sentence in said, (words, said)


# Mirrors


def test_mirror_port_has_exactly_what_was_sent(bench):
    p0, p1, p2 = bench.taps(3)
    probe = bench.tap("probe")
    bench.ctl("mirror", "add", "m", "--select-src-port", "p0", "--output-port", "probe")
    sent = [frame(B, A), frame(BROADCAST, A, 5, size=1500), frame(C, A, 5, 6, size=200),
            frame("01:80:c2:00:00:00", A), frame(B, A, size=1514)]
    p0.send(*sent)
    assert receive_all(probe, len(sent)) == sent
    p1.drain()
    p2.drain()
    # Nothing else goes there, and what comes from there goes nowhere.
    p1.send(frame(BROADCAST, B))
    assert len(receive_all(p2, 1)) == 1
    assert receive_all(probe, 0) == []
    p2.drain()
    probe.send(frame(BROADCAST, C))
    assert receive_all(p2, 0) == []
    assert bench.drops("probe") == {"mirror_output": 1}
    (shown,) = bench.ctl("mirror", "list")
    if bench.switch.ctl("port", "show", "p0")["queues"][0]["worker"] == \
            bench.switch.ctl("port", "show", "probe")["queues"][0]["worker"]:
        assert (shown["packets"], shown["drops"]) == (len(sent), 0)
        assert shown["bytes"] == sum(map(len, sent))
    assert bench.stats("probe")["tx_packets"] == len(sent)
    bench.ctl("mirror", "del", "m")
    p1.send(one := frame(BROADCAST, B))
    assert receive_all(probe, 1) == [one]


def test_mirror_once_and_as_sent(bench, tmp_path):
    p0, p1, p2 = bench.taps(3)
    probe = bench.tap("probe")
    bench.ctl("mirror", "add", "m", "--select-dst-port", "p1,p2", "--output-port", "probe")
    p0.send(one := frame(BROADCAST, A))  # flooded to both
    assert receive_all(probe, 1) == [one]
    bench.ctl("flow", "replace", _flows(
        tmp_path, f"priority=10,dl_dst={B},actions=mod_vlan_vid:9,output:p1,output:p2\n"
                  "priority=0,actions=NORMAL\n"))
    p1.drain()
    p2.drain()
    p0.send(two := frame(B, A))
    tagged = two[:12] + b"\x81\x00\x00\x09" + two[12:]
    assert receive_all(probe, 1) == [tagged]
    assert receive_all(p1, 1) == [tagged] and receive_all(p2, 1) == [tagged]
    p1.send(frame(A, B))  # leaves by p0 alone
    assert receive_all(probe, 0) == []
    bench.ctl("mirror", "del", "m")


def test_mirror_by_vlan_and_flow_with_snaplen(bench):
    p0, *_ = bench.taps(2)
    probe = bench.tap("probe")
    bench.ctl("mirror", "add", "m", "--select-all", "--select-vlan", "5,10-12", "--output-port",
              "probe", "--snaplen", "80")
    wanted = [frame(B, A, 5, size=300), frame(B, A, 11)]
    p0.send(frame(B, A), wanted[0], frame(B, A, 6), wanted[1])
    assert receive_all(probe, 2) == [one[:80] for one in wanted]
    bench.ctl("mirror", "del", "m")
    bench.ctl("mirror", "add", "m", "--select-flow", f"dl_dst={C}", "--output-port", "probe")
    p0.send(frame(B, A), one := frame(C, A, 5))
    assert receive_all(probe, 1) == [one]
    bench.ctl("mirror", "del", "m")


def test_mirror_to_a_vlan(bench):
    p0, p1 = bench.taps(2, "--vlan", "5")
    trunk = bench.tap("trunk", "--trunk", "5,99")
    access = bench.tap("access", "--vlan", "99")
    bench.ctl("mirror", "add", "m", "--select-src-port", "p0", "--output-vlan", "99")
    p0.send(one := frame(B, A))

    def tagged(vlan):
        return one[:12] + struct.pack("!HH", 0x8100, vlan) + one[12:]
    assert receive_all(access, 1) == [one]
    assert sorted(receive_all(trunk, 2)) == sorted([tagged(5), tagged(99)])
    assert receive_all(p1, 1) == [one]
    bench.ctl("mirror", "del", "m")


def test_mirror_to_a_file(bench, tmp_path):
    p0, p1 = bench.taps(2)
    path = tmp_path / "m.pcapng"
    bench.ctl("mirror", "add", "m", "--select-all", "--output-file", path)
    p0.send(one := frame(B, A))
    receive_all(p1, 1)
    bench.ctl("mirror", "del", "m")
    assert [(p.port, p.data) for p in packets_of(path, tmp_path)] == [("p0", one)]  # once


def test_full_mirror_port_costs_nobody_else_anything(bench):
    p0, p1 = bench.taps(2)
    bench.switch.add_vhost("probe")  # nobody is there
    bench.ctl("mirror", "add", "m", "--select-src-port", "p0", "--output-port", "probe")
    sent = [frame(B, A) for _ in range(50)]
    p0.send(*sent)
    assert receive_all(p1, 50) == sent
    assert bench.drops("probe") == {"receiver_not_connected": 50}
    assert bench.drops("p0") == {} and bench.drops("p1") == {}
    bench.ctl("mirror", "del", "m")


def test_capture_of_a_mirrors_output(bench, tmp_path):
    p0, _ = bench.taps(2)
    probe = bench.tap("probe")
    bench.ctl("mirror", "add", "m", "--select-src-port", "p0", "--output-port", "probe")
    capture = bench.capture("probe", "-w", "-")
    p0.send(one := frame(B, A, 5))
    assert receive_all(probe, 1) == [one]
    assert [(p.port, p.way, p.data) for p in packets_of(capture.stop()[1], tmp_path)] == [
        ("probe", "out", one)]
    bench.ctl("mirror", "del", "m")
