# SPDX-License-Identifier: BSD-3-Clause
# What a run comes to: a document of trials, each as it was measured, with the facts of the
# machine. Figures are made from trials wherever they are wanted, so that no reader depends on what
# this version makes of them.

import contextlib
import json
import os
import pathlib

from . import calibration, labs, stats
from .documents import is_number, is_text, printable, read_json
from .machine import BenchError

FORMAT = "strait-bench 1"
RATE, SEARCH = "rate", "rfc2544"  # kinds of measurements
MACHINE_TEXTS = ("cpu", "kernel", "governor", "isolated", "threads_of_the_workers_core")
MACHINE_NUMBERS = ("cpus", "numa_nodes", "worker_cpu", "generator_cpu", "load_before")


class Results:
    """Trials by cell, variant, peer and kind of measurement, in order of rounds."""

    def __init__(self, trials=()):
        self.trials = list(trials)

    def add(self, cell, variant, peer, round_number, measure, result):
        name, size, flows = cell.key
        own = {"scenario": name, "size": size, "flows": flows, "variant": variant, "peer": peer,
               "round": round_number, "measure": measure}
        self.trials.append({**own, **result, **own})

    def of(self, key, measure=RATE):
        return (one for one in self.trials
                if (one["scenario"], one["size"], one["flows"]) == key
                and one["measure"] == measure)

    def keys(self, measure=RATE):
        """Cells of which there is a trial, in order."""
        return list(dict.fromkeys((one["scenario"], one["size"], one["flows"])
                                  for one in self.trials if one["measure"] == measure))

    def values(self, key, peer, figure, variant="", measure=RATE):
        """Of each round that came out well."""
        return {one["round"]: one[figure] for one in self.of(key, measure)
                if (one["variant"], one["peer"]) == (variant, peer)
                and one.get(figure) is not None}

    def figure(self, *words, **named):
        values = list(self.values(*words, **named).values())
        return stats.spread(values) if values else None

    def ratios(self, key, peer, against, figure, measure=RATE):
        """One's figure by the other's, round by round: what the machine does to both in a round
        falls out. `against` is a peer, or "@" and a variant of the peer's own."""
        own = self.values(key, peer, figure, measure=measure)
        other = self.values(key, peer, figure, against[1:], measure) if against[:1] == "@" else \
            self.values(key, against, figure, measure=measure)
        return [own[one] / other[one] for one in sorted(own) if other.get(one)]

    def denied(self, key, half_cpu=False):
        """The largest share of time that a worker or the generator waited for its CPU (but for
        those that are pinned to none, which wait for each other), or the hypervisor took it."""
        shares = [max(0 if half_cpu or one.get("unpinned") else one.get("worker_denied", 0),
                      0 if one.get("unpinned") else one.get("generator_denied", 0),
                      one.get("stolen", 0))
                  for one in self.of(key)]
        return max(shares, default=0)

    def errors(self):
        return [one for one in self.trials if "error" in one]

    def generator_limited(self, key, peer):
        """Whether the rate is the generator's own rather than the switch's."""
        shares = [one["mpps"] / one["ceiling_mpps"] for one in self.of(key)
                  if one["peer"] == peer and one.get("ceiling_mpps") and one.get("mpps")]
        return bool(shares) and stats.spread(shares)["median"] > 0.9


def write(document, path):
    """Whole or not at all: what is there already stays until the new one is."""
    path = pathlib.Path(path)
    beside = path.with_name(path.name + f".{os.getpid()}")
    try:
        # What no UTF-8 can hold is of the command line, and escaped as JSON does it.
        beside.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n",
                          encoding="utf-8", errors="backslashreplace")
        beside.replace(path)
    except OSError as error:
        raise BenchError(f"{printable(path)} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def read(path):
    """A document as write() left it; BenchError says what else it is."""
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BenchError(f"{path} is no result of strait-bench run; \"format\" would be "
                         f"\"{FORMAT}\"")
    needed = {"scenario": str, "size": (int, str), "flows": int, "variant": str, "peer": str,
              "round": int, "measure": str}
    for number, trial in enumerate(document.get("trials", ())):
        for name, kind in needed.items():
            if not isinstance(trial, dict) or not isinstance(trial.get(name), kind):
                raise BenchError(f"{path}: trial {number} has no right \"{name}\"")
    for name, kind in (("machine", dict), ("peers", dict), ("trials", list), ("settings", dict),
                       ("alone", dict)):
        if not isinstance(document.get(name), kind):
            raise BenchError(f"{path} has no \"{name}\" as strait-bench run writes it")
    _check_machine(document["machine"], path)
    if "stages" in document:
        _check_stages(document["stages"], path)
    labs.check(document.get("labs", {}), path)
    if not isinstance(document.get("calibrations", []), list):
        raise BenchError(f"{path} has no list of \"calibrations\" as strait-bench writes it")
    for one in document.get("calibrations", ()):
        calibration.check(one, f"a calibration in {path}")
        if not is_text(one.get("of")):
            raise BenchError(f"a calibration in {path} does not say whose it is by \"of\"")
    return document


def _check_machine(machine, path):
    """What reports say of it, and hold it against."""
    def share(value):
        return is_number(value, least=0)

    def each(fits):
        return lambda value: isinstance(value, dict) and all(map(fits, value.values()))

    kinds = {**dict.fromkeys(MACHINE_TEXTS, is_text), **dict.fromkeys(MACHINE_NUMBERS, share),
             "virtual": lambda value: isinstance(value, bool),
             "tsc_hz": lambda value: value is None or is_number(value, least=1),
             "memory_mib": lambda value: value is None or share(value),
             "mhz": each(share), "vulnerabilities": each(lambda value: isinstance(value, str)),
             "huge_pages": lambda value: isinstance(value, list) and all(
                 isinstance(one, dict) and share(one.get("kib")) and share(one.get("total"))
                 for one in value),
             "meanwhile": lambda value: value is None or each(
                 lambda one: isinstance(one, dict) and share(one.get("steal")))(value)}
    for key, fits in kinds.items():
        if not fits(machine.get(key)):
            raise BenchError(f"{path}: its \"machine\" has no right \"{key}\"")


def _check_stages(stages, path):
    """{"error": why there are none}, or by benchmark, size and counter a value of each round."""
    if isinstance(stages, dict) and isinstance(stages.get("error"), str):
        return
    sizes = list(stages.values()) if isinstance(stages, dict) else [None]
    counters = [one for size in sizes for one in
                (size.values() if isinstance(size, dict) else [None])]
    values = [one for counter in counters for one in
              (counter.values() if isinstance(counter, dict) else [None])]
    if not all(isinstance(one, list) and all(is_number(value, least=0) for value in one)
               for one in values):
        raise BenchError(f"{path} has no \"stages\" as strait-bench writes them")


def peers_of(document):
    """Names of all switches that were measured, in the order of tables, and their titles."""
    measured = {one["peer"] for one in document["trials"]}
    return {name: peer.get("title", name) for name, peer in document["peers"].items()
            if name in measured}
