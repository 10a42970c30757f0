# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests with several queue pairs each, on two workers: one with split rings, one with packed
ones, whose kernels use more and fewer of them while a stream goes on."""

import concurrent.futures
import itertools

import pytest

import lab as parts

BOOT_S = 240  # on a machine that is busy with other things
PAIRS = 4
CPUS = 2
ETHTOOL = f"{parts.TOOLS}/ethtool"


@pytest.fixture(scope="module")
def house(module_lab):
    switch = module_lab.switch(workers="0-1", persist=True)
    switch.ctl("bridge add br0")
    guests = []
    for name, packed in (("vm1", False), ("vm2", True)):
        path = switch.add_vhost(name, "--queues", PAIRS)
        guests.append(module_lab.guest(
            parts.Nic(path, f"52:54:00:00:00:0{name[-1]}", packed=packed, queues=PAIRS),
            f"10.0.0.{name[-1]}", initrd=parts.assets().tools_initrd, wait=False,
            boot_timeout=BOOT_S, arguments=["-smp", str(CPUS)]))
    for guest in guests:
        guest.wait_up()
    guests[0].wait_ping(guests[1], 20)
    return switch, guests


def in_use(switch, port):
    return [pair != "off" for pair in switch.ctl("port", "show", port)["details"]["queue_pairs"]]


def use(switch, port, guest, pairs):
    guest.sh(f"{ETHTOOL} -L eth0 combined {pairs}")
    expected = [pair < pairs for pair in range(PAIRS)]
    parts.wait_until(lambda: in_use(switch, port) == expected, 10, f"{pairs} pairs in use")


def test_kernels_use_what_they_like(house):
    switch, guests = house
    for port, guest in zip(("vm1", "vm2"), guests):
        assert sum(in_use(switch, port)) == CPUS, "as kernels do of themselves"
        for pairs in (PAIRS, 1, 3, PAIRS):
            use(switch, port, guest, pairs)
            guests[0].wait_ping(guests[1], 20)  # its kernel fills new rings a moment later
            ping = guests[0].ping(guests[1], count=3, interval=0.02, timeout=5)
            assert ping.lost == 0, f"{pairs} pairs of {port}: {ping}"


def test_pairs_come_and_go_under_a_stream(house):
    """Nothing of it is damaged, whatever is lost comes again, and each is served as before."""
    switch, guests = house
    toggle = (f"(for i in $(seq 3); do for n in 1 {PAIRS} 2 3; do {ETHTOOL} -L eth0 combined $n; "
              f"busybox usleep 20000; done; done; {ETHTOOL} -L eth0 combined {PAIRS}; "
              f"echo done > toggled) > /dev/null 2>&1 &")
    for guest in guests:
        guest.sh(f"rm -f toggled; {toggle}")
    guests[0].stream(guests[1], size=4 << 20)
    for guest in guests:
        parts.wait_until(lambda guest=guest: guest.run("cat toggled")[0] == 0, 60,
                         "the last change")
    for port in ("vm1", "vm2"):
        assert in_use(switch, port) == [True] * PAIRS
        assert "last_loss" not in switch.ctl("port", "show", port)["details"]
    for port in switch.ctl("drops")["ports"]:
        dropped = {reason for reason, count in port["drops"].items() if count}
        assert dropped <= {"receiver_not_connected", "receiver_full", "handover_full"}, port
    assert guests[0].ping(guests[1], count=5, interval=0.05, timeout=5).lost == 0


def test_their_workers_change_under_a_stream(house):
    """Each port's queues, of several pairs each, go to and fro between the workers."""
    switch, guests = house
    for port, guest in zip(("vm1", "vm2"), guests):
        use(switch, port, guest, PAIRS)
    queues = [(q["port"], q["queue"], q["worker"]) for q in switch.ctl("queue list")]
    assert len(queues) == 4, queues
    switch.ctl("stats --clear")
    with concurrent.futures.ThreadPoolExecutor() as threads:
        stream = threads.submit(guests[0].stream, guests[1], 4 << 20)
        for turn in itertools.count():
            if stream.done():
                break
            for port, queue, worker in queues:
                switch.ctl("queue", "pin", port, queue, (worker + turn) % 2)
        stream.result()
    for port, queue, worker in queues:
        switch.ctl("queue", "pin", port, queue, worker)
        switch.ctl("queue", "unpin", port, queue)
    assert turn > 3
    dropped = {reason for port in switch.ctl("drops")["ports"]
               for reason, count in port["drops"].items() if count}
    assert dropped <= {"receiver_full", "handover_full"}, dropped
    assert guests[0].ping(guests[1], count=5, interval=0.05, timeout=5).lost == 0


def test_each_ring_goes_on_after_a_kill(house):
    """By ring positions of all pairs, and as many of them as the port was made with."""
    switch, guests = house
    for port, guest in zip(("vm1", "vm2"), guests):
        use(switch, port, guest, PAIRS)
    switch.kill()
    switch.start()
    guests[0].wait_ping(guests[1], 20)
    for port in ("vm1", "vm2"):
        parts.wait_until(lambda port=port: all(in_use(switch, port)), 20, "all pairs in use")
    # Each connection by another pair, as its hash says.
    for source, target in (guests, reversed(guests)):
        for _ in range(3):
            source.stream(target, size=64 << 10)
