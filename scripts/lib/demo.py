# SPDX-License-Identifier: BSD-3-Clause
"""The demo: a switch, two Linux guests, a Xen guest, a NIC-side port, traffic, and a table."""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/system"))

import lab  # noqa: E402


def say(text=""):
    print(text, file=sys.stderr, flush=True)


class Progress:
    """A line for a step that takes seconds, with its time when it is done."""

    def __init__(self, title):
        self._title = title

    def __enter__(self):
        self._begin = time.monotonic()
        if sys.stderr.isatty():
            print(f"{self._title} …", end="", file=sys.stderr, flush=True)
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            start = "\r\033[K" if sys.stderr.isatty() else ""
            say(f"{start}{self._title}: {time.monotonic() - self._begin:.1f} s")
        elif sys.stderr.isatty():
            say()


def worker_cpu():
    """The CPU for the worker: the last one of ours; the main thread has the first."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[-1], cpus[0]


class Flow(threading.Thread):
    """Streams of about two seconds from one host to another, one after another, until stopped."""

    def __init__(self, sender, receiver, stop):
        super().__init__(daemon=True)
        self.sender, self.receiver, self._ending = sender, receiver, stop
        self.name = f"{sender.label} -> {receiver.label}"
        self.bytes = 0
        self.seconds = 0.0
        self.streams = 0
        self.error = None

    def run(self):
        size = 1 << 20
        try:
            while not self._ending.is_set():
                done = self.sender.stream(self.receiver, size, timeout=120)
                size = max(1 << 20, round(2 * done.size / done.seconds) & -4096)
                self.bytes += done.size
                self.seconds += done.seconds
                self.streams += 1
        except lab.LabError as error:
            self.error = str(error)

    def report(self):
        rate = self.bytes * 8 / self.seconds / 1e6 if self.seconds else 0.0
        return {"flow": self.name, "bytes_compared": self.bytes, "streams": self.streams,
                "mbit_per_s": round(rate, 1), "error": self.error}


class Meter:
    """Rates and loads between two looks at the switch's counters."""

    def __init__(self, switch):
        self._switch = switch
        self._last = self._look()
        self.first = self._last

    def _look(self):
        return self._switch.ctl("stats"), self._switch.ctl("worker", "list")

    def sample(self):
        now = self._look()
        sample = self.between(self._last, now)
        self._last = now
        return sample

    def total(self):
        return self.between(self.first, self._last)

    @staticmethod
    def between(before, after):
        (stats0, workers0), (stats1, workers1) = before, after
        seconds = (stats1["timestamp_us"] - stats0["timestamp_us"]) / 1e6
        old = {port["name"]: port for port in stats0["ports"]}
        ports = []
        for port in stats1["ports"]:
            past = old.get(port["name"], {})
            row = {"name": port["name"]}
            for way in ("rx", "tx"):
                packets = port[f"{way}_packets"] - past.get(f"{way}_packets", 0)
                size = port[f"{way}_bytes"] - past.get(f"{way}_bytes", 0)
                row[f"{way}_kpps"] = round(packets / seconds / 1e3, 2)
                row[f"{way}_mbit_per_s"] = round(size * 8 / seconds / 1e6, 1)
            row["drops"] = {
                reason: count - past.get("drops", {}).get(reason, 0)
                for reason, count in port.get("drops", {}).items()
                if count - past.get("drops", {}).get(reason, 0)}
            ports.append(row)
        loads = []
        past_workers = {worker["worker"]: worker for worker in workers0["workers"]}
        for worker in workers1["workers"]:
            past = past_workers[worker["worker"]]
            busy = worker["busy_cycles"] - past["busy_cycles"]
            idle = sum(worker[name] - past[name] for name in ("idle_cycles", "asleep_cycles"))
            packets = worker["tx_packets"] - past["tx_packets"]
            loads.append({"worker": worker["worker"], "cpu": worker["cpu"],
                          "utilisation_percent": round(100 * busy / max(1, busy + idle), 1),
                          "cycles_per_packet": round(busy / packets) if packets else None})
        return {"seconds": round(seconds, 2), "ports": ports, "workers": loads}


def print_header():
    say(f"{'':>5}  {'port':<6}{'from port':>22}{'to port':>24}   drops")
    say(f"{'':>5}  {'':<6}{'Mbit/s':>12}{'kpps':>10}{'Mbit/s':>14}{'kpps':>10}")


def print_sample(label, sample):
    for port in sample["ports"]:
        drops = ", ".join(f"{reason} {count}" for reason, count in port["drops"].items())
        say(f"{label:>5}  {port['name']:<6}{port['rx_mbit_per_s']:>12.1f}{port['rx_kpps']:>10.2f}"
            f"{port['tx_mbit_per_s']:>14.1f}{port['tx_kpps']:>10.2f}   {drops or '-'}")
        label = ""
    for worker in sample["workers"]:
        cycles = worker["cycles_per_packet"]
        say(f"{'':>5}  worker {worker['worker']} on CPU {worker['cpu']}: "
            f"{worker['utilisation_percent']} % busy"
            + (f", {cycles} cycles a packet" if cycles else ""))


def took(huge):
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "hugepages": huge,
        "kvm": lab.have_kvm(),
        "nic": "net_af_packet on a veth pair into a network namespace",
        "xen": "the simulated hypervisor; the guest's IP stack is a network namespace's",
    }


