# SPDX-License-Identifier: BSD-3-Clause
# What a hypervisor's own work costs on a host, as strait-calibrate measured it there: reading it,
# what follows for a segment and for a byte, and whether that host was hardware. Knows no switch.

import json
import math
import statistics

from . import stats
from .documents import is_number, is_text, printable, read_json
from .machine import BenchError, run

FORMAT = "strait-calibrate 1"
HERE = "this host"
NAMES = {"kvm": "KVM", "xen": "Xen"}
BATCH = 16  # segments of a hypercall, of Linux's
# By key: what it is, and how many digits behind the point are worth printing.
COSTS = {
    "kvm": {"ioeventfd_mmio": ("a kick by the guest, at an address: an exit of its CPU", 0),
            "ioeventfd_pio": ("the same at an I/O port", 0),
            "irqfd_write_running": ("a kick of a running guest: the worker's write", 0),
            "irqfd_handled_running": ("until that guest has handled it", 0),
            "irqfd_write_halted": ("a kick of a guest in HLT: the worker's write", 0),
            "irqfd_handled_halted": ("until that guest has handled it", 0)},
    "xen": {"call": ("a grant copy's system call by itself", 0),
            "hypercall": (f"a hypercall of it, of up to {BATCH} segments", 0),
            "segment": ("a segment between a guest's page and the switch's memory", 0),
            "across": ("a segment from a guest's page to another's", 0),
            "byte": ("a byte of a segment", 3),
            "notify_polling": ("a notification, the other end polling", 0),
            "event_polling": ("until that has it", 0),
            "notify_sleeping": ("a notification, the other end in poll()", 0),
            "event_sleeping": ("until that has it", 0)}}
FITTED = ("hypercall", "segment", "across", "byte")
# What a fit may be from its copies, in the median, and still be called their costs.
MISFIT = 0.25


# ---- reading ----


def measure(settings, rounds):
    """Of this host."""
    program = settings.program("strait-calibrate")
    nothing = "nothing could be calibrated: "
    try:
        # Its threads choose their CPUs themselves.
        text = run([program, "--cpu", str(settings.worker_cpu), "--other-cpu",
                    str(settings.other_cpu), "--rounds", str(rounds)], timeout=60 + 30 * rounds,
                   cpus=sorted({settings.worker_cpu, settings.other_cpu}))
    except BenchError as error:
        if nothing in str(error):
            raise BenchError(nothing + str(error).split(nothing, 1)[1]) from error
        raise
    try:
        told = json.loads(text)
    except ValueError as error:
        raise BenchError(f"{program} said no JSON: {error}") from error
    check(told, str(program))
    return {**told, "of": HERE}


def read(path):
    """Those of a file: strait-calibrate's own, or a result of strait-bench that has some."""
    document = read_json(path)
    place = printable(path)
    found = document.get("calibrations") if isinstance(document, dict) else None
    if not isinstance(found, list) or not found:
        check(document, place)
        return [{**document, "of": place}]
    for one in found:
        check(one, place)
        if not is_text(one.get("of")):
            raise BenchError(f"a calibration in {place} does not say whose it is by \"of\"")
    return [{**one, "of": place if one["of"] == HERE else f"{place}, {one['of']}"}
            for one in found]


def _are_cycles(values):
    return isinstance(values, list) and bool(values) and \
        all(is_number(one, least=1) for one in values)


def _is_count(value):
    return isinstance(value, int) and is_number(value, least=1) and value <= 65536


def _fault(one):
    """What is wrong with it, if anything is."""
    machine = one.get("machine")
    kinds = {"cpu": is_text, "kernel": is_text, "virtual": lambda value: isinstance(value, bool),
             "tsc_hz": lambda value: is_number(value, least=1)}
    if not isinstance(machine, dict) or \
            not all(fits(machine.get(key)) for key, fits in kinds.items()):
        return "its \"machine\" lacks one of " + ", ".join(kinds)
    if any(not isinstance(one.get(kind), dict) for kind in NAMES):
        return "it has no \"kvm\" or no \"xen\""
    if not any(available(one, kind) for kind in NAMES):
        return "nothing was calibrated"
    for kind in NAMES:
        fault = _fault_of_part(kind, one[kind])
        if fault:
            return fault
    return _fault_of_fit(one) if available(one, "xen") else None


def _fault_of_part(kind, part):
    if "missing" in part:
        return None if is_text(part["missing"]) and len(part) == 1 else \
            f"\"{kind}\" is \"missing\" without a reason, or beside figures"
    if not isinstance(part.get("facts"), dict) or not isinstance(part.get("cycles"), dict):
        return f"\"{kind}\" has no facts, or no cycles"
    if not all(fact in (None, "") or is_text(fact) for fact in part["facts"].values()):
        return f"a fact of \"{kind}\" is no text"
    values = [part["cycles"].get(key) for key in COSTS[kind] if key not in FITTED]
    if kind == "xen":
        told = part.get("copies")
        for copy in told if isinstance(told, list) and told else [None]:
            if not isinstance(copy, dict) or not isinstance(copy.get("both"), bool) or \
                    not all(_is_count(copy.get(key)) for key in ("segments", "length")):
                return "its grant copies are not told by both, segments and length"
            values.append(copy.get("cycles"))
    if not all(map(_are_cycles, values)) or len({len(some) for some in values}) != 1:
        return f"\"{kind}\" lacks cycles of something, or has not as many of each"
    return None


