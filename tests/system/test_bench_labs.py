# SPDX-License-Identifier: BSD-3-Clause
"""strait-bench hypervisors --labs: what is made of what real guests came to, machines that hang,
what cannot be had; and once, for real, both machines with their guests."""

import copy
import shutil

import pytest

import lab as parts
from test_bench import PROGRAM, SHORT, _nothing_is_left, _two_cpus, bench
from test_bench_arithmetic import document

# pylint: disable=wrong-import-order
from harness import hypervisors, labs, page, results
from harness.machine import BenchError, Programs
from harness.peers.base import Settings

__all__ = ["_nothing_is_left", "_two_cpus"]  # fixtures


def traffic(per_second, frame=1514.0, busy=300, packets=10):
    return {"per_second": per_second, "frame_bytes": frame, "busy_cycles": busy,
            "idle_cycles": 500, "asleep_cycles": 200, "iterations": 7, "rx_packets": packets,
            "tx_packets": packets}


def trials(rounds=3, factor=1.0):
    """Streams that are twice as fast with all left, and slower with each round."""
    return [{"round": number, "offloads": offloads,
             "stream": traffic(factor * rate / (1 + number), frame),
             "requests": traffic(factor * 1000)}
            for number in range(rounds)
            for offloads, rate, frame in (("all left", 8e6, 40000.0), ("checksums left", 4e6, 1514),
                                          ("none left", 2e6, 1514))]


def kept(**told):
    doc = document(labs=told)
    return doc, list(hypervisors.parts(doc, results.Results(doc["trials"])))


def table(part):
    _, _, head, rows = part
    return {row[:2]: dict(zip(head[2:], row[2:])) for row in rows}


def test_figures_of_a_machine_stand_in_a_table_of_their_own():
    _, found = kept(kvm={"trials": trials()}, xen={"trials": trials(factor=0.1)})
    kvm, xen = [one for one in found if "real guests" in one[0]]
    assert "KVM's, under emulation" in kvm[0] and "Xen's, under emulation" in xen[0]
    for part in (kvm, xen):
        assert "no figure here is a host's" in part[1]
        assert "their ratio compares two emulations" in part[1]
    rows = table(kvm)
    # Rounds are slower one after the other, all alike: that falls out of the ratios.
    assert rows["TCP stream, MB/s", "all left"]["value"] == "4.00 [3.33-6.00]"
    assert rows["TCP stream, MB/s", "all left"]["bytes a frame sent"] == "40000"
    assert rows["TCP stream, MB/s", "none left"]["/ all left"] == "0.25"
    assert rows["TCP stream, MB/s", "checksums left"]["/ all left"] == "0.50"
    assert rows["TCP stream, MB/s", "none left"]["worker's TSC/packet, waits included"] == "30"
    assert rows["TCP stream, MB/s", "none left"]["worker busy, %"] == "30.0"
    assert rows["requests and answers of a byte, a second", "none left"]["/ all left"] == "1.00"
    assert table(xen)["TCP stream, MB/s", "all left"]["value"] == "0.40 [0.33-0.60]"


def test_what_was_not_measured_is_said():
    doc, found = kept(kvm={"trials": trials(1), "error": "it hung"},
                      xen={"trials": [], "error": "qperf is not installed"})
    kvm, xen = [one for one in found if "real guests" in one[0]]
    assert kvm[1].startswith("Not whole: it hung. ") and kvm[3]
    assert xen[1] == "Not measured: qperf is not installed" and not xen[3]
    assert "Not measured: qperf is not installed" in \
        hypervisors.markdown(doc, results.Results(doc["trials"]))


def test_it_stands_on_the_page(tmp_path):
    pytest.importorskip("matplotlib", reason="skipped: python3-matplotlib is not installed")
    doc, _ = kept(kvm={"trials": trials()}, xen={"trials": trials()})
    text = page.render(doc)
    for words in ("KVM and Xen: real guests, KVM&#x27;s, under emulation", "40000",
                  "ratio compares two emulations", "is no host&#x27;s"):
        assert words in text, words
    file = tmp_path / "a.json"
    results.write(doc, file)
    done = bench("report", file, "--markdown", "-")
    assert done.returncode == 0, done.stderr
    assert "| TCP stream, MB/s | none left | 1.00 [0.83-1.50] | 0.25 |" in done.stdout


@pytest.mark.parametrize("change", [
    lambda told: told.update(kvm=[]), lambda told: told.update(vmware={"trials": []}),
    lambda told: told["kvm"].pop("trials"), lambda told: told["kvm"].update(error=""),
    lambda told: told["kvm"]["trials"][0].update(offloads="some"),
    lambda told: told["kvm"]["trials"][0].update(offloads=["all left"]),
    lambda told: told["kvm"]["trials"][0].update(round="1"),
    lambda told: told["kvm"]["trials"][0].pop("requests"),
    lambda told: told["kvm"]["trials"][0]["stream"].update(per_second=0),
    lambda told: told["kvm"]["trials"][0]["stream"].update(busy_cycles=-1),
    lambda told: told["kvm"]["trials"][0]["stream"].update(tx_packets=float("inf"))])
