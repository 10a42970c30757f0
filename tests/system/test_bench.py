# SPDX-License-Identifier: BSD-3-Clause
"""strait-bench as its user has it: each scenario and each peer that is installed, for a moment;
what goes wrong is a sentence, and whatever runs is ended; the page of a result."""

import contextlib
import glob
import html.parser
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import lab as parts
from test_bench_arithmetic import document

# pylint: disable=wrong-import-order
from harness import hypervisors, scenarios, session
from harness.alone import RUNNERS
from harness.generators import StraitGenerator
from harness.machine import BenchError, Programs, Unpinned, free_huge_mib
from harness.peers import Strait
from harness.peers.base import VHOST, Settings

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "bench/strait-bench"
SHORT = ("--rounds", "1", "--seconds", "0.05", "--warm-up", "0.02", "--no-huge")
SMALL = (*SHORT, "--size", "64", "--flows", "1", "--rfc2544", "none")


@pytest.fixture(autouse=True)
def _two_cpus():
    if not {0, 1} <= os.sched_getaffinity(0):
        pytest.skip("skipped: strait-bench needs CPUs 0 and 1")
    if not (parts.binaries() / "strait-generator").exists():
        pytest.skip(f"skipped: {parts.binaries() / 'strait-generator'} was not built")


def environment(**more):
    return {**os.environ, "STRAIT_BIN": str(parts.binaries()), **more}


def bench(*words, timeout=240, env=None, cpus=None, program=PROGRAM):
    limit = ["taskset", "-c", cpus] if cpus else []
    return subprocess.run([*limit, str(program), *map(str, words)], text=True, timeout=timeout,
                          capture_output=True, env=env or environment(), check=False)


OF_FEW = f"""#!/usr/bin/python3
import dataclasses
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, {str(PROGRAM.parent)!r})
from harness import cli, hypervisors, scenarios

one = scenarios.named(hypervisors.NAME)
scenarios.SCENARIOS = (dataclasses.replace(one, variants={{"x2x": one.variants["x2x"]}}),)
sys.exit(cli.main(sys.argv[1:]))
"""


def of_few(folder):
    """strait-bench whose hypervisors measures two kinds of ends, where the many of test_hypervisors
    would show nothing more."""
    file = folder / "strait-bench"
    file.write_text(OF_FEW)
    file.chmod(0o755)
    return file


def measured(tmp_path, *words, **named):
    """Runs and returns the result, and what was said."""
    file = tmp_path / "result.json"
    done = bench("run", *words, "--json", file, **named)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done


def rates(result):
    assert not [one for one in result["trials"] if "error" in one]
    return {one["peer"]: one.get("mpps", one.get("first_median")) for one in result["trials"]}


def rates_by_scenario(result):
    """By scenario, switch and variant, of several scenarios."""
    assert not result["partial"]
    assert not [one for one in result["trials"] if "error" in one]
    return {(one["scenario"], one["peer"], one["variant"]):
            one.get("mpps", one.get("first_median")) for one in result["trials"]}


def leftovers():
    """What a run could leave behind."""
    return (sorted(glob.glob("/tmp/bench-*")) +
            [name for name in os.listdir("/run/netns") if name.startswith("strait-bench-")]
            if os.path.isdir("/run/netns") else sorted(glob.glob("/tmp/bench-*")))


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = leftovers()
    yield
    assert leftovers() == before


# ---- each scenario, each peer ----

USUAL = {"strait", "testpmd", "macswap", "bridge"}
ALONE = {"strait"}  # where of a peer nothing would be looked at that v2v does not

# Each scenario has its place here: one that is named in none of these is run among QUICK.
WITH_PEERS = {"v2v": USUAL, "p2p": USUAL, "p2v": {"strait", "bridge"},
              **dict.fromkeys(("v2v-half-cpu", "v2v-flowgen", "v2v-flowgen-ooo"),
                              {"strait", "testpmd"})}
OF_OTHER_TESTS = {"v2m", "m2v", "x2m", "m2x", "v2v-rules", "kvm-xen", "kvm-xen-offloads"}
SLOW = {"v2v-macs-1M": USUAL, "v2v-conntrack-100k": ALONE, "loopback-2": ALONE, "loopback-4": ALONE,
        "loopback-5": ALONE}
QUICK = [one.name for one in scenarios.SCENARIOS
         if one.name not in {*WITH_PEERS, *OF_OTHER_TESTS, *SLOW}]
assert {*WITH_PEERS, *OF_OTHER_TESTS, *SLOW} <= set(scenarios.names())


@pytest.mark.parametrize("scenario, peers", [
    *WITH_PEERS.items(),
    *(pytest.param(*one, marks=pytest.mark.soak)
      for one in (*SLOW.items(), ("p2v", USUAL), ("v2v-half-cpu", USUAL - {"bridge"})))])
