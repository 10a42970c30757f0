# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests of a real Xen, whose network devices straitd serves in dom0. One machine is booted
for all tests; logs stay in build/logs/xen."""

import pathlib
import re
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

    def ports(self):
        return [port["name"] for port in self.switch.ctl("port list")]

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
        assert guest.ping(booted.xen, count=1, timeout=30).received == 1
        trouble = guest.sh("dmesg | grep -e WATCHDOG -e BUG -e Oops -e 'bad' || true")
        assert not trouble.strip(), trouble
    said = booted.switch.log()[log:]
    assert "error" not in said, said


def test_ping(machine):
    """Guest to guest, and guest to dom0 through a host port."""
    for one, other in ((machine.pv, machine.pvh), (machine.pv, machine.xen),
                       (machine.pvh, machine.xen)):
        # Whatever a machine under emulation is still busy with after its start, it answers in time.
        one.ping(other, count=1, timeout=30)
        for sender, receiver in ((one, other), (other, one)):
            answers = sender.ping(receiver, count=5, timeout=30)
            assert answers.lost == 0, (answers, machine.switch.ctl("stats")["ports"])


def averages(before, after, direction):
    """Bytes a packet between two looks at a port's counters."""
    packets = after[f"{direction}_packets"] - before[f"{direction}_packets"]
    return (after[f"{direction}_bytes"] - before[f"{direction}_bytes"]) / max(packets, 1)


@pytest.mark.soak
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("way", ["pv to pvh", "pvh to pv"])
def test_stream_in_frames_of_many_segments(machine, way, family):
    """What the sender leaves to be segmented arrives unsegmented, and every byte of it."""
    pair = (machine.pv, machine.pvh)
    sender, receiver = pair if way == "pv to pvh" else pair[::-1]
    address = receiver.address
    if family == "ipv6":
        for number, guest in enumerate(pair, 1):
            guest.add_ipv6(f"fd00::{number}/64")
        address = f"fd00::{pair.index(receiver) + 1}"
    before = [machine.stats(machine.port(guest)) for guest in (sender, receiver)]
    sender.stream(receiver, size=3_000_001, address=address, timeout=90)
    after = [machine.stats(machine.port(guest)) for guest in (sender, receiver)]
    sent, received = averages(before[0], after[0], "rx"), averages(before[1], after[1], "tx")
    print(f"{sent:.0f} bytes a frame sent, {received:.0f} received")
    # Without segmentation left to others it is 1,514 at most.
    assert sent > 1600 and received > 1600, "no segmentation was left to the receiver"


@pytest.mark.soak
def test_stream_to_and_from_dom0(machine):
    for guest in (machine.pv, machine.pvh):
        guest.stream(machine.xen, size=1_000_003, timeout=60)
        machine.xen.stream(guest, size=1_000_003, timeout=60)


@pytest.mark.soak
def test_two_queues(machine):
    """Connections of many ports go over both queues, in both directions."""
    def positions():
        return [[int(word) for word in ring.replace(",", "").split()[1::2]]
                for ring in machine.details(machine.pv)["rings"]]
    before = positions()
    assert len(before) == 2
    assert machine.xen.store(f"/local/domain/{machine.pv.domain}/device/vif/0/"
                             "multi-queue-num-queues") == "2"
    machine.pv.run("for i in $(seq 16); do busybox nc -w 1 "
                   f"{machine.pvh.address} $((7000 + i)) < /dev/null; done", 40)
    moved = [[new - old for new, old in zip(*pair)] for pair in zip(positions(), before)]
    assert all(count > 0 for queue in moved for count in queue), moved