def describe(environment):
    say("This machine: " + "; ".join([
        f"{environment['cpus']} CPUs",
        "huge pages, taken" if environment["hugepages"]
        else "no free huge pages: ordinary memory",
        "/dev/kvm, taken: guests run on it" if environment["kvm"]
        else "no usable /dev/kvm: guests are emulated, and slow",
        "no NIC is touched: a veth pair into a network namespace stands for one",
        "no Xen is touched: the Xen guest is one of the simulated hypervisor's",
    ]))


def main():
    arguments = argparse.ArgumentParser(
        prog="demo", description="Starts a switch with two Linux guests, a Xen guest (on the "
        "simulated hypervisor) and a NIC-side port, pushes traffic through it, shows rates, and "
        "compares what arrived byte for byte.")
    arguments.add_argument("--seconds", type=int, default=10, metavar="N",
                           help="how long traffic runs (default 10)")
    arguments.add_argument("--json", action="store_true",
                           help="print one JSON object on standard output")
    options = arguments.parse_args()
    if not 1 <= options.seconds <= 86400:
        arguments.error("--seconds: 1 to 86400")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))

    huge = lab.huge_pages_free() >= 128
    environment = took(huge)
    describe(environment)
    worker, main_cpu = worker_cpu()
    report = {"took": environment}

    with contextlib.ExitStack() as stack:
        lab.assets(say)
        simulator = stack.enter_context(lab.Simulator())
        switch = stack.enter_context(
            lab.Switch(workers=str(worker), main_cpu=main_cpu, huge=huge,
                       arguments=simulator.switch))
        report["start_seconds"] = round(switch.start_seconds, 3)
        say(f"straitd answers: {switch.start_seconds:.2f} s")
        uplink = f"strait{os.getpid() % 100000}"
        wire = stack.enter_context(lab.Netns())
        wire.label = "up0"
        wire.veth(uplink, address="192.168.77.3")
        switch.ctl("bridge add br0")
        nics = []
        for number in (1, 2):
            path = switch.add_vhost(f"vm{number}")
            nics.append(lab.Nic(path, f"52:54:00:77:00:0{number}", packed=number == 2))
        switch.add_nic("up0", f"net_af_packet0,iface={uplink}")
        switch.ctl("xen adopt --bridge br0")
        xen = stack.enter_context(lab.SimulatedGuest(simulator, "192.168.77.4"))
        xen.wait_up()
        xen.label = xen.port
        guests = []
        with Progress("booting two Linux guests (vm1 with split rings, vm2 with packed ones)"):
            for number, nic in enumerate(nics, 1):
                guest = stack.enter_context(
                    lab.Guest(nic, f"192.168.77.{number}", name=f"vm{number}", wait=False))
                guest.label = guest.name
                guests.append(guest)
            for guest in guests:
                guest.wait_up()
        hosts = [*guests, xen, wire]
        with Progress("first ping between all four"):
            for one, other in itertools.permutations(hosts, 2):
                one.wait_ping(other, 10)
        # One TCP stream each way between each two, so that every port sends and receives; not
        # between the two that are no virtual machines, or little would be left for those.
        stop = threading.Event()
        for host in hosts:
            host.prepare_block()
        flows = [Flow(one, other, stop) for one, other in itertools.permutations(hosts, 2)
                 if not {one, other} == {xen, wire}]
        with Progress(f"starting {len(flows)} TCP streams"):
            quiet = sum(port["rx_bytes"] for port in switch.ctl("stats")["ports"])
            for flow in flows:
                flow.start()
            lab.wait_until(lambda: sum(port["rx_bytes"] for port in switch.ctl("stats")["ports"])
                           > quiet + 100_000, 30, "traffic", 0.1)
        say(f"traffic for {options.seconds} s:")
        say()
        print_header()
        meter = Meter(switch)
        samples = []
        begin = time.monotonic()
        for second in range(1, options.seconds + 1):
            time.sleep(max(0.0, begin + second - time.monotonic()))
            samples.append(meter.sample())
            print_sample(f"{second} s", samples[-1])
        stop.set()
        report["seconds"] = options.seconds
        report["total"] = meter.total()
        say()
        say("in all:")
        print_sample("", report["total"])
        with Progress("waiting for the streams to end"):
            for flow in flows:
                flow.join(180)
        report["samples"] = samples
        report["flows"] = [flow.report() for flow in flows]
        report["drops"] = {
            port["name"]: {reason: n for reason, n in port.get("drops", {}).items() if n}
            for port in switch.ctl("stats")["ports"]}

    compared = sum(flow.bytes for flow in flows)
    failed = [flow for flow in flows if flow.error or flow.is_alive() or not flow.bytes]
    report["bytes_compared"] = compared
    report["ok"] = not failed
    say()
    for flow in report["flows"]:
        say(f"  {flow['flow']:<12} {flow['bytes_compared'] / 1e6:>8.1f} MB compared byte for byte, "
            f"{flow['mbit_per_s']:>7.1f} Mbit/s{'   ' + flow['error'] if flow['error'] else ''}")
    if options.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    if failed:
        say("demo: FAILED: " + "; ".join(
            f"{flow.name}: {flow.error or 'nothing arrived'}" for flow in failed))
        return 1
    say(f"demo: {compared / 1e6:.1f} MB of payload arrived, every byte as it was sent")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (lab.LabError, lab.Unavailable) as error:
        say(f"demo: FAILED: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("demo: interrupted")
        sys.exit(130)
