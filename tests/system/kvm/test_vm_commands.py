# SPDX-License-Identifier: BSD-3-Clause
"""straitctl vm: from one command to a running guest, where it runs, and what is left of it."""

import re

import pytest

import lab as parts

from .exchange import exchange, up

# In a guest's memory of huge pages, and what its CPUs are pinned to.
HUGE_PAGES = 64
NODE = 1
NODE_PAGES = f"/sys/devices/system/node/node{NODE}/hugepages/hugepages-2048kB"
PINS = {0: 2, 1: 1}
NOBODY = 65534


class House:
    """Guests one, nobody's, placed, of an ELF kernel, and two, root's, of a bzImage; the machine
    itself has a port, too."""

    def __init__(self, machine, lab):
        self.machine = machine
        self.lab = lab
        self.switch = lab.machine_switch(machine, config=[
            "bridge add br0", "port add host0 --bridge br0 --type host --address 10.0.0.100/24"])
        machine.sh(f"echo {HUGE_PAGES} > {NODE_PAGES}/nr_hugepages")
        self.one = lab.straitctl_guest(
            machine, "br0", address="10.0.0.1", cpus=2, memory_mib=2 * HUGE_PAGES, name="one",
            wait=False, arguments=[
                "--user", f"{NOBODY}:{NOBODY}", "--hugepages", "2M", "--numa-node", str(NODE),
                "--vcpu-pin", ",".join(f"{vcpu}={cpu}" for vcpu, cpu in PINS.items()),
                "--realtime", "5"])
        self.two = lab.straitctl_guest(
            machine, "br0", address="10.0.0.2", kernel=parts.assets().packed_kernel, name="two",
            wait=False, arguments=["--net", "mac=52:54:00:00:00:02,packed=on"])
        up(self.one, self.two)

    def seen(self, name):
        """What `vm list` says of a guest; None if it says nothing."""
        return next((vm for vm in self.switch.ctl("vm list") if vm["name"] == name), None)

    def threads(self, pid):
        """Names and contents of /proc/PID/task/*/status, as a list of dictionaries."""
        text = self.machine.sh(f"for t in /proc/{pid}/task/*/status; do cat $t; echo; done")
        return [dict(line.split(":\t", 1) for line in block.splitlines() if ":\t" in line)
                for block in text.strip().split("\n\n")]


@pytest.fixture(scope="module")
def house(machine, module_lab):
    made = House(machine, module_lab)
    yield made
    machine.sh(f"echo 0 > {NODE_PAGES}/nr_hugepages")


def test_guests_ping_their_neighbours(house):
    exchange(house.one, house.two, 3_000_001)
    house.machine.sh("busybox ping -c 3 -A 10.0.0.1 && busybox ping -c 3 -A 10.0.0.2")
    assert "52:54:00:00:00:02" in house.two.sh("cat /sys/class/net/eth0/address")


def test_list_and_show(house):
    one, two = house.seen("one"), house.seen("two")
    assert (one["state"], two["state"]) == ("running", "running")
    assert (one["info"]["cpus"], two["info"]["cpus"]) == (2, 1)
    status, text, _ = house.switch.text("vm list")
    assert status == 0 and "128 MiB" in text and "256 MiB" in text, text
    shown = house.switch.ctl("vm show two")
    assert shown["info"]["nets"][0]["serving"] and shown["stats"]["exits"]["port"] > 0, shown
    port = house.switch.ctl("port show two")
    assert port["options"]["socket"] == "/run/strait/vm/two/sock/net", port


