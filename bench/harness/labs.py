# SPDX-License-Identifier: BSD-3-Clause
# Real guests of KVM and of Xen, each pair on one worker in a machine that QEMU emulates: TCP
# streams and requests, with what guests leave undone and without, and what the worker did for them.
# So two ways through one machine are compared; of hypervisors and of hosts it says nothing.

import contextlib
import os
import pathlib
import sys
import threading
import time

from . import stats
from .calibration import NAMES
from .documents import is_number, is_text
from .machine import BenchError

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/system/lab"
SECONDS = 3   # that the worker is looked at, of each turn
AROUND = 8    # more of them that the load goes on: looking takes its time there
MACS = {"kvm": ("52:54:00:00:00:01", "52:54:00:00:00:02"),
        "xen": ("00:16:3e:00:00:01", "00:16:3e:00:00:02")}
KINDS = {"kvm": "Two Linux guests by strait-vmm in an emulated machine with KVM",
         "xen": "Two Linux guests (PV) in an emulated machine with Xen, the switch in dom0"}
# By what ethtool is told of checksums and segmentation: what the sender does then.
OFFLOADS = {"all left": ("on", "on"), "checksums left": ("on", "off"), "none left": ("off", "off")}
# By kind of traffic: what a value of a second is, by how much it is divided, and digits.
TRAFFIC = {"stream": ("TCP stream, MB/s", 1e6, 2),
           "requests": ("requests and answers of a byte, a second", 1, 0)}


# ---- measuring ----


def need():
    """BenchError where there are no such machines."""
    if not (LAB / "__init__.py").exists():
        raise BenchError("--labs needs Strait's source tree: the emulated machines are its "
                         "tests/system/lab")