@pytest.mark.soak
def test_jumbo_frames(machine):
    pair = (machine.pv, machine.pvh)
    try:
        for guest in pair:
            machine.switch.ctl("port", "set", machine.port(guest), "--mtu", 9000)
            guest.set_mtu(9000)
        before = machine.stats(machine.port(machine.pv))
        assert machine.pv.ping(machine.pvh, count=4, size=8972, timeout=5).lost == 0
        after = machine.stats(machine.port(machine.pv))
        # Requests and replies, whole: of 1,500 bytes they would be 28 frames. Address resolution
        # may be among them.
        for direction in ("rx", "tx"):
            frames, size = (after[f"{direction}_{what}"] - before[f"{direction}_{what}"]
                            for what in ("packets", "bytes"))
            assert size > 4 * 9000 and frames < 20, (frames, size)
    finally:
        for guest in pair:
            guest.set_mtu(1500)
            machine.switch.ctl("port", "set", machine.port(guest), "--mtu", 1500)


@pytest.mark.soak
def test_vlans_attach_and_detach(machine):
    """br0.20 is an access port, br0:10:20 a trunk. Devices come and go without the tool stack
    waiting for any of its 10 seconds, and come back."""
    for again in (False, True):
        machine.pv.attach(vif("00:16:3e:00:01:01", "br0.20"))
        machine.pvh.attach(vif("00:16:3e:00:01:02", "br0:10:20", ",mtu=1400"))
        access = machine.switch.ctl("port", "show", machine.port(machine.pv, 1))
        trunk = machine.switch.ctl("port", "show", machine.port(machine.pvh, 1))
        assert (access["vlan"], trunk["trunk"], trunk["mtu"]) == (20, [10, 20], 1400)
        told = [machine.xen.store(f"/local/domain/{guest.domain}/device/vif/1/mtu")
                for guest in (machine.pv, machine.pvh)]
        assert told == ["1500", "1400"]
        inner = machine.pv.interface("00:16:3e:00:01:01")
        outer = machine.pvh.interface("00:16:3e:00:01:02")
        machine.pv.configure("10.20.0.1", inner)
        machine.pvh.sh(f"ip link set {outer} up; for v in 10 20; do "
                       f"ip link add link {outer} name {outer}.$v type vlan id $v; "
                       f"ip addr add 10.20.0.$v/24 dev {outer}.$v; done; ip link set {outer}.20 up")
        machine.pvh.wait_connected(outer)
        assert machine.pv.ping("10.20.0.20", timeout=5).lost == 0
        machine.pvh.sh(f"ip link set {outer}.20 down; ip link set {outer}.10 up")
        drops = machine.switch.ctl("drops", machine.port(machine.pvh, 1))
        assert machine.pv.ping("10.20.0.10", count=2).received == 0
        assert not drops["ports"][0]["drops"]["malformed_descriptor"]
        for guest in (machine.pv, machine.pvh):
            begin = time.monotonic()
            guest.detach(1)
            seconds = time.monotonic() - begin
            assert seconds < 9, f"network-detach took {seconds:.1f} s"
            assert guest.run("ls -d /sys/class/net/eth1")[0] != 0
        assert machine.ports() == ["host0", machine.port(machine.pv),
                                   machine.port(machine.pvh)], again


@pytest.mark.soak
def test_a_vif_that_no_bridge_adopts_is_refused_with_the_reason(machine):
    begin = time.monotonic()
    status, said = machine.xen.run(
        "xl network-attach pv mac=00:16:3e:00:01:03 bridge=br9.7 script=vif-strait", 40)
    seconds = time.monotonic() - begin
    path = f"backend/vif/{machine.pv.domain}/1"
    error = machine.xen.store(f"/local/domain/0/{path}/hotplug-error")
    try:
        assert status != 0
        assert (f"no bridge adopts {machine.port(machine.pv, 1)} with its bridge=br9.7: "
                "straitctl xen adopt --bridge br9") in said
        assert error in said
        assert seconds < 9, f"libxl waited {seconds:.1f} s"
    finally:
        begin = time.monotonic()
        machine.pv.detach(1)
    assert time.monotonic() - begin < 9
    assert machine.xen.store(f"/local/domain/0/{path}/state") is None


