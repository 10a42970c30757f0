# SPDX-License-Identifier: BSD-3-Clause
"""A NIC's port on AF_XDP: one end of a veth pair, with a namespace's kernel at the other."""

import ctypes
import itertools
import os
import socket
import struct
import subprocess

import pytest

import lab as parts
from test_l2 import A, B, frame

AF_XDP = 44
SYS_BPF = 321  # of x86-64
BPF_MAP_CREATE = 0
BPF_MAP_TYPE_XSKMAP = 17

INTERFACE = f"xdp{os.getpid()}"
TAP = f"xt{os.getpid()}"
DEVICE = f"net_af_xdp0,iface={INTERFACE}"


def refused_by_the_kernel():
    """What it does not give who asks for it by himself; None: it gives all that a driver needs."""
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return f"an AF_XDP socket ({error.strerror})"
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = struct.pack("=IIII", BPF_MAP_TYPE_XSKMAP, 4, 4, 1).ljust(72, b"\0")
    made = libc.syscall(SYS_BPF, BPF_MAP_CREATE, wanted, len(wanted))
    if made < 0:
        return f"a map of AF_XDP sockets ({os.strerror(ctypes.get_errno())})"
    os.close(made)
    return None


@pytest.fixture(scope="module")
def house(module_lab):
    """A switch, and the hosts behind its ports up0, on AF_XDP, and h0, a tap."""
    refused = refused_by_the_kernel()
    if refused:
        pytest.skip(f"skipped: the kernel refuses {refused}")
    far = module_lab.netns().veth(INTERFACE, address="10.0.0.1")
    near = module_lab.netns()
    switch = module_lab.switch(workers="0")
    switch.ctl("bridge add br0")
    switch.add_nic("up0", DEVICE)
    switch.add_nic("h0", f"net_tap_{TAP},iface={TAP}")
    return switch, far, near.adopt(TAP, "10.0.0.2")


def frames_from(wire, source, count):
    """The next so many that this address sent; what kernels say meanwhile is left out."""
    got = []
    while len(got) < count:
        data = wire.receive_raw(3.0)
        if data is None:
            break
        if data[6:12] == bytes.fromhex(source.replace(":", "")):
            got.append(data)
    return got


def test_frames_of_all_lengths(house, lab):
    switch, far, near = house
    shown = switch.ctl("port show up0")
    assert shown["details"]["driver"] == "net_af_xdp" and shown["link"] == "up"
    before = {port["name"]: port for port in switch.ctl("stats")["ports"]}
    wires = lab.wire(far), lab.wire(near, TAP)
    sizes = [*range(60, 1514, 13), 1514]
    ways = (wires, (A, B)), (wires[::-1], (B, A))
    for ((sender, receiver), (source, target)), tags in itertools.product(ways, ((), (7,))):
        sent = [frame(target, source, *tags, size=size) for size in sizes]
        sender.send(*sent)
        got = frames_from(receiver, source, len(sent))
        assert len(got) == len(sent)
        assert got == sent
    after = {port["name"]: port for port in switch.ctl("stats")["ports"]}
    for counter in ("rx_packets", "tx_packets"):
        assert after["up0"][counter] - before["up0"][counter] >= 2 * len(sizes)


def test_streams_of_kernels(house):
    """What the tap's kernel leaves to be cut and filled in, the switch does."""
    _, far, near = house
    near.wait_ping(far, 20)
    for sender, receiver in itertools.permutations((far, near)):
        print(f"{sender.stream(receiver, size=4_000_001).mbit_per_s:.0f} Mbit/s")


def test_given_back(house):
    """Without the port the interface is the kernel's, as it was before."""
    switch, far, _ = house
    address = "198.51.100.1"
    far.sh("ip addr add 198.51.100.2/24 dev eth0")
    subprocess.run(["ip", "addr", "add", f"{address}/24", "dev", INTERFACE], check=True)
    assert far.ping(address, count=1).received == 0, "what comes is the port's"
    switch.ctl("port del up0")
    far.wait_ping(address, 10)
    with pytest.raises(parts.Refused, match="cannot set up its receive queue"):
        switch.add_nic("up0", DEVICE)  # docs/nics.md