def test_values_that_are_none(tmp_path, change):
    told = {"kvm": {"trials": trials()}}
    file = tmp_path / "a.json"
    results.write(document(labs=told), file)
    assert results.read(file)["labs"] == told
    bad = copy.deepcopy(told)
    change(bad)
    results.write(document(labs=bad), file)
    with pytest.raises(BenchError, match="has no \"labs\" as strait-bench writes them"):
        results.read(file)


# ---- machines ----


class Said:
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    detail = say


def measured(monkeypatch, runs):
    """What comes of machines of which each adds some trials, and then hangs, or does not."""
    settings = Settings(1, 0, False, Programs([parts.binaries()]))
    remaining = list(runs)

    def rounds(_lab, _kind, _again, _rounds, to, _progress, _keep):
        count, error = remaining.pop(0)
        to += trials(9)[len(to):len(to) + count]
        if error:
            raise error

    monkeypatch.setattr(labs, "_rounds", rounds)
    told, said = {}, Said()
    labs.measure("kvm", settings, 3, told, said, lambda: None)
    assert not remaining
    return told, said.lines


def test_a_machine_that_hangs_is_begun_anew_once(monkeypatch):
    hung = parts.LabError("vm1 did not answer within 20 s:\n\x1b[0m its console.")
    told, said = measured(monkeypatch, [(4, hung), (6, None)])
    # Of its second round there was one turn, which is made again with the rest of it.
    assert told == {"trials": trials(3)}
    assert len(said) == 1 and said[0].startswith("a new machine, because of vm1 did not answer")
    told, said = measured(monkeypatch, [(4, hung), (2, hung)])
    assert told == {"trials": trials(1),
                    "error": "vm1 did not answer within 20 s: [0m its console"}
    labs.check({"kvm": told}, "this")
    told, said = measured(monkeypatch, [(0, parts.Unavailable("qemu is not installed"))])
    assert told == {"trials": [], "error": "qemu is not installed"} and not said


def test_without_qperf_it_says_so(monkeypatch):
    which = shutil.which
    monkeypatch.setattr(shutil, "which",
                        lambda name, *rest: None if name == "qperf" else which(name, *rest))
    settings = Settings(1, 0, False, Programs([parts.binaries()]))
    for kind in labs.KINDS:
        told = {}
        labs.measure(kind, settings, 1, told, Said(), lambda: None)
        assert told == {"trials": [],
                        "error": "qperf is not installed (apt-get install qperf)"}


def test_it_needs_the_source_tree(tmp_path):
    shutil.copytree(PROGRAM.parent / "harness", tmp_path / "share/strait/bench/harness",
                    ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bin").mkdir()
    shutil.copy(PROGRAM, tmp_path / "bin")
    done = bench("hypervisors", "--labs", "--json", tmp_path / "a.json",
                 program=tmp_path / "bin/strait-bench")
    assert done.returncode == 1 and not (tmp_path / "a.json").exists()
    assert done.stderr == ("strait-bench: --labs needs Strait's source tree: the emulated machines "
                           "are its tests/system/lab\n")


@pytest.mark.busy
@pytest.mark.soak
def test_real_guests_of_both(tmp_path):
    for program in ("qemu-system-x86_64", "qperf", "ethtool"):
        if not shutil.which(program):
            pytest.skip(f"skipped: {program} is not installed")
    if not (parts.binaries() / "strait-vmm").exists():
        pytest.skip(f"skipped: {parts.binaries() / 'strait-vmm'} was not built")
    file = tmp_path / "a.json"
    done = bench("hypervisors", *SHORT, "--size", "64", "--labs", "--verbose", "--json", file,
                 "--markdown", tmp_path / "a.md", timeout=1500)
    assert done.returncode == 0, done.stderr
    print(done.stderr[-6000:], (tmp_path / "a.md").read_text())
    told = results.read(file)["labs"]
    assert set(told) == set(labs.KINDS)
    for kind, one in told.items():
        assert "error" not in one, (kind, one)
        found = {trial["offloads"]: trial for trial in one["trials"]}
        assert set(found) == set(labs.OFFLOADS)
        for name, trial in found.items():
            stream, requests = trial["stream"], trial["requests"]
            assert stream["per_second"] > 1e5 and requests["per_second"] > 10, trial
            assert stream["busy_cycles"] > 0 and requests["tx_packets"] > 10
            # What is left to be cut goes in frames longer than any other.
            assert (stream["frame_bytes"] > 1514) == (name == "all left"), (kind, trial)
    text = (tmp_path / "a.md").read_text()
    assert "real guests, KVM's, under emulation" in text
