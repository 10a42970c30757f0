# SPDX-License-Identifier: BSD-3-Clause
# strait-bench run: what there is to compare on this machine, the run itself, and what is kept of it
# however it ends.

import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys

from . import alone, calibration, facts, files, hypervisors, labs, report, scenarios
from .documents import printable
from .machine import BenchError, free_huge_mib, raise_priority
from .peers import PEERS, Before, Settings, Strait
from .progress import SEARCH_TURNS, Progress
from .results import FORMAT, Results, peers_of, write
from .runner import Runner

HUGE_MIB_EACH = 1100  # a switch and its generator
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")  # says whether services are begun; see _install()


class Interrupted(BaseException):
    """A signal asks it to end now; says which."""


def _end_at_signals():
    """The first signal unwinds everything; further ones do not disturb that."""
    def on_signal(number, _frame):
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(one) != signal.SIG_IGN or one != signal.SIGHUP:  # nohup stays so
            signal.signal(one, on_signal)


def _check_machine(asked):
    cpus = os.sched_getaffinity(0)
    if asked.worker_cpu == asked.generator_cpu or \
            not {asked.worker_cpu, asked.generator_cpu} <= cpus:
        raise BenchError(f"two different CPUs of {sorted(cpus)} are needed for --worker-cpu and "
                         f"--generator-cpu")
    if asked.guest_cpu is not None and asked.guest_cpu not in cpus:
        raise BenchError(f"--guest-cpu {asked.guest_cpu} is none of the CPUs {sorted(cpus)}")
    if os.geteuid() != 0:
        raise BenchError("it needs root, as the switches do")


def _install(names):
    """Debian's packages of the peers that are missing; their services are not begun."""
    packages = sorted({package for name in names if PEERS[name].missing()
                       for package in PEERS[name].packages})
    if not packages:
        return
    print(f"installing {' '.join(packages)}", file=sys.stderr, flush=True)
    ours = not POLICY.exists()
    try:
        if ours:
            POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
            POLICY.chmod(0o755)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends",
                                          *packages]):
            done = subprocess.run(["apt-get", *words], env=environment, capture_output=True,
                                  text=True, check=False)
            if done.returncode != 0:
                said = " ".join(done.stderr.split()[-40:])
                raise BenchError(f"apt-get {words[0]} failed: {said}")
    except OSError as error:
        raise BenchError(f"packages cannot be installed: {error}") from error
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def _switches(asked, settings):
    """What is compared, by name, and why others are not."""
    names = [name for name in PEERS if asked.peers is None or name in asked.peers]
    if asked.install_peers:
        _install(names)
    found, skipped = {}, {}
    for name in names:
        reason = PEERS[name].missing()
        if reason:
            skipped[name] = reason
        else:
            found[name] = PEERS[name]
    if asked.without_strait:
        settings.program("strait-generator")
    else:
        missing = alone.missing(settings.programs)
        if missing:
            raise BenchError(f"{missing}; --without-strait runs the peers only")
        if asked.before:
            Before.build = type(settings.programs)([asked.before / "bin"])
            Before.build.path("straitd")
            found[Before.name] = Before
        found[Strait.name] = Strait
    if not found:
        raise BenchError("there is no switch to measure: " + "; ".join(skipped.values()))
    return found, skipped


def _cells(asked):
    names = asked.scenario or (scenarios.names() if asked.all else scenarios.usual_names())
    wanted = [one for one in scenarios.SCENARIOS if one.name in names]
    cells = [cell for one in wanted for cell in one.cells(asked.size, asked.flows)]
    return cells, [name for name in scenarios.ALONE if name in names]


class Kept:
    """The document of a run, written anew whenever there is more to it."""

    def __init__(self, asked, settings, switches, skipped):
        self._meanwhile = facts.Meanwhile()
        self.path = asked.json or datetime.datetime.now().strftime(
            "strait-bench-%Y%m%d-%H%M%S.json")
        peers = {name: {"title": one.title, "version": one.version(settings)}
                 for name, one in switches.items()}
        peers.update({name: {"title": PEERS[name].title, "skipped": reason}
                      for name, reason in skipped.items()})
        self.document = {
            "format": FORMAT, "partial": True, "reason": "it was killed",
            "started": _now(), "command": [printable(word) for word in sys.argv[1:]],
            "machine": facts.of_machine(asked.worker_cpu, asked.generator_cpu),
            "settings": {"rounds": asked.rounds, "seconds": asked.seconds,
                         "warm_up": asked.warm_up, "huge_pages": settings.huge,
                         "nice": asked.nice, "rfc2544": asked.rfc2544,
                         "guest_cpu": settings.guest_cpu},
            "peers": peers, "alone": {}, "trials": []}

    def keep(self, results):
        self.document["trials"] = results.trials
        self.document["machine"]["meanwhile"] = self._meanwhile.shares()
        self.document["ended"] = _now()
        if self.path != "-":
            write(self.document, self.path)

    def whole(self):
        self.document["partial"] = False
        del self.document["reason"]


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _measure(asked, runner, kept, cells, solo):
    """All of it; the reason if it was stopped before, one sentence."""
    try:
        if asked.calibrate:
            _calibrate(asked, runner, kept)
        runner.run(cells)
        if asked.stages:
            kept.document["stages"] = _stages(asked, runner, kept.document["machine"])
            runner.keep()
        if asked.labs:
            _labs(asked, runner, kept.document)
        for name in solo:
            runner.progress.say(f"{name}: Strait alone")
            kept.document["alone"][name] = runner.alone(name)
            runner.keep()
        return None
    except Interrupted as signal_name:
        return f"it was stopped by {signal_name}"


