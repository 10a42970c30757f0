# SPDX-License-Identifier: BSD-3-Clause
"""This folder's tests have the machine's own /dev/kvm, but for those that are marked without_kvm; a
switch for all of them, and for each test a bridge of its own."""

import os
import pathlib

import pytest

import lab as parts

HERE = pathlib.Path(__file__).resolve().parent
STAYING = ("stay1", "stay2")


def pytest_collection_modifyitems(items):
    """Before anything is begun for them."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        for item in items:
            if HERE in item.path.parents and not item.get_closest_marker("without_kvm"):
                item.add_marker(pytest.mark.skip(reason="no /dev/kvm"))


class House:
    """A switch, whose ports stay1 and stay2 are there again when it is."""

    def __init__(self):
        self.folder = None
        self.switch = parts.Switch(config=["bridge add stay"])
        self.staying = {name: self.switch.socket(name) for name in STAYING}
        with open(self.switch.folder / "config", "a", encoding="ascii") as config:
            config.writelines(f"port add {name} --bridge stay --type vhost-user --socket {path}\n"
                              for name, path in self.staying.items())


@pytest.fixture(scope="package")
def house():
    made = House()
    yield made
    made.switch.close()


@pytest.fixture
def switch(house):
    """It has to be there after each test, with all of its buffers."""
    yield house.switch
    house.switch.process.check_running()
    parts.wait_until(lambda: house.switch.ctl("worker list")["pool"]["in_use"] == 0, 60,
                     "all packet buffers given back")


class Bridge:
    """A bridge br0 and what tests do with guests on it."""

    def __init__(self, lab, switch):
        self.lab = lab
        self.switch = switch
        switch.ctl("bridge add br0")

    def add(self, name, *words, **options):
        """A port; the path of its socket."""
        return self.switch.add_vhost(name, *words, **options)

    def stats(self, name):
        return next(port for port in self.switch.ctl("stats")["ports"] if port["name"] == name)

    def drops(self, name):
        """By reason, what did not get to the guest at a port."""
        return {reason: count for reason, count in self.stats(name)["drops"].items() if count}

    def guest(self, words, path, *, ready=True, extra="", **options):
        """A patient guest that does these words with a device on the socket at path; ready: returns
        when it has its device set up."""
        made = self.lab.bare_guest(f"{parts.BareGuest.PATIENT} {words}",
                                   nets=[f"socket={path}{extra}"], **options)
        if ready:
            made.wait_told("net", "ok")
        return made

    def wait_serving(self, guest, devices=1):
        """Until its devices have their back ends; those have all of its rings then."""
        def served():
            return [net["serving"] for net in guest.vm("info")["nets"]] == [True] * devices
        parts.wait_until(served, 60, f"{guest.name}'s rings being served")


@pytest.fixture
def bridge(lab, switch):
    made = Bridge(lab, switch)
    yield made
    switch.ctl("bridge del br0 --with-ports")
