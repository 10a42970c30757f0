# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: lab (a test's own) and session_lab (shared by the session) make switches, guests,
namespaces and generators, and end them in reverse order. What a machine cannot have is a skip."""

import pathlib
import re
import sys

import pytest

sys.dont_write_bytecode = True

import lab as parts  # noqa: E402


class Lab:
    """Makes parts of the lab and closes them; a closing that fails fails the test."""

    def __init__(self):
        self._open = []

    def _make(self, kind, /, *arguments, **options):
        try:
            part = kind(*arguments, **options)
        except parts.Unavailable as reason:
            pytest.skip(str(reason))
        self._open.append(part)
        return part

    def switch(self, *arguments, **options):
        return self._make(parts.Switch, *arguments, **options)

    def guest(self, *arguments, **options):
        return self._make(parts.Guest, *arguments, **options)

    def guests(self, *specifications):
        """Boots several guests at once: each specification is (nics, address)."""
        made = [self.guest(nics, address, wait=False) for nics, address in specifications]
        for guest in made:
            guest.wait_up()
        return made

    def netns(self, *arguments, **options):
        return self._make(parts.Netns, *arguments, **options)

    def testpmd(self, *arguments, **options):
        return self._make(parts.Testpmd, *arguments, **options)

    def testpmd_guest(self, *arguments, **options):
        return self._make(parts.Testpmd.guest, *arguments, **options)

    def wire(self, netns, interface="eth0"):
        return self._make(netns.wire, interface)

    def nic_machine(self, *arguments, **options):
        return self._make(parts.NicMachine, *arguments, **options)

    def xen(self, *arguments, **options):
        return self._make(parts.Xen, *arguments, **options)

    def xen_switch(self, *arguments, **options):
        return self._make(parts.XenSwitch, *arguments, **options)

    def xen_guest(self, *arguments, **options):
        return self._make(parts.XenGuest, *arguments, **options)

    def machine_switch(self, *arguments, **options):
        return self._make(parts.MachineSwitch, *arguments, **options)

    def machine_ovs(self, *arguments, **options):
        return self._make(parts.MachineOvs, *arguments, **options)

    def machine_testpmd(self, *arguments, **options):
        return self._make(parts.MachineTestpmd, *arguments, **options)

    def qemu_kvm_guest(self, *arguments, **options):
        return self._make(parts.QemuKvmGuest, *arguments, **options)

    def vmm_guest(self, *arguments, **options):
        return self._make(parts.VmmGuest, *arguments, **options)

    def straitctl_guest(self, *arguments, **options):
        return self._make(parts.StraitctlGuest, *arguments, **options)

    def bare_guest(self, *arguments, **options):
        return self._make(parts.BareGuest, *arguments, **options)

    def back_end(self, *arguments, **options):
        return self._make(parts.BackEnd, *arguments, **options)

    def bad_switch(self, *arguments, **options):
        return self._make(parts.BadSwitch, *arguments, **options)

    def container(self, *arguments, **options):
        return self._make(parts.Container, *arguments, **options)

    def dummy_ovs(self, *arguments, **options):
        return self._make(parts.DummyOvs, *arguments, **options)

    def netdev_ovs(self, *arguments, **options):
        return self._make(parts.NetdevOvs, *arguments, **options)

    def close(self):
        failures = []
        while self._open:
            try:
                self._open.pop().close()
            except parts.LabError as failure:
                failures.append(str(failure))
        if failures:
            raise parts.LabError("\n".join(failures))


@pytest.fixture
def lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="session")
def session_lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="module")
def module_lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture
def generate(tmp_path):
    """Starts bench's load generator between two vhost-user sockets, with more of its words."""
    program = parts.binaries() / "strait-generator"
    if not program.exists():
        pytest.skip(f"skipped: {program} was not built")
    begun = []

    def start(ends, *words):
        begun.append(parts.Process(
            [program, "--end-a", f"vhost:{ends[0]}", "--end-b", f"vhost:{ends[1]}", "--no-huge",
             *words], tmp_path / "generator"))
        return begun[-1]
    yield start
    for process in begun:
        process.kill()


# These keep more than one CPU busy (emulated machines of several, benchmarks, which are pinned), or
# look at how busy one is. Beside others they would miss their time limits. Where a command line is
# refused, nothing is begun. Of files that are not named here single tests are marked.
_BUSY = ("kvm/", "vmm/", "xen/", "test_pci.", "test_bench.", "test_generator.")
_REFUSALS = "test_says_what_is_wrong"

# What takes longest comes first, so that of several processes none has much to do when the others
# are done; the rest, half a minute each and less, in the order of names.
_LONGEST = ("test_guests.", "flows/", "test_shaping.", "test_cli.", "test_configuration.",
            "test_restart.", "test_capture.", "test_acl.", "test_spanning_tree.", "test_l2_policy.",
            "test_service.", "test_tunnels.", "test_stateful.", "test_l2.", "test_geneve_options.",
            "test_events.")


def _place(item):
    return next((place for place, name in enumerate(_LONGEST) if item.nodeid.startswith(name)),
                len(_LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.startswith(_BUSY) and item.originalname != _REFUSALS:
            item.add_marker("busy")
    items.sort(key=_place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Several processes (-n): a file's tests stay in one, and so do a folder's."""
    # pylint: disable=import-outside-toplevel
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = pathlib.PurePath(nodeid.split("::")[0])
            return str(path.parent) if path.parent.name else path.name

    return Scheduling(config, log)


def pytest_addoption(parser):
    parser.addoption("--failed", metavar="FILE", type=pathlib.Path,
                     help="write the names of tests that may be done again there, a line each: of "
                     "those that failed, but for what is a fault however seldom it is")


# A process that ended, and what a sanitizer says.
_FAULT = re.compile(r"(straitd|VMM) (had )?ended|Sanitizer|runtime error:")


def pytest_terminal_summary(terminalreporter, config):
    file = config.getoption("--failed")
    if file:
        reports = [report for outcome in ("failed", "error")
                   for report in terminalreporter.getreports(outcome)]
        faults = {report.nodeid for report in reports if _FAULT.search(report.longreprtext)}
        names = dict.fromkeys(report.nodeid for report in reports if report.nodeid not in faults)
        file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def pytest_report_teststatus(report, config):
    """Every test's time beside its outcome; what the fixtures took is in it."""
    pytest_report_teststatus.seconds = getattr(pytest_report_teststatus, "seconds", {})
    seconds = pytest_report_teststatus.seconds
    seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
    if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
        return "passed", ".", f"PASSED in {seconds[report.nodeid]:.1f} s"
    return None


def pytest_make_parametrize_id(config, val, argname):
    """Names of tests stay readable where a parameter is long."""
    if isinstance(val, (str, bytes)) and len(val) > 60:
        return f"{val[:40]!r} and {len(val) - 40} more".strip("'")
    return None
