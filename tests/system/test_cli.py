# SPDX-License-Identifier: BSD-3-Clause
"""straitd and straitctl driven as a person would: every command, every mistake that is easily made,
and clients of the control socket that misbehave. Asserts on --json, and on the sentences."""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter, wrpcap

from lab.process import wait_until
from lab.switch import Refused, binaries


@pytest.fixture
def switch(lab):
    return lab.switch(workers="0", main_cpu=1 if (os.cpu_count() or 1) > 1 else 0)


@pytest.fixture
def ports(switch):
    """A bridge with a vhost-user port vm1 and a NIC port up0."""
    switch.ctl("bridge add br0")
    switch.add_vhost("vm1")
    switch.add_nic("up0", "net_null0,no-rx=1")
    return switch


def refused(switch, *words):
    """The one sentence that straitctl refuses with; checks what holds for all of them."""
    status, out, err = switch.text(*words)
    assert status == 1, (words, out, err)
    assert out == ""
    assert err.startswith("straitctl: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert len(err) < 500, err
    return err.removeprefix("straitctl: ").strip()


@contextlib.contextmanager
def unchanged(switch):
    """What is done inside leaves the configuration as it was and the daemon answering."""
    def state():
        listed = switch.ctl("port list") or []
        return ([(p["name"], p["number"], p["bridge"], p["type"], p["admin"], p["mtu"], p["vlan"],
                  p["trunk"], p["native"], p["options"], p["queues"]) for p in listed],
                [(b["name"], b["ports"], b["forward_bpdu"], b["mac_ageing"])
                 for b in switch.ctl("bridge list")])
    before = state()
    fds = switch.fds()
    yield
    assert state() == before
    wait_until(lambda: switch.fds() <= fds, 10, "descriptors given back")


def connect(switch):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(switch.run_dir / "control.sock"))
    return client


def exchange(client, line):
    client.sendall(line.encode() + b"\n")
    with client.makefile("rb") as answers:
        return json.loads(answers.readline())


# The commands

@pytest.mark.sanitized
def test_the_lines_of_the_manual(lab):
    switch = lab.switch(workers="0")
    for words in ("bridge add br0",
                  f"port add vm1 --bridge br0 --type vhost-user --socket {switch.socket('vm1')}",
                  "port add up0 --bridge br0 --type nic --device net_tap0,iface=cli-tap0",
                  "port set vm1 --vlan 10",
                  "port set up0 --trunk 10,20 --native 1"):
        status, out, err = switch.text(words)
        assert (status, out, err) == (0, "", ""), words
    assert pathlib.Path(switch.socket("vm1")).is_socket()
    stats = switch.ctl("stats")
    assert [p["name"] for p in stats["ports"]] == ["up0", "vm1"]
    assert {p["name"]: (p["vlan"], p["trunk"], p["native"]) for p in switch.ctl("port list")} == {
        "vm1": (10, None, None), "up0": (None, [10, 20], 1)}


@pytest.mark.sanitized
def test_ports_come_and_go(ports):
    show = ports.ctl("port show vm1")
    assert show["number"] == 1 and show["type"] == "vhost-user" and show["mtu"] == 1500
    assert show["link"] == "down" and show["admin"] == "up"
    assert show["options"] == {"socket": ports.socket("vm1"), "mode": "server", "queues": 1}
    assert show["queues"] == [{"queue": 0, "worker": 0}]
    assert ports.ctl("bridge list")[0]["ports"] == ["up0", "vm1"]
    assert [p["name"] for p in ports.ctl("port list --bridge br0")] == ["up0", "vm1"]
    assert ports.ctl("port del vm1") == {"removed": True}
    assert not pathlib.Path(ports.socket("vm1")).exists()
    assert ports.ctl("port del vm1 --if-exists") == {"removed": False}
    ports.add_vhost("vm9", "--number", "9")
    ports.add_vhost("vm1")
    assert {p["name"]: p["number"] for p in ports.ctl("port list")} == {
        "up0": 2, "vm1": 1, "vm9": 9}


@pytest.mark.sanitized
def test_port_settings(ports):
    for words, expected in (
            ("--vlan 10", dict(vlan=10, trunk=None, native=None)),
            ("--trunk 10-12,20", dict(vlan=None, trunk=[10, 11, 12, 20], native=None)),
            ("--native 1", dict(trunk=[10, 11, 12, 20], native=1)),
            ("--trunk 5", dict(trunk=[5], native=None)),
            ("--no-vlan", dict(vlan=None, trunk=None, native=None)),
            ("--mtu 9000 --admin down", dict(mtu=9000, admin="down")),
            ("--mtu 1500 --admin up", dict(mtu=1500, admin="up"))):
        answer = ports.ctl(f"port set vm1 {words}")
        assert {key: answer[key] for key in expected} == expected
        assert bool(answer.pop("warnings")) == (answer["mtu"] == 9000)  # others have 1500
        show = ports.ctl("port show vm1")
        assert show.pop("seen") == {"macs": [], "total_macs": 0, "addresses": []}
        assert show == answer


def test_socket_owner_and_mode(switch):
    switch.ctl("bridge add br0")
    path = switch.add_vhost("vm1", "--socket-owner", "65534:1", "--socket-mode", "0620")
    status = os.stat(path)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (65534, 1, 0o620)


def test_bridges(switch):
    made = switch.ctl("bridge add br0 --mac-table-size 1024 --mac-ageing 20")
    assert made["mac_ageing"] == 20 and made["mac_table_size"] >= 1024 and made["ports"] == []
    assert switch.ctl("bridge add br0 --may-exist")["name"] == "br0"
    assert switch.ctl("bridge set br0 --forward-bpdu")["forward_bpdu"] is True
    assert switch.ctl("bridge set br0 --forward-bpdu off --mac-ageing 0") | {} == (
        switch.ctl("bridge list")[0])
    assert switch.ctl("bridge del br0") == {"removed": True}
    assert switch.ctl("bridge del br0 --if-exists") == {"removed": False}
    assert switch.ctl("bridge list") == []


