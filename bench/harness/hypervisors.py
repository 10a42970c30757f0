# SPDX-License-Identifier: BSD-3-Clause
# KVM beside Xen, on one switch: what was measured here, where its cycles go, what was counted, and
# what no machine but the reader's can say. No winner is named: on the simulated hypervisor a copy
# is this process's own and an event an eventfd, where Xen has hypercalls.

import json
import statistics

from . import scenarios, stats
from .machine import BenchError, run
from .report import STRAIT, print_table, show
from .results import RATE

NAME = "kvm-xen"
# Of strait-micro, by frame size. The engines alone: guests' drivers and calls are not in them.
BENCHMARKS = ("ring_split", "ring_packed", "ring_split_complete", "ring_split_checksum", "xen_ring")
SIZES = (64, 1500)
STAGES = (("ring_out", "taking packets out of the sender's ring"),
          ("lookup", "looking up where they go"),
          ("ring_in", "putting them into the receiver's ring"),
          ("release", "answering the sender"))
COUNTED = (("segments", "segments copied by grant"), ("bytes", "bytes of all copies"),
           ("hypercalls", "hypercalls for these"), ("notifications", "event channel notifications"))

MISSING = (
    "a grant copy: its hypercall, each of its segments, each of its bytes (in dom0, by the number "
    "of copies a second of one CPU that does nothing else)",
    "an event channel's notification, to a guest that runs and to one that sleeps",
    "a kick of a KVM guest (irqfd) and by one (ioeventfd), likewise: an exit of a CPU each where "
    "no posted interrupts are",
    "what the two hypervisors take of the worker's CPU by themselves: pin the workers and the "
    "guests, then do not",
)


def measure(settings, rounds):
    """Cycles and operations a packet, by benchmark, size and counter: a value a round, rounds
    interleaved."""
    names = "|".join(BENCHMARKS)
    sizes = "|".join(map(str, SIZES))
    text = run([settings.program("strait-micro"), f"--benchmark_filter=^({names})/({sizes})/",
                "--benchmark_format=json", f"--benchmark_repetitions={rounds}",
                "--benchmark_min_time=0.05", "--benchmark_enable_random_interleaving=true"],
               timeout=600, cpus=sorted({settings.worker_cpu, settings.other_cpu}))
    try:
        told = json.loads(text[text.index("{"):])["benchmarks"]
    except (ValueError, KeyError) as error:
        raise BenchError(f"strait-micro said no JSON: {error}") from error
    out = {}
    for one in told:
        if one.get("run_type") != "iteration" or one.get("error_occurred"):
            continue
        name, size = one["name"].split("/")[:2]
        counters = out.setdefault(name, {}).setdefault(size, {})
        for key, value in one.items():
            if key in dict(STAGES) or key in dict(COUNTED) or \
                    key in ("cycles/packet", "ring", "hypervisor"):
                counters.setdefault(key, []).append(value)
    if not out:
        raise BenchError("strait-micro measured nothing of the rings")
    return out


def _middle(stages, name, size, counter, digits=0):
    values = stages.get(name, {}).get(str(size), {}).get(counter)
    return "-" if not values else f"{statistics.median(values):.{digits}f}"


def _difference(stages, size):
    """Cycles of a checksum that a receiver wants whole."""
    found = [stages.get(name, {}).get(str(size), {}).get("cycles/packet")
             for name in ("ring_split_checksum", "ring_split_complete")]
    return "-" if not all(found) else \
        f"{statistics.median(found[0]) - statistics.median(found[1]):.0f}"


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
                    own = results.values(key, STRAIT, figure, variant)
                    base = results.values(key, STRAIT, figure)
                    ratios = [own[one] / base[one] for one in own if base.get(one)]
                    beside[place] = show(stats.spread(ratios), 2) if ratios else "-"
            rows.append((str(key[1]), variant or "v2v", show(mpps, 2), beside[0],
                         show(results.figure(key, STRAIT, "cycles", variant=variant), 0),
                         beside[1]))
    return ("bytes", "ends", "rate (Mpps)", "/ v2v", "cycles/packet", "/ v2v"), rows


def stage_rows(stages):
    head = ("cycles/packet", *(f"KVM, {size} B" for size in SIZES),
            *(f"Xen, {size} B" for size in SIZES))
    rows = [(f"rings: {text}", *("" for _ in SIZES),
             *(_middle(stages, "xen_ring", size, key) for size in SIZES))
            for key, text in STAGES if key != "lookup"]
    rows.append(("rings, all, copies by the CPU in KVM's",
                 *(_middle(stages, "ring_split", size, "cycles/packet") for size in SIZES),
                 *(_middle(stages, "xen_ring", size, "ring") for size in SIZES)))
    rows.append(("the same, packed rings",
                 *(_middle(stages, "ring_packed", size, "cycles/packet") for size in SIZES),
                 *("" for _ in SIZES)))
    rows.append(("a checksum that the receiver wants whole",
                 *(_difference(stages, size) for size in SIZES), *("" for _ in SIZES)))
    rows.append(("the simulated hypervisor's own copies and events (not Xen's)",
                 *("" for _ in SIZES),
                 *(_middle(stages, "xen_ring", size, "hypervisor") for size in SIZES)))
    rows.append(("lookup, the same for both", *("" for _ in SIZES),
                 *(_middle(stages, "xen_ring", size, "lookup") for size in SIZES)))
    return head, rows


def count_rows(stages):
    return (("a packet, Xen to Xen", *(f"{size} B" for size in SIZES)),
            [(text, *(_middle(stages, "xen_ring", size, key, 2) for size in SIZES))
             for key, text in COUNTED])


def parts(document, results):
    """(heading, what it is, head, rows), for the terminal and the page."""
    stages = document.get("stages", {})
    yield ("KVM and Xen: measured here",
           "The switch whole, one worker: vhost-user ports and netback ports of the simulated "
           "hypervisor, by turns. A guest's copies and events cost here what they cost this "
           "process, which for Xen is not what a hypervisor takes.", *measured_rows(results))
    if "error" in stages:
        yield ("KVM and Xen: where the cycles go", f"Not measured: {stages['error']}.", (), [])
        return
    yield ("KVM and Xen: where the cycles go",
           "The ring engines alone (strait-micro), the median burst's cycles. Xen's payload is "
           "copied by the hypervisor and is not in its rings' cycles; KVM's is.",
           *stage_rows(stages))
    yield ("KVM and Xen: counted",
           "Operations that the hypervisor would be asked for, in full bursts between guests that "
           "do not sleep. They do not hang on the host.",
           *count_rows(stages))


CLOSING = ("KVM and Xen: to be measured on your hosts",
           "Which of the two is faster is not said here, because it hangs on what only hardware "
           "can say. Xen's packet costs its rings' cycles, and the counted operations by the price "
           "of each; KVM's costs its rings' cycles, and its kicks by theirs:", MISSING)


def print_all(document, results, out):
    for heading, text, head, rows in parts(document, results):
        print(f"\n{heading}. {text}\n", file=out)
        if rows:
            print_table(head, rows, out)
    heading, text, items = CLOSING
    print(f"\n{heading}. {text}\n", file=out)
    for item in items:
        print(f"- {item}", file=out)