@contextlib.contextmanager
def _place(settings):
    """What is in this machine's programs and on its two CPUs runs in the emulated ones, too."""
    cpus = os.sched_getaffinity(0)
    programs = os.environ.get("STRAIT_BIN")
    os.environ["STRAIT_BIN"] = str(settings.programs.path("straitd").parent)
    os.sched_setaffinity(0, {settings.worker_cpu, settings.other_cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)
        if programs is None:
            del os.environ["STRAIT_BIN"]
        else:
            os.environ["STRAIT_BIN"] = programs


def measure(kind, settings, rounds, told, progress, keep):
    """Fills `told` with trials, or with the error that ended it; keep() is called when there are
    more. The emulation hangs once in a while: then there is a new machine, once, and the round
    begins anew."""
    need()
    sys.path.insert(0, str(LAB.parent))
    import lab  # pylint: disable=import-outside-toplevel
    trials = told["trials"] = []
    with _place(settings):
        for last in (False, True):
            try:
                _rounds(lab, kind, "-again" if last else "", rounds, trials, progress, keep)
                return
            except (lab.Unavailable, OSError) as reason:
                told["error"] = _sentence(reason)
                return
            except lab.LabError as error:
                # Of a round that is not whole nothing can be held against anything.
                del trials[len(trials) // len(OFFLOADS) * len(OFFLOADS):]
                if last:
                    told["error"] = _sentence(error)
                else:
                    progress.say(f"a new machine, because of {_sentence(error)}")


def _sentence(error):
    """On one line, without its end: the logs have all."""
    text = " ".join(str(error).split())
    return "".join(one for one in text if one.isprintable())[:400].rstrip(".")


def _rounds(lab, kind, again, rounds, trials, progress, keep):
    from .guests import Tcp  # pylint: disable=import-outside-toplevel
    with {"kvm": _kvm, "xen": _xen}[kind](lab, again) as (machine, switch, guests, port):
        progress.say(f"the machine with {NAMES[kind]} was up after {machine.boot_seconds:.1f} s")
        for number, guest in enumerate(guests, 1):
            guest.add_ipv6(f"fd00::{number}/64")
        guests[0].wait_ping(guests[1], 60)
        tcp = Tcp(*guests, "fd00::2")
        tcp.stream(1)  # whatever is done once
        while len(trials) < rounds * len(OFFLOADS):
            number = len(trials) // len(OFFLOADS)
            for offloads in list(OFFLOADS)[::1 if number % 2 == 0 else -1]:
                for guest in guests:
                    _set_offloads(lab, guest, offloads)
                trial = {"round": number, "offloads": offloads,
                         **{one: _turn(lab, switch, port, getattr(tcp, one)) for one in TRAFFIC}}
                trials.append(trial)
                progress.detail(f"{NAMES[kind]}, round {number + 1}, {offloads}: "
                                f"{trial['stream']['per_second'] / 1e6:.2f} MB/s, "
                                f"{trial['requests']['per_second']:.0f} requests/s")
                keep()


@contextlib.contextmanager
def _kvm(lab, again):
    """The machine, the switch, its guests, and the port of the first. It has three CPUs: one for
    the worker, one for each guest."""
    initrd = lab.assets().traffic_initrd  # what lacks a program is told before anything boots
    with lab.KvmMachine(ROOT / f"build/logs/bench-kvm{again}") as machine:
        switch = lab.MachineSwitch(machine, ["--workers", "0"], ["bridge add br0"])
        guests = [lab.VmmGuest(machine, lab.Nic(switch.add_vhost(f"vm{number}"), mac),
                               f"10.0.0.{number}", initrd=initrd,
                               arguments=["--vcpu-pin", f"0={number}"], wait=False)
                  for number, mac in enumerate(MACS["kvm"], 1)]
        for guest in guests:
            guest.wait_up()
        yield machine, switch, guests, "vm1"


@contextlib.contextmanager
def _xen(lab, again):
    initrd = lab.assets().xen_traffic_initrd
    with lab.Xen(ROOT / f"build/logs/bench-xen{again}", guests=2, cpus=3) as machine:
        switch = lab.XenSwitch(machine, config=["bridge add br0", "xen adopt --bridge br0"])
        guests = [lab.XenGuest(machine, [f"mac={mac},bridge=br0,script=vif-strait"],
                               f"10.0.0.{number}", initrd=initrd)
                  for number, mac in enumerate(MACS["xen"], 1)]
        yield machine, switch, guests, f"vif{guests[0].domain}.0"


def _set_offloads(lab, guest, name):
    """Over IPv6, because of IPv4 netfront has no way to leave nothing."""
    program = f"{lab.TOOLS}/ethtool"
    checksums, segments = OFFLOADS[name]
    guest.sh(f"{program} -K eth0 tx {checksums} && {program} -K eth0 tso {segments}", 60)
    states = dict(line.strip().split(": ", 1) for line in
                  guest.sh(f"{program} -k eth0", 60).splitlines() if ": " in line)
    found = ("on" if "on" in (states.get("tx-checksum-ip-generic"),
                              states.get("tx-checksum-ipv6")) else "off",
             states.get("tx-tcp6-segmentation", "").split(" ")[0])
    if found != (checksums, segments):
        raise lab.LabError(f"{guest.name}: checksums and segmentation are {', '.join(found)} "
                           f"where {checksums}, {segments} were asked for")


class _Meanwhile:
    """A call that goes on beside what is done here; a daemon: it ends with its machine."""

    def __init__(self, call, *words):
        self._came = {}
        self._thread = threading.Thread(target=self._run, args=(call, words), daemon=True)
        self._thread.start()

    def _run(self, call, words):
        try:
            self._came["result"] = call(*words)
        except Exception as error:  # pylint: disable=broad-exception-caught
            self._came["error"] = error

    def goes_on(self):
        return self._thread.is_alive()

    def result(self):
        self._thread.join()
        if "error" in self._came:
            raise self._came["error"]
        return self._came["result"]


def _turn(lab, switch, port, call):
    """What a second came to, and in the middle of it, what the worker did and how long the frames
    were that the sender handed over."""
    from . import guests  # pylint: disable=import-outside-toplevel

    def look():
        return guests.worker(switch), switch.ctl("stats", port)["ports"][0]

    begun = look()[1]["rx_packets"]
    load = _Meanwhile(call, SECONDS + AROUND)
    lab.wait_until(lambda: look()[1]["rx_packets"] > begun + 20 or not load.goes_on(), 20,
                   "traffic", 0.2)
    worker, counters = look()
    time.sleep(SECONDS)
    worker_after, counters_after = look()
    if not load.goes_on():
        load.result()  # says why, if it was not done
        raise lab.LabError("looking at the worker took longer than there was load for it")
    packets = counters_after["rx_packets"] - counters["rx_packets"]
    octets = counters_after["rx_bytes"] - counters["rx_bytes"]
    return {"per_second": load.result(), "frame_bytes": octets / max(packets, 1),
            **guests.work(worker, worker_after)}


# ---- what is made of it ----


def check(told, path):
    """Of a result that was read: by kind, trials and perhaps an error."""
    def whole(one):
        return isinstance(one, dict) and isinstance(one.get("trials"), list) and \
            ("error" not in one or is_text(one["error"])) and all(map(_is_trial, one["trials"]))

    if not isinstance(told, dict) or not told.keys() <= KINDS.keys() or \
            not all(map(whole, told.values())):
        raise BenchError(f"{path} has no \"labs\" as strait-bench writes them")


def _is_trial(trial):
    def is_traffic(one):
        return isinstance(one, dict) and all(
            is_number(one.get(key), least=0) for key in
            ("per_second", "frame_bytes", "busy_cycles", "idle_cycles", "asleep_cycles",
             "tx_packets")) and one["per_second"] > 0
    return isinstance(trial, dict) and isinstance(trial.get("round"), int) and \
        is_text(trial.get("offloads")) and trial["offloads"] in OFFLOADS and \
        all(is_traffic(trial.get(one)) for one in TRAFFIC)


def _cycles(one):
    return one["busy_cycles"] / max(one["tx_packets"], 1)


def _share(one):
    return 100 * one["busy_cycles"] / max(
        one["busy_cycles"] + one["idle_cycles"] + one["asleep_cycles"], 1)


def rows(trials, show):
    """(head, rows): each kind of traffic, by what the sender leaves undone, beside all of it."""
    out = []
    for traffic, (title, unit, digits) in TRAFFIC.items():
        values = {name: {one["round"]: one[traffic] for one in trials if one["offloads"] == name}
                  for name in OFFLOADS}
        for name, by_round in values.items():
            if not by_round:
                continue
            ratios = [one["per_second"] / values["all left"][number]["per_second"]
                      for number, one in by_round.items() if number in values["all left"]]

            def spread(figure):
                return stats.spread(map(figure, by_round.values()))  # pylint: disable=W0640

            out.append((title, name, show(spread(lambda one: one["per_second"] / unit), digits),
                        show(stats.spread(ratios), 2) if name != "all left" and ratios else "",
                        show(spread(lambda one: one["frame_bytes"]), 0)
                        if traffic == "stream" else "",
                        show(spread(_cycles), 0), show(spread(_share), 1)))
    return ("", "checksums and segments", "value", "/ all left", "bytes a frame sent",
            "worker's TSC/packet, waits included", "worker busy, %"), out


def parts(told, show):
    """(heading, what it is, head, rows) of each machine."""
    for kind, one in told.items():
        head, found = rows(one["trials"], show)
        text = (f"{KINDS[kind]}, by qperf over TCP and IPv6, a connection at a time, "
                "on one worker. QEMU emulates every instruction of it: no figure here is a host's, "
                "or KVM's or Xen's. What may be held against each other are the rows of this "
                "table, by value and length of frames: the worker's time is by the clock, and "
                "whatever took its CPU meanwhile is in it. Those of the other hypervisor's table "
                "are another machine's, and their ratio compares two emulations.")
        if "error" in one:
            text = f"{'Not whole' if found else 'Not measured'}: {one['error']}" + \
                (f". {text}" if found else "")
        elif not found:
            text = "Not measured: it was stopped before."
        yield f"KVM and Xen: real guests, {NAMES[kind]}'s, under emulation", text, head, found