def test_scenario(tmp_path, scenario, peers):
    if "testpmd" in peers and not shutil.which("dpdk-testpmd"):
        pytest.skip("skipped: dpdk-testpmd is not installed")
    names = ",".join(sorted(peers - {"strait"})) or "none"
    result, _ = measured(tmp_path, "--scenario", scenario, *SMALL, "--peers", names)
    found = rates(result)
    assert set(found) == peers
    assert all(rate > 0.001 for rate in rates_by_scenario(result).values())


# Several of a run: what a run itself takes would be most of the time.
@pytest.mark.parametrize("names", [QUICK[first::4] for first in range(4)],
                         ids=lambda names: f"{names[0]} and {len(names) - 1} more")
def test_scenarios_of_strait_alone(tmp_path, names):
    result, _ = measured(tmp_path, "--scenario", ",".join(names), *SMALL, "--peers", "none")
    found = rates_by_scenario(result)
    assert set(found) == {(name, "strait", variant) for name in names for variant in
                          ("", *scenarios.named(name).cells([64], [1])[0].scenario.variants)}
    assert not {place: rate for place, rate in found.items() if rate <= 0.001}


@pytest.mark.parametrize("scenario, peers, flows", [
    ("v2v-rules", {"strait", "testpmd"}, (10, 1000)),
    pytest.param("v2v-rules", USUAL - {"bridge"}, (10, 1000, 10_000), marks=pytest.mark.soak),
    pytest.param("v2v-rules-5tuple", {"strait", "testpmd"}, (1_000_000,), marks=pytest.mark.soak)])
def test_a_rule_a_flow(tmp_path, scenario, peers, flows):
    if "testpmd" in peers and not shutil.which("dpdk-testpmd"):
        pytest.skip("skipped: dpdk-testpmd is not installed")
    result, done = measured(tmp_path, "--scenario", scenario, *SMALL, "--flows",
                            ",".join(map(str, flows)), "--peers",
                            ",".join(sorted(peers - {"strait"})))
    assert not [one for one in result["trials"] if "error" in one or one["mpps"] <= 0.001]
    assert {(one["peer"], one["flows"]) for one in result["trials"]} == \
        set(itertools.product(peers, flows))
    assert all(f"{scenario}, 64 B, {count:,} flows" in done.stdout for count in flows)


def told_of(peer):
    """What list says of one: found, or what is missing."""
    line = next(line for line in bench("list").stdout.splitlines()
                if line.startswith(f"{peer} "))
    return line.split(";", 1)[1].strip()


@pytest.fixture(scope="module")
def ovs():
    """OVS-DPDK, which is not installed for tests."""
    told = told_of("ovs")
    if told != "found":
        pytest.skip(f"skipped: {told}")


@pytest.mark.usefixtures("ovs")
@pytest.mark.parametrize("names, peers", [
    (("v2v",), ("ovs", "ovs-rules")), (("p2v", "v2v-conntrack-1k"), ("ovs",)),
    pytest.param(("v2v-rules", "v2v-nat-1k", "loopback-2", "v2m", "m2v"), ("ovs",),
                 marks=pytest.mark.soak)], ids=lambda words: "+".join(words))
def test_ovs(tmp_path, names, peers):
    result, _ = measured(tmp_path, "--scenario", ",".join(names), *SMALL, "--peers",
                         ",".join(peers))
    found = rates_by_scenario(result)
    assert {place for place in found if not place[2]} == \
        {(name, peer, "") for name, peer in itertools.product(names, ("strait", *peers))}
    assert not {place: rate for place, rate in found.items() if rate <= 0.001}
    assert all(result["peers"][peer]["version"].startswith(("2.", "3.")) for peer in peers)


def test_vpp(tmp_path):
    told = told_of("vpp")
    if told != "found":
        pytest.skip(f"skipped: {told}")
    result, _ = measured(tmp_path, "--scenario", "v2v", *SMALL, "--peers", "vpp")
    assert rates(result)["vpp"] > 0.001


@pytest.mark.parametrize("scenario, peers", [
    ("v2m", {"strait", "bridge"}), ("m2v", {"strait", "bridge"}), ("x2m", ALONE), ("m2x", ALONE)])
