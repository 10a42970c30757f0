# SPDX-License-Identifier: BSD-3-Clause
# KVM beside Xen, on one switch: what was measured here, where its cycles go, what was counted, and
# what no machine but the reader's can say, unless he calibrated it. Without costs from hardware, of
# both, of hosts that are alike, no winner is named: on the simulated hypervisor a copy is this
# process's own and an event an eventfd, where Xen has hypercalls.

import json
import statistics

from . import calibration, labs, scenarios, stats
from .machine import BenchError, run
from .report import STRAIT, markdown_table, print_table, show
from .results import RATE

NAME, OFFLOADS = "kvm-xen", "kvm-xen-offloads"
# Without so many rounds of each term no winner is named, nor if the two are as close as SAME: what
# the sum leaves out is worth more. TSCs that differ by more than SAME_CLOCK are of unlike hosts.
ROUNDS = 5
SAME = 0.02
SAME_CLOCK = 0.01
# Of strait-micro, by frame size. The engines alone: guests' drivers and calls are not in them.
SIZES = (64, 1500)
# Whose rings; the benchmark of them by stage, that of checksums which the switch fills in, and that
# of them in one piece with the counter that has it.
RINGS = (("KVM", "ring_split_stages", "ring_split_filled", ("ring_split", "cycles/packet")),
         ("KVM, packed", "ring_packed_stages", "ring_packed_filled",
          ("ring_packed", "cycles/packet")),
         ("Xen", "xen_ring", "xen_ring_filled", ("xen_ring", "ring")))
BENCHMARKS = ("ring_split", "ring_packed", *(name for _, *both, _ in RINGS for name in both))
# How a stage was timed: of KVM, of Xen.
DIRECT, LEFT = "directly", "KVM: by difference; Xen: directly"
STAGES = (("ring_out", "ring out: taking packets out of the sender's", LEFT),
          ("copy", "copy: heads to the switch, frames to the receiver", DIRECT),
          ("checksum", "checksum: filled in for a receiver that takes none left", DIRECT),
          ("lookup", "lookup: where they go", DIRECT),
          ("ring_in", "ring in: putting them into the receiver's", LEFT),
          ("release", "ring out: answering the sender", DIRECT),
          ("notify", "notify: looking whether the two guests wait", DIRECT),
          ("tell", "notify: telling the two", "KVM: by difference; Xen: counted"))
COUNTED = (("segments", "segments copied by grant"),
           ("across", "of these, from guest to guest"), ("bytes", "bytes of all copies"),
           ("calls", "system calls for these"), ("hypercalls", "hypercalls for these"),
           ("notifications", "event channel notifications"))

# By hypervisor, the costs of what the worker does for a packet.
PRICED = {"kvm": ("irqfd_write_running",),
          "xen": ("call", "hypercall", "segment", "across", "byte", "notify_polling")}

# By hypervisor: what strait-calibrate says of a host of its own.
MISSING = {
    "xen": ("a grant copy: its system call and hypercall, each of its segments, each of its bytes "
            "(in dom0: strait-bench hypervisors --calibrate)",
            "an event channel's notification, to an end that polls and to one that sleeps "
            "(likewise)"),
    "kvm": ("a kick of a KVM guest (irqfd) and by one (ioeventfd): an exit of a CPU each where no "
            "posted interrupts are (on a KVM host, likewise)",)}
# What it does not say.
ALWAYS_MISSING = (
    "what the two hypervisors take of the worker's CPU by themselves: pin the workers and the "
    "guests, then do not",
    "copies of pages that no cache has: those calibrated, and those of the rings' cycles, are warm",
    "a guest's own share: its driver, its interrupts and, of Xen's, its hypercalls",
    "streams and requests of real guests: what emulated machines say of these (--labs) is no "
    "host's",
)


def measure(settings, rounds):
    """Cycles and operations a packet, by benchmark, size and counter: a value a round, rounds
    interleaved. And the frequency of the TSC that they are cycles of; None if it is not told."""
    names = "|".join(BENCHMARKS)
    sizes = "|".join(map(str, SIZES))
    text = run([settings.program("strait-micro"), f"--benchmark_filter=^({names})/({sizes})/",
                "--benchmark_format=json", f"--benchmark_repetitions={rounds}",
                "--benchmark_min_time=0.05", "--benchmark_enable_random_interleaving=true"],
               timeout=600, cpus=sorted({settings.worker_cpu, settings.other_cpu}))
    try:
        document = json.loads(text[text.index("{"):])
        told = document["benchmarks"]
        clock = float(document["context"].get("tsc_hz", 0))
    except (ValueError, KeyError) as error:
        raise BenchError(f"strait-micro said no JSON: {error}") from error
    told_of = {"cycles/packet", "ring", *(key for key, *_ in STAGES), *dict(COUNTED)}
    out = {}
    for one in told:
        if one.get("run_type") != "iteration" or one.get("error_occurred"):
            continue
        name, size = one["name"].split("/")[:2]
        counters = out.setdefault(name, {}).setdefault(size, {})
        for key, value in one.items():
            if key in told_of:
                counters.setdefault(key, []).append(value)
    if not out:
        raise BenchError("strait-micro measured nothing of the rings")
    return out, clock or None


