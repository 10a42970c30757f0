# SPDX-License-Identifier: BSD-3-Clause
# A Linux guest by strait-vmm and by QEMU's microvm, in turns, in the emulated machine: the same
# kernel, initial RAM disk, command line, CPU, memory and devices. What is measured, the machine's
# kernel traces: both are looked at in the same way, and neither knows.

import pathlib
import re
import shlex

import lab
from harness.machine import memory_of
from lab.guest import COMMAND_LINE

HERE = pathlib.Path(__file__).resolve().parent
TRACING = "/sys/kernel/tracing"
SOCKET = "/run/strait/vm1.sock"
MAC = "52:54:00:00:00:01"
MEMORY_MIB = 128
MODULES = ["virtio_pci", "virtio_net", "virtio_rng"]
# A mark of guest_init.sh.
MARK_PORT, BEGINS, NETWORK_IS_UP = 0xf4, 0x1, 0x2


def _strait():
    program = lab.binaries() / "strait-vmm"
    if not program.exists():
        raise lab.Unavailable(f"{program} was not built")
    return [program, "run", "--kernel", "/run/kernel", "--initrd", "/run/initrd",
            "--command-line", COMMAND_LINE, "--memory", f"{MEMORY_MIB}M", "--no-reboot",
            "--console", "stdio", "--jail-folder", "/run/jail",
            "--net", f"socket={SOCKET},mac={MAC}"]


def _microvm():
    """As near as it can be: a PCI bus, and none of the devices that strait-vmm does not have. It
    has no entry for a kernel but by firmware, of which qboot is the shortest."""
    return ["/usr/bin/qemu-system-x86_64", "-machine",
            "microvm,memory-backend=memory,pcie=on,acpi=on,pit=off,pic=off,rtc=off,"
            "isa-serial=on,auto-kernel-cmdline=off", "-bios", "qboot.rom",
            "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", f"{MEMORY_MIB}",
            "-object", f"memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on",
            "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
            "-kernel", "/run/kernel", "-initrd", "/run/initrd", "-append", COMMAND_LINE,
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-chardev", f"socket,id=nic,path={SOCKET}", "-netdev", "vhost-user,id=net,chardev=nic",
            "-device", f"virtio-net-pci,netdev=net,mac={MAC}", "-device", "virtio-rng-pci"]


class Boots:
    """The machine, with a switch in it that both kinds of guest have their device at."""

    def __init__(self, logs):
        kept = lab.assets()
        initrd = kept.initial_files("initrd-bench", HERE / "guest_init.sh", MODULES)
        self._commands = {"strait": _strait(), "microvm": _microvm()}
        self.machine = lab.KvmMachine(logs, memory_mib=1024)
        try:
            # From memory, like the programs after their first run.
            self.machine.sh(f"cp {kept.kernel} /run/kernel; cp {initrd} /run/initrd; "
                            "mkdir /run/jail /run/fill; free=$(free -m | awk '/^Mem/ { print $4 }')"
                            "; mount -t tmpfs -o size=$((free - 150))m fill /run/fill", 60)
            self._switch = lab.MachineSwitch(self.machine, config=[
                "bridge add br0",
                f"port add vm1 --bridge br0 --type vhost-user --socket {SOCKET}"])
            self.machine.sh(
                f"mount -t tracefs tracefs {TRACING} 2> /dev/null; cd {TRACING} && "
                "echo mono > trace_clock && "
                "echo 'p:kvm_run kvm_arch_vcpu_ioctl_run' > kprobe_events && "
                f"echo 'port == {MARK_PORT}' > events/kvm/kvm_pio/filter && "
                "for event in sched/sched_process_exec kvm/kvm_pio kprobes/kvm_run; do "
                "echo 1 > events/$event/enable; done")
        except BaseException:
            self.machine.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.machine.close()

    def boot(self, name):
        """One boot: milliseconds to the first KVM_RUN, from there to init, to the network; and MiB
        beside the guest's when that is up."""
        machine, argv = self.machine, self._commands[name]
        cpus = f"1-{machine.cpus - 1}"  # not on the first: see lab.KvmGuest
        # The emulation is slow at writes to pages that were executed since they were written last.
        machine.sh("dd if=/dev/zero of=/run/fill/zeros bs=1M 2> /dev/null; rm /run/fill/zeros; "
                   f"echo > {TRACING}/trace", 60)
        pid = machine.spawn(f"taskset -c {cpus} {shlex.join(map(str, argv))}", f"{name}.log")
        try:
            text = machine.sh(f"timeout 30 sed '/ val {NETWORK_IS_UP:#x} /q' {TRACING}/trace_pipe",
                              40)
            times = _times(text, pid)
            memory = sum(self._memory(one) for one in self._processes(pid))
        except lab.LabError as error:
            said = (machine.logs / f"{name}.log").read_text(errors="replace")[-2000:]
            raise lab.LabError(f"{name}: {error}\n{said}") from None
        finally:
            machine.kill(pid)
        lab.wait_until(lambda: self._switch.ctl("port list")[0]["link"] == "down", 20,
                       f"{name} leaving the switch", 0.1)
        return times | {"memory": memory}

    def _processes(self, pid):
        return [pid, *map(int, self.machine.sh(f"cat /proc/{pid}/task/*/children").split())]

    def _memory(self, pid):
        kinds = memory_of(pid, read=lambda path: self.machine.sh(f"cat {path}"), without="/memfd:")
        return sum(kinds.values())


def _times(text, pid):
    begin = first = None
    marks = {}
    for seconds, event in re.findall(r"\s([\d.]+): (.*)$", text, re.M):
        now = float(seconds) * 1000
        if event.startswith("sched_process_exec") and f" pid={pid} " in event:
            begin = now  # the last one: others made way for it
        elif event.startswith("kvm_run") and begin and first is None:
            first = now
        elif mark := re.search(r"^kvm_pio: pio_write .* val (0x\w+)", event):
            marks[int(mark[1], 16)] = now
    if begin is None or first is None or not {BEGINS, NETWORK_IS_UP} <= marks.keys():
        raise lab.LabError(f"the trace has not all of a boot:\n{text[-2000:]}")
    return {"vmm": first - begin, "init": marks[BEGINS] - first,
            "network": marks[NETWORK_IS_UP] - first}


def compare(logs, rounds, say):
    """Trials of both, the order turned round by round. The emulation hangs once in a while: then
    there is a new machine, and the round begins anew. After each start of one come two boots that
    are not counted."""
    trials = {"strait": [], "microvm": []}
    failures = 0
    while len(trials["strait"]) < rounds:
        with Boots(logs) as boots:
            say(f"the machine is up after {boots.machine.boot_seconds:.1f} s")
            try:
                for name in trials:
                    boots.boot(name)
                while len(trials["strait"]) < rounds:
                    number = len(trials["strait"])
                    names = list(trials)[::1 if number % 2 == 0 else -1]
                    told = {name: boots.boot(name) for name in names}
                    for name, trial in told.items():
                        trials[name].append(trial)
                        say(f"boot {number + 1}: {name:8}"
                            + "".join(f" {key} {value:.1f}" for key, value in trial.items()))
            except lab.LabError as error:
                failures += 1
                if failures > rounds:
                    raise
                say(f"a new machine, because of {error}")
    return trials
