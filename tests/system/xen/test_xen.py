# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests of a real Xen, whose network devices straitd serves in dom0. One machine is booted
for all tests; logs stay in build/logs/xen."""

import pathlib
import threading
import time

import pytest

import lab as parts

ROOT = pathlib.Path(__file__).resolve().parents[3]
PV_MAC, PVH_MAC = "00:16:3e:00:00:01", "00:16:3e:00:00:02"


def vif(mac, bridge="br0", more=""):
    return f"mac={mac},bridge={bridge},script=vif-strait{more}"


class Machine:
    """A PV guest with two queues, a PVH guest with one and dom0 itself, on bridge br0."""

    def __init__(self, lab):
        self.xen = lab.xen(ROOT / "build/logs/xen")
        print(f"dom0 is up after {self.xen.boot_seconds:.1f} s")
        self.switch = lab.xen_switch(self.xen, config=[
            "bridge add br0", "xen adopt --bridge br0",
            "port add host0 --bridge br0 --type host --address 10.0.0.254/24"])
        self.xen.address = "10.0.0.254"
        self.pv = lab.xen_guest(self.xen, [vif(PV_MAC)], "10.0.0.1", cpus=2, name="pv")
        self.pvh = lab.xen_guest(self.xen, [vif(PVH_MAC)], "10.0.0.2", kind="pvh", name="pvh")
        self.lab = lab

    def port(self, guest, handle=0):
        return f"vif{guest.domain}.{handle}"

    def details(self, guest, handle=0):
        return self.switch.ctl("port", "show", self.port(guest, handle))["details"]

    def stats(self, name):
        return self.switch.ctl("stats", name)["ports"][0]

    def boot_ids(self):
        return [guest.sh("cat /proc/sys/kernel/random/boot_id") for guest in (self.pv, self.pvh)]


@pytest.fixture(scope="module")
def booted(module_lab):
    return Machine(module_lab)


@pytest.fixture
def machine(booted):
    """The machine; afterwards its two guests must be as well as they were."""
    log = len(booted.switch.log())
    before = booted.boot_ids()
    yield booted
    assert booted.boot_ids() == before
    for guest in (booted.pv, booted.pvh):
        assert guest.ping(booted.xen, count=1, timeout=5).received == 1
        trouble = guest.sh("dmesg | grep -e WATCHDOG -e BUG -e Oops -e 'bad' || true")
        assert not trouble.strip(), trouble
    said = booted.switch.log()[log:]
    assert "error" not in said, said


def test_ping(machine):
    """Guest to guest, and guest to dom0 through a host port."""
    for one, other in ((machine.pv, machine.pvh), (machine.pv, machine.xen),
                       (machine.pvh, machine.xen)):
        assert one.ping(other, count=5, timeout=5).lost == 0
        assert other.ping(one, count=5, timeout=5).lost == 0
