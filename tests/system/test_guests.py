# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests in QEMU, and a tap and a veth behind them: what a user runs. One guest has split
rings and connects to the switch, the other has packed rings and is connected to by it."""

import contextlib
import shutil
import tempfile
import threading
import time

import pytest

import lab as parts

BOOT_S = 240  # on a machine that is busy with other things
JUMBO = 8972  # bytes of an echo request that makes a packet of 9,000
FRAME = 1514  # bytes of the longest frame at an MTU of 1,500
OFFLOADS = {"csum", "guest_csum", "host_tso4", "host_tso6", "host_ecn", "guest_tso4", "guest_tso6",
            "guest_ecn"}
WITHOUT_OFFLOADS = "".join(f",{name}=off" for name in sorted(OFFLOADS))


class House:
    """A switch in a namespace of its own, a bridge br0, and the guests one (port vm1) and two."""

    def __init__(self, lab):
        self.folder = tempfile.mkdtemp(prefix="strait-house-")
        self.netns = lab.netns()
        self.far = lab.netns()
        self.switch = lab.switch(workers="1", netns=self.netns)
        self.ctl = self.switch.ctl
        self.ctl("bridge add br0")
        self.sockets = {"vm1": self.switch.add_vhost("vm1", "--mtu", 9000),
                        "vm2": f"{self.folder}/vm2.sock"}
        self.ctl("port", "add", "vm2", "--bridge", "br0", "--type", "vhost-user", "--socket",
                 self.sockets["vm2"], "--mode", "client", "--mtu", 9000)
        self.one = lab.guest(parts.Nic(self.sockets["vm1"], "52:54:00:00:00:01"), "10.0.0.1",
                             wait=False, boot_timeout=BOOT_S)
        self.two = lab.guest(parts.Nic(self.sockets["vm2"], "52:54:00:00:00:02", server=True,
                                       packed=True, extra=",indirect_desc=off"), "10.0.0.2",
                             wait=False, boot_timeout=BOOT_S)
        self.guests = (self.one, self.two)
        for guest in self.guests:
            guest.wait_up()

    def details(self, port):
        return self.ctl("port", "show", port)["details"]

    def drops(self, port, reason):
        return self.ctl("drops", port)["ports"][0]["drops"][reason]

    def counters(self, port):
        return self.ctl("stats", port)["ports"][0]

    def reachable(self):
        """Both guests hear each other, within the time that their kernels need for ARP."""
        self.one.wait_ping(self.two, 20)
        self.two.wait_ping(self.one, 20)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared(module_lab):
    made = House(module_lab)
    yield made
    made.close()


@pytest.fixture
def house(shared):
    """The shared house, and after each test the proof that the switch found no fault in a ring."""
    yield shared
    for port in shared.ctl("drops")["ports"]:
        faults = {reason: count for reason, count in port["drops"].items() if count and
                  ("malformed" in reason or
                   reason in ("bad_offload", "receiver_buffer_too_small"))}
        assert not faults, port["name"]


@pytest.fixture
def tap(house):
    """A tap behind a NIC port: the switch's own namespace is the host at its other end."""
    house.switch.add_nic("up0", "net_tap0,iface=up0", "--mtu", 9000)
    house.netns.configure("up0", "10.0.0.3", mtu=9000)
    yield house.netns
    house.ctl("port del up0")
    house.netns.address = None


def lossless(left, right, **options):
    """Echo requests both ways; the first exchange, which waits for ARP, does not count."""
    left.wait_ping(right, 20)
    right.wait_ping(left, 20)
    for source, target in ((left, right), (right, left)):
        ping = source.ping(target, count=5, interval=0.1, timeout=3, **options)
        assert ping.lost == 0, f"{source.name} to {target.name}: {ping}"


def crossing(house, source, port, target, other, **options):
    """Streams from source, behind port, to target, behind other: average bytes of the packets
    that the switch took from the one and gave to the other, acknowledgements not among them."""
    before = house.counters(port), house.counters(other)
    source.stream(target, **options)
    after = house.counters(port), house.counters(other)

    def average(index, way):
        sums = [after[index][f"{way}_{what}"] - before[index][f"{way}_{what}"]
                for what in ("bytes", "packets")]
        return sums[0] / sums[1]
    return average(0, "rx"), average(1, "tx")