def test_bridge_with_ports_is_kept_unless_asked(ports):
    assert "--with-ports" in refused(ports, "bridge del br0")
    assert ports.ctl("bridge del br0 --with-ports") == {"removed": True}
    assert ports.ctl("port list") == []


def test_may_exist_is_about_the_same_port(ports):
    same = f"port add vm1 --bridge br0 --type vhost-user --socket {ports.socket('vm1')} --may-exist"
    assert ports.ctl(same)["vlan"] is None
    assert ports.ctl(same + " --vlan 7")["vlan"] == 7
    assert "--mode server" in refused(ports, same + " --mode client")
    assert "--type vhost-user" in refused(
        ports, "port add vm1 --bridge br0 --type nic --device net_null7 --may-exist")


@pytest.mark.sanitized
def test_macs(ports):
    ports.ctl("mac add 02:00:00:00:00:01 --port vm1")
    ports.ctl("mac add 02:00:00:00:00:02 --port up0 --vlan 20")
    listed = {e["mac"]: e for e in ports.ctl("mac list")["entries"]}
    assert listed["02:00:00:00:00:01"] == dict(
        bridge="br0", vlan=0, mac="02:00:00:00:00:01", port="vm1", static=True, age=0,
        held=0)
    assert listed["02:00:00:00:00:02"]["vlan"] == 20
    assert ports.ctl("mac list --port up0")["total"] == 1
    ports.ctl("mac flush")
    assert ports.ctl("mac list")["total"] == 2
    assert ports.ctl("mac del 02:00:00:00:00:01 --bridge br0") == {"removed": True}
    assert "does not know" in refused(ports, "mac del 02:00:00:00:00:01 --bridge br0")
    ports.ctl("port del up0")
    assert ports.ctl("mac list")["total"] == 0


def test_flows(ports, tmp_path):
    """As a person would: flows by the command line and from a file."""
    assert ports.text("flow list")[1].endswith("priority=0 actions=NORMAL\n")
    ports.ctl("flow", "add", "priority=10,tcp,tp_dst=23,actions=drop")
    rules = tmp_path / "rules"
    rules.write_text("# the tenant\npriority=10,tcp,tp_dst=23 actions=drop\n\n"
                     "priority=5,in_port=vm1,actions=mod_vlan_vid:5,up0\n")
    assert ports.text("flow", "diff", rules, "--names")[1].splitlines() == [
        "-priority=0 actions=NORMAL", "+priority=5,in_port=vm1 actions=mod_vlan_vid:5,output:up0"]
    assert ports.ctl("flow", "replace", rules) == {"added": 1, "modified": 0, "removed": 1}
    listed = [(flow["priority"], flow["match"], flow["actions"])
              for flow in ports.ctl("flow list --names")["flows"]]
    assert listed == [(10, "tcp,tp_dst=23", "drop"),
                      (5, "in_port=vm1", "mod_vlan_vid:5,output:up0")]
    traced = ports.ctl("trace", "vm1", "udp,dl_src=02:00:00:00:00:01,nw_dst=10.0.0.2")
    assert [output["port"] for output in traced["outputs"]] == ["up0"]
    assert "dl_vlan=5" in traced["outputs"][0]["flow"]
    text = ports.text("trace", "up0", "udp")[1]
    assert "table 0: no flow matches" in text and "flow_miss" in text
    assert ports.ctl("flow", "del", "tcp")["removed"] == 1
    assert "WORKER" in ports.text("cache stats")[1]


def test_the_flows_that_carry_most(ports):
    ports.ctl("flow", "add", "priority=10,tcp,tp_dst=23,actions=drop")
    top = ports.ctl("flow top --count 3 --by bytes")
    assert 1_000_000 <= top["interval_us"] < 10_000_000 and top["flows"] == []
    assert ports.text("flow top --interval 1")[1].startswith("PACKETS/S ")


def test_captures_are_traced(ports, tmp_path):
    """What scapy writes, pcap and pcapng, whole and cut."""
    frames = [Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / IP(dst="10.0.0.2") /
              layer for layer in (UDP(dport=53), TCP(dport=80), TCP(dport=22) / (b"x" * 900))]
    ports.ctl("flow", "add", "priority=10,tcp,tp_dst=22,actions=drop")
    capture = tmp_path / "some.pcap"
    wrpcap(str(capture), frames)
    status, out, err = ports.text("--json", "trace", "vm1", capture)
    assert (status, err) == (0, "")
    traced = [json.loads(line) for line in out.splitlines()]
    assert [t["number"] for t in traced] == [1, 2, 3]
    assert [bytes.fromhex(t["outputs"][0]["frame"]) for t in traced[:2]] == \
        [bytes(f) for f in frames[:2]]
    assert traced[2]["outputs"] == [] and traced[2]["length"] == len(frames[2])
    ng = tmp_path / "some.pcapng"
    with PcapNgWriter(str(ng)) as writer:
        for frame in frames:
            writer.write(frame)
    assert ports.text("trace", "vm1", ng) == ports.text("trace", "vm1", capture)
    text = ports.text("trace", "vm1", ng, "--packet", "2")[1]
    assert text.startswith("packet 2: ") and "tp_dst=80" in text and "packet 3" not in text
    assert refused(ports, "trace", "vm1", ng, "--packet", "4") == \
        f"{ng} has 3 packets, and no packet 4"
    wrpcap(str(capture), [frames[0], Ether(bytes(frames[2])[:96])], snaplen=96)
    cut = bytearray(capture.read_bytes())
    struct.pack_into("<I", cut, len(cut) - 96 - 4, len(frames[2]))  # as tcpdump -s 96 has it
    capture.write_bytes(cut)
    text = ports.text("trace", "vm1", capture)[1]
    assert f"(captured were 96 bytes of {len(frames[2])}; zeros stand for the others)" in text
    wrpcap(str(capture), [frames[0], b"\0" * 10])
    assert "some.pcap, packet 2: " in ports.text("trace", "vm1", capture)[2]


