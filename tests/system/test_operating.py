# SPDX-License-Identifier: BSD-3-Clause
"""straitctl top on a real terminal and for scripts; straitctl support with a daemon and without."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import tarfile
import termios
import time

import pytest

from lab.process import wait_until
from lab.switch import binaries


@pytest.fixture
def busy(lab):
    """A switch of which a port sends to a kernel that takes nothing."""
    switch = lab.switch(workers="0")
    switch.ctl("bridge add br0")
    switch.add_nic("silent", "net_null1,no-rx=1")
    switch.add_nic("loud", "net_null0,size=100", "--ingress-packet-rate", "1000")
    return switch


class Terminal:
    """A program on a terminal of its own; its screen is what came since the last clearing."""

    def __init__(self, argv, rows=24, columns=100):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(argv[0], argv)
        self.text = b""
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds=0.05):
        while select.select([self.fd], [], [], seconds)[0]:
            try:
                part = os.read(self.fd, 65536)
            except OSError:
                return False
            if not part:
                return False
            self.text += part
        return True

    def screen(self):
        self.read()
        whole = self.text.rpartition(b"\x1b[H")[2]
        return whole.split(b"\x1b[J")[0].decode().replace("\x1b[K", "").split("\r\n")

    def press(self, key):
        os.write(self.fd, key.encode())

    def ended(self):
        self.read()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return (os.waitstatus_to_exitcode(status),) if pid else None

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)


def names(lines):
    """Of ports, as the screen lists them."""
    return [line.split()[0] for line in lines if line.split()[1:2] == ["br0"]]


def test_top_is_a_live_view(busy):
    terminal = Terminal([str(binaries() / "straitctl"), "--run-dir", str(busy.run_dir), "top"])
    try:
        # The first look is at what went on lately: it is there at once.
        wait_until(lambda: names(terminal.screen()) == ["loud", "silent"], 5, "the busiest first")
        wait_until(lambda: any("ingress_policed" in line for line in terminal.screen()), 5,
                   "why packets are dropped")
        assert "by traffic; q ends" in terminal.screen()[-1]
        assert len(terminal.screen()) <= 24
        terminal.press("n")
        wait_until(lambda: "by name" in terminal.screen()[-1], 5, "the key n")
        terminal.press("R")
        wait_until(lambda: names(terminal.screen()) == ["silent", "loud"], 5, "the key R")
        terminal.resize(8, 50)
        wait_until(lambda: len(terminal.screen()) == 8
                   and max(len(line) for line in terminal.screen()) <= 58, 5, "a smaller terminal")
        terminal.press(" ")
        wait_until(lambda: "paused" in terminal.screen()[-1], 5, "the space bar")
        terminal.press("q")
        assert wait_until(terminal.ended, 5, "the key q") == (0,)
        # The screen that was there, and the cursor, are back.
        assert terminal.text.rstrip().endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l")
    finally:
        terminal.close()


def test_an_interrupt_leaves_the_terminal_as_it_was(busy):
    terminal = Terminal([str(binaries() / "straitctl"), "--run-dir", str(busy.run_dir), "top"])
    try:
        before = termios.tcgetattr(terminal.fd)[3]
        wait_until(lambda: names(terminal.screen()) != [], 5, "the first look")
        assert not termios.tcgetattr(terminal.fd)[3] & termios.ECHO
        terminal.press("\x03")
        assert wait_until(terminal.ended, 5, "Ctrl-C") == (0,)
        assert termios.tcgetattr(terminal.fd)[3] == before
    finally:
        terminal.close()


def test_top_for_scripts(busy):
    begin = time.monotonic()
    status, out, err = busy.text("top --batch --iterations 2 --sort name")
    assert (status, err) == (0, "") and 1.9 < time.monotonic() - begin < 10
    assert out.count("Strait ") == 2 and "\x1b" not in out
    assert names(out.splitlines()) == ["loud", "silent"] * 2
    told = busy.ctl("top")
    loud = next(port for port in told["stats"]["ports"] if port["name"] == "loud")
    assert loud["rx_pps"] > 1000
    assert loud["rx_drop_pps"] > 1000
    assert told["workers"]["workers"][0]["utilisation"] > 0
    busy.stop()
    status, out, err = busy.text("top")
    assert status == 2 and out == "" and "is straitd running" in err


def entries(path):
    with tarfile.open(path) as tar:
        return {member.name.split("/", 1)[1]: tar.extractfile(member).read()
                for member in tar.getmembers() if member.isfile()}


def test_support_has_what_a_report_needs(busy, tmp_path):
    path = tmp_path / "a bundle's.tar.gz"
    begin = time.monotonic()
    made = busy.ctl("support", str(path))
    assert made["file"] == str(path) and path.stat().st_mode & 0o777 == 0o600
    assert time.monotonic() - begin < 30
    has = entries(path)
    assert len(has) == made["entries"]
    for name in ("version", "config.show", "port.list", "bridge.list", "worker.list", "stats-1",
                 "stats-2", "drops", "mac.list", "cache.stats", "xen.list"):
        json.loads(has[f"daemon/{name}.json"])
    first, second = (json.loads(has[f"daemon/stats-{n}.json"])["total"]["rx_packets"]
                     for n in (1, 2))
    assert second > first
    assert b"straitd: version" in has["daemon/stderr"]
    assert b"findings" in has["doctor"] or b"daemon" in has["doctor"]
    assert str(busy.process.pid).encode() in has["daemon/process-status"]
    for name in ("uname", "proc/cpuinfo", "proc/meminfo", "proc/mounts", "numa", "hugepages",
                 "ip-link"):
        assert has[f"host/{name}"], name
    assert json.loads(has["missing.json"]) == made["missing"]
    # Nothing that was there is lost.
    kept = path.read_bytes()
    status, _out, err = busy.text("support", str(path))
    assert status == 1 and "it exists; give another FILE" in err and path.read_bytes() == kept
    status, _out, err = busy.text("support", str(tmp_path / "no/such.tar.gz"))
    assert status == 1 and "No such file or directory" in err


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_support_without_a_daemon_that_answers(busy, tmp_path, how):
    path = tmp_path / "b.tar.gz"
    if how == "dead":
        busy.kill()
    else:
        busy.process.signal(signal.SIGSTOP)
    done = subprocess.run([binaries() / "straitctl", "--run-dir", busy.run_dir, "support", path],
                          capture_output=True, text=True, timeout=60)
    busy.process.signal(signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    has = entries(path)
    assert "daemon/version.json" not in has and has["host/proc/meminfo"]
    assert "without daemon/*.json: " in done.stdout
    # What hangs can be looked at all the same.
    assert ("daemon/process-status" in has) == (how == "silent")
