# SPDX-License-Identifier: BSD-3-Clause
"""Network devices of guests on the switch and on testpmd, which is somebody else's back end: what
the guests count, what the switch counts, and back ends that come and go."""

import pathlib
import struct

import pytest

import lab as parts
from lab import back_end

from .conftest import Bridge

PATIENT = parts.BareGuest.PATIENT
FRAME = 60
RING = 256
ECHO = "52:54:00:00:00:0e"  # who sends frames back: to the broadcast address none would come

kinds = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
modes = pytest.mark.parametrize("mode", ["server", "client"])  # the switch's


def device(packed=False, mode="server", **more):
    """The device's options that go with a kind of ring and a port's mode."""
    more = {"packed": "on" if packed else "off", **more}
    if mode == "client":
        more["server"] = "on"
    return "".join(f",{key}={value}" for key, value in more.items())


def driver(packed=False, mergeable=False, **more):
    """The guest's settings for a device."""
    more = {"packed": int(packed), "mrg": int(mergeable), **more}
    return " ".join(f"{key}={value}" for key, value in more.items())


def no_damage(guest, what):
    for key in ("bad", "gaps"):
        assert guest.number(f"{what}_{key}") == 0, key


def echoing(bridge, path, *, extra="", words="", **options):
    """A guest that sends everything back until a frame says stop."""
    made = bridge.guest(f"{words} net echo", path, extra=f"{extra},mac={ECHO}", **options)
    bridge.wait_serving(made)
    return made


# ---- frames and their counts ----

@modes
@kinds
@pytest.mark.parametrize("mergeable", [False, True], ids=["single", "mergeable"])
def test_counts(bridge, packed, mergeable, mode):
    """What one guest sends, the other receives, or the switch says where it is."""
    paths = [bridge.add(name, mode=mode) for name in ("vm1", "vm2")]
    words, extra = driver(packed, mergeable), device(packed, mode)
    receiver = bridge.guest(f"{words} net rx=1000000000", paths[1], extra=extra)
    bridge.wait_serving(receiver)
    sender = bridge.guest(f"{words} net tx=20000 button", paths[0], extra=extra)
    sender.wait_told("button", "waiting")
    assert sender.text("tx_end") == "count"
    assert sender.number("tx") == sender.number("tx_sent") == 20000
    details = bridge.switch.ctl("port show vm1")["details"]
    assert details["ring_kind"] == ("packed" if packed else "split")
    assert ("mrg_rxbuf" in details["features"]) == mergeable
    from_sender = bridge.stats("vm1")
    assert from_sender["rx_packets"] == 20000
    assert from_sender["rx_bytes"] == sender.number("tx_sent_bytes") == 20000 * FRAME

    sender.press()
    sender.finish()
    last = bridge.guest(f"{words} net stop", paths[0], extra=extra)
    last.finish()
    receiver.finish()
    assert receiver.text("rx_end") == "stop"
    to_receiver = bridge.stats("vm2")
    assert to_receiver["tx_packets"] == receiver.number("rx")
    assert to_receiver["tx_bytes"] == receiver.number("rx_received_bytes") == (
        receiver.number("rx") * FRAME)
    assert receiver.number("rx_ours") == receiver.number("rx") - 1
    assert receiver.number("rx_buffers") == receiver.number("rx")
    assert receiver.number("rx_bad") == 0
    dropped = bridge.drops("vm2")
    assert set(dropped) <= {"receiver_full"}
    assert to_receiver["tx_packets"] + sum(dropped.values()) == 20001


