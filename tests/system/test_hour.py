# SPDX-License-Identifier: BSD-3-Clause
"""docs/operators-hour.md: its commands, one after the other on a host of systemd's with a switch of
a rack behind its NICs and QEMU's guests, say what the page says they do. Run as a program, it
prints the page with what they say now, and draws its graph anew."""

import datetime
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree

import pytest

import lab as parts
from lab import pages

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operators-hour.md"
GRAPH = PAGE.with_suffix(".svg")
LONGEST = 300  # seconds of a command
# What is at the other ends of the host's NICs: a switch, which is a host in the native VLAN.
RACK = """set -e
ip netns add tor
for n in 0 1 2; do
    ip link add nic$n type veth peer name tor$n netns tor
    ip link set nic$n addrgenmode none mtu 9000 up
    ip -n tor link set tor$n addrgenmode none mtu 9000 up
    ethtool -K nic$n gro off > /dev/null
    ip netns exec tor ethtool -K tor$n tx off > /dev/null
done
ip -n tor link add name fabric type bridge stp_state 0 mcast_snooping 0
ip -n tor link set fabric addrgenmode none mtu 9000 up
for n in 0 1 2; do ip -n tor link set tor$n master fabric; done
ip -n tor address add 192.0.2.1/24 dev fabric
"""
# Shown whole on the page, but another the next time: versions of Debian's, times, processes.
VOLATILE = [
    (r"\d\d:\d\d:\d\d(\.\d+)?", "time"), (r"\d{4}-\d\d-\d\d", "date"),
    (r"process \d+", "process"), (r"time=[\d.]+ ms", "time"),
    (r"\b\d+ s\b", "N s"), (r" +", " "),
]
# What straitctl does by itself, or reads before it asks.
LOCAL = {"doctor", "support", "top", "vm", "config", "version"}


class Hour(parts.Container):
    """The shells of the page: the host's, and those of its guests, which are begun when they are
    first asked."""

    volatile = VOLATILE
    _MTUS = {"db": 9000}

    def __init__(self, package):
        super().__init__()
        self._guests = {}
        self.said = {}  # by command, what it said each time
        try:
            shutil.copy(package, self.path("/root"))
            programs = parts.assets().prometheus / "usr/bin"
            for name in ("prometheus", "promtool"):
                self.path(f"/usr/bin/{name}").symlink_to(programs / name)
            self.sh(RACK)
        except BaseException:
            self.close()
            raise

    def path(self, path):
        """Of a file in here, from outside."""
        return pathlib.Path(f"/proc/{self.init}/root{path}")

    def guest(self, name):
        if name not in self._guests:
            number = len(self._guests) + 1
            self._guests[name] = parts.Guest(
                parts.Nic(self.path(f"/run/strait/{name}.sock"), f"52:54:00:00:00:0{number}",
                          mtu=self._MTUS.get(name)), name=name, boot_timeout=240)
        return self._guests[name]

    def __call__(self, step):
        place = self.guest(step.place) if step.place else self
        command = step.command if step.place else f"cd /root; {step.command}"
        status, said = place.run(command, LONGEST)
        self.said[step.command] = self.said.get(step.command, []) + [said]
        if status and step.is_sample:
            raise parts.LabError(f"line {step.line}: {step.command}: status {status}\n{said}")
        return said.splitlines()

    def close(self):
        for guest in self._guests.values():
            guest.close()
        super().close()


def read():
    return PAGE.read_text(encoding="utf-8")


def words_of_straitctl():
    """Of each call of straitctl's on the page, in host shells."""
    for step in pages.steps(read()):
        if step.place:
            continue
        for call in re.findall(r"\bstraitctl ([^|;&>]*)", step.command.replace("\\\n", " ")):
            yield step.line, call.replace("'", "").split()


