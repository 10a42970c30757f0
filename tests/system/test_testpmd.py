# SPDX-License-Identifier: BSD-3-Clause
"""DPDK's virtio driver as guests: each of its paths through the rings, with every frame numbered
and compared, and flows across several workers. One testpmd is all guests of a test: each reads its
frames from a file of its own and writes what it receives to another."""

import collections
import dataclasses
import itertools
import shutil
import struct
import tempfile

import pytest

import lab as parts

TYPE = 0x88b5  # for experiments
SEGMENT = 2048  # bytes of data a buffer of testpmd's holds
PATTERN = bytes(range(256)) * 40
JUMBO_MTU = 9000


def mac(number):
    return bytes((2, 0, 0, 0, 1, number))


def frame(source, target, flow, number, size):
    """A frame that says which it is, and whose every byte follows from that and its size."""
    head = target + source + struct.pack("!HHI", TYPE, flow, number)
    start = (flow * 31 + number * 7) % 256
    return head + PATTERN[start:start + size - len(head)]


def read_frame(data):
    """(flow, number), or an AssertionError when a byte is not what it was."""
    kind, flow, number = struct.unpack("!HHI", data[12:20])
    assert kind == TYPE, data[:64]
    assert data == frame(data[6:12], data[:6], flow, number, len(data)), \
        f"frame {number} of flow {flow}, {len(data)} bytes, was changed on its way"
    return flow, number