def _middle(stages, name, size, counter, digits=0):
    values = stages.get(name, {}).get(str(size), {}).get(counter)
    return "-" if not values else f"{statistics.median(values):.{digits}f}"


def _beside(own, base):
    """Of two figures' values by round, as text."""
    ratios = [own[one] / base[one] for one in own if base.get(one)]
    return show(stats.spread(ratios), 2) if ratios else "-"


def measured_rows(results):
    """(head, rows): each kind of ends, by size, beside v2v of the same rounds."""
    rows = []
    for key in results.keys(RATE):
        if key[0] != NAME:
            continue
        for variant in ("", *scenarios.named(NAME).variants):
            mpps = results.figure(key, STRAIT, "mpps", variant=variant)
            if mpps is None:
                continue
            beside = ["", ""]
            if variant:
                for place, figure in enumerate(("mpps", "cycles")):
                    beside[place] = _beside(results.values(key, STRAIT, figure, variant),
                                            results.values(key, STRAIT, figure))
            rows.append((str(key[1]), variant or "v2v", show(mpps, 2), beside[0],
                         show(results.figure(key, STRAIT, "cycles", variant=variant), 0),
                         beside[1]))
    return ("bytes", "ends", "rate (Mpps)", "/ v2v", "cycles/packet", "/ v2v"), rows


def offload_rows(results):
    """(head, rows): what is left undone, beside the same ends whose senders leave nothing. Frames
    differ in size, so cycles are of bytes, too."""
    scenario = scenarios.named(OFFLOADS)
    of_sender = f", {scenarios.WHOLE}"
    rows = []
    for key in results.keys(RATE):
        for variant in ("", *scenario.variants) if key[0] == OFFLOADS else ():
            title = variant or f"v2v{of_sender}"
            frame = scenario.variants.get(variant, scenario.traffic)["frame"]
            rates = results.values(key, STRAIT, "gbps", variant)
            cycles = {number: value * 1024 / frame for number, value in
                      results.values(key, STRAIT, "cycles", variant).items()}
            if title.endswith(of_sender):
                base_rates, base_cycles = rates, cycles
            if rates and cycles:
                beside = ("", "") if title.endswith(of_sender) else \
                    (_beside(rates, base_rates), _beside(cycles, base_cycles))
                rows.append((title, f"{frame:,}", show(stats.spread(rates.values()), 1), beside[0],
                             show(results.figure(key, STRAIT, "cycles", variant=variant), 0),
                             show(stats.spread(cycles.values()), 1), beside[1]))
    beside = "/ by the sender"
    return ("ends, TCP", "bytes", "rate (Gbit/s)", beside, "cycles/packet", "cycles/KiB",
            beside), rows


def _stage(stages, rings, size, key):
    """A cell: cycles, or, of what only a hypervisor could take, how often it would be asked."""
    whose, by_stage, filled, _ = rings
    if (whose, key) == ("Xen", "tell"):
        count = _middle(stages, by_stage, size, "notifications", 3)
        return count if count == "-" else f"{count} calls, to be calibrated"
    cycles = _middle(stages, filled if key == "checksum" else by_stage, size, key)
    simulated = (whose, key) == ("Xen", "copy") and cycles != "-"
    return f"{cycles}, simulated" if simulated else cycles


def stage_rows(stages):
    """(head, rows): a cell for each stage, kind of rings and size."""
    places = [(rings, size) for rings in RINGS for size in SIZES]
    head = ("cycles/packet", *(f"{rings[0]}, {size} B" for rings, size in places), "timed")
    rows = [(text, *(_stage(stages, rings, size, key) for rings, size in places), how)
            for key, text, how in STAGES]
    rows.append(("the rings in one piece, nobody told; KVM's with the copies",
                 *(_middle(stages, rings[3][0], size, rings[3][1]) for rings, size in places),
                 DIRECT))
    return head, rows


