# SPDX-License-Identifier: BSD-3-Clause
# What the machine is and what it does beside the benchmark: what a reader needs to judge a figure.

import os
import pathlib
import re

CPU = pathlib.Path("/sys/devices/system/cpu")


def _text(path, otherwise=""):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return otherwise


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.*)$", _text("/proc/cpuinfo"), re.M)
    return found.group(1) if found else "unknown"


def frequencies():
    """MHz of each CPU as of now, where the kernel says it."""
    return {int(number): float(mhz) for number, mhz in
            re.findall(r"^processor\s*:\s*(\d+)$.*?^cpu MHz\s*:\s*([\d.]+)$",
                       _text("/proc/cpuinfo"), re.M | re.S)}


def cpu_times():
    """Seconds of each CPU since boot, by what they were spent on."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    tick = os.sysconf("SC_CLK_TCK")
    out = {}
    for line in _text("/proc/stat").splitlines():
        found = re.match(r"cpu(\d+) (.*)", line)
        if found:
            out[int(found.group(1))] = dict(zip(
                names, (int(word) / tick for word in found.group(2).split())))
    return out


def _huge_pages():
    out = []
    for folder in sorted(pathlib.Path("/sys/kernel/mm/hugepages").glob("hugepages-*")):
        out.append({"kib": int(re.sub(r"\D", "", folder.name)),
                    "total": int(_text(folder / "nr_hugepages", "0")),
                    "free": int(_text(folder / "free_hugepages", "0"))})
    return out


def of_machine(worker_cpu, generator_cpu):
    """What does not change in a run."""
    flags = re.search(r"^flags\s*:\s*(.*)$", _text("/proc/cpuinfo"), re.M)
    flags = set(flags.group(1).split()) if flags else set()
    memory = re.search(r"MemTotal:\s+(\d+)", _text("/proc/meminfo"))
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_allowed": sorted(os.sched_getaffinity(0)),
        "worker_cpu": worker_cpu,
        "generator_cpu": generator_cpu,
        "threads_of_the_workers_core": _text(
            CPU / f"cpu{worker_cpu}/topology/thread_siblings_list", "unknown"),
        "numa_nodes": len(list(pathlib.Path("/sys/devices/system/node").glob("node[0-9]*"))),
        "governor": _text(CPU / f"cpu{worker_cpu}/cpufreq/scaling_governor", "none"),
        "mhz": frequencies(),
        "isolated": _text(CPU / "isolated") or "none",
        "virtual": "hypervisor" in flags,
        "constant_tsc": {"constant_tsc", "nonstop_tsc"} <= flags,
        "vulnerabilities": {file.name: _text(file) for file in
                            sorted((CPU / "vulnerabilities").glob("*"))},
        "memory_mib": int(memory.group(1)) // 1024 if memory else None,
        "huge_pages": _huge_pages(),
        "kernel": " ".join(os.uname()[i] for i in (0, 2, 4)),
        "load_before": os.getloadavg()[0],
    }


class Meanwhile:
    """What the CPUs did from now until asked."""

    def __init__(self):
        self._before = cpu_times()

    def shares(self):
        """Of each CPU, the share of its time stolen by the hypervisor, and spent idle."""
        out = {}
        for cpu, now in cpu_times().items():
            before = self._before.get(cpu, {})
            spent = {name: now[name] - before.get(name, 0) for name in now}
            total = sum(spent.values()) or 1
            out[cpu] = {"steal": spent["steal"] / total, "idle": spent["idle"] / total}
        return out


def warnings_of(machine, huge):
    """What a reader has to know before he reads on, one sentence each."""
    out = []
    if machine["virtual"]:
        out.append("The machine is virtual: its CPUs are shared with others, and only ratios of "
                   "the same rounds count.")
    if str(machine["worker_cpu"]) != machine["threads_of_the_workers_core"] and \
            machine["threads_of_the_workers_core"] != "unknown":
        out.append(f"The worker's core has other threads "
                   f"({machine['threads_of_the_workers_core']}), whose work slows it.")
    if machine["governor"] not in ("performance", "none"):
        out.append(f"The frequency governor is {machine['governor']}: clocks change in a run.")
    if not huge:
        out.append("No huge pages: every switch has more misses of the TLB than it need have.")
    if machine["load_before"] > 0.5:
        out.append(f"The machine was busy before the run: a load of {machine['load_before']:.1f}.")
    return out
