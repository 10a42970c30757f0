# SPDX-License-Identifier: BSD-3-Clause
# Guests that send by one device what came by the other: testpmd's io forwarding over virtio-user,
# the software of RFC 8204's loopback tests. One process and one CPU for all of them.

import shutil
import signal

from .machine import BenchError, Child


def rules(count):
    """From port 1 through each guest, by its ports 3 and 4, 5 and 6, ..., to port 2, and back."""
    ports = [1, *range(3, 3 + 2 * count), 2]
    hops = [(ports[i], ports[i + 1]) for i in range(0, len(ports), 2)]
    lines = [f"in_port={near},actions=output:{far}" for one, other in hops
             for near, far in ((one, other), (other, one))]
    return "\n".join(lines) + "\n", len(lines)


class LoopGuests:
    """The guests at a switch's ports from the third on."""

    def __init__(self, switch, settings):
        if not shutil.which("dpdk-testpmd"):
            raise BenchError("dpdk-testpmd, which the guests run, is not installed (Debian: "
                             "apt-get install dpdk-dev)")
        memory = ["--in-memory", "--single-file-segments"] if settings.huge else \
            ["--no-huge", "-m", "1024"]
        devices = []
        for number, socket in enumerate(switch.sockets[2:]):
            devices += ["--vdev", f"net_virtio_user{number},path={socket},queue_size=256,"
                        f"mrg_rxbuf=1{',server=1' if switch.server else ''}"]
        cpu = settings.guest_cpu
        self.child = Child(
            ["dpdk-testpmd", f"--lcores=0@{cpu},1@{cpu}", "--main-lcore", "0", "--no-pci",
             "--file-prefix", switch.folder.path.name + "l", *memory, *devices,
             "--", "-i", "--nb-cores=1", "--forward-mode=io", "--port-topology=paired"],
            cpus=[cpu], name="the guests' testpmd")
        try:
            self.child.wait_for(r"testpmd> ", 60)
            self.child.ask("start", r"testpmd> ")
        except BaseException:
            self.child.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thaw()
        self.child.end()

    def freeze(self):
        self.child.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.child.process.send_signal(signal.SIGCONT)
