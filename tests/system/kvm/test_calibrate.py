# SPDX-License-Identifier: BSD-3-Clause
"""strait-calibrate on a real /dev/kvm: all that it measures is there. Times are the emulation's,
and none is asserted."""

import pathlib
import sys

import lab as parts

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "bench"))

# pylint: disable=wrong-import-position
from harness import calibration  # noqa: E402

# The emulation does not like guests on its first CPU (lab/kvm.py).
COMMAND = "--cpu 1 --other-cpu 2"


def test_costs_of_kicks(machine):
    status, said = machine.run(
        f"{parts.binaries()}/strait-calibrate {COMMAND} --rounds 3 > /lab/kvm.json", 120)
    assert status == 0, said
    assert said.startswith("strait-calibrate: not calibrated: Xen: there is no /dev/xen/gntdev")
    one, = calibration.read(str(machine.logs / "kvm.json"))  # and that all is there, and positive
    print(calibration.describe(one, "kvm"), one["kvm"]["cycles"])
    assert one["kvm"]["facts"]["module"] == "kvm_amd"
    assert calibration.not_hardware(one, "kvm") == "the machine that KVM runs on is virtual itself"
    for state in ("running", "halted"):
        pairs = zip(one["kvm"]["cycles"][f"irqfd_write_{state}"],
                    one["kvm"]["cycles"][f"irqfd_handled_{state}"])
        assert all(write < handled for write, handled in pairs)


def test_a_vcpu_that_polls_long_is_let_fall_asleep(machine):
    """As long as KVM's parameter says, twice; or it is told that this is too long."""
    parameter = "/sys/module/kvm/parameters/halt_poll_ns"
    before = machine.run(f"cat {parameter}")[1].strip()
    try:
        for polls in (10_000_000, 26_000_000):
            machine.run(f"echo {polls} > {parameter}")
            status, said = machine.run(
                f"start=$(cut -d. -f1 /proc/uptime); {parts.binaries()}/strait-calibrate {COMMAND} "
                "--rounds 1 > /lab/polls.json; status=$?; "
                "echo took $(($(cut -d. -f1 /proc/uptime) - start)); exit $status", 120)
            if polls < 25_000_000:
                assert status == 0, said
                one, = calibration.read(str(machine.logs / "polls.json"))
                assert one["kvm"]["facts"]["halt_poll_ns"] == str(polls)
                assert int(said.split("took ")[1]) >= 200 * 2 * polls // 10 ** 9 - 1  # 200 kicks
            else:
                assert status == 1 and f"KVM: KVM polls for {polls} ns before a vCPU sleeps" in said
    finally:
        machine.run(f"echo {before} > {parameter}")


def test_a_stop_in_the_midst_of_it(machine):
    """Which interrupts the guest's run."""
    status, said = machine.run(
        f"{parts.binaries()}/strait-calibrate {COMMAND} --rounds 3 > /lab/stopped.json & "
        "for i in 1 2 3 4 5 6; do sleep 0.5; kill -STOP $!; sleep 0.1; kill -CONT $!; done; "
        "wait $!", 120)
    assert status == 0, said
    assert calibration.read(str(machine.logs / "stopped.json"))


def test_it_ends_when_it_is_interrupted(machine):
    """In the midst of it, its guest running."""
    status, said = machine.run(
        f"busybox timeout -s INT 4 {parts.binaries()}/strait-calibrate {COMMAND} --rounds 1000", 30)
    assert status in (124, 130, 143), (status, said)
    assert machine.run("busybox pidof strait-calibrate")[0] != 0


def test_without_a_right_to_the_device(machine):
    status, said = machine.run(
        "chmod 0 /dev/kvm; setpriv --reuid 65534 --clear-groups "
        f"{parts.binaries()}/strait-calibrate {COMMAND}; status=$?; chmod 660 /dev/kvm; "
        "exit $status", 30)
    assert status == 1
    assert said.startswith("strait-calibrate: nothing could be calibrated: KVM: /dev/kvm cannot be "
                           "opened: Permission denied; Xen: ")