@pytest.mark.soak
def test_destroyed_under_traffic(machine):
    """The victim's port goes at once; of its neighbours' frames the switch loses none, but for what
    found a ring full: one of them floods the victim, and is answered. Echoes that are too late in
    this emulated machine are no frames that were lost."""
    pair = (machine.pv, machine.pvh)
    victim = machine.lab.xen_guest(machine.xen, [vif("00:16:3e:00:00:03")], "10.0.0.3",
                                   name="victim")
    flood = threading.Thread(target=machine.pvh.run, daemon=True, args=(
        "timeout 20 busybox ping -A -q -w 15 -s 4000 10.0.0.3", 30))
    back = victim.run(f"ping -A -q -s 1400 {machine.pvh.address} > /dev/null 2>&1 &")
    assert back[0] == 0
    flood.start()
    lost_before = [machine.stats(machine.port(guest))["drops"] for guest in pair]
    outcome = []
    neighbours = threading.Thread(target=lambda: outcome.append(
        machine.pv.ping(machine.pvh, count=30, interval=0.2, timeout=5)), daemon=True)
    neighbours.start()
    time.sleep(2)
    port = machine.port(victim)
    assert machine.stats(port)["rx_packets"] > 100
    seconds = victim.destroy()
    print(f"xl destroy took {seconds:.1f} s")
    assert seconds < 9
    assert port not in machine.ports()
    neighbours.join(60)
    flood.join(60)
    lost = [{reason: count - before[reason] for reason, count in
             machine.stats(machine.port(guest))["drops"].items() if count > before[reason]}
            for guest, before in zip(pair, lost_before)]
    full = sum(drops.pop("receiver_full", 0) for drops in lost)
    for drops in lost:
        drops.pop("no_destination", None)  # what was for the victim when it had gone
    print(f"{full} frames found a ring full, {outcome}")
    assert not any(lost), lost
    assert outcome and outcome[0].received > outcome[0].sent / 2, outcome
    victim.close()
    # A page of it that were still mapped would keep the domain alive, as (null).
    domains = machine.xen.sh("xl list")
    assert len(domains.splitlines()) == 4, domains


@pytest.mark.soak
def test_driver_unbound_and_bound(machine):
    guest = machine.pvh
    before = machine.details(guest)["connections"]
    guest.sh("echo vif-0 > /sys/bus/xen/drivers/vif/unbind", 40)
    parts.wait_until(lambda: machine.details(guest)["frontend"] == "closed", 10, "closed", 0.2)
    assert machine.switch.ctl("port", "show", machine.port(guest))["link"] == "down"
    assert machine.pv.ping(guest, count=1).received == 0
    guest.sh("echo vif-0 > /sys/bus/xen/drivers/vif/bind", 40)
    guest.configure(guest.address, guest.interface(PVH_MAC))
    assert machine.details(guest)["connections"] == before + 1
    assert machine.pv.ping(guest, timeout=5).lost == 0


def most_within(numbers, width):
    """How many of them lie within so many numbers that follow each other, at most."""
    return max((sum(first <= n < first + width for n in numbers) for first in numbers), default=0)