@kinds
def test_several_queue_pairs(lab, packed):
    """Of two workers, each with some of the guests' pairs: all are used, a guest that is told of
    several and one that has one, and frames are where they should be, or counted."""
    switch = lab.switch(workers="0-1")
    bridge = Bridge(lab, switch)
    paths = [bridge.add(name, "--queues", 4) for name in ("vm1", "vm2")]
    words, extra = driver(packed, queues=4), device(packed, queues=4)
    receiver = bridge.guest(f"{words} net rx=1000000000", paths[1], extra=extra)
    bridge.wait_serving(receiver)
    sender = bridge.guest(f"{words} net tx=20000 button", paths[0], extra=extra)
    sender.wait_told("button", "waiting")
    for guest in (sender, receiver):
        assert guest.number("net_max_pairs") == guest.number("net_pairs") == 4
        assert guest.number("net_control") == 0
    assert sender.number("tx") == 20000
    parts.wait_until(lambda: bridge.stats("vm1")["rx_packets"] == 20000, 20, "all frames taken")
    pairs = switch.ctl("port show vm1")["details"]["queue_pairs"]
    assert len(pairs) == 4 and "off" not in pairs, pairs
    if not packed:  # those stand at 0 again every 256 frames
        assert not any(pair.endswith("tx 0 of 256") for pair in pairs), pairs
    workers = {queue["worker"] for queue in switch.ctl("queue list") if queue["port"] == "vm1"}
    assert len(workers) == 2

    sender.press()
    sender.finish()
    # As firmware does: one pair of several.
    last = bridge.guest(f"{driver(packed)} net stop", paths[0], extra=extra)
    last.finish()
    receiver.finish()
    assert receiver.text("rx_end") == "stop"
    to_receiver = bridge.stats("vm2")
    dropped = bridge.drops("vm2")
    assert to_receiver["tx_packets"] == receiver.number("rx")
    assert receiver.number("rx_bad") == 0
    assert set(dropped) <= {"receiver_full", "handover_full"}
    assert to_receiver["tx_packets"] + sum(dropped.values()) == 20001


@kinds
@pytest.mark.parametrize("size", [60, 1514])
@pytest.mark.parametrize("high", [0, 1], ids=["low", "high"])
def test_echo(bridge, packed, size, high):
    """To and fro, one at a time: none is lost or changed. high: rings and buffers lie beyond the
    hole in the guest's memory."""
    one, two = (bridge.add(name) for name in ("vm1", "vm2"))
    more = {"memory": "5G"} if high else {}
    words = driver(packed, high=high)
    other = echoing(bridge, two, extra=device(packed), words=words, **more)
    guest = bridge.guest(f"{words} size={size} dst={ECHO} net ping=300 size=60 stop", one,
                         extra=device(packed), **more)
    for each in (guest, other):
        each.finish()
    assert guest.text("ping_end") == "count"
    assert guest.number("ping") == guest.number("ping_ours") == 300
    assert guest.number("ping_received_bytes") == 300 * size
    no_damage(guest, "ping")
    assert other.number("echo_sent") == other.number("echo_received") == 301
    assert other.number("echo_skipped") == 0
    no_damage(other, "echo")


@kinds
def test_long_frames(bridge, packed):
    """A frame that needs several buffers is spread over them if the driver can take that, and
    dropped, and counted, if it cannot."""
    one, two, three = (bridge.add(name, "--mtu", 9000) for name in ("vm1", "vm2", "vm3"))
    spread = bridge.guest(f"{driver(packed, True)} net rx=1000000000", two,
                          extra=device(packed))
    single = bridge.guest(f"{driver(packed, False)} net rx=1000000000", three,
                          extra=device(packed))
    for guest in (spread, single):
        bridge.wait_serving(guest)
    # As many as fit the ring at once: none is lost.
    words = driver(packed, True, buffer=9216)
    sender = bridge.guest(f"{words} size=9014 net tx=40 size=60 sleep=300 stop", one,
                          extra=device(packed)).finish()
    assert sender.number("tx") == 40
    for guest in (spread, single):
        guest.finish()
    assert spread.number("rx_ours") == 40
    assert spread.number("rx_received_bytes") == 40 * 9014 + FRAME
    assert spread.number("rx_buffers") == 40 * 5 + 1
    no_damage(spread, "rx")
    assert bridge.drops("vm2") == {}
    assert single.number("rx_ours") == 0
    assert bridge.drops("vm3") == {"receiver_buffer_too_small": 40}


@kinds
def test_interrupts(bridge, packed):
    """Guests that sleep are woken for each frame."""
    one, two = (bridge.add(name) for name in ("vm1", "vm2"))
    words = driver(packed)
    other = echoing(bridge, two, extra=device(packed), words=words)
    guest = bridge.guest(f"{words} dst={ECHO} net irq=200 stop", one, extra=device(packed))
    for each in (guest, other):
        each.finish()
    assert guest.text("irq_end") == "count" and guest.number("irq") == 200
    assert guest.number("irq_interrupts") > 100  # some answers are there before one is waited for
    assert 0 < other.number("echo_interrupts")
    assert 0 < other.number("echo_sleeps")
    no_damage(guest, "irq")