def test_what_many_ends_lose_is_what_the_switch_counts(tmp_path, scenario, peers):
    """And each of these scenarios comes to something, as the others do in test_scenario. testpmd
    does not switch."""
    names = ",".join(sorted(peers - {"strait"} | {"testpmd"}))
    result, done = measured(tmp_path, "--scenario", scenario, *SMALL, "--peers", names, "--html",
                            tmp_path / "page.html")
    found = rates(result)
    assert set(found) == peers
    assert all(rate > 0.001 for rate in found.values())
    assert not result["partial"]
    trial = next(one for one in result["trials"]
                 if one["peer"] == "strait" and not one["variant"])
    paths = trial["generator"]["paths"]
    assert [one["from" if scenario[0] == "m" else "to"] for one in paths] == list("bcde")
    assert trial["unaccounted"] == 0
    assert sum(one["lost"] for one in paths) == trial["switch_dropped"]
    assert trial["least_share"] == pytest.approx(100 * min(one["share"] for one in paths))
    assert 0.25 <= trial["fairness"] <= 1
    page = (tmp_path / "page.html").read_text()
    for words in ("Jain&#x27;s index of the paths&#x27; rates", "smallest share of a path"):
        assert words in page, words
    assert "one way: rate (Mpps)" in done.stdout


class HeldUp(Strait):
    """It stands still for a moment when the count has ended, as a process does whose CPU others
    have: all rings are full then."""

    def end(self):
        told = super().end()
        os.kill(self.pid(), signal.SIGSTOP)
        threading.Timer(0.1, os.kill, (self.pid(), signal.SIGCONT)).start()
        return told


@pytest.mark.parametrize("pattern", ["one-to-many", "many-to-one"])
def test_what_is_under_way_to_many_ends_is_not_lost(pattern):
    settings = Settings(worker_cpu=1, other_cpu=0, huge=False,
                        programs=Programs([parts.binaries()]))
    with HeldUp(settings, ends=(VHOST,) * 5) as switch, \
            StraitGenerator(switch, settings, seconds=0.1, warm_up=0.05, flows=1000,
                            pattern=pattern) as generator:
        for _ in range(3):
            told = generator.measure()
            assert told["unaccounted"] == 0
            assert told["switch_dropped"] == told["generator"]["lost"]


def test_unpinned_threads_run_on_both_cpus_and_are_pinned_again():
    settings = Settings(worker_cpu=1, other_cpu=0, huge=False,
                        programs=Programs([parts.binaries()]))
    with Strait(settings) as switch, \
            StraitGenerator(switch, settings, seconds=0.1, warm_up=0.05) as generator:
        worker, ends = generator.threads()
        assert (os.sched_getaffinity(worker), os.sched_getaffinity(ends)) == ({1}, {0})
        free = generator.unpin()
        try:
            assert os.sched_getaffinity(worker) == os.sched_getaffinity(ends) == {0, 1}
            assert generator.threads() == (worker, ends)
            assert generator.measure()["mpps"] > 0.001
        finally:
            free.end()
        assert (os.sched_getaffinity(worker), os.sched_getaffinity(ends)) == ({1}, {0})
        assert generator.measure()["mpps"] > 0.001


def test_what_cannot_be_unpinned_is_pinned_again():
    free = sorted(os.sched_getaffinity(0))
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            os.sched_setaffinity(child.pid, {free[0]})
            with pytest.raises(BenchError, match="cannot be let run on CPUs .*No such process"):
                Unpinned([child.pid, 2 ** 22 - 1], free)
            assert os.sched_getaffinity(child.pid) == {free[0]}
        finally:
            child.kill()


def test_sizes_and_flows(tmp_path):
    result, done = measured(tmp_path, "--scenario", "v2v", *SHORT, "--peers", "none", "--rfc2544",
                            "none", "--size", "60,imix", "--flows", "1,1000")
    cells = {(one["size"], one["flows"]) for one in result["trials"] if one["mpps"] > 0.001}
    assert cells == {(size, flows) for size in (60, "imix") for flows in (1, 1000)}
    assert "v2v, IMIX, 1,000 flows" in done.stdout


def test_jumbo_frames_of_many_flows(tmp_path):
    names = ["bridge", *(["testpmd"] if shutil.which("dpdk-testpmd") else [])]
    result, _ = measured(tmp_path, "--scenario", "v2v", *SHORT, "--peers", ",".join(names),
                         "--rfc2544", "none", "--size", "9000", "--flows", "1000")
    found = rates(result)
    assert set(found) == {"strait", *names}
    assert all(rate > 0.001 for rate in found.values())


def test_rfc2544(tmp_path):
    result, _ = measured(tmp_path, "--scenario", "v2v", *SHORT, "--peers", "none",
                         "--size", "64", "--flows", "1")
    trial = next(one for one in result["trials"] if one["measure"] == "rfc2544")
    assert trial["pdr_mpps"] is None or trial["pdr_mpps"] >= (trial["ndr_mpps"] or 0)
    assert trial["trials"] > 5 and trial["back_to_back"] >= 0
    if trial["pdr_mpps"]:
        assert set(trial["latency"]) == {"10", "50", "90"}
        assert trial["latency"]["10"]["histogram"]