def crossing_cut(house, source, port, target, other, **options):
    """crossing(), again while source leaves nothing to be cut: how much it leaves is its kernel's
    affair, and on a machine with other work that is sometimes one segment a packet."""
    for _ in range(5):
        taken, given = crossing(house, source, port, target, other, **options)
        assert given <= FRAME
        if taken > given:
            return
    pytest.fail(f"nothing that {port} gave was cut for {other}: {taken:.0f} bytes a packet")


def checksum_errors(host):
    """TCP segments that a kernel dropped since it started for their checksum."""
    names, values = (line.split() for line in host.sh("grep ^Tcp: /proc/net/snmp").splitlines())
    return int(dict(zip(names, values))["InCsumErrors"])


@contextlib.contextmanager
def meanwhile(source, target):
    """Echo requests while the body runs; all but those without an answer yet came back."""
    pings = []
    stop = threading.Event()

    def run():
        while not stop.is_set():
            pings.append(source.ping(target, count=5, interval=0.1, timeout=10))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert pings and not thread.is_alive()
    assert sum(ping.lost for ping in pings) == 0, pings


@pytest.mark.sanitized
def test_ping_and_streams(house):
    lossless(house.one, house.two)
    house.one.stream(house.two, size=4_000_003)
    house.two.stream(house.one, size=4_000_003)
    one, two = house.details("vm1"), house.details("vm2")
    assert one["ring_kind"] == "split" and "indirect_desc" in one["features"]
    assert two["ring_kind"] == "packed" and "indirect_desc" not in two["features"]
    for details in (one, two):
        assert OFFLOADS | {"mrg_rxbuf"} <= set(details["features"])
    entries = {entry["mac"]: entry["port"] for entry in house.ctl("mac list")["entries"]}
    assert entries["52:54:00:00:00:01"] == "vm1" and entries["52:54:00:00:00:02"] == "vm2"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_segments_go_whole_from_guest_to_guest(house, family):
    """What one kernel leaves to be cut comes to the other uncut, from split rings to packed ones
    and back."""
    house.reachable()
    addresses = {house.one: "10.0.0.1", house.two: "10.0.0.2"}
    if family == "ipv6":
        addresses = {house.one: "fd00::1", house.two: "fd00::2"}
        for guest, address in addresses.items():
            guest.add_ipv6(f"{address}/64")
    for source, port, target, other in ((house.one, "vm1", house.two, "vm2"),
                                        (house.two, "vm2", house.one, "vm1")):
        # A sender on a busy machine has little to put into a segment, now and then.
        for _ in range(3):
            before = target.counters()
            taken, given = crossing(house, source, port, target, other, size=6_000_003,
                                    address=addresses[target])
            after = target.counters()
            heard = ((after["rx_bytes"] - before["rx_bytes"]) /
                     (after["rx_packets"] - before["rx_packets"]))
            print(f"bytes a packet: {taken:.0f} from {port}, {given:.0f} to {other}, {heard:.0f} "
                  f"in the guest")
            if min(taken, given, heard) > FRAME:
                break
        assert min(taken, given, heard) > FRAME
        assert checksum_errors(target) == 0
    if family == "ipv6":
        for guest in house.guests:
            guest.sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")


def test_port_show_tells_whom_it_has_seen(house):
    """A guest's MAC and addresses are known by what its kernel asks and answers."""
    addresses = {house.one: ("10.0.0.1", "fd00::1"), house.two: ("10.0.0.2", "fd00::2")}
    for guest, (_, address) in addresses.items():
        guest.sh("ip neigh flush dev eth0")
        guest.add_ipv6(f"{address}/64")
    house.reachable()
    house.one.stream(house.two, size=100_000, address="fd00::2")
    for port, guest, mac in (("vm1", house.one, "52:54:00:00:00:01"),
                             ("vm2", house.two, "52:54:00:00:00:02")):
        seen = house.ctl("port", "show", port)["seen"]
        assert mac in [entry["mac"] for entry in seen["macs"]]
        told = {entry["address"]: entry["mac"] for entry in seen["addresses"]}
        assert {address: told.get(address) for address in addresses[guest]} == dict.fromkeys(
            addresses[guest], mac)
    for guest in house.guests:
        guest.sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")


