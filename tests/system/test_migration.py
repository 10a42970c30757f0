# SPDX-License-Identifier: BSD-3-Clause
"""Guests that move from one QEMU to another while they are sent to, on ports of one switch: a guest
with split rings that announces itself, and one with two pairs of packed rings whose QEMU has the
switch do it. The host behind a tap sends, so that what is written into the guests' memory is the
switch's."""

import re
import time

import pytest

import lab as parts
from lab import wait_until

BOOT_S = 240  # on a machine that is busy with other things
PAGE = 4096
MIB = 1 << 20
MACS = {"split": "52:54:00:00:00:11", "packed": "52:54:00:00:00:12"}
PAIRS = {"split": 1, "packed": 2}
ADDRESSES = {"split": "10.0.0.11", "packed": "10.0.0.12"}
# RAM at full speed, and a pause in which a busy machine gets the rest of it over: so there are few
# rounds of copying. In many a QEMU that emulates was seen to leave out what its guest had written.
FAST = {"max_bandwidth": 4096 * MIB, "downtime_limit": 5000}
SLOW = {"max_bandwidth": 256 * 1024, "downtime_limit": 1}


class Migrations:
    """A switch in a namespace that is the host behind a tap, and a guest of each kind."""

    def __init__(self, lab):
        self._lab = lab
        self.host = lab.netns()
        self.switch = lab.switch(workers="1", netns=self.host)
        self.ctl = self.switch.ctl
        self.ctl("bridge add br0")
        self.switch.add_nic("up0", "net_tap0,iface=up0")
        self.host.configure("up0", "10.0.0.1")
        self.ports = {}
        self.guests = {kind: self.new(kind, wait=False) for kind in MACS}
        for guest in self.guests.values():
            guest.wait_up()
        for kind in MACS:
            self.host.wait_ping(ADDRESSES[kind], 30)
        # Of itself a kernel uses one for each CPU.
        self.guests["packed"].sh(f"{parts.TOOLS}/ethtool -L eth0 combined {PAIRS['packed']}")

    def new(self, kind, **options):
        """A QEMU for this kind of guest, on a port of its own."""
        port = f"{kind}{len(self.ports)}"
        path = self.switch.add_vhost(port, "--queues", PAIRS[kind])
        nic = parts.Nic(path, MACS[kind], packed=kind == "packed", queues=PAIRS[kind],
                        extra="" if kind == "split" else ",guest_announce=off")
        guest = self._lab.guest(nic, ADDRESSES[kind], boot_timeout=BOOT_S,
                                initrd=parts.assets().tools_initrd, **options)
        self.ports[guest] = port
        return guest

    def details(self, guest):
        return self.ctl("port", "show", self.ports[guest])["details"]

    def unserved(self, guest):
        """Frames that came while no ring of the guest's was with a worker, or the guest stood."""
        drops = self.ctl("stats", self.ports[guest])["ports"][0]["drops"]
        return drops.get("receiver_not_connected", 0) + drops.get("receiver_full", 0)

    def where(self, kind):
        """The port that the guest's address was learnt on."""
        return next((e["port"] for e in self.ctl("mac list")["entries"]
                     if e["mac"] == MACS[kind]), None)


@pytest.fixture(scope="module")
def house(module_lab):
    return Migrations(module_lab)


class Traffic:
    """Echo requests of 1,400 bytes to a guest, some hundred a second, for as long as the with."""

    INTERVAL = 0.005

    def __init__(self, host, address):
        self._command = (f"busybox ping -i {self.INTERVAL} -s 1400 -W 2 -w 60 {address} "
                         "> pinged 2>&1 & echo $!")
        self._host = host

    def __enter__(self):
        self._pid = self._host.sh(self._command).split()[0]
        return self

    def __exit__(self, *exception):
        # A guest that stood still answers all at once, more than the socket may have room for.
        sockets = self._host.sh("cat /proc/net/raw").splitlines()[1:]
        overrun = sum(int(line.split()[-1]) for line in sockets)
        self._host.sh(f"kill -INT {self._pid}; sleep 0.5")
        answered = [int(n) for n in re.findall(r" seq=(\d+) ", self._host.sh("cat pinged"))]
        self.received = len(answered)
        # Those behind the last that was answered may be on their way.
        missing = max(answered) + 1 - len(set(answered)) if answered else 0
        self.lost = max(0, missing - overrun)