@kinds
def test_no_exits_for_packets(bridge, packed):
    """A million packets cost the VMM's process next to nothing: counted, not timed."""
    one, two = (bridge.add(name) for name in ("vm1", "vm2"))
    words = driver(packed, features=1 << 29)  # with event_idx
    other = echoing(bridge, two, extra=device(packed), words=words)
    guest = bridge.guest(f"{words} dst={ECHO} net tx=1000000 button", one, extra=device(packed))
    guest.wait_told("button", "waiting", timeout=600)
    exits = [each.vm("stats")["exits"] for each in (guest, other)]
    print(f"exits: {exits}")
    assert guest.number("tx") == 1000000
    for each, by_reason in zip((guest, other), exits):
        # The console costs one for each byte, and one before each 16 of them.
        console = 2 * len(each.console())
        # All of its life, and what it takes to find and set up the device is in it.
        assert sum(by_reason.values()) - min(by_reason["port"], console) < 1000
    assert 0 < bridge.stats("vm2")["rx_packets"]  # it has sent some of them back
    guest.press()
    guest.finish()


# ---- what a guest is told ----

def test_mtu_and_mac(bridge):
    """The guest is told what was configured; each machine's own MAC otherwise."""
    path = bridge.add("vm1", "--mtu", 1400)
    macs = []
    for extra, mtu in ((",mac=52:54:00:00:00:77,mtu=1400", 1400), (",mtu=68", 68), ("", None)):
        guest = bridge.guest("net", path, extra=extra).finish()
        assert guest.told("net_mtu") == ([str(mtu)] if mtu else [])
        macs.append(guest.text("net_mac"))
    assert macs[0] == "52:54:00:00:00:77"
    assert len(set(macs)) == 3 and all(mac.startswith("02:") for mac in macs[1:])


def test_features(bridge):
    """Of rings and offloads the guest is offered what back end and configuration both have."""
    path = bridge.add("vm1")
    packed, checksum = 1 << 34, 1 << 0
    for extra, has in ((",packed=on", packed | checksum), ("", checksum), (",offloads=off", 0)):
        guest = bridge.guest("net", path, extra=extra).finish()
        assert guest.number("net_offered") & (packed | checksum) == has
    # Those it does not offer are not taken.
    guest = bridge.guest("force=0x1 net", path, extra=",offloads=off", ready=False)
    assert guest.wait() == 2
    assert guest.text("net") == "features refused"


def test_queue_size(bridge):
    path = bridge.add("vm1")
    for size in (4, 64, 1024):
        guest = bridge.guest("wait=poll ring=1024 net tx=3000", path,
                             extra=f",queue-size={size}").finish()
        assert guest.number("net_ring") == size and guest.number("tx") == 3000


def test_two_devices(bridge):
    """Each has its own port: what the second sends is none of the first's VLAN."""
    one, two, three = (bridge.add(name) for name in ("vm1", "vm2", "vm3"))
    for port, vlan in (("vm1", 8), ("vm2", 7), ("vm3", 8)):
        bridge.switch.ctl("port", "set", port, "--vlan", vlan)
    other = echoing(bridge, three)
    guest = bridge.lab.bare_guest(
        f"{PATIENT} dst={ECHO} net device=0 ping=100 stop net device=1 tx=50",
        nets=[f"socket={one}", f"socket={two}"]).finish()
    assert guest.number("net_devices") == 2
    assert guest.number("ping") == 100 and guest.number("tx") == 50
    other.finish()
    assert bridge.stats("vm1")["rx_packets"] == 101
    assert bridge.stats("vm2")["rx_packets"] == 50
    assert bridge.stats("vm3")["tx_packets"] == 101


