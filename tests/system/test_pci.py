# SPDX-License-Identifier: BSD-3-Clause
"""PCI NICs, which the switch drives itself by vfio-pci or uio: those of an emulated machine, with
its kernel at the other end of each wire."""

import itertools
import pathlib
import threading
import time

import pytest

import lab as parts

LOGS = pathlib.Path(__file__).resolve().parents[2] / "build/logs/nics"
KINDS = parts.NicMachine.kinds[:3]


@pytest.fixture(scope="module")
def machine(module_lab):
    made = module_lab.nic_machine(LOGS)
    print(f"the machine is up after {made.boot_seconds:.1f} s")
    return made


@pytest.fixture(scope="module")
def switch(machine, module_lab):
    """Each NIC is a port of br0, by its kind's name, and the machine itself is another."""
    made = module_lab.machine_switch(machine, ["--workers", "1"])
    made.ctl("bridge", "add", "br0")
    with pytest.raises(parts.Refused,
                       match="is held by the kernel's driver virtio-pci: bind it to"):
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
    shown = switch.ctl("config", "show")
    return {entry["what"]: entry["why"] for entry in shown.get("missing", [])}


def is_gone(why):
    """Whether that says of a port's NIC that it is not there any more."""
    return "there is no PCI device" in why or "was unplugged" in why


def test_drivers(switch):
    drivers = {kind: switch.ctl("port", "show", kind)["details"]["driver"] for kind in KINDS}
    assert drivers == {"e1000e": "net_e1000_em", "virtio": "net_virtio", "vmxnet3": "net_vmxnet3"}


def test_uio_is_refused_at_virtual_addresses(machine, switch):
    """The same device under vfio-pci is taken."""
    machine.sh("modprobe uio_pci_generic")
    address = machine.bind("second", "uio_pci_generic")
    words = ("port", "add", "second", "--bridge", "br0", "--type", "nic", "--device", address)
    with pytest.raises(parts.Refused,
                       match="is bound to uio_pci_generic, by which it works at physical "
                             "addresses: start the switch with --iova-mode pa, or bind it to vfio"):
        switch.ctl(*words)
    machine.bind("second")
    switch.ctl(*words)
    switch.ctl("port", "del", "second")


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


def test_idle_worker_sleeps_and_is_woken(machine, switch):
    """By the NICs' interrupts, but for e1000e's, whose driver has none that works."""
    wakes = {row["port"]: row["wakes"] for row in switch.ctl("queue", "list")}
    assert [wakes[kind] for kind in KINDS] == [False, True, True]

    def worker():
        return switch.ctl("worker", "list")["workers"][0]
    assert worker()["naps_for"] == ["e1000e"]
    switch.ctl("port", "del", "e1000e")
    ends = [machine.far[kind] for kind in ("virtio", "vmxnet3")]
    for sender, receiver in itertools.permutations(ends):
        sender.wait_ping(receiver, 20)
        before = worker()
        ping = sender.ping(receiver, count=10, interval=0.3, timeout=5)
        now = worker()
        asleep, busy, idle = (now[what] - before[what]
                              for what in ("asleep_cycles", "busy_cycles", "idle_cycles"))
        print(f"asleep for {asleep / (asleep + busy + idle):.2f} of the time, {ping}")
        assert ping.lost == 0
        assert asleep > busy + idle
        sender.stream(receiver, size=1_000_001)
    switch.ctl("port", "add", "e1000e", "--bridge", "br0", "--type", "nic", "--device",
               machine.address_of("e1000e"))


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.soak)
                                              for kind in KINDS[1:])])
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
    try:
        why = parts.wait_until(lambda: missing(switch).get(f"port {kind}"), 20,
                               "the port being missed")
        assert is_gone(why), why
        assert f"static MAC {kind} 02:00:00:00:00:77" in missing(switch)
        pinging.join()
        machine.wait(flood, 20)
        assert results["ping"].lost == 0
    finally:  # the other tests need it
        pinging.join()
        machine.plug(kind)
        machine.bind(kind)
        parts.wait_until(lambda: not missing(switch), 20, "the port coming back")
        found = switch.ctl("port", "show", kind)["number"]
        switch.ctl("mac", "del", "02:00:00:00:00:77", "--bridge", "br0")
    assert found == number
    machine.far[kind].wait_ping(machine.far[others[0]], 20)


BONDED = ("e1000e", "second")


@pytest.fixture(params=["active-backup", "lacp",
                        pytest.param("balance", marks=pytest.mark.soak)])
