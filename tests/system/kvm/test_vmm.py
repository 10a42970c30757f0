# SPDX-License-Identifier: BSD-3-Clause
"""Guests by strait-vmm: Debian's kernel, unmodified, with its network queues in straitd, or in
none."""

import concurrent.futures
import re
import time

import pytest

import lab as parts

from .exchange import exchange, up

MTU = 9000  # of the ports, and what guest one is told of
ETHERNET = 14  # bytes of its header
PAIRS = 4
ETHTOOL = f"{parts.TOOLS}/ethtool"


class House:
    """Guests one, with four CPUs and a disk, and two, with packed rings, on bridge br0. Both have
    four pairs of queues."""

    def __init__(self, machine, lab):
        machine.sh("head -c 4194304 /dev/urandom > /run/vmm-disk")
        self.machine = machine
        self.lab = lab
        # Ports that are there again when the switch is.
        self.sockets = {number: f"/run/strait/vm{number}.sock" for number in (1, 2, 3)}
        self.switch = lab.machine_switch(machine, config=["bridge add br0"] + [
            f"port add vm{number} --bridge br0 --type vhost-user --socket {path} --mtu {MTU} "
            f"--queues {PAIRS}" for number, path in self.sockets.items()])
        self.one, self.two = (lab.vmm_guest(
            machine, self.nic(number, extra, PAIRS), f"10.0.0.{number}", cpus=cpus, disk=disk,
            initrd=parts.assets().ethtool_initrd, wait=False)
            for number, extra, cpus, disk in ((1, f",mtu={MTU}", 4, "/run/vmm-disk"),
                                              (2, ",packed=on", 1, None)))
        up(self.one, self.two)

    def nic(self, number, extra="", queues=1):
        return parts.Nic(self.sockets[number], f"52:54:00:00:00:0{number}", queues=queues,
                         extra=extra)


@pytest.fixture(scope="module")
def house(machine, module_lab):
    return House(machine, module_lab)


def clean(guest):
    """Nothing in its kernel's log that should not be there."""
    bad = guest.sh("dmesg | grep -e WARNING: -e BUG: -e 'Call Trace' -e 'I/O error' "
                   "|| true").strip()
    assert not bad, bad


def test_ping_and_stream(house):
    exchange(house.one, house.two, 8_000_001)
    for guest, mtu in ((house.one, MTU), (house.two, 1500)):
        # Checksums and segments are left to the switch, both ways, and frames may come in several
        # buffers: VIRTIO_NET_F_CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, MRG_RXBUF.
        features = guest.sh("cat /sys/class/net/eth0/device/features")
        assert all(features[bit] == "1" for bit in (0, 1, 7, 11, 15)), features
        # VIRTIO_NET_F_MTU: who is not told has Ethernet's.
        assert features[3] == ("1" if mtu == MTU else "0"), features
        assert int(guest.sh("cat /sys/class/net/eth0/mtu")) == mtu
        interrupts = guest.sh("grep 'PCI-MSI.*virtio.*-input' /proc/interrupts")
        assert sum(int(word) for word in interrupts.split() if word.isdigit()) > 100, interrupts
        clean(guest)
    assert house.switch.ctl("port show vm1")["details"]["guest_mtu"] == MTU
    assert "guest_mtu" not in house.switch.ctl("port show vm2")["details"]


class Frames:
    """What came by a port, and left by it, from now on."""

    def __init__(self, house, port):
        self._switch, self._port = house.switch, port
        self._begin = self._look()

    def _look(self):
        return self._switch.ctl("stats", self._port)["ports"][0]

    def seen(self, way):
        """How many, and their bytes; way: rx or tx."""
        now = self._look()
        return tuple(now[f"{way}_{what}"] - self._begin[f"{way}_{what}"]
                     for what in ("packets", "bytes"))


def test_segments_stay_whole(house):
    """Frames of a stream are longer than one that can be sent to the guest with the smaller MTU, as
    they come from their sender and as they go to the receiver. The sender is one that hands much
    over at a time."""
    for number, sender, receiver in ((1, house.one, house.two), (2, house.two, house.one)):
        for guest in (sender, receiver):
            guest.prepare_block()
        expected = receiver.sh("cat block block | md5sum", 60)
        sender.send("busybox nc -l -p 4000 -e busybox cat block block", 120)
        sender.sh("until busybox netstat -ltn | grep -q ':4000 '; do busybox usleep 50000; done")
        frames = {"rx": Frames(house, f"vm{number}"), "tx": Frames(house, f"vm{3 - number}")}
        assert receiver.sh(f"busybox nc {sender.address} 4000 | md5sum", 120) == expected
        for way, of in frames.items():
            packets, octets = of.seen(way)
            print(f"from {sender.name}, {way}: {octets / packets:.0f} bytes a frame")
            assert octets > 2 << 20 and octets / packets > 1500 + ETHERNET