def test_receivers_that_take_less(house, lab):
    """A guest with two devices: one without offloads, one that takes segments but has no mergeable
    buffers. Its driver then has room for 64 KiB in each chain."""
    sockets = {name: house.switch.add_vhost(name) for name in ("vm3", "vm4")}
    third = lab.guest([parts.Nic(sockets["vm3"], "52:54:00:00:00:03", extra=WITHOUT_OFFLOADS),
                       parts.Nic(sockets["vm4"], "52:54:00:00:00:04", mergeable=False)],
                      "10.0.0.5", boot_timeout=BOOT_S)
    # Each device answers for its own address.
    third.sh("echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore; "
             "ip addr add 10.4.0.5/24 dev eth1 && ip link set eth1 up")
    house.one.sh("ip addr add 10.4.0.1/24 dev eth0")
    assert not OFFLOADS & set(house.details("vm3")["features"])
    assert OFFLOADS <= set(house.details("vm4")["features"])
    assert "mrg_rxbuf" not in house.details("vm4")["features"]
    house.one.wait_ping("10.4.0.5", 20)
    lossless(house.one, third)

    crossing_cut(house, house.one, "vm1", third, "vm3", size=2_000_003)
    taken, given = crossing(house, third, "vm3", house.one, "vm1", size=2_000_003)
    assert taken <= FRAME and given <= FRAME
    taken, given = crossing(house, house.one, "vm1", third, "vm4", size=4_000_003,
                            address="10.4.0.5")
    assert min(taken, given) > FRAME
    taken, given = crossing(house, third, "vm4", house.one, "vm1", size=4_000_003,
                            address="10.4.0.1")
    assert min(taken, given) > FRAME
    assert checksum_errors(third) == checksum_errors(house.one) == 0
    house.one.sh("ip addr del 10.4.0.1/24 dev eth0")
    for name in sockets:
        house.ctl("port", "del", name)


@pytest.mark.parametrize("which", ["split", "packed"])
def test_tap(house, tap, which):
    guest, port = (house.one, "vm1") if which == "split" else (house.two, "vm2")
    lossless(guest, tap)
    crossing_cut(house, guest, port, tap, "up0", size=1_500_003)
    tap.stream(guest, size=1_500_003)
    assert checksum_errors(tap) == 0


def test_af_packet(house):
    house.netns.sh(f"ip link add wire type veth peer name eth0 netns {house.far.name}")
    house.netns.sh("ip link set wire up; ethtool -K wire tx off rx off gso off tso off gro off")
    house.far.sh("ethtool -K eth0 tx off rx off gso off tso off gro off")
    house.far.configure("eth0", "10.0.0.4")
    house.switch.add_nic("up1", "net_af_packet0,iface=wire")
    for guest, port in zip(house.guests, ("vm1", "vm2")):
        lossless(guest, house.far)
        crossing_cut(house, guest, port, house.far, "up1", size=1_500_003)
        house.far.stream(guest, size=1_500_003)
    assert checksum_errors(house.far) == 0
    house.ctl("port del up1")


def test_the_worker_sleeps_while_guests_and_host_say_nothing(house, tap):
    def asleep():
        return house.ctl("worker", "list", "--rates")["workers"][0]["asleep"]
    for guest in house.guests:
        guest.wait_ping(tap, 20)
        parts.wait_until(lambda: asleep() > 90, 20, "the worker to sleep")
        lossless(guest, tap)  # the first of it wakes
    house.one.stream(house.two, size=1_500_003)
    parts.wait_until(lambda: asleep() > 90, 20, "the worker to sleep again")