# What a run says of each that is measured of Strait alone, and which of them take a moment only.
SAID = {"start": "start with 64 ports", "memory": "memory beside the packet pool",
        "churn": "frames a changing port costs others", "flow-load": "loading 1,000,000 rules",
        "rule-memory": "memory of a rule", "flow-memory": "memory of a cached flow",
        "flow-change": "a change among 1,000,000 rules to be visible",
        "flow-changes": "capacity lost to 1,000 rule changes/s",
        "flow-churn": "blocked by 1,000 rule changes/s",
        "flow-cold": "cold table of 100,000 flows to 90 % of its rate",
        "tcp-connections": "TCP connections a second",
        "udp-connections": "UDP connections a second",
        "held-connections": "TCP connections held at once", "neighbour": "lost to a neighbour",
        "restart": "x2x blocked when Strait is killed",
        "restart-v2v": "v2v blocked when Strait is killed",
        "generator": "generator by flowgen, into Strait",
        "generator-histogram": "a histogram of latencies, one frame of 16 stamped"}
MOMENTS = ("start", "memory", "restart", "restart-v2v")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name in MOMENTS else pytest.mark.soak)
    for name in scenarios.ALONE])
def test_alone(tmp_path, name):
    result, done = measured(tmp_path, "--scenario", name, *SMALL, timeout=600)
    assert "value" in result["alone"][name] and SAID[name] in done.stdout


def test_all_that_is_measured_of_strait_alone_has_a_test():
    assert set(SAID) == set(scenarios.ALONE) == set(RUNNERS)


def test_machine_facts_are_in_the_result(tmp_path):
    result, _ = measured(tmp_path, "--scenario", "x2x", *SMALL, "--peers", "none")
    machine = result["machine"]
    assert machine["cpu"] and machine["kernel"].startswith("Linux")
    assert set(machine["meanwhile"]) >= {"0", "1"}
    assert result["peers"]["strait"]["version"]
    assert result["settings"]["huge_pages"] is False


def every_stage_has_a_figure(stages):
    """Of KVM's rings, split and packed, and of Xen's."""
    _, rows = hypervisors.stage_rows(stages)
    assert {row[0].split(":")[0] for row in rows[:-1]} == {"ring out", "copy", "checksum", "lookup",
                                                           "ring in", "notify"}
    for text, *cells, _ in rows:
        assert len(cells) == 6
        for cell in cells:
            assert re.fullmatch(r"\d+(, simulated)?|\d\.\d+ calls, to be calibrated", cell), \
                (text, cells)
    differences = ("ring_out", "ring_in")
    for kind, by_stage, filled, _ in hypervisors.RINGS:
        for size in map(str, hypervisors.SIZES):
            one = stages[by_stage][size]
            assert stages[filled][size]["checksum"][0] > 0
            assert all(one[key][0] > 0 for key in ("copy", "lookup", "release", "notify"))
            # Of a long frame the copy is nearly all, and the rings are what noise leaves of it.
            assert all(one[key][0] > 0 for key in differences if kind == "Xen" or size == "64")
            assert kind == "Xen" or one["tell"][0] > 0
        # A long frame's copy and sum take longer than a short one's.
        for name, key in ((by_stage, "copy"), (filled, "checksum")):
            assert stages[name]["1500"][key][0] > stages[name]["64"][key][0], (name, key)


def test_hypervisors(tmp_path):
    """KVM beside Xen, measured and counted; and no winner."""
    if not (parts.binaries() / "strait-micro").exists():
        pytest.skip(f"skipped: {parts.binaries() / 'strait-micro'} was not built")
    file = tmp_path / "a.json"
    done = bench("hypervisors", *SHORT, "--size", "64", "--json", file)
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    found = {one["variant"]: one for one in result["trials"] if one["scenario"] == "kvm-xen"}
    assert set(found) == {"", "v2v, in_order=0", "v2v, packed", "x2v", "x2x",
                          *(f"{ends}, {more}" for ends in ("v2v", "x2x")
                            for more in ("unpinned", "2 queues", "3 queues", "4 queues"))}
    assert {name for name, one in found.items() if one.get("unpinned")} == \
        {"v2v, unpinned", "x2x, unpinned"}
    offloads = {one["variant"]: one for one in result["trials"]
                if one["scenario"] == "kvm-xen-offloads"}
    assert len(offloads) == 8 and len(found) + 8 == len(result["trials"])
    for name, one in offloads.items():
        told = one["generator"]
        assert told["checksum_left"] == told["checked"] * name.endswith(("receiver", "64 KiB"))
        assert one["gbps"] > 0.001
    assert all(one["mpps"] > 0.001 and one["cycles"] > 0 for one in
               (*found.values(), *offloads.values()))
    xen = result["stages"]["xen_ring"]["64"]
    assert xen["segments"] == [2] and xen["bytes"] == [128] and xen["ring_out"][0] > 0
    assert result["stages"]["ring_split"]["1500"]["cycles/packet"][0] > 0
    every_stage_has_a_figure(result["stages"])
    for words in ("KVM and Xen: measured here", "x2x, unpinned", "KVM and Xen: offloads",
                  "x2x, checksums filled in by the switch", "segments copied by grant", "2.00",
                  "calls, to be calibrated", "KVM: by difference; Xen: directly",
                  "Which of the two is faster is not said here"):
        assert words in done.stdout, words