def test_frames_in_several_buffers(house):
    """Of a split ring and of a packed one: a buffer of Linux' has less than a page."""
    size, headers = 8000, ETHERNET + 20 + 8
    house.two.set_mtu(MTU)
    try:
        frames = Frames(house, "vm1")
        for source, target in ((house.one, house.two), (house.two, house.one)):
            assert source.ping(target, count=5, size=size, timeout=5).lost == 0
        for way in ("rx", "tx"):
            packets, octets = frames.seen(way)
            # Not in fragments: five requests and five answers, and little beside them.
            assert octets >= 10 * (size + headers) and packets < 30, (packets, octets)
    finally:
        house.two.set_mtu(1500)


def test_cpus(house):
    assert house.one.sh("nproc").strip() == "4"
    assert house.two.sh("nproc").strip() == "1"
    # Timers and interrupts of one another reach all four.
    house.one.sh("for cpu in 0 1 2 3; do taskset -c $cpu true || exit 1; done")


def sending_rings(house, port):
    """Where the rings stand by which its guest sends, of each pair; None: it is off."""
    pairs = house.switch.ctl("port", "show", port)["details"].get("queue_pairs", [])
    found = [re.search(r"tx (\d+) of", pair) for pair in pairs]
    return [int(one[1]) if one else None for one in found]


def in_use(house, port):
    return [stands is not None for stands in sending_rings(house, port)]


def wait_in_use(house, port, pairs=PAIRS):
    expected = [pair < pairs for pair in range(PAIRS)]
    parts.wait_until(lambda: in_use(house, port) == expected, 20, f"{port}'s {pairs} pairs in use")


def each_pair_sends(house):
    """Of the one guest, each CPU by its own; the other, which has one CPU, by what it is told."""
    def sends(port, pair, guest, words):
        before = sending_rings(house, port)[pair]
        guest.sh(words)
        parts.wait_until(lambda: sending_rings(house, port)[pair] != before, 20,
                         f"{guest.name} sending by its pair {pair}")

    ping = "busybox ping -c 3 -A 10.0.0"
    for pair in range(PAIRS):
        sends("vm1", pair, house.one, f"taskset -c {pair} {ping}.2")
        sends("vm2", pair, house.two,
              "cd /sys/class/net/eth0/queues && "
              "for queue in tx-*; do echo 0 > $queue/xps_cpus; done && "
              f"echo 1 > tx-{pair}/xps_cpus && {ping}.1")


def test_queues(house):
    """Every pair is used, split and packed, and kernels use fewer and more of them meanwhile: what
    says so is served by the VMM."""
    for port, guest, pairs in (("vm1", house.one, PAIRS), ("vm2", house.two, 1)):
        # VIRTIO_NET_F_CTRL_VQ, MQ
        features = guest.sh("cat /sys/class/net/eth0/device/features")
        assert features[17] == features[22] == "1", features
        wait_in_use(house, port, pairs)  # as kernels do of themselves, by their CPUs
    change = "; ".join(f"{ETHTOOL} -L eth0 combined {pairs}; busybox usleep 50000"
                       for pairs in (1, 3, 2, PAIRS))
    for guest in (house.one, house.two):
        guest.sh(f"rm -f changed; ({change}; echo done > changed) > /dev/null 2>&1 &")
    house.one.stream(house.two, size=2_000_001, timeout=120)
    for port, guest in (("vm1", house.one), ("vm2", house.two)):
        parts.wait_until(lambda guest=guest: guest.run("cat changed")[0] == 0, 60,
                         f"the last change of {guest.name}")
        wait_in_use(house, port)
    house.one.wait_ping(house.two, 20)
    each_pair_sends(house)
    for guest in (house.one, house.two):
        clean(guest)


def test_packets_cost_no_exit(house):
    """What the VMM's process has to do for a million packets: next to nothing."""
    def look():
        return vm(house, house.one, "vm.stats")["exits"], house.one.counters()
    exits, counters = look()
    house.two.stream(house.one, size=10_000_000, timeout=180)
    house.one.stream(house.two, size=10_000_000, timeout=180)
    exits_after, counters_after = look()
    packets = sum(counters_after[way] - counters[way] for way in ("rx_packets", "tx_packets"))
    more = {reason: exits_after[reason] - exits[reason] for reason in exits}
    print(f"{packets} packets, and exits {more}")
    # Those by ports are the shell's own traffic on the console.
    assert more["mmio"] + more["other"] < packets / 1000


