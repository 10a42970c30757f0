# SPDX-License-Identifier: BSD-3-Clause
"""Guests by strait-vmm with testpmd's io forwarding between them, which passes on no checksum that
is to be finished, and loses what is for a queue that the other guest has not."""

import pytest

import lab as parts

from .exchange import exchange, up

PAIRS = 2


class House:
    """Guests one and two, with packed rings, each with a CPU for each of its pairs of queues."""

    def __init__(self, machine, lab):
        sockets = [f"/run/testpmd{number}.sock" for number in (1, 2)]
        lab.machine_testpmd(machine, sockets, queues=PAIRS)
        self.one, self.two = (lab.vmm_guest(
            machine, parts.Nic(path, f"52:54:00:00:00:0{number}", queues=PAIRS,
                               extra=f",packed={packed}"),
            f"10.0.0.{number}", cpus=PAIRS, wait=False)
            for number, (path, packed) in enumerate(zip(sockets, ("off", "on")), 1))
        up(self.one, self.two)


@pytest.fixture(scope="module")
def house(machine, module_lab):
    return House(machine, module_lab)


def test_ping_and_stream(house):
    """Guests leave checksums to testpmd, whose ports finish them as they receive packets."""
    exchange(house.one, house.two, 1_000_001)
    for guest in (house.one, house.two):
        # VIRTIO_NET_F_CSUM, GUEST_CSUM
        assert guest.sh("cat /sys/class/net/eth0/device/features")[:2] == "11"
        wrong = guest.sh("awk '/^Tcp: [0-9]/ { print $NF }' /proc/net/snmp")
        assert int(wrong) == 0  # InCsumErrors


def test_queues(house):
    """From each of a guest's queues, one a CPU, to its equal."""
    for cpu in range(PAIRS):
        house.one.sh(f"taskset -c {cpu} busybox ping -c 3 -A 10.0.0.2")
