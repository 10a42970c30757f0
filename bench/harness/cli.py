# SPDX-License-Identifier: BSD-3-Clause
# The command line. Timing never changes the exit status: 0 is done, 1 something that could not be,
# 2 a wrong command line, 130 stopped by Ctrl-C, with what was measured kept.

import argparse
import os
import pathlib
import sys

from . import charts, compare, files, hypervisors, labs, scenarios, session
from .alone import RUNNERS
from .machine import BenchError, Programs
from .peers import PEERS
from .results import read

MOST_FLOWS = 16_777_216


def _numbers(text, name, least, most):
    out = []
    for word in text.split(","):
        try:
            number = int(word)
        except ValueError:
            number = -1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{name} are numbers from {least} to {most}, with commas between; \"{word}\" is "
                f"none")
        out.append(number)
    return list(dict.fromkeys(out))


def _flows(text):
    counts = _numbers(text, "flow counts", 1, MOST_FLOWS)
    for count in counts:
        if count > 1 and count % 2:
            raise argparse.ArgumentTypeError(
                f"flow counts are of both directions together: 1, or an even number; {count} is "
                f"neither")
    return counts


def _sizes(text):
    out = []
    for word in text.split(","):
        out += [word] if word == "imix" else _numbers(word, "sizes", 60, 9600)
    return list(dict.fromkeys(out))


def _names(known, what):
    def read_names(text):
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"there is no {what} {name}; there are {', '.join(known)}")
        return names
    return read_names


def _positive(kind, least):
    def read_number(text):
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= 10 ** 6:
            raise argparse.ArgumentTypeError(f"a number from {least} on, not \"{text}\"")
        return number
    return read_number