def test_as_many_devices_as_a_bus_has_room_for(bridge, tmp_path):
    """Each with 16 pairs of queues. The guest sets all of them up, and its frames go by the last;
    nobody is at the others' sockets."""
    most = 30
    one, two = (bridge.add(name) for name in ("vm1", "vm2"))
    other = echoing(bridge, two)
    each = " ".join(f"device={number} queues={16 if number < most - 1 else 1} net"
                    for number in range(most))
    guest = bridge.lab.bare_guest(
        f"{PATIENT} pci dst={ECHO} {each} ping=100 stop button",
        nets=[*(f"socket={tmp_path}/{number},queues=16" for number in range(most - 1)),
              f"socket={one},queues=16"])
    guest.wait_told("button", "waiting")
    assert guest.number("pci_functions") == 32 and guest.number("net_devices") == most
    assert guest.told("net") == ["ok"] * most
    assert guest.number("ping") == 100
    vectors = [line for line in guest.told("capability") if "msix vectors=34 " in line]
    assert len(vectors) == most
    assert len(guest.vm("info")["nets"]) == most
    assert 2000 < len(list(pathlib.Path(f"/proc/{guest.pid}/fd").iterdir())) < 4096
    guest.press()
    for made in (guest, other):
        made.finish()
    assert bridge.stats("vm1")["rx_packets"] == 101


def test_unprivileged(bridge):
    """As a user to whom the port's socket was given."""
    one, two = (bridge.add(name, "--socket-owner", "nobody") for name in ("vm1", "vm2"))
    user = ["--user", "nobody"]
    other = echoing(bridge, two, arguments=user)
    guest = bridge.guest(f"dst={ECHO} net ping=100 stop", one, arguments=user)
    for each in (guest, other):
        each.finish()
    assert guest.number("ping") == 100
    no_damage(guest, "ping")


# ---- back ends that come and go ----

@modes
def test_back_end_comes_later(bridge, mode):
    """A guest boots without one, sees its link come up, and is served."""
    path = bridge.switch.socket("vm1")
    guest = bridge.guest(f"dst={ECHO} net link=1 ping=100 stop", path, extra=device(mode=mode))
    assert guest.number("net_link") == 0
    assert [(net["connected"], net["serving"]) for net in guest.vm("info")["nets"]] == [
        (False, False)]
    other = echoing(bridge, bridge.add("vm2"))
    assert bridge.add("vm1", mode=mode) == path
    for each in (guest, other):
        each.finish()
    assert guest.number("link") == 1
    assert guest.number("link_interrupts") == 1
    assert guest.number("ping") == 100
    no_damage(guest, "ping")


def test_link_goes_and_comes(bridge):
    """A back end that has gone for good takes the link with it, and brings it back."""
    path = bridge.add("vm1")
    guest = bridge.guest("net link=0 link=1 tx=10", path)
    assert guest.number("net_link") == 1
    bridge.wait_serving(guest)
    bridge.switch.ctl("port del vm1")
    guest.wait_told("link", "0")
    bridge.add("vm1")
    guest.finish()
    assert guest.told("link") == ["0", "1"]
    assert guest.told("link_interrupts") == ["1", "1"]
    assert guest.number("tx") == 10


@kinds
def test_switch_killed_under_traffic(lab, house, switch, packed):
    """SIGKILL, again and again: of the buffers that were with the switch none is lost, neither of
    those to send nor of those to receive, and none comes back twice."""
    switch.restart()
    one, two = house.staying.values()
    words, extra = driver(packed), device(packed)

    def start(doing, path):
        made = lab.bare_guest(f"{PATIENT} {words} net {doing}", nets=[f"socket={path}{extra}"])
        made.wait_told("net", "ok")
        return made

    def received(name):
        return next(port["rx_packets"] for port in switch.ctl("stats")["ports"]
                    if port["name"] == name)

    receiver = start("rx=1000000000 button rx=256", two)
    rounds = 90
    sender = start(" ".join(["tx=50000"] * rounds), one)
    for _ in range(3):
        parts.wait_until(lambda: received("stay1"), 120, "traffic")
        switch.kill()
        done = len(sender.told("tx"))
        switch.start()
    sender.wait_told("tx", times=min(done + 2, rounds), timeout=300)
    assert done < rounds, "all had been sent before the switch was killed"
    assert len(receiver.told("rx")) == 0
    sender.kill()
    assert set(sender.told("tx_end")) == {"count"}
    assert set(sender.told("tx")) == {"50000"}

    start("sleep=300 stop", one).finish()
    receiver.wait_told("button", "waiting")
    assert receiver.text("rx_end") == "stop"
    assert receiver.number("rx_bad") == 0
    # It takes nothing now: what its ring has room for is all it gets.
    start("tx=2000", one).finish()
    receiver.press()
    receiver.finish()
    assert receiver.number("rx") == RING and receiver.text("rx_end") == "count"
    assert receiver.number("rx_bad") == 0