@pytest.mark.soak
def test_switch_killed_under_traffic(machine):
    """The next straitd takes the guests' rings over where the last one left them: their links stay
    up, connections go on, and what was under way is lost at most."""
    guests = (machine.pv, machine.pvh)
    before = [guest.carrier_changes() for guest in guests]
    for guest in guests:
        guest.prepare_block()
    outcome = []

    def transfer():
        try:
            outcome.append(machine.pv.stream(machine.pvh, size=4 << 20, timeout=120))
        except parts.LabError as error:
            outcome.append(error)
    pings = []
    interval = 0.1
    counting = threading.Thread(target=lambda: pings.append(machine.pvh.ping(
        machine.pv, count=200, interval=interval, timeout=3)), daemon=True)
    stream = threading.Thread(target=transfer, daemon=True)

    def full():
        return sum(machine.stats(machine.port(guest))["drops"].get("receiver_full", 0)
                   for guest in guests)
    full_before = full()
    counting.start()
    stream.start()
    moving = machine.stats(machine.port(machine.pv))["rx_bytes"] + 200_000
    parts.wait_until(lambda: machine.stats(machine.port(machine.pv))["rx_bytes"] > moving, 40,
                     "the stream moving", 0.1)
    found_full = full() - full_before
    begin = time.monotonic()
    machine.switch.kill()
    machine.switch.start()
    for guest in guests:
        guest.wait_ping(machine.xen, 20)
    outage = time.monotonic() - begin
    assert counting.is_alive(), "nobody sent any more when the switch was back"
    counting.join(90)
    stream.join(150)
    assert outcome and isinstance(outcome[0], parts.Stream), outcome
    found_full += full()  # of the new process
    lost = pings[0].unanswered
    print(f"no switch for {outage:.1f} s; {len(lost)} of {pings[0].sent} echo requests lost over "
          f"it: {lost}; {found_full} frames found a ring full")
    assert pings[0].sent == 200 and len(lost) == pings[0].lost, pings
    # They are sent so far apart or farther. Before the outage, those that waited in the guests
    # behind the stream were under way: a ring's worth, and what its kernel queues in front of it.
    under_way = 2
    in_outage = most_within(lost, int((outage + under_way) / interval) + 1)
    assert len(lost) - in_outage <= found_full, "lost before or after it, and not counted"
    assert 0 not in lost and pings[0].sent - 1 not in lost
    for guest, changes in zip(guests, before):
        details = machine.details(guest)
        assert details["taken_over"] and details["connections"] == 1
        assert details["grant_errors_tx"] == details["grant_errors_rx"] == 0
        assert guest.carrier_changes() == changes, "the guest saw its link go"
    assert machine.pv.ping(machine.pvh, count=5, timeout=5).lost == 0


@pytest.mark.soak
def test_saved_and_restored(machine):
    """xl save and restore, and a save that is taken back: connections are made anew, or kept."""
    guest = machine.lab.xen_guest(machine.xen, [vif("00:16:3e:00:00:04")], "10.0.0.4",
                                  memory_mib=96, name="traveller")
    try:
        boot = guest.sh("cat /proc/sys/kernel/random/boot_id")
        assert guest.ping(machine.pvh, timeout=5).lost == 0
        machine.xen.sh("xl save -c traveller /tmp/checkpoint && rm /tmp/checkpoint", 90)
        assert guest.ping(machine.pvh, timeout=5).lost == 0
        machine.xen.sh("xl save traveller /tmp/saved", 90)
        assert machine.port(guest) not in machine.ports()
        machine.xen.sh("xl restore /tmp/saved && rm /tmp/saved", 90)
        guest.attach_console()
        assert guest.sh("cat /proc/sys/kernel/random/boot_id") == boot
        guest.wait_connected()
        assert guest.ping(machine.pvh, timeout=5).lost == 0
        assert machine.pvh.ping(guest, timeout=5).lost == 0
    finally:
        guest.close()


