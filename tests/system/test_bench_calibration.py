# SPDX-License-Identifier: BSD-3-Clause
"""strait-bench hypervisors with costs of real hypervisors: what follows from costs that are known,
files that are none, the page with and without them, and strait-calibrate itself as far as this
machine goes. Of a real KVM and a real Xen: kvm/test_calibrate.py, xen/test_calibrate.py."""

import contextlib
import copy
import json
import os
import signal
import stat
import subprocess

import pytest

import lab as parts
from test_bench import PROGRAM, SHORT, _two_cpus, bench, descendants, environment, of_few
from test_bench_arithmetic import document

# pylint: disable=wrong-import-order
from harness import calibration, hypervisors, page, results
from harness.machine import BenchError

__all__ = ["_two_cpus"]  # a fixture

KVM = {"ioeventfd_mmio": 1500.0, "ioeventfd_pio": 1200.0, "irqfd_write_running": 640.0,
       "irqfd_handled_running": 2000.0, "irqfd_write_halted": 3000.0,
       "irqfd_handled_halted": 9000.0}
XEN = {"call": 200.0, "hypercall": 800.0, "segment": 500.0, "across": 400.0, "byte": 0.25,
       "notify_polling": 960.0, "event_polling": 4000.0, "notify_sleeping": 900.0,
       "event_sleeping": 20000.0}
ON_HARDWARE = "bfebfbff:77faf3ff:2c100800:00000121"
VIRTUAL = "1fcbf3fd:f6d8320b:ec500800:00000077"
# The worker's cycles of a packet of 64 bytes with these: rings, lookup, 2 segments in 1/32 calls,
# 1/8 hypercalls, 128 bytes, 1/32 notifications.
KVM_64 = 47 + 13 + 640 / 32
XEN_64 = 77 + 13 + 200 / 32 + 800 / 8 + 2 * 500 + 128 * 0.25 + 960 / 32