def test_the_page_has_no_word_that_straitctl_does_not_know(tmp_path):
    """The cheap half: each command is one of the client's, with options that it has."""
    asked = 0
    for line, words in words_of_straitctl():
        command = [word for word in words if not word.startswith("-")]
        options = [word for word in words if word.startswith("--")]
        depth = 1 if command[0] in ("stats", "drops", "events", "doctor", "support", "top") else 2
        program = parts.binaries() / "straitctl"
        if command[0] in LOCAL:
            done = subprocess.run([program, *command[:depth], "--help"], capture_output=True,
                                  text=True, timeout=20, check=False)
            assert done.returncode == 0, f"line {line}: {' '.join(words)}: {done.stderr}"
            for option in options:
                assert option in done.stdout, f"line {line}: {command}: there is no {option}"
        else:
            done = subprocess.run([program, "--run-dir", tmp_path, *words], capture_output=True,
                                  text=True, timeout=20, check=False)
            # 2: it was understood, and nobody is there to ask.
            assert done.returncode == 2, f"line {line}: {' '.join(words)}: {done.stderr}"
        asked += 1
    assert asked > 20


def test_the_graph_is_there():
    assert f"]({GRAPH.name})" in read()
    assert xml.etree.ElementTree.parse(GRAPH).getroot().tag.endswith("svg")
    assert GRAPH.stat().st_size < 100_000


@pytest.mark.soak
def test_the_hour_goes_as_the_page_says(tmp_path):
    try:
        hour = Hour(parts.debian_package(tmp_path))
    except parts.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        wrong = pages.differences(read(), hour)
        assert not wrong, "\n\n".join(wrong)
        hour_was_survived(hour.said)
        series = graph_data(hour)
        assert max(value for _, value in series["old0"]) > 1000, "a storm"
        assert max(value for _, value in series["web"]) > 0
    finally:
        hour.close()


def hour_was_survived(said):
    """What the samples of the page must have, whatever their figures."""
    def number(pattern, text):
        return int(re.search(pattern, text)[1])
    before, after = said["straitctl port show web | grep -e ring -e position"]
    for way in ("rx", "tx"):
        position = rf"guest {way} position +(\d+)"
        went = (number(position, after) - number(position, before)) % 65536
        assert 0 < went < 2000, (before, after)
    lost = said["sleep 15; tail -n 2 /tmp/db | head -n 1; tail -n 2 /tmp/rack | head -n 1"][0]
    assert all(int(word) > 50 for word in re.findall(r"(\d+) packets received", lost)), lost
    storm, calm = (said[command][0] for command in
                   ("straitctl stats --rates", "sleep 3; straitctl stats --rates"))
    assert "kpps" in storm and "kpps" not in calm, (storm, calm)


QUERY = "sum by (port) (rate(strait_port_receive_packets_total[5s]))"


def graph_data(machine):
    """By port, (time, packets a second) as Prometheus has them."""
    answer = machine.sh(
        "curl -sSG http://127.0.0.1:9090/api/v1/query_range --data-urlencode "
        f"'query={QUERY}' -d step=2 -d end=$(date +%s) -d start=$(($(date +%s) - 3600))", 60)
    return {one["metric"]["port"]: [(float(t), float(v)) for t, v in one["values"]]
            for one in json.loads(answer)["data"]["result"]}


def draw(series, path):
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import dates, pyplot
    matplotlib.rcParams["svg.hashsalt"] = "strait"
    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    for port, points in sorted(series.items()):
        if any(value > 0.5 for _, value in points):
            axes.plot([datetime.datetime.fromtimestamp(t, datetime.timezone.utc)
                       for t, _ in points], [max(value, 0.1) for _, value in points], label=port)
    axes.set_yscale("log")
    axes.set_ylabel("packets/s received")
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    text = path.read_text()
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def main():
    with tempfile.TemporaryDirectory() as folder:
        hour = Hour(parts.debian_package(folder))
        try:
            for line in pages.rewritten(read(), hour):
                print(line, flush=True)
            draw(graph_data(hour), GRAPH)
        finally:
            hour.close()


if __name__ == "__main__":
    main()
