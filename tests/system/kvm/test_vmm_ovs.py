# SPDX-License-Identifier: BSD-3-Clause
"""Guests by strait-vmm whose back end is OVS-DPDK: with four pairs of queues, and where the VMM
listens."""

import pytest

import lab as parts

from .exchange import exchange, up

PAIRS = 4


class House:
    """Guests one, with a CPU for each of its pairs of queues, and two, with packed rings."""

    def __init__(self, machine, lab):
        self.machine = machine
        sockets = [f"/run/ovs-vm{number}.sock" for number in (1, 2)]
        self.one, self.two = (lab.vmm_guest(
            machine, parts.Nic(path, f"52:54:00:00:00:0{number}", queues=queues,
                               extra=f",server=on,{extra}"),
            f"10.0.0.{number}", cpus=queues, wait=False)
            for number, path, queues, extra in ((1, sockets[0], PAIRS, "packed=off"),
                                                (2, sockets[1], 1, "packed=on")))
        self.switch = lab.machine_ovs(machine, sockets)
        up(self.one, self.two)


@pytest.fixture(scope="module")
def house(machine, module_lab):
    return House(machine, module_lab)


def test_ping_and_stream(house):
    exchange(house.one, house.two, 3_000_001)
    # VIRTIO_F_RING_PACKED
    assert house.two.sh("cat /sys/class/net/eth0/device/features")[34] == "1"


def test_queues(house):
    """Each CPU of the guest sends by a queue of its own."""
    assert len(house.one.sh("ls -d /sys/class/net/eth0/queues/rx-*").split()) == PAIRS
    for cpu in range(PAIRS):
        house.one.sh(f"taskset -c {cpu} busybox ping -c 3 -A 10.0.0.2")

    def by_queue():
        counts = house.switch.statistics(1)
        return [counts.get(f"rx_q{queue}_good_packets", 0) for queue in range(PAIRS)]
    parts.wait_until(lambda: all(count >= 3 for count in by_queue()), 30,
                     "OVS counting packets of all queues", 1)


def test_switch_killed(house):
    """SIGKILL of OVS: the guests go on where they were, split and packed."""
    house.switch.kill()
    house.switch.start()
    for guest, other in ((house.one, house.two), (house.two, house.one)):
        guest.wait_ping(other, 60)
        guest.stream(other, size=1_000_001, timeout=120)
        assert not guest.sh("dmesg | grep -e WARNING: -e BUG: || true").strip()
