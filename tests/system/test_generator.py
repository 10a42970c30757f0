# SPDX-License-Identifier: BSD-3-Clause
"""bench's load generator, whose ends are guests of their own making, against Strait and against
DPDK's vhost library as its switch: each kind of ring, every frame compared."""

import itertools
import json
import subprocess

import pytest

import lab as parts

KINDS = list(itertools.product((0, 1), repeat=3))  # packed, in order, mergeable


def generate(*words, timeout=60):
    program = parts.binaries() / "strait-generator"
    if not program.exists():
        pytest.skip(f"skipped: {program} was not built")
    return subprocess.run([str(program), *map(str, words)], text=True, timeout=timeout,
                          capture_output=True, check=False)


def traffic(sockets, packed, in_order, mergeable, *words):
    done = generate("--socket-a", sockets[0], "--socket-b", sockets[1], "--packed", packed,
                    "--in-order", in_order, "--mergeable", mergeable, "--no-huge",
                    "--warm-up", 0, "--seconds", 0.2, "--verify-every", 1, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


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
        check(traffic(sockets, *kind, "--macs", 64, "--frame", "imix", "--latency"))


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


@pytest.mark.parametrize("words, sentence", [
    ((), "no back end serves this socket"),
    (("--server", "--ready-timeout", 0.2), "no switch connected within 0.2 s"),
    (("--frame", 59), "option --frame cannot be"),
    (("--socket-a", "x" * 200), "longer than the 107 bytes"),
    (("--cpu", 1023), "CPU 1023 cannot be had"),
    (("--flows", 3), "option --flows cannot be"),
    (("--flow-kind", "mac"), "right would be nw_dst, 5tuple or answered"),
    (("--order", "random"), "right would be uniform, zipf or round"),
    (("--new-flows", 0.5), "--list-flows and --new-flows need --flows"),
    (("--flows", 4, "--macs", 4), "--flows and --macs exclude each other"),
])
def test_says_what_is_wrong(tmp_path, words, sentence):
    done = generate("--socket-a", tmp_path / "a", "--socket-b", tmp_path / "b", "--no-huge", *words)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