def count_rows(stages):
    return (("a packet, Xen to Xen", *(f"{size} B" for size in SIZES)),
            [(text, *(_middle(stages, "xen_ring", size, key, 2) for size in SIZES))
             for key, text in COUNTED])


def concerns(document):
    """Whether it has any of this."""
    return any(part in document for part in ("stages", "calibrations", "labs"))


def parts(document, results):
    """(heading, what it is, head, rows), for the terminal and the page."""
    stages = document.get("stages")
    yield ("KVM and Xen: measured here",
           "The switch whole, one worker: vhost-user ports and netback ports of the simulated "
           "hypervisor, by turns. A guest's copies and events cost here what they cost this "
           "process, which for Xen is not what a hypervisor takes. Where it says unpinned, the "
           "worker's thread and that of the guests may run on either of the run's two CPUs; else "
           "each has its own. Unpinned, cycles include the time in which the other thread had the "
           "CPU.",
           *measured_rows(results))
    head, rows = offload_rows(results)
    if rows:
        yield ("KVM and Xen: offloads, measured here",
               "TCP between the same kinds of ports. A checksum is the sender's work, or left to "
               "a receiver that takes such frames, or the switch's where the receiver does not; "
               "segments of 64 KiB go whole. What a guest's TCP saves by that is not in it: the "
               "generator's frames are built once. Copies of Xen to Xen are the simulated "
               "hypervisor's: what may be held against each other are rows of one kind of port.",
               head, rows)
    if stages is None:
        pass  # it was stopped before
    elif "error" in stages:
        yield ("KVM and Xen: where the cycles go", f"Not measured: {stages['error']}.", (), [])
    else:
        yield ("KVM and Xen: where the cycles go",
               "The ring engines alone (strait-micro), full bursts, the median one's cycles; a "
               "sum of medians is not quite that of the whole, of which parts run at the same "
               "time. KVM's engine copies where it walks its rings: its copies were made once "
               "more, alone, and its rings have what is left. Its guests are told by eventfds that "
               "nobody is behind, which is what the switch pays where no CPU has to be "
               "interrupted. Xen's copies are the simulated hypervisor's, by this process, and not "
               "Xen's; what its event channels take stands nowhere here, but how often they are "
               "used. A checksum comes on top; Xen's payload, which is summed, is copied to the "
               "switch for it, and those copies are not in its cell.",
               *stage_rows(stages))
        yield ("KVM and Xen: counted",
               "Operations that the hypervisor would be asked for, in full bursts between guests "
               "that do not sleep. They do not hang on the host.",
               *count_rows(stages))
    yield from labs.parts(document.get("labs", {}), show)
    yield from _cost_parts(document.get("calibrations", ()))
    yield from _priced_part(document)


def _cost_parts(calibrations):
    for one in calibrations:
        for kind, name in calibration.NAMES.items():
            heading = f"KVM and Xen: what {name} costs on {one['of']}"
            if not calibration.available(one, kind):
                if any(calibration.available(other, kind) for other in calibrations):
                    continue
                yield heading, f"Not calibrated: {one[kind]['missing']}.", (), []
                continue
            text = calibration.describe(one, kind)
            why_not = calibration.not_hardware(one, kind)
            if why_not:
                text += f" These are no hardware's costs: {why_not}."
            if kind == "xen":
                text += (f" Of grant copies a fit of {len(one['xen']['copies'])} sizes; in the "
                         f"median it is {100 * calibration.misfit(one):.0f} % from what was "
                         "measured.")
            found = calibration.spreads(one, kind)
            hz = one["machine"]["tsc_hz"]
            yield (heading, text, ("cost", "cycles", "ns"),
                   [(words, show(found[key], digits),
                     show({part: value / hz * 1e9 for part, value in found[key].items()}, digits))
                    for key, (words, digits) in calibration.COSTS[kind].items()])


def _bounds(values):
    """Median and bounds of rounds; of few rounds, all of their range."""
    low, high = stats.interval(values)
    return {"low": low, "median": statistics.median(values), "high": high}


def _times(first, second):
    """Of two spreads of what is not negative: bounds by bounds."""
    return {part: first[part] * second[part] for part in first}


def _sum(terms):
    terms = list(terms)
    return {part: sum(one[part] for one in terms) for part in ("low", "median", "high")}