def test_disk(house):
    there = house.machine.sh("md5sum < /run/vmm-disk")
    assert house.one.sh("md5sum < /dev/vda") == there
    house.one.sh("head -c 3145728 /dev/urandom > written && "
                 "dd if=written of=/dev/vda bs=64k seek=16 conv=notrunc,fsync 2> /dev/null && "
                 "echo 3 > /proc/sys/vm/drop_caches", 60)
    assert house.one.sh("md5sum < /dev/vda") == house.machine.sh("md5sum < /run/vmm-disk")
    clean(house.one)


def test_entropy(house):
    assert "virtio_rng" in house.one.sh("cat /sys/class/misc/hw_random/rng_current")
    assert len(set(house.one.sh("head -c 64 /dev/hwrng | od -An -tx1").split())) > 20


class Pings:
    """Echo requests from a guest to another, from now on."""

    PER_SECOND = 20

    def __init__(self, guest, other):
        self.guest = guest
        self._begin = self._requests()
        guest.send("echo $$ > pings.pid; exec busybox ping "
                   f"-i {1 / self.PER_SECOND} {other.address} > pings", 300)

    def _requests(self):
        """That the guest's kernel has sent since it began."""
        names, values = self.guest.sh("grep '^Icmp:' /proc/net/snmp").splitlines()
        return int(dict(zip(names.split(), values.split()))["OutEchos"])

    def sent(self):
        """How many so far, if nobody else sends any."""
        return self._requests() - self._begin

    def end(self):
        """How many there were, and which of them, counted from 0, had their answers within a
        second."""
        said = self.guest.sh("pid=$(cat pings.pid); kill -INT $pid; "
                             "while [ -e /proc/$pid ]; do busybox usleep 20000; done; cat pings")
        answered = re.findall(r"\bseq=(\d+) .*time=([\d.]+) ms", said)
        return (int(re.search(r"(\d+) packets transmitted", said)[1]),
                {int(number) for number, ms in answered if float(ms) < 1000})


STREAM = 16_000_001  # bytes: it takes longer than it takes to see that it is on its way


def received(guest):
    return int(guest.sh("cat /sys/class/net/eth0/statistics/rx_bytes"))


@pytest.mark.parametrize("turn", [1, *(pytest.param(turn, marks=pytest.mark.soak)
                                       for turn in range(2, 11))])
def test_switch_killed_under_traffic(house, turn):
    """SIGKILL of straitd under a stream by four pairs of queues, split and packed: it goes on, with
    its bytes, and the guests notice a gap. What of that is after the switch answers again is two
    seconds at most on a machine with nothing else to do. It is counted in echo requests, of which a
    machine that stands still sends none, and more than twice as many may be late."""
    house.one.wait_ping(house.two, 60)
    for port, guest in (("vm1", house.one), ("vm2", house.two)):
        guest.sh(f"{ETHTOOL} -L eth0 combined {PAIRS}")
        wait_in_use(house, port)
    carrier = [guest.carrier_changes() for guest in (house.one, house.two)]
    pings = [Pings(house.one, house.two), Pings(house.two, house.one)]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        before = received(house.two)
        stream = threads.submit(house.one.stream, house.two, size=STREAM, timeout=180)
        parts.wait_until(lambda: received(house.two) > before + STREAM / 100, 60, "the stream", 0)
        house.switch.kill()
        assert not stream.done(), "the stream was over before the switch was killed"
        house.switch.start()
        while_away = [one.sent() for one in pings]
        begin = time.monotonic()
        for guest, other in ((house.one, house.two), (house.two, house.one)):
            guest.wait_ping(other, 20)
        print(f"both directions pass {time.monotonic() - begin:.1f} s after straitd answers again")
        time.sleep(1.5)  # for the last to be answered within a second, or not
        told = [one.end() for one in pings]
        stream.result()
    for one, begun, (sent, in_time) in zip(pings, while_away, told):
        late = sum(number not in in_time for number in range(begun, sent - one.PER_SECOND))
        print(f"{one.guest.name}: {sent} requests, {len(in_time)} answered within a second; "
              f"{begun} sent when straitd answered, of those that came then {late} were late")
        assert sent - one.PER_SECOND > begun and in_time and late <= 5 * one.PER_SECOND
    for guest, other in ((house.one, house.two), (house.two, house.one)):
        assert guest.ping(other, count=10, timeout=5).lost == 0
        clean(guest)
    for port in ("vm1", "vm2"):
        assert in_use(house, port) == [True] * PAIRS
    each_pair_sends(house)
    assert carrier == [guest.carrier_changes() for guest in (house.one, house.two)]


def test_qemu_beside_them(house):
    """Two guests of strait-vmm's and one of QEMU's on one switch."""
    three = house.lab.qemu_kvm_guest(house.machine, house.nic(3), "10.0.0.3")
    for other in (house.one, house.two):
        other.wait_ping(three, 60)
        three.stream(other, size=2_000_001, timeout=60)
        other.stream(three, size=2_000_001, timeout=60)
    three.close()