def test_a_line_of_a_file_that_is_too_long_is_named(ports, tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("actions=drop\n\nactions=" + "1," * 600_000 + "2\nactions=drop\n")
    assert refused(ports, "flow", "add", rules) == \
        f"{rules}:3: this line has 1200010 bytes; a flow may have 512000"
    assert ports.ctl("flow list")["total"] == 1
    for _ in range(20):  # none of them leaves anything behind
        refused(ports, "flow", "add", rules)
    rules.write_text("actions=" + "1," * 4096 + "2\n")
    assert "1:8201: a flow has 4096 actions at the most" in refused(ports, "flow", "add", rules)


def test_a_bridge_has_as_many_flows_as_it_may(ports, tmp_path):
    ports.ctl("bridge set br0 --flow-limit 20000")
    rules = tmp_path / "rules"
    rules.write_text("".join(f"udp,nw_src=10.0.{i >> 8}.{i & 255},tp_dst=53,actions=output:up0\n"
                             for i in range(30_000)))
    assert rules.stat().st_size > 1 << 20
    assert refused(ports, "flow", "add", rules).startswith(
        f"{rules}:20000: this would be more than 20000 flows, the bridge's flow limit")
    assert ports.ctl("flow list --limit 1")["total"] == 1
    assert refused(ports, "flow", "replace", rules).startswith(f"{rules}:20001: ")


def test_a_file_of_many_flows(ports, tmp_path):
    """More than one request has room for: all of it, or nothing, and the line that is wrong."""
    rules = tmp_path / "rules"
    count = 30_000
    lines = [f"priority=9,udp,nw_src=10.0.{i >> 8}.{i & 255},tp_dst=53,actions=output:up0"
             for i in range(count)]
    rules.write_text("\n".join(lines))
    assert rules.stat().st_size > 1 << 20
    assert ports.ctl("flow", "add", rules)["added"] == count
    assert ports.ctl("flow list --limit 1")["total"] == count + 1
    lines[count - 7] = "priority=9,udp,nosuch=1,actions=drop"
    rules.write_text("\n".join(lines[1:]))
    assert refused(ports, "flow", "replace", rules).startswith(f"{rules}:{count - 7}:16: ")
    assert ports.ctl("flow list --limit 1")["total"] == count + 1


def test_counters_and_workers(ports):
    stats = ports.ctl("stats vm1")
    (port,) = stats["ports"]
    assert set(port) >= {"rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes",
                         "tx_dropped", "drops", "link", "admin", "number", "bridge"}
    assert port["rx_packets"] == 0
    assert set(port["drops"]) == {r["name"] for r in ports.ctl("drops")["reasons"]}
    workers = ports.ctl("worker list")["workers"]
    assert workers[0]["kept_awake_by"] == ["up0"]
    assert "worker 0 never sleeps: up0 cannot wake it" in ports.text("worker list")[1]
    assert workers[0]["queues"] == [{"port": "up0", "queue": 0}, {"port": "vm1", "queue": 0}]
    assert [(q["port"], q["queue"], q["worker"], q["rx"], q["tx"], q["wakes"])
            for q in ports.ctl("queue list")] == [("up0", 0, 0, True, True, False),
                                                  ("vm1", 0, 0, True, True, True)]
    assert "no, polled" in ports.text("queue list up0")[1]
    assert workers[0]["idle_cycles"] > 0 and 0 <= workers[0]["utilisation"] <= 100
    rates = ports.ctl("stats --rates")
    assert 0.9 < rates["interval_s"] < 10
    assert all(p["rx_pps"] >= 0 for p in rates["ports"])
    assert 0 <= ports.ctl("worker list --rates")["workers"][0]["utilisation"] <= 100


def test_counters_of_a_port_made_again_begin_at_zero(switch, lab):
    switch.ctl("bridge add br0")
    switch.add_nic("gone", "net_null0")
    switch.add_nic("stays", "net_null1")
    # net_null gives packets without end.
    wait_until(lambda: switch.ctl("stats gone")["total"]["rx_packets"] > 10_000, 20, "packets")
    switch.ctl("port del gone")
    switch.add_nic("new", "net_null2", "--admin", "down")
    # Reading continues, but from zero: less was received than before.
    assert switch.ctl("stats stays")["total"]["rx_packets"] > 0
    (new,) = switch.ctl("stats new")["ports"]
    assert new["number"] == 1 and new["tx_packets"] == 0


def test_counters_begin_at_zero_when_they_are_cleared(lab):
    netns = lab.netns()
    switch = lab.switch(workers="0", netns=netns)
    switch.ctl("bridge add br0")
    switch.add_nic("p0", "net_tap0,iface=p0")
    netns.sh("ip link set p0 up")
    wire = lab.wire(netns, "p0")

    def send(count, counted):
        for _ in range(count):
            wire.send(bytes(Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01", type=0x88b5)) +
                      bytes(50))
        wait_until(lambda: switch.ctl("stats")["total"]["rx_packets"] == counted, 10,
                   f"{counted} packets")

    send(20, 20)
    assert switch.ctl("stats p0 --clear")["total"]["rx_packets"] == 20
    assert switch.ctl("stats")["total"]["rx_packets"] == 0
    send(3, 3)
    (port,) = switch.ctl("stats --clear")["ports"]
    assert port["rx_packets"] == 3
    send(1, 1)


def test_what_is_logged_is_changed_while_it_runs(switch):
    assert switch.ctl("log level") == {"level": "info"}
    for level, is_told in (("warning", False), ("debug", True), ("info", True)):
        assert switch.ctl(f"log level {level}") == {"level": level}
        switch.ctl(f"bridge add br-{level}")
        assert (f"bridge br-{level} added" in switch.log()) == is_told, level
    assert "the log's level is info from here on" in switch.log()


def test_watch_prints_until_interrupted(ports):
    watch = subprocess.Popen(
        [binaries() / "straitctl", "--run-dir", ports.run_dir, "stats", "--watch", "0.1", "--json"],
        stdout=subprocess.PIPE, text=True,
        # Who runs the tests in the background may have it ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    stamps = [json.loads(watch.stdout.readline())["timestamp_us"] for _ in range(3)]
    assert stamps == sorted(set(stamps))
    watch.send_signal(signal.SIGINT)
    assert watch.wait(10) == -signal.SIGINT


def test_tables_for_people(ports):
    for words in ("port list", "bridge list", "port show vm1", "stats", "stats --rates",
                  "worker list", "version", "mac list", "drops"):
        status, out, err = ports.text(words)
        assert status == 0 and err == "" and out.endswith("\n") and "{" not in out, words
    assert ports.text("port list")[1].splitlines()[0].split() == [
        "PORT", "NUMBER", "BRIDGE", "TYPE", "ADMIN", "LINK", "MTU", "VLAN"]


def test_schema_describes_the_answers(ports):
    schema = {m["name"]: m for m in ports.ctl("schema")["methods"]}
    for words, method in (("port list", "port.list"), ("bridge list", "bridge.list")):
        members = schema[method]["result"]["schema"]["items"]["properties"]
        assert set(ports.ctl(words)[0]) == set(members)
    assert set(ports.ctl("version")) == set(schema["version"]["result"]["schema"]["properties"])
    assert ports.ctl("version")["pid"] == ports.process.pid


def test_help_needs_no_daemon():
    for words in (["help"], ["--help"], ["port", "--help"], ["help", "port", "add"], ["--version"]):
        done = subprocess.run([binaries() / "straitctl", *words], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout and not done.stderr


# Mistakes

@pytest.mark.parametrize("words, says", [
    ("", "a command is missing"),
    ("prot list", "did you mean port?"),
    ("port lst", "did you mean port list?"),
    ("port set vm1 --vlan", "needs a value"),
    ("port set vm1 --vlan 0", "an integer from 1 to 4094"),
    ("port set vm1 --vlan 4095", "an integer from 1 to 4094"),
    ("port set vm1 --vlan ten", "--vlan is ten"),
    ("port set vm1 --trunk 1,5000", "a list of VLANs from 1 to 4094"),
    ("port set vm1 --trunk ,10", "--trunk is ,10;"),
    ("port set vm1 --vlan 10 --trunk 20", "one of them"),
    ("port set vm1 --native 5", "no trunk"),
    ("port set vm1 --vlna 10", "did you mean --vlan?"),
    ("port set vm1 --mtu 67", "from 68"),
    ("port set vm1 --mtu 70000", "from 68"),
    ("port set vm1 --admin sideways", "up or down"),
    ("port set nosuch --vlan 10", "there is no port nosuch"),
    ("port show nosuch", "there is no port nosuch"),
    ("port del nosuch", "there is no port nosuch"),
    ("port show a/b", "letters, digits"),
    ("port show vm1 vm2", "one word too many"),
    ("port add vm2 --bridge br0", "--type is missing"),
    ("port add vm2 --bridge br0 --type token-ring",
     "vhost-user, xen, nic, bond, host, vxlan, geneve, gre or nvgre"),
    ("port add vm2 --bridge br0 --type vhost-user", "needs --socket"),
    ("port add vm2 --bridge br0 --type vhost-user --socket relative", "begins with /"),
    ("port add vm2 --bridge br0 --type vhost-user --socket /nonexistent/s", "does not exist"),
    ("port add vm2 --bridge br0 --type vhost-user --socket /etc/passwd", "is not a socket"),
    (f"port add vm2 --bridge br0 --type vhost-user --socket /{'x' * 107}", "107 bytes"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {vm1}", "held by port vm1"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/./vm1.sock", "held by port vm1"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/control.sock",
     "somebody is listening"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --ring-size 256",
     "for ports of type nic"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --device net_null3",
     "--device is for ports of type nic"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --socket-owner no-such-user",
     "there is no user no-such-user"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --socket-owner 4294967295:0",
     "there is no user 4294967295"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --socket-owner 0:4294967295",
     "there is no group 4294967295"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --socket-mode 0999", "octal"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --mode client "
     "--socket-mode 0600",
     "made by the VMM"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --number 1", "is port vm1's"),
    ("port add vm2 --bridge br0 --type vhost-user --socket {run}/a --number 65280", "1 to 65279"),
    ("port add vm2 --bridge nosuch --type vhost-user --socket {run}/a", "bridge add nosuch"),
    ("port add vm1 --bridge br0 --type vhost-user --socket {run}/a", "exists already"),
    ("port add n --bridge br0 --type nic --device net_nosuch0", "net_nosuch0"),
    ("port add n --bridge br0 --type nic --device nonsense", "nonsense"),
    ("port add n --bridge br0 --type nic --device ffff:ff:1f.7", "ffff:ff:1f.7"),
    ("port add n --bridge br0 --type nic --device net_tap0", "held by port up0"),
    ("port add n --bridge br0 --type nic --device net_af_packet0,iface=no-such-if", "no-such-if"),
    ("port add h --bridge br0 --type host --address 300.0.0.1/24", "300.0.0.1/24"),
    ("port add h --bridge br0 --type host --address 10.0.0.1", "prefix length"),
    ("port add h --bridge br0 --type host --address 10.0.0.3/024", "prefix length"),
    ("port add h --bridge br0 --type host --address 10.0.0.0/24", "of the network itself"),
    ("port add h --bridge br0 --type host --address fd00::1/64 --mtu 1000", "at least 1280"),
    ("port add h --bridge br0 --type host --interface lo", "lo already"),
    ("port add a-name-too-long-for-an-interface --bridge br0 --type host", "--interface"),
    ("bridge add br0", "exists already"),
    ("bridge add br1 --mac-table-size 1", "64 to"),
    ("bridge add ..", "letters, digits"),
    ("bridge set br0 --forward-bpdu maybe", "--forward-bpdu is maybe; it must be on or off"),
    ("bridge set nosuch --mac-ageing 3", "there is no bridge nosuch"),
    ("bridge del nosuch", "there is no bridge nosuch"),
    ("bridge del br0", "has ports"),
    ("xen release --bridge nosuch", "there is no bridge nosuch"),
    ("xen release --bridge br0", "bridge br0 adopts no Xen guests"),
    ("mac add 02:00:00:00:00 --port vm1", "a MAC address like"),
    ("mac add 01:00:5e:00:00:01 --port vm1", "multicast"),
    ("mac add 00:00:00:00:00:00 --port vm1", "zero"),
    ("mac add 02:00:00:00:00:01 --port nosuch", "there is no port nosuch"),
    ("mac add 02:00:00:00:00:01", "--port is missing"),
    ("mac list --bridge nosuch", "there is no bridge nosuch"),
    ("mac flush --port nosuch", "there is no port nosuch"),
    ("stats nosuch", "there is no port nosuch"),
    ("stats --clear --rates", "--clear is of one look; leave out --rates and --watch"),
    ("log level loud", "LEVEL"),
    ("stats --watch never", "there is no port never; what may follow --watch is seconds from 0.1"),
    ("worker list --watch never", "--watch is never; it must be seconds"),
    ("drops nosuch", "there is no port nosuch"),
    ("flow add tcp,tp_dst=80", "actions"),
    ("flow add nosuch=1,actions=drop", '1:1: "nosuch" is no'),
    ("flow add tp_dst=80,actions=drop", "tp_dst"),
    ("flow add priority=70000,actions=drop", "priority"),
    ("flow add in_port=nosuch,actions=drop", "nosuch"),
    ("flow add actions=output:nosuch", "nosuch"),
    ("flow add actions=controller", "controller"),
    ("flow add actions=goto_table:0", "goto_table"),
    ("flow add --bridge nosuch actions=drop", "there is no bridge nosuch"),
    ("flow add", "FLOW|FILE|- is missing"),
    ("flow replace /no/such/file", "/no/such/file cannot be read: No such file"),
    ("flow replace {run}", "it is a folder"),
    ("flow list tcp,actions=drop", "actions"),
    ("flow list --limit -1", "--limit is -1"),
    ("flow drop", "there is no command \"flow drop\""),
    ("trace nosuch tcp", "there is no port nosuch"),
    ("trace vm1 0123", "14 bytes or more"),
    ("trace vm1 tcp,tp_dst=99999", "tp_dst"),
    ("trace vm1 /no/such.pcap", "/no/such.pcap cannot be read as a capture: No such file"),
    ("trace vm1 /etc/passwd", "/etc/passwd cannot be read as a capture: unknown file format"),
    ("trace vm1 tcp --packet 2", "tcp cannot be read as a capture"),
    ("trace vm1 tcp --packet 0", "--packet is 0; it must be an integer from 1"),
    ("flow top --by luck", "--by is luck; it must be packets or bytes"),
    ("bridge set br0 --flow-limit 0", "--flow-limit is 0; it must be an integer from 1"),
    ("flow add actions=group:1", "there is no group 1; make it first: group add"),
    ("flow add actions=enqueue:up0", "enqueue takes a port and a queue, like enqueue:1:2"),
    ("flow add actions=set_queue:8", "queue"),
    ("port set vm1 --shape-rate 1000", "port vm1 is of type vhost-user, and packets wait for a "
                                       "rate towards a NIC alone; here what is too much is "
                                       "dropped: port set vm1 --egress-rate KBPS"),
    ("shaper set vm1 1 --rate 5", "port vm1 is of type vhost-user"),
    ("shaper set up0 1 --rate 5", "port up0 has no rate for classes to share; give it one first: "
                                  "port set up0 --shape-rate KBPS"),
    ("shaper set up0 8", "CLASS is 8; it must be an integer from 0 to 7"),
    ("shaper set nosuch 1", "there is no port nosuch"),
    ("shaper del up0 1", "port up0 has no rate"),
    ("shaper list vm1", "port vm1 is of type vhost-user"),
    ("flow add actions=learn(table=1)", "learn is not supported: "),
    ("flow add actions=fin_timeout(idle_timeout=1)", "fin_timeout is not supported: "),
    ("flow add actions=sample(probability=1)", "sample is not supported: "),
])
def test_mistakes_get_a_sentence_and_change_nothing(module_ports, words, says):
    words = words.format(run=module_ports.run_dir, vm1=module_ports.socket("vm1"))
    with unchanged(module_ports):
        assert says in refused(module_ports, *words.split())


@pytest.fixture(scope="module")
def module_ports(module_lab):
    """The same with a NIC that lets its worker sleep: nobody else's CPU is taken all the time."""
    switch = module_lab.switch(workers="0", netns=module_lab.netns())
    switch.ctl("bridge add br0")
    switch.add_vhost("vm1")
    switch.add_nic("up0", "net_tap0,iface=up0")
    return switch


def test_no_daemon_is_status_2(tmp_path):
    for words in (["port", "list"], ["version", "--json"]):
        done = subprocess.run([binaries() / "straitctl", "--run-dir", tmp_path, *words],
                              capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == ""
        assert f"is straitd running with --run-dir {tmp_path}?" in done.stderr


@pytest.mark.parametrize("output, says", [
    (">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
@pytest.mark.parametrize("words, status, what", [
    ("port list", 2, "the request was carried out, but its answer"),
    ("bridge set br0 --mac-ageing 300 --json", 2, "the request was carried out, but its answer"),
    ("stats --watch", 2, "the request was carried out, but its answer"),
    ("help", 1, "the text")])
def test_an_answer_that_cannot_be_written_is_said_so(module_ports, output, says, words, status,
                                                     what):
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {output}', "sh", binaries() / "straitctl", "--run-dir",
         module_ports.run_dir, *words.split()], stderr=subprocess.PIPE, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (
        status, f"straitctl: {what} cannot be written to the standard output: {says}\n")


def test_an_answer_that_nobody_reads_on_is_no_error(module_ports):
    # As with SIGPIPE ignored, which is inherited.
    done = subprocess.run(
        ["sh", "-c", 'trap "" PIPE; "$@" | true', "sh", binaries() / "straitctl", "--run-dir",
         module_ports.run_dir, "stats", "--watch", "0.1"], stderr=subprocess.PIPE, timeout=20)
    assert done.stderr == b""


@pytest.mark.parametrize("behaviour, status, says", [
    ("reads", 2, "ended the connection before it answered; whether the request was carried out is "
     "not known"),
    ("ends at once", 2, "ended the connection before it "),
    ("ends with a reason", 1, "straitctl: too many clients\n")])
def test_a_daemon_that_ends_the_connection(tmp_path, behaviour, status, says):
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "control.sock"))
        daemon.listen()
        ctl = subprocess.Popen(
            [binaries() / "straitctl", "--run-dir", tmp_path, "port", "list"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        client, _ = daemon.accept()
        if behaviour == "reads":
            client.recv(4096)
        elif behaviour == "ends with a reason":
            client.sendall(b'{"jsonrpc":"2.0","error":{"code":-32005,"message":"too many clients"},'
                           b'"id":null}\n')
        client.close()
        out, err = ctl.communicate(timeout=20)
    assert (ctl.returncode, out) == (status, "")
    assert says in err and err.count("\n") == 1


# The control socket

@pytest.mark.parametrize("line, code", [
    ("nonsense", -32700), ("{", -32700), ("[" * 100_000, -32700), ('"\\ud800"', -32700),
    ("[]", -32600), ("7", -32600), ('{"id":1,"method":"version"}', -32600),
    ('{"jsonrpc":"2.0","id":1e999,"method":"version"}', -32600),
    ('{"jsonrpc":"2.0","id":1,"method":"no.such"}', -32601),
    ('{"jsonrpc":"2.0","id":1,"method":"port.set","params":{"name":"vm1","vlan":"10"}}', -32602),
    ('{"jsonrpc":"2.0","id":1,"method":"port.set","params":{"name":"vm1","vlan":5000}}', -32602),
    ('{"jsonrpc":"2.0","id":1,"method":"port.set","params":["vm1"]}', -32602),
    ('{"jsonrpc":"2.0","id":1,"method":"port.set","params":{"name":"vm1","wlan":1}}', -32602),
    ('{"jsonrpc":"2.0","id":1,"method":"port.set"}', -32602),
    ('{"jsonrpc":"2.0","id":1,"method":"port.show","params":{"name":"nosuch"}}', -32001),
    ('{"jsonrpc":"2.0","id":1,"method":"bridge.add","params":{"name":"br0"}}', -32002),
])
def test_bad_requests_get_their_code(module_ports, line, code):
    with unchanged(module_ports), connect(module_ports) as client:
        answer = exchange(client, line)
        assert answer["error"]["code"] == code
        assert answer["error"]["message"]
        # The connection goes on.
        assert exchange(client, '{"jsonrpc":"2.0","id":2,"method":"version"}')["id"] == 2


@pytest.mark.sanitized
def test_batches_and_notifications(module_ports):
    with connect(module_ports) as client:
        answers = exchange(client, json.dumps([
            {"jsonrpc": "2.0", "id": "a", "method": "version"},
            {"jsonrpc": "2.0", "method": "mac.flush"},
            {"jsonrpc": "2.0", "id": "b", "method": "port.list"}]))
        assert [a["id"] for a in answers] == ["a", "b"]


@pytest.mark.sanitized
def test_half_a_request_harms_nobody(module_ports):
    with unchanged(module_ports), connect(module_ports) as client:
        client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"port.set","par')
        assert module_ports.ctl("version")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            assert json.loads(answers.readline())["error"]["code"] == -32700


def test_a_request_without_end_is_cut_off(module_ports):
    with unchanged(module_ports), connect(module_ports) as client:
        with pytest.raises(OSError):
            for _ in range(64):
                client.sendall(b"x" * (1 << 20))
        assert module_ports.ctl("version")


def test_a_client_that_never_reads_is_not_waited_for(module_ports):
    request = b'{"jsonrpc":"2.0","id":1,"method":"schema"}\n'
    with unchanged(module_ports):
        deaf = [connect(module_ports) for _ in range(8)]
        for client in deaf:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(100_000):
                    client.send(request)
        before = module_ports.memory()["Pss_Anon"]
        start = time.monotonic()
        for _ in range(20):
            assert module_ports.ctl("version")
        assert time.monotonic() - start < 10
        assert module_ports.memory()["Pss_Anon"] < before + (8 << 20)
        for client in deaf:
            client.close()


@pytest.mark.sanitized
def test_more_clients_than_there_is_room_for(module_ports):
    crowd = []
    with unchanged(module_ports):
        for _ in range(200):
            crowd.append(connect(module_ports))
        assert module_ports.ctl("version")
        with crowd[0].makefile("rb") as answers:
            why = json.loads(answers.readline())
            assert why["id"] is None and "at most 64 clients" in why["error"]["message"]
            assert answers.readline() == b""
        for client in crowd:
            client.close()


# The daemon's life

def straitd(*words, timeout=30):
    return subprocess.run([binaries() / "straitd", *map(str, words)], capture_output=True,
                          text=True, timeout=timeout)


@pytest.mark.parametrize("words, says", [
    (["--wrokers", "1"], "did you mean --workers?"),
    (["--workers", "a"], "not a list of CPUs"),
    (["--workers", "1023"], "CPU 1023 is not there"),
    (["--main-cpu", "1000"], "CPU 1000 is not there"),
    (["--memory", "1"], "from 32"),
    (["--iova-mode", "pa"], "--iova-mode pa is given with --no-huge, and works in huge pages"),
    (["--config", "/nonexistent"], "/nonexistent cannot be read: No such file or directory"),
    (["--config", "/etc"], "/etc cannot be read: it is a folder; --config takes a file"),
    (["--config", "/dev/zero"],
     "/dev/zero cannot be read: it is neither a regular file nor a pipe, which --config takes"),
    (["--run-dir", "/etc/passwd"], "/etc/passwd"),
    (["--run-dir", "/" + "x" * 120], "too long"),
])
def test_the_daemon_refuses_wrong_options(tmp_path, words, says):
    done = straitd(*(["--run-dir", tmp_path / "run"] if "--run-dir" not in words else []),
                   "--no-huge", *words)
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_more_memory_than_there_is_is_refused(tmp_path):
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        total = next(int(line.split()[1]) >> 10 for line in meminfo if line.startswith("MemTotal"))
    if total >= 1 << 20:
        pytest.skip("this machine has all the memory that --memory can ask for")
    done = straitd("--run-dir", tmp_path, "--no-huge", "--workers", "0", "--memory", total + 1)
    assert done.returncode == 1
    assert (f"--memory asks for {total + 1} MiB, and " in done.stderr.splitlines()[-1])


def test_physical_addresses_take_huge_pages(tmp_path):
    done = straitd("--run-dir", tmp_path, "--workers", "0", "--iova-mode", "pa", "--memory",
                   1 << 20)
    assert done.returncode == 1
    assert re.search(r"--iova-mode pa works in huge pages alone: --memory asks for 1048576 MiB, "
                     r"and \d+ MiB of them are free", done.stderr.splitlines()[-1])


def test_one_daemon_a_folder(switch, lab):
    done = straitd("--run-dir", switch.run_dir, "--no-huge", "--workers", "0")
    assert done.returncode == 1
    assert f"process {switch.process.pid}" in done.stderr and "--run-dir" in done.stderr
    assert switch.ctl("version")["pid"] == switch.process.pid
    other = lab.switch(workers="0")
    assert other.ctl("version")["pid"] == other.process.pid


@pytest.mark.sanitized
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGIO,
                                    signal.SIGPIPE])
def test_signals_that_ask_for_nothing_it_has_change_nothing(module_ports, number):
    """Nor how it ends, which is looked at when the module does."""
    pid = module_ports.process.pid
    with unchanged(module_ports):
        os.kill(pid, number)
        if number not in (signal.SIGIO, signal.SIGPIPE):
            for count in range(2):
                wait_until(lambda: module_ports.log().count(f"{number.name} changes nothing")
                           > count, 10, "a line")
                os.kill(pid, number)


def test_after_sigkill_the_next_one_takes_over(ports):
    ports.kill()
    assert pathlib.Path(ports.socket("vm1")).is_socket()
    with pytest.raises(Refused) as failure:
        ports.ctl("port list")
    assert failure.value.status == 2
    ports.start()
    ports.ctl("bridge add br0")
    ports.add_vhost("vm1")
    ports.stop()
    assert not (ports.run_dir / "control.sock").exists()
    assert not pathlib.Path(ports.socket("vm1")).exists()


def test_a_stop_leaves_no_folder_of_dpdk(lab, monkeypatch, tmp_path):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))  # where DPDK makes its own
    switch = lab.switch(workers="0")
    assert list((tmp_path / "dpdk").iterdir())
    switch.kill()
    switch.start()
    switch.stop()
    assert not list((tmp_path / "dpdk").iterdir())
    config = tmp_path / "config"
    config.write_text("bridge del br0")
    assert straitd("--run-dir", tmp_path / "run", "--no-huge", "--workers", "0", "--config",
                   config).returncode == 1
    assert not list((tmp_path / "dpdk").iterdir())


@pytest.mark.sanitized
def test_config_is_applied_before_ports_serve(lab):
    switch = lab.switch(workers="0", config=[
        "# a comment", "", "bridge add br0", "straitctl bridge add 'br1' # another",
        "port add vm1 --bridge br0 --type vhost-user --socket /tmp/cli-config-test.sock",
        "port set vm1 --vlan 10", "port add up0 --bridge br1 --type nic --device net_null0",
        "mac add 02:00:00:00:00:01 --port vm1"])
    assert [(p["name"], p["vlan"]) for p in switch.ctl("port list")] == [("up0", None), ("vm1", 10)]
    assert switch.ctl("mac list")["entries"][0]["vlan"] == 10
    switch.ctl("port del vm1")


@pytest.mark.parametrize("lines, says", [
    (["bridge add br0", "bridge ad br1"], ":2: there is no command"),
    (["bridge add br0", "", "port set vm1 --vlan 10"], ":3: there is no port vm1"),
    (["bridge add 'br0"], ":1: the quote"),
    (["stats"], ":1: only commands that change"),
    (["bridge add br0",
      "port add a --bridge br0 --type vhost-user --socket /nonexistent/s"], ":2: "),
    (["bridge add br0",
      "port add a --bridge br0 --type vhost-user --socket /tmp/\udcff.sock"],
     ":2: port add: --socket is /tmp/?.sock; it must be text of 1 to 107 bytes of UTF-8"),
])
def test_a_mistake_in_config_stops_the_daemon(tmp_path, lines, says):
    config = tmp_path / "config"
    config.write_text("\n".join(lines), errors="surrogateescape")
    done = straitd("--run-dir", tmp_path / "run", "--no-huge", "--workers", "0", "--config", config)
    assert done.returncode == 1
    assert f"{config}{says}" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run/control.sock").exists()


@pytest.mark.sanitized
def test_sixty_four_ports_and_no_trace_of_them(lab):
    switch = lab.switch(workers="0")
    switch.ctl("bridge add br0")
    switch.add_vhost("first")  # what the vhost library keeps for all ports is made with it
    switch.ctl("port del first")
    with connect(switch) as client:
        batch = [{"jsonrpc": "2.0", "id": i, "method": "port.add",
                  "params": {"name": f"p{i}", "bridge": "br0", "type": "vhost-user",
                             "socket": switch.socket(f"p{i}")}} for i in range(64)]
        # Connected is not yet accepted: an answer is.
        exchange(client, json.dumps([{"jsonrpc": "2.0", "id": 0, "method": "version"}]))
        before = switch.fds()
        answers = exchange(client, json.dumps(batch))
        assert all("result" in answer for answer in answers)
        assert len(switch.ctl("port list")) == 64
        for i in range(64):
            switch.ctl(f"port del p{i}")
        assert switch.ctl("port list") == []
        wait_until(lambda: switch.fds() <= before, 10, "descriptors given back")
    assert not list(switch.run_dir.glob("p*.sock"))


def test_without_standard_files_the_daemon_writes_to_none_of_its_own(tmp_path):
    daemon = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", binaries() / "straitd", "--run-dir", tmp_path,
         "--no-huge", "--workers", "0", "--log-level", "debug"])
    try:
        ctl = [binaries() / "straitctl", "--run-dir", tmp_path]
        wait_until(lambda: subprocess.run([*ctl, "version"], capture_output=True).returncode == 0,
                   30, "an answer")
        assert (tmp_path / "straitd.lock").read_text().strip() == str(daemon.pid)
        for fd in range(3):
            assert os.readlink(f"/proc/{daemon.pid}/fd/{fd}") == "/dev/null"
    finally:
        daemon.terminate()
    assert daemon.wait(20) == 0


@pytest.mark.parametrize("limit, allowed, warned", [
    ("ulimit -Sn 256", None, False), ("ulimit -n 256", 256, True)])
def test_descriptors_are_taken_as_the_hard_limit_allows(tmp_path, limit, allowed, warned):
    with open(tmp_path / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["sh", "-c", f'{limit}; exec "$@"', "sh", binaries() / "straitd", "--run-dir",
             tmp_path / "run", "--no-huge", "--workers", "0"], stderr=log)
    try:
        wait_until((tmp_path / "run/control.sock").exists, 30, "the control socket")
        soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        assert soft == hard and hard == (allowed or hard)
    finally:
        daemon.terminate()
    assert daemon.wait(20) == 0
    said = "this process may open only 256 files" in (tmp_path / "log").read_text()
    assert said == warned


def test_log_is_one_line_an_event(ports):
    ports.stop()
    lines = ports.log().splitlines()
    assert lines and "stopped" in lines[-1]
    for line in lines:
        stamp, level, subsystem, _ = line.split(" ", 3)
        assert stamp.endswith("Z") and len(stamp) == 24
        assert level in ("error", "warning", "info", "debug")
        assert subsystem.endswith(":")


def test_a_front_end_cannot_flood_the_log(ports):
    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(ports.socket("vm1"))
        wait_until(lambda: ports.ctl("port show vm1")["details"]["connected"], 10, "a front end")
        for _ in range(3000):
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(ports.socket("vm1"))
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(ports.socket("vm1"))
                with contextlib.suppress(OSError):
                    other.sendall(struct.pack("<3I", 1, 1, 0xffff))
    wait_until(lambda: "lines left out that guests' side caused" in ports.log(), 20,
               "what was left out")
    assert len(ports.log().splitlines()) < 200
    assert ports.ctl("port show vm1")["details"]["connections_refused"] > 1000


def test_log_labels_what_ports_say(ports):
    def logged(level, text):
        wait_until(lambda: any(line.split(" ", 3)[1:3] == [level, "vhost:"] and text in line
                               for line in ports.log().splitlines()), 10, text)

    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(ports.socket("vm1"))
        logged("info", "port vm1: a front end connected")
        guest.sendall(struct.pack("<3I2Q", 6, 1, 16, 0, 0))  # SET_LOG_BASE, without a log
        logged("warning", "port vm1: the front end's message 6 was refused")
    logged("info", "port vm1: its front end is gone")
    assert " dpdk: " not in ports.log()


def test_the_daemon_starts_no_program():
    """It could not if it wanted to: what starts one is not among the functions that it knows."""
    known = subprocess.run(["nm", "-D", "--undefined-only", binaries() / "straitd"],
                           capture_output=True, text=True, check=True).stdout.split()
    names = {word.split("@")[0] for word in known}
    assert "socket" in names
    assert not {name for name in names
                if name.startswith(("exec", "fexec", "posix_spawn", "popen", "wordexp"))
                or name in ("fork", "vfork", "clone", "clone3", "system")}
