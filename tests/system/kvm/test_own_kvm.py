# SPDX-License-Identifier: BSD-3-Clause
"""The tests of ../vmm, whose bare-metal guests want a /dev/kvm of the machine's own, in the
emulated machine, which has one. Where a report is written (--junitxml), theirs is beside it: each
of them counts, and why it was skipped."""

import pathlib
import shutil
import xml.etree.ElementTree as xml

import pytest

import lab as parts

FOLDER = pathlib.Path(__file__).resolve().parents[1]
# Some of what is refused when /dev/kvm is there, and a guest each for its start, its memory, who
# may run it, and its network.
FEW = ('vmm/test_refused.py vmm/test_boot.py vmm/test_network.py -m "not soak" '
       '-k "(test_refused and kernel) or test_stages or sealed or not_root or test_mtu_and_mac"')


@pytest.fixture(autouse=True)
def bare_guest_is_there():
    try:
        for linux in (False, True):
            parts.BareGuest.image(linux)
    except parts.Unavailable as reason:
        pytest.skip(str(reason))


def run(machine, config, name, words, timeout):
    """What pytest does by these words there; the tests of its report."""
    # The device is its group's, too, as udev would have it; and no guest is on the first CPU, as
    # lab/kvm.py says.
    status, _ = machine.run(
        f"chmod 660 /dev/kvm; cd {FOLDER} && STRAIT_BIN={parts.binaries()} "
        f"timeout -k 10 {timeout} taskset -c 1-{machine.cpus - 1} /usr/bin/python3 -B -m pytest "
        f"{words} --junitxml=/lab/{name}.xml > /lab/{name}.log 2>&1", timeout + 60)
    report = machine.logs / f"{name}.xml"
    if report.exists() and config.option.xmlpath:
        shutil.copy(report, pathlib.Path(config.option.xmlpath).parent / f"system-{name}.xml")
    log = (machine.logs / f"{name}.log").read_text(errors="replace")
    print(log.splitlines()[-1] if log else "pytest said nothing")
    assert status == 0, f"status {status}:\n{log[-6000:]}"
    cases = list(xml.parse(report).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    assert len(skipped) < len(cases)
    return cases, skipped


def test_a_few(machine, pytestconfig):
    cases, skipped = run(machine, pytestconfig, "own-kvm-few", FEW, 480)
    assert len(cases) > 10 and not skipped


@pytest.mark.soak
@pytest.mark.parametrize("file", ["refused", "boot", "network", "hostile", "vm_commands"])
def test_all(machine, pytestconfig, file):
    """But those that take an hour where nothing is emulated."""
    run(machine, pytestconfig, f"own-kvm-{file}", f'vmm/test_{file}.py -k "not poke_for_long"',
        7200)
