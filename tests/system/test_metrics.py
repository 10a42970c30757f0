# SPDX-License-Identifier: BSD-3-Clause
"""The metrics as a real Prometheus reads them, and what clients of theirs can do to the switch."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from scapy.layers.l2 import Ether

import lab as parts
from lab.process import Process, wait_until


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def frames(count, src="02:00:00:00:00:0a"):
    one = bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=src, type=0x88b5)) + bytes(86)
    return [one] * count


class Measured:
    """A switch with metrics at a port of 127.0.0.1, and two ports over taps, whose other ends are
    wires in a namespace."""

    def __init__(self, lab, *bridge_words):
        self.port = free_port()
        self.switch = lab.switch(workers="0", arguments=["--metrics", f"127.0.0.1:{self.port}"])
        self.ctl = self.switch.ctl
        self.ctl("bridge", "add", "br0", *bridge_words)
        netns = lab.netns()
        self.wires = {}
        for name in ("left", "right"):
            tap = f"m{os.getpid()}{name[0]}"
            self.switch.add_nic(name, f"net_tap_{tap},iface={tap}")
            netns.adopt(tap)
            self.wires[name] = lab.wire(netns, tap)

    def page(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return answer.read().decode()


class Prometheus:
    """It scrapes a target twice a second; its storage and configuration are in folder."""

    def __init__(self, folder, target):
        programs = parts.assets().prometheus / "usr/bin"
        self.promtool = programs / "promtool"
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms"},
            "scrape_configs": [{"job_name": "strait", "static_configs": [{"targets": [target]}]}]}))
        self.port = free_port()
        self.process = Process(
            [programs / "prometheus", f"--config.file={config}",
             f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn",
             f"--web.listen-address=127.0.0.1:{self.port}"], folder / "log")

    def query(self, expression):
        """What a query gives now: a list of (labels, value)."""
        self.process.check_running()
        address = (f"http://127.0.0.1:{self.port}/api/v1/query?"
                   + urllib.parse.urlencode({"query": expression}))
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                result = json.load(answer)
        except urllib.error.HTTPError as error:
            assert error.code == 503, error.read()  # it starts
            return []
        except urllib.error.URLError:
            return []
        assert result["status"] == "success", result
        return [(one["metric"], float(one["value"][1])) for one in result["data"]["result"]]

    def one(self, expression):
        """The value of a query that has one, once it has one."""
        return wait_until(lambda: self.query(expression), 15, expression, 0.1)[0][1]

    def close(self):
        self.process.terminate(10)


@pytest.fixture
def prometheus(tmp_path):
    started = []

    def start(target):
        try:
            started.append(Prometheus(tmp_path, target))
        except parts.Unavailable as reason:
            pytest.skip(str(reason))
        return started[0]
    yield start
    for one in started:
        one.close()


def test_a_real_prometheus_scrapes_the_switch(lab, prometheus):
    measured = Measured(lab)
    measured.ctl("bridge add trees --rstp on")
    tap = f"m{os.getpid()}t"
    measured.switch.add_nic("twig", f"net_tap_{tap},iface={tap}", bridge="trees")
    server = prometheus(f"127.0.0.1:{measured.port}")
    assert server.one('up{job="strait"} == 1') == 1

    # Each metric of the page is there with a type, and promtool finds nothing to object to.
    page = measured.page()
    looked = subprocess.run([server.promtool, "check", "metrics"], input=page, text=True,
                            capture_output=True, timeout=30)
    assert (looked.returncode, looked.stdout + looked.stderr) == (0, "")
    named = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE ")}
    # Queues tell of reasons that there were alone, and trees of a change if there was one.
    named -= {"strait_queue_drops_total",
              "strait_bridge_rstp_last_topology_change_timestamp_seconds"}
    scraped = {labels["__name__"] for labels, _ in server.query('{job="strait"}')}
    assert named <= scraped
    assert server.query("strait_port_rstp_role == 1")[0][0]["port"] == "twig"
    measured.ctl("bridge del trees --with-ports")

    version = measured.ctl("version")
    labels, one = server.query("strait_build_info")[0]
    assert (labels["version"], labels["dpdk"], one) == (version["version"], version["dpdk"], 1)
    assert abs(server.one("time() - process_start_time_seconds") - version["uptime_s"]) < 10

    # What passes and what does not, by port and by bridge.
    # The kernel has said something, too, when it got the taps.
    before = {port["name"]: port for port in measured.ctl("stats")["ports"]}
    measured.wires["left"].send(*frames(200), *frames(7, "00:00:00:00:00:00"))
    for port, way, stat, count in (("left", "receive", "rx", 207),
                                   ("right", "transmit", "tx", 200)):
        packets, size = (before[port][f"{stat}_{what}"] for what in ("packets", "bytes"))
        assert server.one(f'strait_port_{way}_packets_total{{port="{port}"}} == {packets + count}')
        assert server.one(f'strait_port_{way}_bytes_total{{port="{port}"}} == {size + 100 * count}')
    drops = server.query("strait_port_receive_drops_total > 0 or "
                         "strait_port_transmit_drops_total > 0")
    counted = {(labels["port"], labels["reason"]): count for labels, count in drops}
    assert counted.pop(("left", "invalid_source_mac")) == 7
    assert counted == {(port, reason): count for port, of in before.items()
                       for reason, count in of["drops"].items() if count}
    by_bridge = server.query("sum by (bridge) (strait_port_transmit_packets_total * on (port) "
                             "group_left (bridge) strait_port_info)")
    assert [labels for labels, _ in by_bridge] == [{"bridge": "br0"}]
    assert by_bridge[0][1] == measured.ctl("stats")["total"]["tx_packets"] >= 200
    assert server.one("strait_bridge_macs") == measured.ctl("bridge list")[0]["macs"] > 0
    time_of_worker = server.one("sum without (state) (irate(strait_worker_seconds_total[5s]))")
    assert 0.8 < time_of_worker < 1.2
    measured.ctl("port set left --admin down")
    assert server.one('strait_port_admin_up{port="left"} == 0') == 0


def ask(path, request):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(request)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


class ControlClient:
    """Asks the control socket for the version, again and again; slowest is the worst so far."""

    def __init__(self, run_dir):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(run_dir / "control.sock"))
        self.slowest = 0
        self.calls = 0

    def call(self):
        begun = time.monotonic()
        self._socket.sendall(b'{"jsonrpc":"2.0","id":1,"method":"version"}\n')
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self._socket.recv(65536)
        assert b'"result"' in answer
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.calls += 1


def test_a_hundred_clients_hold_up_nobody(lab):
    # Whose MAC table takes a while to count.
    measured = Measured(lab, "--mac-table-size", "1048576")
    address = ("127.0.0.1", measured.port)
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    ending = time.monotonic() + 2
    served = []

    def scrape():
        while time.monotonic() < ending:
            with socket.create_connection(address, 20) as client:
                client.sendall(request)
                size = 0
                while part := client.recv(1 << 16):
                    size += len(part)
                served.append(size)

    silent = [socket.create_connection(address, 20) for _ in range(30)]
    lazy = [socket.create_connection(address, 20) for _ in range(10)]
    for one in lazy:
        one.sendall(request)
    for one in silent:
        one.sendall(b"GET /metr")
    clients = [threading.Thread(target=scrape) for _ in range(100)]
    for one in clients:
        one.start()
    control = ControlClient(measured.switch.run_dir)
    sent = 0
    while time.monotonic() < ending:
        control.call()
        measured.wires["left"].send(*frames(1))
        sent += 1
    for one in clients:
        one.join()
    wait_until(lambda: measured.ctl("stats right")["ports"][0]["tx_packets"] == sent, 5,
               f"{sent} packets, which go on all the time")
    for one in silent + lazy:
        one.close()
    print(f"{len(served)} pages for 100 clients, {control.calls} control calls, "
          f"the slowest {1000 * control.slowest:.0f} ms")
    assert len(served) >= 100 and min(served) > 10000
    assert control.calls > 10 and control.slowest < 1


def test_a_unix_socket_and_what_is_refused(lab, tmp_path):
    path = tmp_path / "metrics.sock"
    switch = lab.switch(workers="0", arguments=["--metrics", f"unix:{path}"])
    got = subprocess.run(["curl", "-sSf", "--unix-socket", path, "http://localhost/metrics"],
                         capture_output=True, text=True, timeout=20)
    assert got.returncode == 0, got.stderr
    assert "\nstrait_build_info{" in got.stdout
    assert ask(path, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").endswith(
        b"there is nothing here: metrics are at /metrics\n")
    straitd = parts.binaries() / "straitd"
    for where, why in (("0.0.0.0:9476", "can be reached from elsewhere"),
                       ("9476", "has no port"), ("host:9476", "is no IP address with a port")):
        tried = subprocess.run([straitd, "--run-dir", tmp_path / "other", "--metrics", where],
                               capture_output=True, text=True, timeout=20)
        assert tried.returncode == 1
        assert tried.stderr.startswith(f"straitd: --metrics: {where} {why}"), tried.stderr
        assert tried.stderr.count("\n") == 1
        assert not (tmp_path / "other").exists()
    switch.stop()
    assert not path.exists()