def test_jail(house):
    """What a VMM that its guest has taken over would find."""
    mine = house.machine.sh("readlink /proc/self/ns/*").split()
    for name, user in (("one", NOBODY), ("two", 0)):
        pid = house.seen(name)["pid"]
        for thread in house.threads(pid):
            assert thread["Seccomp"] == "2" and thread["NoNewPrivs"] == "1", thread
            assert all(int(thread[kind], 16) == 0 for kind in ("CapEff", "CapPrm", "CapInh",
                                                               "CapAmb")), thread
            assert thread["Uid"].split() == 4 * [str(user)], thread
            assert thread["Gid"].split() == 4 * [str(user)], thread
        spaces = house.machine.sh(f"readlink /proc/{pid}/ns/*").split()
        for kind in ("ipc", "mnt", "net", "pid", "uts"):
            own = [space for space in spaces if space.startswith(f"{kind}:")]
            assert own and not set(own) & set(mine), (kind, own)
        found = house.machine.sh(f"cd /proc/{pid}/root && find . -type f -o -type s | sort").split()
        assert found == [f"./run/strait/vm/{name}/sock/{kind}"
                         for kind in ("console", "control", "net")], found
        assert int(house.machine.sh(f"nsenter -t {pid} -n ip -br link | wc -l")) == 1


def test_placement(house):
    pid = house.seen("one")["pid"]
    assert house.machine.sh("grep HugePages_Free /proc/meminfo").split()[1] == "0"
    threads = {thread["Name"]: thread for thread in house.threads(pid)}
    for vcpu, cpu in PINS.items():
        thread = threads[f"vcpu{vcpu}"]
        assert thread["Cpus_allowed_list"] == str(cpu), thread
        assert "SCHED_FIFO" in (said := house.machine.sh(f"chrt -p {thread['Pid']}")), said
        assert "priority: 5" in said, said
    policy = house.machine.sh(f"grep strait-guest /proc/{pid}/numa_maps")
    assert f"bind:{NODE}" in policy and "huge" in policy, policy
    # N1=64 and no other node's pages.
    pages = [word for word in policy.split() if re.fullmatch(r"N\d+=\d+", word)]
    assert pages == [f"N{NODE}={HUGE_PAGES}"], policy


@pytest.mark.parametrize("words,sentence", [
    ("--hugepages 2M", "huge page"),
    ("--numa-node 7", "node"),
    ("--vcpu-pin 0=40", "CPU 40"),
    ("--kernel /etc/passwd", "kernel"),
    ("--disk /nonexistent", "/nonexistent cannot be opened"),
    ("--net queues=99", "queues"),
])
def test_refusals_leave_nothing(house, words, sentence):
    kept = parts.assets()
    status, _, said = house.switch.text(
        *f"vm run three --bridge br0 --kernel {kept.kernel} --initrd {kept.initrd}".split(),
        *words.split())
    assert status == 1 and sentence in said and len(said.strip().splitlines()) == 1, said
    assert house.seen("three") is None
    assert "three" not in [port["name"] for port in house.switch.ctl("port list")]
    assert house.machine.run("ls -d /run/strait/vm/three")[0] != 0


def test_a_guest_that_ended_is_told_of_until_the_next(house):
    house.two.poweroff(60)  # what ends is its console
    assert house.seen("two")["ended"] == "it switched itself off"
    assert "two" in [port["name"] for port in house.switch.ctl("port list")]
    status, _, said = house.switch.text("vm console two")
    assert status == 1 and "has ended: it switched itself off" in said, said
    house.two.boot()
    house.two.wait_up()
    house.one.wait_ping(house.two, 60)


def test_killed(house):
    """SIGKILL of a VMM: said as such, and the neighbour's traffic goes on."""
    house.machine.kill(house.seen("two")["pid"])
    house.two.wait(20)
    assert house.seen("two")["ended"] == "it was killed by SIGKILL"
    house.machine.sh("busybox ping -c 3 -A 10.0.0.1")
    house.two.boot()
    house.two.wait_up()
    house.one.wait_ping(house.two, 60)


def test_stop(house):
    for words, how in ((("vm", "stop", "one"), "it switched itself off"),
                       (("vm", "stop", "--force", "two"),
                        "it was ended and had not switched itself off")):
        name = words[-1]
        assert house.switch.ctl(*words)["ended"] == how
        assert house.seen(name) is None
        assert name not in [port["name"] for port in house.switch.ctl("port list")]
    assert house.machine.sh("ls /run/strait/vm").split() == []
    assert house.machine.sh("grep HugePages_Free /proc/meminfo").split()[1] == str(HUGE_PAGES)