@kinds
def test_where_rings_stand(bridge, lab, packed):
    """What the next back end is told of them. Those with DPDK's library would not notice that it is
    wrong: they go by the used index in the guest's memory, and straitd by its file, if packed."""
    one, two = (bridge.add(name) for name in ("vm1", "vm2"))
    words, extra = driver(packed), device(packed)
    echoing(bridge, two, extra=extra, words=words)
    frames = 300  # more than a ring has: the packed ones are in their second lap
    guest = bridge.guest(f"{words} dst={ECHO} net ping={frames} button", one, extra=extra)
    guest.wait_told("button", "waiting")
    assert guest.number("ping") == frames
    place = frames - RING if packed else frames  # with the wrap counter, which is 0, in bit 15
    stands = place << 16 | place if packed else place
    told = {}

    def listens(_, request, payload):
        if request == back_end.SET_VRING_BASE:
            ring, base = struct.unpack("<II", payload)
            told[ring] = base

    bridge.switch.ctl("port del vm1")
    features = guest.number("net_features") | back_end.PROTOCOL_FEATURES
    lab.back_end(one, behave=listens, features=features).wait_seen(back_end.SET_VRING_ENABLE)
    assert told == {0: stands, 1: stands}
    guest.press()
    guest.finish()


# ---- somebody else's back end ----

QUEUES = 16


class Stranger:
    """testpmd with one vhost-user port of QUEUES pairs, for one guest after the other."""

    def __init__(self, lab, folder, client):
        self.extra = ",server=on" if client else ""
        self.path = folder / "net"
        self.testpmd = lab.testpmd(
            [f"net_vhost0,iface={self.path},queues={QUEUES},client={client:d}"], memory_mib=256,
            arguments=[f"--rxq={QUEUES}", f"--txq={QUEUES}"])

    def does(self, mode):
        for line in ("stop", f"set fwd {mode}", "clear port stats all", "start"):
            self.testpmd.command(line, timeout=60)

    def guest(self, lab, words, extra=""):
        return lab.bare_guest(f"{PATIENT} {words}",
                              nets=[f"socket={self.path}{self.extra}{extra}"])


@pytest.fixture(scope="module", params=[False, True], ids=["server", "client"])
def stranger(request, module_lab, tmp_path_factory):
    return Stranger(module_lab, tmp_path_factory.mktemp("stranger"), request.param)


@kinds
def test_testpmd_echoes(lab, stranger, packed):
    stranger.does("macswap")
    guest = stranger.guest(lab, f"{driver(packed)} net ping=100", device(packed)).finish()
    assert guest.number("ping") == guest.number("ping_ours") == 100
    no_damage(guest, "ping")
    assert stranger.testpmd.stats()["rx_packets"] == 100


@kinds
@pytest.mark.parametrize("queues", [2, 4, 16])
def test_several_queues(lab, stranger, queues, packed):
    """All of them are told of, set up and used."""
    stranger.does("rxonly")
    guest = stranger.guest(lab, f"{driver(packed, queues=queues)} net tx=20000 button",
                           device(packed, queues=queues))
    guest.wait_told("button", "waiting")
    assert guest.number("net_max_pairs") == guest.number("net_pairs") == queues
    assert guest.number("net_queues") == 2 * queues + 1
    assert guest.number("net_control") == 0
    assert guest.number("tx") == 20000
    parts.wait_until(lambda: stranger.testpmd.stats()["rx_packets"] == 20000, 60,
                     "all frames taken")
    guest.press()
    guest.finish()


@kinds
def test_testpmd_sends(lab, stranger, packed):
    stranger.does("txonly")
    guest = stranger.guest(lab, f"{driver(packed)} net rx=5000", device(packed)).finish()
    assert guest.text("rx_end") == "count"
    assert guest.number("rx") >= 5000
