# SPDX-License-Identifier: BSD-3-Clause
"""What leaves a switch for each frame that is sent into it: behind each frame goes a mark, that the
switch sends out of every port. What a port gave before the mark is then all that there was."""

import select
import struct
import time

from .errors import LabError

_TYPE = 0x88b6
_ADDRESS = bytes.fromhex("02dead00beef")


class Marks:
    """wires: by the port's number what has send(frame), fileno() and receive_all(), the frames that
    are there. most_waiting: of so many frames what they come to may wait in the switch at once."""

    def __init__(self, wires, most_waiting):
        self._wires = wires
        self._most_waiting = most_waiting
        self._sent = 0

    @property
    def flow(self):
        """The flow that the switch must have, before all others."""
        outputs = ",".join(["in_port", *(f"output:{number}" for number in self._wires)])
        return (f"table=0,priority=65535,dl_type={_TYPE:#x},dl_dst={_ADDRESS.hex(':')},"
                f"actions={outputs}")

    @staticmethod
    def _frame(number):
        return (_ADDRESS + bytes(6) + struct.pack("!HQ", _TYPE, number)).ljust(60, b"\0")

    def forward(self, frames, timeout=10, overtaking=False):
        """Sends (port, frame) pairs in their order; for each, the (port, frame) pairs that left.
        overtaking: what takes longer in the switch, as what is tracked does, may leave it behind
        a mark that came with it."""
        frames = list(frames)
        if overtaking:
            return [self.all_that_left(port, [data], timeout) for port, data in frames]
        results = []
        while len(results) < len(frames):
            # One port's frames keep their order; those of several would not.
            first = len(results)
            end = first + 1
            while end < min(len(frames), first + self._most_waiting) and \
                    frames[end][0] == frames[first][0]:
                end += 1
            burst = [data for _, data in frames[first:end]]
            results += self._burst(frames[first][0], burst, time.monotonic() + timeout)
        return results

    def all_that_left(self, port, frames, timeout=10):
        """Sends frames, and tells what left, as (port, frame), but not for which of them. For those
        that go through connection tracking: a burst's others overtake them, a mark among them. What
        is sent once that has come is in another burst, which overtakes nothing."""
        deadline = time.monotonic() + timeout
        left = []
        for sent in (frames, ()):
            for frame in sent:
                self._wires[port].send(frame)
            self._mark(port)
            before, behind = self._collect(port, 1, deadline)
            left += before + behind
        return left

    def _burst(self, port, frames, deadline):
        for frame in frames:
            self._wires[port].send(frame)
            self._mark(port)
        *results, unasked = self._collect(port, len(frames), deadline)
        for number, frame in unasked:
            raise LabError(f"port {number} gave {frame.hex()} unasked")
        return results

    def _mark(self, port):
        self._wires[port].send(self._frame(self._sent))
        self._sent += 1

    def _collect(self, port, count, deadline):
        """What came before each of the last so many marks, and what came behind all of them."""
        first = self._sent - count
        results = [[] for _ in range(count + 1)]
        reached = {number: 0 for number in self._wires}
        while any(marks < count for marks in reached.values()):
            ready = select.select(list(self._wires.values()), [], [],
                                  max(0.0, deadline - time.monotonic()))[0]
            if not ready:
                raise LabError(f"of {count} marks sent at port {port}, the ports gave only these "
                               f"in time: {reached}")
            for number, wire in self._wires.items():
                if wire not in ready:
                    continue
                for frame in wire.receive_all():
                    if frame == self._frame(first + reached[number]):
                        reached[number] += 1
                    else:
                        results[reached[number]].append((number, frame))
        return results
