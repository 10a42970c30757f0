# SPDX-License-Identifier: BSD-3-Clause
"""The machine of this folder's tests, booted once; its logs stay in build/logs/kvm.

The emulation hangs once in a while, whatever runs in it. A test that fails in a machine that does
not answer any more is done again in a new one, once, and the summary names it.
"""

import pathlib
import shutil

import pytest
from _pytest.runner import runtestprotocol

import lab as parts

HERE = pathlib.Path(__file__).resolve().parent
LOGS = HERE.parents[2] / "build/logs/kvm"

_machines = []  # the one that is up
_hung_in = []  # names of tests


@pytest.fixture(scope="package")
def machine():
    try:
        made = parts.KvmMachine(LOGS)
    except parts.Unavailable as reason:
        pytest.skip(str(reason))
    with made:
        print(f"the machine is up after {made.boot_seconds:.1f} s")
        _machines.append(made)
        yield made
        _machines.remove(made)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Looks at the machine after a failure, and ends one that hangs: what else waits for an answer
    of it need not."""
    result = yield
    if result.get_result().failed and _machines and not _machines[0].answers():
        if item.nodeid not in _hung_in:
            _hung_in.append(item.nodeid)
            shutil.copytree(LOGS, LOGS.with_name(f"kvm-hung-{len(_hung_in)}"), dirs_exist_ok=True)
        _machines[0].process.kill()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if HERE not in item.path.parents:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if item.nodeid in _hung_in:
        terminal = item.config.pluginmanager.get_plugin("terminalreporter")
        terminal.write_line("the emulated machine hung; once more, in a new one:")
        try:
            item.session._setupstate.teardown_exact(None)
        except Exception:  # what was in the machine cannot be closed
            pass
        item.user_properties.append(("repeated", "the emulated machine hung"))
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
