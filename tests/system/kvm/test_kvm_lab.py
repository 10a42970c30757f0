# SPDX-License-Identifier: BSD-3-Clause
"""The lab of KVM guests itself: QEMU's on the /dev/kvm of an emulated machine, straitd beside
them."""

import pytest

import lab as parts

from .exchange import exchange, up

pytestmark = pytest.mark.soak  # QEMU's guests are in test_vmm.py, too


class House:
    """Guests one, with a disk, and two, on bridge br0."""

    def __init__(self, machine, lab):
        machine.sh("head -c 1048576 /dev/urandom > /run/disk")
        self.machine = machine
        self.switch = lab.machine_switch(machine, config=["bridge add br0"])
        self.one, self.two = (lab.qemu_kvm_guest(
            machine, parts.Nic(self.switch.add_vhost(f"vm{number}"), f"52:54:00:00:00:0{number}"),
            f"10.0.0.{number}", disk=disk, wait=False)
            for number, disk in ((1, "/run/disk"), (2, None)))
        up(self.one, self.two)


@pytest.fixture(scope="module")
def house(machine, module_lab):
    return House(machine, module_lab)


def test_kvm_is_there(machine):
    version = machine.sh("python3 -c 'import fcntl, os; "
                         "print(fcntl.ioctl(os.open(\"/dev/kvm\", os.O_RDWR), 0xae00))'", 60)
    assert version.strip() == "12"


def test_ping_and_stream(house):
    exchange(house.one, house.two, 3_000_001)
    for guest in (house.one, house.two):
        interrupts = guest.sh("grep 'PCI-MSI.*virtio.*-input' /proc/interrupts")
        assert int(interrupts.split()[1]) > 100, interrupts
        assert not guest.sh("dmesg | grep -e WARNING -e BUG || true").strip()


def test_disk(house):
    there = house.machine.sh("md5sum < /run/disk")
    assert house.one.sh("md5sum < /dev/vda") == there
    house.one.sh("echo written | dd of=/dev/vda conv=notrunc,fsync")
    assert house.machine.sh("head -n 1 /run/disk") == "written\n"


def test_ends_and_comes_back(house):
    """The ways in which a guest ends; the switch has it again each time."""
    house.two.press_power_button()
    assert house.two.wait(60) == 0
    house.two.boot()
    house.two.wait_up()
    house.one.wait_ping(house.two, 60)
    house.two.send("reboot")  # which ends QEMU
    assert house.two.wait(60) == 0
    assert house.one.ping(house.two, count=1).received == 0
    house.one.kill()
    house.one.boot()
    house.one.wait_up()
    assert house.one.poweroff(60) == 0


def test_a_vmm_that_ends_at_once_is_noticed(machine, lab):
    with pytest.raises(parts.LabError, match="ended with status 1(.|\n)*nonsense"):
        lab.qemu_kvm_guest(machine, arguments=["-nonsense"])
