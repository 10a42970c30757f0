# SPDX-License-Identifier: BSD-3-Clause
"""README.md's chapter of the first guest: its commands as they stand, which make a Debian on this
machine, and run it in the emulated one; what is typed at its console; and how it ends."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

import lab as parts

from .conftest import LOGS

# Debian's packages are fetched, and systemd starts in a guest of an emulated machine.
pytestmark = pytest.mark.soak

PAGE = pathlib.Path(__file__).resolve().parents[3] / "README.md"
CHAPTER = "Your first guest in one command"
CTRL_C, LEAVE = "\x03", "\x1d"


def chapter():
    """(blocks of commands, what is to be typed in the guest), of the page."""
    text = re.search(rf"^## {CHAPTER}\n(.*?)^## ", PAGE.read_text(encoding="utf-8"), re.M | re.S)[1]
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return blocks, re.search(r"in the guest `([^`]*)`", text)[1]


class Console:
    """straitctl's, at a terminal, as its command stands on the page."""

    def __init__(self, house, command):
        self.machine = house.machine
        self.path = LOGS / "first-guest.console"
        self.read = 0
        self.pid = house.spawn("mkfifo /run/typed && exec 5<> /run/typed && exec script -qefc "
                               + shlex.quote(command) + " /lab/first-guest.console <&5 > /dev/null")

    def said(self):
        return self.path.read_text(errors="replace") if self.path.exists() else ""

    def type(self, text):
        self.machine.sh(f"printf %s {shlex.quote(text)} > /run/typed")

    def wait(self, pattern, timeout):
        """Until it said so since the last time."""
        found = parts.wait_until(lambda: re.search(pattern, self.said()[self.read:]), timeout,
                                 f"the console saying {pattern!r}", 0.5)
        self.read += found.end()


class House:
    """A folder that both machines see, and the switch in the emulated one."""

    def __init__(self, machine, lab):
        self.machine = machine
        self.folder = LOGS / "first-guest"
        self.folder.mkdir()
        lab.machine_switch(machine, config=["bridge add br0"])

    def _shell(self, command):
        # The first CPU is no guest's in this emulation.
        return (f"cd /lab/{self.folder.name} && PATH={parts.binaries()}:$PATH "
                f"taskset -c 1-{self.machine.cpus - 1} sh -ec {shlex.quote(command)}")

    def sh(self, command, timeout=60):
        return self.machine.sh(self._shell(command), timeout)

    def spawn(self, command):
        return self.machine.spawn(f"sh -c {shlex.quote(self._shell(command))}", "first-guest.log")


@pytest.fixture
def house(machine, lab):
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    made = House(machine, lab)
    yield made
    shutil.rmtree(made.folder)


def test_the_first_guest(house):
    (image, run, rest), typed = chapter()
    made = subprocess.run(["sh", "-ec", image], cwd=house.folder, capture_output=True, text=True,
                          timeout=900, check=False)
    if made.returncode and "Failed to fetch" in made.stderr:
        why = next(line for line in made.stderr.splitlines() if "Failed to fetch" in line)
        pytest.skip(f"Debian's packages cannot be had: {why}")
    assert made.returncode == 0, made.stderr[-3000:]

    *begin, console = run.strip().splitlines()
    house.sh("\n".join(begin))
    terminal = Console(house, console.split("#")[0])
    terminal.wait("login: ", 900)
    terminal.type("root\n")
    terminal.wait(r"root@\S+# ", 120)
    terminal.type(typed + "\n")
    terminal.wait("bytes from 192.0.2.1: icmp_seq=2 ", 60)
    terminal.type(CTRL_C)
    terminal.wait(r" 0% packet loss", 30)
    terminal.type(LEAVE)
    parts.wait_until(lambda: not house.machine.alive(terminal.pid), 20, "the console's end", 0.2)

    listed, shown, stop = rest.strip().splitlines()
    assert "guest1" in (text := house.sh(listed)) and "running" in text, text
    assert "serving" in (text := house.sh(shown)), text
    # Guests' udev tries the CPU's cryptography, which in this emulation takes minutes.
    stopped = house.sh(stop.split("#")[0] + "--timeout 300 --json", 320)
    assert json.loads(stopped)["ended"] == "it switched itself off"
    assert "guest1" not in house.sh(listed)
