# SPDX-License-Identifier: BSD-3-Clause
"""Ends and returns: the switch killed under live guests, and guests killed under a live switch,
again and again, with everything that could leak counted."""

import itertools
import os
import pathlib
import shutil
import tempfile
import threading
import time

import pytest

import lab as parts

# What guests may need after the switch is back: QEMU looks for it once a second.
RECOVERY_S = 2.0
BOOT_S = 240  # on a machine that is busy with other things


class Switched:
    """Two guests, one with split and one with packed rings, on a switch that keeps its ports:
    nobody tells it of them after a start."""

    def __init__(self, lab):
        self.folder = tempfile.mkdtemp(prefix="strait-restart-")
        split, packed = (f"{self.folder}/{kind}.sock" for kind in ("split", "packed"))
        # QEMU listens for one port and connects to the other: both find the switch again.
        self.switch = lab.switch(workers="1", run_dir=self.folder, persist=True)
        self.switch.ctl("bridge add br0")
        self.switch.ctl(f"port add split --bridge br0 --type vhost-user --socket {split} "
                        "--mode client")
        self.switch.ctl(f"port add packed --bridge br0 --type vhost-user --socket {packed}")
        self.split = lab.guest(parts.Nic(split, "52:54:00:00:01:01", server=True), "10.1.0.1",
                               wait=False, boot_timeout=BOOT_S)
        self.packed = lab.guest(parts.Nic(packed, "52:54:00:00:01:02", packed=True), "10.1.0.2",
                                wait=False, boot_timeout=BOOT_S)
        self.split.wait_up()
        self.packed.wait_up()
        self.split.wait_ping(self.packed, 30)
        self.packed.wait_ping(self.split, 30)
        for port in ("split", "packed"):
            details = self.switch.ctl("port", "show", port)["details"]
            assert details["ring_kind"] == port

    def outage(self, end):
        """Ends the switch by end() and starts it; by guest, seconds from its readiness to the
        first answer to an echo request, each of which crosses both rings of both guests."""
        answered = {}

        def listen(guest, other):
            guest.sh(f"ping -i 0.1 -W 1 -c 600 {other.address} | grep -q -m 1 seq=", 70)
            answered[guest.name] = time.monotonic()
        end()
        # Only now: no answer of before can be taken for one of after.
        threads = [threading.Thread(target=listen, args=pair, daemon=True)
                   for pair in ((self.split, self.packed), (self.packed, self.split))]
        for thread in threads:
            thread.start()
        self.switch.start()
        ready = time.monotonic()
        for thread in threads:
            thread.join(80)
        assert len(answered) == 2, (
            f"after a restart of the switch only {answered} had an answer; ports: "
            f"{[self.switch.ctl('port', 'show', port) for port in ('split', 'packed')]}, counters: "
            f"{self.switch.ctl('stats')['ports']}")
        return {name: max(0.0, moment - ready) for name, moment in answered.items()}

    def features(self):
        return [self.switch.ctl("port", "show", port)["details"]["features"]
                for port in ("split", "packed")]

    def boot_ids(self):
        return [guest.sh("cat /proc/sys/kernel/random/boot_id") for guest in
                (self.split, self.packed)]

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared(module_lab):
    made = Switched(module_lab)
    yield made
    made.close()


@pytest.fixture
def switched(shared):
    before = shared.boot_ids()
    yield shared
    assert shared.boot_ids() == before
    for guest, port in ((shared.split, "split"), (shared.packed, "packed")):
        assert guest.process.running
        trouble = guest.sh("dmesg | grep -i -e virtio -e 'NETDEV WATCHDOG' -e BUG | "
                           "grep -v -e virtio_net.*renamed || true")
        assert not any(word in trouble for word in ("WATCHDOG", "BUG", "not a head", "error")), \
            trouble
        drops = shared.switch.ctl("drops", port)["ports"][0]["drops"]
        assert not {reason: count for reason, count in drops.items()
                    if "malformed" in reason and count}


def recovers(switched, end, attempts=4):
    """The switch is ended and started; traffic must be back each time, and once within
    RECOVERY_S: on a machine that is busy with other things a guest may be late for reasons of
    its own, but not always."""
    worst = []
    for _ in range(attempts):
        gaps = switched.outage(end)
        print(f"seconds without an answer after the start: {gaps}")
        worst.append(max(gaps.values()))
        if worst[-1] <= RECOVERY_S:
            return
    pytest.fail(f"traffic was back only after {worst} s in {attempts} restarts; "
                f"{RECOVERY_S} s are allowed")


def test_killed_when_idle(switched):
    agreed = switched.features()
    assert all({"csum", "host_tso4", "guest_tso4"} <= set(features) for features in agreed)
    for _ in range(3):
        recovers(switched, switched.switch.kill)
    assert switched.features() == agreed
    switched.split.stream(switched.packed, size=2_000_003)
    switched.packed.stream(switched.split, size=2_000_003)


def test_stopped_and_started(switched):
    recovers(switched, switched.switch.stop)
    switched.split.stream(switched.packed, size=1_000_003)
    switched.packed.stream(switched.split, size=1_000_003)


