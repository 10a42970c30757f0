# SPDX-License-Identifier: BSD-3-Clause
"""docs/example.md: its commands, one after the other in a shell, say what the page says they do.
Run as a program, it prints the page with what they say now."""

import os
import pathlib
import re
import selectors
import shutil
import subprocess
import sys
import time

import pytest

from lab import pages

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/example.md"
MARK = "----- that was it:"
LONGEST = 60  # seconds of a command
# What differs from run to run: times, and numbers that somebody drew by lot.
VOLATILE = [
    (r"time[= ]\d+(\.\d+)? ?ms", "time"), (r"rtt .*", "rtt"), (r"\d\d:\d\d:\d\d\.\d{6}", "time"),
    (r" id \d+", " id"), (r"(seq|ack) \d{4,}(:\d+)?", r"\1"),
    (r"\b(10\.7\.0\.\d+)[.:]\d{5}\b", r"\1.port"),
    (r"tp_(src|dst)=\d{5}", r"tp_\1=port"), (r"(TS val|ecr) \d+", r"\1"), (r"\b\d+ s\b", "N s"),
    (r", ?pipe \d+", ""),
    (r"^ *[\d,]+ +[\d,]+ +(to|from) ", r"N N \1 "),
    (r"(audit +blue) +\d+ +\d+", r"\1 N N"), (r"(192\.0\.2\.\d)\.\d{5}\b", r"\1.port"),
    (r" +", " "), (r"-{4,}", "---"),
    (r"straitd \S+, DPDK \S+, process \d+, up .*", "straitd"),
]
NEEDED = ("unshare", "ip", "ethtool", "ping", "curl", "tcpdump")


class Shell:
    """A root's shell with processes, interfaces and a /run of its own."""

    volatile = VOLATILE

    def __init__(self):
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        if binaries := os.environ.get("STRAIT_BIN"):
            environment["PATH"] = f"{binaries}:{environment['PATH']}"
        self._child = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             "bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=environment, cwd="/")
        self.say("mount -t tmpfs tmpfs /run && cd /run && ip link set lo up")

    def close(self):
        self._child.kill()
        self._child.communicate()

    def __call__(self, step):
        return self.say(step.command)

    def say(self, command):
        self._child.stdin.write(f"{command}\necho '{MARK}' $?\n".encode())
        self._child.stdin.flush()
        said = b""
        end = time.monotonic() + LONGEST
        with selectors.DefaultSelector() as ready:
            ready.register(self._child.stdout, selectors.EVENT_READ)
            while not (found := re.search(rf"^{MARK} (\d+)\n".encode(), said, re.MULTILINE)):
                more = b""
                if ready.select(max(0.0, end - time.monotonic())):
                    more = os.read(self._child.stdout.fileno(), 65536)
                assert more, f"{command!r} did not end: {said.decode()}"
                said += more
        return said[:found.start()].decode().splitlines()


def missing():
    absent = [name for name in NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_page_says_what_happens():
    shell = Shell()
    try:
        wrong = pages.differences(PAGE.read_text(encoding="utf-8"), shell)
    finally:
        shell.close()
    assert not wrong, "\n\n".join(wrong)


def main():
    shell = Shell()
    for line in pages.rewritten(PAGE.read_text(encoding="utf-8"), shell):
        print(line)
    shell.close()


if __name__ == "__main__":
    main()