def copies(costs, rounds):
    return [{"both": both, "segments": count, "length": length, "cycles": [
        (costs["call"] + -(-count // 16) * costs["hypercall"] + count *
         (costs["across"] if both else costs["segment"]) + count * length * costs["byte"])
        for _ in range(rounds)]}
            for both in (False, True) for count in (1, 2, 8, 16, 32, 64)
            for length in (64, 256, 1024, 4096)]


def calibrated(kvm=None, xen=None, virtual=False, flags=ON_HARDWARE, rounds=5):
    """As strait-calibrate prints it, of a host with these costs."""
    made = {"format": calibration.FORMAT,
            "machine": {"cpu": "a CPU", "kernel": "Linux 6.1", "virtual": virtual,
                        "tsc_hz": 2e9, "worker_cpu": 1, "other_cpu": 0},
            "kvm": {"missing": "/dev/kvm cannot be opened"},
            "xen": {"missing": "this is no Xen domain"}}
    if kvm:
        made["kvm"] = {"facts": {"module": "kvm_intel", "apicv": "Y", "avic": None,
                                 "halt_poll_ns": "200000"},
                       "cycles": {key: [value] * rounds for key, value in kvm.items()}}
    if xen:
        made["xen"] = {"facts": {"major": "4", "minor": "17", "kind": "PV", "host_flags": flags},
                       "cycles": {key: [value] * rounds for key, value in xen.items()
                                  if key not in calibration.FITTED},
                       "copies": copies(xen, rounds)}
    return made


def written(folder, name, content):
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def staged(rounds=5, **more):
    """A result of strait-bench hypervisors."""
    stages = {
        "ring_split": {"64": {"cycles/packet": 47.0}, "1500": {"cycles/packet": 136.0}},
        "xen_ring": {
            "64": {"ring": 77.0, "lookup": 13.0, "segments": 2.0, "across": 0.0, "bytes": 128.0,
                   "calls": 1 / 32, "hypercalls": 1 / 8, "notifications": 1 / 32},
            "1500": {"ring": 90.0, "lookup": 14.0, "segments": 3.0, "across": 1.0, "bytes": 1628.0,
                     "calls": 1 / 32, "hypercalls": 0.22, "notifications": 1 / 32}}}
    made = document(stages={name: {size: {key: [value] * rounds for key, value in one.items()}
                                   for size, one in sizes.items()}
                            for name, sizes in stages.items()}, **more)
    made["machine"]["tsc_hz"] = 2e9
    made["trials"].append({
        "scenario": "kvm-xen", "size": 64, "flows": 1, "variant": "", "peer": "strait", "round": 0,
        "measure": "rate", "mpps": 9.0, "cycles": 60, "worker_denied": 0.0,
        "generator_denied": 0.0, "stolen": 0.0})
    return made


def said(doc):
    """Of the parts, and of what is left to the reader."""
    found = list(hypervisors.parts(doc, results.Results(doc["trials"])))
    return found, hypervisors.markdown(doc, results.Results(doc["trials"]))


# ---- what follows ----


def test_fit_finds_the_costs_of_each_round():
    slow = {key: 3 * value for key, value in XEN.items()}
    both = [{**one, "cycles": one["cycles"] + other["cycles"]}
            for one, other in zip(copies(XEN, 1), copies(slow, 1))]
    found = calibration.fit(both, [XEN["call"], slow["call"]])
    for key in calibration.FITTED:
        assert found[key] == pytest.approx([XEN[key], slow[key]])
    one = calibrated(xen=XEN)
    assert calibration.misfit(one) == pytest.approx(0, abs=1e-9)
    assert calibration.costs(one, "xen") == {key: pytest.approx([value] * 5)
                                             for key, value in XEN.items()}


@pytest.mark.parametrize("one, kind, why", [
    (calibrated(kvm=KVM), "kvm", None),
    (calibrated(kvm=KVM, virtual=True), "kvm", "the machine that KVM runs on is virtual itself"),
    # Any domain says that it is virtual: what counts is what Xen sees.
    (calibrated(xen=XEN, virtual=True), "xen", None),
    (calibrated(xen=XEN, flags=VIRTUAL), "xen", "the machine that Xen runs on is virtual itself"),
    (calibrated(xen=XEN, flags=None), "xen", "is not known"),
    (calibrated(xen=XEN, flags="x:y"), "xen", "is not known")])
def test_what_is_hardware(one, kind, why):
    found = calibration.not_hardware(one, kind)
    assert found is None if why is None else why in found


def test_kvm_without_virtualisation_is_no_hardware():
    one = calibrated(kvm=KVM)
    one["kvm"]["facts"]["module"] = "neither"
    assert "neither Intel's nor AMD's" in calibration.not_hardware(one, "kvm")


def test_hardware_is_chosen_before_others():
    emulated, real = calibrated(kvm=KVM, virtual=True), calibrated(kvm=KVM)
    assert calibration.chosen([emulated, real], "kvm") is real
    assert calibration.chosen([emulated], "kvm") is emulated
    assert calibration.chosen([emulated, real], "xen") is None


# ---- the page ----


def test_without_calibration_no_winner_is_named():
    found, text = said(staged())
    assert not [one for one in found if "costs" in one[0]]
    assert "Which of the two is faster is not said here" in text
    assert "- a kick of a KVM guest" in text and "- a grant copy: its system call" in text
    assert "faster one" not in text


@pytest.mark.parametrize("kvm, xen, lacking", [
    ({"virtual": True}, {}, "KVM"), ({}, {"flags": VIRTUAL}, "Xen"), ({}, None, "Xen"),
    ({"virtual": True}, {"flags": VIRTUAL}, "KVM and of Xen")])
def test_no_winner_without_hardware_of_both(kvm, xen, lacking):
    found = [{**calibrated(kvm=KVM, **kvm), "of": "kvm.json"}]
    if xen is not None:
        found.append({**calibrated(xen=XEN, **xen), "of": "xen.json"})
    _, text = said(staged(calibrations=found))
    assert f"there are no costs of {lacking} from hardware" in text
    assert "These are no hardware's costs: " in text or xen is None
    assert "Which of the two is faster is not said here" in text and "faster one" not in text
    assert ("Not calibrated: this is no Xen domain." in text) == (xen is None)
    assert ("- a kick of a KVM guest" in text) == ("KVM" in lacking)
    assert ("- a grant copy: its system call" in text) == ("Xen" in lacking)


def both_hardware(**xen):
    return [{**calibrated(kvm=KVM), "of": "kvm.json"},
            {**calibrated(xen={**XEN, **xen}), "of": "xen.json"}]


def test_cycles_a_packet_with_costs_of_both():
    doc = staged(calibrations=both_hardware())
    found, text = said(doc)
    _, what, head, rows = found[-1]
    table = {row[0]: dict(zip(head[1:], row[1:])) for row in rows}
    assert table["all"]["KVM, 64 B"] == f"{KVM_64:.0f}"
    assert table["all"]["Xen, 64 B"] == f"{XEN_64:.0f}"
    assert table["segments"] == {"KVM, 64 B": "", "KVM, 1500 B": "", "Xen, 64 B": "1000",
                                 "Xen, 1500 B": "1400"}
    assert table["notifications"]["KVM, 64 B"] == "20"
    assert f"At 64 B Xen's packet takes {XEN_64 / KVM_64:.2f} times as many" in what
    assert "KVM's path is the faster one" in what and "which is virtual" in what
    assert "KVM's costs are kvm.json's (a CPU)." in what and "No winner" not in what
    assert "Which of the two is faster is not said" not in text
    assert "What the computed cycles leave out:" in text
    assert "- a kick of a KVM guest" not in text and "- copies of pages that no cache" in text


def test_a_xen_that_copies_for_nothing_is_the_faster_one():
    free = {key: 1e-6 for key in ("call", "hypercall", "segment", "across", "byte")}
    what = said(staged(calibrations=both_hardware(**free, notify_polling=1.0)))[0][-1][1]
    assert "At 1500 B Xen's packet takes 0." in what and "Xen's path is the faster one" in what


def test_a_spread_that_covers_both_tells_nothing_apart():
    found = both_hardware()
    found[0]["kvm"]["cycles"]["irqfd_write_running"] = [640.0, 640.0, 640.0, 640.0, 1e6]
    what = said(staged(calibrations=found))[0][-1][1]
    assert "At 64 B their spread does not tell them apart (" in what
    assert "faster one" not in what


def test_what_is_as_good_as_equal_is_no_difference():
    free = {key: 1e-6 for key in ("call", "hypercall", "segment", "across", "byte")}
    found = both_hardware(**free, notify_polling=1.0)
    for kick, words in ((960.0, "no difference, within 2 %"),
                        (990.0, "no difference, within 2 %"),
                        (1100.0, "Xen's path is the faster one")):
        found[0]["kvm"]["cycles"]["irqfd_write_running"] = [kick] * 5
        what = said(staged(calibrations=found))[0][-1][1]
        assert words in what.split("At 1500 B")[0], (kick, what)


def test_few_rounds_name_no_winner():
    for rounds, kvm, xen, words in (
            (1, 5, 5, "the rings' cycles and the counts are of 1 round, and at least 5 are needed"),
            (5, 4, 5, "KVM's costs are of 4 rounds, and"),
            (5, 5, 1, "Xen's costs are of 1 round, and"),
            (2, 3, 5, "KVM's costs are of 3 rounds and the rings' cycles and the counts are of 2")):
        doc = staged(rounds, calibrations=[
            {**calibrated(kvm=KVM, rounds=kvm), "of": "kvm.json"},
            {**calibrated(xen=XEN, rounds=xen), "of": "xen.json"}])
        found, text = said(doc)
        assert f"No winner is named: {words}" in found[-1][1] and found[-1][3]
        assert "is not said here, for the reasons above" in text and "faster one" not in text


def test_of_few_rounds_all_are_the_bounds():
    """Quartiles would leave out the one that says the contrary."""
    found = both_hardware()
    found[1]["xen"]["cycles"]["notify_polling"] = [960.0] * 4 + [96000.0]
    table = {row[0]: row[1:] for row in said(staged(calibrations=found))[0][-1][3]}
    assert table["notifications"][2] == "30 [30-3000]"


def test_a_fit_that_does_not_fit_names_no_winner():
    found = both_hardware()
    for number, one in enumerate(found[1]["xen"]["copies"]):
        one["cycles"] = [value * (3 if number % 3 else 1) for value in one["cycles"]]
    calibration.check(found[1], "this")
    assert calibration.misfit(found[1]) > calibration.MISFIT
    parts_of_it, text = said(staged(calibrations=found))
    assert "from what their fit says, and more than 25 % are too many" in parts_of_it[-1][1]
    assert "No winner is named" in text and "faster one" not in text


@pytest.mark.parametrize("change, words", [
    (lambda doc: doc["calibrations"][1]["machine"].update(cpu="a slow CPU"), "of a slow CPU, TSC"),
    (lambda doc: doc["calibrations"][0]["machine"].update(tsc_hz=2.1e9), "TSC of 2100 MHz"),
    (lambda doc: doc["machine"].update(tsc_hz=1e9), "the rings' cycles are of a CPU, TSC of 1000 "),
    (lambda doc: doc["machine"].update(cpu="another"), "the rings' cycles are of another, "),
    (lambda doc: doc["machine"].pop("tsc_hz"), "of a CPU, its TSC is not known")])
def test_unlike_hosts_name_no_winner(change, words):
    doc = staged(calibrations=both_hardware())
    change(doc)
    found, text = said(doc)
    assert "No winner is named: hosts differ, " in found[-1][1] and words in found[-1][1]
    assert found[-1][3] and "faster one" not in text


def test_clocks_of_like_hosts_are_not_quite_the_same():
    doc = staged(calibrations=both_hardware())
    doc["calibrations"][0]["machine"]["tsc_hz"] = 2.01e9
    assert "faster one" in said(doc)[1]
    # Where the rings do not say, this host's own costs do.
    del doc["machine"]["tsc_hz"]
    doc["calibrations"][1]["of"] = calibration.HERE
    assert "faster one" in said(doc)[1]


def test_rings_that_take_nothing_are_not_priced():
    doc = staged(calibrations=both_hardware())
    for name, key in (("ring_split", "cycles/packet"), ("xen_ring", "ring")):
        for size in ("64", "1500"):
            doc["stages"][name][size][key] = [0.0] * 5
    assert "Not computed: the rings' cycles" in said(doc)[1]


def test_counts_of_an_earlier_version_are_not_priced():
    doc = staged(calibrations=both_hardware())
    for size in ("64", "1500"):
        del doc["stages"]["xen_ring"][size]["calls"]
    _, text = said(doc)
    assert "Not computed: the rings' cycles or the counts are not there." in text
    assert "Which of the two is faster is not said here, because the rings' cycles" in text
    assert "only hardware can say" not in text


def test_page_and_markdown(tmp_path):
    pytest.importorskip("matplotlib", reason="skipped: python3-matplotlib is not installed")
    doc = staged(calibrations=both_hardware())
    text = page.render(doc)
    for words in ("what KVM costs on kvm.json", "a byte of a segment", "0.250", "0.125",
                  "cycles a packet with these costs",
                  "posted interrupts (APICv, AVIC) on", "Xen 4.17"):
        assert words in text, words
    file = written(tmp_path, "a.json", doc)
    done = bench("report", file, "-o", tmp_path / "a.html", "--markdown", tmp_path / "a.md")
    assert done.returncode == 0, done.stderr
    assert "| a byte of a segment | 0.250 | 0.125 |" in (tmp_path / "a.md").read_text()
    # What was stopped before the stages shows the costs all the same.
    del doc["stages"]
    assert "what Xen costs on xen.json" in page.render(doc)


# ---- files ----


def changed(change, **named):
    made = calibrated(**(named or {"kvm": KVM, "xen": XEN}))
    change(made)
    return made


def without_cycles(made):
    made["kvm"]["cycles"]["ioeventfd_pio"] = []


def with_other_rounds(made):
    made["xen"]["copies"][3]["cycles"].append(1.0)


def with_one_size(made):
    made["xen"]["copies"] = made["xen"]["copies"][:1]


def with_copies(cycles, **more):
    def change(made):
        for one in made["xen"]["copies"]:
            one["cycles"] = [cycles(one["segments"])] * 5
        made["xen"]["cycles"].update(more)
    return changed(change)


def of_machine(**values):
    return changed(lambda made: made["machine"].update(values))


def of_kvm(value):
    return changed(lambda made: made["kvm"]["cycles"].update(ioeventfd_pio=[value] * 5))


BAD = {
    "copies cheaper than a call": (with_copies(lambda _: 50, call=[4000] * 5),
                                   "cycles in round 1, which nothing can"),
    "copies cheaper by the dozen": (with_copies(lambda segments: 1e5 / segments),
                                    "cycles in round 1, which nothing can"),
    "copies of no time": (with_copies(lambda _: 1e-200), "\"xen\" lacks cycles"),
    "copies of most of time": (with_copies(lambda _: 10 ** 400), "\"xen\" lacks cycles"),
    "infinite": (of_kvm(float("inf")), "\"kvm\" lacks cycles"),
    "true": (of_kvm(True), "\"kvm\" lacks cycles"),
    "true segments": (changed(lambda made: made["xen"]["copies"][0].update(segments=True)),
                      "its grant copies are not told"),
    "a clock beyond all": (of_machine(tsc_hz=10 ** 400), "its \"machine\" lacks"),
    "a clock that is true": (of_machine(tsc_hz=True), "its \"machine\" lacks"),
    "half a character": (of_machine(cpu="\ud800"), "its \"machine\" lacks"),
    "two lines": (of_machine(kernel="a\nb"), "its \"machine\" lacks"),
    "a fact of half a character": (changed(lambda made: made["kvm"]["facts"].update(
        apicv="\ud800")), "a fact of \"kvm\" is no text"),
    "missing and there": (changed(lambda made: made["kvm"].update(missing=None)),
                          "\"kvm\" is \"missing\" without a reason, or beside figures"),
    "missing for no reason": (changed(lambda made: made["xen"].update(missing=""), kvm=KVM),
                              "\"xen\" is \"missing\" without a reason"),
    "not JSON": ("{", "is not JSON: "),
    "not even a document": ("[1]", "is no calibration; \"format\" would be "
                                   "\"strait-calibrate 1\""),
    "another's": (document(), "is no calibration; "),
    "a version of two lines": ({"format": "strait-calibrate 1\n"}, ", \"strait-calibrate 1\\n\"; "),
    "another version": ({"format": "strait-calibrate 2"},
                        "is of another version, \"strait-calibrate 2\"; this one reads "),
    "no machine": (changed(lambda made: made.pop("machine")), "its \"machine\" lacks one of cpu"),
    "no Xen": (changed(lambda made: made.pop("xen")), "it has no \"kvm\" or no \"xen\""),
    "nothing": (calibrated(), "nothing was calibrated"),
    "no cycles": (changed(without_cycles), "\"kvm\" lacks cycles of something"),
    "other rounds": (changed(with_other_rounds), "\"xen\" lacks cycles of something"),
    "no copies": (changed(lambda made: made["xen"].pop("copies")), "its grant copies are not told"),
    "one size": (changed(with_one_size), "too alike to tell a segment from a byte"),
    "copies of another kind": (changed(lambda made: made["xen"].update(copies={"a": 1})),
                               "its grant copies are not told"),
    "facts of another kind": (changed(lambda made: made["kvm"]["facts"].update(apicv=[1])),
                              "a fact of \"kvm\" is no text"),
    "no clock": (changed(lambda made: made["machine"].update(tsc_hz=float("nan"))),
                 "its \"machine\" lacks"),
    "negative": (changed(lambda made: made["kvm"]["cycles"].update(ioeventfd_pio=[-1.0] * 3)),
                 "\"kvm\" lacks cycles"),
    "not a number": (changed(lambda made: made["kvm"]["cycles"].update(ioeventfd_pio=["1"] * 3)),
                     "\"kvm\" lacks cycles")}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    content, sentence = BAD[name]
    with pytest.raises(BenchError) as error:
        calibration.read(written(tmp_path, "bad.json", content))
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_bad_file_ends_it_before_anything_is_measured(tmp_path):
    for file in (written(tmp_path, "bad.json", {"format": "strait-calibrate 9"}), "/no"):
        done = bench("hypervisors", *SHORT, "--calibration", file, "--json", tmp_path / "a.json")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"strait-bench: {file} ")
        assert not (tmp_path / "a.json").exists()