class VirtioGuest:
    """testpmd in dom0, a guest by vhost-user as KVM's are, with the given (port, MAC) pairs."""

    def __init__(self, machine, ports, mode, *arguments):
        if machine.xen.run("command -v dpdk-testpmd")[0]:
            pytest.skip("testpmd is not installed (apt-get install dpdk-dev)")
        self.xen = machine.xen
        devices = []
        for number, (port, mac) in enumerate(ports):
            devices.append(f"--vdev=net_virtio_user{number},mac={mac},queue_size=256,mrg_rxbuf=1,"
                           f"path={machine.switch.socket(port)}")
        words = ["dpdk-testpmd", "--lcores=0@0,1@0", "--no-pci", "--no-telemetry", "--no-huge",
                 "-m", "32", "--file-prefix=virtio", *devices, "--", f"--forward-mode={mode}",
                 "--no-lsc-interrupt", "--disable-link-check", "--total-num-mbufs=2048", *arguments]
        # DPDK loads every driver in its folder, 250 of them, which takes a minute when emulated:
        # the others go, from dom0's layer of files alone.
        self.xen.sh("cd /usr/lib/*/dpdk/pmds-* && ldd /usr/bin/dpdk-testpmd librte_net_virtio.so "
                    "librte_mempool_ring.so | grep -o 'librte_[a-z0-9_]*' | sort -u > /run/kept && "
                    "echo librte_net_virtio >> /run/kept && echo librte_mempool_ring >> /run/kept "
                    "&& ls | grep -v -w -F -f /run/kept | xargs -r rm")
        # It ends when its standard input does. At nice 15 as the switch is: both poll.
        log = self.xen.logs / "testpmd.log"
        begin = log.stat().st_size if log.exists() else 0
        self._pid = self.xen.spawn(
            f"sh -c 'sleep 3600 | nice -n 15 stdbuf -oL {' '.join(words)}'", log.name)
        try:
            # What it says last before it reads its standard input; it forwards by then.
            said = parts.wait_until(
                lambda: re.search("Press enter|exiting with code", log.read_text()[begin:]), 90,
                "testpmd forwarding", 0.5)
            assert said[0] == "Press enter", log.read_text()[begin:]
        except BaseException:
            self.close()
            raise

    def close(self):
        self.xen.sh(f"kill -KILL -{self._pid}")


@pytest.mark.soak
def test_kvm_guest_answers_xen_guests(machine):
    """A vhost-user guest beside Xen's: echo requests of both kinds of guest, small and large."""
    machine.switch.add_vhost("kvm")
    guest = None
    try:
        guest = VirtioGuest(machine, [("kvm", "52:54:00:00:00:10")], "icmpecho")
        for one in (machine.pv, machine.pvh):
            assert one.ping("10.0.0.16", count=4, timeout=5).lost == 0
            assert one.ping("10.0.0.16", count=4, size=1472, timeout=5).lost == 0
    finally:
        if guest:
            guest.close()
        machine.switch.ctl("port del kvm")


@pytest.mark.soak
@pytest.mark.parametrize("checksums", ["whole", "left to the device"])
def test_streams_through_a_kvm_guest(machine, checksums):
    """TCP from one Xen guest to another by way of a vhost-user guest between two bridges: what the
    sender leaves to be done is done for a guest that takes nothing of it, or travels on."""
    macs = ("52:54:00:00:00:11", "52:54:00:00:00:12")
    far = "00:16:3e:00:02:02"
    machine.switch.ctl("bridge add br1")
    machine.switch.ctl("xen adopt --bridge br1")
    machine.switch.add_vhost("near")
    machine.switch.add_vhost("far", bridge="br1")
    machine.pvh.attach(vif(far, "br1"))
    guest = None
    try:
        eth1 = machine.pvh.interface(far)
        machine.pvh.configure("10.30.0.2", eth1)
        # Or it answers for that address on br0, too, and the guest between is gone round.
        machine.pvh.sh("echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore")
        machine.pv.sh("ip addr add 10.30.0.1/24 dev eth0")
        if checksums == "whole":
            guest = VirtioGuest(machine, [("near", macs[0]), ("far", macs[1])], "io")
        else:
            commands = "/run/testpmd.commands"
            machine.xen.sh(f"printf '%s\\n' 'port stop all' 'csum set tcp hw 0' "
                           f"'csum set tcp hw 1' 'port start all' > {commands}")
            guest = VirtioGuest(machine, [("near", macs[0]), ("far", macs[1])], "csum",
                                # Of TCP and UDP; virtio has none of IPv4 headers.
                                f"--cmdline-file={commands}", "--rx-offloads=0xc",
                                f"--eth-peer=0,{PV_MAC}", f"--eth-peer=1,{far}")
            machine.pv.sh(f"arp -i eth0 -s 10.30.0.2 {macs[0]}")
            machine.pvh.sh(f"arp -i {eth1} -s 10.30.0.1 {macs[1]}")
        machine.pv.stream(machine.pvh, size=300_007, address="10.30.0.2", timeout=90)
        machine.pvh.stream(machine.pv, size=300_007, address="10.30.0.1", timeout=90)
        assert machine.stats("near")["tx_packets"] > 100
    finally:
        if guest:
            guest.close()
        machine.pv.sh("arp -d 10.30.0.2; ip addr del 10.30.0.1/24 dev eth0")
        machine.pvh.detach(1)
        for name in ("near", "far"):
            machine.switch.ctl("port", "del", name)
        machine.switch.ctl("bridge del br1 --with-ports")


