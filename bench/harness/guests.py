# SPDX-License-Identifier: BSD-3-Clause
# Two Linux guests in a machine of tests/system/lab: TCP from one to the other by qperf, and what
# the switch's worker did meanwhile. Only in the source tree. Knows no hypervisor.

import re

import lab

LISTENS = 19765
PATIENCE = 30  # seconds that the two of qperf wait for each other
WORK = ("busy_cycles", "idle_cycles", "asleep_cycles", "iterations", "rx_packets", "tx_packets")


class Tcp:
    """From a guest to another, which listens from now on."""

    def __init__(self, sender, receiver, address):
        self._sender, self._address = sender, address
        receiver.send(f"{lab.TOOLS}/qperf", 86400)
        receiver.sh(f"until busybox netstat -ltn | grep -q :{LISTENS}; do busybox usleep 50000; "
                    "done", 30)

    def stream(self, seconds):
        """Bytes a second that arrive."""
        return self._measured("tcp_bw", r"bw += +([\d.,]+) bytes/sec", seconds)

    def requests(self, seconds):
        """Requests a second, of a byte as their answers are, each when the last one is answered."""
        one_way = self._measured("tcp_lat", r"latency += +([\d.,]+) ns", seconds)
        return 1e9 / (2 * one_way)

    def _measured(self, test, pattern, seconds):
        said = self._sender.sh(
            f"{lab.TOOLS}/qperf {self._address} --unify_units --precision 6 --timeout {PATIENCE} "
            f"--time {max(1, round(seconds))} {test}", seconds + 3 * PATIENCE)
        found = re.search(pattern, said)
        value = float(found[1].replace(",", "")) if found else 0
        if not value:
            raise lab.LabError(f"qperf measured nothing by {test}: {' '.join(said.split())}")
        return value


def worker(switch):
    """Counters of the only worker."""
    workers = switch.ctl("worker list")["workers"]
    if len(workers) != 1:
        raise lab.LabError(f"the switch has {len(workers)} workers where one was asked for")
    return workers[0]


def work(before, after):
    """Of the worker between two looks."""
    return {name: after[name] - before[name] for name in WORK}