def test_a_result_is_read_as_a_calibration_and_checked(tmp_path):
    doc = staged(calibrations=[{**calibrated(kvm=KVM), "of": calibration.HERE},
                               {**calibrated(xen=XEN), "of": "xen.json"}])
    file = written(tmp_path, "result.json", doc)
    assert [one["of"] for one in calibration.read(file)] == [file, f"{file}, xen.json"]
    assert results.read(file)["calibrations"] == doc["calibrations"]
    for change in (lambda bad: bad["calibrations"][0].pop("of"),
                   lambda bad: bad["calibrations"][0].update(of="\ud800"),
                   lambda bad: bad.update(calibrations=1)):
        bad = copy.deepcopy(doc)
        change(bad)
        with pytest.raises(BenchError, match="calibration"):
            results.read(written(tmp_path, "bad.json", bad))
    bad = copy.deepcopy(doc)
    del bad["calibrations"][1]["xen"]["cycles"]["call"]
    for reader in (calibration.read, results.read):
        with pytest.raises(BenchError, match="is no whole calibration"):
            reader(written(tmp_path, "bad.json", bad))


@pytest.mark.parametrize("change, sentence", [
    (lambda bad: bad.update(machine={}), "its \"machine\" has no right \"cpu\""),
    (lambda bad: bad["machine"].update(virtual=None), "has no right \"virtual\""),
    (lambda bad: bad["machine"].update(tsc_hz=0), "has no right \"tsc_hz\""),
    (lambda bad: bad["machine"].update(mhz={"0": "x"}), "has no right \"mhz\""),
    (lambda bad: bad["machine"].update(huge_pages=[1]), "has no right \"huge_pages\""),
    (lambda bad: bad["machine"].update(meanwhile={"0": 1}), "has no right \"meanwhile\""),
    *((lambda bad, stages=stages: bad.update(stages=stages), "has no \"stages\" as")
      for stages in ([], None, {"error": 1}, {"xen_ring": []}, {"xen_ring": {"64": []}},
                     {"xen_ring": {"64": {"ring": 1.0}}}, {"xen_ring": {"64": {"ring": ["1"]}}},
                     {"xen_ring": {"64": {"ring": [-1.0]}}},
                     {"xen_ring": {"64": {"ring": [float("inf")]}}}))])