class Parser(argparse.ArgumentParser):
    """What is wrong with a command line is one sentence."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def _listed(numbers):
    return ",".join(map(str, numbers))


def _add_run(commands):
    run = commands.add_parser(
        "run", help="measure this machine's switches", description="Measures Strait beside every "
        "peer that is installed, in rounds, the peers by turns. Needs root and two CPUs.")
    run.add_argument("--scenario", metavar="NAME,...", type=_names(scenarios.names(), "scenario"),
                     help="run these only; strait-bench list names them (v2v,x2x)")
    run.add_argument("--all", action="store_true", help="run all scenarios")
    run.add_argument("--flows", metavar="N,...", type=_flows,
                     help="of both directions together; 1: one each way (each scenario's own; of "
                     f"most {_listed(scenarios.Scenario.flow_counts)})")
    run.add_argument("--peers", metavar="NAME,...", type=_names([*PEERS, "none"], "peer"),
                     help="compare with these only; none: with no peer (all that are installed)")
    run.add_argument("--install-peers", action="store_true",
                     help="install Debian's packages of the peers first, their services not begun")
    run.add_argument("--without-strait", action="store_true", help="run the peers only")
    run.add_argument("--rfc2544", choices=("none", "first", "all"), default="first",
                     help="search NDR and PDR, latency at parts of PDR, back-to-back frames: in no "
                     "place, in each scenario's first, or in all of a scenario with sizes and "
                     "flows (first)")
    run.add_argument("--before", metavar="DIR", type=pathlib.Path,
                     help="a build folder with another straitd, to compare with as with a peer")
    _add_common(run, rounds=3, sizes=None)
    run.set_defaults(do=_run, stages=False, calibrate=False, calibration=[], labs=False)


def _add_common(parser, rounds, sizes):
    """What all that measures has."""
    own = f"each scenario's own; of most {_listed(scenarios.Scenario.sizes)}"
    parser.add_argument("--size", metavar="BYTES,...", type=_sizes, default=sizes,
                        help=f"of frames without their check sequence, or imix ({sizes or own})")
    parser.add_argument("--rounds", type=_positive(int, 1), default=rounds,
                        help=f"turns of each switch ({rounds})")
    parser.add_argument("--seconds", type=_positive(float, 0.01), default=0.4,
                        help="seconds counted of a turn (0.4)")
    parser.add_argument("--warm-up", type=_positive(float, 0), default=0.1,
                        help="seconds before those (0.1)")
    parser.add_argument("--patience", type=_positive(float, 1), default=15, metavar="SECONDS",
                        help="until a switch's first frame (15)")
    parser.add_argument("--worker-cpu", type=_positive(int, 0), default=1,
                        help="the switches' CPU (1)")
    parser.add_argument("--generator-cpu", type=_positive(int, 0), default=0,
                        help="the CPU of the generator and of everything else (0)")
    parser.add_argument("--guest-cpu", type=_positive(int, 0), metavar="N",
                        help="the CPU of guests that packets go through (the generator's)")
    parser.add_argument("--no-huge", action="store_true",
                        help="no huge pages, for anyone; chosen by itself when too few are free")
    parser.add_argument("--nice", type=int, choices=range(-20, 20), default=0, metavar="N",
                        help="priority of all that is measured, for a machine that is not quiet: "
                        "-20 (highest) to 19 (0)")
    parser.add_argument("--json", metavar="FILE",
                        help="where the results go, as they come; -: stdout, at the end "
                        "(strait-bench-TIME.json)")
    parser.add_argument("--html", metavar="FILE", help="write the page of them there, too")
    parser.add_argument("--markdown", metavar="FILE", help="write a table of them there, too")
    parser.add_argument("--verbose", action="store_true", help="print each turn as it ends")
    _add_build(parser)


def _add_hypervisors(commands):
    one = commands.add_parser(
        "hypervisors", help="KVM's network path beside Xen's", description="Measures vhost-user "
        "and netback ports of the same switch by turns, the latter on the simulated hypervisor, "
        "and where the cycles go; when asked to, what this host's own KVM or Xen costs. It names "
        "no winner unless there are such costs of both, from hardware of one kind, and five rounds "
        "of all.")
    one.add_argument("--calibrate", action="store_true",
                     help="measure what kicks of a KVM guest cost here, or Xen's grant copies and "
                     "event channels, as root of a KVM host or of a Xen domain that serves devices")
    one.add_argument("--calibration", metavar="FILE", action="append", default=[],
                     help="use what strait-calibrate printed on another host, or the JSON file of "
                     "a run there with --calibrate; may be given again")
    one.add_argument("--labs", action="store_true",
                     help="boot the emulated machines of the source tree, too, with two Linux "
                     "guests of KVM and two of Xen, for TCP streams and requests between them")
    _add_common(one, rounds=5, sizes="64,1514")
    one.set_defaults(do=_run, stages=True, scenario=[hypervisors.NAME, hypervisors.OFFLOADS],
                     all=False, flows=[1], peers=["none"], install_peers=False,
                     without_strait=False, before=None, rfc2544="none")


def _add_build(parser):
    parser.add_argument("--build", metavar="DIR", type=pathlib.Path,
                        help="build folder with bin/straitd (the one beside this program)")


def parser_of():
    parser = Parser(
        prog="strait-bench", description="Says how fast a virtual switch is on this machine, "
        "beside others.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_hypervisors(commands)
    one = commands.add_parser("list", help="name scenarios and peers")
    one.set_defaults(do=_list)
    one = commands.add_parser(
        "gen", help="the load generator itself", add_help=False,
        description="Runs strait-generator with all that follows; gen --help has its options.")
    one.set_defaults(do=None)
    one = commands.add_parser("report", help="a page of results that were kept")
    one.add_argument("file", metavar="FILE.json")
    one.add_argument("-o", "--html", metavar="FILE", help="the page")
    one.add_argument("--markdown", metavar="FILE", help="a table, for a README; -: stdout")
    one.set_defaults(do=_report)
    one = commands.add_parser("compare", help="what changed between two runs")
    one.add_argument("first", metavar="A.json")
    one.add_argument("second", metavar="B.json")
    one.set_defaults(do=_compare)
    return parser


def programs_of(build=None):
    """Where Strait's programs are: a build folder's, else those of the build or the installation
    that this file is of."""
    if build:
        return Programs([build / "bin"])
    here = pathlib.Path(__file__).resolve().parents[1]
    if "STRAIT_BIN" in os.environ:
        return Programs([os.environ["STRAIT_BIN"]])
    if (here / "generator").is_dir():  # the source tree
        root = here.parent
        return Programs([root / "build" / "release" / "bin", root / "build" / "bin"])
    prefix = here.parents[2]  # of share/strait/bench
    return Programs([prefix / "bin", prefix / "sbin"])


def _run(asked):
    if asked.before and asked.without_strait:
        raise BenchError("--before compares with Strait; it excludes --without-strait")
    if asked.all and asked.scenario:
        raise BenchError("--all and --scenario exclude each other")
    if asked.labs:
        labs.need()
    if asked.html:
        charts.need()  # not found out after a quarter of an hour
    return session.run(asked, programs_of(asked.build))


def _list(_asked):
    for one in scenarios.SCENARIOS:
        kind = " (by size and flows)" if one.grid else ""
        print(f"{one.name:26} {one.title}{kind}{'; usual' if one.usual else ''}")
    for name in scenarios.ALONE:
        print(f"{name:26} Strait alone: {' '.join(RUNNERS[name].__doc__.split())}")
    print()
    for name, peer in PEERS.items():
        print(f"{name:26} peer: {peer.title}; {peer.missing() or 'found'}")
    return 0


def _gen(words):
    program = str(programs_of().path("strait-generator"))
    os.execv(program, [program, *words])


def _report(asked):
    if not asked.html and not asked.markdown:
        raise BenchError("report needs -o FILE, --markdown FILE or both")
    files.write_reports(read(asked.file), asked.html, asked.markdown)
    return 0


def _compare(asked):
    first, second = read(asked.first), read(asked.second)
    found = compare.changes(first, second)
    if not found:
        raise BenchError("the two runs have nothing in common: no scenario of the same size and "
                         "number of flows, measured for the same switch")
    compare.print_changes(first, second, found, sys.stdout)
    return 0


def main(words):
    if words[:1] == ["gen"]:
        work = lambda: _gen(words[1:])  # noqa: E731
    else:
        asked = parser_of().parse_args(words)
        work = lambda: asked.do(asked)  # noqa: E731
    try:
        return work()
    except BenchError as error:
        print(f"strait-bench: {error}", file=sys.stderr)
        return 1
    except session.Interrupted as signal_name:
        print(f"strait-bench: it was stopped by {signal_name}", file=sys.stderr)
        return 130
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