def _stages(asked, runner, machine):
    """And, of the machine, the clock that these cycles are of."""
    runner.progress.say("cycles of the ring engines, by stage")
    try:
        stages, machine["tsc_hz"] = hypervisors.measure(runner.settings, asked.rounds)
        return stages
    except BenchError as error:
        runner.progress.say(f"not measured: {error}")
        return {"error": str(error)}


def _labs(asked, runner, document):
    told = document["labs"] = {}
    for kind, text in labs.KINDS.items():
        runner.progress.say(text)
        told[kind] = {"trials": []}
        labs.measure(kind, runner.settings, asked.rounds, told[kind], runner.progress, runner.keep)
        if "error" in told[kind]:
            how = "not whole" if told[kind]["trials"] else "not measured"
            runner.progress.say(f"{how}: {told[kind]['error']}")
        runner.keep()


def _calibrate(asked, runner, kept):
    """This host, before those of files."""
    runner.progress.say("costs of this host's hypervisor")
    try:
        own = calibration.measure(runner.settings, asked.rounds)
    except BenchError as error:
        kept.document["reason"] = str(error)
        runner.keep()
        raise
    for kind, name in calibration.NAMES.items():
        if not calibration.available(own, kind):
            runner.progress.say(f"{name} was not calibrated: {own[kind]['missing']}")
    kept.document["calibrations"] = [own, *kept.document.get("calibrations", ())]
    runner.keep()


def run(asked, programs):
    _check_machine(asked)
    settings = Settings(asked.worker_cpu, asked.generator_cpu, False, programs, asked.guest_cpu)
    switches, skipped = _switches(asked, settings)
    settings.huge = not asked.no_huge and free_huge_mib() >= HUGE_MIB_EACH * len(switches)
    titles = {name: one.title for name, one in switches.items()}
    progress = Progress(titles, asked.verbose)
    _end_at_signals()
    os.sched_setaffinity(0, {asked.generator_cpu})
    raise_priority(asked.nice)

    calibrations = [one for path in asked.calibration for one in calibration.read(path)]
    kept = Kept(asked, settings, switches, skipped)
    if calibrations:
        kept.document["calibrations"] = calibrations
    for reason in skipped.values():
        progress.say(f"left out: {reason}")
    for sentence in facts.warnings_of(kept.document["machine"], settings.huge):
        progress.say(sentence)
    runner = Runner(asked, settings, switches, progress)
    runner.keep = lambda: kept.keep(runner.results)
    runner.keep()  # a place that cannot be written to is known now
    cells, solo = _cells(asked)
    solo = solo if Strait.name in switches else []
    cells = [cell for cell in cells if runner.takes_part(cell)]
    _plan(runner, progress, cells)
    if kept.path != "-":
        progress.say(f"results go to {kept.path}")
    reason = _measure(asked, runner, kept, cells, solo)
    progress.close()
    if reason:
        kept.document["reason"] = reason
    else:
        kept.whole()
    kept.document["settings"]["half_cpu"] = runner.half_cpu_method
    kept.keep(runner.results)
    return _finish(asked, kept, reason)


def _plan(runner, progress, cells):
    seen = set()
    for cell in cells:
        searches = runner.searches(cell, cell.scenario.name not in seen)
        progress.plan(runner.turns(cell) * (1 + SEARCH_TURNS * searches))
        seen.add(cell.scenario.name)


def _finish(asked, kept, reason):
    document = kept.document
    to_stdout = asked.json == "-"
    out = sys.stderr if to_stdout else sys.stdout
    print(file=out)
    results = Results(document["trials"])
    report.print_all(document, results, peers_of(document), out)
    if hypervisors.concerns(document):
        hypervisors.print_all(document, results, out)
    if to_stdout:
        json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
        print()
    files.write_reports(document, asked.html, asked.markdown)
    if reason:
        print(f"strait-bench: {reason}; what was measured is kept, marked as partial",
              file=sys.stderr)
        return 130
    return 0 if document["trials"] or document["alone"] else 1