def write_pcap(path, frames):
    with open(path, "wb") as file:
        file.write(struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for data in frames:
            file.write(struct.pack("=IIII", 0, 0, len(data), len(data)) + data)


def read_pcap(path):
    """The frames of a file that may still grow."""
    with open(path, "rb") as file:
        content = file.read()
    at = 24
    while at + 16 <= len(content):
        size = struct.unpack("=I", content[at + 8:at + 12])[0]
        if at + 16 + size > len(content):
            return
        yield content[at + 16:at + 16 + size]
        at += 16 + size


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a device is asked for, and thus which path the driver takes."""
    packed: bool
    mergeable: bool
    in_order: bool
    vectorized: bool

    def __str__(self):
        return "-".join(("packed" if self.packed else "split",
                         "mergeable" if self.mergeable else "single",
                         "in_order" if self.in_order else "any_order",
                         "vectorized" if self.vectorized else "scalar"))

    def device(self, number, socket, address):
        return (f"net_virtio_user{number},path={socket},mac={address.hex(':')},queue_size=256,"
                f"packed_vq={self.packed:d},mrg_rxbuf={self.mergeable:d},"
                f"in_order={self.in_order:d},vectorized={self.vectorized:d}")


class Guests:
    """A switch with ports vm0, vm1, ... and a testpmd that is the guest of each of them."""

    def __init__(self, lab, switch, kinds, frames):
        self.folder = tempfile.mkdtemp(prefix="strait-testpmd-")
        self.sent = frames
        self.switch = switch
        self.testpmd = None
        self.switch.ctl("bridge add br0")
        devices = []
        for i, (kind, own) in enumerate(zip(kinds, frames)):
            socket = self.switch.add_vhost(f"vm{i}", "--mtu", JUMBO_MTU)
            write_pcap(f"{self.folder}/in{i}", own)
            devices += [kind.device(i, socket, mac(i)),
                        f"net_pcap{i},rx_pcap={self.folder}/in{i},tx_pcap={self.folder}/out{i}"]
        try:
            # Retries: what a full ring does not take at once is offered again.
            self.testpmd = lab.testpmd(
                devices, memory_mib=160,
                # Without a flush, which would read the files before anything is forwarded.
                arguments=["--burst=32", "--port-topology=paired", "--no-flush-rx"])
            self.testpmd.command("set fwd io retry")
            self.testpmd.command("set burst tx delay 50 retry 2000")
            self.testpmd.start()
            self.wait(60)
        except BaseException:
            self.close()
            raise
        self.details = [switch.ctl("port", "show", f"vm{i}")["details"]
                        for i in range(len(frames))]

    def stats(self):
        return {port["name"]: port for port in self.switch.ctl("stats")["ports"]}

    def drops(self, port):
        return {reason: count for reason, count in
                self.switch.ctl("drops", port)["ports"][0]["drops"].items() if count}

    def wait(self, timeout):
        """Until the switch has taken every frame and the guests what the switch gave them."""
        def taken():
            stats = self.stats()
            return all(stats[f"vm{i}"]["rx_packets"] == len(own)
                       for i, own in enumerate(self.sent))
        try:
            parts.wait_until(taken, timeout, "the switch taking all frames", 0.05)
            parts.wait_until(lambda: [len(got) for got in self.received()] ==
                             [self.stats()[f"vm{i}"]["tx_packets"]
                              for i in range(len(self.sent))], timeout,
                             "the guests taking all frames", 0.05)
        except parts.LabError as error:
            moved = {name: (port["rx_packets"], port["tx_packets"])
                     for name, port in self.stats().items()}
            raise parts.LabError(f"{error}; from and to the guests: {moved}, in their files: "
                                 f"{[len(got) for got in self.received()]}") from None

    def received(self):
        return [list(read_pcap(f"{self.folder}/out{i}")) for i in range(len(self.sent))]

    def close(self):
        if self.testpmd:
            self.testpmd.kill()
        self.switch.ctl("bridge del br0 --with-ports")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def switches(module_lab):
    """Switches by their list of workers."""
    made = {}

    def get(workers):
        if workers not in made:
            made[workers] = module_lab.switch(workers=workers)
        return made[workers]
    return get


@pytest.fixture
def guests(lab, switches):
    made = []

    def make(kinds, frames, workers="0"):
        made.append(Guests(lab, switches(workers), kinds, frames))
        return made[-1]
    yield make
    for each in made:
        each.close()


SIZES = (60, 61, 127, 128, 590, 1514, 64, 1000, 2000, 256)
# Of several segments, which the driver hands over by indirect descriptors, or, on split rings in
# order, by chains of them.
LONG = (2100, 4500, 9014)

KINDS = [Kind(*flags) for flags in itertools.product((False, True), repeat=4)]


@pytest.mark.parametrize("segments", [
    pytest.param("one", marks=pytest.mark.soak), "several"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_paths_of_the_driver(guests, kind, segments):
    """Two guests of a kind, both ways at once: nothing changed, doubled, overtaken or lost unsaid.
    """
    sizes = SIZES if segments == "one" else SIZES + LONG
    count = 2000 if segments == "one" else 1300
    pair = [[frame(mac(i), mac(1 - i), i, number, sizes[number % len(sizes)])
             for number in range(count)] for i in range(2)]
    made = guests([kind, kind], pair)
    for i, own in enumerate(made.received()):
        features = made.details[i]["features"]
        assert made.details[i]["ring_kind"] == ("packed" if kind.packed else "split")
        assert ("mrg_rxbuf" in features) == kind.mergeable
        assert ("in_order" in features) == kind.in_order
        assert "indirect_desc" in features
        drops = made.drops(f"vm{i}")
        allowed = {"receiver_full"}
        too_long = 0
        if segments == "several" and not kind.mergeable:
            allowed.add("receiver_buffer_too_small")
            too_long = sum(len(data) > SEGMENT for data in pair[1 - i])
        assert set(drops) <= allowed, drops
        assert drops.get("receiver_buffer_too_small", 0) <= too_long
        numbers = [read_frame(data) for data in own]
        assert {flow for flow, _ in numbers} == {1 - i}
        assert numbers == sorted(set(numbers)), "frames were doubled or overtaken"
        assert len(own) + sum(drops.values()) == count
        assert all(len(data) == sizes[number % len(sizes)]
                   for data, (_, number) in zip(own, numbers))
        assert not too_long or all(len(data) <= SEGMENT for data in own)
        # A ring that is full when the machine is busy with other things is no fault, but most
        # must come, and of each size.
        assert len(own) > (count - too_long) // 2
        assert len(set(map(len, own))) == len([size for size in sizes
                                               if not too_long or size <= SEGMENT])


@pytest.mark.parametrize("workers", ["0,1", "0,1,0,1"], ids=["2workers", "4workers"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_order_across_workers(guests, workers, packed):
    """Each of four guests sends a flow to each other one."""
    kind = Kind(packed, True, False, False)
    rounds = 400
    sent = [[frame(mac(i), mac(j), 4 * i + j, number, (64, 700, 1514, 4000)[(number + j) % 4])
             for number in range(rounds) for j in range(4) if j != i] for i in range(4)]
    made = guests([kind] * 4, sent, workers)
    ports = made.switch.ctl("port list")
    owners = collections.Counter(port["queues"][0]["worker"] for port in ports)
    assert len(owners) == len(workers.split(","))
    heard = 0
    for i, own in enumerate(made.received()):
        flows = collections.defaultdict(list)
        for data in own:
            flow, number = read_frame(data)
            flows[flow].append(number)
            # Until its target is known a frame reaches all, but it never comes back.
            assert flow // 4 != i
        for flow, numbers in flows.items():
            assert numbers == sorted(set(numbers)), f"flow {flow} at guest {i}"
        heard += sum(len(numbers) for flow, numbers in flows.items() if flow % 4 == i)
        assert set(made.drops(f"vm{i}")) <= {"receiver_full", "handover_full"}, made.drops(f"vm{i}")
    assert heard > 4 * 3 * rounds // 4
    assert sum(worker["handed_over"]
               for worker in made.switch.ctl("worker list")["workers"]) > rounds
    parts.wait_until(lambda: made.switch.ctl("worker list")["pool"]["in_use"] == 0, 10,
                     "all packet buffers given back")


@pytest.mark.parametrize("workers", ["0,1", "0,1,0,1"], ids=["2workers", "4workers"])
def test_an_address_that_moves_between_workers(guests, workers):
    """Guests 0, 1 and 2 claim one address in turns of 32 frames; guest 3 sends to it all along."""
    roaming = mac(0x77)
    rounds = 960
    sent = [[frame(roaming if number // 32 % 3 == i else mac(i), mac(3), i, number, 90 + i)
             for number in range(rounds)] for i in range(3)]
    sent.append([frame(mac(3), roaming, 3, number, 500) for number in range(rounds)])
    made = guests([Kind(False, True, False, False)] * 3 + [Kind(True, True, False, False)], sent,
                  workers)
    received = made.received()
    copies = collections.Counter()
    for i, own in enumerate(received):
        flows = collections.defaultdict(list)
        for data in own:
            flow, number = read_frame(data)
            flows[flow].append(number)
        assert i not in flows
        for flow, numbers in flows.items():
            # Each place hears a part of the flow, and that part in order.
            assert numbers == sorted(set(numbers)), f"flow {flow} at guest {i}"
        copies.update(flows[3])
        assert not {reason for reason in made.drops(f"vm{i}") if "malformed" in reason}
    # Three send what one takes: what its ring had no room for is counted.
    assert received[3]
    assert len(received[3]) + sum(made.drops("vm3").values()) == 3 * rounds
    assert copies and max(copies.values()) <= 3
    learned = made.switch.ctl("mac list")["entries"]
    entry = [one for one in learned if one["mac"] == roaming.hex(":")]
    assert len(entry) == 1 and entry[0]["port"] in ("vm0", "vm1", "vm2")
