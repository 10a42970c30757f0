# SPDX-License-Identifier: BSD-3-Clause
"""What strait-bench makes of its trials, against answers that are known: searches of switches whose
capacity is known, statistics, merged histograms, what it reads of a result that somebody wrote."""

import copy
import io
import itertools
import json
import pathlib
import random
import statistics
import sys
import types

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

# pylint: disable=wrong-import-position
from harness import (ceiling_runs, compare, connection_runs, facts, flow_runs, generators,
                     hypervisors, progress, report, results, rfc2544, scenarios, search, stats)
from harness.machine import BenchError

# ---- a generator's figures ----


def of_a_generator(received, checked, names):
    """A report of which 5,000 frames arrived in the whole step, and these in the counted time."""
    each = {"received": received // len(names)}
    ends = {"ends": [each] * len(names)} if len(names) > 2 else dict.fromkeys(names, each)
    return json.dumps({"event": "result", "seconds": 0.05, "received": 5000, "checked": checked,
                       "corrupt": 0, **ends})


@pytest.mark.parametrize("names", [("a_to_b", "b_to_a"), "abcde"], ids=["two ends", "five"])
def test_frames_are_missed_among_the_compared_only_if_they_were_counted(names):
    generator = object.__new__(generators.StraitGenerator)
    generator._compares = True
    for received, checked in ((0, 0), (900, 0), (4000, 62)):
        line = of_a_generator(received, checked, names)
        assert generator._checked(line)["checked"] == checked
    with pytest.raises(BenchError, match="no frame was compared"):
        generator._checked(of_a_generator(4000, 0, names))


def test_a_neighbour_that_was_not_served_is_no_result():
    rates = {"one flow": [10, 10, 10], "new flows": [9.8, 9.9, 9.7]}
    served = {"one flow": [0.3] * 3, "new flows": [0.2, 0.25, 0.2]}
    told = connection_runs.told_of_neighbour(rates, served, 0)
    assert told["verdict"] == "met" and told["value"] == pytest.approx(0.02)
    for kind in served:
        with pytest.raises(BenchError, match=f"({kind})"):
            connection_runs.told_of_neighbour(rates, {**served, kind: [0, 0, 0.4]}, 0)


# ---- searches ----


def lossy(capacity):
    """A switch that forwards so much, and loses the rest."""
    return lambda rate, _seconds: max(0.0, 1 - capacity / rate)


@pytest.mark.parametrize("capacity", [0.7, 3, 11.7, 19.9])
def test_search_finds_what_a_switch_can_do(capacity):
    made = search.Search(lossy(capacity), 0.1, 20)
    found = made.run()
    width = search.PHASES[-1].width
    for goal in search.GOALS:
        right = capacity / (1 - goal.loss)  # the most that loses no larger a part
        assert found[goal.name]["rate"] <= right <= found[goal.name]["upper"]
        assert found[goal.name]["upper"] - found[goal.name]["rate"] <= width * right * 1.01
        assert found[goal.name]["narrowed"] and found[goal.name]["loss"] <= goal.loss
    assert len(made.trials) < 45
    # Most of the time goes into trials of the last length, and these are few.
    assert sum(seconds == search.PHASES[-1].seconds for _, seconds, _ in made.trials) < 15


def test_search_of_a_switch_that_loses_little_from_early_on():
    """Of no loss and of 0.5 % the bounds are far apart."""
    def trial(rate, _seconds):
        return 0 if rate <= 2 else 0.001 if rate <= 9 else 0.2
    found = search.Search(trial, 0.1, 12).run()
    assert found["ndr"]["rate"] <= 2 < found["ndr"]["upper"] <= 2 * 1.04
    assert found["pdr"]["rate"] <= 9 < found["pdr"]["upper"] <= 9 * 1.04


def test_search_at_the_ends():
    found = search.Search(lossy(100), 0.1, 20).run()
    assert found["ndr"]["rate"] == found["pdr"]["rate"] == 20
    assert found["ndr"]["upper"] is None
    found = search.Search(lambda rate, seconds: 0.5, 0.1, 20).run()
    assert found["ndr"]["rate"] is None and found["pdr"]["rate"] is None
    assert found["ndr"]["upper"] == 0.1


def test_search_looks_again_with_longer_trials():
    """A switch that holds for a moment more than it does for long."""
    def trial(rate, seconds):
        return max(0.0, 1 - (10 if seconds < 0.1 else 6) / rate)
    found = search.Search(trial, 0.1, 20).run()
    assert found["ndr"]["rate"] <= 6 < found["ndr"]["upper"] < 6.3


def test_search_ends_whatever_the_noise():
    chance = random.Random(1)
    made = search.Search(lambda rate, seconds: chance.choice((0, 0.3)), 0.1, 20)
    made.run()
    assert len(made.trials) <= search.MOST_TRIALS
    made = search.Search(lossy(5), 0.1, 20, most=6)
    assert not made.run()["ndr"]["narrowed"]


@pytest.mark.parametrize("capacity", [16, 17, 100, 256, 1000, 65_537])
def test_longest_burst(capacity):
    found = search.longest_burst(lambda frames: frames > capacity)
    assert capacity * 15 / 16 - 1 <= found <= capacity


def test_longest_burst_at_the_ends():
    assert search.longest_burst(lambda frames: True) == 0
    assert search.longest_burst(lambda frames: False, largest=5000) == 5000


def test_loss_counts_what_found_no_room():
    result = {"sent": 900, "received": 890, "not_taken": 100}
    assert rfc2544.loss_of(result) == 0.11
    assert rfc2544.loss_of({"sent": 10, "received": 12, "not_taken": 0}) == 0  # some came twice


class Scripted:
    """A generator whose trials are listed."""

    def __init__(self, trials):
        self._trials = iter(trials)

    def trial(self, _rate, _seconds):
        lost, gap = next(self._trials)
        return {"sent": 100, "received": 100 - lost, "not_taken": 0, "longest_round_us": gap,
                "denied_us": 0}


def test_trials_of_a_process_that_was_held_up_are_made_again():
    trials = rfc2544.Trials(Scripted([(3, 900), (0, 900)]))
    assert trials.loss(1, 1) == 0 and trials.repeated == 1
    trials = rfc2544.Trials(Scripted([(3, 10)]))  # the switch's own loss
    assert trials.loss(1, 1) == 0.03 and trials.repeated == 0
    trials = rfc2544.Trials(Scripted([(1, 90), (2, 90), (3, 90)]))  # for ever busy
    assert trials.loss(1, 1) == 0.01 and trials.repeated == rfc2544.REPEATS


# ---- statistics ----


def test_spread():
    assert stats.spread([3]) == {"median": 3, "low": 3, "high": 3}
    assert stats.spread([1, 2, 3, 4, 5]) == {"median": 3, "low": 2, "high": 4}


def test_rank_test_against_tables():
    """Mann and Whitney's exact distribution: of 3 and 3 the extremes are 2 of 20 choices."""
    assert stats.rank_test([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1)
    assert stats.rank_test([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)
    assert stats.rank_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    # U = 1: three choices of four are as far out, on each side of 20.
    assert stats.rank_test([1, 2, 4], [3, 5, 6]) == pytest.approx(4 / 20)
    assert stats.rank_test([1, 1, 1], [1, 1, 1]) == 1
    assert stats.least_p(3, 3) == pytest.approx(0.1)


def test_rank_test_is_that_of_all_choices():
    """By counting them, with ties."""
    chance = random.Random(2)
    for _ in range(20):
        values = [chance.randrange(6) for _ in range(9)]
        ranks = stats._ranks(values)  # pylint: disable=protected-access
        expected = 4 * 10 / 2
        away = abs(sum(ranks[:4]) - expected)
        far = sum(abs(sum(ranks[i] for i in chosen) - expected) >= away - 1e-9
                  for chosen in itertools.combinations(range(9), 4))
        assert stats.rank_test(values[:4], values[4:]) == pytest.approx(far / 126)


def test_rank_test_of_many_is_near_the_exact_one(monkeypatch):
    chance = random.Random(7)
    for more in (0, 0.3, 0.8):
        first = [chance.gauss(0, 1) for _ in range(20)]
        second = [chance.gauss(more, 1) for _ in range(20)]
        near = stats.rank_test(first, second)
        with monkeypatch.context() as patch:
            patch.setattr(stats, "EXACT_UP_TO", 20)
            assert near == pytest.approx(stats.rank_test(first, second), abs=0.01)


def test_rank_test_holds_its_level():
    """Of samples that are alike, one in twenty is found different, or fewer."""
    chance = random.Random(3)
    found = sum(stats.rank_test([chance.random() for _ in range(6)],
                                [chance.random() for _ in range(6)]) <= 0.05
                for _ in range(400))
    assert found <= 32  # 20 are expected; more than 32 are of one in two hundred


def test_holm():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.5, 0.9]) == [1, 1]
    assert stats.holm([]) == []


def test_interval_covers_the_median():
    chance = random.Random(4)
    covered = 0
    for _ in range(100):
        low, high = stats.interval([chance.gauss(10, 1) for _ in range(15)], resamples=400)
        covered += low <= 10 <= high
    assert covered >= 85
    assert stats.interval([5, 1, 3]) == (1, 5)  # of so few all of them


def test_a_difference_within_the_spread_is_none():
    assert not stats.tells_apart([0.9, 1.2, 1.1])
    assert stats.tells_apart([1.1, 1.2, 1.3])
    assert not stats.tells_apart([2.0])  # one round


def test_merged_histograms_are_that_of_all_values():
    chance = random.Random(5)
    rounds = [[chance.randrange(50) for _ in range(300)] for _ in range(3)]
    merged = stats.merge_histograms(
        [sorted((value, one.count(value)) for value in set(one)) for one in rounds])
    everything = sorted(itertools.chain(*rounds))
    assert sum(count for _, count in merged) == 900
    for share in (0.5, 0.9, 0.99, 1.0):
        assert stats.percentile(merged, share) == everything[round(share * 900) - 1]
    assert stats.percentile([], 0.5) is None


def test_generators_rounds_that_disagree_about_a_bar_say_nothing():
    runs = {sink: {kind: [{"mpps": rate, "ceiling_mpps": 50, "utilisation": rate / 50}
                          for rate in rates] for kind, rates in by_kind.items()}
            for sink, by_kind in (
                ("strait", {"strait": (30, 32, 40), "flowgen": (15, 16, 16)}),
                ("testpmd", {"strait": (18, 18, 18), "flowgen": (15, 15, 15)}))}
    told = ceiling_runs.told_of(runs)
    assert (told["values"], told["value"], told["verdict"]) == ([2, 2, 2.5], 2, "met")
    assert "32.00 of a ceiling of 50.00, and 16.00 Mpps, which take 64 and 32 %" in told["title"]
    assert told["title"].endswith("into testpmd io x 1.20")
    for one in runs["strait"]["strait"]:
        one["utilisation"] = 0.96
    assert ceiling_runs.told_of(runs)["verdict"] == "the switch was the limit"
    for values, at_least, verdict in (
            ((1.4, 1.6, 1.7), True, "too noisy to say"), ((1.2, 1.3, 1.4), True, "missed"),
            ((1.2, 1.3, 1.4), False, "met"), ((1.6, 1.7, 1.8), False, "missed")):
        assert ceiling_runs.verdict(values, 1.5, at_least) == verdict


def test_blocked_time_is_what_is_lost_by_what_is_offered():
    runs = {kind: [{"lost": lost + number, "longest_gap_us": gap, "changes_a_second": 990}
                   for number in range(3)]
            for kind, lost, gap in (("elsewhere", 2, 70.0), ("none", 2, 80.0), ("1 %", 27, 90.0),
                                    ("all", 12, 400.0))}
    told = flow_runs.told_of_churn(runs, 12.5)
    assert (told["value"], told["verdict"]) == (2, "missed")  # 25 frames of 12.5 a microsecond
    assert "blocked by 990 rule changes/s" in told["title"]
    assert "overlapping 1 %; the longest gap 90 µs beside 70" in told["title"]
    for one, lost in zip(runs["1 %"], (1, 30, 30)):
        one["lost"] = lost
    assert flow_runs.told_of_churn(runs, 12.5)["verdict"] == "too noisy to say"
    for one in runs["1 %"]:
        one["changes_a_second"] = 700
    assert flow_runs.told_of_churn(runs, 12.5)["verdict"] == "too few changes to say"
    runs["1 %"] = runs["all"] = runs["none"]
    told = flow_runs.told_of_churn(runs, 12.5)
    assert (told["value"], told["verdict"]) == (0, "met")
    assert "the longest gap 80 µs beside 70" in told["title"]
    ends = {"a_to_b": {"longest_gap_us": 3.0}, "b_to_a": {"longest_gap_us": 5.0}}
    assert flow_runs.longest_gap({"generator": ends}) == 5


# ---- what is said while a run goes on, and of its machine ----


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_and_elsewhere(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    cell = scenarios.named("v2v").at(64, 1)
    made = parts(document())[0]
    for out, live in ((Terminal(), True), (io.StringIO(), False)):
        now[0] = 100.0
        shown = progress.Progress({"testpmd": "testpmd io", "strait": "Strait"}, out=out)
        for turns in (3, 1):
            shown.plan(turns)
        shown.begin(cell)
        shown.turn(cell, "strait", 0, results.RATE)
        shown.done(cell, "", "strait", 0, results.RATE, {})
        now[0] = 110.0
        shown.turn(cell, "testpmd", 1, results.SEARCH)
        shown.end(cell, made)
        shown.close()
        said = out.getvalue()
        lines = ("[0 %] v2v, 64 B, 1 flow each way: round 1, Strait",
                 "[25 %, 0:30 left] v2v, 64 B, 1 flow each way, RFC 2544: round 2, testpmd io",
                 "[75 %, 0:03 left] ")
        assert [line in said for line in lines] == [live] * 3
        row = next(line for line in said.splitlines() if "5.10 ±" in line)
        assert "v2v, 64 B, 1 flow each way" in row and "10.50 ±2%" in row
        assert said.endswith("\r\x1b[K") is live and ("\x1b" in said) is live


@pytest.mark.parametrize("change, huge, sentence", [
    ({}, False, "No huge pages: every switch has more misses of the TLB than it need have."),
    ({"load_before": 0.61}, True, "The machine was busy before the run: a load of 0.6."),
    ({"virtual": True}, True, "The machine is virtual: its CPUs are shared with others, and only "
                              "ratios of the same rounds count."),
    ({"governor": "powersave"}, True,
     "The frequency governor is powersave: clocks change in a run."),
    ({"threads_of_the_workers_core": "1,3"}, True,
     "The worker's core has other threads (1,3), whose work slows it.")])
def test_what_has_to_be_known_of_a_machine_is_said(change, huge, sentence):
    quiet = {**MACHINE, "virtual": False}
    assert facts.warnings_of(quiet, True) == []
    assert facts.warnings_of({**quiet, **change}, huge) == [sentence]


# ---- results, reports, comparisons ----

MACHINE = {"cpu": "a CPU", "cpus": 2, "numa_nodes": 1, "virtual": True, "kernel": "Linux 6",
           "worker_cpu": 1, "generator_cpu": 0, "threads_of_the_workers_core": "1",
           "governor": "none", "mhz": {0: 2000.0}, "isolated": "none", "load_before": 0.1,
           "memory_mib": 1000, "huge_pages": [], "vulnerabilities": {"spectre_v2": "Mitigation: x"},
           "meanwhile": {"0": {"steal": 0.01, "idle": 0.0}}}


def document(strait=(10, 11, 10.5), testpmd=(5, 5.2, 5.1), **more):
    trials = [{"scenario": "v2v", "size": size, "flows": flows, "variant": "", "peer": peer,
               "round": number, "measure": "rate", "mpps": rate / (1 + (size == 512)),
               "cycles": 100 * 10 / rate, "ceiling_mpps": 40.0,
               "worker_denied": 0.0, "generator_denied": 0.0, "stolen": 0.0}
              for size in (64, 512) for flows in (1, 1000)
              for peer, rates in (("testpmd", testpmd), ("strait", strait))
              for number, rate in enumerate(rates)]
    return {"format": results.FORMAT, "partial": False, "started": "2026-01-02T03:04:05+00:00",
            "ended": "2026-01-02T03:14:05+00:00", "command": [], "machine": copy.deepcopy(MACHINE),
            "settings": {"rounds": len(strait), "seconds": 0.4, "warm_up": 0.1,
                         "huge_pages": False},
            "peers": {"testpmd": {"title": "testpmd io", "version": "22.11"},
                      "ovs": {"title": "OVS-DPDK", "skipped": "it is not installed"},
                      "strait": {"title": "Strait", "version": "1"}},
            "alone": {}, "trials": trials, **more}


def parts(doc):
    return results.Results(doc["trials"]), results.peers_of(doc)


def test_ratios_are_paired_by_round():
    made, _ = parts(document(strait=(2, 8), testpmd=(1, 2)))
    key = ("v2v", 64, 1)
    assert made.ratios(key, "strait", "testpmd", "mpps") == [2, 4]
    assert made.figure(key, "strait", "mpps")["median"] == 5


def test_report_says_where_strait_is_behind_and_what_is_noise():
    doc = document(strait=(4, 4.1, 4.2), testpmd=(5, 5.2, 5.1))
    said = " ".join(report.sentences(doc, *parts(doc)))
    assert "worse in 8" in said and "Strait is behind testpmd io in: v2v" in said
    doc = document(strait=(4, 6, 5.1), testpmd=(5, 5, 5))
    said = " ".join(report.sentences(doc, *parts(doc)))
    assert "not told apart by their spread in 8" in said and "behind" not in said
    rows = report.rows_of(*parts(doc)[:1], ("v2v", 64, 1), parts(doc)[1])
    assert sum("(noise)" in cell for row in rows for cell in row) == 2


def test_report_says_when_the_generator_was_the_limit_and_the_run_is_not_whole():
    doc = document(partial=True, reason="it was stopped by SIGINT")
    for trial in doc["trials"]:
        trial["ceiling_mpps"] = trial["mpps"] * 1.05
    said = " ".join(report.sentences(doc, *parts(doc)))
    assert "The generator, not Strait, was the limit in 4 places" in said
    assert "The run is not whole: it was stopped by SIGINT." in said


def test_a_rule_a_flow_is_a_curve_over_flow_counts():
    rules = [one for one in scenarios.SCENARIOS if one.name.startswith("v2v-rules")]
    assert len(rules) == 4
    for one in rules:
        cells = one.cells()
        assert [(cell.size, cell.flows) for cell in cells] == \
            [(64, count) for count in (10, 1000, 10_000, 100_000, 1_000_000)]
        assert [cell.traffic()["flows"] for cell in cells] == [cell.flows for cell in cells]
        # OVS is in all of the curve but its end, beside which Strait's own start is held.
        assert ["ovs" in cell.scenario.without for cell in cells] == [False] * 4 + [True]
        assert [list(cell.scenario.variants) for cell in cells] == \
            [[], ["no rules"], *[["1,000 flows"]] * 3]
        assert one.at(64, 1).traffic()["flows"] == 2  # one each way
        assert [(cell.size, cell.flows) for cell in one.cells([60], [2, 4])] == [(60, 2), (60, 4)]
    doc = document()
    doc["trials"] += [{"scenario": "v2v-rules", "size": 64, "flows": flows, "variant": variant,
                       "peer": "strait", "round": number, "measure": "rate", "mpps": rate,
                       "cycles": 100, "worker_denied": 0.0, "generator_denied": 0.0, "stolen": 0.0}
                      for flows, variant, rate in ((1000, "", 9.0), (1_000_000, "", 4.0),
                                                   (1_000_000, "1,000 flows", 10.0))
                      for number in range(3)]
    made, peers = parts(doc)
    rows = report.rows_of(made, ("v2v-rules", 64, 1_000_000), peers)
    assert next(row for row in rows if row[1] == "  Strait / 1,000 flows")[-3:] == \
        ("0.40", ">= 0.5", "missed")
    assert "1,000 flows" not in str(report.rows_of(made, ("v2v-rules", 64, 1000), peers)[1:])


def test_markdown():
    doc = document()
    text = report.markdown(doc, *parts(doc))
    assert "| v2v, 64 B, 1,000 flows | 5.10 [5.05-5.15] | 10.50 " in text
    assert "2.06 [" in text


def test_offloads_are_held_against_the_senders_own_work_of_the_same_ends():
    doc = document()
    for variant, gbps, cycles in (("", 10, 151.4), ("v2v, segments of 64 KiB", 40, 6553.5),
                                  ("x2x, checksums by the sender", 5, 302.8),
                                  ("x2x, checksums filled in by the switch", 4, 605.6)):
        doc["trials"] += [{"scenario": hypervisors.OFFLOADS, "size": 1514, "flows": 1,
                           "variant": variant, "peer": "strait", "round": number,
                           "measure": "rate", "mpps": 1.0, "gbps": gbps * slower,
                           "cycles": cycles / slower, "unpinned": True, "worker_denied": 0.5}
                          for number, slower in enumerate((1, 0.5))]
    made = parts(doc)[0]
    head, rows = hypervisors.offload_rows(made)
    found = {row[0]: row for row in rows}
    # Of bytes 64 KiB take as many cycles; the second round's machine was half as fast for all.
    assert found["v2v, segments of 64 KiB"][1:4] == ("65,535", "30.0 [25.0-35.0]", "4.00")
    assert found["v2v, segments of 64 KiB"][6] == "1.00"
    assert found["x2x, checksums filled in by the switch"][3::3] == ("0.80", "2.00")
    assert found["v2v, checksums by the sender"][3::3] == ("", "")
    assert "cycles/KiB" in head and len(rows) == 4
    # They wait for each other, and that says nothing of the machine.
    assert made.denied((hypervisors.OFFLOADS, 1514, 1)) == 0


def test_stages_are_cycles_but_what_only_a_hypervisor_could_take():
    def counters(value):
        return {"64": {key: [value, value + 2] for key, *_ in hypervisors.STAGES}}
    stages = {name: counters(value) for value, name in enumerate(hypervisors.BENCHMARKS, 10)}
    stages["xen_ring"]["64"]["notifications"] = [1 / 32, 1 / 32]
    del stages["ring_packed_stages"]
    head, rows = hypervisors.stage_rows(stages)
    found = {row[0].split(":")[0]: dict(zip(head, row)) for row in rows
             if not row[0].startswith(("notify: looking", "ring out: answering"))}
    values = {name: 1 + value for value, name in enumerate(hypervisors.BENCHMARKS, 10)}
    assert found["copy"]["KVM, 64 B"] == str(values["ring_split_stages"])
    assert found["copy"]["Xen, 64 B"] == f"{values['xen_ring']}, simulated"
    # Of runs of their own, in which there is a checksum to be filled in.
    assert found["checksum"]["KVM, packed, 64 B"] == str(values["ring_packed_filled"])
    assert found["checksum"]["Xen, 64 B"] == str(values["xen_ring_filled"])
    assert found["notify"]["KVM, 64 B"] == str(values["ring_split_stages"])
    assert found["notify"]["Xen, 64 B"] == "0.031 calls, to be calibrated"
    assert found["ring in"]["KVM, packed, 64 B"] == found["ring in"]["Xen, 1500 B"] == "-"
    assert found["notify"]["Xen, 1500 B"] == "-"
    assert found["ring in"]["timed"] == "KVM: by difference; Xen: directly"


def test_compare_finds_a_change_beyond_noise():
    chance = random.Random(6)

    def rates(middle):
        return [middle * chance.gauss(1, 0.02) for _ in range(10)]
    peer = rates(5)
    before = document(rates(10), peer)
    assert {one["verdict"] for one in compare.changes(before, document(rates(10), peer))} == \
        {"within noise"}
    found = compare.changes(before, document(rates(12), rates(5)))
    verdicts = {(one["what"], one["figure"]): one["verdict"] for one in found}
    assert verdicts["Strait / testpmd io", "rate"] == "better"
    assert verdicts["Strait / testpmd io", "cycles/packet"] == "better"
    assert verdicts["testpmd io", "rate"] == "within noise"
    change = next(one for one in found if one["what"].startswith("Strait"))
    assert change["bounds"][0] < 0.2 < change["bounds"][1]
    assert statistics.median(one["change"] for one in found if one["what"].startswith("Strait")
                             and one["figure"] == "rate") == pytest.approx(0.2, abs=0.05)


def test_compare_of_few_rounds_says_so():
    found = compare.changes(document(), document(strait=(20, 21, 22)))
    assert {one["verdict"] for one in found if one["what"].startswith("Strait")} == \
        {"too few rounds to tell"}


@pytest.mark.parametrize("content, sentence", [
    (None, "cannot be read: No such file or directory"),
    ("{", "is not JSON"),
    ("[]", "is no result of strait-bench run"),
    ('{"format": "strait-bench 0"}', "\"format\" would be \"strait-bench 1\""),
    ('{"format": "strait-bench 1"}', "has no \"machine\""),
    (json.dumps({"format": "strait-bench 1", "trials": [{"scenario": 3}]}),
     "trial 0 has no right \"scenario\""),
])
def test_what_is_no_result_is_told(tmp_path, content, sentence):
    file = tmp_path / "a.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BenchError, match=".*") as raised:
        results.read(file)
    assert sentence in str(raised.value)


def test_results_are_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.json"
    results.write(document(), file)
    assert results.read(file)["machine"]["cpu"] == "a CPU"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(BenchError, match="cannot be written"):
        results.write(document(), tmp_path / "no" / "a.json")