def active(guest):
    """The migration has begun to copy memory."""
    wait_until(lambda: guest.migration().get("ram", {}).get("transferred", 0) > MIB // 4, 20,
               "a migration that is under way")
    assert guest.migration()["status"] == "active"


def completed(guest):
    def ended():
        state = guest.migration()
        assert state["status"] not in ("failed", "cancelled"), state
        return state["status"] == "completed"
    wait_until(ended, 60, "the end of the migration")


def differing_pages(one, other):
    with one.memory() as left, other.memory() as right:
        found, at = [], 0
        while True:
            mine, theirs = left.read(MIB), right.read(MIB)
            assert len(mine) == len(theirs)
            if not mine:
                return found, at
            if mine != theirs:
                found += [at + i for i in range(0, len(mine), PAGE)
                          if mine[i:i + PAGE] != theirs[i:i + PAGE]]
            at += len(mine)


@pytest.mark.parametrize("kind", MACS)
def test_destination_killed_midway_leaves_the_guest_where_it_is(house, kind):
    guest = house.guests[kind]
    doomed = house.new(kind, incoming=True)
    before = house.unserved(guest)
    with Traffic(house.host, guest.address) as traffic:
        guest.migrate_to(doomed, **SLOW)
        active(guest)
        assert "log_all" in house.details(guest)["features"]
        doomed.kill()
        wait_until(lambda: guest.migration()["status"] == "failed", 20, "the failure")
        wait_until(lambda: "log_all" not in house.details(guest)["features"], 10,
                   "the end of the logging")
        time.sleep(0.5)
    assert traffic.received > 50
    # Rings are the worker's again a moment after each message, on a busy machine a later one.
    unserved = house.unserved(guest) - before
    assert traffic.lost <= unserved, f"{traffic.lost} beside {traffic.received}"
    assert unserved * Traffic.INTERVAL < 2
    assert "last_loss" not in house.details(guest)


@pytest.mark.parametrize("kind", MACS)
def test_guest_moves_with_all_of_its_memory(house, kind):
    source = house.guests[kind]
    target = house.new(kind, incoming=True)
    with Traffic(house.host, source.address) as traffic:
        time.sleep(0.5)
        source.migrate_to(target, **FAST)
        completed(source)
        differing, size = differing_pages(source, target)
        assert size == 192 * MIB
        assert not differing, f"{len(differing)} pages, of them {differing[:10]}"
        assert house.details(source)["connected"]
        began = time.monotonic()
        target.take_over(source)
        # Though the host goes on sending to the port where the guest was.
        wait_until(lambda: house.where(kind) == house.ports[target], 20, "the guest's new place")
        house.host.wait_ping(source.address, 20)
        away = time.monotonic() - began
        time.sleep(1)
    house.guests[kind] = target
    print(f"{kind}: {traffic.lost} echo requests lost, {traffic.received} answered; paused for "
          f"the copy {source.migration()['downtime']} ms, then {away:.2f} s from going on to an "
          "answer")
    assert traffic.received > 100
    state = source.migration()
    # What was sent while the guest stood is lost, the comparing of its memory included.
    assert traffic.lost * Traffic.INTERVAL < 20
    assert house.host.ping(target, count=20, interval=0.05).lost == 0
    assert target.ping(house.host, count=20, interval=0.05).lost == 0
    assert "off" not in house.details(target).get("queue_pairs", [])
    assert state["ram"]["total"] > 192 * MIB
    source.kill()
    assert "last_loss" not in house.details(target)


def test_source_killed_midway_leaves_the_switch_as_it_was(house):
    source, bystander = house.guests["split"], house.guests["packed"]
    target = house.new("split", incoming=True)
    before = house.unserved(bystander)
    with Traffic(house.host, bystander.address) as traffic:
        source.migrate_to(target, **SLOW)
        active(source)
        source.kill()
        wait_until(lambda: not target.process.running, 20, "the end of half a guest")
        time.sleep(0.5)
    assert traffic.received > 50
    stood = house.unserved(bystander) - before  # on a busy machine
    assert traffic.lost <= stood, f"{traffic.lost} beside {traffic.received}"
    for guest in (source, target):
        wait_until(lambda: not house.details(guest)["connected"], 10, "the port being free")
        assert "last_loss" not in house.details(guest)
    house.switch.process.check_running()