def negotiated(machine, guest):
    """What the guest's driver wrote for its back end, but for numbers of pages and channels."""
    folder = machine.xen.sh(f"xenstore-ls -f /local/domain/{guest.domain}/device/vif")
    agreed = {}
    for line in folder.splitlines():
        path, _, value = line.partition(" = ")
        key = "/".join(path.split("/")[7:])
        name = key.split("/")[-1]
        if "ring-ref" in name or "event-channel" in name:
            agreed[key] = "there"
        elif name.startswith(("feature-", "request-", "multi-queue", "state", "xdp")):
            agreed[key] = value
    return agreed


def exchange(machine, address):
    """The same traffic whoever serves; returns what the guests' interfaces counted of it."""
    machine.pvh.address = address
    eth = machine.pv.interface(PV_MAC)
    before = machine.pv.counters(eth)
    for size in (0, 1, 18, 56, 1472, 1473, 4000, 20000):
        assert machine.pv.ping(address, count=2, size=size, timeout=5).lost == 0, size
    machine.pv.stream(machine.pvh, size=1_000_003, timeout=60)
    machine.pvh.stream(machine.pv, size=1_000_003, timeout=60)
    after = machine.pv.counters(eth)
    return {name: after[name] - before[name] for name in after if "errors" in name or
            "dropped" in name}


@pytest.mark.soak
def test_as_with_the_kernels_back_end(machine):
    """The same guests on the kernel's xen-netback: they agree to the same features and their
    traffic fares alike. While that is loaded, straitd says so in one sentence."""
    macs = {machine.pv: PV_MAC, machine.pvh: PVH_MAC}
    ours = {guest.name: negotiated(machine, guest) for guest in macs}
    ours_counted = exchange(machine, machine.pvh.address)

    def replace(device):
        for guest, mac in macs.items():
            guest.attach(device(mac))
            guest.configure(guest.address, guest.interface(mac))

    for guest in macs:
        guest.detach(0)
    machine.switch.stop()
    kernel = parts.KernelBackend(machine.xen)
    try:
        replace(kernel.vif)
        theirs = {guest.name: negotiated(machine, guest) for guest in macs}
        theirs_counted = exchange(machine, machine.pvh.address)
        sentence = "the kernel's xen-netback is loaded and takes every vif of this domain"
        status, said = machine.xen.run(
            "xl network-attach pv mac=00:16:3e:00:01:04 bridge=br0 script=vif-strait", 40)
        assert status and "is straitd running with --run-dir /run/strait?" in said, said
        machine.pv.detach(1)
        machine.switch.start()
        with pytest.raises(parts.Refused, match=sentence):
            machine.switch.ctl("port", "add", "none", "--bridge", "br0", "--type", "xen",
                               "--domain", machine.pv.domain)
        status, said = machine.xen.run(
            "xl network-attach pv mac=00:16:3e:00:01:04 bridge=br0 script=vif-strait", 40)
        assert status and sentence in said, said
        machine.pv.detach(1)
        for guest in macs:
            guest.detach(0)
    finally:
        kernel.close()
    replace(vif)
    assert ours == theirs
    assert ours_counted == theirs_counted
    assert {guest.name: negotiated(machine, guest) for guest in macs} == ours


@pytest.mark.soak
def test_conformance(machine):
    """What every hypervisor behind the seam promises, on the real one."""
    program = parts.binaries() / "strait-xen-conformance"
    status, said = machine.xen.run(str(program), 180)
    assert status == 0, said
    assert "[  PASSED  ]" in said, said