def test_jumbo(house, tap):
    """Frames of 9,014 bytes, which in the guests take several buffers each."""
    for guest in house.guests:
        guest.set_mtu(9000)
    before = house.counters("vm1")
    lossless(house.one, house.two, size=JUMBO)
    after = house.counters("vm1")
    # Whole, not in fragments: ten echoes of 9,014 bytes each way, and little beside them.
    for way in ("rx", "tx"):
        packets = after[f"{way}_packets"] - before[f"{way}_packets"]
        assert after[f"{way}_bytes"] - before[f"{way}_bytes"] >= 10 * (JUMBO + 42)
        assert packets < 30
    lossless(house.one, tap, size=JUMBO)
    lossless(house.two, tap, size=JUMBO)
    for source, target in ((house.one, house.two), (house.two, house.one), (tap, house.two)):
        source.stream(target, size=1_500_003)
    house.ctl("port set vm2 --mtu 1500")
    exceeded = house.drops("vm2", "mtu_exceeded")
    # Who is told of a loss sends in fragments from then on.
    answered = house.one.ping(house.two, count=3, size=JUMBO).received
    assert 0 < answered < 3 and house.drops("vm2", "mtu_exceeded") == exceeded + 3 - answered
    assert house.one.ping(house.two, count=3).lost == 0
    house.ctl("port set vm2 --mtu 9000")
    assert house.one.ping(house.two, count=3, size=JUMBO).lost == 0
    for guest in house.guests:
        guest.set_mtu(1500)


def test_access_vlans(house):
    house.reachable()
    house.ctl("port set vm1 --vlan 10")
    house.ctl("port set vm2 --vlan 20")
    for guest in house.guests:
        guest.sh("ip neigh flush dev eth0")
    before = house.two.counters()["rx_packets"], house.one.counters()["rx_packets"]
    for source, target in ((house.one, house.two), (house.two, house.one)):
        assert source.ping(target, count=3).received == 0
    # Not even a broadcast crossed.
    assert (house.two.counters()["rx_packets"], house.one.counters()["rx_packets"]) == before
    house.ctl("port set vm2 --vlan 10")
    lossless(house.one, house.two)
    assert {entry["vlan"] for entry in house.ctl("mac list")["entries"]} == {10}
    house.ctl("port set vm1 --no-vlan")
    house.ctl("port set vm2 --no-vlan")
    house.reachable()


def test_trunk_with_native_vlan(house):
    """One guest on a trunk with its own VLAN interfaces, the other moved from VLAN to VLAN."""
    house.ctl("port set vm1 --trunk 10,20 --native 30")
    for vlan in (10, 20, 40):
        house.one.sh(f"ip link add link eth0 name eth0.{vlan} type vlan id {vlan} && "
                     f"ip addr add 10.{vlan}.0.1/24 dev eth0.{vlan} && ip link set eth0.{vlan} up")
        house.two.sh(f"ip addr add 10.{vlan}.0.2/24 dev eth0")
    met = {10: ["10.10.0.2"], 20: ["10.20.0.2"], 30: ["10.0.0.2"], 40: []}
    for vlan, expected in met.items():
        house.ctl("port", "set", "vm2", "--vlan", vlan)
        for address in expected:
            house.one.wait_ping(address, 20)
            assert house.one.ping(address, count=3).lost == 0
        others = {"10.10.0.2", "10.20.0.2", "10.0.0.2", "10.40.0.2"} - set(expected)
        house.one.sh("ip neigh flush dev eth0")
        heard = house.one.sh("".join(f"ping -c 2 -W 1 {address} & " for address in others) + "wait")
        assert heard.count(" 0 packets received") == len(others), (vlan, heard)
    house.ctl("port set vm2 --vlan 20")
    house.one.stream(house.two, size=1_000_003, address="10.20.0.2")
    for vlan in (10, 20, 40):
        house.one.sh(f"ip link del eth0.{vlan}")
        house.two.sh(f"ip addr del 10.{vlan}.0.2/24 dev eth0")
    house.ctl("port set vm1 --no-vlan")
    house.ctl("port set vm2 --no-vlan")
    house.reachable()