def bonded(machine, switch, request):
    """A bond of the two e1000e, and Linux's at the other end, as the switch's mode wants it."""
    mode = request.param
    switch.ctl("port", "del", "e1000e")
    switch.ctl("port", "add", "bond0", "--bridge", "br0", "--type", "bond", "--members",
               ",".join(machine.bind(kind) for kind in BONDED), "--bond-mode", mode)
    far, other = (machine.far[kind] for kind in BONDED)
    linux = {"active-backup": "active-backup", "balance": "balance-xor", "lacp": "802.3ad"}[mode]
    options = " lacp_rate fast" if mode == "lacp" else ""
    machine.sh(
        f"modprobe bonding max_bonds=0; ip -n {other.name} link set eth0 netns {far.name} "
        f"name eth1; set -e; ip -n {far.name} addr flush dev eth0; "
        f"ip -n {far.name} link add bond0 type bond mode {linux} miimon 100{options}; "
        f"for nic in eth0 eth1; do ip -n {far.name} link set $nic down; "
        f"ip netns exec {far.name} ethtool -s $nic speed 1000 duplex full; "
        f"ip -n {far.name} link set $nic master bond0; done; "
        f"ip -n {far.name} link set bond0 up; "
        f"ip -n {far.name} addr add {far.address}/24 dev bond0", 60)
    yield mode
    machine.sh(f"ip -n {far.name} link del bond0; ip -n {far.name} link set eth0 up; "
               f"ip -n {far.name} addr add {far.address}/24 dev eth0; "
               f"ip -n {far.name} link set eth1 netns {other.name} name eth0; "
               f"ip -n {other.name} link set eth0 up", 60)
    switch.ctl("port", "del", "bond0")
    switch.ctl("port", "add", "e1000e", "--bridge", "br0", "--type", "nic", "--device",
               machine.address_of("e1000e"))


def members(switch):
    """What each member of the bond is said to be, in their order."""
    return [text.split(": ", 1)[1]
            for text in switch.ctl("port", "show", "bond0")["details"]["members"]]


def test_bond(machine, switch, bonded):
    """It passes traffic with both members, with either link down, and with one unplugged."""
    far, other = machine.far["e1000e"], machine.far["virtio"]

    def works(member):
        return member in ("up", "up, active") or member.startswith("up, active, partner")
    wanted = 1 if bonded == "active-backup" else 2
    parts.wait_until(lambda: sum(map(works, members(switch))) == wanted, 30,
                     "the bond's members working")
    if bonded == "lacp":
        partner = far.sh("cat /sys/class/net/bond0/address").strip()
        parts.wait_until(lambda: all(member.endswith(f"partner {partner}")
                                     for member in members(switch)), 20, "the partner's name")
    other.wait_ping(far, 30)
    print(f"{far.stream(other, size=1_000_001).mbit_per_s:.0f} Mbit/s")
    for down in range(2):
        machine.set_link(BONDED[down], False)
        parts.wait_until(lambda: members(switch)[down] == "down", 10, "a member's link going down")
        parts.wait_until(lambda: other.ping(far, count=5, timeout=2).lost == 0, 30,
                         "the other member carrying all of it")
        machine.set_link(BONDED[down], True)
        parts.wait_until(lambda: members(switch)[down].startswith("up"), 10, "its coming up")
    machine.unplug("second")
    try:
        parts.wait_until(lambda: members(switch)[1] == "unplugged", 10, "the member being missed")
        other.wait_ping(far, 20)
        assert not missing(switch), "the port itself is there"
    finally:  # the next bond needs it
        machine.plug("second")
        machine.bind("second")
    parts.wait_until(lambda: members(switch)[1].startswith("up"), 20, "the member being back")
    machine.set_link("e1000e", False)
    other.wait_ping(far, 20)
    machine.set_link("e1000e", True)


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


@pytest.fixture(scope="module")
def physical(machine, switch):
    """A switch at physical addresses in the other one's place, for the rest of this file."""
    pages = "/proc/sys/vm/nr_hugepages"
    machine.sh(f"modprobe uio_pci_generic && echo 64 > {pages} && [ $(cat {pages}) = 64 ]")
    switch.stop()
    try:
        made = parts.MachineSwitch(machine, ["--workers", "1", "--iova-mode", "pa"], huge=True)
        yield made
        made.close()
    finally:
        switch.start()
        machine.sh(f"echo 0 > {pages}")


def test_physical_addresses(machine, physical):
    """NICs under uio, whose addresses this machine's IOMMU leaves as they are (iommu=pt), as if
    there were none; and one under vfio-pci beside them."""
    assert "on huge pages at physical addresses" in physical.log()
    physical.ctl("bridge", "add", "br0")
    for kind in machine.kinds:
        physical.ctl("port", "add", kind, "--bridge", "br0", "--type", "nic", "--device",
                     machine.bind(kind, "uio_pci_generic" if kind in KINDS else "vfio-pci"))
    physical.ctl("port", "add", "host0", "--bridge", "br0", "--type", "host",
                 "--address", f"{machine.address}/24")
    assert not any(row["wakes"] for row in physical.ctl("queue", "list")
                   if row["port"] in machine.kinds)
    second = machine.far["second"]  # which was in a bond
    second.sh(f"ip link set eth0 up; ip addr replace {second.address}/24 dev eth0")
    parts.wait_until(lambda: all(link(physical, kind) for kind in machine.kinds), 20,
                     "all links up")
    ends = [machine.far[kind] for kind in machine.kinds]
    for far, following in zip(ends, ends[1:] + ends[:1]):
        far.wait_ping(following, 20)
        print(f"{far.stream(following, size=1_000_001).mbit_per_s:.0f} Mbit/s")
    for far in ends[:3]:
        machine.wait_ping(far, 20)
        machine.stream(far, size=1_000_001)  # segments, each in several of the switch's buffers


def test_physical_addresses_take_a_capability(machine, physical):
    status, output = machine.run(
        f"setpriv --bounding-set=-sys_admin {parts.binaries()}/straitd --run-dir /run/other "
        "--no-persist --memory 32 --iova-mode pa 2>&1", 30)
    assert status == 1
    assert "--iova-mode pa needs CAP_SYS_ADMIN" in output.splitlines()[-1], output
    assert physical.ctl("version")["physical_addresses"]
