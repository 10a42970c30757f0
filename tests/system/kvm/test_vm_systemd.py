# SPDX-License-Identifier: BSD-3-Clause
"""straitctl vm where systemd is the init: a guest is a transient service of its own."""

import json
import pathlib

import pytest

import lab as parts

# systemd takes a minute to start in the emulated machine.
pytestmark = pytest.mark.soak

SCRIPT = pathlib.Path(parts.__file__).parent / "systemd.sh"


class House:
    """A systemd in namespaces of the machine's, with straitd as a service."""

    def __init__(self, machine):
        self.machine = machine
        self.bin = parts.binaries()
        if machine.run("[ -x /lib/systemd/systemd ]")[0]:
            pytest.skip("systemd is not installed")
        # The guests' CPUs are those that the lab gives to guests.
        self.pid = machine.spawn(
            f"taskset -c 1-{machine.cpus - 1} unshare -m -p -C -n -f --kill-child sh {SCRIPT}",
            "systemd.log")
        self.init = None
        parts.wait_until(self.find_init, 60, "systemd", 0.2)
        parts.wait_until(lambda: self.run("systemctl is-active basic.target")[0] == 0, 240,
                         "systemd reaching its target", 0.5)
        self.sh("ip link set lo up")
        self.sh(f"systemd-run --quiet --unit=straitd {self.bin}/straitd --no-huge --memory 48 "
                "--no-persist")
        self.wait_switch()

    def wait_switch(self):
        """Until the daemon has the bridge, which it forgets when it is started anew."""
        parts.wait_until(
            lambda: self.run(f"{self.bin}/straitctl bridge add br0 --may-exist")[0] == 0, 60,
            "straitd answering", 0.5)

    def find_init(self):
        status, output = self.machine.run(f"cat /proc/{self.pid}/task/*/children")
        self.init = output.split()[0] if status == 0 and output.split() else None
        return self.init

    def run(self, command, timeout=60):
        return self.machine.run(f"nsenter -t {self.init} -m -p -C -n -- {command}", timeout)

    def sh(self, command, timeout=60):
        status, output = self.run(command, timeout)
        assert status == 0, output
        return output

    def ctl(self, command):
        output = self.sh(f"{self.bin}/straitctl {command} --json")
        return json.loads(output) if output.strip() else None

    def vm_run(self, name, command_line):
        """A bare-metal guest, which does the words of its command line."""
        self.ctl(f"vm run {name} --bridge br0 --kernel {self.bin}/strait-test-guest --memory 64M "
                 f"--no-reboot --command-line '{command_line}'")

    def how_ended(self, name):
        def ended():
            return next(vm["ended"] for vm in self.ctl("vm list") if vm["name"] == name)
        return parts.wait_until(ended, 30, f"the end of {name}", 0.2)

    def properties(self, unit, *names):
        text = self.sh(f"systemctl show {unit} " + " ".join(f"-p {name}" for name in names))
        return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture(scope="module")
def house(machine):
    if not (parts.binaries() / "strait-test-guest").exists():
        pytest.skip("strait-test-guest was not built")
    made = House(machine)
    yield made
    machine.kill(made.pid)


def test_a_guest_is_a_service(house):
    house.vm_run("g1", "seconds=600 button end=poweroff")
    seen = house.properties("strait-vm-g1", "ActiveState", "Transient", "ControlGroup", "MainPID")
    assert seen["ActiveState"] == "active" and seen["Transient"] == "yes", seen
    assert seen["ControlGroup"] == "/system.slice/strait-vm-g1.service", seen
    group = f"/sys/fs/cgroup{seen['ControlGroup']}"
    processes = house.sh(f"cat {group}/cgroup.procs").split()
    jailed = str(house.ctl("vm show g1")["pid"])
    assert {seen["MainPID"], jailed} <= set(processes) and jailed != seen["MainPID"], processes
    most = [int(word) for word in house.sh(f"cat {group}/memory.max {group}/pids.max").split()]
    assert most == [(64 + 4 + 256) << 20, 1 + 2 + 32]
    used = [int(word) for word in
            house.sh(f"cat {group}/memory.current {group}/pids.current").split()]
    assert all(now < limit / 2 for now, limit in zip(used, most)), (used, most)
    # The daemon may end: it is another service.
    house.sh("systemctl restart straitd")
    assert house.properties("strait-vm-g1", "ActiveState")["ActiveState"] == "active"
    house.sh("systemctl stop strait-vm-g1")
    assert house.how_ended("g1") == "it switched itself off"
    house.wait_switch()
    house.ctl("vm stop g1")
    assert house.ctl("vm list") == []


@pytest.mark.parametrize("command_line,end,how", [
    ("sleep=600000", "systemctl kill --kill-whom=main --signal=KILL strait-vm-g2",
     "it was killed by SIGKILL"),
    ("end=reset", None, "it reset itself"),
    ("end=poweroff", None, "it switched itself off"),
])
def test_how_it_ended_is_known(house, command_line, end, how):
    house.vm_run("g2", command_line)
    if end:
        house.sh(end)
    assert house.how_ended("g2") == how
    house.ctl("vm stop g2")
    assert house.properties("strait-vm-g2", "LoadState")["LoadState"] == "not-found"


def test_a_refusal_leaves_no_service(house):
    status, output = house.run(f"{house.bin}/straitctl vm run g3 --bridge br0 --kernel /etc/passwd")
    assert status == 1 and "it is no kernel" in output, output
    assert "strait-vm-" not in house.sh("systemctl list-units --all --no-legend --plain")
    assert house.ctl("vm list") == []