def _counters(stages, size):
    """Values of each round by counter, of what a packet's cycles are added up from; None if some
    are not there."""
    def found(name, key):
        return stages.get(name, {}).get(str(size), {}).get(key)

    values = {key: found("xen_ring", key) for key in (*dict(COUNTED), "lookup", "ring")}
    values["kvm ring"] = found("ring_split", "cycles/packet")
    if not all(values.values()):
        return None
    # No ring takes nothing, and a part is not more than all.
    possible = min(values["ring"] + values["kvm ring"]) > 0 and \
        min(values["segments"]) >= max(values["across"])
    return values if possible else None


def priced(stages, costs, size):
    """Terms of a packet's cycles, by hypervisor, as (what it is, spread); None if there is no count
    of something. All are the worker's."""
    values = _counters(stages, size)
    if values is None:
        return None
    counts = {key: _bounds(some) for key, some in values.items()}
    lookup = counts["lookup"]
    kvm, xen = costs["kvm"], costs["xen"]
    between = _bounds([whole - across
                       for whole, across in zip(values["segments"], values["across"])])
    return {
        "kvm": [("rings and lookup", _sum((counts["kvm ring"], lookup))),
                ("notifications", _times(counts["notifications"], kvm["irqfd_write_running"]))],
        "xen": [("rings and lookup", _sum((counts["ring"], lookup))),
                ("system calls and hypercalls of copies",
                 _sum((_times(counts["calls"], xen["call"]),
                       _times(counts["hypercalls"], xen["hypercall"])))),
                ("segments", _sum((_times(between, xen["segment"]),
                                   _times(counts["across"], xen["across"])))),
                ("bytes", _times(counts["bytes"], xen["byte"])),
                ("notifications", _times(counts["notifications"], xen["notify_polling"]))]}


def _verdict(totals, size):
    ratio = {"low": totals["xen"]["low"] / totals["kvm"]["high"],
             "median": totals["xen"]["median"] / totals["kvm"]["median"],
             "high": totals["xen"]["high"] / totals["kvm"]["low"]}
    text = f"At {size} B Xen's packet takes {show(ratio, 2)} times as many of the worker's " \
           "cycles as KVM's: "
    if 1 - SAME <= ratio["low"] and ratio["high"] <= 1 + SAME:
        return f"{text}no difference, within {100 * SAME:.0f} %."
    if ratio["low"] <= 1 + SAME and ratio["high"] >= 1 - SAME:
        return f"At {size} B their spread does not tell them apart ({show(ratio, 2)} times)."
    return f"{text}{'KVM' if ratio['low'] > 1 else 'Xen'}'s path is the faster one."


def _of_hardware(calibrations):
    """The calibrations that count, by hypervisor: those of hardware."""
    found = {kind: calibration.chosen(calibrations, kind) for kind in calibration.NAMES}
    return {kind: one for kind, one in found.items()
            if one and not calibration.not_hardware(one, kind)}


def _all_priced(document):
    """By size, what priced() says; empty without costs of both from hardware."""
    used = _of_hardware(document.get("calibrations", ()))
    if len(used) < len(calibration.NAMES):
        return {}
    costs = {}
    for kind, one in used.items():
        rounds = calibration.costs(one, kind)
        costs[kind] = {key: _bounds(rounds[key]) for key in PRICED[kind]}
    found = {size: priced(document.get("stages", {}), costs, size) for size in SIZES}
    return {size: one for size, one in found.items() if one}


def _too_few_rounds(document, used):
    rounds = {f"{calibration.NAMES[kind]}'s costs": len(one[kind]["cycles"][PRICED[kind][0]])
              for kind, one in used.items()}
    rounds["the rings' cycles and the counts"] = min(
        len(values) for size in SIZES
        for values in (_counters(document["stages"], size) or {}).values())
    few = [f"{what} are of {number} round{'' if number == 1 else 's'}"
           for what, number in rounds.items() if number < ROUNDS]
    return f"{' and '.join(few)}, and at least {ROUNDS} are needed" if few else None


def _unlike_hosts(document, used):
    """Why cycles of the one are not to be added to the other's, or held beside them."""
    own = document["machine"]
    # Of this host its own calibration knows the clock, too.
    clock = own.get("tsc_hz") or next(
        (one["machine"]["tsc_hz"] for one in document["calibrations"]
         if one["of"] == calibration.HERE), None)
    hosts = {f"{calibration.NAMES[kind]}'s costs": (one["machine"]["cpu"], one["machine"]["tsc_hz"])
             for kind, one in used.items()}
    hosts["the rings' cycles"] = (own["cpu"], clock)
    clocks = [hz for _, hz in hosts.values()]
    if len({" ".join(cpu.split()) for cpu, _ in hosts.values()}) == 1 and all(clocks) and \
            max(clocks) <= min(clocks) * (1 + SAME_CLOCK):
        return None
    return "hosts differ, and cycles of one are not another's: " + "; ".join(
        f"{what} are of {cpu}, " + (f"TSC of {hz / 1e6:.0f} MHz" if hz else "its TSC is not known")
        for what, (cpu, hz) in hosts.items())