def test_hypervisors_without_the_micro_benchmarks(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in parts.binaries().iterdir():
        if program.name.startswith("strait") and program.name != "strait-micro":
            (folder / program.name).symlink_to(program)
    done = bench("hypervisors", *SHORT, "--size", "64", "--json", tmp_path / "a.json",
                 env=environment(STRAIT_BIN=str(folder)), program=of_few(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Not measured: strait-micro is not in " in done.stdout


# ---- faults ----


def fake(tmp_path, script):
    """A dpdk-testpmd that is found before the real one."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    program = folder / "dpdk-testpmd"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    return environment(PATH=f"{folder}:{os.environ['PATH']}")


def failed(tmp_path, env, *words):
    """What is said of testpmd, when Strait is measured all the same."""
    result, done = measured(tmp_path, "--scenario", "v2v", *SMALL, "--peers", "testpmd", *words,
                            env=env)
    assert [one["mpps"] > 0 for one in result["trials"] if one["peer"] == "strait"] == [True]
    errors = [one["error"] for one in result["trials"] if one["peer"] == "testpmd"]
    assert len(errors) == 1 and "\n" not in errors[0]
    assert f"testpmd io failed: {errors[0]}" in done.stderr
    return errors[0]


def test_a_peer_that_does_not_start(tmp_path):
    env = fake(tmp_path, "echo 'it has no memory' >&2; exit 1")
    assert failed(tmp_path, env) == "dpdk-testpmd ended early: it has no memory"


def test_a_peer_that_forwards_nothing(tmp_path):
    real = shutil.which("dpdk-testpmd")
    if not real:
        pytest.skip("skipped: dpdk-testpmd is not installed")
    env = fake(tmp_path, f'exec {real} "${{@/--forward-mode=io/--forward-mode=rxonly}}"')
    assert "no frame came through the switch in both directions within 5.0 s" in failed(
        tmp_path, env, "--patience", "5")


def descendants(pid):
    """Processes begun by one, by name."""
    out = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid:
                out[(folder / "comm").read_text().strip()] = int(folder.name)
    return out


class Running:
    """A run that goes on while the test looks."""

    def __init__(self, file, *words):
        self.file = file
        self._child = subprocess.Popen([str(PROGRAM), "run", "--json", str(file), "--verbose",
                                        *words], env=environment(), stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
        self.said = ""

    @property
    def pid(self):
        return self._child.pid

    def wait_said(self, text):
        silent = threading.Timer(120, self._child.kill)
        silent.start()
        try:
            while text not in self.said:
                line = self._child.stderr.readline()
                assert line, f"it ended without {text!r}: {self.said}"
                self.said += line
        finally:
            silent.cancel()

    def signal(self, number):
        self._child.send_signal(number)

    def end(self):
        """Its status, and its result."""
        out, error = self._child.communicate(timeout=90)
        self.said += out + error
        return self._child.returncode, json.loads(self.file.read_text())

    def close(self):
        """What it began ends with it."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.communicate()


@pytest.fixture
def begin():
    with contextlib.ExitStack() as running:
        yield lambda *words: running.enter_context(contextlib.closing(Running(*words)))


def test_a_peer_that_dies_in_the_middle(tmp_path, begin):
    if not shutil.which("dpdk-testpmd"):
        pytest.skip("skipped: dpdk-testpmd is not installed")
    running = begin(tmp_path / "a.json", "--scenario", "v2v", *SMALL, "--peers", "testpmd",
                    "--rounds", "6", "--seconds", "0.5")
    running.wait_said("round 1 testpmd")
    os.kill(descendants(running.pid)["dpdk-testpmd"], signal.SIGKILL)
    status, result = running.end()
    assert status == 0
    done = [one for one in result["trials"] if one["peer"] == "testpmd"]
    assert "mpps" in done[0] and "error" in done[-1] and len(done) < 6
    assert sum("mpps" in one for one in result["trials"] if one["peer"] == "strait") == 6


# By moment: what runs, and what was said last before.
TURNS = ("--scenario", "v2v,p2p", *SMALL, "--rounds", "40", "--peers")
MOMENTS_OF_A_RUN = {
    "start": ((*TURNS, "bridge"), "results go to"), "turn": ((*TURNS, "bridge"), "round 2"),
    "turn of testpmd": ((*TURNS, "testpmd,macswap"), "round 2"),
    "search": (("--scenario", "v2v", *SHORT, "--size", "64", "--flows", "1", "--peers", "none",
                "--rounds", "9"), "back_to_back="),
    "alone": (("--scenario", "start", *SMALL, "--peers", "none"), "start: Strait alone")}


@pytest.mark.parametrize("number, moment", [
    *itertools.product((signal.SIGINT, signal.SIGTERM), ("start", "turn")),
    *((signal.SIGINT, moment) for moment in ("turn of testpmd", "search", "alone"))])
def test_stopped_at_any_time(tmp_path, begin, number, moment):
    """All that it started is ended, what was measured is kept and marked."""
    if "testpmd" in moment and not shutil.which("dpdk-testpmd"):
        pytest.skip("skipped: dpdk-testpmd is not installed")
    words, said = MOMENTS_OF_A_RUN[moment]
    running = begin(tmp_path / "a.json", *words)
    running.wait_said(said)
    if moment in ("start", "alone"):
        time.sleep(0.3)
    begun = descendants(running.pid)
    running.signal(number)
    status, result = running.end()
    assert status == 130
    assert result["partial"] and result["reason"] == f"it was stopped by {number.name}"
    assert f"it was stopped by {number.name}; what was measured is kept" in running.said
    assert moment in ("start", "alone") or begun and result["trials"]
    assert not [pid for pid in begun.values() if os.path.exists(f"/proc/{pid}")]


@pytest.mark.parametrize("words, status, sentence", [
    (("run", "--size", "59"), 2, "sizes are numbers from 60 to 9600"),
    (("run", "--flows", "3"), 2, "1, or an even number; 3 is neither"),
    (("run", "--scenario", "x"), 2, "there is no scenario x; there are v2v, x2x"),
    (("run", "--peers", "x"), 2, "there is no peer x; there are testpmd"),
    (("run", "--rounds", "0"), 2, "a number from 1 on, not \"0\""),
    (("run", "--worker-cpu", "0"), 1, "two different CPUs of [0, 1"),
    (("run", "--guest-cpu", "999"), 1, "--guest-cpu 999 is none of the CPUs [0"),
    (("run", "--build", "/no"), 1, "is not in /no/bin; build it, or name a build folder"),
    (("run", "--before", "/no"), 1, "straitd is not in /no/bin"),
    (("run", "--all", "--scenario", "v2v"), 1, "--all and --scenario exclude each other"),
    (("run", "--before", "x", "--without-strait"), 1, "it excludes --without-strait"),
    (("run", "--without-strait", "--peers", "none"), 1, "there is no switch to measure"),
    (("report", "/no"), 1, "report needs -o FILE, --markdown FILE or both"),
    (("report", "/no", "-o", "x"), 1, "/no cannot be read"),
    (("compare", "/no", "/no"), 1, "/no cannot be read"),
    ((), 2, "required: COMMAND"),
])
def test_says_what_is_wrong(words, status, sentence):
    done = bench(*words)
    assert done.returncode == status
    lines = done.stderr.splitlines()
    assert sentence in lines[-1], done.stderr
    assert "Traceback" not in done.stderr
    assert status == 1 or len(lines) == 1


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_measured():
    done = bench("run", "--json", "/no/where.json", "--scenario", "x2x", *SMALL, "--peers", "none")
    assert done.returncode == 1 and "results go to" not in done.stderr
    assert done.stderr.splitlines()[-1] == \
        "strait-bench: /no/where.json cannot be written: No such file or directory"


def test_huge_pages_are_used_where_enough_are_free(tmp_path):
    """What does not want them says so; what has too few goes on without, and says that."""
    enough = free_huge_mib() >= session.HUGE_MIB_EACH
    words = [word for word in SMALL if word != "--no-huge"]
    for more, huge in (((), enough), (("--no-huge",), False)):
        result, done = measured(tmp_path, "--scenario", "v2v", *words, *more, "--peers", "none")
        assert rates(result)["strait"] > 0.001
        assert result["settings"]["huge_pages"] is huge
        assert ("No huge pages: every switch has more misses" in done.stderr) is not huge


def test_peers_are_installed_and_their_services_are_not_begun(tmp_path, monkeypatch):
    policy, log, program = (tmp_path / name for name in ("policy-rc.d", "log", "apt-get"))
    program.write_text(f"""#!/bin/sh
{policy}
echo "$? $DEBIAN_FRONTEND $*" >> {log}
[ "$1" != "$FAILS" ] || {{ echo "there is no such package" >&2; exit 100; }}
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(session, "POLICY", policy)

    class Missing(Strait):
        packages = ("one", "two")

        @classmethod
        def missing(cls):
            return "it is not installed"

    monkeypatch.setattr(session, "PEERS", {"found": Strait, "missing": Missing})
    session._install(["found"])
    assert not log.exists()
    session._install(["found", "missing"])
    assert log.read_text().splitlines() == [
        "101 noninteractive update -qq",
        "101 noninteractive install -y -qq --no-install-recommends one two"]
    monkeypatch.setenv("FAILS", "install")
    with pytest.raises(BenchError, match="apt-get install failed: there is no such package"):
        session._install(["missing"])
    assert not policy.exists()
    monkeypatch.delenv("FAILS")
    policy.write_text("#!/bin/sh\nexit 0\n")  # the machine's own
    policy.chmod(0o755)
    session._install(["missing"])
    assert log.read_text().splitlines()[-1].startswith("0 ") and policy.exists()


def test_too_few_cpus():
    done = bench("run", cpus="0")
    assert done.returncode == 1
    assert done.stderr == ("strait-bench: two different CPUs of [0] are needed for --worker-cpu "
                           "and --generator-cpu\n")


# ---- what is made of results ----


def test_generator_and_list():
    assert "strait-generator --end-a END" in bench("gen", "--help").stdout
    assert bench("gen", "--frame", "3").returncode == 2
    listed = bench("list").stdout
    assert "v2v-conntrack-1k" in listed and "peer: Linux bridge, taps; found" in listed


def test_where_it_is_installed(tmp_path):
    """As cmake --install lays it out."""
    source = PROGRAM.parent
    (tmp_path / "share/strait/bench").mkdir(parents=True)
    for folder in ("bin", "sbin"):
        (tmp_path / folder).mkdir()
    shutil.copytree(source / "harness", tmp_path / "share/strait/bench/harness",
                    ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROGRAM, tmp_path / "bin")
    for program in parts.binaries().iterdir():
        if program.name.startswith("strait"):
            where = "sbin" if program.name == "straitd" else "bin"
            if program.name != PROGRAM.name:
                (tmp_path / where / program.name).symlink_to(program)
    env = {name: value for name, value in os.environ.items() if name != "STRAIT_BIN"}
    file = tmp_path / "a.json"
    done = subprocess.run([tmp_path / "bin/strait-bench", "run", "--scenario", "v2v", *SMALL,
                           "--peers", "none", "--json", file], env=env, text=True, timeout=120,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rates(json.loads(file.read_text()))["strait"] > 0.001
    done = subprocess.run([tmp_path / "bin/strait-bench", "gen", "--help"], env=env, text=True,
                          capture_output=True, check=False)
    assert "strait-generator --end-a END" in done.stdout, done.stderr


def test_compare(tmp_path):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, factor in zip(files, (1, 1.3)):
        rounds = [factor * (10 + 0.1 * i) for i in range(9)]
        file.write_text(json.dumps(document(rounds, [5 + 0.01 * i for i in range(9)])))
    done = bench("compare", *files)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "Strait / testpmd io" in line]
    assert len(lines) == 8 and all("better" in line for line in lines)
    assert "Mann-Whitney U" in done.stdout
    other = document()
    for trial in other["trials"]:
        trial["scenario"] = "x2x"
    files[1].write_text(json.dumps(other))
    done = bench("compare", *files)
    assert done.returncode == 1 and "nothing in common" in done.stderr


def full(folder):
    """A result with all that a page can have."""
    doc = document()
    for name, factor in (("testpmd", 1), ("strait", 2)):
        for number in range(3):
            doc["trials"].append({
                "scenario": "v2v", "size": 64, "flows": 1, "variant": "", "peer": name,
                "round": number, "measure": "rfc2544", "mpps": 9.0 * factor, "ndr_mpps": 5 * factor,
                "pdr_mpps": (8 + number / 10) * factor, "back_to_back": 300,
                "worker_denied": 0.0, "generator_denied": 0.0, "stolen": 0.0,
                **{f"p99_at_{load}": load / 10 for load in (10, 50, 90)},
                "latency": {load: {"p99": 5.0, "histogram": [[1.5, 50], [4.0, 40], [60.0, 10]]}
                            for load in ("10", "50", "90")}})
        doc["trials"] += [{
            "scenario": scenario, "size": 64, "flows": flows, "variant": "", "peer": name,
            "round": 0, "measure": "rate", "mpps": 7.0 * factor, "cycles": 90, "worker_denied": 0.0,
            "generator_denied": 0.0, "stolen": 0.0}
            for scenario, flows in (("v2v-macs", 1), ("v2v-rules", 10), ("v2v-rules", 10_000))]
    doc["trials"].append({"scenario": "p2p", "size": 64, "flows": 1, "variant": "", "peer":
                          "testpmd", "round": 0, "measure": "rate", "error": "it <died> & went"})
    for variant, cycles in (("", 60), ("x2x", 240)):
        doc["trials"].append({
            "scenario": "kvm-xen", "size": 64, "flows": 1, "variant": variant, "peer": "strait",
            "round": 0, "measure": "rate", "mpps": 9.0, "cycles": cycles, "worker_denied": 0.0,
            "generator_denied": 0.0, "stolen": 0.0})
    doc["stages"] = {"ring_split": {"64": {"cycles/packet": [46.0, 47.0]}},
                     "xen_ring": {"64": {"ring": [78.0], "segments": [2.0]}}}
    doc["alone"]["start"] = {"title": "start with 64 ports", "unit": "s", "values": [0.1, 0.2],
                             "value": 0.15, "target": "< 2", "verdict": "met"}
    file = folder / "full.json"
    file.write_text(json.dumps(doc))
    return file


def matplotlib_image():
    return pytest.importorskip("matplotlib.image",
                               reason="skipped: python3-matplotlib is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    matplotlib_image()
    folder = tmp_path_factory.mktemp("page")
    file = folder / "page.html"
    done = bench("report", full(folder), "-o", file, "--markdown", folder / "page.md")
    assert done.returncode == 0, done.stderr
    assert "| rate, Mpps |" in (folder / "page.md").read_text()
    return file


class Elements(html.parser.HTMLParser):
    """Finds elements that are not closed, and what a page would fetch or run."""

    EMPTY = {"meta", "link", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.ids, self.counts = [], [], [], {}

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in self.EMPTY:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name in ("src", "href", "xlink:href") and not value.startswith(("#", "data:")):
                self.wrong.append(f"{tag} fetches {value}")
            elif name.startswith("on") or tag == "script":
                self.wrong.append(f"{tag} runs something")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"{tag} is closed and was not open")


def test_page_needs_nothing_else(page):
    text = page.read_text()
    found = Elements()
    found.feed(text)
    assert not found.wrong and not found.open
    assert len(found.ids) == len(set(found.ids))
    # v2v: by flows for each size, by size, ratios, throughput, latencies; a rule a flow: by flows,
    # ratios; others; KVM and Xen.
    assert found.counts["svg"] == found.counts["figure"] == 10
    for words in ("What the figures say", "it &lt;died&gt; &amp; went", "Strait / it",
                  "left out: it is not installed", "start with 64 ports", "flows, both directions",
                  "v2v-rules, frames of 64 bytes: rate by number of flows",
                  "segments copied by grant", "Which of the two is faster is not said here"):
        assert words in text, words


@pytest.fixture(scope="module")
def browser():
    """The command of Chromium, the machine's own or one that is unpacked for tests."""
    for name in ("chromium", "chromium-headless-shell"):
        if shutil.which(name):
            return [name]
    try:
        return parts.assets().chromium
    except parts.Unavailable as reason:
        pytest.skip(f"skipped: {reason}")


def opened(browser, page, folder, *words):
    """What comes of the page in a browser, without a word on its console."""
    done = subprocess.run(
        [*browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={folder}/profile", "--enable-logging=stderr", "--v=0", *words,
         f"file://{page}"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stderr


def test_page_in_a_browser(browser, page, tmp_path):
    """Its plots are there, in Strait's colour, and there is nothing beside its margins."""
    file = tmp_path / "page.png"
    opened(browser, page, tmp_path, "--window-size=1100,9000", f"--screenshot={file}")
    picture = matplotlib_image().imread(file)[::2, ::2, :3]
    assert picture.shape[:2] == (4500, 550)
    of_strait = abs(picture - [0, 0x72 / 255, 0xb2 / 255]).max(axis=2) < 0.01
    assert of_strait.sum() > 1000
    assert (picture[:, :10] == 1).all() and (picture[:, -10:] == 1).all()
    assert (picture[-10:] == 1).all()  # the window held all of it


def test_page_on_paper(browser, page, tmp_path):
    """A4, and no more sheets than what there is to see."""
    file = tmp_path / "page.pdf"
    opened(browser, page, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={file}")
    written = file.read_bytes()
    boxes = re.findall(rb"/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)\s*\]", written)
    assert boxes and {(round(float(wide)), round(float(high))) for wide, high in boxes} == \
        {(595, 842)}
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", written)) <= 12