@pytest.fixture
def flows(house, tmp_path):
    """flows(LINE, ...): the bridge has these flows and NORMAL for all else; after the test NORMAL
    alone."""
    def have(*lines):
        path = tmp_path / "flows"
        path.write_text("\n".join([*lines, "priority=0,actions=NORMAL"]))
        house.ctl("flow", "replace", path)
    yield have
    have()
    house.reachable()


def packets(house, match):
    """That flows within the match have carried, once that is known."""
    time.sleep(0.3)
    return sum(flow["packets"] for flow in house.ctl("flow", "list", match)["flows"])


def test_flows_let_through_what_they_name(house, flows):
    house.reachable()
    flows("priority=10,icmp,nw_dst=10.0.0.2,actions=drop", "priority=5,tcp,actions=NORMAL")
    before = house.drops("vm1", "flow_drop")
    assert house.one.ping(house.two, count=3).received == 0
    assert house.drops("vm1", "flow_drop") - before == 3
    assert packets(house, "icmp") == 3
    sent, _ = crossing(house, house.one, "vm1", house.two, "vm2", size=3_000_001)
    assert packets(house, "tcp") > 100
    print(f"{sent:.0f} bytes a packet of the stream")
    misses = sum(worker["misses"] for worker in house.ctl("cache stats")["workers"])
    house.one.stream(house.two, size=1_000_001)
    assert sum(worker["misses"] for worker in house.ctl("cache stats")["workers"]) < misses + 50


def test_flows_rewrite_what_guests_left_to_be_finished(house, flows):
    """Addresses of streams with checksums and segments that are still to be made."""
    house.reachable()
    flows("priority=10,ip,nw_dst=10.0.0.22,actions=mod_nw_dst:10.0.0.2,mod_nw_tos:32,NORMAL",
          "priority=10,ip,nw_src=10.0.0.2,nw_dst=10.0.0.1,actions=mod_nw_src:10.0.0.22,NORMAL")
    house.two.sh("ip addr add 10.0.0.22/32 dev eth0")  # for ARP alone
    assert house.one.ping("10.0.0.22", count=3, timeout=5).lost == 0
    taken, _ = crossing(house, house.one, "vm1", house.two, "vm2", size=3_000_001,
                        address="10.0.0.22")
    print(f"{taken:.0f} bytes a packet")
    assert packets(house, "ip,nw_src=10.0.0.2") > 50
    house.two.sh("ip addr del 10.0.0.22/32 dev eth0")


def test_flows_put_tags_in_and_take_them_out(house, flows):
    """One guest has a VLAN's interface, the other knows of no VLAN, and the ports' own policies say
    nothing of what flows send as it is."""
    house.reachable()
    house.ctl("port set vm2 --trunk 77")
    tagged = "actions=push_vlan:0x8100,set_field:4103->vlan_vid,output:vm2"
    flows(f"priority=10,in_port=vm1,ip,nw_dst=10.7.0.0/24,{tagged}",
          f"priority=10,in_port=vm1,arp,arp_tpa=10.7.0.0/24,{tagged}",
          "priority=10,in_port=vm2,dl_vlan=7,actions=pop_vlan,output:vm1")
    house.one.sh("ip addr add 10.7.0.1/24 dev eth0")
    house.two.sh("ip link add link eth0 name eth0.7 type vlan id 7 && "
                 "ip addr add 10.7.0.2/24 dev eth0.7 && ip link set eth0.7 up")
    house.one.wait_ping("10.7.0.2", 20)
    assert house.one.ping("10.7.0.2", count=3, timeout=5).lost == 0
    house.one.stream(house.two, size=3_000_001, address="10.7.0.2")
    house.two.stream(house.one, size=3_000_001, address="10.7.0.1")
    house.two.sh("ip link del eth0.7")
    house.one.sh("ip addr del 10.7.0.1/24 dev eth0")
    house.ctl("port set vm2 --no-vlan")