def test_a_result_of_other_values(tmp_path, change, sentence):
    doc = staged(calibrations=both_hardware())
    change(doc)
    file = written(tmp_path, "a.json", doc)
    done = bench("report", file, "--markdown", "-")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr and not done.stdout


def test_a_result_with_words_that_no_text_can_hold(tmp_path):
    file = tmp_path / "a.json"
    results.write(document(command=["\udcff"]), file)
    assert results.read(file)["command"] == ["\udcff"] and list(tmp_path.iterdir()) == [file]
    odd = os.fsencode(tmp_path) + b"/\xff.json"
    with open(odd, "w", encoding="utf-8") as out:
        json.dump(calibrated(kvm=KVM), out)
    one, = calibration.read(os.fsdecode(odd))
    assert one["of"].endswith("/\\udcff.json")
    with pytest.raises(BenchError, match="cannot be written: Not a directory"):
        results.write(document(), file / "a.json")


# ---- the program, by strait-bench and alone ----


def with_program(tmp_path, script):
    """Strait's programs, and another strait-calibrate."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in parts.binaries().iterdir():
        if program.name.startswith("strait") and program.name != "strait-calibrate":
            (folder / program.name).symlink_to(program)
    program = folder / "strait-calibrate"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return environment(STRAIT_BIN=str(folder))


@pytest.mark.busy
def test_a_run_with_calibrations(tmp_path):
    """This host's and another's: in the result, the table, the page and Markdown."""
    if not (parts.binaries() / "strait-micro").exists():
        pytest.skip(f"skipped: {parts.binaries() / 'strait-micro'} was not built")
    own = written(tmp_path, "own.json", calibrated(kvm=KVM))
    other = written(tmp_path, "xen.json", calibrated(xen=XEN))
    env = with_program(tmp_path, f"[ \"$*\" = '--cpu 1 --other-cpu 0 --rounds 1' ] && cat {own}")
    done = bench("hypervisors", *SHORT, "--size", "64", "--calibrate", "--calibration", other,
                 "--json", tmp_path / "a.json", "--markdown", tmp_path / "a.md", env=env,
                 program=PROGRAM if "STRAIT_SOAK" in os.environ else of_few(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Xen was not calibrated: this is no Xen domain" in done.stderr
    result = json.loads((tmp_path / "a.json").read_text())
    assert [one["of"] for one in result["calibrations"]] == ["this host", other]
    assert not [one for one in result["trials"] if "error" in one]
    assert result["stages"]["xen_ring"]["64"]["across"] == [0]
    assert result["stages"]["xen_ring"]["1500"]["across"] == [1]
    for text in (done.stdout, (tmp_path / "a.md").read_text()):
        for words in ("what KVM costs on this host", f"what Xen costs on {other}",
                      "cycles a packet with these costs", "No winner is named: ",
                      "the rings' cycles and the counts are of 1 round",
                      "What the computed cycles leave out:"):
            assert words in text, words
    assert result["machine"]["tsc_hz"] is None or result["machine"]["tsc_hz"] > 1e6


@pytest.mark.parametrize("script, sentence", [
    ("echo 'strait-calibrate: nothing could be calibrated: KVM: x; Xen: y' >&2; exit 1",
     "strait-bench: nothing could be calibrated: KVM: x; Xen: y"),
    ("echo it works", "strait-calibrate said no JSON"),
    ("echo '{}'", "strait-calibrate is no calibration")])
def test_a_calibration_that_fails(tmp_path, script, sentence):
    done = bench("hypervisors", *SHORT, "--calibrate", "--json", tmp_path / "a.json",
                 env=with_program(tmp_path, script))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert sentence in done.stderr.splitlines()[-1]
    kept = results.read(tmp_path / "a.json")
    assert kept["partial"] and kept["reason"] in done.stderr.splitlines()[-1]


def test_a_place_that_cannot_be_written_to_is_known_before_it_calibrates(tmp_path):
    done = bench("hypervisors", *SHORT, "--calibrate", "--json", tmp_path / "no" / "a.json",
                 env=with_program(tmp_path, f"touch {tmp_path}/begun"))
    assert done.returncode == 1 and "cannot be written" in done.stderr
    assert not (tmp_path / "begun").exists()


@contextlib.contextmanager
def calibrating(tmp_path, script):
    """strait-bench, when it has begun to calibrate."""
    with subprocess.Popen([str(PROGRAM), "hypervisors", *SHORT, "--calibrate", "--json",
                           str(tmp_path / "a.json")], env=with_program(tmp_path, script),
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as child:
        try:
            for line in child.stderr:
                if "costs of this host's hypervisor" in line:
                    break
            else:
                pytest.fail("it ended and did not calibrate")
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_calibrates(tmp_path, number):
    with calibrating(tmp_path, "exec sleep 600") as child:
        parts.wait_until(lambda: descendants(child.pid).get("sleep"), 10, "strait-calibrate")
        pid = descendants(child.pid)["sleep"]
        child.send_signal(number)
        _, said_last = child.communicate(timeout=30)
    assert child.returncode == 130 and f"it was stopped by {number.name}" in said_last
    assert not os.path.exists(f"/proc/{pid}")
    assert results.read(tmp_path / "a.json")["reason"] == f"it was stopped by {number.name}"


@pytest.mark.busy
def test_costs_are_kept_before_anything_else_is_measured(tmp_path):
    own = written(tmp_path, "own.json", calibrated(kvm=KVM))
    file = tmp_path / "a.json"
    with calibrating(tmp_path, f"cat {own}") as child:
        parts.wait_until(lambda: "calibrations" in json.loads(file.read_text()), 10, "its costs")
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
    assert child.returncode == 130
    kept = results.read(file)
    assert kept["partial"] and [one["of"] for one in kept["calibrations"]] == [calibration.HERE]


def program(*words, before=(), stdout=subprocess.PIPE):
    file = parts.binaries() / "strait-calibrate"
    if not file.exists():
        pytest.skip(f"skipped: {file} was not built")
    return subprocess.run([*before, file, *words], text=True, timeout=120, stdout=stdout,
                          stderr=subprocess.PIPE, check=False)


def test_strait_calibrate_on_this_machine():
    """Whatever it has: costs, or a sentence of what it has not."""
    done = program("--rounds", "2")
    lines = done.stderr.splitlines()
    if done.returncode == 0:
        calibration.check(json.loads(done.stdout), "strait-calibrate")
        assert len(lines) < 2
    else:
        assert done.returncode == 1 and not done.stdout and len(lines) == 1
        assert lines[0].startswith("strait-calibrate: nothing could be calibrated: KVM: ")
        assert "; Xen: " in lines[0]


@pytest.mark.parametrize("words, sentence", [
    (("--rounds", "0"), "rounds are 1 to 1000"), (("--rounds", "x"), "--help lists the options"),
    (("--rounds", "1001"), "--rounds is a number up to 1000, not \"1001\""),
    (("--cpu", "0", "--other-cpu", "0"), "--cpu is not --other-cpu"),
    (("--cpu", "-1"), "--cpu is a number up to "), (("--other-cpu", "99999999"), "is a number up"),
    (("--rounds", "1", "and", "more"), "--help lists the options"),
    (("--no",), "--help lists the options")])
def test_strait_calibrate_says_what_is_wrong(words, sentence):
    done = program(*words)
    assert done.returncode == 2 and sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_strait_calibrate_on_one_cpu():
    """It needs two, to measure; not to say what its options are, nor if it is told which two."""
    def alone(*words):
        return program(*words, before=("taskset", "-c", "0"))

    done = alone("--help")
    assert done.returncode == 0 and "--other-cpu" in done.stdout and not done.stderr
    done = alone("--rounds", "1")
    assert done.returncode == 1 and done.stderr == \
        "strait-calibrate: it needs two CPUs that this process may run on\n"
    for words in (("--cpu", "1", "--other-cpu", "0"), ("--cpu", "1")):
        assert "it needs two CPUs" not in alone("--rounds", "1", *words).stderr


def test_strait_calibrate_says_that_its_output_went_nowhere():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = program("--help", stdout=full)
    assert done.returncode == 1 and done.stderr == \
        "strait-calibrate: standard output cannot be written: No space left on device\n"
