# SPDX-License-Identifier: BSD-3-Clause
"""straitctl vm on this machine's own /dev/kvm: what is left of a straitctl that was killed, and
what it tells of a machine."""

import functools
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

import lab as parts

PATIENT = parts.BareGuest.PATIENT


def stat_of(process):
    """What /proc says of a process, from its state on."""
    stat = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    return stat.rsplit(") ")[-1].split()


class Machines:
    """Of one switch, by straitctl; their guests are patient ones."""

    def __init__(self, switch):
        self.switch = switch
        self.folder = switch.run_dir / "vm"

    def words(self, name, *words, guest="button", kernel=None):
        return ["vm", "run", name, "--bridge", "br0", "--kernel",
                str(kernel or parts.BareGuest.image()), "--memory", "64M",
                "--command-line", f"{PATIENT} {guest}", *words]

    def run(self, name, *words, **options):
        return self.switch.ctl(*self.words(name, *words, **options))

    def start(self, words, **options):
        """straitctl, not waited for."""
        return subprocess.Popen(
            [parts.binaries() / "straitctl", "--run-dir", self.switch.run_dir, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)

    def seen(self, name):
        return next((vm for vm in self.switch.ctl("vm list") if vm["name"] == name), None)

    def alive(self):
        """Process numbers of all strait-vmm that run a machine of this switch."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = stat_of(entry.name)[0]
            except (OSError, UnicodeError):
                continue
            if (entry.name.isdigit() and state not in "ZX" and words[0].endswith(b"/strait-vmm")
                    and any(word.startswith(bytes(self.folder)) for word in words)):
                found.append(int(entry.name))
        return found

    def close(self):
        for name in [vm["name"] for vm in self.switch.ctl("vm list")]:
            self.switch.ctl("vm", "stop", "--force", name)


@pytest.fixture
def machines(bridge):
    made = Machines(bridge.switch)
    yield made
    made.close()
    parts.wait_until(lambda: not made.alive(), 10, "no VMM being left")


def test_straitctl_killed_at_any_time(machines):
    """Each VMM that it leaves is listed, and ends by vm stop; nothing comes after that."""
    chance = random.Random(1)
    left = 0
    for _ in range(100):
        process = machines.start(machines.words("one"), stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 0.04))
        process.send_signal(signal.SIGKILL)
        process.wait()
        alive = machines.alive()
        seen = machines.seen("one")
        if alive and set(alive) <= set(machines.alive()):
            left += 1
            assert seen and seen["state"] in ("starting", "running"), (alive, seen)
        if seen:
            machines.switch.ctl("vm", "stop", "--force", "one")
        assert machines.alive() == []
        assert machines.seen("one") is None
        assert "one" not in [port["name"] for port in machines.switch.ctl("port list")]
    time.sleep(1)
    assert machines.alive() == []
    assert left > 10, "this says something only if some were killed while there was a VMM"


def test_show_tells_what_was_agreed_on(machines):
    """Of a network device: nothing before the guest drives it, then as the switch has it."""
    machines.run("idle")
    net = machines.switch.ctl("vm show idle")["info"]["nets"][0]
    assert net["features"] is None and net["queues"] is None, net
    machines.run("one", "--net", "packed=on,queues=2", guest="net packed=1 queues=2 echo")

    def nets():
        return machines.switch.ctl("vm show one")["info"]["nets"]
    parts.wait_until(lambda: nets()[0]["serving"], 20, "the rings being served")
    net = nets()[0]
    port = machines.switch.ctl("port show one")["details"]
    assert (net["ring_kind"], port["ring_kind"]) == ("packed", "packed")
    assert (net["queues"], net["queues_used"]) == (2, 2), "the port was made for as many"
    assert net["ring_size"] == port["guest_rx_ring_size"]
    assert {"ring_packed", "version_1", "mac"} <= set(net["features"]), net
    # The rest is between the guest and its VMM, or the switch and the VMM.
    assert set(net["features"]) - set(port["features"]) <= {"mac", "status", "ctrl_mac_addr"}
    status, text, _ = machines.switch.text("vm show one")
    assert status == 0 and "ring kind packed" in text and " ring_packed" in text, text


@pytest.mark.parametrize("back", [False, True], ids=["unknown", "there"])
def test_ring_positions_go_with_the_port(lab, back):
    """Also after a restart of the switch that does not know the port any more; one that does goes
    on with the guest. Another port that has got its name is left alone."""
    switch = lab.switch(config=["bridge add br0"])
    machines = Machines(switch)
    state = switch.run_dir / "state" / "one.rings"
    machines.run("one", "--net", "packed=on", guest="net packed=1 echo")
    switch.kill()
    switch.start()
    assert state.exists()
    if back:
        switch.ctl("port", "add", "one", "--bridge", "br0", "--type", "vhost-user", "--socket",
                   machines.folder / "one" / "sock" / "net")
    switch.ctl("vm stop one --force")
    assert not state.exists()
    assert switch.ctl("port list") == []
    machines.run("two")
    switch.ctl("port del two")
    switch.add_vhost("two")  # at another socket
    switch.ctl("vm stop two --force")
    assert [port["name"] for port in switch.ctl("port list")] == ["two"]


def test_interrupted_while_the_daemon_is_stopped(lab):
    """Ctrl-C ends straitctl, and vm stop removes what was begun."""
    switch = lab.switch(config=["bridge add br0"])
    machines = Machines(switch)
    machines.run("two")
    switch.process.signal(signal.SIGSTOP)
    try:
        for words in (machines.words("one"), ["vm", "stop", "--force", "two"], ["port", "list"]):
            process = machines.start(
                words, stderr=subprocess.PIPE, text=True,
                # A shell lets what it runs in the background ignore it.
                preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
            time.sleep(0.5)
            assert process.poll() is None, words
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=5)
            assert process.returncode in (2, -signal.SIGINT), (words, said)
    finally:
        switch.process.signal(signal.SIGCONT)
    assert machines.seen("one")["state"] == "ended"
    assert "two" in [vm["name"] for vm in switch.ctl("vm list")], "its port may be left"
    machines.close()
    assert switch.ctl("port list") == [] and machines.alive() == []


def test_keeper(machines):
    """Has a name of its own, and its guest ends with it."""
    machines.run("one")
    noted = int((machines.folder / "one" / "process").read_text(encoding="ascii").split()[0])
    assert noted in machines.alive()
    keeper = int(stat_of(noted)[1])
    folder = pathlib.Path(f"/proc/{keeper}")
    assert (folder / "comm").read_text(encoding="ascii") == "strait-vm:one\n"
    assert (folder / "cmdline").read_bytes().rstrip(b"\0") == b"strait-vm:one"
    os.kill(keeper, signal.SIGKILL)
    parts.wait_until(lambda: not machines.alive(), 10, "the guest's end")
    parts.wait_until(lambda: machines.seen("one")["state"] == "ended", 10, "it to be told")
    assert machines.seen("one")["ended"] == "nothing is known of its end"