def _doubts(document):
    """Of what is computed: why it names no winner, a clause each."""
    used = _of_hardware(document["calibrations"])
    far = calibration.misfit(used["xen"])
    misfit = f"Xen's grant copies are {100 * far:.0f} % from what their fit says, and more than " \
             f"{100 * calibration.MISFIT:.0f} % are too many" if far > calibration.MISFIT else None
    return [one for one in (_too_few_rounds(document, used), misfit, _unlike_hosts(document, used))
            if one]


def _priced_part(document):
    """With costs of both, from hardware: what a packet takes, and which takes less."""
    calibrations = document.get("calibrations", ())
    if not calibrations:
        return
    heading = "KVM and Xen: cycles a packet with these costs"
    found = _all_priced(document)
    if not found:
        used = _of_hardware(calibrations)
        lacking = [name for kind, name in calibration.NAMES.items() if kind not in used]
        yield (heading, "Not computed: " +
               (f"there are no costs of {' and of '.join(lacking)} from hardware."
                if lacking else "the rings' cycles or the counts are not there."), (), [])
        return
    used = _of_hardware(calibrations)
    totals = {size: {kind: _sum(spread for _, spread in terms) for kind, terms in one.items()}
              for size, one in found.items()}
    rows = {}
    for size, one in found.items():
        for kind, terms in one.items():
            for words, spread in [*terms, ("all", totals[size][kind])]:
                rows.setdefault(words, {})[kind, size] = show(spread, 0)
    places = [(kind, size) for kind in calibration.NAMES for size in found]
    order = sorted(rows, key=lambda words: (words == "all", words == "notifications"))
    text = ("Counts by costs, and the rings' cycles as measured above, added: of a worker's CPU, "
            "in full bursts. KVM's guests are kicked as often as Xen's are notified: each of the "
            "two once a burst. Bounds are those of all terms at once. ")
    text += " ".join(f"{calibration.NAMES[kind]}'s costs are {one['of']}'s "
                     f"({one['machine']['cpu']})." for kind, one in used.items())
    text += f" The rings' are this host's ({document['machine']['cpu']}"
    text += ", which is virtual). " if document["machine"]["virtual"] else "). "
    doubts = _doubts(document)
    text += f"No winner is named: {'. Besides, '.join(doubts)}." if doubts else \
        " ".join(_verdict(one, size) for size, one in totals.items())
    yield (heading, text,
           ("cycles/packet", *(f"{calibration.NAMES[kind]}, {size} B" for kind, size in places)),
           [(words, *(rows[words].get(place, "") for place in places)) for words in order])


def closing(document):
    """(heading, what it is, list): what the reader has to measure himself."""
    used = _of_hardware(document.get("calibrations", ()))
    missing = [item for kind, items in MISSING.items() if kind not in used for item in items]
    unsaid = "Which of the two is faster is not said here, "
    terms = ("Xen's packet costs its rings' cycles, and the counted operations by the price of "
             "each; KVM's costs its rings' cycles, and its kicks by theirs:")
    if missing:
        text = f"{unsaid}because it hangs on what only hardware can say. {terms}"
    elif not _all_priced(document):
        text = (f"{unsaid}because the rings' cycles, or the counts of operations, were not "
                "measured in this run. What they and the costs would leave out:")
    elif _doubts(document):
        text = f"{unsaid}for the reasons above. What the computed cycles leave out:"
    else:
        text = "What the computed cycles leave out:"
    return "KVM and Xen: to be measured on your hosts", text, (*missing, *ALWAYS_MISSING)


def print_all(document, results, out):
    for heading, text, head, rows in parts(document, results):
        print(f"\n{heading}. {text}\n", file=out)
        if rows:
            print_table(head, rows, out)
    heading, text, items = closing(document)
    print(f"\n{heading}. {text}\n", file=out)
    for item in items:
        print(f"- {item}", file=out)


def markdown(document, results):
    lines = []
    for heading, text, head, rows in parts(document, results):
        lines += ["", f"## {heading}", "", text, ""]
        if rows:
            lines += markdown_table(head, rows)
    heading, text, items = closing(document)
    lines += ["", f"## {heading}", "", text, "", *(f"- {item}" for item in items)]
    return "\n".join(lines) + "\n"