def test_flows_change_under_traffic(house, flows):
    """A flow that matters to others, changed a hundred times a second: no packet of a neighbour's
    is lost for it."""
    house.reachable()
    flows("priority=10,ip,nw_dst=10.0.0.2,actions=NORMAL")
    result = []
    pinging = threading.Thread(target=lambda: result.append(
        house.one.ping(house.two, count=100, interval=0.05, timeout=5)))
    pinging.start()
    changes = 0
    while pinging.is_alive():
        house.ctl("flow", "add", f"priority=20,udp,tp_dst={changes % 50 + 1},actions=drop")
        house.ctl("flow", "mod", "ip,nw_dst=10.0.0.2,actions="
                  + ("NORMAL" if changes % 2 else "output:vm2"))
        changes += 1
    pinging.join()
    print(f"{changes} changes")
    assert result and result[0].lost == 0, result
    assert changes > 20
    assert packets(house, "ip,nw_dst=10.0.0.2") >= 100, "changed actions keep what was counted"


def test_driver_reset(house):
    """A guest's driver lets go of its device and takes it again, as at a reboot from inside."""
    driver = "/sys/bus/virtio/drivers/virtio_net"
    for _ in range(3):
        for guest in house.guests:
            guest.sh(f"cd {driver} && device=$(basename $(readlink -f virtio*)) && "
                     f"echo $device > unbind && echo $device > bind && "
                     f"ip addr add {guest.address}/24 dev eth0 && ip link set eth0 up")
        house.reachable()
    house.one.stream(house.two, size=1_500_003)
    house.two.stream(house.one, size=1_500_003)


def test_port_removed_and_added_again(house, tap):
    house.two.wait_ping(tap, 20)
    with meanwhile(house.two, tap):
        for _ in range(3):
            house.ctl("port del vm1")
            house.switch.add_vhost("vm1", "--mtu", 9000)
            parts.wait_until(lambda: house.details("vm1")["connected"], 20,
                             "QEMU connecting again")
            house.one.wait_ping(house.two, 20)
    house.one.stream(house.two, size=1_500_003)


def test_a_guest_that_stands_still(house, tap):
    """Its ring fills and its packets are dropped there; what others do goes on."""
    house.reachable()
    house.two.wait_ping(tap, 20)
    for still, other in ((house.one, house.two), (house.two, house.one)):
        port = "vm1" if still is house.one else "vm2"
        full = house.drops(port, "receiver_full")
        still.pause()
        try:
            # Whatever happens to the neighbour, its address is not asked for.
            other.sh(f"arp -i eth0 -s {still.address} {still.nics[0].mac}; (ping -i 0.002 -s 1000 "
                     f"{still.address} & echo $! > ping.pid) > /dev/null 2>&1")
            with meanwhile(other, tap):
                parts.wait_until(lambda: house.drops(port, "receiver_full") > full, 60,
                                 "the ring of the guest that stands still being full")
                other.stream(tap, size=1_000_003)
            other.sh(f"kill $(cat ping.pid); arp -i eth0 -d {still.address}")
        finally:
            still.resume()
        house.reachable()


def test_guests_killed_and_started_again(house, tap):
    """Killed while they stream; a new QEMU on the same port comes up, for the others no harm."""
    house.reachable()
    tap.wait_ping(house.one, 20)
    for guest, other in ((house.two, house.one), (house.one, house.two)):
        with meanwhile(other, tap):
            # The sender never ends: what is under way when the guest dies is in its rings.
            guest.sh(f"(while true; do busybox dd if=/dev/zero bs=1000 count=1000; done | "
                     f"busybox nc {other.address} 9) > /dev/null 2>&1 &"
                     f"busybox ping -i 0.002 -s 1000 {other.address} > /dev/null 2>&1 &")
            port = "vm1" if guest is house.one else "vm2"
            moved = house.counters(port)["rx_packets"]
            parts.wait_until(lambda: house.counters(port)["rx_packets"] > moved + 50, 20,
                             f"{guest.name} sending")
            guest.kill()
            parts.wait_until(lambda: not house.details(port)["connected"], 10,
                             f"port {port} noticing that QEMU died")
            assert house.ctl("port", "show", port)["link"] == "down"
            guest.boot()
            guest.wait_up()
        lossless(guest, other)
        guest.stream(other, size=1_000_003)
        other.stream(guest, size=1_000_003)