@pytest.mark.parametrize("way", ["split to packed", "packed to split"])
def test_killed_in_the_middle_of_a_stream(switched, way):
    """Rings are full of what is under way, and TCP finds every byte of it again."""
    sender, receiver = ((switched.split, switched.packed) if way == "split to packed"
                        else (switched.packed, switched.split))
    port = "split" if sender is switched.split else "packed"
    switch = switched.switch
    outcome = []

    def transfer():
        try:
            outcome.append(sender.stream(receiver, size=12 << 20, timeout=120))
        except parts.LabError as error:
            outcome.append(error)
    sender.prepare_block()
    receiver.prepare_block()
    thread = threading.Thread(target=transfer, daemon=True)
    thread.start()
    for _ in range(2):
        def moved():
            return switch.ctl("stats", port)["ports"][0]["rx_bytes"]
        before = moved()
        parts.wait_until(lambda: moved() > before + 300_000 or not thread.is_alive(), 60,
                         "the stream moving")
        assert thread.is_alive(), f"over before the switch could be killed: {outcome}"
        recovers(switched, switch.kill, attempts=1 if os.cpu_count() > 2 else 3)
    thread.join(150)
    assert outcome and isinstance(outcome[0], parts.Stream), outcome


# Guests come and go

class Count:
    """What a daemon holds."""

    def __init__(self, switch):
        pid = switch.process.pid
        with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
            self.mappings = sum(1 for _ in maps)
        self.fds = switch.fds()
        self.threads = switch.process.threads()
        self.pss = switch.memory()["Pss"]
        self.buffers = switch.ctl("worker list")["pool"]["in_use"]

    def __repr__(self):
        return (f"{self.fds} descriptors, {self.threads} threads, {self.mappings} mappings, "
                f"{self.pss / (1 << 20):.1f} MiB, {self.buffers} packet buffers")


def reconnect(lab, rounds, mode):
    """Two guests under full load are SIGKILLed and replaced, rounds times; nothing may be left.

    The ports belong to two workers: what crosses between them is in buffers of the pool, and
    half the time a kill catches some there.
    """
    generator = parts.binaries() / "strait-generator"
    if not generator.exists():
        pytest.skip(f"skipped: {generator} was not built")
    switch = lab.switch(workers="0,1")
    switch.ctl("bridge add br0")
    sockets = [switch.add_vhost(name, mode=mode) if mode == "server" else
               f"{switch.folder}/{name}.sock" for name in ("a", "b")]
    if mode == "client":
        for name, path in zip("ab", sockets):
            switch.ctl("port", "add", name, "--bridge", "br0", "--type", "vhost-user",
                       "--socket", path, "--mode", "client")
    assert len({switch.ctl("port", "show", name)["queues"][0]["worker"] for name in "ab"}) == 2

    def connected():
        return [switch.ctl("port", "show", name)["details"]["connected"] for name in "ab"]

    def one_round(number):
        # Each kind of ring after each, and each after itself.
        packed = number // 2 % 2
        if mode == "client":
            for path in sockets:
                pathlib.Path(path).unlink(missing_ok=True)
        guests = parts.Process(
            [generator, "--end-a", f"vhost:{sockets[0]}", "--end-b", f"vhost:{sockets[1]}",
             "--no-huge", "--packed", packed, "--in-order", number % 2, "--warm-up", 0,
             "--seconds", 120, "--ready-timeout", 60, "--verify-every", 1]
            + (["--server"] if mode == "client" else []),
            switch.folder / f"generator{number}.log")
        try:
            guests.wait_log("measure_begin", 90)
            time.sleep(number % 5 / 100)
            assert guests.running
        finally:
            guests.kill()
        parts.wait_until(lambda: not any(connected()), 30, "the ports noticing their guests' end")

    def settled():
        """The count, when nothing is under way any more."""
        parts.wait_until(lambda: Count(switch).buffers == 0, 10, "all packet buffers given back")
        # In client mode the switch tries to connect all the time, with a socket while it does.
        counts = []
        for _ in range(15):
            counts.append(Count(switch))
            time.sleep(0.1)
        return min(counts, key=lambda count: count.fds)

    turns = itertools.count()
    # First what is taken once: pages of the pool and of the heap when they are first used.
    for _ in range(4):
        one_round(next(turns))
    before = settled()
    for _ in range(rounds):
        one_round(next(turns))
    after = settled()
    print(f"{2 * rounds} reconnections: {before}; then {after}")
    made = sum(switch.ctl("port", "show", name)["details"]["connections"] for name in "ab")
    assert made >= 2 * (rounds + 4)
    assert after.fds <= before.fds
    assert after.threads <= before.threads
    assert after.mappings <= before.mappings + 4, "guests' memory is still mapped"
    assert after.pss <= before.pss + (1 << 20)
    drops = switch.ctl("drops")["ports"]
    assert not [port["name"] for port in drops for reason, count in port["drops"].items()
                if "malformed" in reason and count]


@pytest.mark.parametrize("mode", ["server", "client"])
def test_reconnections_leak_nothing(lab, mode):
    reconnect(lab, 12 if mode == "server" else 4, mode)


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["server", "client"])
def test_two_hundred_reconnections_leak_nothing(lab, mode):
    reconnect(lab, 100, mode)
