# SPDX-License-Identifier: BSD-3-Clause
"""PCI NICs, which the switch drives itself by vfio-pci: those of an emulated machine, with its
kernel at the other end of each wire."""

import itertools
import pathlib
import threading
import time

import pytest

import lab as parts

LOGS = pathlib.Path(__file__).resolve().parents[2] / "build/logs/nics"
KINDS = parts.NicMachine.kinds


@pytest.fixture(scope="module")
def machine():
    try:
        made = parts.NicMachine(LOGS)
    except parts.Unavailable as reason:
        pytest.skip(str(reason))
    with made:
        print(f"the machine is up after {made.boot_seconds:.1f} s")
        yield made


@pytest.fixture(scope="module")
def switch(machine, module_lab):
    """Each NIC is a port of br0, by its kind's name, and the machine itself is another."""
    made = module_lab.machine_switch(machine, ["--workers", "1"])
    made.ctl("bridge", "add", "br0")
    with pytest.raises(parts.Refused,
                       match="is held by the kernel's driver virtio-pci: bind it to vfio-pci first"):
        made.ctl("port", "add", "virtio", "--bridge", "br0", "--type", "nic", "--device",
                 machine.address_of("virtio"))
    for kind in KINDS:
        made.ctl("port", "add", kind, "--bridge", "br0", "--type", "nic", "--device",
                 machine.bind(kind))
    made.ctl("port", "add", "host0", "--bridge", "br0", "--type", "host",
             "--address", f"{machine.address}/24")
    parts.wait_until(lambda: all(link(made, kind) for kind in KINDS), 20, "all links up")
    return made


def link(switch, name):
    return switch.ctl("port", "show", name)["link"] == "up"


def missing(switch):
    return {entry["what"]: entry["why"] for entry in switch.ctl("config", "show").get("missing", [])}


def test_drivers(switch):
    drivers = {kind: switch.ctl("port", "show", kind)["details"]["driver"] for kind in KINDS}
    assert drivers == {"e1000e": "net_e1000_em", "virtio": "net_virtio", "vmxnet3": "net_vmxnet3"}


@pytest.mark.parametrize("one, two", itertools.combinations(KINDS, 2))
def test_streams_between(machine, switch, one, two):
    for sender, receiver in itertools.permutations((machine.far[one], machine.far[two])):
        sender.wait_ping(receiver, 20)
        print(f"{sender.stream(receiver, size=1_000_001).mbit_per_s:.0f} Mbit/s")


@pytest.mark.parametrize("kind", KINDS)
def test_segments_of_the_host_are_cut(machine, switch, kind):
    """What a tap's kernel leaves undone, the device does, or the switch in its place."""
    far = machine.far[kind]
    machine.wait_ping(far, 20)
    print(f"{machine.stream(far, size=1_000_001).mbit_per_s:.0f} Mbit/s to it")
    print(f"{far.stream(machine, size=1_000_001).mbit_per_s:.0f} Mbit/s from it")


@pytest.mark.parametrize("kind", KINDS)
def test_link_is_followed(machine, switch, kind):
    machine.set_link(kind, False)
    parts.wait_until(lambda: not link(switch, kind), 10, "the link going down")
    machine.set_link(kind, True)
    parts.wait_until(lambda: link(switch, kind), 10, "the link coming up")


@pytest.mark.parametrize("kind", KINDS)
def test_unplugged_under_traffic_and_back(machine, switch, kind):
    """The others go on, and the port is as it was once its NIC is there again."""
    others = [other for other in KINDS if other != kind]
    switch.ctl("port", "set", kind, "--vlan", "7")
    switch.ctl("port", "set", kind, "--no-vlan")
    number = switch.ctl("port", "show", kind)["number"]
    switch.ctl("mac", "add", "02:00:00:00:00:77", "--port", kind)
    results = {}

    def ping():
        results["ping"] = machine.far[others[0]].ping(machine.far[others[1]], count=30,
                                                      interval=0.1, timeout=5)
    flood = machine.send(f"ip netns exec far-{kind} busybox ping -A -w 3 {machine.address} "
                         "> /dev/null")
    pinging = threading.Thread(target=ping)
    pinging.start()
    time.sleep(0.5)
    machine.unplug(kind)
    parts.wait_until(lambda: f"port {kind}" in missing(switch), 10, "the port being missed")
    assert "there is no PCI device" in missing(switch)[f"port {kind}"] or \
        "was unplugged" in missing(switch)[f"port {kind}"]
    assert f"static MAC {kind} 02:00:00:00:00:77" in missing(switch)
    pinging.join()
    machine.wait(flood, 20)
    assert results["ping"].lost == 0
    machine.plug(kind)
    machine.bind(kind)
    parts.wait_until(lambda: not missing(switch), 20, "the port coming back")
    assert switch.ctl("port", "show", kind)["number"] == number
    machine.far[kind].wait_ping(machine.far[others[0]], 20)
    switch.ctl("mac", "del", "02:00:00:00:00:77", "--bridge", "br0")


def test_taken_over_after_a_kill(machine, switch):
    """A killed switch's NICs are free at once for the next one."""
    switch.kill()
    switch.start()
    switch.ctl("bridge", "add", "br0")
    for kind in KINDS:
        switch.ctl("port", "add", kind, "--bridge", "br0", "--type", "nic", "--device",
                   machine.address_of(kind))
    machine.far["e1000e"].wait_ping(machine.far["virtio"], 20)
    machine.far["vmxnet3"].wait_ping(machine.far["virtio"], 20)