def vm(house, guest, method, **parameters):
    """The result of a method of a guest's control socket."""
    import json
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
    answer = json.loads(house.machine.sh(
        "python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); "
        f"s.connect(\"{guest.control}\"); s.sendall(sys.argv[1].encode() + b\"\\n\"); "
        "print(s.makefile().readline())' " + f"'{request}'", 60))
    assert "result" in answer, answer
    return answer["result"]


def answers(house, guest):
    """Whether its VMM does."""
    try:
        return vm(house, guest, "vm.info")
    except parts.LabError:
        return None


def test_pause(house):
    info = vm(house, house.two, "vm.info")
    assert info["state"] == "running" and info["nets"][0]["serving"], info
    vm(house, house.two, "vm.pause")
    assert house.one.ping(house.two, count=1).received == 0
    vm(house, house.two, "vm.resume")
    house.one.wait_ping(house.two, 20)


def test_memory_beside_the_guests(house):
    """At most 5 MiB for one CPU (Firecracker's promise); printed, and bounded well above that."""
    pids = house.machine.sh(
        f"pid={house.two.pid}; echo $pid $(cat /proc/$pid/task/*/children)").split()
    total = 0
    for pid in pids:
        text = house.machine.sh(f"cat /proc/{pid}/smaps")
        guest = False
        for line in text.splitlines():
            if "-" in line.split(" ")[0] and ":" not in line.split(" ")[0]:
                guest = "memfd:strait-guest" in line
            elif not guest and line.startswith(("Pss_Anon:", "Private_Dirty:")):
                words = line.split()
                if words[0] == "Private_Dirty:":
                    total += int(words[1])
    print(f"{total} KiB beside the guest's memory, in {len(pids)} processes")
    assert total < 16 * 1024


def begins_anew(guest):
    """Waits for a guest that its VMM starts again, and configures it."""
    def up():
        try:
            return float(guest.sh("cat /proc/uptime", 5).split()[0]) < 30
        except parts.LabError:
            return False
    time.sleep(2)
    parts.wait_until(up, 120, f"{guest.name} beginning anew", 0.5)
    guest.sh(f"ip addr add {guest.address}/24 dev eth0 && ip link set eth0 up")


def test_ways_to_end(house):
    """Power-off, reboot, panic, the power button, and none of them: each with its status. SIGTERM
    is test_real_time's."""
    for command in ("reboot", "echo c > /proc/sysrq-trigger"):
        house.two.send(command)
        begins_anew(house.two)
        house.one.wait_ping(house.two, 60)
    told = house.two.state()  # as errors tell it
    assert "it has begun anew" in told and "sysrq triggered crash" in told, told
    assert house.two.poweroff(60) == 0

    house.two.arguments = ["--no-reboot"]
    house.two.boot()
    house.two.wait_up()
    house.two.send("reboot")
    assert house.two.wait(60) == 2

    house.two.boot()
    house.two.wait_up()
    vm(house, house.two, "vm.stop")
    assert house.two.wait(30) == 0

    # Whatever it is at.
    house.two.boot()
    parts.wait_until(lambda: answers(house, house.two), 60, "its VMM's answer", 0.2)
    vm(house, house.two, "vm.stop", force=True)
    assert house.two.wait(30) == 4
    house.two.arguments = []


def test_real_time(house):
    """vCPUs have it, though their process has given up the right to; and SIGTERM is the power
    button."""
    if house.two.pid:
        house.two.kill()
    house.two.arguments = ["--realtime", "2"]
    house.two.boot()
    house.two.wait_up()
    house.two.arguments = []
    told = house.machine.sh(
        "python3 -c 'import os, sys\n"
        "for thread in os.listdir(f\"/proc/{sys.argv[1]}/task\"):\n"
        "    with open(f\"/proc/{sys.argv[1]}/task/{thread}/comm\") as name:\n"
        "        print(name.read().strip(), os.sched_getscheduler(int(thread)),\n"
        "              os.sched_getparam(int(thread)).sched_priority)' "
        f"$(cat /proc/{house.two.pid}/task/*/children)", 60)
    assert "vcpu0 1 2" in told.splitlines(), told  # 1: SCHED_FIFO
    assert "net0 0 0" in told.splitlines(), told
    house.machine.sh(f"kill -TERM {house.two.pid}")
    assert house.two.wait(60) == 0


def test_guest_before_its_switch(house):
    """No back end at boot is no error; the link comes up with the switch."""
    if house.two.pid:
        house.two.kill()
    house.switch.kill()
    house.two.boot()
    house.two.wait_up()
    assert house.two.sh("cat /sys/class/net/eth0/carrier").strip() == "0"
    house.switch.start()
    house.one.wait_ping(house.two, 60)
    assert house.two.sh("cat /sys/class/net/eth0/carrier").strip() == "1"
