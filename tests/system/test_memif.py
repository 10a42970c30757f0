# SPDX-License-Identifier: BSD-3-Clause
"""A NIC's port on memif, shared memory with another process: DPDK's testpmd, which hands the switch
frames that it reads from a file and writes what it gets to another."""

import os
import socket

import pytest

import lab as parts
from test_testpmd import frame, mac, read_pcap, write_pcap

COUNT = 240  # frames, for which there is room in a tap's queue, a ring and a socket
SIZES = (60, 61, 127, 128, 590, 1514)
TAP = f"mi{os.getpid()}"

TO_WIRE = [frame(mac(1), mac(2), 1, number, SIZES[number % len(SIZES)]) for number in range(COUNT)]
TO_PEER = [frame(mac(2), mac(1), 2, number, SIZES[number % len(SIZES)]) for number in range(COUNT)]


@pytest.fixture(scope="module")
def house(module_lab):
    """A switch, and the wire behind a port of its bridge."""
    netns = module_lab.netns()
    switch = module_lab.switch(workers="0")
    switch.ctl("bridge add br0")
    switch.add_nic("h0", f"net_tap_{TAP},iface={TAP}")
    netns.adopt(TAP)
    return switch, module_lab.wire(netns, TAP)


@pytest.fixture
def bench(house, lab, tmp_path):
    made = Bench(*house, lab, tmp_path)
    yield made
    if made.has_port:
        made.switch.ctl("port del m0")


class Bench:
    """The port m0 of the house's switch, and one testpmd after the other on the same socket."""

    def __init__(self, switch, wire, lab, folder):
        self.switch, self.wire, self._lab, self._folder = switch, wire, lab, folder
        self.socket = folder / "memif"
        self._outputs = 0
        self.has_port = False

    def add_port(self, role):
        self.switch.add_nic("m0", f"net_memif0,role={role},socket={self.socket}")
        self.has_port = True

    def del_port(self):
        self.switch.ctl("port del m0")
        self.has_port = False

    @property
    def link(self):
        return self.switch.ctl("port show m0")["link"]

    def wait_link(self, state):
        parts.wait_until(lambda: self.link == state, 10, f"the port's link being {state}")

    def peer(self, role):
        """A testpmd that begins to forward with exchange(), and the file that it writes."""
        write_pcap(self._folder / "in", TO_WIRE)
        self._outputs += 1
        output = self._folder / f"out{self._outputs}"
        made = self._lab.testpmd(
            [f"net_memif0,role={role},socket={self.socket},socket-abstract=no",
             f"net_pcap0,rx_pcap={self._folder}/in,tx_pcap={output}"],
            # Without a flush, which would read the file before anything is forwarded.
            arguments=["--burst=32", "--no-flush-rx"])
        # What a full ring does not take at once is offered again.
        made.command("set fwd io retry")
        made.command("set burst tx delay 50 retry 2000")
        return made, output

    def exchange(self, testpmd, output):
        """Every frame, in its order and as it was, from the peer to the wire and back."""
        self.wait_link("up")
        testpmd.wait_link(10)
        self.wire.drain()
        testpmd.start()
        came = []

        def all_came():
            came.extend(self.wire.receive_all())
            return len(came) >= COUNT
        parts.wait_until(all_came, 20, "the peer's frames")
        assert came == TO_WIRE
        self.wire.send(*TO_PEER)
        parts.wait_until(lambda: len(list(read_pcap(output))) >= COUNT, 20, "the wire's frames")
        assert list(read_pcap(output)) == TO_PEER

    def dropped(self):
        return sum(sum(port["drops"].values()) for port in self.switch.ctl("drops")["ports"])


def test_server(bench):
    """The peer may go without a word, and another come."""
    bench.add_port("server")
    assert bench.link == "down"
    assert bench.switch.ctl("port show m0")["details"]["driver"] == "net_memif"
    for _ in range(2):
        testpmd, output = bench.peer("client")
        bench.exchange(testpmd, output)
        testpmd.kill()
        bench.wait_link("down")
        before = bench.dropped()
        bench.wire.send(*TO_PEER[:5])
        parts.wait_until(lambda: bench.dropped() == before + 5, 10,
                         "what nobody takes being counted")


def test_its_socket_goes_with_the_port(bench):
    """Nobody who comes too late meets what the driver has left; and one that a killed process
    left is taken away."""
    for words, sentence in (
            ("role=server,socket-abstract=yes", "a server's socket is a file here"),
            ("role=master,socket-abstract=yes", "its role is server or client, not master"),
            ("role=server,socket-abstract=no,socket-abstract=yes", "is given twice"),
            ("role=client,role=server,socket-abstract=yes", "is given twice")):
        with pytest.raises(parts.Refused, match=sentence):
            bench.switch.add_nic("m0", f"net_memif0,socket={bench.socket},{words}")
    for _ in range(2):
        bench.add_port("server")
        assert bench.socket.is_socket()
        bench.del_port()
        assert not bench.socket.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(bench.socket))
    bench.add_port("server")
    testpmd, output = bench.peer("client")
    bench.exchange(testpmd, output)


def test_client(bench):
    """It finds its server as the port is added, and no other later: the port is made again."""
    with pytest.raises(parts.Refused, match="Failed to connect"):
        bench.add_port("client")
    for _ in range(2):
        testpmd, output = bench.peer("server")
        bench.add_port("client")
        bench.exchange(testpmd, output)
        testpmd.kill()
        bench.wait_link("down")
        bench.del_port()
        bench.socket.unlink()  # testpmd takes no killed one's place
