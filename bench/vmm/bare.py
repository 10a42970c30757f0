# SPDX-License-Identifier: BSD-3-Clause
# strait-vmm on this machine's own /dev/kvm: how soon its guest runs, what it takes beside the
# guest's memory, how often the guest leaves for it under load, and how fast packets are.

import os
import pathlib
import re
import struct
import subprocess
import tempfile
import time

import lab
from harness.machine import BenchError, Child, Programs, memory_of
from harness.peers import Settings, Strait

WORKER_CPU, OTHER_CPU = 1, 0
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
FRAME = 64
ENDLESS = 10**12


def _shortest_kernel(folder):
    """An ELF image for PVH's entry whose first instructions write a byte to the serial port."""
    base, headers = 0x100000, 64 + 2 * 56
    note = struct.pack("<III4s", 4, 4, 18, b"Xen") + struct.pack("<I", base + headers + 20)
    code = bytes.fromhex("66baf803"  # mov dx, 0x3f8
                         "b021"      # mov al, '!'
                         "ee"        # out dx, al
                         "f4ebfd")   # hlt, and again
    end = headers + len(note) + len(code)
    image = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, base + headers + 20, 64,
                        0, 0, 64, 56, 2, 64, 0, 0)
    image += struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, end, end, 4096)
    image += struct.pack("<IIQQQQQQ", 4, 4, headers, base + headers, base + headers, len(note),
                         len(note), 4)
    path = folder / "kernel"
    path.write_bytes(image + note + code)
    return path


def _milliseconds_to_first_byte(argv, folder):
    """From before the process is made until its guest's first byte is here."""
    reader, writer = os.pipe()
    begin = time.monotonic()
    process = subprocess.Popen([*map(str, argv), "--console", "stdio"], stdin=subprocess.DEVNULL,
                               stdout=writer, env={**os.environ, "TMPDIR": str(folder)})
    try:
        os.close(writer)
        if os.read(reader, 1) != b"!":
            raise lab.LabError(f"strait-vmm ended with status {process.wait(10)}")
        return (time.monotonic() - begin) * 1000
    finally:
        process.kill()
        process.wait()
        os.read(reader, 1)  # until the process in its jail is gone, too
        os.close(reader)


def starts(count):
    """Milliseconds of each start to the first vCPU, by strait-vmm's own count from main() on, and
    to the guest's first byte, seen from outside; with its jail, and without."""
    trials = []
    with tempfile.TemporaryDirectory(prefix="strait-start-") as name:
        folder = pathlib.Path(name)
        kernel = _shortest_kernel(folder)
        argv = [lab.BareGuest.program(), "run", "--kernel", kernel, "--memory", "128M"]
        for _ in range(count):
            trial = {"outside": _milliseconds_to_first_byte(argv, folder),
                     "outside_no_jail": _milliseconds_to_first_byte([*argv, "--no-jail"], folder)}
            for key, more in (("own", []), ("own_no_jail", ["--no-jail"])):
                guest = lab.BareGuest(kernel=kernel, memory="128M", arguments=more)
                try:
                    trial[key] = guest.vm("stats")["boot_us"]["running"] / 1000
                    guest.kill()
                finally:
                    guest.close()
            trials.append(trial)
    return trials


class Traffic:
    """A switch with two ports, and a guest with a device at each, or its loop as a process: frames
    go from one to the other, both ends on one CPU. Nothing is in huge pages."""

    def __init__(self):
        self.switch = Strait(Settings(WORKER_CPU, OTHER_CPU, False,
                                      Programs([lab.binaries()])))

    def __enter__(self):
        self.switch.__enter__()
        return self

    def __exit__(self, *_):
        self.switch.__exit__()

    def guest(self, seconds, wait):
        first, second = MACS
        nets = [f"socket={socket},mac={mac}" for socket, mac in zip(self.switch.sockets, MACS)]
        # Each device sends a frame, so that the switch knows where it is.
        return lab.BareGuest(
            f"device=0 size={FRAME} net tx=1 dst={second} device=1 keep=1 net tx=1 "
            f"dst={second} src={first} seconds={seconds} wait={wait} pass={ENDLESS}",
            nets, memory="128M", arguments=["--vcpu-pin", f"0={OTHER_CPU}"])

    def by_guest(self, seconds):
        """Million frames a second, and cycles of the switch for one."""
        guest = self.guest(seconds, "poll")
        try:
            guest.wait_told("tx", times=2)
            self.switch.begin()
            guest.finish()
            told = self.switch.end()
            if guest.number("pass_bad"):
                raise lab.LabError(f"{guest.number('pass_bad')} frames arrived changed")
            return {"mpps": guest.number("pass_frames_per_second") / 1e6, "cycles": told["cycles"]}
        finally:
            guest.close()

    def by_process(self, seconds):
        """The same of the guest's loop without a VMM."""
        program = lab.binaries() / "strait-guest-loop"
        if not program.exists():
            raise lab.Unavailable(f"{program} was not built")
        child = Child([str(program), *self.switch.sockets, str(seconds)], cpus=[OTHER_CPU])
        try:
            child.wait_for("ready", 20)
            self.switch.begin()
            rate = int(child.wait_for(r"pass_frames_per_second=(\d+)", seconds + 20).group(1))
            told = self.switch.end()
            if int(re.search(r"pass_bad=(\d+)", child.output).group(1)):
                raise BenchError("frames arrived changed")
            return {"mpps": rate / 1e6, "cycles": told["cycles"]}
        finally:
            child.end()

    def exits(self, seconds, wait):
        """Returns of KVM_RUN to strait-vmm by reason, for a million packets."""
        guest = self.guest(seconds + 3, wait)
        try:
            guest.wait_told("tx", times=2)
            time.sleep(0.5)
            packets, before = self._packets(), guest.vm("stats")["exits"]
            time.sleep(seconds)
            after, packets = guest.vm("stats")["exits"], self._packets() - packets
            counted = {reason: (after[reason] - before[reason]) * 1e6 / packets for reason in after}
            return counted | {"all": sum(counted.values()), "packets": packets}
        finally:
            guest.kill()
            guest.close()

    def _packets(self):
        """Those that came from the guest, and went to it."""
        return sum(port["rx_packets"] + port["tx_packets"]
                   for port in self.switch.ctl_json("stats")["ports"])

    def memory(self):
        """MiB beside 128 of a guest's that has one device."""
        guest = lab.BareGuest("net tx=1 seconds=60 rx=1", memory="128M", nets=[
            f"socket={self.switch.sockets[0]},mac={MACS[0]}"])
        try:
            guest.wait_told("tx")
            return sum(sum(memory_of(pid, without="/memfd:").values())
                       for pid in {guest.process.pid, guest.pid})
        finally:
            guest.kill()
            guest.close()