def _fault_of_fit(one):
    """What takes time takes some: a part of a copy that comes to less is none of hardware."""
    try:
        made = costs(one, "xen")
        far = misfit(one)
    except ArithmeticError:
        return "its grant copies are too alike to tell a segment from a byte"
    for key in FITTED:
        for number, value in enumerate(made[key], 1):
            if not (math.isfinite(value) and value > 0):
                return (f"by its grant copies {COSTS['xen'][key][0]} would take {value:.3g} cycles "
                        f"in round {number}, which nothing can: calibrate again, on CPUs that do "
                        "nothing else")
    return None if math.isfinite(far) else "its grant copies come to no costs"


def check(one, what):
    """BenchError, one sentence, unless it is as strait-calibrate writes it."""
    form = one.get("format") if isinstance(one, dict) else None
    if not isinstance(form, str) or not form.startswith(FORMAT.split(maxsplit=1)[0] + " "):
        raise BenchError(f"{what} is no calibration; \"format\" would be \"{FORMAT}\"")
    if form != FORMAT:
        raise BenchError(f"{what} is of another version, {json.dumps(form)}; this one reads "
                         f"\"{FORMAT}\"")
    fault = _fault(one)
    if fault:
        raise BenchError(f"{what} is no whole calibration: {fault}")


def available(one, kind):
    """Whether it has figures; without, part of it is the reason, "missing", and nothing else."""
    return "missing" not in one[kind]


# ---- what follows ----


def _solve(matrix, right):
    """Of linear equations, by elimination; ZeroDivisionError if they do not say enough."""
    rows = [[*row, value] for row, value in zip(matrix, right)]
    size = len(rows)
    scale = max(abs(value) for row in matrix for value in row)
    for at in range(size):
        best = max(range(at, size), key=lambda row: abs(rows[row][at]))
        rows[at], rows[best] = rows[best], rows[at]
        if abs(rows[at][at]) < 1e-12 * scale:
            raise ZeroDivisionError
        for row in range(size):
            if row != at:
                factor = rows[row][at] / rows[at][at]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[at])]
    return [rows[at][size] / rows[at][at] for at in range(size)]


def _terms(copy):
    """How often a copy has each of FITTED."""
    count = copy["segments"]
    return (-(-count // BATCH), count * (not copy["both"]), count * copy["both"],
            count * copy["length"] / 1000)


def fit(copies, calls):
    """Of each round, cycles by FITTED that come closest to those measured, in parts of these
    (least squares of relative errors), a call's own aside."""
    out = {key: [] for key in FITTED}
    for number, call in enumerate(calls):
        matrix = [[0.0] * len(FITTED) for _ in FITTED]
        right = [0.0] * len(FITTED)
        for copy in copies:
            weight = copy["cycles"][number] ** -2
            terms = _terms(copy)
            for row, term in enumerate(terms):
                right[row] += weight * term * (copy["cycles"][number] - call)
                for column, other in enumerate(terms):
                    matrix[row][column] += weight * term * other
        for key, value in zip(FITTED, _solve(matrix, right)):
            out[key].append(value / 1000 if key == "byte" else value)
    return out


def misfit(one):
    """By how much a grant copy differs from what the fit says, in parts of it: the median."""
    made = costs(one, "xen")
    return statistics.median(
        abs(made["call"][number] - took + sum(
            made[key][number] * term * (1000 if key == "byte" else 1)
            for key, term in zip(FITTED, _terms(copy)))) / took
        for copy in one["xen"]["copies"] for number, took in enumerate(copy["cycles"]))


def costs(one, kind):
    """Cycles of each round, by COSTS."""
    part = one[kind]
    found = dict(part["cycles"])
    if kind == "xen":
        found |= fit(part["copies"], found["call"])
    return {key: found[key] for key in COSTS[kind]}


def spreads(one, kind):
    return {key: stats.spread(values) for key, values in costs(one, kind).items()}


def not_hardware(one, kind):
    """Why these are no costs of hardware; None if they are."""
    if kind == "kvm":
        if one["machine"]["virtual"]:
            return "the machine that KVM runs on is virtual itself"
        if one["kvm"]["facts"].get("module") not in ("kvm_intel", "kvm_amd"):
            return "KVM has neither Intel's nor AMD's virtualisation there"
        return None
    # A domain's own flags always say that it is virtual. The host's: words by which of cpuid's
    # registers they are of, the second ECX of leaf 1, whose bit 31 no hardware sets.
    try:
        word = int(str(one["xen"]["facts"].get("host_flags")).split(":")[1], 16)
    except (IndexError, ValueError):
        return "whether Xen runs on hardware there is not known: in dom0, xl info would say it"
    return "the machine that Xen runs on is virtual itself" if word >> 31 & 1 else None


def chosen(found, kind):
    """Of several the first of hardware, or the first at all; None if there is none."""
    able = [one for one in found if available(one, kind)]
    return next((one for one in able if not not_hardware(one, kind)), able[0] if able else None)


def describe(one, kind):
    """The host and what it says of itself, in a sentence."""
    facts = one[kind]["facts"]
    words = [one["machine"]["cpu"], one["machine"]["kernel"],
             f"TSC of {one['machine']['tsc_hz'] / 1e6:.0f} MHz"]
    if kind == "kvm":
        posted = facts.get("apicv") if facts.get("module") == "kvm_intel" else facts.get("avic")
        state = {"Y": "on", "1": "on", "N": "off", "0": "off"}.get(posted, "unknown")
        words += [str(facts.get("module")), f"posted interrupts (APICv, AVIC) {state}",
                  f"a vCPU polls for {facts.get('halt_poll_ns')} ns before it sleeps"]
    else:
        words += [f"Xen {facts.get('major')}.{facts.get('minor')}",
                  f"this domain: {facts.get('kind')}"]
    return ", ".join(words) + "."
